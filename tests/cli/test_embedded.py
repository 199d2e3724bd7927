"""The embedded server as a child: there when asked for, back when it dies, gone when we go."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from gateway.cli.embedded import EmbeddedOptions, EmbeddedServer
from gateway.errors import ResourceError
from tests.support.aio import eventually

ROOT = Path(__file__).resolve().parents[2]


def is_listening(url: str) -> bool:
    host, port = url.split("/")[2].split(":")
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, int(port))) == 0


async def test_files_of_the_folder_where_it_is_started_are_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "http.py").write_text("raise SystemExit('somebody else's program')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('somebody else's program')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    server = await EmbeddedServer.start(EmbeddedOptions())
    await server.stop()


async def test_server_listens_when_start_returns_and_is_gone_after_stop() -> None:
    server = await EmbeddedServer.start(EmbeddedOptions())
    assert is_listening(server.url)
    await server.stop()
    assert not is_listening(server.url)


async def test_server_that_dies_is_started_again_at_the_same_address() -> None:
    server = await EmbeddedServer.start(EmbeddedOptions())
    watch = asyncio.create_task(server.watch())
    first = server.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: server.pid != first and is_listening(server.url), 30)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await server.stop()


async def test_server_that_cannot_start_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    brain = tmp_path / "brain.yaml"
    brain.write_text("nonsense: true\n")
    with pytest.raises(ResourceError, match="did not start"):
        await EmbeddedServer.start(EmbeddedOptions(brain=brain))
    assert "brain.yaml" in capfd.readouterr().err


async def test_server_ends_when_its_parent_is_killed() -> None:
    """Nobody tells it: its standard input closes."""
    script = (
        "import asyncio, os, signal\n"
        "from gateway.cli.embedded import EmbeddedOptions, EmbeddedServer\n"
        "async def main():\n"
        "    server = await EmbeddedServer.start(EmbeddedOptions())\n"
        "    print(server.url, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    url = (await asyncio.wait_for(parent.stdout.readline(), 40)).decode().strip()
    await parent.wait()
    assert url.startswith("ws://")
    await eventually(lambda: not is_listening(url), 10)
