"""What a gateway adds to the way of speech: from the telephone to the model, and from the model to the telephone.

::

    telephone ──RTP──> gateway ──append──> model      uplink: first packet of the caller's words leaves the telephone
                                                      -> the append with their beginning is received by the model's
                                                      kernel; the wait until an append is full is part of it
    telephone <──RTP── gateway <──delta─── model      downlink: first piece of a reply is given to the model's kernel
                                                      -> the first packet with it is received by the telephone's kernel

Both ends are programs of ours on one machine, and their times are of its one clock. Only words that begin in silence
count: a reply while the telephone still hears the one before has no beginning there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from gateway.simulate.stamped_ports import Onset

LIMIT_NS = 2_000_000_000
"""What comes later than this belongs to other words, or is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Milliseconds of one way; 0 where nothing was measured."""

    count: int = 0
    """words, or replies, that were measured"""
    p50_ms: float = 0.0
    p99_ms: float = 0.0

    @classmethod
    def of(cls, delays_ns: Sequence[int]) -> Self:
        """Their median and 99th percentile, to a tenth of a millisecond."""
        if not delays_ns:
            return cls()
        p50, p99 = (np.percentile(delays_ns, (50, 99)) / 1e6).round(1).tolist()
        return cls(count=len(delays_ns), p50_ms=p50, p99_ms=p99)

    def as_json(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"p50 {self.p50_ms} ms, p99 {self.p99_ms} ms ({self.count})" if self.count else "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTimes:
    """What a speech model noted of one caller, in nanoseconds of the system's clock."""

    appended_ns: tuple[int, ...]
    """when the append arrived that began a turn"""
    replied_ns: tuple[int, ...]
    """when the first piece of a reply was sent"""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From what its process told."""
        return cls(appended_ns=tuple(told["appended_ns"]), replied_ns=tuple(told["replied_ns"]))


@dataclass(slots=True, kw_only=True)
class AddedLatency:
    """Delays of all calls together, both ways."""

    _uplink_ns: list[int] = field(default_factory=list)
    _downlink_ns: list[int] = field(default_factory=list)

    def add(self, said_ns: Sequence[int], onsets: Sequence[Onset], model: ModelTimes) -> None:
        """Count one call: what its telephone noted, and what the model did."""
        self._uplink_ns += uplink_delays(said_ns, model.appended_ns)
        self._downlink_ns += downlink_delays(model.replied_ns, onsets)

    @property
    def uplink(self) -> Delay:
        """From the telephone to the model."""
        return Delay.of(self._uplink_ns)

    @property
    def downlink(self) -> Delay:
        """From the model to the telephone."""
        return Delay.of(self._downlink_ns)


def uplink_delays(said_ns: Sequence[int], appended_ns: Sequence[int]) -> list[int]:
    """For each of the words the time until the first turn that the model began because of them."""
    ends = [*said_ns[1:], math.inf]
    found: list[int] = []
    for said, end in zip(said_ns, ends, strict=False):
        first = next((appended for appended in appended_ns if said <= appended < min(end, said + LIMIT_NS)), None)
        if first is not None:
            found.append(first - said)
    return found


def downlink_delays(replied_ns: Sequence[int], onsets: Sequence[Onset]) -> list[int]:
    """For each reply that began in silence the time until it was heard."""
    ends = [*replied_ns[1:], math.inf]
    found: list[int] = []
    for replied, end in zip(replied_ns, ends, strict=False):
        first = next((onset for onset in onsets if onset.at_ns >= replied), None)
        if first is not None and first.silent_since_ns < replied and first.at_ns < min(end, replied + LIMIT_NS):
            found.append(first.at_ns - replied)
    return found
