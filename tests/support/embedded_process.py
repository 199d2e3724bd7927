"""The embedded server as a process of its own, as a gateway starts it: it ends with its standard input."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator

START_LIMIT_S = 60.0
END_LIMIT_S = 20.0


@contextlib.contextmanager
def embedded_process(*arguments: str) -> Iterator[str]:
    """Address of a server that runs with `arguments` until the context ends, which it must do in order."""
    command = [sys.executable, "-W", "ignore", "-m", "gateway.embedded", "--port", "0", "--parent-watch", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
        assert ready, f"not listening within {START_LIMIT_S} s"
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        assert process.wait(END_LIMIT_S) == 0
