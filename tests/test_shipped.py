"""Every configuration in config/ with every plan in dialplans/: they fit, or what lacks is named with its remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli.service import load_plans
from gateway.config import load_configuration
from gateway.errors import ConfigurationError, Problem

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGURATIONS = sorted((REPOSITORY / "config").glob("*.yaml"))
PLANS = sorted((REPOSITORY / "dialplans").glob("*.yaml"))
SECRETS = {"OPENAI_API_KEY": "x"}
STAND_INS = {
    "GATEWAY__SIP__TRUNKS__PBX__PEER": "127.0.0.1",
    "GATEWAY__RECORDS__RECORDINGS__FOLDER": "/recordings",
    "GATEWAY__RECORDS__VOICEMAIL__FOLDER": "/messages",
    "GATEWAY__RECORDS__CALLERS__FILE": "/callers",
    "GATEWAY__MAIL__HOST": "mail.example",
    "GATEWAY__MAIL__FROM": "gateway@example.org",
}
PRICES = "expected realtime.default.prices there"
REMEDIES = re.compile(
    r"expected (records\.(recordings\.folder|voicemail\.folder|callers)|mail: \{host: \.\.\., from: \.\.\.\}) there"
    rf"|{PRICES}, see docs/budget\.md|expected '(asterisk|phones)'"
)


def lacking(configuration: Path, plan: Path, environment: dict[str, str]) -> tuple[Problem, ...]:
    """What the configuration has not that the plan wants."""
    variables = {**SECRETS, **environment, "GATEWAY__DIALPLANS": f"[{plan}]"}
    try:
        load_plans(load_configuration(configuration, variables))
    except ConfigurationError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_a_configuration_fits_the_plans_that_it_names(file: Path) -> None:
    assert load_plans(load_configuration(file, SECRETS))


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.stem)
def test_a_configuration_fits_a_plan_or_names_what_it_lacks(file: Path, plan: Path) -> None:
    bare = lacking(file, plan, {})
    assert [str(problem) for problem in bare if not REMEDIES.fullmatch(problem.expected)] == []
    assert all(problem.file == str(plan) and problem.line for problem in bare)
    furnished = lacking(file, plan, STAND_INS)
    assert [str(problem) for problem in furnished if not problem.expected.startswith(PRICES)] == []


def test_the_plan_of_every_word_wants_all_there_is() -> None:
    bare = lacking(REPOSITORY / "config" / "asterisk.yaml", REPOSITORY / "dialplans" / "every-word.yaml", {})
    assert sorted({problem.expected for problem in bare}) == [
        "expected 'asterisk'",
        "expected mail: {host: ..., from: ...} there",
        "expected records.callers there",
        "expected records.recordings.folder there",
        "expected records.voicemail.folder there",
    ]
