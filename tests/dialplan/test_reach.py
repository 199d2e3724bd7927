"""Routes that no call reaches: found where that is certain, and never where a call could get there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.actions import HangUpAction
from gateway.dialplan.model import CallFacts, Dialplan, HeaderCriterion, Match, Route
from gateway.dialplan.pattern import parse_caller, parse_number, parse_text
from gateway.dialplan.reach import eclipsed
from tests.support.plans import load_plan


def match(
    *, to: str = "", from_: str = "", hours: str | None = None, trunks: str = "", queue: str = "", language: str = ""
) -> Match:
    headers = [("X-Queue", queue), ("Accept-Language", language)]
    return Match(
        to=tuple(parse_number(text) for text in to.split()),
        from_=tuple(parse_caller(text) for text in from_.split()),
        hours=hours,
        trunks=tuple(trunks.split()),
        headers=tuple(
            HeaderCriterion(name=name, patterns=tuple(parse_text(text) for text in texts.split()))
            for name, texts in headers
            if texts
        ),
    )


def routes(*matches: Match) -> list[Route]:
    return [Route(name=f"r{n}", match=m, actions=(HangUpAction(),)) for n, m in enumerate(matches)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (match(), match()),
        (match(), match(to="7000", from_="+49*", hours="office", trunks="a", queue="x")),
        (match(to="*"), match()),
        (match(to="7*"), match(to="7000 70*")),
        (match(to="7000 8000"), match(to="8000")),
        (match(from_="*"), match(to="1", from_="anonymous")),
        (match(hours="office"), match(to="1", hours="office")),
        (match(trunks="a b"), match(trunks="b")),
        (match(queue="gold*"), match(queue="gold-1", language="de")),
    ],
)
def test_a_route_behind_a_wider_one_is_never_reached(earlier: Match, later: Match) -> None:
    assert eclipsed(routes(match(to="0"), earlier, later)) == [(2, 1)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (match(to="7000"), match()),
        (match(to="7000"), match(to="7000 8000")),
        (match(to="7000"), match(from_="7000")),
        (match(hours="office"), match()),
        (match(hours="office"), match(hours="night")),
        (match(trunks="a"), match()),
        (match(trunks="a"), match(trunks="a b")),
        (match(queue="*"), match()),
        (match(queue="gold"), match(language="gold")),
        (match(to="/7.*/"), match(to="/7.*0/")),
    ],
)
def test_a_route_that_a_call_may_reach_is_not_reported(earlier: Match, later: Match) -> None:
    assert eclipsed(routes(earlier, later)) == []


MATCHES = st.builds(
    match,
    to=st.sampled_from(["", "7000", "7*", "7000 8*", "*", "/7.*/"]),
    from_=st.sampled_from(["", "anonymous", "+49*", "+49301 anonymous", "*"]),
    hours=st.sampled_from([None, "office"]),
    trunks=st.sampled_from(["", "pbx", "pbx lab"]),
    queue=st.sampled_from(["", "gold", "g*", "*"]),
    language=st.sampled_from(["", "de*"]),
)
CALLS = st.builds(
    CallFacts,
    to=st.sampled_from(["7000", "7001", "8000", "sales"]),
    from_=st.sampled_from(["", "+49301", "+43"]),
    at=st.sampled_from([datetime(2026, 11, 20, 9, tzinfo=UTC), datetime(2026, 11, 20, 22, tzinfo=UTC)]),
    trunk=st.sampled_from(["", "pbx", "lab"]),
    headers=st.sampled_from([{}, {"X-Queue": "gold"}, {"x-queue": "g2", "accept-language": "de"}]),
)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Dialplan:
    """A plan with the hours that `MATCHES` name."""
    return load_plan(Path(tmp_path_factory.mktemp("plan")))


@given(matches=st.lists(MATCHES, min_size=2, max_size=4), call=CALLS)
def test_no_call_ever_gets_a_route_that_was_reported(office: Dialplan, matches: list[Match], call: CallFacts) -> None:
    written = routes(*matches)
    plan = Dialplan(
        file=office.file,
        name="x",
        zone=office.zone,
        hours=office.hours,
        contacts={},
        sessions={},
        routes=tuple(written),
        escalations=(),
    )
    assert plan.decide(call).route not in {written[later].name for later, _ in eclipsed(written)}
