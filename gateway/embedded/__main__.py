"""The embedded realtime server as a process of its own: ``python -m gateway.embedded --port 0``.

When it listens it prints one line on standard output, ``{"url": "ws://127.0.0.1:PORT/v1/realtime"}``. It ends on
SIGTERM or SIGINT and, with ``--parent-watch``, when its standard input closes, which is when its parent dies.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# The networks are small matrix products: threads of OpenBLAS would only take the core from each other. Read at import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from gateway.embedded.server import EmbeddedOptions, serve
from gateway.errors import ConfigurationError, GatewayError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to end; 2 where it cannot start with what it was given."""
    parser = argparse.ArgumentParser(prog="python -m gateway.embedded", description="OpenAI Realtime GA on loopback")
    defaults = EmbeddedOptions()
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port, help="0 for any free port")
    parser.add_argument("--brain", type=Path, default=defaults.brain, help="dialogue file")
    parser.add_argument("--audio-speed", type=float, default=defaults.audio_speed, help="times real time; 0: no limit")
    parser.add_argument("--max-age", type=float, default=defaults.max_age_s, help="seconds after which a session ends")
    parser.add_argument("--api-key", help="what clients must show; everybody may come in without")
    parser.add_argument("--parent-watch", action="store_true", help="end when standard input closes")
    parser.add_argument("--log-level", default="warning", choices=["debug", "info", "warning", "error"])
    given = parser.parse_args(arguments)
    logging.basicConfig(level=given.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    options = EmbeddedOptions(
        host=given.host,
        port=given.port,
        brain=given.brain,
        audio_speed=given.audio_speed,
        max_age_s=given.max_age,
        api_key=given.api_key or None,
    )
    try:
        asyncio.run(_run(options, given.parent_watch))
    except GatewayError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the command's own message
        return 2 if isinstance(error, ConfigurationError) else 1
    return 0


async def _run(options: EmbeddedOptions, watches_parent: bool) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with serve(options) as server:
        print(json.dumps({"url": server.url}), flush=True)  # noqa: T201 - the line the parent waits for
        if watches_parent:
            loop.add_reader(sys.stdin.fileno(), _read_parent, ended)
        await ended.wait()
        if watches_parent:
            with contextlib.suppress(OSError, ValueError):
                loop.remove_reader(sys.stdin.fileno())


def _read_parent(ended: asyncio.Event) -> None:
    try:
        is_alive = bool(os.read(sys.stdin.fileno(), 4096))
    except OSError:
        is_alive = False
    if not is_alive:
        ended.set()


if __name__ == "__main__":
    sys.exit(main())
