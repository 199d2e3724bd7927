"""What escalations ask of the configuration and of sessions, and whether docs/escalations.md tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan
from gateway.dialplan.tools import SessionTool
from gateway.dialplan.triggers import TRIGGER_WORDS, Trigger
from gateway.errors import ConfigurationError
from tests.support.plans import write_plan

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "escalations.md").read_text("utf-8")
HEAD = """\
version: 1
name: test
timezone: UTC
lists: {vip: ["+4930*"]}
hours: {office: {mon-fri: "09:00-17:00"}}
contacts:
  operator: {dial: [sip:6001]}
  manager: {dial: [sip:6002]}
sessions:
  reception: {use: default}
  abroad: {use: foreign, tools: [switch_language], languages: [en, fr]}
routes: [{name: talk, do: [{session: reception}]}]
"""


def plan_of(folder: Path, *escalations: str) -> Dialplan:
    listed = "".join(f"  - {escalation}\n" for escalation in escalations)
    return load_dialplan(write_plan(folder, f"{HEAD}escalations:\n{listed}"))


def problems_of(folder: Path, *escalations: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        plan_of(folder, *escalations)
    return [str(problem).partition(":")[2] for problem in caught.value.problems]


def escalation(when: str, name: str = "x") -> str:
    return f"{{name: {name}, when: {{{when}}}, do: [{{transfer: operator}}]}}"


@pytest.mark.parametrize(
    "when", ["said: [human]", "repeats: 3", "not_understood: 2", 'webhook: {url: "https://judge.example/"}']
)
def test_words_of_callers_need_a_session_that_writes_them_down(tmp_path: Path, when: str) -> None:
    plan, word = plan_of(tmp_path, escalation(when)), when.partition(":")[0]
    known = (["default", "foreign"], [])
    assert plan.check_references(*known) == ()
    message = f"does not write down what callers say, which {word!r} needs"
    assert [str(problem) for problem in plan.check_references(*known, untranscribed=["foreign", "other"])] == [
        f"{plan.file}:14:22: realtime session 'foreign' {message} (expected realtime.foreign.transcription there)"
    ]
    assert len(plan.check_references(*known, untranscribed=["default", "foreign"])) == 2


def test_words_are_needed_only_where_the_escalation_may_fire(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, escalation("said: [human], session: reception"))
    assert plan.check_references(["default", "foreign"], [], untranscribed=["foreign"]) == ()
    assert len(plan.check_references(["default", "foreign"], [], untranscribed=["default"])) == 1


@pytest.mark.parametrize("when", ['dtmf: "0"', "silence: 10s", "minutes: 5", "failed_tools: 2", "sentiment: [angry]"])
def test_what_is_known_without_words_needs_no_transcript(tmp_path: Path, when: str) -> None:
    plan = plan_of(tmp_path, escalation(when))
    assert plan.check_references(["default", "foreign"], [], untranscribed=["default", "foreign"]) == ()


def test_a_language_has_to_be_one_that_a_session_goes_over_to(tmp_path: Path) -> None:
    plan_of(tmp_path, escalation("language: [fr]"))
    expected = "(expected tools: [switch_language] and languages: […, {0}] in one)"
    assert problems_of(tmp_path, escalation("language: [fr, it]")) == [
        "14:37: no session goes over to the language 'it' " + expected.format("it")
    ]
    assert problems_of(tmp_path, escalation("language: [fr], session: reception")) == [
        "14:33: no session goes over to the language 'fr' " + expected.format("fr")
    ]


def test_sentiments_are_reported_in_the_sessions_whose_escalations_ask(tmp_path: Path) -> None:
    calm = escalation("sentiment: [Angry, sad], session: abroad")
    plan = plan_of(tmp_path, calm, escalation("sentiment: [angry, lost], session: abroad", "y"))
    assert (plan.sentiments("abroad"), plan.sentiments("reception")) == (("angry", "sad", "lost"), ())
    assert plan.offers("abroad", SessionTool.REPORT_SENTIMENT)
    assert not plan.offers("reception", SessionTool.REPORT_SENTIMENT)


def test_the_tool_for_sentiments_cannot_be_listed(tmp_path: Path) -> None:
    text = HEAD.replace("{use: default}", "{use: default, tools: [report_sentiment]}")
    with pytest.raises(ConfigurationError, match="'report_sentiment' is offered by itself"):
        load_dialplan(write_plan(tmp_path, text))


def test_the_first_fragment_of_the_documentation_is_a_plans(tmp_path: Path) -> None:
    fragment, webhook = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    plan = load_dialplan(write_plan(tmp_path, HEAD + fragment + webhook))
    assert [known.name for known in plan.escalations][-2:] == ["down", "judge"]


def test_the_documentation_has_a_row_for_every_trigger() -> None:
    rows = " ".join(re.findall(r"^\| (`[^|]*)\|", DOCS, re.MULTILINE))
    assert {word for word in TRIGGER_WORDS.values() if not re.search(rf"`{word}\b", rows)} == set()


def test_every_trigger_has_a_word() -> None:
    assert set(TRIGGER_WORDS) == set(Trigger.__args__)
