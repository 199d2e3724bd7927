"""A scripted conversation of a plan's ``tests``: what the caller does turn by turn, and what has to come of it. Frozen.

It is held by `gateway dialplan test --live` over real SIP and RTP; nothing here decides or runs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

OUTCOMES = (
    "caller-hung-up",
    "callee-hung-up",
    "cancelled",
    "gateway-hung-up",
    "transferred",
    "rejected",
    "refused",
    "failed",
)
"""How a call can end, in the words of its record."""


class Behaviour(Enum):
    """What a contact does when the telephone rings."""

    ANSWERS = "answers"
    """Picks up, and presses no key."""
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    """Lets it ring."""
    DECLINES = "declines"
    UNREACHABLE = "unreachable"
    """There is no such telephone."""
    ACCEPTS = "accepts"
    """Picks up, and presses the key that takes the call where one is asked for. What contacts do unless told."""
    REFUSES = "refuses"
    """Picks up, and presses the key that refuses the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What has to be so at a point of the dialogue. None, or nothing: it does not matter."""

    route: str | None = None
    session: str | None = None
    tools: tuple[str, ...] = ()
    """Those that the model has used by now, in this order; others may lie between them."""
    escalation: str | None = None
    transfer: str | None = None
    """The contact that the caller has been connected with."""
    message: str | None = None
    """Words of a message that the caller has left with the model."""
    voicemail: str | None = None
    """The mailbox in which a message has been left."""
    callback: str | None = None
    """The mailbox that has noted a wish to be called back."""
    vars: Mapping[str, str] = field(default_factory=dict)
    reject: int | None = None
    outcome: str | None = None
    """One of `OUTCOMES`, of the call that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hear:
    """The agent says these words next, among others."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """The caller speaks, once the agent has finished."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BargeIn:
    """The caller speaks while the agent does, who has to fall silent."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """The caller presses these keys, whoever is speaking."""

    line: int
    keys: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeSilent:
    """The caller does nothing for so long."""

    line: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """The caller hangs up."""

    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """All of it has to be so now, or soon."""

    line: int
    expected: Expected


Turn: TypeAlias = Hear | Say | BargeIn | Press | BeSilent | HangUp | Expect


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAnswer:
    """What a web service answers in a test; `is_failure`: nothing that can be used."""

    content: object = None
    is_failure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """The turns, and the world around them. ``line`` of a turn is in the plan's file."""

    turns: tuple[Turn, ...]
    contacts: Mapping[str, tuple[Behaviour, ...]] = field(default_factory=dict)
    """By contact, one for each of its targets; the last one holds for those behind it."""
    tools: Mapping[str, WebAnswer] = field(default_factory=dict)
    hooks: Sequence[WebAnswer] = ()
    """In the order in which hooks are asked; the last one also answers those that come behind it."""
