"""What is spent and what may be: a meter for each session, and limits that a reading is held against. Pure.

::

    Usage of replies, questions, reports ──add──────────────┐
    Usage of transcripts ─────────add_transcript────────────┼──> Meter ──reading(now)──> Reading ──> Budget.share
    the session opens, time passes, it ends ──begin, end────┘

A reply costs when its usage arrives, also one that was cancelled. Providers who bill by time are counted by our clock
from the session's beginning, and corrected by what they report themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal

from gateway.realtime.events import Usage
from gateway.realtime.prices import FREE, Price

MINUTE_S = 60.0
NO_USAGE = Usage()


def add(one: Usage, other: Usage) -> Usage:
    """Both together."""
    return Usage(**{f.name: getattr(one, f.name) + getattr(other, f.name) for f in fields(Usage)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was spent so far."""

    usage: Usage = NO_USAGE
    """Of the model: replies, questions, reports."""
    transcription: Usage = NO_USAGE
    seconds: float = 0.0
    """For how long a session was open."""
    cost: Decimal = FREE
    """USD, as far as the prices are known."""
    is_priced: bool = True
    """Whether all that was used has a known price."""

    def __add__(self, other: Reading) -> Reading:
        return Reading(
            usage=add(self.usage, other.usage),
            transcription=add(self.transcription, other.transcription),
            seconds=self.seconds + other.seconds,
            cost=self.cost + other.cost,
            is_priced=self.is_priced and other.is_priced,
        )

    @property
    def tokens(self) -> int:
        """All of the model's tokens, in and out."""
        return self.usage.input_tokens + self.usage.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent; None: as much as comes."""

    minutes: float | None = None
    """While a session is open."""
    tokens: int | None = None
    money: Decimal | None = None
    """USD."""

    @property
    def is_limited(self) -> bool:
        """Whether it forbids anything."""
        return (self.minutes, self.tokens, self.money) != (None, None, None)

    def share(self, spent: Reading) -> tuple[float, str]:
        """How much of it is used up, 1.0 for all, and of what; of what is used up most."""
        shares = [(0.0, "")]
        if self.minutes is not None:
            shares.append((spent.seconds / (self.minutes * MINUTE_S), "minutes"))
        if self.tokens is not None:
            shares.append((spent.tokens / self.tokens, "tokens"))
        if self.money is not None:
            shares.append((float(spent.cost / self.money), "money"))
        return max(shares)


NO_BUDGET = Budget()


class Meter:
    """What one session spends. ``price`` None: nobody knows what it costs. Times are monotonic seconds."""

    def __init__(self, price: Price | None, transcription: Price | None) -> None:
        self._price = price
        self._transcription_price = transcription
        self._usage = Usage()
        self._transcription = Usage()
        self._cost = FREE
        self._is_priced = True
        self._seconds = 0.0
        self._unreported_s = 0.0  # open since the provider last told what it bills
        self._read_s: float | None = None  # when the clock was last looked at; None: the session is not open

    @property
    def is_open(self) -> bool:
        """Whether the session has begun and not ended."""
        return self._read_s is not None

    def begin(self, now: float) -> None:
        """The session is open from now on; nothing where it was."""
        if self._read_s is None:
            self._read_s = now

    def end(self, now: float) -> None:
        """It is open no more."""
        self._look(now)
        self._read_s = None

    def reprice(self, price: Price | None, transcription: Price | None, now: float) -> None:
        """Another model has taken over, and another transcription."""
        self._look(now)
        self._settle()
        self._price, self._transcription_price = price, transcription

    def add(self, usage: Usage, now: float) -> None:
        """The provider bills this for the model's work."""
        self._look(now)
        self._usage = add(self._usage, usage)
        if self._price is None:
            self._is_priced = False
            return
        self._cost += self._price.cost(usage)
        if usage.seconds:
            self._cost += _by_time(self._price, usage.seconds)
            self._unreported_s = 0.0

    def add_transcript(self, usage: Usage) -> None:
        """The provider bills this for writing down what the caller said."""
        self._transcription = add(self._transcription, usage)
        price = self._transcription_price
        if price is None:
            self._is_priced = False
        else:
            self._cost += price.cost(usage) + _by_time(price, usage.seconds)

    def reading(self, now: float) -> Reading:
        """What was spent until now."""
        self._look(now)
        is_running_up = FREE if self._price is None else _by_time(self._price, self._unreported_s)
        return Reading(
            usage=self._usage,
            transcription=self._transcription,
            seconds=self._seconds,
            cost=self._cost + is_running_up,
            is_priced=self._is_priced and (self._price is not None or not self._seconds),
        )

    def _look(self, now: float) -> None:
        if self._read_s is not None:
            passed_s, self._read_s = now - self._read_s, now
            self._seconds += passed_s
            self._unreported_s += passed_s

    def _settle(self) -> None:
        """Take what the clock shows as billed."""
        if self._price is not None:
            self._cost += _by_time(self._price, self._unreported_s)
        elif self._unreported_s:
            self._is_priced = False
        self._unreported_s = 0.0


def _by_time(price: Price, seconds: float) -> Decimal:
    return price.per_second * Decimal(round(seconds, 3)).quantize(Decimal("0.001"))
