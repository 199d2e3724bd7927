"""JSON Schema of a tool's parameters as Gemini takes it: a small part of OpenAPI 3.0 (``Schema`` of the Gemini API).

Gemini ends the session (1007) over a keyword that it does not know, so that nothing may pass that is not on the list.
What has another spelling there is said in it; what has none is left out, and the model may then write arguments that
the tool itself must refuse:

===================================  =====================================================================
``type: [T, "null"]``                ``nullable``; several types otherwise become ``anyOf``
``const``, ``enum`` of strings       ``enum``; of other values it goes into the description
``oneOf``                            ``anyOf``
``allOf``                            merged where its parts are objects, else its first part
``$ref``                             what it points to; a schema within itself ends as an object of anything
``exclusiveMinimum``, ``-Maximum``   the next integer, for integers; left out for numbers
``format``                           kept where Gemini knows it for that type
``pattern``, lengths, bounds         kept
everything else                      left out: ``additionalProperties``, ``patternProperties``, ``default``, ``title``,
                                     ``examples``, ``multipleOf``, ``uniqueItems``, ``not``, ``if``, ``$schema``, ...
===================================  =====================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

JsonObject: TypeAlias = dict[str, object]
Schema: TypeAlias = Mapping[str, object]

_TYPES = {
    "string": "STRING",
    "number": "NUMBER",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "array": "ARRAY",
    "object": "OBJECT",
}
_FORMATS = {"STRING": ("date-time",), "NUMBER": ("float", "double"), "INTEGER": ("int32", "int64")}
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_KEPT = {
    "type",
    "description",
    "enum",
    "const",
    "nullable",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "properties",
    "required",
    "items",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "$defs",
    "definitions",
    *_COUNTS,
}


def parameters_of(schema: Schema) -> JsonObject | None:
    """A tool's parameters as Gemini takes them; None for a tool without any, which it wants undeclared."""
    converted = _Conversion(schema).of(schema)
    return converted if converted.get("properties") else None


def dropped_keywords(schema: object) -> set[str]:
    """The keywords of `schema` that Gemini is not told."""
    if isinstance(schema, list):
        return {name for part in schema for name in dropped_keywords(part)}
    if not isinstance(schema, Mapping):
        return set()
    found = {str(name) for name in schema if name not in _KEPT}
    for name in ("properties", "$defs", "definitions"):
        inner = schema.get(name)
        if isinstance(inner, Mapping):
            found |= dropped_keywords(list(inner.values()))
    for name in ("items", "anyOf", "oneOf", "allOf"):
        found |= dropped_keywords(schema.get(name))
    return found


class _Conversion:
    """Of one tool's schema. `root` holds the definitions that references point into."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._followed: list[str] = []
        """The references on the way from the root to here."""

    def of(self, schema: object) -> JsonObject:
        """One schema of it."""
        if not isinstance(schema, Mapping):
            return {"type": "OBJECT"}
        here = len(self._followed)
        try:
            resolved = self._resolved(schema)
            return {"type": "OBJECT"} if resolved is None else self._converted(resolved)
        finally:
            del self._followed[here:]

    def _resolved(self, schema: Schema) -> Schema | None:
        """`schema` with its references followed and its ``allOf`` merged; None where it is within itself."""
        while isinstance(reference := schema.get("$ref"), str):
            if reference in self._followed:
                return None
            self._followed.append(reference)
            rest = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**self._target(reference), **rest}
        parts = schema.get("allOf")
        if not isinstance(parts, list):
            return schema
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for part in parts:
            resolved = self._resolved(part) if isinstance(part, Mapping) else None
            if resolved is not None:
                _merge(merged, resolved)
        return merged

    def _target(self, reference: str) -> Schema:
        """What a JSON Pointer (RFC 6901) in this document points to; anything where it points nowhere."""
        target: object = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            if name:
                key = name.replace("~1", "/").replace("~0", "~")
                target = target.get(key) if isinstance(target, Mapping) else None
        return target if isinstance(target, Mapping) else {}

    def _converted(self, schema: Schema) -> JsonObject:
        result: JsonObject = {}
        if isinstance(schema.get("description"), str):
            result["description"] = schema["description"]
        kinds = _kinds(schema)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(choices, list) and not kinds:
            return result | self._choice(choices)
        if len(kinds) > 1:
            return result | self._choice([{**schema, "type": kind} for kind in _named(schema)])
        kind = _TYPES.get(kinds[0], "STRING") if kinds else _guessed(schema)
        result["type"] = kind
        if schema.get("nullable") is True or len(_named(schema)) > len(kinds):
            result["nullable"] = True
        _add_values(result, schema)
        if schema.get("format") in _FORMATS.get(kind, ()):
            result["format"] = schema["format"]
        _add_bounds(result, schema)
        if kind == "OBJECT":
            self._add_properties(result, schema)
        elif kind == "ARRAY":
            result["items"] = self.of(schema.get("items", {"type": "string"}))
        return result

    def _choice(self, choices: list[object]) -> JsonObject:
        """One of several schemas. Gemini has no null type: it makes the choice nullable."""
        options = [choice for choice in choices if not (isinstance(choice, Mapping) and choice.get("type") == "null")]
        nullable: JsonObject = {"nullable": True} if len(options) < len(choices) else {}
        converted = [self.of(option) for option in options]
        if len(converted) == 1:
            return converted[0] | nullable
        return {"anyOf": converted} | nullable if converted else {"type": "STRING"} | nullable

    def _add_properties(self, result: JsonObject, schema: Schema) -> None:
        """Members, and which of them must be there; Gemini refuses a required member that is not described."""
        members = schema.get("properties")
        if not isinstance(members, Mapping) or not members:
            return
        result["properties"] = {str(name): self.of(member) for name, member in members.items()}
        needed = schema.get("required")
        if isinstance(needed, list) and (
            known := [name for name in needed if isinstance(name, str) and name in members]
        ):
            result["required"] = known


def _merge(merged: dict[str, object], part: Schema) -> None:
    """Add what `part` demands too; of two demands that exclude each other the first stays."""
    for name, value in part.items():
        there = merged.get(name)
        if name == "properties" and isinstance(there, Mapping) and isinstance(value, Mapping):
            merged[name] = {**value, **there}
        elif name == "required" and isinstance(there, list) and isinstance(value, list):
            merged[name] = [*there, *(entry for entry in value if entry not in there)]
        else:
            merged.setdefault(name, value)


def _named(schema: Schema) -> list[str]:
    """The types named, null among them."""
    named = schema.get("type")
    return [kind for kind in (named if isinstance(named, list) else [named]) if isinstance(kind, str)]


def _kinds(schema: Schema) -> list[str]:
    """The types named, null apart."""
    return [kind for kind in _named(schema) if kind != "null"]


def _guessed(schema: Schema) -> str:
    """The type of a schema that names none; Gemini wants one."""
    if "properties" in schema:
        return "OBJECT"
    return "ARRAY" if "items" in schema else "STRING"


def _add_values(result: JsonObject, schema: Schema) -> None:
    """The values allowed. Gemini's ``enum`` holds strings alone."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return
    words = [value for value in values if value is not None]
    if len(words) < len(values):
        result["nullable"] = True
    if words and result["type"] == "STRING" and all(isinstance(value, str) for value in words):
        result["enum"] = words
    elif words:
        listed = "One of: " + ", ".join(json.dumps(value) for value in words)
        result["description"] = f"{result['description']} {listed}" if "description" in result else listed


def _add_bounds(result: JsonObject, schema: Schema) -> None:
    """How long, how many, how large."""
    if result["type"] == "STRING" and isinstance(schema.get("pattern"), str):
        result["pattern"] = schema["pattern"]
    for name in _COUNTS:
        if isinstance(schema.get(name), int) and _is_number(schema[name]):
            result[name] = schema[name]
    if result["type"] not in ("INTEGER", "NUMBER"):
        return
    for name, exclusive, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        bound = schema.get(exclusive)
        if _is_number(schema.get(name)):
            result[name] = schema[name]
        elif result["type"] == "INTEGER" and isinstance(bound, int) and _is_number(bound):
            result[name] = bound + step


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
