"""Dialplans: loaded, or refused at a place inside the file."""

from __future__ import annotations

from pathlib import Path

from gateway.dialplan.load import build_dialplan
from gateway.errors import ConfigurationError
from gateway.located import load_yaml
from tests.support.plans import PLAN

SEEDS = [PLAN.replace("closed.wav", "nothing.wav").encode(), *(f"{part}\n".encode() for part in PLAN.split("\n- "))]
_FILE = Path("/nowhere/plan.yaml")


def fuzz(data: bytes) -> None:
    try:
        build_dialplan(load_yaml(data, str(_FILE)), _FILE)
    except ConfigurationError as error:
        _check(error, data)


def _check(error: ConfigurationError, data: bytes) -> None:
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + data.count(b"\xe2\x80") + 2
    assert error.problems
    for problem in error.problems:
        assert problem.line <= lines
        assert "\n" not in str(problem)
