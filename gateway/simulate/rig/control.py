"""How a bench starts its processes, pins them to cores and asks them: a line of JSON there, a line of JSON back.

A process of the rig ends by itself when its standard input does, however ours ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from gateway.errors import ResourceError

START_LIMIT_S = 30.0
ANSWER_LIMIT_S = 120.0
STOP_LIMIT_S = 5.0
MAX_LINE_BYTES = 4 * 1024 * 1024
OPENINGS_AT_ONCE = 8

Answer: TypeAlias = dict[str, Any]


class RigProcess:
    """A process of the rig, as the bench sees it. Make it with `start`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    @classmethod
    async def start(cls, name: str, options: Mapping[str, object]) -> tuple[Self, Answer]:
        """Start module `name` of this package; the process and its first words.

        Raises:
            ResourceError: it did not start; its own words say why.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "ignore:'audioop' is deprecated:DeprecationWarning",
            "-P",
            "-m",
            f"{__package__}.{name}",
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for us, who then end it in order
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        started = cls(name, process)
        try:
            return started, await started._hear(START_LIMIT_S)
        except BaseException:
            await started.stop()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, what: str, **members: object) -> Answer:
        """Let it do something; what it answers.

        Raises:
            ResourceError: it is gone, or silent for too long.
        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(json.dumps({"do": what} | members).encode() + b"\n")
        return await self._hear(ANSWER_LIMIT_S)

    async def _hear(self, limit_s: float) -> Answer:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), limit_s)
            answer: Answer = json.loads(line)
        except (TimeoutError, ValueError) as error:
            raise ResourceError(f"{self._name} of the bench gave no answer; its message stands above") from error
        return answer

    async def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def cores() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The core of the gateway and those of the others; both empty where there is only one, or none can be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return (), ()
    allowed = sorted(os.sched_getaffinity(0))
    return ((allowed[0],), tuple(allowed[1:])) if len(allowed) > 1 else ((), ())


def settle(own_cores: list[int]) -> None:
    """Begin the life of a process of the rig: on its cores, with all the descriptors it may have."""
    if own_cores:
        os.sched_setaffinity(0, own_cores)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def usage() -> Answer:
    """CPU time and memory of this process by now, its children apart."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "waited_s": _waited_s(),
        "at_s": time.monotonic(),
        "rss_kib": pages * resource.getpagesize() // 1024,
    }


def _waited_s() -> float:
    """How long this process could have run but for others on its core; 0 where the kernel does not say."""
    try:
        tasks = [task.read_text(encoding="ascii").split() for task in Path("/proc/self/task").glob("*/schedstat")]
    except OSError:
        return 0.0
    return sum(int(waited_ns) for _, waited_ns, _ in tasks) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a process got of a core between two looks at its `usage`."""

    cpu_s: float
    span_s: float
    cpu_percent: float
    waited_percent: float
    """of the time: it was ready to run, and other programs had the core"""

    @classmethod
    def between(cls, before: Answer, after: Answer) -> Self:
        """From the first look to the second."""
        span_s, cpu_s = after["at_s"] - before["at_s"], after["cpu_s"] - before["cpu_s"]
        return cls(
            cpu_s=cpu_s,
            span_s=span_s,
            cpu_percent=round(cpu_s / span_s * 100, 1),
            waited_percent=round((after["waited_s"] - before["waited_s"]) / span_s * 100, 1),
        )


def tell(answer: Mapping[str, object]) -> None:
    """Answer the bench."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class GatewayUnderTest(Protocol):
    """A gateway without SIP: calls are opened by hand, between a telephone's RTP port and the speech model."""

    async def open(self, number: int, caller_port: int) -> int:
        """Open call `number` with the caller at that port of 127.0.0.1; our RTP port. Raises: GatewayError."""
        ...

    async def close(self, number: int) -> None:
        """End a call."""
        ...

    def begin(self) -> None:
        """Measure our own lateness from here."""
        ...

    def figures(self) -> Answer:
        """Sums over all open calls: packets_received, packets_sent, queued_bytes, lost_sessions.

        Since `begin`: ticks, ticks_missed, and p50, p99 and max of own_late_ms and tick_ms.
        """
        ...


async def serve_gateway(gateway: GatewayUnderTest) -> None:
    """Do what the bench asks of a gateway, until it asks no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tell({"is_ready": True})
    while line := await reader.readline():
        tell(await _do(gateway, json.loads(line)))


async def _do(gateway: GatewayUnderTest, order: Answer) -> Answer:
    match order["do"]:
        case "set up":
            before = usage()
            for _ in range(order["count"]):
                await gateway.open(-1, order["caller"])
                await gateway.close(-1)
            return {"cpu_s": usage()["cpu_s"] - before["cpu_s"]}
        case "open":
            gc.collect()
            before = usage()
            return {"ports": await _open(gateway, order["callers"]), "rss_kib": before["rss_kib"]}
        case "begin":
            gateway.begin()
            return usage()
        case "figures":
            return usage() | gateway.figures()
        case other:
            raise ValueError(f"asked for {other}")


async def _open(gateway: GatewayUnderTest, callers: list[int]) -> list[int]:
    turn = asyncio.Semaphore(OPENINGS_AT_ONCE)

    async def open_one(number: int, caller: int) -> int:
        async with turn:
            return await gateway.open(number, caller)

    return await asyncio.gather(*(open_one(number, caller) for number, caller in enumerate(callers)))
