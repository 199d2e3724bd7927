"""What is known of a call when it comes in, or is placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What is known of a call when it comes in, or is placed.

    ``to`` and ``from_`` are the user parts (or telephone numbers) of the request's To and From; ``from_`` "" where the
    number is withheld. ``at`` is an aware time. Header names are compared without regard to case.

    Raises:
        ValueError: ``at`` has no time zone.
    """

    to: str
    from_: str
    at: datetime
    display_name: str = ""
    trunk: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    diversion: str = ""
    """The number that was called first, of a call that was diverted (RFC 5806, RFC 7044); "" for none."""
    languages: tuple[str, ...] = ()
    """Those of Accept-Language, ISO 639-1, the best first."""
    last_seen: datetime | None = None
    """When this number called before, where that is kept; aware."""
    call_id: str = ""
    is_outgoing: bool = False
    """We place it: ``to`` is whom we call, ``from_`` the number we call from."""
    given: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    """Values of variables that whoever places a call gives it, in place of the plan's own."""

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None:
            raise ValueError("at needs a time zone")

    def header(self, name: str) -> str | None:
        """The value of a header, its name in any case."""
        wanted = name.casefold()
        return next((value for key, value in self.headers.items() if key.casefold() == wanted), None)
