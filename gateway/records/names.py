"""Names of recordings: the operator's pattern, filled with what is known of a call.

Everything that comes from a call (numbers, Call-ID) is chosen by strangers. It is put in as letters, digits, ``+``,
``-`` and ``_`` of at most 64 characters, so that it names no other folder and nothing that a shell or a player minds.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

FIELDS = ("date", "time", "id", "caller", "called", "trunk", "route")
MAX_FIELD_CHARACTERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What a recording may be named after. ``started_at`` is aware."""

    call_id: str
    started_at: datetime
    caller: str = ""
    called: str = ""
    trunk: str = ""
    route: str = ""


def check_pattern(pattern: str) -> str:
    """`pattern` itself. Raises: ValueError, which says what is wrong with it."""
    try:
        fields = [
            (name, spec, conversion)
            for _, name, spec, conversion in string.Formatter().parse(pattern)
            if name is not None
        ]
    except ValueError as error:
        raise ValueError(f"has braces that do not match: {error}") from None
    for name, spec, conversion in fields:
        if name not in FIELDS or spec or conversion:
            raise ValueError(f"holds {{{name}}}")
    filled = PurePosixPath(pattern.format(**dict.fromkeys(FIELDS, "x")))
    if filled.is_absolute() or not filled.parts or any(part.startswith(".") for part in filled.parts):
        raise ValueError("leads out of the folder, or to a hidden file")
    if not pattern.isprintable() or pattern.endswith("/"):
        raise ValueError("is no file name")
    return pattern


def name_of(pattern: str, call: CallFacts) -> PurePosixPath:
    """Where the recording of `call` goes, relative to the folder of recordings; without a suffix."""
    at = call.started_at.astimezone(UTC)
    values: Mapping[str, str] = {
        "date": f"{at:%Y-%m-%d}",
        "time": f"{at:%H%M%S}",
        "id": call.call_id,
        "caller": call.caller,
        "called": call.called,
        "trunk": call.trunk,
        "route": call.route,
    }
    return PurePosixPath(pattern.format(**{name: plain(value) for name, value in values.items()}))


def plain(value: str) -> str:
    """`value` as it may stand in a name."""
    return re.sub(r"[^A-Za-z0-9+_-]", "_", value[:MAX_FIELD_CHARACTERS]) or "unknown"
