"""What sets an escalation off: facts of a session that the gateway sees for itself, never the model's opinion alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from gateway.dialplan.actions import Action
from gateway.dialplan.pattern import Pattern
from gateway.dialplan.tools import HttpRequest


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed a key: one of 0-9 * # A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class ProviderDown:
    """The model cannot be reached, or has been lost for good."""


@dataclass(frozen=True, slots=True)
class BudgetUsed:
    """So much of the nearest limit on what the call may spend is used up: a share, 1.0 for all of it."""

    share: float


@dataclass(frozen=True, slots=True)
class CostOver:
    """The call has cost more than so many USD."""

    usd: Decimal


@dataclass(frozen=True, slots=True)
class Said:
    """The caller's own words hold one of these phrases, as whole words, whatever case and accents."""

    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolsFailed:
    """So many tools of the model have failed in this call."""

    count: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """The caller has said much the same so many times in a row."""

    times: int


@dataclass(frozen=True, slots=True)
class SilentFor:
    """Neither the caller nor the model has been heard for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """So many turns of the caller in a row gave no words."""

    turns: int


@dataclass(frozen=True, slots=True)
class LastedFor:
    """The caller has been with the session for so many minutes."""

    minutes: float


@dataclass(frozen=True, slots=True)
class LanguageHeard:
    """The conversation has gone over to one of these languages (ISO 639-1)."""

    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SentimentReported:
    """The model has reported, by the tool ``report_sentiment``, that the caller is one of these."""

    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """A web service that is told each turn of the caller says so; the verdict of ``request`` is its own."""

    request: HttpRequest


Trigger: TypeAlias = (
    DigitPressed
    | ProviderDown
    | BudgetUsed
    | CostOver
    | Said
    | ToolsFailed
    | Repeated
    | SilentFor
    | NotUnderstood
    | LastedFor
    | LanguageHeard
    | SentimentReported
    | VerdictGiven
)


TRIGGER_WORDS: Mapping[type[Trigger], str] = {
    DigitPressed: "dtmf",
    ProviderDown: "provider_down",
    BudgetUsed: "budget",
    CostOver: "cost_over",
    Said: "said",
    ToolsFailed: "failed_tools",
    Repeated: "repeats",
    SilentFor: "silence",
    NotUnderstood: "not_understood",
    LastedFor: "minutes",
    LanguageHeard: "language",
    SentimentReported: "sentiment",
    VerdictGiven: "webhook",
}
"""How a plan writes each trigger."""
NEEDS_WORDS: tuple[type[Trigger], ...] = (Said, Repeated, NotUnderstood, VerdictGiven)
"""Triggers that need what the caller says in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What has to hold besides the trigger. An empty one asks nothing."""

    from_: tuple[Pattern, ...] = ()
    to: tuple[Pattern, ...] = ()
    hours: str | None = None
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """What happens on ``trigger`` while a session runs, whatever the model thinks."""

    name: str
    trigger: Trigger
    actions: tuple[Action, ...]
    circumstances: Circumstances = Circumstances()
