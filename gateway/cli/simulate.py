"""``gateway simulate``: a gateway in a process of its own, and callers in this one, over loopback."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.config import load_configuration
from gateway.errors import ResourceError
from gateway.simulate.load import LoadOptions, LoadResult, percentile, run_load
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.sip.message import Address

HOST = "127.0.0.1"
START_LIMIT_S = 40.0
STOP_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The callers' view, and the gateway process's own."""

    load: LoadResult
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    own_setup_p50_ms: float
    own_setup_p99_ms: float
    first_audio_p50_ms: float
    first_audio_p99_ms: float
    cpu_s: float
    cpu_per_call_percent: float
    memory_idle_mib: float
    memory_per_call_kib: float

    def as_json(self) -> dict[str, object]:
        """One flat document."""
        own = {name: getattr(self, name) for name in self.__slots__ if name != "load"}
        return {**self.load.as_json(), **own}

    def summary(self) -> str:
        """A few lines for people."""
        load = self.load
        return (
            f"calls        {load.answered} of {load.calls} answered, {load.refused} refused, "
            f"{load.concurrent} at once\n"
            f"set-up       {load.setups_per_s} a second; INVITE to 200 p50 {load.setup_p50_ms} ms, "
            f"p99 {load.setup_p99_ms} ms, beyond the provider's own set-up p50 {self.own_setup_p50_ms} ms, "
            f"p99 {self.own_setup_p99_ms} ms\n"
            f"greeting     first sample queued p50 {self.first_audio_p50_ms} ms, p99 {self.first_audio_p99_ms} ms "
            f"after the ACK\n"
            f"audio        {load.packets_received} packets received, {load.packets_lost} lost, "
            f"{load.packets_late} late; "
            f"{load.calls_heard} calls heard the agent\n"
            f"send delay   p50 {self.late_p50_ms} ms, p99 {self.late_p99_ms} ms, max {self.late_max_ms} ms\n"
            f"gateway      {self.cpu_per_call_percent:.2f} % of a core a call (speech engines included), "
            f"{self.memory_idle_mib:.0f} MiB idle, {self.memory_per_call_kib:.0f} KiB more a call"
        )


async def run_simulation(file: Path, options: LoadOptions) -> Simulation:
    """Run `options` against a gateway with the configuration `file`, on a SIP port of its own.

    Raises:
        ConfigurationError: the configuration cannot be used.
        ResourceError: the gateway did not start.
    """
    load_configuration(file)
    gateway = Address(HOST, free_sip_port(HOST))
    phone_options = PhoneOptions(peers={"gateway": gateway}, max_calls=options.calls)
    async with Phone(phone_options) as phone:
        process = await GatewayProcess.start(file, _overrides(gateway, phone.address, options.calls))
        idle_kib = process.memory_kib
        try:
            load = await run_load(phone, options)
        finally:
            figures = await process.stop()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime
    own_setups_ms = [call["setup_ms"] - call["provider_ready_ms"] for call in process.calls if "setup_ms" in call]
    first_audios_ms = [call["first_audio_ms"] for call in process.calls if "first_audio_ms" in call]
    return Simulation(
        load=load,
        late_p50_ms=figures.get("late_p50_ms", 0.0),
        late_p99_ms=figures.get("late_p99_ms", 0.0),
        late_max_ms=figures.get("late_max_ms", 0.0),
        own_setup_p50_ms=percentile(own_setups_ms, 50),
        own_setup_p99_ms=percentile(own_setups_ms, 99),
        first_audio_p50_ms=percentile(first_audios_ms, 50),
        first_audio_p99_ms=percentile(first_audios_ms, 99),
        cpu_s=round(cpu_s, 2),
        cpu_per_call_percent=round(100 * cpu_s / max(load.answered * options.hold_s, 1e-9), 2),
        memory_idle_mib=round(idle_kib / 1024, 1),
        memory_per_call_kib=round((process.peak_kib - idle_kib) / max(load.concurrent, 1), 1),
    )


def _overrides(gateway: Address, phone: Address, calls: int) -> dict[str, str]:
    """The environment that gives the gateway ports of its own, and our telephones a trunk."""
    return {
        "GATEWAY__SIP__LISTEN": f"{gateway.host}:{gateway.port}",
        "GATEWAY__SIP__TRUNKS__SIMULATED__PEER": f"{phone.host}:{phone.port}",
        "GATEWAY__MEDIA__RTP__PORTS": "46000-49999",
        "GATEWAY__LIMITS__MAX_CALLS": str(max(calls, 1)),
        # What is measured here is how late things get, not when calls are refused for it.
        "GATEWAY__LIMITS__CPU": "0",
        "GATEWAY__LIMITS__LAG": "0",
        "GATEWAY__LOG__LEVEL": "info",
    }


class GatewayProcess:
    """``gateway run`` as a child; its log lines are read all the time, so that it never waits for us."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ready = asyncio.Event()
        self._figures: dict[str, float] = {}
        self.calls: list[dict[str, float]] = []
        """The figures of each call that has ended, by the names of its log line."""
        self.peak_kib = 0
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, file: Path, overrides: Mapping[str, str]) -> Self:
        """Start it, and wait until it is ready.

        Raises:
            ResourceError: it ended at its start, or took too long.
        """
        arguments = ("-m", "gateway", "run", "-c", str(file))
        environment = {**os.environ, **overrides}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, limit=1 << 20
        )
        gateway = cls(process)
        ready = asyncio.ensure_future(gateway._ready.wait())
        await asyncio.wait({ready, gateway._reader}, timeout=START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not gateway._ready.is_set():
            await gateway.stop()
            raise ResourceError("the gateway did not start; its message stands above")
        return gateway

    @property
    def memory_kib(self) -> int:
        """Resident memory of the process itself, its children apart."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    async def stop(self) -> dict[str, float]:
        """End it in order; the figures of its last line."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader
        return self._figures

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        async for raw in self._process.stdout:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if line.get("event") == "gateway ready":
                self._ready.set()
            figures = {name: float(value) for name, value in line.items() if isinstance(value, int | float)}
            if line.get("event") == "call ended":
                self.calls.append(figures)
                self.peak_kib = max(self.peak_kib, self.memory_kib)
            if line.get("event") == "gateway stopped":
                self._figures = figures
