"""JSON Schema (2020-12) for what models, tools and their servers say: arguments and results.

A schema never fetches another one, and a verdict is a sentence that can be told to a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.errors import shown

MAX_CHARACTERS = 16_384
"""Of arguments as JSON; nobody says as much in one sentence."""
SHOWN_VERDICT_CHARACTERS = 300


class Checker:
    """Holds values against `schema`. Raises: ValueError where that is no JSON Schema."""

    def __init__(self, schema: Mapping[str, object]) -> None:
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            place = ".".join(str(step) for step in error.absolute_path)
            raise ValueError(shown(f"{place}: {error.message}" if place else error.message)) from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
        # An empty registry: jsonschema would otherwise fetch what a $ref names, from wherever it says.
        self._validator = Draft202012Validator(schema, registry=Registry())

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
