"""The model: what its session tells, and what it is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """The realtime session is configured and listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLost:
    """The session could not be opened, or has ended without our asking."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSpoke:
    """The model heard the caller begin to speak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAsked:
    """The model wants a tool to be run. Names and arguments are its words, not to be trusted.

    ``turn`` counts what the caller has said so far.
    """

    call_id: str
    name: str
    arguments: Mapping[str, object]
    response_id: str = ""
    turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFailed:
    """A tool could not be run, or did not do what was asked."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Open the dialplan's session of that name; answers with `SessionOpened` or `SessionLost`.

    A session that is open already is closed, and heard of no more. ``variables`` are those of the call.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Let the session go; nothing more is heard of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greet:
    """Let the session speak first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BargeIn:
    """Silence the model at once and tell it how much of its words was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeAudio:
    """Let caller and model hear each other, or not (while a file plays, or the PBX moves the caller).

    With ``lets_finish`` the caller still hears what the model is about to say, and is heard no more. With
    ``keeps_caller`` the model hears afterwards what the caller says meanwhile, with ``keeps_said`` only what was kept
    before.
    """

    is_open: bool
    lets_finish: bool = False
    keeps_caller: bool = False
    keeps_said: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyToTool:
    """Give the model a tool's result, which is data; `respond` makes it speak about it."""

    call_id: str
    output: Mapping[str, object]
    respond: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TellModel:
    """Put a fact into the conversation (digits pressed, a transfer that failed) and let the model react."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortenAnswers:
    """Ask the model for short answers from now on, and keep it from long ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTool:
    """Run a tool of the session beside the call, and give the model its result."""

    call_id: str
    name: str
    arguments: Mapping[str, object]
    response_id: str = ""


SessionEvent: TypeAlias = SessionOpened | SessionLost | CallerSpoke | ToolAsked | ToolFailed
SessionCommand: TypeAlias = (
    OpenSession | CloseSession | Greet | BargeIn | BridgeAudio | ReplyToTool | TellModel | ShortenAnswers
)
