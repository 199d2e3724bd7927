"""Verdicts about arguments and schemas."""

from __future__ import annotations

import pytest

from gateway.dialplan.arguments import Checker

ORDER = {
    "type": "object",
    "properties": {"number": {"type": "string", "pattern": "^[0-9]{6}$"}, "count": {"type": "integer", "maximum": 9}},
    "required": ["number"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"number": "123456"}, ""),
        ({}, "'number' is a required property"),
        ({"number": 123456}, "number: 123456 is not of type 'string'"),
        ({"number": "12"}, "number: '12' does not match '^[0-9]{6}$'"),
        ({"number": "123456", "count": 10}, "count: 10 is greater than the maximum of 9"),
        ({"number": "123456", "x": 1}, "Additional properties are not allowed ('x' was unexpected)"),
        ({"number": "1" * 20_000}, "more than 16384 characters"),
    ],
)
def test_problem_says_where_and_what(arguments: dict[str, object], problem: str) -> None:
    assert Checker(ORDER).problem(arguments) == problem


def test_verdict_is_one_short_line() -> None:
    problem = Checker(ORDER).problem({"number": "123456", "count": "\n" * 5000})
    assert len(problem) == 300
    assert problem.isprintable()


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"required": "number"}, {"properties": {"a": 1}}])
def test_what_is_no_schema_is_refused(schema: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Checker(schema)


def test_schema_of_a_schema_elsewhere_is_not_fetched() -> None:
    checker = Checker({"$ref": "http://127.0.0.1:1/schema.json"})
    assert checker.problem({}) == "the schema refers to another one, which is not here"


def test_value_nested_without_end_is_a_problem_not_a_fault() -> None:
    value: list[object] = []
    value.append(value)
    assert Checker({}).problem(value) == "not JSON, or nested too deeply"


def test_pattern_that_may_be_slow_is_refused_or_left_out() -> None:
    schema = {"properties": {"a": {"pattern": "^(a+)+$", "minLength": 2}}, "patternProperties": {"(b+)+": False}}
    with pytest.raises(ValueError, match="may be slow: it repeats what holds a repetition"):
        Checker(schema)
    checker = Checker(schema, drops_patterns=True)
    assert checker.problem({"a": "a" * 40 + "!", "bbb": 1}) == ""
    assert checker.problem({"a": "x"}) == "a: 'x' is too short"


def test_text_that_is_too_long_for_a_pattern_is_a_problem() -> None:
    assert Checker({"pattern": "^a*$"}).problem("a" * 257) == "has more than 256 characters"
