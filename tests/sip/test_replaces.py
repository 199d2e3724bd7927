"""The Replaces header as a value (RFC 3891 6.1)."""

from __future__ import annotations

import pytest

from gateway.errors import MessageError
from gateway.sip.replaces import Replaces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("98732@sip.example.com ;from-tag=r33th4x0r ;to-tag=ff87ff", ("98732@sip.example.com", "ff87ff", "r33th4x0r")),
        ("12adf2f34456gs5;to-tag=12345;from-tag=54321", ("12adf2f34456gs5", "12345", "54321")),
        ("87134@171.161.34.23;to-tag=24796;from-tag=0", ("87134@171.161.34.23", "24796", "0")),
        ("a@b;TO-TAG=1;From-Tag=2;x=y", ("a@b", "1", "2")),
    ],
)
def test_the_examples_of_the_rfc_are_read(text: str, expected: tuple[str, str, str]) -> None:
    replaces = Replaces.parse(text)
    assert (replaces.call_id, replaces.to_tag, replaces.from_tag) == expected
    assert not replaces.is_early_only
    assert Replaces.parse(str(replaces)) == replaces


def test_early_only_is_a_flag() -> None:
    replaces = Replaces.parse("a;to-tag=1;from-tag=2;Early-Only")
    assert replaces.is_early_only
    assert str(replaces) == "a;to-tag=1;from-tag=2;early-only"


@pytest.mark.parametrize(
    "text",
    ["", ";to-tag=1;from-tag=2", "a", "a;to-tag=1", "a;from-tag=1", "a;to-tag=;from-tag=2", "a b;to-tag=1;from-tag=2"],
)
def test_a_value_without_call_id_or_a_tag_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        Replaces.parse(text)
