"""What escalations tell a call and ask of it: the part of `gateway.calls.events` that is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.calls.escalation.facts import Fact
from gateway.dialplan.tools import HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class FactNoticed:
    """Something that an escalation may wait for."""

    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class AskVerdict:
    """Ask the web service of an escalation about a turn of the caller; `VerdictReached` may follow.

    ``turn`` counts the caller's turns that had words, from 1; ``values`` are the variables of the call.
    """

    escalation: str
    request: HttpRequest
    turn: int
    text: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interject:
    """Let the session that is open say this; the conversation goes on."""

    text: str


EscalationCommand: TypeAlias = AskVerdict | Interject
