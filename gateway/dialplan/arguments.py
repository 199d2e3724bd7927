"""JSON Schema (2020-12) for what models, tools and their servers say: arguments and results.

A schema never fetches another one, no pattern takes long (`slow_pattern`), and a verdict is a sentence that can be told
to a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.dialplan.slow_pattern import MAX_TEXT_CHARACTERS, slowness
from gateway.errors import shown

MAX_CHARACTERS = 16_384
"""Of arguments as JSON; nobody says as much in one sentence."""
SHOWN_VERDICT_CHARACTERS = 300


def _pattern(_validator: Any, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
    if not isinstance(value, str):
        return
    if len(value) > MAX_TEXT_CHARACTERS:
        yield ValidationError(f"has more than {MAX_TEXT_CHARACTERS} characters")
    elif not re.search(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = extend(Draft202012Validator, {"pattern": _pattern})


class Checker:
    """Holds values against `schema`.

    `drops_patterns`: patterns that may be slow are left out, because somebody else checks them again.

    Raises:
        ValueError: that is no JSON Schema, or has a pattern that may be slow.
    """

    def __init__(self, schema: Mapping[str, object], *, drops_patterns: bool = False) -> None:
        try:
            Draft202012Validator.check_schema(schema)
            schema = {str(key): value for key, value in schema.items()}
            checked = _with_fast_patterns(schema, drops_patterns=drops_patterns)
        except SchemaError as error:
            place = ".".join(str(step) for step in error.absolute_path)
            raise ValueError(shown(f"{place}: {error.message}" if place else error.message)) from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
        # An empty registry: jsonschema would otherwise fetch what a $ref names, from wherever it says.
        self._validator = _Validator(checked, registry=Registry())

    def problem(self, value: object) -> str:
        """What is wrong with `value`, in a sentence; "" where nothing is."""
        try:
            if len(json.dumps(value)) > MAX_CHARACTERS:
                return f"more than {MAX_CHARACTERS} characters"
            error = best_match(self._validator.iter_errors(value))
        except Unresolvable:
            return "the schema refers to another one, which is not here"
        except (RecursionError, ValueError, TypeError):
            return "not JSON, or nested too deeply"
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
        why = next((why for pattern in patterns if (why := slowness(pattern))), "")
        if why and not drops_patterns:
            raise ValueError(f"the pattern {shown(patterns[0])} may be slow: {why}")
        if not why:
            kept[key] = _with_fast_patterns(value, drops_patterns=drops_patterns)
    return kept
