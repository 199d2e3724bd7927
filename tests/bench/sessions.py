"""What many sessions leave behind in the embedded server: descriptors, memory, and rows of the network that hears.

    python -m tests.bench.sessions [--sessions 1200]

Twenty clients at a time speak a word over a real WebSocket to a server with its real engines. Every third is torn away
while it speaks; of the others some send what cannot be read, a frame that is none, a message that is too large, or do
not read what is answered. The server and the clients share this process; the engines' processes are counted beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import websockets
from websockets.asyncio.client import ClientConnection, connect

from gateway.embedded import server as server_module
from gateway.embedded.server import EmbeddedOptions, EmbeddedServer, serve
from gateway.simulate.bench_embedded import family
from tests.embedded.telephone import encoded, said, silence
from tests.support.aio import eventually

AT_ONCE = 20
MAX_MESSAGE_BYTES = 1 << 20
_PATIENCE_S = 60.0
_FRAME_BYTES = 160 * 5
_NO_FRAME = b"\x83\x80\x00\x00\x00\x00"
"""An opcode that there is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What there is after so many sessions."""

    sessions: int
    answered: int
    descriptors: int
    streams: int
    tasks: int
    memory_mb: float
    """Of the server and the clients."""
    engines_mb: float

    def as_text(self) -> str:
        """A line of the table."""
        memory = f"{self.memory_mb:>8.0f} MB{self.engines_mb:>8.0f} MB"
        return f"{self.sessions:>8}{self.answered:>10}{self.descriptors:>13}{self.streams:>9}{self.tasks:>7}{memory}"


async def measure(sessions: int, *, rows: int) -> list[Left]:
    """`rows` looks at the server: before the first session, after as many more each, and after the last."""
    found = []
    limit, server_module.MAX_MESSAGE_BYTES = server_module.MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES
    try:
        async with serve(EmbeddedOptions(port=0, audio_speed=0)) as server:
            word = _word()
            done = answered = 0
            for row in range(rows):
                while done < sessions * row // (rows - 1):
                    count = min(AT_ONCE, sessions * row // (rows - 1) - done)
                    told = await asyncio.gather(*(_talk(server.url, done + n, word) for n in range(count)))
                    done, answered = done + count, answered + sum(told)
                found.append(await _look(server, done, answered))
    finally:
        server_module.MAX_MESSAGE_BYTES = limit
    return found


def _word() -> list[str]:
    audio = encoded(np.concatenate((said("Yes, please."), silence(600))), "audio/pcmu")
    blocks = (audio[start : start + _FRAME_BYTES] for start in range(0, len(audio), _FRAME_BYTES))
    return [
        json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(block).decode()}) for block in blocks
    ]


async def _talk(url: str, number: int, word: list[str]) -> bool:
    """One session; whether it was answered."""
    socket = await connect(f"{url}?model=any", compression=None, max_size=None)
    try:
        form = {"format": {"type": "audio/pcmu"}}
        turns = {"type": "semantic_vad"} if number % 2 else {"type": "server_vad"}
        session = {"type": "realtime", "audio": {"input": form | {"turn_detection": turns}, "output": form}}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        if number % 3 == 0:
            for message in word[: len(word) // 2]:
                await socket.send(message)
            socket.transport.abort()
            return False
        with contextlib.suppress(websockets.ConnectionClosed):
            await _misbehave(socket, number)
        for message in word:
            await socket.send(message)
        async with asyncio.timeout(_PATIENCE_S):
            while json.loads(await socket.recv())["type"] != "response.done":
                pass
    except websockets.ConnectionClosed:
        return False
    finally:
        await socket.close()
        socket.transport.abort()
    return True


async def _misbehave(socket: ClientConnection, number: int) -> None:
    match number % 10:
        case 1:
            await socket.send('{"type": "input_audio_buffer.append", "audio": "no base64"}')
        case 2:
            await socket.send("{" * 1000)
        case 4:
            socket.transport.write(_NO_FRAME)
        case 5:
            await socket.send(" " * (MAX_MESSAGE_BYTES + 1))
        case 7:
            socket.transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(20):
                await socket.send('{"type": "response.create", "response": {"conversation": "none"}}')
            socket.transport.abort()


async def _look(server: EmbeddedServer, sessions: int, answered: int) -> Left:
    judge = server._engines._judge
    with contextlib.suppress(AssertionError):  # then the figures tell
        await eventually(lambda: not judge.streams and not _tasks(), _PATIENCE_S)
    gc.collect()
    own, *workers = family(_own_pid())
    return Left(
        sessions=sessions,
        answered=answered,
        descriptors=_descriptors(),
        streams=judge.streams,
        tasks=_tasks(),
        memory_mb=_resident_mb(own),
        engines_mb=sum(_resident_mb(pid) for pid in workers),
    )


def _tasks() -> int:
    """Of clients."""
    return sum(task.get_name().startswith("embedded writer") for task in asyncio.all_tasks())


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) - 1


def _own_pid() -> int:
    return int(Path("/proc/self").readlink().name)


def _resident_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/status").read_text(encoding="ascii").split("VmRSS:")
    return int(fields[1].split()[0]) / 1024


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sessions")
    parser.add_argument("--sessions", type=int, default=1200)
    given = parser.parse_args()
    head = f"{'sessions':>8}{'answered':>10}{'descriptors':>13}{'streams':>9}{'tasks':>7}{'memory':>11}{'engines':>11}"
    sys.stdout.write(f"{head}\n")
    for left in asyncio.run(measure(given.sessions, rows=7)):
        sys.stdout.write(left.as_text() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
