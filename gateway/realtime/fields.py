"""JSON of a peer, taken apart without trusting it.

A provider's event may be wrong in every way: not JSON, nested a thousand deep, a million numbers in a list, a string
where a count belongs. `parse` bounds what parsing may cost; `Fields` hands out members only as the type asked for.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping

MAX_MEMBERS = 50_000
"""Commas in one document: each list element and object member but the first costs one."""
MAX_DEPTH = 64


class MalformedEventError(ValueError):
    """An event that is not what its type says. Never leaves the provider's module: it is counted and skipped."""


def parse(document: str) -> Fields:
    """The JSON object that `document` is.

    Raises:
        MalformedEventError: not JSON, not an object, too many members, nested too deeply.
    """
    if document.count(",") > MAX_MEMBERS:
        raise MalformedEventError("too many members")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise MalformedEventError("not JSON") from error
    if not isinstance(value, dict):
        raise MalformedEventError("not a JSON object")
    if document.count("{") + document.count("[") > MAX_DEPTH and _is_deep(value):
        raise MalformedEventError("nested too deeply")
    return Fields(value)


class Fields:
    """Members of one JSON object, read by the type they must have. A null member counts as missing."""

    __slots__ = ("members",)

    def __init__(self, members: Mapping[str, object]) -> None:
        self.members = members

    def text(self, name: str, default: str | None = None) -> str:
        """A string, fit to be encoded: JSON can spell half a surrogate pair, UTF-8 cannot."""
        value = self.members.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise MalformedEventError(f"{name} is not a string")
        return value if value.isascii() else value.encode("utf-8", "replace").decode()

    def integer(self, name: str, default: int | None = None) -> int:
        """A count, at least 0; some peers write it with a fraction."""
        value = self.members.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise MalformedEventError(f"{name} is not a count")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """A finite number, at least 0."""
        value = self.members.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
            raise MalformedEventError(f"{name} is not a number")
        return float(value)

    def fields(self, name: str) -> Fields:
        """An object; empty when missing."""
        value = self.members.get(name)
        if value is None:
            return Fields({})
        if not isinstance(value, dict):
            raise MalformedEventError(f"{name} is not an object")
        return Fields(value)

    def each(self, name: str) -> list[Fields]:
        """The objects of a list; empty when missing. Other elements are left out."""
        value = self.members.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise MalformedEventError(f"{name} is not a list")
        return [Fields(element) for element in value if isinstance(element, dict)]

    def __contains__(self, name: str) -> bool:
        return self.members.get(name) is not None

    def __bool__(self) -> bool:
        return bool(self.members)


def _is_deep(value: object) -> bool:
    """Whether `value` is nested beyond MAX_DEPTH, found level by level, without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return False
    return True


def _inside(value: object) -> list[object]:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [member for member in members if isinstance(member, dict | list)]
