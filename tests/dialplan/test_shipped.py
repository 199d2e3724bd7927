"""The plans in dialplans/: they load, their tests pass, and they fit the shipped configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.dialplan.actions import SessionAction
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts
from gateway.dialplan.proof import run_tests
from gateway.dialplan.source import schema
from gateway.dialplan.triggers import DigitPressed, ProviderDown
from tests.dialplan.test_source import keys_of, parts

FOLDER = Path(__file__).resolve().parents[2] / "dialplans"
PLANS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_a_shipped_plan_loads_and_passes_its_own_tests(file: Path) -> None:
    report = run_tests(load_dialplan(file))
    assert report.results, "a shipped plan has tests"
    assert report.is_passed, report.text()


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_a_shipped_plan_uses_the_session_that_every_configuration_has(file: Path) -> None:
    # The trunk that the configurations for a PBX have.
    assert load_dialplan(file).check_references(["default"], ["pbx"]) == ()


class _Editor(yaml.SafeLoader):
    """Reads as editors do, by the core schema of YAML 1.2: dates are text."""


_Editor.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def as_json(value: object) -> object:
    """`value` with text for keys."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list) else value


def test_one_plan_uses_every_word_of_the_language() -> None:
    """Some it cannot: files of certificates, and what callers do in a dialogue, which other plans have."""
    text = (FOLDER / "every-word.yaml").read_text("utf-8")
    document = as_json(yaml.load(text, _Editor))  # noqa: S506 - a SafeLoader
    jsonschema.Draft202012Validator(schema()).validate(document)
    tables = [part for part in parts(schema()) if isinstance(part.get("properties"), dict)]
    words = {word for table in tables for word in table["properties"]}  # type: ignore[attr-defined]
    others = {"ca_file", "hear", "barge_in", "message", "outcome", "escalation", "hooks", "hang_up", "dialogue"}
    assert {str(word) for word in words} - {str(key) for key in keys_of(document)} <= others


def test_every_word_of_the_language_is_described_in_the_schema() -> None:
    tables = [part for part in parts(schema()) if isinstance(part.get("properties"), dict)]
    bare = [word for table in tables for word, rules in table["properties"].items() if "description" not in rules]  # type: ignore[attr-defined]
    assert bare == []
    assert all(table.get("description") for table in tables)


@pytest.mark.parametrize("hour", range(0, 24, 4))
@pytest.mark.parametrize(("to", "from_"), [("7000", "+49301"), ("gateway", ""), ("+4930901820", "anonymous")])
def test_the_reception_answers_every_call_at_any_time(to: str, from_: str, hour: int) -> None:
    plan = load_dialplan(FOLDER / "reception.yaml")
    decision = plan.decide(CallFacts(to=to, from_=from_, at=datetime(2026, 11, 22, hour, tzinfo=UTC)))
    assert decision.actions == (SessionAction(name="reception"),)


def test_the_reception_has_a_person_behind_zero_and_behind_the_model() -> None:
    plan = load_dialplan(FOLDER / "reception.yaml")
    assert plan.react(DigitPressed("0")) is not None
    assert plan.react(ProviderDown()) is not None
    assert plan.sessions["reception"].greeting == "Welcome to Acme, how can I help?"
    assert list(plan.contacts) == ["sales", "support", "operator"]
