"""JSON Schema (2020-12) for what models, tools and their servers say: arguments and results.

A schema never fetches another one, no pattern takes long (`slow_pattern`), neither does a schema whose parts refer to
each other, and a verdict is a sentence that can be told to a model. Patterns are those of ECMA-262 as far as it
matters: ``$`` is the very end of a text, and ``\\d`` and ``\\w`` are ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.dialplan.slow_pattern import MAX_TEXT_CHARACTERS, slowness, ways
from gateway.errors import shown

MAX_CHARACTERS = 16_384
"""Of arguments as JSON; nobody says as much in one sentence."""
SHOWN_VERDICT_CHARACTERS = 300


MAX_STEPS = 10_000
"""Keywords looked at for one value: some 70 ms, and more than 16 KB of JSON need unless a schema multiplies them."""

WAYS_A_STEP = 400
"""Ways of matching a pattern that take as long as a step."""

_DOLLAR = re.compile(r"(?P<other>\\.|\[\^?\]?(?:\\.|[^\]\\])*\])|\$", re.DOTALL)


class _TooLong(Exception):
    """A schema makes more of a value than it should."""


@dataclass(slots=True)
class _Budget:
    left: int = MAX_STEPS

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise _TooLong


_budget: ContextVar[_Budget] = ContextVar("budget")


def _counted(check: Callable[..., Any]) -> Callable[..., Any]:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[ValidationError] | None:
        _budget.get().spend()
        found: Iterable[ValidationError] | None = check(validator, value, instance, schema)
        return found

    return counted


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_DOLLAR.sub(lambda match: match["other"] or r"\Z", pattern), re.ASCII)


def _pattern(_validator: Any, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
    if not isinstance(value, str):
        return
    if len(value) > MAX_TEXT_CHARACTERS:
        yield ValidationError(f"has more than {MAX_TEXT_CHARACTERS} characters")
        return
    _budget.get().spend(int(ways(pattern, len(value)) / WAYS_A_STEP))
    if not _compiled(pattern).search(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _unique(_validator: Any, is_asked: object, value: object, _schema: object) -> Iterator[ValidationError]:
    if is_asked and isinstance(value, list) and len({json.dumps(item, sort_keys=True) for item in value}) < len(value):
        yield ValidationError("has equal items")


def _short_names(validator: Any, patterns: Any, value: object, schema: object) -> Iterator[ValidationError]:
    """Patterns are held against names, too, here and by additionalProperties."""
    if isinstance(value, Mapping):
        if any(len(name) > MAX_TEXT_CHARACTERS for name in value):
            raise _TooLong
        for name in value:  # twice: additionalProperties looks again
            _budget.get().spend(int(sum(2 * ways(pattern, len(name)) for pattern in patterns) / WAYS_A_STEP))
    yield from Draft202012Validator.VALIDATORS["patternProperties"](validator, patterns, value, schema)


_OWN = {"pattern": _pattern, "uniqueItems": _unique, "patternProperties": _short_names}
_Validator = extend(
    Draft202012Validator,
    {key: _counted(check) for key, check in (*Draft202012Validator.VALIDATORS.items(), *_OWN.items())},
)


class Checker:
    """Holds values against `schema`.

    `drops_patterns`: patterns that may be slow are left out, because somebody else checks them again.

    Raises:
        ValueError: that is no JSON Schema, or has a pattern that may be slow.
    """

    def __init__(self, schema: Mapping[str, object], *, drops_patterns: bool = False) -> None:
        try:
            checked: Any = {str(key): value for key, value in schema.items()}
            if drops_patterns:
                checked = _with_fast_patterns(checked, drops_patterns=True)
            Draft202012Validator.check_schema(checked)
            if not drops_patterns:
                _with_fast_patterns(checked, drops_patterns=False)
        except SchemaError as error:
            place = ".".join(str(step) for step in error.absolute_path)
            raise ValueError(shown(f"{place}: {error.message}" if place else error.message)) from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except OverflowError:
            raise ValueError("a number in it is too large") from None
        # An empty registry: jsonschema would otherwise fetch what a $ref names, from wherever it says.
        self._validator = _Validator(checked, registry=Registry())

    def problem(self, value: object) -> str:
        """What is wrong with `value`, in a sentence; "" where nothing is."""
        try:
            if len(json.dumps(value, allow_nan=False)) > MAX_CHARACTERS:
                return f"more than {MAX_CHARACTERS} characters"
            _budget.set(_Budget())
            error = best_match(self._validator.iter_errors(value))
        except Unresolvable:
            return "the schema refers to another one, which is not here"
        except _TooLong:
            return "it is too much to be held against the schema"
        except (RecursionError, ValueError, TypeError):
            return "not JSON, or nested too deeply"
        except (ArithmeticError, LookupError, AttributeError, re.error):
            return "it cannot be held against the schema"
        if error is None:
            return ""
        place = ".".join(str(step) for step in error.absolute_path)
        return shown(f"{place}: {error.message}" if place else error.message, SHOWN_VERDICT_CHARACTERS)


def _with_fast_patterns(schema: Any, *, drops_patterns: bool) -> Any:
    """`schema` whose patterns are fast. Raises: ValueError where one is not, and may not be dropped."""
    if isinstance(schema, list):
        return [_with_fast_patterns(item, drops_patterns=drops_patterns) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        patterns = [value] if key == "pattern" and isinstance(value, str) else []
        if key == "patternProperties" and isinstance(value, Mapping):
            patterns = list(value)
        why = next((why for pattern in patterns if (why := _trouble(pattern, is_known=not drops_patterns))), "")
        if why and not drops_patterns:
            raise ValueError(f"the pattern {shown(patterns[0])} may be slow: {why}")
        if not why:
            kept[key] = _with_fast_patterns(value, drops_patterns=drops_patterns)
    return kept


def _trouble(pattern: object, *, is_known: bool) -> str:
    """Why a pattern is left out; `is_known`: that it is an expression."""
    if not isinstance(pattern, str):
        return "it is no text"
    if why := slowness(pattern):
        return why
    try:
        _compiled(pattern)
    except (re.error, OverflowError, RecursionError):
        return "" if is_known else "it is none that is known here"  # ECMA-262 has some that Python has not
    return ""
