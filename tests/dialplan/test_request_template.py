"""Arguments go in where they stand, and nowhere else."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.dialplan.request_template import (
    UnfitArgument,
    parse_json_template,
    parse_text_template,
    parse_url_template,
)
from gateway.located import WrongValue

URL = parse_url_template("https://erp.example:8443/orders/{number}/lines?by={who}&all=1")


@settings(max_examples=500)
@given(number=st.text(max_size=20), who=st.text(max_size=20))
@example(number="..", who="x")
@example(number="%2e%2e", who="&all=0#")
@example(number="../../admin", who="\\")
@example(number="a@evil.example", who="=&")
@example(number="?x=1", who="\ud800")
@example(number="@evil.example/\n", who="")
def test_no_argument_changes_host_path_or_parameters(number: str, who: str) -> None:
    try:
        url = urlsplit(URL.render({"number": number, "who": who}, {"more": parse_text_template("{number}")}))
    except UnfitArgument:
        return
    assert (url.scheme, url.netloc, url.fragment) == ("https", "erp.example:8443", "")
    segments = url.path.split("/")
    assert [segments[0], segments[1], segments[3:]] == ["", "orders", ["lines"]]
    assert unquote(segments[2]) == number
    assert parse_qs(url.query, keep_blank_values=True) == {"by": [who], "all": ["1"], "more": [number]}


@pytest.mark.parametrize("number", ["", ".", "..", "a/b", "a\\b", "a\nb", "\ud800", "9" * 257, None, ["1"], {"a": 1}])
def test_argument_that_would_change_the_path_is_refused(number: object) -> None:
    with pytest.raises(UnfitArgument):
        URL.render({"number": number, "who": "me"}, {})


@pytest.mark.parametrize(("value", "shown"), [(7, "7"), (True, "true"), ("ü x", "%C3%BC%20x")])
def test_values_are_written_as_text(value: object, shown: str) -> None:
    assert URL.render({"number": value}, {}) == f"https://erp.example:8443/orders/{shown}/lines?by=&all=1"


def test_two_dots_from_two_arguments_are_refused() -> None:
    with pytest.raises(UnfitArgument):
        parse_url_template("http://h/x/{a}{b}/y").render({"a": ".", "b": "."}, {})


def test_parameter_whose_argument_is_missing_is_left_out() -> None:
    template = parse_url_template("http://h")
    query = {"a": parse_text_template("{a}"), "b": parse_text_template("x{{y}}{z}")}
    assert template.render({}, query) == "http://h/?b=x%7By%7D"


@pytest.mark.parametrize(
    "text",
    [
        "https://{host}/x",
        "https://erp.{domain}/x",
        "{url}",
        "https://user:secret@erp.example/",
        "https://{user}@erp.example/",
        "ftp://erp.example/",
        "https://erp.example/#{x}",
        "https:///x",
        "https://erp.example:99999/",
        "https://erp.example/a/../b",
        "https://erp.example/%2e%2e/b",
        "erp.example/x",
        "",
    ],
)
def test_url_whose_host_is_not_fixed_is_no_url(text: str) -> None:
    with pytest.raises(WrongValue) as refused:
        parse_url_template(text)
    assert "secret" not in f"{refused.value}{refused.value.expected}"


def test_json_keeps_the_type_of_what_is_a_whole_argument() -> None:
    template = parse_json_template(
        {"n": "{n}", "text": "no {n}", "list": ["{a}", "{missing}"], "gone": "{missing}", "fixed": 1, "open": "{{n}}"}
    )
    assert template.names == ("n", "n", "a", "missing", "missing")
    rendered = template.render({"n": 7, "a": {"k": '"}'}})
    assert rendered == {"n": 7, "text": "no 7", "list": [{"k": '"}'}], "fixed": 1, "open": "{n}"}


def test_templates_do_not_show_what_may_be_a_secret() -> None:
    assert "secret" not in repr((parse_url_template("http://h/secret?k=secret"), parse_json_template({"a": "secret"})))
