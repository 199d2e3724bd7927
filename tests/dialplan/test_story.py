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
