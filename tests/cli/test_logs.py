"""Whatever a peer sends, a log line stays one line of JSON that prints, and says what was sent to whoever parses it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.cli.logs import configure_logs

HOSTILE = [
    'quote " and \\ backslash',
    'line\r\nbreak {"event": "forged"}',
    "\x1b[2J\x1b]0;title\x07 seven bits",
    "\x9b2J eight bits \x7f \x85 \u2028 \u2029",
    "\u202egnp.exe \u2066\u200f",
    "half \ud800 and \udcff",
    "Jürgen Müller 李 \U0001f600",
    "\x00\x01\x1f",
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_value_stays_one_printable_line_and_is_told_exactly(stream: io.StringIO, text: str) -> None:
    structlog.stdlib.get_logger("x").info("call started", display_name=text)
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    written.encode()
    assert json.loads(written)["display_name"] == text


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_lines_of_libraries_are_escaped_as_well(
    stream: io.StringIO, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    # pytest's own handlers would keep half a character, which its parallel runs cannot report.
    monkeypatch.setattr(root, "handlers", [one for one in root.handlers if getattr(one, "stream", None) is stream])
    logging.getLogger("library").warning("peer said %s", text)
    written = stream.getvalue()
    assert written[:-1].isprintable()
    assert json.loads(written)["event"] == f"peer said {text}"


def test_letters_of_all_languages_stay_readable(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("x").info("call started", display_name="Jürgen 李")
    assert "Jürgen 李" in stream.getvalue()


def test_values_that_json_does_not_know_are_told_all_the_same(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("x").info("odd", value=b"\x9b", path=object)
    assert "x9b" in json.loads(stream.getvalue())["value"]
