"""Load: many telephones that call at a given rate, stay, and hang up, and what they noticed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.simulate.listening import RATE_HZ
from gateway.simulate.marks import MARKS, mark
from gateway.simulate.phone import Phone
from gateway.simulate.phone_call import PhoneCall

ANSWER_LIMIT_S = 15.0
NOISE_LEVEL = 1500
SPEECH_LEVEL = 500
"""Amplitude at which the agent counts as heard."""
TURN_S = 1.2
PAUSE_S = 2.8
VOICES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Who calls: `calls` in all, `rate_cps` new ones a second, each staying `hold_s` after the answer."""

    calls: int
    rate_cps: float
    hold_s: float
    leaves_together: bool = False
    """`hold_s` counts from when the last one has called: all are there at once."""
    is_marked: bool = False
    """Callers begin with `gateway.simulate.marks`, each with its own, as many as there are."""
    number: str = "7000"
    peer: str = "gateway"

    def hold_of(self, index: int) -> float:
        """How long the caller of that index stays, in seconds."""
        return self.hold_s + ((self.calls - 1 - index) / self.rate_cps if self.leaves_together else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What the callers saw. Packets as received there; lost are gaps in the sequence numbers of what was received."""

    calls: int
    answered: int
    refused: int
    concurrent: int
    setups_per_s: float
    setup_p50_ms: float
    setup_p99_ms: float
    packets_sent: int
    packets_received: int
    packets_lost: int
    packets_late: int
    calls_heard: int
    call_seconds: float
    """of all answered calls together"""

    def as_json(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def babble(duration_s: float, seed: int) -> NDArray[np.int16]:
    """Noise in syllables, int16[samples] at 8 kHz: loud enough to be audio, unlike any word."""
    noise = np.random.default_rng(seed).normal(0, NOISE_LEVEL, round(duration_s * RATE_HZ))
    syllables = np.sin(np.arange(len(noise)) * (2 * np.pi * 3 / RATE_HZ)).clip(0)
    samples: NDArray[np.int16] = np.clip(noise * syllables, -32768, 32767).astype(np.int16)
    return samples


def words(seed: int, number: int | None = None) -> NDArray[np.int16]:
    """What a caller says in a turn, int16[samples] at 8 kHz: with the mark of that number in front, or none."""
    sound = babble(TURN_S, seed % VOICES)
    if number is not None:
        begin = mark(number)
        sound[: len(begin)] = begin
    return sound


async def run_load(phone: Phone, options: LoadOptions, calls: list[PhoneCall] | None = None) -> LoadResult:
    """Place the calls, wait for the last to end, and sum up. `calls` is filled with them, in their order."""
    started_s = time.monotonic()
    calls = [] if calls is None else calls
    watch = _Watch()
    async with asyncio.TaskGroup() as tasks:
        for index in range(options.calls):
            await asyncio.sleep(max(0.0, started_s + index / options.rate_cps - time.monotonic()))
            call = phone.dial(options.peer, options.number)
            calls.append(call)
            call.keeps_audio = False
            sound = words(index, index if options.is_marked and index < MARKS else None)
            tasks.create_task(_stay(call, options.hold_of(index), sound, watch))
    return _result(calls, watch)


class _Watch:
    """How many are talking, at most; when the first and last were answered."""

    def __init__(self) -> None:
        self.talking = 0
        self.most = 0
        self.answered_s: list[float] = []
        self.call_seconds = 0.0

    def begin(self) -> None:
        self.talking += 1
        self.most = max(self.most, self.talking)
        self.answered_s.append(time.monotonic())

    def end(self, answered_s: float) -> None:
        self.talking -= 1
        self.call_seconds += time.monotonic() - answered_s


async def _stay(call: PhoneCall, hold_s: float, sound: NDArray[np.int16], watch: _Watch) -> None:
    waits = [asyncio.ensure_future(call.answered.wait()), asyncio.ensure_future(call.ended.wait())]
    await asyncio.wait(waits, timeout=ANSWER_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if not call.answered.is_set():
        call.hang_up()
        return
    watch.begin()
    answered_s = watch.answered_s[-1]
    talk = asyncio.ensure_future(_talk(call, sound))
    try:
        async with asyncio.timeout(hold_s):
            await call.ended.wait()
    except TimeoutError:
        call.hang_up()
    finally:
        talk.cancel()
    watch.end(answered_s)


async def _talk(call: PhoneCall, sound: NDArray[np.int16]) -> None:
    """Speak in turns, so that the agent has its own."""
    while True:
        await asyncio.sleep(PAUSE_S)
        call.say(sound)
        await asyncio.sleep(TURN_S)


def percentile(values: Sequence[float], percent: float) -> float:
    """To a tenth; 0 of nothing."""
    return round(float(np.percentile(values, percent)), 1) if values else 0.0


def _result(calls: Sequence[PhoneCall], watch: _Watch) -> LoadResult:
    setups_ms = [(c.answered_s - c.dialled_s) * 1000 for c in calls if c.answered_s is not None]
    statistics = [call.statistics for call in calls if call.statistics is not None]
    span_s = max(watch.answered_s) - min(watch.answered_s) if len(watch.answered_s) > 1 else 0.0
    return LoadResult(
        calls=len(calls),
        answered=len(setups_ms),
        refused=sum(call.refused is not None for call in calls),
        concurrent=watch.most,
        setups_per_s=round((len(setups_ms) - 1) / span_s, 1) if span_s else 0.0,
        setup_p50_ms=percentile(setups_ms, 50),
        setup_p99_ms=percentile(setups_ms, 99),
        packets_sent=sum(s.packets_sent for s in statistics),
        packets_received=sum(s.packets_received for s in statistics),
        packets_lost=sum(s.packets_lost for s in statistics),
        packets_late=sum(s.packets_late for s in statistics),
        calls_heard=sum(call.loudest > SPEECH_LEVEL for call in calls),
        call_seconds=round(watch.call_seconds, 1),
    )
