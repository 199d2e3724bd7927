"""How many calls one core carries: media and speech model end to end, beside a naive gateway in the same run.

::

    telephones ──RTP──> media loop ─ engine ─ bridge ─ session ──WebSocket──> scripted model
               <──RTP──            one process, one core         <──────────

Measured is the gateway's process alone, in CPU time. Callers and model live on the other cores; where they, not the
gateway, are at their limit, the report says so. A call costs what a call on the telephone costs, without its SIP: the
caller is heard all the time, the model speaks three seconds of four.

The baseline is `gateway.simulate.rig.naive_gateway` under the same load, at a number of calls that it carries well:
with few, each packet wakes it from sleep, and a call costs twice as much. Both are told per second of a call, so that
the two numbers of calls may differ.
"""

from __future__ import annotations

import asyncio
import json as json_module
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from gateway.errors import ResourceError
from gateway.media.jitter import JitterOptions
from gateway.simulate.rig.caller import CYCLE_FRAMES, FRAME_MS
from gateway.simulate.rig.control import Answer, RigProcess, Share, cores
from gateway.simulate.rig.peers import CERTIFICATE

APPENDS_MS: Final = (20, 40, 60, 100)
DELTAS_MS: Final = (20, 60, 100, 300)
MAX_CPU_PERCENT: Final = 80.0
MAX_LATE_P99_MS: Final = 5.0
BUSY_PEERS_PERCENT: Final = 90.0
BUSY_MACHINE_PERCENT: Final = 5.0
"""Time of the gateway that other programs took: beyond it lateness and losses tell of the machine."""
OURS: Final = "engine_gateway"
NAIVE: Final = "naive_gateway"
SEARCH_STEP: Final = 1.25
"""By which a search raises calls that pass; those that fail are halved until some pass."""
SEARCH_STEPS: Final = 12
_DRAIN_LOOKS: Final = 30
_DRAIN_LOOK_S: Final = 0.1

WireFormat = Literal["pcm16", "pcmu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeBenchOptions:
    """What is run."""

    calls: int = 300
    seconds: float = 10.0
    """measured, after the warm-up"""
    warm_up_s: float = CYCLE_FRAMES * FRAME_MS / 1000
    """one turn of every caller by default"""
    append_ms: int = 60
    """audio in one append: 20, 40, 60 or 100"""
    delta_ms: int = 100
    """audio in one piece of the model's speech: 20, 60, 100 or 300; hosted models send 100 to 400"""
    jitter_ms: int = JitterOptions().delay_ms
    """how long a packet that is on time waits in our jitter buffer, at least; the naive gateway has none"""
    format: WireFormat = "pcm16"
    """what the model takes and gives: PCM16 at 24 kHz, or mu-law"""
    tls: bool = False
    baseline_calls: int = 100
    """calls of the naive gateway; 0: it is not run"""
    baseline_append_ms: int = 60
    """audio in one append of the naive gateway"""
    set_ups: int = 50
    """calls set up and ended one after the other, to see what that costs"""
    search: bool = False
    """look for the most calls that pass, beginning at `calls` and `baseline_calls`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Milliseconds; 0 where nothing was seen."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, told: Answer) -> Spread:
        """From what a process told."""
        return cls(p50=round(told["p50"], 2), p99=round(told["p99"], 2), max=round(told["max"], 2))

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f}, p99 {self.p99:.1f}, max {self.max:.1f} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRun:
    """One gateway at one number of calls."""

    calls: int
    cpu_us_per_call_second: float
    cpu_percent: float
    """of one core"""
    waited_percent: float
    """of the time: other programs had the core that the gateway was ready to run on"""
    late_ms: Spread
    """arrival at the caller, by the kernel's stamp, behind the grid of RTP timestamps"""
    own_late_ms: Spread
    """the same as the gateway sees it: behind its own deadline"""
    tick_ms: Spread
    """length of a tick of the media loop; 0 for the naive gateway"""
    ticks_missed_percent: float
    """ticks of the media loop whose work was done by a later one, which is cheaper"""
    lost_to_gateway: int
    """packets that the callers sent and the gateway did not receive"""
    lost_from_gateway: int
    """20 ms frames of the gateway's streams that never reached the callers, or never left"""
    callers_drops: int
    """packets that the callers were too slow to take; they are part of `lost_from_gateway`"""
    uplink_ms: Spread
    """from a packet's sending to the arrival of its append at the model, the wait for a full append included"""
    downlink_ms: Spread
    """from the sending of a reply's first piece to the arrival of its first packet at the caller"""
    bursts: int
    bursts_heard: int
    """of the caller's utterances, by the model"""
    replies_heard: int
    memory_per_call_kib: float
    """resident, without the speech that is queued"""
    set_ups_per_core_second: float
    """a leg opened, a WebSocket connected, a session confirmed, and all of it ended"""
    lost_sessions: int
    peers_cpu_percent: float
    """of one core, used by callers and model"""
    peers_waited_percent: float
    """as `waited_percent`, of callers and model"""

    @property
    def calls_per_core(self) -> float:
        """At 100 % of a core, in proportion."""
        return 1e6 / self.cpu_us_per_call_second

    @property
    def calls_at_limit(self) -> float:
        """At `MAX_CPU_PERCENT` of a core, in proportion."""
        return self.calls_per_core * MAX_CPU_PERCENT / 100

    @property
    def failures(self) -> tuple[str, ...]:
        """Why these calls are too many; empty where they are not."""
        found = {
            f"CPU {self.cpu_percent:.0f} %": self.cpu_percent > MAX_CPU_PERCENT,
            f"lateness p99 {self.late_ms.p99:.1f} ms": self.late_ms.p99 >= MAX_LATE_P99_MS,
            f"{self.lost_to_gateway} packets lost to the gateway": self.lost_to_gateway > 0,
            f"{self.lost_from_gateway} frames lost from the gateway": self.lost_from_gateway > 0,
            f"{self.lost_sessions} sessions lost": self.lost_sessions > 0,
        }
        return tuple(why for why, is_so in found.items() if is_so)

    @property
    def verdict(self) -> str:
        """The failures, or that there are none."""
        return ", ".join(self.failures) or "passed"

    def as_json(self) -> dict[str, object]:
        """All figures by name."""
        return asdict(self) | {
            "calls_per_core": round(self.calls_per_core),
            "calls_at_80_percent": round(self.calls_at_limit),
            "failures": self.failures,
            "remarks": self.remarks,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        yield (
            f"  {self.calls} calls, {self.cpu_percent:.1f} % of a core: {self.cpu_us_per_call_second:.0f} us a "
            f"call-second; {self.calls_per_core:.0f} calls a core, {self.calls_at_limit:.0f} at {MAX_CPU_PERCENT:.0f} %"
        )
        yield f"  send lateness     {self.late_ms} at the callers; {self.own_late_ms} by its own clock"
        yield (
            f"  lost              {self.lost_to_gateway} packets to the gateway, {self.lost_from_gateway} frames from "
            f"it; {self.bursts_heard} of {self.bursts} utterances and {self.replies_heard} replies heard"
        )
        if self.tick_ms.max:
            yield f"  tick              {self.tick_ms}"
        yield f"  RTP to append     {self.uplink_ms}"
        yield f"  delta to RTP      {self.downlink_ms}"
        yield (
            f"  memory            {self.memory_per_call_kib:.0f} KiB a call; "
            f"set-ups {self.set_ups_per_core_second:.0f} a second and core; "
            f"callers and model used {self.peers_cpu_percent:.0f} % of a core"
        )
        yield from (f"  {remark}" for remark in self.remarks)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the figures are worth, where they are not simply the gateway's."""
        peers, found = f"callers and model had {self.peers_cpu_percent:.0f} % of a core", []
        if self.lost_to_gateway or self.lost_from_gateway:
            found.append(
                "it did not carry these calls: what it did not do cost nothing, so that calls a core is too high"
            )
        if self.peers_cpu_percent > BUSY_PEERS_PERCENT or self.callers_drops:
            found.append(f"{peers} and dropped {self.callers_drops} packets: lateness and losses are theirs")
        for who, percent in (("it", self.waited_percent), ("callers and model", self.peers_waited_percent)):
            if percent > BUSY_MACHINE_PERCENT:
                found.append(f"{who} waited {percent:.0f} % of the time for other programs: lateness is the machine's")
        if self.ticks_missed_percent > BUSY_MACHINE_PERCENT:
            found.append(
                f"{self.ticks_missed_percent:.0f} % of its ticks were so late that the next did their work: too cheap"
            )
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeBench:
    """What was measured."""

    options: RealtimeBenchOptions
    is_pinned: bool
    ours: GatewayRun
    naive: GatewayRun | None
    ours_tried: tuple[GatewayRun, ...] = ()
    """every run, in its order; more than one in a search"""
    naive_tried: tuple[GatewayRun, ...] = ()

    @property
    def ratio(self) -> float | None:
        """How many times as many calls as the naive gateway one core carries, by CPU time."""
        return None if self.naive is None else self.naive.cpu_us_per_call_second / self.ours.cpu_us_per_call_second

    @property
    def most_calls(self) -> int | None:
        """The largest number of calls within the limits; None where none was."""
        return max(map(_calls_of, _passed(self.ours_tried)), default=None)

    @property
    def naive_most_calls(self) -> int | None:
        """The same of the naive gateway."""
        return max(map(_calls_of, _passed(self.naive_tried)), default=None)

    def as_json(self) -> dict[str, object]:
        """One document."""
        return {
            "bench": "realtime",
            "options": asdict(self.options),
            "is_pinned": self.is_pinned,
            "ours": self.ours.as_json(),
            "naive": self.naive.as_json() if self.naive is not None else None,
            "ratio": round(self.ratio, 2) if self.ratio is not None else None,
            "most_calls": self.most_calls,
            "naive_most_calls": self.naive_most_calls,
            "ours_tried": [run.as_json() for run in self.ours_tried],
            "naive_tried": [run.as_json() for run in self.naive_tried],
        }

    def as_text(self) -> str:
        """For people."""
        options = self.options
        wire = (
            f"{'wss' if options.tls else 'ws'}, {options.format}, appends of {options.append_ms} ms, "
            f"deltas of {options.delta_ms} ms, jitter buffer of {options.jitter_ms} ms"
        )
        pinned = "pinned to a core of its own" if self.is_pinned else "NOT pinned: it shares the cores with its callers"
        lines = [f"realtime: {wire}, {options.seconds:g} s; the gateway is {pinned}", "this gateway"]
        lines += self.ours.lines()
        if self.naive is not None:
            lines.append(f"naive gateway (each call for itself), appends of {options.baseline_append_ms} ms")
            lines += self.naive.lines()
            lines.append(
                f"ratio: {self.ratio:.1f} times as many calls a core, by the CPU time of {self.ours.calls} calls here "
                f"and {self.naive.calls} there"
            )
        if options.search:
            for name, tried in (("this gateway", self.ours_tried), ("naive gateway", self.naive_tried)):
                lines += [f"{name} with {run.calls} calls: {run.verdict}" for run in tried]
            there = f", {self.naive_most_calls or 'none'} there" if self.naive_tried else ""
            lines.append(f"most calls within the limits: {self.most_calls or 'none'} here{there}")
        return "\n".join(lines)


def run(options: RealtimeBenchOptions, *, json: bool = False) -> RealtimeBench:
    """Measure, print a report or one JSON document to stdout, and return what was measured.

    Raises:
        ResourceError: a process did not start, or ended.
    """
    result = measure(options)
    sys.stdout.write((json_module.dumps(result.as_json()) if json else result.as_text()) + "\n")
    return result


def measure(options: RealtimeBenchOptions) -> RealtimeBench:
    """Measure and print no report; a search tells its steps on stderr. Raises: ResourceError."""
    return asyncio.run(_measure(options))


async def _measure(options: RealtimeBenchOptions) -> RealtimeBench:
    naive_options = replace(options, append_ms=options.baseline_append_ms)
    naive = await _tries(NAIVE, naive_options, options.baseline_calls) if options.baseline_calls else ()
    ours = await _tries(OURS, options, options.calls)
    return RealtimeBench(
        options=options,
        is_pinned=bool(cores()[0]),
        ours=_best(ours),
        naive=_best(naive) if naive else None,
        ours_tried=ours,
        naive_tried=naive,
    )


async def _tries(gateway: str, options: RealtimeBenchOptions, calls: int) -> tuple[GatewayRun, ...]:
    """One run; or, in a search, all it took."""
    if not options.search:
        return (await run_gateway(gateway, options, calls),)
    tried: list[GatewayRun] = []
    most, least_failed = 0, 0
    while len(tried) < SEARCH_STEPS:
        try:
            tried.append(await run_gateway(gateway, options, calls))
        except ResourceError as error:  # so many that it, or its peers, could not even be asked
            if not most:
                raise
            _note_progress(f"{gateway} with {calls} calls: {error}")
            break
        _note_progress(f"{gateway} with {calls} calls: {tried[-1].verdict}")
        if tried[-1].failures:
            least_failed = calls
            following = (most + calls) // 2
        else:
            most = calls
            following = (calls + least_failed) // 2 if least_failed else int(calls * SEARCH_STEP) + 1
        if following < 1 or (least_failed and least_failed - most <= max(least_failed // 20, 1)):
            break
        calls = following
    return tuple(tried)


def _note_progress(line: str) -> None:
    """A search takes minutes."""
    sys.stderr.write(line + "\n")


def _passed(tried: Iterable[GatewayRun]) -> list[GatewayRun]:
    return [run for run in tried if not run.failures]


def _best(tried: tuple[GatewayRun, ...]) -> GatewayRun:
    """The largest that passed; of none, the smallest."""
    passed = _passed(tried)
    return max(passed, key=_calls_of) if passed else min(tried, key=_calls_of)


def _calls_of(run: GatewayRun) -> int:
    return run.calls


async def run_gateway(gateway_module: str, options: RealtimeBenchOptions, calls: int) -> GatewayRun:
    """One gateway, by its module of the rig, with so many calls. Raises: ResourceError."""
    own_cores, other_cores = cores()
    shape = {"cores": other_cores, "calls": calls, "delta_ms": options.delta_ms, "tls": options.tls}
    peers, there = await RigProcess.start("peers", shape)
    try:
        gateway_options = {
            "cores": own_cores,
            "calls": calls,
            "url": there["url"],
            "ca_file": str(CERTIFICATE),
            "format": options.format,
            "append_ms": options.append_ms,
            "jitter_ms": options.jitter_ms,
        }
        gateway, _ = await RigProcess.start(gateway_module, gateway_options)
        try:
            return await _run_calls(gateway, peers, there, options)
        finally:
            await gateway.stop()
    finally:
        await peers.stop()


async def _run_calls(
    gateway: RigProcess, peers: RigProcess, there: Answer, options: RealtimeBenchOptions
) -> GatewayRun:
    set_up = await gateway.ask("set up", count=options.set_ups, caller=there["nobody"])
    opened = await gateway.ask("open", callers=there["callers"])
    await peers.ask("start", ports=opened["ports"])
    await asyncio.sleep(options.warm_up_s)
    peers_before, before = await peers.ask("begin"), await gateway.ask("begin")
    await asyncio.sleep(options.seconds)
    after, peers_after = await gateway.ask("figures"), await peers.ask("end")
    sent = (await peers.ask("hush"))["packets_sent"]
    own = await _drained(gateway, sent)
    seen = await peers.ask("figures")
    share, peers_share = Share.between(before, after), Share.between(peers_before, peers_after)
    calls = len(there["callers"])
    return GatewayRun(
        calls=calls,
        cpu_us_per_call_second=round(share.cpu_s / share.span_s / calls * 1e6, 1),
        cpu_percent=share.cpu_percent,
        waited_percent=share.waited_percent,
        late_ms=Spread.of(seen["late_ms"]),
        own_late_ms=Spread.of(after["own_late_ms"]),
        tick_ms=Spread.of(after["tick_ms"]),
        ticks_missed_percent=round(100 * after["ticks_missed"] / max(after["ticks"] + after["ticks_missed"], 1), 1),
        lost_to_gateway=max(sent - own["packets_received"], 0),
        lost_from_gateway=seen["packets_missing"],
        callers_drops=seen["kernel_drops"],
        uplink_ms=Spread.of(seen["uplink_ms"]),
        downlink_ms=Spread.of(seen["downlink_ms"]),
        bursts=seen["bursts"],
        bursts_heard=seen["bursts_heard"],
        replies_heard=seen["replies_heard"],
        memory_per_call_kib=round((after["rss_kib"] - opened["rss_kib"] - after["queued_bytes"] / 1024) / calls, 1),
        set_ups_per_core_second=round(options.set_ups / set_up["cpu_s"], 1) if set_up["cpu_s"] else 0.0,
        lost_sessions=own["lost_sessions"],
        peers_cpu_percent=peers_share.cpu_percent,
        peers_waited_percent=peers_share.waited_percent,
    )


async def _drained(gateway: RigProcess, packets: int) -> Answer:
    """The figures of a gateway once it has received `packets`, or takes no more of them."""
    own = await gateway.ask("figures")
    for _ in range(_DRAIN_LOOKS):
        await asyncio.sleep(_DRAIN_LOOK_S)
        own = await gateway.ask("figures")
        if own["packets_received"] >= packets:
            break
    return own
