"""The whole story of a call: what follows each action, each choice, and each escalation, at one instant."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.dialplan.explain import route_report
from gateway.dialplan.model import CallFacts, Dialplan
from tests.support.plans import EVERY_WORD, load_plan

OPEN = datetime(2026, 11, 20, 9, tzinfo=UTC)
CLOSED = datetime(2026, 11, 20, 19, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return load_plan(tmp_path, EVERY_WORD)


def story(plan: Dialplan, at: datetime = OPEN, from_: str = "+49 30 123-1", to: str = "7000") -> list[str]:
    text = route_report(plan, CallFacts(to=to, from_=from_, at=at, display_name="Ann")).text()
    return text.partition("\nthen\n")[2].splitlines()


def below(lines: list[str], head: str) -> list[str]:
    """What follows the line that begins with `head`, set back to the margin."""
    index = next(n for n, line in enumerate(lines) if line.strip().startswith(head))
    depth = len(lines[index]) - len(lines[index].lstrip())
    after = lines[index + 1 :]
    end = next((n for n, line in enumerate(after) if len(line) - len(line.lstrip()) <= depth), len(after))
    return [line[depth + 2 :] for line in after[:end]]


def test_a_menu_tells_its_prompt_patience_and_every_way_out(plan: Dialplan) -> None:
    lines = story(plan)
    assert "  menu: says 'Press one, Ann.'; waits 4s; 3 tries" in lines
    ways = [line for line in below(lines, "menu:") if not line.startswith(" ")]
    assert ways == ["key 1: or sales, buying", "key 2: or order", "key 3", "key #", "other", "timeout"]
    assert below(lines, "timeout")[0] == "goto menu2: as told already"


def test_a_route_that_is_gone_to_is_told_once(plan: Dialplan) -> None:
    lines = story(plan)
    assert [line.strip() for line in lines if "goto" in line].count("goto menu2") == 1
    assert below(lines, "goto menu2")[:2] == ["say Bye.", "callback night"]


def test_a_contact_tells_how_it_is_called_whether_it_is_open_and_who_stands_in(plan: Dialplan) -> None:
    head, *rest = below(story(plan), "key 1")
    assert head == "transfer sales: blind to sip:6001; each rings 20s; office open now, until 17:30"
    assert rest[0].startswith("  else mailbox night: says 'Leave a message for 7000.'; beep; at most 120s")
    assert rest[1:3] == ["    webhook: POST", "    email a@b.example: with the recording"]
    assert "office closed now, opens Monday 09:00" in below(story(plan, at=CLOSED), "key 1")[0]


def test_variables_that_nobody_has_set_yet_stand_as_they_are_written(plan: Dialplan) -> None:
    number = next(line for line in story(plan) if line.strip().startswith("transfer line"))
    assert number.endswith("blind to /[1-7][0-9]{3}/; each rings 20s; number {vars.order}")


def test_a_session_tells_which_escalations_may_fire_for_this_caller_now(plan: Dialplan) -> None:
    def named(lines: list[str]) -> list[str]:
        heads = [line for line in below(lines, "session reception") if not line.startswith(" ")]
        return [head.split(":")[0].removeprefix("escalation ") for head in heads]

    assert named(story(plan))[:2] == ["zero", "asked"]
    assert named(story(plan, from_="+43"))[:2] == ["asked", "fails"]
    assert named(story(plan, at=CLOSED))[:2] == ["asked", "fails"]
    assert len(named(story(plan))) == len(plan.escalations)


def test_the_json_has_the_same_tree(plan: Dialplan) -> None:
    report = route_report(plan, CallFacts(to="7000", from_="+4930123", at=OPEN, display_name="Ann"))

    def lines(steps: list[dict[str, object]], depth: int = 1) -> list[str]:
        found: list[str] = []
        for step in steps:
            head = f"{step['kind']} {step['name']}".strip()
            details = "; ".join(map(str, step["details"]))  # type: ignore[call-overload]
            found.append("  " * depth + (f"{head}: {details}" if details else head))
            found += lines(step.get("follows", []), depth + 1)  # type: ignore[arg-type]
        return found

    assert lines(json.loads(report.json())["then"]) == report.text().partition("\nthen\n")[2].splitlines()


def test_addresses_of_web_services_are_not_told(plan: Dialplan) -> None:
    assert ".example/" not in "\n".join(story(plan))


KEYS = """\
version: 1
name: keys
timezone: UTC
contacts: {op: {dial: ["1"]}, desk: {dial: ["2"], else: box}}
mailboxes: {box: {transcript: false, notify: [{email: {to: a@b.example}}]}}
sessions: {talk: {use: default}}
routes:
  - {name: said, match: {to: "1"}, do: [{say: Closed.}, {wait: 5s}, {hang_up: true}]}
  - {name: whole, match: {to: "2"}, do: [{say: {text: Closed., protect: true}}, {wait: 5s}, {hang_up: true}]}
  - {name: menu, match: {to: "3"}, do: [{menu: {say: Hello., 0: [{session: talk}], "#": [{say: Bye.}]}}]}
  - {name: desk, match: {to: "4"}, do: [{transfer: desk}]}
  - {name: open, do: [{session: talk}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: op}]}
  - {name: mine, when: {dtmf: "5", session: talk}, do: [{tell: Five.}]}
  - {name: vip, when: {dtmf: "6", from: "6*"}, do: [{transfer: op}]}
  - {name: hash, when: {dtmf: "#"}, do: [{say: Hash.}, {hang_up: true}]}
  - {name: human, when: {said: [a human]}, do: [{transfer: op}]}
"""


@pytest.mark.parametrize(
    ("to", "head", "found"),
    [
        ("1", "say Closed.", ["zero: when dtmf 0", "hash: when dtmf #"]),
        ("1", "wait", []),
        ("2", "say Closed.", []),
        ("2", "wait", ["zero: when dtmf 0", "hash: when dtmf #"]),
        ("3", "menu", []),
        ("3", "say Bye.", ["zero: when dtmf 0", "hash: when dtmf #; as told already"]),
        ("4", "else mailbox box", ["zero: when dtmf 0"]),
        ("5", "session talk", [*(f"{name}: when" for name in ("zero", "mine", "hash", "human"))]),
    ],
)
def test_an_escalation_by_a_key_is_told_once_at_the_first_step_that_it_ends(
    tmp_path: Path, to: str, head: str, found: list[str]
) -> None:
    lines = below(story(load_plan(tmp_path, KEYS), to=to), head)
    told = [line.removeprefix("escalation ") for line in lines if line.startswith("escalation ")]
    assert len(told) == len(found)
    assert all(line.startswith(start) for line, start in zip(told, found, strict=True)), told


def test_a_session_behind_a_step_only_names_the_escalations_that_are_told_already(tmp_path: Path) -> None:
    text = KEYS.replace('"#": [{say: Bye.}]', "5: [{say: Bye.}]")
    lines = story(load_plan(tmp_path, text), to="3")
    assert [line.split(":")[0] for line in below(lines, "menu") if line.startswith("escalation")] == ["escalation hash"]
    assert "escalation hash: when dtmf #; as told already" in below(lines, "session talk")


def test_in_a_session_the_escalations_stand_below_it_and_not_below_what_follows_from_them(tmp_path: Path) -> None:
    text = KEYS.replace("do: [{transfer: op}]", "do: [{transfer: desk}]").replace('{dtmf: "#"}', '{dtmf: "9"}')
    lines = story(load_plan(tmp_path, text), to="5")
    assert len([line for line in lines if "escalation hash" in line]) == 1
