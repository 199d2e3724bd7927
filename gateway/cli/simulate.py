"""``gateway simulate``: a gateway in a process of its own, and callers in this one, over loopback.

What is loaded is the gateway. Its speech model is therefore a scripted one, unless the configured one is asked for:
speech engines for hundreds of calls take more cores than the gateway does. Whatever was at its limit is told in words.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias

from gateway.config import Configuration, load_configuration
from gateway.errors import ResourceError, counted
from gateway.simulate.cpu_watch import CpuWatch, descendants
from gateway.simulate.latency import AddedLatency, Delay, ModelTimes
from gateway.simulate.load import LoadOptions, LoadResult, percentile, run_load
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.simulate.rig.control import RigProcess
from gateway.sip.message import Address

HOST = "127.0.0.1"
START_LIMIT_S = 40.0
STOP_LIMIT_S = 20.0
DRAIN_S = 5.0
"""For calls whose end the gateway has not heard of, when everybody has hung up."""
DEFAULT_HOLD_S = 20.0
BUSY_PERCENT = 90.0
"""Of a core: whoever used as much was at its limit, each of them being one thread."""
WAITED_PERCENT = 10.0
"""Time that other programs took: beyond it lateness is the machine's."""
CALLER_PORTS = (36000, 45999)
GATEWAY_PORTS = "46000-49999"

Provider: TypeAlias = Literal["light", "configured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """The callers' view, and the gateway process's own."""

    load: LoadResult
    provider: Provider
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    own_setup_p50_ms: float
    own_setup_p99_ms: float
    first_audio_p50_ms: float
    first_audio_p99_ms: float
    uplink: Delay
    """added on the way from the callers to the speech model; see `gateway.simulate.latency`"""
    downlink: Delay
    """added on the way back; both are measured with the scripted speech model alone"""
    without_model: int
    """calls whose speech model did not answer in time"""
    lost_to_gateway: int
    """packets of the callers that it missed, by their sequence numbers"""
    cpu_s: float
    """of the gateway's process alone"""
    cpu_per_call_percent: float
    """of a core, the same"""
    gateway_cpu_percent: float
    """of a core, in its busiest seconds; likewise the next two"""
    callers_cpu_percent: float
    provider_cpu_percent: float
    waited_percent: float
    """time in which the gateway could have run but for others on its core"""
    memory_idle_mib: float
    memory_per_call_kib: float

    @property
    def limits(self) -> tuple[str, ...]:
        """What the figures are worth: who was at the limit of what it can do."""
        found: list[str] = []
        if self.gateway_cpu_percent >= BUSY_PERCENT:
            found.append(f"the gateway used {self.gateway_cpu_percent:.0f} % of a core: these calls are its limit")
        if self.callers_cpu_percent >= BUSY_PERCENT:
            found.append(
                f"the callers' process used {self.callers_cpu_percent:.0f} % of a core: set-up times, lateness and "
                "losses are theirs, not the gateway's"
            )
        if self.provider_cpu_percent >= BUSY_PERCENT:
            found.append(
                f"the speech model used {self.provider_cpu_percent:.0f} % of a core of {os.cpu_count()}: what it did "
                "late is its own, and what it took the others had not"
                + (" (--provider light has no speech engines)" if self.provider == "configured" else "")
            )
        if self.waited_percent >= WAITED_PERCENT:
            found.append(
                f"the gateway waited {self.waited_percent:.0f} % of the time for a processor that others had: "
                "lateness is the machine's"
            )
        return tuple(found)

    def as_json(self) -> dict[str, object]:
        """One flat document."""
        ways = {"uplink": self.uplink, "downlink": self.downlink}
        own = {name: getattr(self, name) for name in self.__slots__ if name != "load" and name not in ways}
        added = {f"added_{way}_{name}": value for way, delay in ways.items() for name, value in delay.as_json().items()}
        return {**self.load.as_json(), **own, **added, "limits": self.limits}

    def summary(self) -> str:
        """A few lines for people."""
        load = self.load
        return (
            f"calls        {load.answered} of {load.calls} answered, {load.refused} refused, "
            f"{load.concurrent} at once; {self.without_model} without a speech model\n"
            f"set-up       {load.setups_per_s} a second; INVITE to 200 p50 {load.setup_p50_ms} ms, "
            f"p99 {load.setup_p99_ms} ms, beyond the provider's own set-up p50 {self.own_setup_p50_ms} ms, "
            f"p99 {self.own_setup_p99_ms} ms\n"
            f"greeting     first sample queued p50 {self.first_audio_p50_ms} ms, p99 {self.first_audio_p99_ms} ms "
            f"after the ACK\n"
            f"audio        {load.packets_received} packets received, {load.packets_lost} lost, "
            f"{load.packets_late} late; {self.lost_to_gateway} lost to the gateway; "
            f"{counted(load.calls_heard, 'call')} heard the agent\n"
            f"send delay   p50 {self.late_p50_ms} ms, p99 {self.late_p99_ms} ms, max {self.late_max_ms} ms\n"
            f"added        RTP to append {self.uplink}; delta to RTP {self.downlink}\n"
            f"gateway      {self.cpu_per_call_percent:.2f} % of a core a call, {self.memory_idle_mib:.0f} MiB idle, "
            f"{self.memory_per_call_kib:.0f} KiB more a call\n"
            f"busiest      gateway {self.gateway_cpu_percent:.0f} %, callers {self.callers_cpu_percent:.0f} %, "
            f"{self.provider} speech model {self.provider_cpu_percent:.0f} % of a core\n"
            f"limits       {'; '.join(self.limits) or 'none was reached'}"
        )


async def run_simulation(file: Path, options: LoadOptions, provider: Provider = "light") -> Simulation:
    """Run `options` against a gateway with the configuration `file`, on a SIP port of its own.

    Raises:
        ConfigurationError: the configuration cannot be used.
        ResourceError: the gateway, or its speech model, did not start.
    """
    configuration = load_configuration(file)
    gateway = Address(HOST, free_sip_port(HOST))
    phone_options = PhoneOptions(
        peers={"gateway": gateway}, max_calls=options.calls, rtp_ports=CALLER_PORTS, is_stamped=True
    )
    options = replace(options, is_marked=provider == "light")
    calls: list[PhoneCall] = []
    async with Phone(phone_options) as phone, _speech_model(provider) as model:
        overrides = _overrides(gateway, phone.address, options) | _urls(configuration, model)
        process = await GatewayProcess.start(file, overrides)
        watch = _cpu_watch(process, model)
        watching = asyncio.ensure_future(watch.run())
        idle_kib = process.memory_kib
        try:
            load = await run_load(phone, options, calls)
        finally:
            watch.look()
            watching.cancel()
            figures = await process.stop()
        added = await _added_latency(calls, model)
    return _result(load, process, watch, provider=provider, figures=figures, added=added, idle_kib=idle_kib)


def _cpu_watch(process: GatewayProcess, model: _SpeechModel | None) -> CpuWatch:
    """Who uses how much of a core; configured models are children of the gateway."""
    return CpuWatch(
        {
            "gateway": lambda: [process.pid],
            "callers": lambda: [os.getpid()],
            "provider": lambda: [model.process.pid] if model else descendants(process.pid),
        }
    )


def _result(
    load: LoadResult,
    process: GatewayProcess,
    watch: CpuWatch,
    *,
    provider: Provider,
    figures: Mapping[str, float],
    added: AddedLatency,
    idle_kib: int,
) -> Simulation:
    """What came of it: `figures` are those of the gateway's last line, `idle_kib` its memory before the first call."""
    own_setups_ms = [
        call["setup_ms"] - call["provider_ready_ms"]
        for call in process.calls
        if call.keys() >= {"setup_ms", "provider_ready_ms"}
    ]
    first_audios_ms = [call["first_audio_ms"] for call in process.calls if "first_audio_ms" in call]
    shares = {name: watch.busiest(name) for name in ("gateway", "callers", "provider")}
    cpu_s = watch.cpu_s("gateway")
    return Simulation(
        load=load,
        provider=provider,
        late_p50_ms=figures.get("late_p50_ms", 0.0),
        late_p99_ms=figures.get("late_p99_ms", 0.0),
        late_max_ms=figures.get("late_max_ms", 0.0),
        own_setup_p50_ms=percentile(own_setups_ms, 50),
        own_setup_p99_ms=percentile(own_setups_ms, 99),
        first_audio_p50_ms=percentile(first_audios_ms, 50),
        first_audio_p99_ms=percentile(first_audios_ms, 99),
        uplink=added.uplink,
        downlink=added.downlink,
        without_model=sum("provider_ready_ms" not in call for call in process.calls),
        lost_to_gateway=round(sum(call.get("rtp_lost", 0.0) for call in process.calls)),
        cpu_s=round(cpu_s, 2),
        cpu_per_call_percent=round(100 * cpu_s / max(load.call_seconds, 1e-9), 2),
        gateway_cpu_percent=round(shares["gateway"].used, 1),
        callers_cpu_percent=round(shares["callers"].used, 1),
        provider_cpu_percent=round(shares["provider"].used, 1),
        waited_percent=round(shares["gateway"].waited, 1),
        memory_idle_mib=round(idle_kib / 1024, 1),
        memory_per_call_kib=round((process.peak_kib - idle_kib) / max(load.concurrent, 1), 1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SpeechModel:
    """The scripted one."""

    url: str
    process: RigProcess


async def _added_latency(calls: Sequence[PhoneCall], model: _SpeechModel | None) -> AddedLatency:
    """What the speech model noted beside what the telephones did, of the calls whose mark it heard."""
    added = AddedLatency()
    if model is None:
        return added
    for told in (await model.process.ask("diaries"))["diaries"]:
        stamps = calls[told["number"]].stamps if told["number"] < len(calls) else None
        if stamps is not None:
            added.add(stamps.said_ns, stamps.onsets, ModelTimes.of(told))
    return added


@asynccontextmanager
async def _speech_model(provider: Provider) -> AsyncIterator[_SpeechModel | None]:
    """The scripted speech model, None where the configured ones are used."""
    if provider == "configured":
        yield None
        return
    process, there = await RigProcess.start("peers", {"cores": [], "calls": 0, "delta_ms": 100, "tls": False})
    try:
        yield _SpeechModel(url=there["url"], process=process)
    finally:
        await process.stop()


def _urls(configuration: Configuration, model: _SpeechModel | None) -> dict[str, str]:
    """The environment that leads every realtime session to `model`."""
    return {} if model is None else {f"GATEWAY__REALTIME__{name}__URL": model.url for name in configuration.realtime}


def _overrides(gateway: Address, phone: Address, options: LoadOptions) -> dict[str, str]:
    """The environment that gives the gateway ports of its own, and our telephones a trunk."""
    return {
        "GATEWAY__SIP__LISTEN": f"{gateway.host}:{gateway.port}",
        "GATEWAY__SIP__TRUNKS__SIMULATED__PEER": f"{phone.host}:{phone.port}",
        "GATEWAY__MEDIA__RTP__PORTS": GATEWAY_PORTS,
        "GATEWAY__LIMITS__MAX_CALLS": str(max(options.calls, 1)),
        # What is measured here is how late things get, not when calls are refused for it.
        "GATEWAY__LIMITS__CPU": "0",
        "GATEWAY__LIMITS__LAG": "0",
        "GATEWAY__LIMITS__DRAIN": f"{DRAIN_S:g}s",
        "GATEWAY__LIMITS__CALL_BURST": str(max(options.calls, 1)),
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
        arguments = ("-P", "-m", "gateway", "run", "-c", str(file))
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
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.pid

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
