from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.grammar import (
    format_parameters,
    match_quoted_string,
    parse_host,
    parse_host_port,
    parse_number,
    parse_parameters,
    quote,
    split_list,
    unquote,
)
from tests.support.sip_strategies import free_text, parameters
from tests.support.step_counter import count_lines


class TestNumber:
    @pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("255", 255), ("0" * 5000 + "255", 255)])
    def test_within_bounds(self, text: str, number: int) -> None:
        assert parse_number(text, 255, "x") == number

    @pytest.mark.parametrize("text", ["", "256", "-1", "+1", "1.0", "1 ", "0x1", "²", "٣", "9" * 10_000])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError, match="x is not a number"):
            parse_number(text, 255, "x")


class TestQuotedString:
    @settings(deadline=None)
    @given(free_text)
    def test_any_text_survives_quoting(self, text: str) -> None:
        quoted = quote(text)
        assert unquote(quoted) == text
        assert match_quoted_string(quoted + '"') == len(quoted)

    @pytest.mark.parametrize("text", ['"', '"a', '"a\\"', '"\\'])
    def test_an_open_one_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            match_quoted_string(text)

    def test_what_is_not_quoted_stays(self) -> None:
        assert unquote("a") == "a"
        assert unquote('"') == '"'


class TestHost:
    @pytest.mark.parametrize("text", ["a", "a.b.", "xn--bcher-kva.example", "a_b", "192.0.2.1", "1.example", "0x7f.1a"])
    def test_names_and_numbers(self, text: str) -> None:
        assert parse_host_port(text) == (text, None)

    @pytest.mark.parametrize(
        "text", ["", "a b", "a/b", "é", "1.2.3", "1.2.3.4.5", "0", "::1", "[::1]x", "[::1", "a:b:1"]
    )
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            parse_host_port(text)

    def test_a_host_is_no_longer_than_the_domain_name_system_has_it(self) -> None:
        assert parse_host("a" * 255)
        with pytest.raises(MessageError):
            parse_host("a" * 256)


class TestParameters:
    @settings(deadline=None)
    @given(parameters)
    def test_survive_their_text(self, values: tuple[tuple[str, str | None], ...]) -> None:
        assert parse_parameters(format_parameters(values)) == values

    @settings(deadline=None)
    @given(st.text() | st.text(';="\\a, '))
    def test_any_text_is_parameters_or_refused(self, text: str) -> None:
        try:
            values = parse_parameters(text)
        except MessageError:
            return
        assert parse_parameters(format_parameters(values)) == values

    def test_are_counted(self) -> None:
        assert len(parse_parameters(";a" * 64 + ";")) == 64
        with pytest.raises(MessageError, match="more than 64"):
            parse_parameters(";a" * 65)


class TestList:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("", []),
            (" , ,", []),
            ("a", ["a"]),
            ("a, b ,c", ["a", "b", "c"]),
            ('"a,b", c', ['"a,b"', "c"]),
            ('"a\\",b", <c,d>;e=",", f', ['"a\\",b"', '<c,d>;e=","', "f"]),
        ],
    )
    def test_commas_in_quotes_and_brackets_do_not_count(self, text: str, values: list[str]) -> None:
        assert split_list(text) == values

    @pytest.mark.parametrize("text", ['a, "b', "a, <b", 'a, "b\\"', "<a<b>,c"])
    def test_open_quotes_and_brackets_are_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            split_list(text)


@pytest.mark.parametrize("function", [split_list, parse_parameters, parse_host_port, match_quoted_string])
@pytest.mark.parametrize("piece", ['"', '"\\', "<", "<>,", ",", ";", ";a=", ';a="",', " ", "\\", "[", ":", "a"])
def test_work_grows_no_faster_than_the_text(function: Callable[[str], object], piece: str) -> None:
    small, large = (count_lines(lambda text=piece * size: function(text), MessageError) for size in (500, 2_000))
    assert large < 4.5 * small + 100
