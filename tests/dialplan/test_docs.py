"""docs/dialplan.md tells the truth: its fragments are a plan that loads, its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.dialplan.hours import parse_instant
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.proof import run_tests
from gateway.dialplan.source import schema
from gateway.dialplan.template import Variable
from tests.dialplan.test_source import parts
from tests.support.plans import write_plan

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "dialplan.md").read_text("utf-8")
HEAD, *FRAGMENTS = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    """The fragments of the documentation, put together."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "reception.md").write_text("\n".join(f"{{{v.value}}}" for v in Variable), "utf-8")
    head = "\n".join(line for line in HEAD.splitlines() if not re.search(r": (\{\}|\[\])", line))
    return load_dialplan(write_plan(tmp_path, "\n".join([head, *FRAGMENTS])))


def test_the_fragments_are_a_plan_and_its_tests_pass(plan: Dialplan) -> None:
    assert [route.name for route in plan.routes] == ["blocked", "gold", "rest"]
    assert run_tests(plan).is_passed, run_tests(plan).text()


def test_the_fragments_use_every_section() -> None:
    sections = re.findall(r"^(\w+):", HEAD, re.MULTILINE)
    assert [fragment.split(":")[0] for fragment in FRAGMENTS] == sections[5:]


def test_the_table_of_variables_shows_what_they_become(plan: Dialplan) -> None:
    at = parse_instant("2026-11-20T10:00", plan.zone)
    facts = CallFacts(to="7000", from_="+49301234", at=at, display_name="Bob")
    rendered = (plan.instructions("reception", facts) or "").splitlines()
    table = dict(re.findall(r"^\| `\{([\w.]+)\}` \| .*?`(.*?)`", DOCS, re.MULTILINE))
    assert list(table) == [variable.value for variable in Variable]
    assert rendered == [*list(table.values())[:-1], table["contacts"], "- operator"]


def test_every_word_of_the_language_is_explained() -> None:
    """Each in code marks: those of tools, recording and dialogues in the files that explain them."""
    told = DOCS + "".join(
        (Path(__file__).resolve().parents[2] / "docs" / name).read_text("utf-8")
        for name in ("tools.md", "recording.md", "dialogues.md", "escalations.md")
    )
    tables = [part for part in parts(schema()) if isinstance(part.get("properties"), dict)]
    words = {word for table in tables for word in table["properties"]}  # type: ignore[attr-defined]
    missing = [word for word in sorted(words) if not re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", told)]
    assert missing == []
