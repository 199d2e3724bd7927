"""JSON of a peer, taken apart without trusting it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.realtime.fields import MAX_DEPTH, MAX_MEMBERS, Fields, MalformedEventError, parse


def nested(depth: int) -> str:
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_object_is_parsed() -> None:
    assert parse('{"a": [1, {"b": null}]}').members == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("document", ["", "{", "[]", "1", "null", '"a"', "{'a':1}", '{"a":1}x', "\ud83d"])
def test_what_is_no_object_is_malformed(document: str) -> None:
    with pytest.raises(MalformedEventError):
        parse(document)


def test_depth_is_bounded() -> None:
    parse(nested(MAX_DEPTH))
    with pytest.raises(MalformedEventError, match="deep"):
        parse(nested(MAX_DEPTH + 1))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    parse('{"a":[' + "{}," * 500 + "{}]}")


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_abyss_is_malformed_and_not_a_crash(depth: int) -> None:
    with pytest.raises(MalformedEventError):
        parse("[" * depth)


def test_members_are_bounded_before_they_are_parsed() -> None:
    parse('{"a":[' + "0," * (MAX_MEMBERS - 1) + "0]}")
    with pytest.raises(MalformedEventError, match="members"):
        parse("," * (MAX_MEMBERS + 1))


def test_number_of_thousands_of_digits_is_malformed() -> None:
    with pytest.raises(MalformedEventError):
        parse('{"a":' + "9" * 10_000 + "}")


@given(st.text())
def test_text_is_always_encodable(text: str) -> None:
    document = json.dumps({"a": text, "b": "x\ud800y"})
    fields = parse(document)
    assert fields.text("a") == text
    assert fields.text("b") == "x?y"


def test_members_are_read_as_what_they_must_be() -> None:
    fields = Fields({"text": "a", "count": 3, "fraction": 3.7, "object": {"b": 1}, "list": [{"c": 1}, 5, {"d": 2}]})
    assert fields.text("text") == "a"
    assert fields.integer("count") == 3
    assert fields.integer("fraction") == 3
    assert fields.number("fraction", 0) == 3.7
    assert fields.fields("object").members == {"b": 1}
    assert [each.members for each in fields.each("list")] == [{"c": 1}, {"d": 2}]


def test_null_counts_as_missing() -> None:
    fields = Fields({"a": None})
    assert "a" not in fields
    assert fields.text("a", "default") == "default"
    assert fields.integer("a", 7) == 7
    assert fields.number("a", 1.5) == 1.5
    assert not fields.fields("a")
    assert fields.each("a") == []


@pytest.mark.parametrize("value", [1, True, [], {}])
def test_what_is_no_string_is_malformed(value: object) -> None:
    with pytest.raises(MalformedEventError):
        Fields({"a": value}).text("a", "default")


@pytest.mark.parametrize("value", ["1", True, False, -1, -0.5, float("nan"), float("inf"), [], {}])
def test_what_is_no_count_is_malformed(value: object) -> None:
    with pytest.raises(MalformedEventError):
        Fields({"a": value}).integer("a", 0)
    with pytest.raises(MalformedEventError):
        Fields({"a": value}).number("a", 0)


def test_missing_members_without_a_default_are_malformed() -> None:
    with pytest.raises(MalformedEventError):
        Fields({}).text("a")
    with pytest.raises(MalformedEventError):
        Fields({}).integer("a")


@pytest.mark.parametrize("value", ["a", 1, []])
def test_what_is_no_object_member_is_malformed(value: object) -> None:
    with pytest.raises(MalformedEventError):
        Fields({"a": value}).fields("a")


@pytest.mark.parametrize("value", ["a", 1, {}])
def test_what_is_no_list_is_malformed(value: object) -> None:
    with pytest.raises(MalformedEventError):
        Fields({"a": value}).each("a")


@pytest.mark.parametrize("text", ["1" + 400 * "0", "1e400", "NaN", "-Infinity", "-0.1"])
def test_number_that_no_float_can_hold_is_malformed(text: str) -> None:
    """JSON has integers of any size, and Python reads them."""
    with pytest.raises(MalformedEventError):
        parse(f'{{"a":{text}}}').number("a", 0.0)
