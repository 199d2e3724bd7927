"""Where callers leave messages, and who is told of them. Frozen; what may be a secret is left out of every ``repr``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.dialplan.actions import Prompt
from gateway.dialplan.tools import HttpRequest

MESSAGE_LIMIT_S = 180.0
MESSAGE_SILENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNotice:
    """A request that tells of a message; its body is the message's facts as JSON unless the plan gives another."""

    request: HttpRequest
    attaches: bool = False
    """Whether the recording goes along, as base64 in ``audio``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailNotice:
    """A letter by the configuration's mail server; ``attaches``: the recording goes along."""

    to: tuple[str, ...]
    subject: str = ""
    """"": one that names mailbox and caller."""
    attaches: bool = True


Notice: TypeAlias = WebhookNotice | EmailNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Where messages are left: a prompt, a beep, at most ``limit_s`` of speech; ``silence_s`` or a key ends it."""

    name: str
    prompt: Prompt | None = None
    has_beep: bool = True
    limit_s: float = MESSAGE_LIMIT_S
    silence_s: float = MESSAGE_SILENCE_S
    has_transcript: bool = True
    """Whether the words are written down, by the plan's realtime session ``use``."""
    notices: tuple[Notice, ...] = ()
