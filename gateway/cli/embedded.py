"""The embedded realtime server as a child process: started with the gateway, ended with it, started again if it dies.

It is reached over its WebSocket like any other provider. Its process ends by itself when ours does (it watches its
standard input), however ours ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.errors import ResourceError

START_LIMIT_S = 30.0
STOP_LIMIT_S = 3.0
MAX_LINE_BYTES = 65536

_log = structlog.stdlib.get_logger("gateway.embedded")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """What the embedded server is started with."""

    port: int = 0
    """TCP port on 127.0.0.1; 0 for any."""
    brain: Path | None = None
    """Its dialogue; None for the receptionist it brings along."""


class EmbeddedServer:
    """A running embedded server; `url` is its address. Make it with `start`."""

    def __init__(self, options: EmbeddedOptions, process: asyncio.subprocess.Process, url: str) -> None:
        self._options = options
        self._process = process
        self.url = url

    @classmethod
    async def start(cls, options: EmbeddedOptions) -> EmbeddedServer:
        """Start the process and wait until it listens.

        Raises:
            ResourceError: it did not start; its own words say why.
        """
        process, url = await _spawn(options)
        return cls(options, process, url)

    @property
    def pid(self) -> int:
        """The process that serves at present."""
        return self._process.pid

    async def watch(self) -> None:
        """Start the server again, at the same address, whenever it ends. Runs until cancelled."""
        port = int(self.url.rsplit(":", 1)[1].split("/", 1)[0])
        delay_s = 0.5
        while True:
            status = await self._process.wait()
            _log.error("embedded server ended, starting it again", status=status)
            try:
                self._process, _ = await _spawn(EmbeddedOptions(port=port, brain=self._options.brain))
                delay_s = 0.5
            except ResourceError as error:
                _log.error("embedded server does not start", error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 30.0)

    async def stop(self) -> None:
        """End the process."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def _spawn(options: EmbeddedOptions) -> tuple[asyncio.subprocess.Process, str]:
    # -P: what lies in the folder where the gateway was started is nobody's module.
    arguments = ["-P", "-m", "gateway.embedded", "--port", str(options.port), "--parent-watch"]
    if options.brain is not None:
        arguments += ["--brain", str(options.brain)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=None,
        limit=MAX_LINE_BYTES,
        start_new_session=True,  # Ctrl-C is for us, who then end it in order
    )
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
        url = json.loads(line)["url"]
    except (TimeoutError, ValueError, KeyError) as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise ResourceError("the embedded realtime server did not start; its message stands above") from error
    return process, str(url)
