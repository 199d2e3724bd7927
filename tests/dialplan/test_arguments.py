"""Verdicts about arguments and schemas."""

from __future__ import annotations

import time

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
        ({"number": "123456\n"}, "number: '123456\\n' does not match '^[0-9]{6}$'"),
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


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"^\d{3}$", "123", True),
        (r"^\d{3}$", "\u0661\u0662\u0663", False),
        (r"^\d{3}$", "123\n", False),
        (r"^\w+$", "caf\u00e9", False),
        (r"^[$]\$$", "$$", True),
        (r"^[$]\$$", "$$\n", False),
        (r"^(a$|b)", "a\n", False),
    ],
)
def test_patterns_are_those_of_ecma(pattern: str, text: str, fits: bool) -> None:
    assert (Checker({"pattern": pattern}).problem(text) == "") is fits


TANGLE: dict[str, object] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"$defs": {**TANGLE, "d40": {}}, "$ref": "#/$defs/d0"}, {}, "it is too much to be held against the schema"),
        ({"$ref": "#"}, {}, "not JSON, or nested too deeply"),
        ({"$ref": "#/$defs/none"}, {}, "the schema refers to another one, which is not here"),
        ({"multipleOf": 0.01}, 10**400, "it cannot be held against the schema"),
        ({"type": "number"}, float("nan"), "not JSON, or nested too deeply"),
        ({"patternProperties": {"^a*a*a*b": {}}}, {"a" * 8000: 1}, "it is too much to be held against the schema"),
        (
            {"anyOf": [{"items": {"pattern": "^([ab])*([ab])*([ab])*c"}}] * 20},
            ["ab" * 127] * 50,
            "it is too much to be held against the schema",
        ),
        (
            {"patternProperties": {"^([ab])*([ab])*([ab])*c": {}}},
            {"ab" * 120 + f"{n}": 1 for n in range(50)},
            "it is too much to be held against the schema",
        ),
        ({"items": {"pattern": r"^[^@]+@[^@]+[.][a-z]{2,}$"}}, ["somebody.whatever@somewhere.example"] * 100, ""),
        ({"uniqueItems": True}, [{"a": n} for n in range(1200)], ""),
        ({"uniqueItems": True}, [{"a": 1, "b": [2]}, 1, {"b": [2], "a": 1}], "has equal items"),
        ({"items": {"type": "integer", "minimum": 0}}, [1] * 3000, ""),
    ],
)
def test_no_schema_makes_a_verdict_take_long_or_fail(schema: dict[str, object], value: object, problem: str) -> None:
    before = time.process_time()
    assert Checker(schema).problem(value) == problem
    assert time.process_time() - before < 5


@pytest.mark.parametrize("pattern", [r"^\p{L}+$", "a{99999999999999999999}", "(" * 3000 + ")" * 3000, "["])
def test_pattern_that_python_does_not_know_is_left_out_of_a_servers_schema(pattern: str) -> None:
    checker = Checker({"properties": {"a": {"pattern": pattern, "minLength": 2}}}, drops_patterns=True)
    assert checker.problem({"a": "x"}) == "a: 'x' is too short"
    with pytest.raises(ValueError, match=r"\w"):
        Checker({"properties": {"a": {"pattern": pattern}}})
