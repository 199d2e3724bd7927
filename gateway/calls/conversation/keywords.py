"""What callers are likely to say, told to whoever writes it down as keywords; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.dialplan.model import Dialplan
from gateway.dialplan.triggers import Said
from gateway.realtime.session import SessionOptions

EMBEDDED = "embedded"
MAX_KEYWORDS = 100
"""Of a session, with the configuration's own: as many as the embedded server listens for."""


def takes_keywords(options: SessionOptions) -> bool:
    """Whether keywords may be told: the embedded server takes them, and whoever the configuration gives some."""
    return options.provider == EMBEDDED or bool(options.transcription_keywords)


def awaited_phrases(plan: Dialplan, session: str) -> tuple[str, ...]:
    """The phrases that escalations of `plan` wait for in `session`, in the file's order, each once."""
    waiting = (e for e in plan.escalations if not e.circumstances.sessions or session in e.circumstances.sessions)
    listed = (e.trigger.phrases for e in waiting if isinstance(e.trigger, Said))
    return tuple(dict.fromkeys(phrase for phrases in listed for phrase in phrases))


def expecting(options: SessionOptions, phrases: Sequence[str]) -> SessionOptions:
    """The same with `phrases` behind its own keywords, as many as there is room for, where it takes any."""
    if not takes_keywords(options) or options.transcription_model is None:
        return options
    own = options.transcription_keywords
    further = [phrase for phrase in phrases if phrase not in own]
    return replace(options, transcription_keywords=(*own, *further[: max(0, MAX_KEYWORDS - len(own))]))
