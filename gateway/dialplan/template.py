"""Texts with variables: ``{caller.number}`` is filled in for each call, ``{{caller.number}}`` stays as text.

``{hours.NAME}`` tells whether opening hours of the plan are open, ``{vars.NAME}`` what the plan has noted in this call.

What a caller's equipment sends (names, numbers) is data, not instruction: it goes in on one line, cut short, without
control characters, and in quotation marks that it cannot close. Filled-in text is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from gateway.errors import shown

MAX_OUTSIDE_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 1000
HOURS_PREFIX, VARS_PREFIX = "hours.", "vars."
_VARIABLE = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}")
_NUMBER = re.compile(r"[+]?[0-9]{2,}")
_EMPTY: Mapping[str, str] = MappingProxyType({})


class Variable(Enum):
    """What instructions may refer to."""

    CALLER_NUMBER = "caller.number"
    CALLER_NAME = "caller.name"
    CALLED_NUMBER = "called.number"
    NOW = "now"
    DIALPLAN_NAME = "dialplan.name"
    CONTACTS = "contacts"


@dataclass(frozen=True, slots=True)
class HoursState:
    """The place of ``{hours.NAME}``: whether these opening hours are open, and until when."""

    name: str


@dataclass(frozen=True, slots=True)
class CallVariable:
    """The place of ``{vars.NAME}``: a variable of the call."""

    name: str


Placeholder: TypeAlias = Variable | HoursState | CallVariable


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownVariable:
    """A variable that nobody fills in, and the offset of its brace in the text."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A text in pieces, in their order."""

    parts: tuple[str | Placeholder, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for every call."""
        return all(isinstance(part, str) for part in self.parts)

    def render(
        self, values: Mapping[Variable, str], hours: Mapping[str, str] = _EMPTY, variables: Mapping[str, str] = _EMPTY
    ) -> str:
        """The text with each variable replaced by its value; one of the call that was never set is "".

        Raises:
            KeyError: `values` or `hours` lacks one.
        """
        return "".join(_filled(part, values, hours, variables) for part in self.parts)


def _filled(
    part: str | Placeholder, values: Mapping[Variable, str], hours: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    match part:
        case str():
            return part
        case HoursState(name):
            return hours[name]
        case CallVariable(name):
            return variables.get(name, "")
        case _:
            return values[part]


def parse_template(text: str) -> tuple[Template, tuple[UnknownVariable, ...]]:
    """The template of `text`, and what is wrong with it. Braces around anything but a name are text.

    Which opening hours and variables of the call there are, the plan says: any name of them is taken.
    """
    parts: list[str | Placeholder] = []
    unknown: list[UnknownVariable] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[1]:
            parts.append("{" + match[1] + "}")
        elif variable := _placeholder(match[2]):
            parts.append(variable)
        else:
            unknown.append(UnknownVariable(name=match[2], offset=match.start()))
    parts.append(text[end:])
    return Template(parts=tuple(part for part in parts if part)), tuple(unknown)


def offset_of(text: str, wanted: Placeholder) -> int:
    """Where the brace of a variable stands in `text`, of which a template was made; 0 where it is not in there."""
    return next((m.start() for m in _VARIABLE.finditer(text) if m[2] and _placeholder(m[2]) == wanted), 0)


def _placeholder(name: str) -> Placeholder | None:
    if name.startswith(HOURS_PREFIX) and name != HOURS_PREFIX:
        return HoursState(name.removeprefix(HOURS_PREFIX))
    if name.startswith(VARS_PREFIX) and name != VARS_PREFIX:
        return CallVariable(name.removeprefix(VARS_PREFIX))
    return _BY_NAME.get(name)


_BY_NAME = {variable.value: variable for variable in Variable}


def one_line(text: str) -> str:
    """`text` on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def quoted(text: str, otherwise: str, limit: int = MAX_OUTSIDE_CHARACTERS) -> str:
    """`text` from outside as a quotation on one line; `otherwise`, unquoted, where there is none."""
    line = one_line(text).replace('"', "'")
    return f'"{shown(line, limit)}"' if line else otherwise


def spoken(text: str) -> str:
    """`text` from outside as it is to be said: on one line, the digits of a number one by one."""
    line = shown(one_line(text), MAX_VALUE_CHARACTERS)
    return " ".join(line) if _NUMBER.fullmatch(line) else line
