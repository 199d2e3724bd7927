"""Public holidays of a country or a part of it, by the library ``holidays``, which is loaded when a plan names one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from importlib import import_module
from typing import Protocol

from gateway.errors import shown
from gateway.located import WrongValue, hint


class _Calendar(Protocol):
    """A calendar of the library: works a year out when it is asked for, and keeps it."""

    def get(self, key: date, /) -> str | None:
        """The holiday of that day."""


@dataclass(frozen=True, slots=True)
class Region:
    """Whose public holidays: ISO 3166-1, with a subdivision of ISO 3166-2 where there is one: ``DE-BE``."""

    code: str
    _calendar: _Calendar = field(repr=False, compare=False)

    def holiday(self, day: date) -> str:
        """The name of the holiday on `day`; "" where it is none."""
        return self._calendar.get(day) or ""


def parse_region(code: str) -> Region:
    """The region of ``DE`` or ``DE-BE``.

    Raises:
        WrongValue: no such country, or no such part of it, as far as the library knows.
    """
    holidays = import_module("holidays")  # 0.2 s and 10 MB that plans without public holidays are spared
    known: Mapping[str, list[str]] = holidays.list_supported_countries()
    country, _, part = code.partition("-")
    if country not in known:
        raise WrongValue(
            f"is {shown(code)!r}, which is no country known", expected=hint(country, filter(_is_alpha_2, known))
        )
    if part and part not in known[country]:
        raise WrongValue(
            f"is {shown(code)!r}, which is no part of {country}", expected=_hint_of_part(country, part, known[country])
        )
    return Region(code, holidays.country_holidays(country, subdiv=part or None, language="en_US"))


def _is_alpha_2(code: str) -> bool:
    """Of the codes that plans name; the library also has those of three letters."""
    return len(code) == 2


def _hint_of_part(country: str, part: str, known: Sequence[str]) -> str:
    """The nearest part, or all of them: what all share, ``DE-``, brings none nearer."""
    near = get_close_matches(part, known, n=1)
    codes = [f"{country}-{name}" for name in near or known] or [country]
    return f"did you mean {codes[0]!r}?" if near else f"expected one of {shown(', '.join(codes), 200)}"
