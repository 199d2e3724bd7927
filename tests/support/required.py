"""Hooks for a conftest: `REQUIRE_ASTERISK=1` turns every skip below it into a failure, but for tests marked `long`."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

LONG = "long"


def is_everything_required() -> bool:
    """Whether this run may skip nothing that takes less than minutes."""
    return os.environ.get("REQUIRE_ASTERISK") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if is_everything_required() and report.skipped and not _may_be_left_out(item, report):
        report.outcome, report.longrepr = "failed", _reason(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if is_everything_required() and report.skipped:
        report.outcome, report.longrepr = "failed", _reason(report)
    return report


def _may_be_left_out(item: pytest.Item, report: pytest.TestReport) -> bool:
    return item.get_closest_marker(LONG) is not None or hasattr(report, "wasxfail")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return f"{told} (and REQUIRE_ASTERISK=1)"
