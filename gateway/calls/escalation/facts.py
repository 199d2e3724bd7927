"""What the gateway notices of a call, for the dialplan's escalations: frozen, told to `Call` one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerHeard:
    """The caller has begun to speak, or what sounds like it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSaid:
    """One turn of the caller in words; "" where nothing was understood.

    Where it is not ``is_whole``, the model has begun to answer, and more of its words may follow: some providers tell
    of the whole only when the answer is over. ``echoed`` are the indices of those of its `words_of` that repeat what
    the agent was saying (`echo`). ``confidence`` is 0 to 1, where the provider tells it.
    """

    text: str
    echoed: frozenset[int] = frozenset()
    confidence: float | None = None
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsBroken:
    """So many tools of the model have failed by now."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceLasted:
    """Neither caller nor agent has been heard for so long; told once for each silence and each length."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkLasted:
    """The caller has been with the session for so many minutes; told once for each session."""

    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageChanged:
    """The conversation goes on in another language (ISO 639-1)."""

    language: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentimentShown:
    """The model has reported how the caller is: one of the plan's words for it."""

    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached:
    """The web service of the escalation of that name wants it to fire."""

    escalation: str


Fact: TypeAlias = (
    CallerHeard
    | CallerSaid
    | ToolsBroken
    | SilenceLasted
    | TalkLasted
    | LanguageChanged
    | SentimentShown
    | VerdictReached
)
