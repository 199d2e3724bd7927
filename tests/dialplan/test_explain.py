"""Reports about a call, and a plan's own tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.dialplan.explain import route_report
from gateway.dialplan.model import CallFacts
from gateway.dialplan.proof import run_tests
from tests.support.plans import PLAN, load_plan

OPEN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
CLOSED = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)

UNTOLD = "happens, and nobody said what became of the transfer to desk; expected transfer: busy, for example, before it"


def call(to: str = "7000", at: datetime = OPEN, from_: str = "+49301") -> CallFacts:
    return CallFacts(to=to, from_=from_, at=at, trunk="pbx", headers={"X-Queue": "gold"})


def test_the_text_tells_the_route_its_actions_and_every_rule_tried(tmp_path: Path) -> None:
    report = route_report(load_plan(tmp_path), call())
    rest = "trunk pbx is pbx; header X-Queue 'gold' matches gold*; office is open on fri 2026-11-20 10:00"
    assert report.is_routed
    assert report.text() == "\n".join(
        (
            "call    7000 from +49301 at 2026-11-20T10:00:00+01:00",
            "route   day",
            "do      transfer sales -> sip:6001",
            "do      session reception",
            "no      blocked: from +49301 matches none of anonymous, +4990*",
            f"match   day: to 7000 matches 7000; {rest}",
            "then",
            "  transfer sales: blind to sip:6001; each rings 20s; office open now, until 17:30",
            "    else desk: blind to sip:6001, tel:+49301234; each rings 15s",
            "  session reception: uses default; greets 'Hello.'; tools transfer, hang_up",
            "    escalation zero: when dtmf 0",
            "      transfer desk: blind to sip:6001, tel:+49301234; each rings 15s",
            "    escalation down: when provider_down",
            "      reject 503 Busy",
        )
    )


def test_the_text_of_a_call_without_route_says_so(tmp_path: Path) -> None:
    report = route_report(load_plan(tmp_path), call(to="8000", from_="+1"))
    assert not report.is_routed
    assert report.text().splitlines()[1:3] == ["route   (no route)", "do      reject 404"]


def test_the_text_names_the_stand_in_of_a_closed_contact(tmp_path: Path) -> None:
    text = PLAN.replace("hours: office, trunk", "trunk")
    assert "do      transfer sales by desk -> sip:6001, tel:+49301234" in (
        route_report(load_plan(tmp_path, text), call(at=CLOSED)).text()
    )
    alone = load_plan(tmp_path, text.replace(", else: desk", ""))
    assert "do      transfer sales: sales cannot be reached now: outside opening hours." in (
        route_report(alone, call(at=CLOSED)).text()
    )


def test_text_of_callers_stays_on_its_line(tmp_path: Path) -> None:
    report = route_report(load_plan(tmp_path), call(to="x\nroute day", from_="\x1b[2J"))
    assert len(report.text().splitlines()) == 8
    assert "\x1b" not in report.text()


def test_the_json_is_one_document_with_the_same(tmp_path: Path) -> None:
    plan = load_plan(tmp_path)
    document = json.loads(route_report(plan, call(from_="anonymous")).json())
    assert document == {
        "dialplan": "acme",
        "file": str(plan.file),
        "call": {
            "to": "7000",
            "from": "anonymous",
            "name": "",
            "trunk": "pbx",
            "headers": {"X-Queue": "gold"},
            "at": "2026-11-20T10:00:00+01:00",
            "diversion": "",
            "languages": [],
            "last_seen": None,
        },
        "route": "blocked",
        "actions": [{"reject": 603, "reason": ""}],
        "then": [{"kind": "reject", "name": "603", "details": []}],
        "rules": [
            {
                "route": "blocked",
                "matched": True,
                "reason": "from is withheld and matches anonymous",
                "criteria": [
                    {"criterion": "from", "matched": True, "reason": "from is withheld and matches anonymous"}
                ],
            }
        ],
    }


def test_the_json_has_the_targets_of_transfers(tmp_path: Path) -> None:
    actions = json.loads(route_report(load_plan(tmp_path), call()).json())["actions"]
    assert actions == [
        {"transfer": "sales", "contact": "sales", "dials": ["sip:6001"], "refused": ""},
        {"session": "reception"},
    ]


# The plan's own tests.


def failures(folder: Path, case: str) -> tuple[str, ...]:
    text = PLAN[: PLAN.index("tests:")] + f"tests:\n  - {case}\n"
    (result,) = run_tests(load_plan(folder, text)).results
    return result.failures


DAY = 'call: {to: "7000", from: "+49301", at: "2026-11-20T10:00", trunk: pbx, header: {x-queue: gold}}'
NIGHT = 'call: {to: "7000", from: "+49301", at: "2026-11-20T22:00"}'


@pytest.mark.parametrize(
    "case",
    [
        f"{{{DAY}, expect: {{route: day, session: reception, transfer: sales}}}}",
        f"{{{NIGHT}, expect: {{route: closed, play: closed.wav, hang_up: true}}}}",
        '{call: {to: 1, from: "+4990", at: "2026-11-20T22:00"}, expect: {reject: 603}}',
        '{call: {to: 1, from: "+49", at: "2026-11-20T22:00"}, expect: {route: (no route), reject: 404}}',
        f'{{{DAY}, then: [{{dtmf: "0"}}], expect: {{transfer: desk, route: day}}}}',
        f'{{{DAY}, then: [{{dtmf: "7"}}], expect: {{session: reception}}}}',
        f"{{{DAY}, then: [{{provider_down: true}}], expect: {{reject: 503}}}}",
    ],
)
def test_what_comes_as_expected_passes(tmp_path: Path, case: str) -> None:
    assert failures(tmp_path, case) == ()


@pytest.mark.parametrize(
    ("case", "failure"),
    [
        (f"{{{DAY}, expect: {{route: closed}}}}", "expected route closed, but it is day"),
        (
            f"{{{NIGHT}, expect: {{session: reception}}}}",
            "expected session reception, but it is: play {folder}/closed.wav; hang_up",
        ),
        (
            f"{{{DAY}, expect: {{reject: 486}}}}",
            "expected reject 486, but it is: transfer sales -> sip:6001; session reception",
        ),
        (
            f"{{{DAY}, expect: {{hang_up: true}}}}",
            "expected hang_up, but it is: transfer sales -> sip:6001; session reception",
        ),
        (
            f'{{{DAY}, then: [{{dtmf: "0"}}], expect: {{transfer: sales}}}}',
            "expected transfer sales, but it is: transfer desk -> sip:6001, tel:+49301234",
        ),
        (
            f'{{{NIGHT}, then: [{{dtmf: "7"}}], expect: {{hang_up: true}}}}',
            "dtmf 7 happens outside a session, where nothing reacts",
        ),
        (
            f'{{{DAY}, then: [{{dtmf: "0"}}, {{provider_down: true}}], expect: {{transfer: desk}}}}',
            f"provider_down {UNTOLD}",
        ),
    ],
)
def test_what_comes_otherwise_fails_and_says_how(tmp_path: Path, case: str, failure: str) -> None:
    assert failures(tmp_path, case) == (failure.replace("{folder}", str(tmp_path)),)


def test_a_transfer_is_expected_by_who_is_called_in_the_end(tmp_path: Path) -> None:
    text = PLAN.replace("hours: office, trunk", "trunk").replace('10:00", trunk: pbx', '22:00", trunk: pbx')
    text = text.replace('    then: [{dtmf: "0"}]\n', "")
    assert run_tests(load_plan(tmp_path, text)).is_passed
    assert not run_tests(load_plan(tmp_path, text.replace("day, transfer: desk", "day, transfer: sales"))).is_passed


def test_the_report_has_a_line_for_each_case(tmp_path: Path) -> None:
    text = PLAN + f"  - {{{DAY}, expect: {{route: closed}}}}\n"
    plan = load_plan(tmp_path, text)
    report = run_tests(plan)
    assert not report.is_passed
    assert report.text().splitlines() == [
        f"pass  {plan.file}:29  a day",
        f"FAIL  {plan.file}:33  7000 called by +49301: expected route closed, but it is day",
    ]
    assert json.loads(report.json()) == {
        "dialplan": "acme",
        "file": str(plan.file),
        "passed": False,
        "live_only": 0,
        "cases": [
            {"name": "a day", "line": 29, "passed": True, "failures": []},
            {
                "name": "7000 called by +49301",
                "line": 33,
                "passed": False,
                "failures": ["expected route closed, but it is day"],
            },
        ],
    }


def test_a_plan_without_tests_passes_and_says_so(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN[: PLAN.index("tests:")])
    assert run_tests(plan).is_passed
    assert run_tests(plan).text() == f"{plan.file}: no tests"


RECORDED = (
    PLAN[: PLAN.index("tests:")]
    .replace("greeting: Hello.", "record: {consent: ask, play: closed.wav}")
    .replace(
        '{name: zero, when: {dtmf: "0"}, do: [{transfer: desk}]}',
        """{name: zero, when: {dtmf: "0"}, do: [{transfer: desk}]}
  - {name: card, when: {dtmf: "7"}, do: [{recording: pause}]}
  - {name: dear, when: {budget: 80%}, do: [{answers: short}]}
  - {name: dearer, when: {cost_over: 0.80}, do: [{transfer: sales}]}""",
    )
)


def test_reports_tell_how_callers_agree_to_be_recorded(tmp_path: Path) -> None:
    report = route_report(load_plan(tmp_path, RECORDED), call())
    assert "do      session reception, recorded (consent: ask)" in report.text()
    assert json.loads(report.json())["actions"][-1] == {"session": "reception", "record": "ask"}


@pytest.mark.parametrize(
    ("then", "expect", "failure"),
    [
        ('[{dtmf: "7"}]', "{recording: pause}", None),
        ('[{dtmf: "7"}, {dtmf: "0"}]', "{transfer: desk}", None),
        ('[{dtmf: "7"}]', "{recording: stop}", "expected recording stop, but it is: recording pause"),
        ("[{budget: 80%}]", "{answers: short}", None),
        ("[{budget: 80%}, {cost_over: 0.80}]", "{transfer: sales}", None),
        ("[{budget: 80%}]", "{recording: stop}", "expected recording stop, but it is: answers short"),
        (
            "[{cost_over: 0.80}, {budget: 80%}]",
            "{route: day}",
            f"budget 80% {UNTOLD.replace('desk', 'sales')}",
        ),
        (
            '[{dtmf: "0"}, {cost_over: 0.80}]',
            "{route: day}",
            f"cost_over 0.80 {UNTOLD}",
        ),
        ('[{dtmf: "0"}, {dtmf: "7"}]', "{route: day}", f"dtmf 7 {UNTOLD}"),
    ],
)
def test_a_session_goes_on_when_its_recording_or_answers_are_changed(
    tmp_path: Path, then: str, expect: str, failure: str | None
) -> None:
    case = f"tests:\n  - {{{DAY}, then: {then}, expect: {expect}}}\n"
    (result,) = run_tests(load_plan(tmp_path, RECORDED + case)).results
    assert result.failures == (() if failure is None else (failure,))
