"""Instructions with variables: ``{caller.number}`` is filled in for each call, ``{{caller.number}}`` stays as text.

What a caller's equipment sends (names, numbers) is data, not instruction: it goes in on one line, cut short, without
control characters, and in quotation marks that it cannot close. Filled-in text is never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.errors import shown

MAX_OUTSIDE_CHARACTERS = 64
_VARIABLE = re.compile(r"\{\{([A-Za-z_][\w.]*)\}\}|\{([A-Za-z_][\w.]*)\}")


class Variable(Enum):
    """What instructions may refer to."""

    CALLER_NUMBER = "caller.number"
    CALLER_NAME = "caller.name"
    CALLED_NUMBER = "called.number"
    NOW = "now"
    DIALPLAN_NAME = "dialplan.name"
    CONTACTS = "contacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownVariable:
    """A variable that nobody fills in, and the offset of its brace in the text."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A text in pieces, in their order."""

    parts: tuple[str | Variable, ...]

    def render(self, values: Mapping[Variable, str]) -> str:
        """The text with each variable replaced by its value. Raises: KeyError where `values` lacks one."""
        return "".join(part if isinstance(part, str) else values[part] for part in self.parts)


def parse_template(text: str) -> tuple[Template, tuple[UnknownVariable, ...]]:
    """The template of `text`, and what is wrong with it. Braces around anything but a name are text."""
    parts: list[str | Variable] = []
    unknown: list[UnknownVariable] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        if match[1]:
            parts.append("{" + match[1] + "}")
        elif variable := _BY_NAME.get(match[2]):
            parts.append(variable)
        else:
            unknown.append(UnknownVariable(name=match[2], offset=match.start()))
    parts.append(text[end:])
    return Template(parts=tuple(part for part in parts if part)), tuple(unknown)


_BY_NAME = {variable.value: variable for variable in Variable}


def quoted(text: str, otherwise: str) -> str:
    """`text` from outside as a quotation on one line; `otherwise`, unquoted, where there is none."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace('"', "'")
    return f'"{shown(line, MAX_OUTSIDE_CHARACTERS)}"' if line else otherwise
