"""Patterns of a route's match, and how a number is compared.

A number (digits, ``+``, ``*``, ``#``) loses the separators people write in it before it is compared: RFC 3966 3 has
``-``, ``.``, ``(`` and ``)``, and spaces go with them. The ``+`` stays and counts: +49301, 0049301 and 49301 are three
different numbers. Everything else is a name, keeps every character, and is compared without regard to case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from gateway.dialplan.regex import Regex, compile_regex
from gateway.errors import shown
from gateway.located import WrongValue

ANONYMOUS = "anonymous"
_NUMBER = re.compile(r"[0-9+*#() .-]+")
_SEPARATORS = str.maketrans("", "", "-.() ")


class PatternKind(Enum):
    """The forms a pattern takes."""

    ANY = auto()
    EXACT = auto()
    PREFIX = auto()
    REGEX = auto()
    ANONYMOUS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One pattern. ``text`` is as written, ``normal`` what is compared; ``regex`` belongs to `PatternKind.REGEX`."""

    kind: PatternKind
    text: str
    normal: str = ""
    regex: Regex | None = None

    @property
    def is_any(self) -> bool:
        """Whether it takes everything, a withheld number included."""
        return self.kind is PatternKind.ANY

    def matches(self, normal: str) -> bool:
        """Whether it takes `normal`, which `normal_number`, `normal_caller` or `normal_text` made."""
        if self.regex is not None:
            return self.regex.fullmatch(normal)
        if self.kind is PatternKind.PREFIX:
            return normal.startswith(self.normal)
        return self.is_any or normal == self.normal

    def covers(self, other: Pattern) -> bool:
        """Whether it surely takes whatever `other` takes. Two expressions are compared by their text only."""
        if self.is_any:
            return True
        if other.kind is PatternKind.PREFIX:
            return self.kind is PatternKind.PREFIX and other.normal.startswith(self.normal)
        if other.kind in (PatternKind.EXACT, PatternKind.ANONYMOUS):
            return self.matches(other.normal)
        return self.regex is not None and other.regex is not None and self.regex.text == other.regex.text


def normal_number(text: str) -> str:
    """`text` as numbers and names are compared: a number without separators, a name in lower case."""
    text = text.strip()
    return text.translate(_SEPARATORS) if _NUMBER.fullmatch(text) else text.casefold()


def normal_caller(text: str) -> str:
    """Like `normal_number`; "" for a caller who withholds the number (no user, or RFC 3323 4.1's ``anonymous``)."""
    normal = normal_number(text)
    return "" if normal == ANONYMOUS else normal


def normal_text(text: str) -> str:
    """`text` of a header as it is compared: without outer spaces, in lower case."""
    return text.strip().casefold()


def parse_number(text: str) -> Pattern:
    """A pattern for the called number: ``7000``, ``+4930*``, ``/7[0-9]{3}/`` or ``*`` for every number.

    Raises:
        WrongValue: empty, or a bad expression.
    """
    if special := _special(text):
        return special
    is_prefix = text.endswith("*")
    stem = text.removesuffix("*")
    if "*" in stem.lstrip("*") or (stem.startswith("*") and is_prefix and not stem.strip("*")):
        raise WrongValue(
            f"holds {shown(text)!r} with a * inside", expected="expected * at the end, or an expression such as /7.*0/"
        )
    normal = normal_number(stem)
    if not normal:
        raise WrongValue(f"holds {shown(text)!r}, separators alone", expected="expected a number or a name")
    return Pattern(kind=PatternKind.PREFIX if is_prefix else PatternKind.EXACT, text=text, normal=normal)


def parse_caller(text: str) -> Pattern:
    """A pattern for the calling number: as `parse_number`, and ``anonymous`` for a withheld one.

    Raises:
        WrongValue: empty, or a bad expression.
    """
    if text.strip().casefold() == ANONYMOUS:
        return Pattern(kind=PatternKind.ANONYMOUS, text=text)
    return parse_number(text)


def parse_text(text: str) -> Pattern:
    """A pattern for a header's value: exact, ``prefix*``, ``/expression/``, or ``*`` for any value.

    Raises:
        WrongValue: empty, or a bad expression.
    """
    if special := _special(text):
        return special
    is_prefix = text.endswith("*")
    normal = text.removesuffix("*").strip().casefold()
    return Pattern(kind=PatternKind.PREFIX if is_prefix else PatternKind.EXACT, text=text, normal=normal)


def _special(text: str) -> Pattern | None:
    if not text.strip():
        raise WrongValue("is empty", expected="expected a pattern such as 7000, +4930* or /7[0-9]{3}/")
    if text.strip() == "*":
        return Pattern(kind=PatternKind.ANY, text=text)
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return Pattern(kind=PatternKind.REGEX, text=text, regex=compile_regex(text[1:-1]))
    return None
