"""The route that is found is the one that the explanation of every rule finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.actions import HangUpAction
from gateway.dialplan.matching import HeaderCriterion, Match, Seen
from gateway.dialplan.model import NO_ROUTE, CallFacts, Dialplan, Route
from gateway.dialplan.pattern import parse_caller, parse_number, parse_text
from gateway.dialplan.reach import eclipsed
from tests.support.plans import PLAN, load_plan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NUMBERS = st.sampled_from(["7", "70", "+70", "7*", "70*", "7-0*", "/7[0-9]?/", "*", "bob", "Bob*", "#1"])
CALLERS = NUMBERS | st.just("anonymous")
TEXTS = st.sampled_from(["gold", "Go*", "*", "/g.*/"])


def patterns(texts: st.SearchStrategy[str], parse: object) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(texts, max_size=2).map(lambda written: tuple(map(parse, written)))  # type: ignore[call-overload]


MATCHES = st.builds(
    Match,
    to=patterns(NUMBERS, parse_number),
    from_=patterns(CALLERS, parse_caller),
    names=patterns(TEXTS, parse_text),
    hours=st.sampled_from([None, None, "office"]),
    trunks=st.sampled_from([(), (), ("pbx",), ("pbx", "lab")]),
    headers=st.lists(
        st.builds(HeaderCriterion, name=st.sampled_from(["X-A", "x-b"]), patterns=patterns(TEXTS, parse_text)),
        max_size=1,
    ).map(tuple),
    diversion=patterns(NUMBERS, parse_number),
    languages=st.sampled_from([(), (), ("de",), ("de", "fr")]),
    seen=st.sampled_from([None, None, Seen(), Seen(is_wanted=False), Seen(within=timedelta(days=2))]),
    split=st.sampled_from([None, None, 0.5]),
    is_outgoing=st.sampled_from([False, False, True]),
)
CALLS = st.builds(
    CallFacts,
    to=st.sampled_from(["7", "70", "7 0", "71", "bob", "Bobby", "", "#1"]),
    from_=st.sampled_from(["7", "70", "anonymous", "", "bob"]),
    at=st.sampled_from([NOON, NOON + timedelta(hours=9)]),
    display_name=st.sampled_from(["", "Gold", "x"]),
    trunk=st.sampled_from(["", "pbx", "lab"]),
    headers=st.sampled_from([{}, {"X-A": "gold"}, {"x-a": "x", "X-B": "GO"}, {"X-A": "gold", "x-a": "x"}]),
    diversion=st.sampled_from(["", "70", "bob"]),
    languages=st.sampled_from([(), ("fr",), ("en", "de")]),
    last_seen=st.sampled_from([None, NOON - timedelta(days=1), NOON - timedelta(days=9)]),
    call_id=st.sampled_from(["", "a", "b"]),
    is_outgoing=st.booleans(),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Dialplan:
    return load_plan(tmp_path_factory.mktemp("plan"), PLAN)


def plan_of(plan: Dialplan, matches: list[Match]) -> Dialplan:
    """`plan` with these routes and nothing else."""
    routes = tuple(Route(name=f"r{n}", match=match, actions=(HangUpAction(),)) for n, match in enumerate(matches))
    return Dialplan(
        file=plan.file,
        name="a",
        zone=plan.zone,
        hours=plan.hours,
        contacts={},
        sessions={},
        routes=routes,
        escalations=(),
    )


@given(matches=st.lists(MATCHES, max_size=12), call=CALLS)
def test_the_route_found_is_the_first_whose_criteria_all_hold(
    plan: Dialplan, matches: list[Match], call: CallFacts
) -> None:
    asked = plan_of(plan, matches)
    routes = asked.routes
    decision = asked.decide(call)
    trace = decision.trace
    assert [rule.route for rule in trace] == [route.name for route in routes][: len(trace)]
    assert [rule.matched for rule in trace[:-1]] == [False] * len(trace[:-1])
    assert decision.route == (trace[-1].route if trace and trace[-1].matched else NO_ROUTE)
    assert decision.is_routed or len(trace) == len(routes)


@given(matches=st.lists(MATCHES, min_size=2, max_size=6), call=CALLS)
def test_no_call_ever_gets_a_route_that_is_reported_as_never_reached(
    plan: Dialplan, matches: list[Match], call: CallFacts
) -> None:
    asked = plan_of(plan, matches)
    assert asked.decide(call).route not in {asked.routes[later].name for later, _ in eclipsed(asked.routes)}


def test_callers_are_spread_and_each_stays_on_its_side(tmp_path: Path) -> None:
    text = PLAN.replace('match: {from: [anonymous, "+4990*"]}', "match: {split: 20%}")
    plan = load_plan(tmp_path, text)
    calls = [CallFacts(to="7000", from_=f"+4930{n:04d}", at=NOON) for n in range(2000)]
    taken = [plan.decide(call).route == "blocked" for call in calls]
    assert 0.17 < sum(taken) / len(taken) < 0.23
    assert taken == [plan.decide(call).route == "blocked" for call in calls]
    same_number = CallFacts(to="7000", from_="+49 (30) 0001", at=NOON)
    assert (plan.decide(same_number).route == "blocked") == taken[1]


def test_callers_who_withhold_their_number_are_spread_by_call(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN.replace('match: {from: [anonymous, "+4990*"]}', "match: {split: 50%}"))
    calls = [CallFacts(to="7000", from_="", at=NOON, call_id=f"{n}@pbx") for n in range(200)]
    assert 60 < sum(plan.decide(call).route == "blocked" for call in calls) < 140


def test_two_splits_of_a_plan_do_not_go_together(tmp_path: Path) -> None:
    one = load_plan(tmp_path, PLAN.replace('match: {from: [anonymous, "+4990*"]}', "match: {split: 50%}"))
    two = load_plan(
        tmp_path,
        PLAN.replace('match: {from: [anonymous, "+4990*"]}', "match: {split: 50%}").replace("blocked", "other"),
    )
    calls = [CallFacts(to="7000", from_=str(n), at=NOON) for n in range(400)]
    both = sum(one.decide(call).route == "blocked" and two.decide(call).route == "other" for call in calls)
    assert 60 < both < 140


def test_reasons_of_the_further_criteria_name_what_is_compared(tmp_path: Path) -> None:
    criteria = 'match: {name: "Bob*", diversion: "+4930*", language: [de, fr], seen: 30d, split: 20%}'
    plan = load_plan(tmp_path, PLAN.replace('match: {from: [anonymous, "+4990*"]}', criteria))
    call = CallFacts(to="1", from_="2", at=NOON, display_name="Ann", languages=("en",), last_seen=NOON - timedelta(40))
    assert plan.decide(call).trace[0].reason.split("; ")[:4] == [
        "name 'Ann' does not match Bob*",
        "the call was not diverted",
        "languages en would have to be de or fr",
        "the caller called last on 2026-10-11, and has to have called within 30 days",
    ]
    split = plan.decide(call).trace[0].criteria[-1]
    assert split.criterion == "split"
    assert split.reason == "the caller stands at 0.7% of all, within 20%"


@pytest.mark.parametrize(
    ("match", "more"),
    [
        (Match(to=(parse_number("70*"),)), {"to": "7 0 1"}),
        (Match(to=(parse_number("/7[0-9]/"),)), {"to": "70"}),
        (Match(from_=(parse_caller("anonymous"),)), {"from_": "Anonymous"}),
        (Match(from_=(parse_caller("+49*"),)), {"from_": "+49301"}),
        (Match(names=(parse_text("bob"),)), {"display_name": "Bob"}),
        (Match(hours="office"), {"at": NOON}),
        (Match(trunks=("pbx",)), {"trunk": "pbx"}),
        (Match(headers=(HeaderCriterion(name="X-A", patterns=(parse_text("*"),)),)), {"headers": {"x-a": ""}}),
        (Match(diversion=(parse_number("70"),)), {"diversion": "70"}),
        (Match(languages=("de",)), {"languages": ("fr", "de")}),
        (Match(seen=Seen()), {"last_seen": NOON - timedelta(days=9)}),
        (Match(split=0.99999), {"from_": "1"}),
        (Match(is_outgoing=True), {"is_outgoing": True}),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_each_criterion_alone_finds_its_route_and_is_missed_without(
    plan: Dialplan, match: Match, more: dict[str, object]
) -> None:
    asked = plan_of(plan, [Match(to=(parse_number("never"),)), match])
    facts: dict[str, object] = {"to": "x", "from_": "y", "at": NOON + timedelta(hours=9), **more}
    assert asked.decide(CallFacts(**facts)).route == "r1"  # type: ignore[arg-type]
    if match.split is None:
        without = CallFacts(to="x", from_="y", at=NOON + timedelta(hours=9))
        assert asked.decide(without).route == NO_ROUTE
