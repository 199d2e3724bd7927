"""What is said of a dialogue that was held."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.simulate.dialogue_report import DialogueReport

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
