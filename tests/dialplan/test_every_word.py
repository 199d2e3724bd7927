"""A plan that uses every word of the language loads, and its own tests hold."""

from __future__ import annotations

from pathlib import Path

from gateway.dialplan.proof import run_tests
from tests.support.plans import EVERY_WORD, load_plan


def test_a_plan_with_every_word_loads_and_its_tests_hold(tmp_path: Path) -> None:
    report = run_tests(load_plan(tmp_path, EVERY_WORD))
    assert report.is_passed, report.text()
    assert [result.is_skipped for result in report.results] == [False, True]
