"""The JSON Schema that editors use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import jsonschema
import yaml

from gateway.dialplan.source import schema
from tests.support.plans import PLAN, TOOLS_PLAN


def parts(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner)


def keys_of(document: object) -> set[str]:
    return {key for part in parts(document) for key in part}


def test_the_schema_is_json_and_names_its_dialect() -> None:
    document = json.loads(json.dumps(schema()))
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["required"] == ["version", "name", "timezone", "routes"]


def test_every_reference_leads_somewhere() -> None:
    document = schema()
    definitions = document["$defs"]
    assert isinstance(definitions, dict)
    references = {str(part["$ref"]) for part in parts(document) if "$ref" in part}
    assert references == {f"#/$defs/{name}" for name in definitions}


def test_every_table_of_fixed_keys_refuses_others() -> None:
    tables = [part for part in parts(schema()) if isinstance(part.get("properties"), dict)]
    assert all(table.get("additionalProperties") is False for table in tables if "propertyNames" not in table)
    assert len(tables) == 39


def test_every_word_of_a_plan_is_in_the_schema() -> None:
    written = keys_of(yaml.safe_load(PLAN))
    words = {key for part in parts(schema()) for key in part.get("properties", {})}  # type: ignore[attr-defined]
    names = {"office", "mon-fri", "sat", "sales", "desk", "reception", "X-Queue"}
    assert written - names <= words


def test_every_word_of_a_plan_with_tools_is_in_the_schema() -> None:
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(TOOLS_PLAN))
    broken = yaml.safe_load(TOOLS_PLAN.replace("retries: 0", "retry: 0"))
    assert not jsonschema.Draft202012Validator(schema()).is_valid(broken)


def test_hours_take_weekdays_and_exceptions_only() -> None:
    (pattern,) = [str(part["propertyNames"]["pattern"]) for part in parts(schema()) if "propertyNames" in part]  # type: ignore[index]
    assert all(re.search(pattern, key) for key in ("mon", "mon-fri", "mon,wed", "sat-sun, tue", "except"))
    assert not any(re.search(pattern, key) for key in ("monday", "mon-", "holiday", "mon;tue"))


def test_numbers_may_be_written_without_quotes() -> None:
    text = json.dumps(schema()["$defs"]["MatchSource"]["properties"]["to"])  # type: ignore[index,call-overload]
    assert '["string", "number"]' in text


def test_values_that_stand_for_nothing_are_not_offered_as_defaults() -> None:
    defaults = [part["default"] for part in parts(schema()) if "default" in part]
    assert defaults == [10.0, 5.0, 20.0, 4.0, 4.0, 180.0, 5.0, 4.0, 0.7, 5.0, 10.0, 4.0, 0.7, 1.0, 4.0]
