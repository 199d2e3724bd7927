"""JSON Schema of tools as Gemini takes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.realtime.gemini.schema import dropped_keywords, parameters_of
from tests.support.gemini_server import _SCHEMA, check


def member(schema: Any, **root: Any) -> Any:
    """What becomes of one member of a tool's parameters."""
    converted = parameters_of({"type": "object", "properties": {"x": schema}} | root)
    assert converted is not None
    return converted["properties"]["x"]  # type: ignore[index]


def test_parameters_of_a_tool() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "contact": {"type": "string", "description": "Who.", "enum": ["sales", "support"]},
            "rooms": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 3},
        },
        "required": ["contact", "unknown"],
    }
    assert parameters_of(schema) == {
        "type": "OBJECT",
        "properties": {
            "contact": {"type": "STRING", "description": "Who.", "enum": ["sales", "support"]},
            "rooms": {"type": "ARRAY", "items": {"type": "INTEGER", "minimum": 1}, "maxItems": 3},
        },
        "required": ["contact"],
    }
    assert dropped_keywords(schema) == {"$schema", "additionalProperties"}


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "properties": {}}])
def test_tool_without_parameters_declares_none(schema: dict[str, Any]) -> None:
    assert parameters_of(schema) is None


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "pattern": "^[0-9]$"}, {"type": "STRING", "pattern": "^[0-9]$"}),
        ({"type": "string", "minLength": 2, "title": "T"}, {"type": "STRING", "minLength": 2}),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
        ({"oneOf": [{"type": "number"}, {"type": "null"}]}, {"type": "NUMBER", "nullable": True}),
        ({"anyOf": [{"type": "number"}, {"type": "string"}]}, {"anyOf": [{"type": "NUMBER"}, {"type": "STRING"}]}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "INTEGER", "description": "One of: 1, 2"}),
        ({"type": "string", "enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
        ({"type": "string", "format": "email"}, {"type": "STRING"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "INTEGER", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9}, {"type": "INTEGER", "maximum": 8}),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "NUMBER"}),
        ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"items": {"type": "boolean"}}, {"type": "ARRAY", "items": {"type": "BOOLEAN"}}),
        (True, {"type": "OBJECT"}),
    ],
)
def test_each_keyword_is_said_as_gemini_says_it(schema: Any, expected: dict[str, Any]) -> None:
    assert member(schema) == expected


def test_references_are_followed() -> None:
    definitions = {"day": {"type": "string", "description": "A day."}}
    assert member({"$ref": "#/$defs/day"}, **{"$defs": definitions}) == {"type": "STRING", "description": "A day."}
    assert member({"$ref": "#/$defs/none"}, **{"$defs": definitions}) == {"type": "STRING"}


def test_schema_within_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "last": {"$ref": "#/$defs/node"}}}
    converted = member({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}})
    assert converted["properties"]["next"] == {"type": "OBJECT"}
    assert member({"$ref": "#"}) == {"type": "OBJECT", "properties": {"x": {"type": "OBJECT"}}}
    assert "type" in member({"allOf": [{"$ref": "#"}]}, allOf=[{"$ref": "#"}])


def test_all_of_is_merged() -> None:
    parts = [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
    ]
    assert member({"allOf": parts}) == {
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}},
        "required": ["a", "b"],
    }


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2)
_NAMES = st.sampled_from(
    ["type", "enum", "const", "format", "pattern", "minimum", "maxLength", "nullable", "items", "required", "$ref", "x"]
)
_SCHEMAS = st.recursive(
    st.dictionaries(_NAMES, _VALUES | st.sampled_from(["string", "integer", "object", "array", "#", "#/$defs/a"])),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.text(max_size=2), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "type": st.sampled_from(["object", "array", ["string", "null"]]),
            "$defs": st.dictionaries(st.just("a"), inner),
        },
    ),
    max_leaves=6,
)


@given(_SCHEMAS)
def test_whatever_a_schema_holds_gemini_takes_what_becomes_of_it(schema: dict[str, Any]) -> None:
    check(parameters_of({"type": "object", "properties": {"x": schema}}), _SCHEMA)
