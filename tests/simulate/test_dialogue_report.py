"""What is said of a dialogue that was held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.calls.record import Speaker, Speech
from gateway.simulate.dialogue_report import DialogueReport, transcript_of

REPORT = DialogueReport(name="hours", line=7, turns=(), total=3, seconds=4.25, failure="nobody answered")
FILE = Path("plan.yaml")


def test_a_line_tells_that_it_is_over() -> None:
    assert REPORT.headline(FILE) == "held  plan.yaml:7  hours: failed, 4.2 s"
    assert replace(REPORT, failure="").headline(FILE) == "held  plan.yaml:7  hours: passed, 4.2 s"


def test_on_a_busy_machine_fewer_at_once_are_proposed() -> None:
    assert "busy" not in replace(REPORT, at_once=3).text(FILE)
    busy = "(held 3 times: other programs kept this machine busy"
    assert replace(REPORT, held=3, at_once=3).text(FILE).endswith(f"{busy}; try --at-once 1)")
    assert replace(REPORT, held=3, at_once=1).text(FILE).endswith(f"{busy})")


def test_what_the_caller_said_and_nobody_understood_has_its_line() -> None:
    speeches = [
        Speech(speaker=Speaker.AGENT, text="Welcome.", at_ms=100),
        Speech(speaker=Speaker.AGENT, text="Pardon me?", at_ms=4000),
        Speech(speaker=Speaker.CALLER, text="a human", at_ms=5900),
    ]
    assert transcript_of(speeches, [2000, 6000]) == (
        (0.1, "agent", "Welcome."),
        (2.0, "caller", "(not understood)"),
        (4.0, "agent", "Pardon me?"),
        (5.9, "caller", "a human"),
    )
    assert [words for _, who, words in transcript_of(speeches, [6000, 9000]) if who == "caller"] == [
        "a human",
        "(not understood)",
    ]
    assert len(transcript_of(speeches, [])) == 3
