"""The calls of a plan's ``tests``: what happens during each, and what has to become of it. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from gateway.dialplan.actions import Action, AnswerLength, RecordingChange
from gateway.dialplan.dialogue import Dialogue
from gateway.dialplan.facts import EMPTY, CallFacts


class Happening(Enum):
    """What a session may see happen, beside the keys and words of the caller; the values are a plan's words."""

    FAILED_TOOLS = "failed_tools"
    REPEATS = "repeats"
    SILENCE = "silence"
    NOT_UNDERSTOOD = "not_understood"
    MINUTES = "minutes"
    COST_OVER = "cost_over"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class KeyPressed:
    """The caller presses a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class DigitsEntered:
    """The caller enters a number, and nothing more."""

    digits: str


@dataclass(frozen=True, slots=True)
class WordsSaid:
    """The caller says something."""

    text: str


@dataclass(frozen=True, slots=True)
class NothingDone:
    """The caller does nothing until the plan gives up asking."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Something that is counted has come so far: times, seconds, minutes, USD, a share."""

    what: Happening
    amount: Decimal


@dataclass(frozen=True, slots=True)
class LanguageChanged:
    """The conversation goes over to a language."""

    language: str


@dataclass(frozen=True, slots=True)
class MoodReported:
    """The model reports how the caller feels."""

    kind: str


@dataclass(frozen=True, slots=True)
class ProviderLost:
    """The model cannot be reached, or is lost."""


@dataclass(frozen=True, slots=True)
class Advised:
    """The web service of this escalation says: escalate."""

    escalation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """What a hook answers; ``actions`` None: nothing that can be used."""

    actions: tuple[Action, ...] | None = None
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)


class TransferEnd(Enum):
    """What becomes of a transfer."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"


ExampleEvent: TypeAlias = (
    KeyPressed
    | DigitsEntered
    | WordsSaid
    | NothingDone
    | Reached
    | LanguageChanged
    | MoodReported
    | ProviderLost
    | Advised
    | HookAnswer
    | TransferEnd
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What an example call has to come to. None (of ``variables``: nothing) where the example does not say."""

    route: str | None = None
    session: str | None = None
    transfer: str | None = None
    reject: int | None = None
    play: Path | None = None
    say: str | None = None
    hang_up: bool | None = None
    queue: str | None = None
    voicemail: str | None = None
    callback: str | None = None
    recording: RecordingChange | None = None
    answers: AnswerLength | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCall:
    """One case of the plan's ``tests``: a call, what happens during it, what is expected. ``line`` is in the file.

    ``expected`` None: it is proved by its dialogue alone.
    """

    name: str
    line: int
    facts: CallFacts
    events: tuple[ExampleEvent, ...]
    expected: Expectation | None
    dialogue: Dialogue | None = None
