"""Whole calls that cost money: counted to the cent, stopped within a reply, and not let in on a day that is used up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from gateway.calls.events import Outcome
from gateway.calls.spending import Accounting, BudgetSpent
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan
from gateway.dialplan.targets import parse_target
from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.realtime import session as realtime
from gateway.realtime.budget import Budget
from gateway.realtime.day_ledger import DayBudgets, DayLedger
from gateway.realtime.prices import Price, Rates, SessionPrices, session_prices
from gateway.realtime.recovery.endpoints import Endurance
from gateway.realtime.session import Usage
from gateway.sip import events as sip_events
from gateway.sip.events import Event
from gateway.sip.message import Uri
from tests.support.call_house import CallHouse, ScriptedSession, play_out
from tests.support.plans import write_plan
from tests.support.wire import PBX, Party, description

PLAN = """
version: 1
name: frugal
timezone: UTC
contacts:
  sales: {dial: [sip:6001]}
sessions:
  reception: {use: default, instructions: Be kind.}
  modest: {use: cheap}
routes:
  - {name: announce, match: {to: "7001"}, do: [{play: closed.wav}]}
  - {name: spoken, match: {to: "7002"}, do: [{say: Hello.}, {hang_up: true}]}
  - {name: leap, match: {to: "7003"}, do: [{ring: 1s}, {goto: talk}]}
  - {name: talk, do: [{session: reception}]}
"""
HOSTED = session_prices("openai", "gpt-realtime-2.1", "gpt-4o-transcribe")
CHEAP = SessionPrices(
    model=Price(audio=Rates(input=Decimal(1), cached=Decimal(1), output=Decimal(1))), transcription=Price()
)
TIMED = SessionPrices(model=Price(per_second=Decimal("0.01")), transcription=Price())
REPLY = Usage(input_tokens=2000, input_audio_tokens=2000, output_tokens=1000, output_audio_tokens=1000)
REPLY_COST = Decimal("0.128")  # 2000 * 32 + 1000 * 64 millionths


class QuietPbx:
    """Takes what comes; knows how the gateway answered."""

    def __init__(self) -> None:
        self.refused: list[int] = []
        self.answered = 0

    def __call__(self, party: Party, event: Event, now: float) -> None:
        match event:
            case sip_events.CallRefused():
                self.refused.append(event.status)
            case sip_events.CallAnswered():
                self.answered += 1
            case sip_events.TransferRequested():
                party.user_agent.reject_refer(event.leg_id, 603, now)


def plan_of(folder: Path, *escalations: str, limits: str = "{}") -> Dialplan:
    text = PLAN.replace("instructions: Be kind.", f"instructions: Be kind., limits: {limits}")
    listed = "".join(f"  - {escalation}\n" for escalation in escalations)
    return load_dialplan(write_plan(folder, text + (f"escalations:\n{listed}" if listed else "")))


def house_of(plan: Dialplan, prices: SessionPrices = HOSTED, **limits: Budget) -> CallHouse:
    call = limits.pop("call", Budget())
    ledger = DayLedger(DayBudgets(**limits))
    accounting = Accounting(prices={"default": prices, "cheap": CHEAP}, call=call, ledger=ledger)
    return CallHouse(plan, QuietPbx(), accounting=accounting)


def dial(house: CallHouse, to: str = "7000", port: int = 20000) -> str:
    uri, offer = Uri.parse(f"sip:{to}@10.0.0.1"), description(PBX.host, port)
    return house.pbx.user_agent.invite("gateway", uri, offer=offer, now=house.wire.now)


async def talk(house: CallHouse, calls: int = 1) -> list[ScriptedSession]:
    """Callers who talk to the model, each to their own."""
    house.on_session = confirm_when_connected(house)
    for index in range(calls):
        dial(house, port=20000 + 2 * index)
    await house.live(1)
    return house.sessions


def confirm_when_connected(_house: CallHouse) -> Callable[[ScriptedSession], None]:
    def prepare(session: ScriptedSession) -> None:
        connect = session.connect

        async def connect_and_confirm(on_event: realtime.EventCallback) -> None:
            await connect(on_event)
            session.emit(realtime.SessionReady(session_id="s", model="m"))

        session.connect = connect_and_confirm  # type: ignore[method-assign]

    return prepare


def reply(session: ScriptedSession, usage: Usage = REPLY) -> None:
    """A reply that costs."""
    session.emit(realtime.ResponseStarted(response_id="r"))
    session.emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED, usage=usage))


def script_of(house: CallHouse, scene: Callable[[], object]) -> None:
    """Play `scene`, then let everybody leave."""

    async def script() -> None:
        await scene()  # type: ignore[misc]
        for call in list(house.manager._calls):
            call.hang_up()
        await house.live(40, step_s=0.25)
        house.assert_nothing_is_left()

    play_out(house, script)


def test_cost_of_a_call_of_200_replies_is_right_to_the_cent(tmp_path: Path) -> None:
    house, random, expected = house_of(plan_of(tmp_path)), Random(7), 0.0

    async def scene() -> None:
        nonlocal expected
        (session,) = await talk(house)
        remembered = 0
        for turn in range(200):
            said, heard, text, words = (random.randrange(n) for n in (900, 300, 200, 80))
            remembered += heard
            cached = random.randrange(remembered + 1) if turn else 0
            usage = Usage(
                input_tokens=remembered + text,
                output_tokens=said + words,
                input_text_tokens=text,
                input_audio_tokens=remembered,
                cached_tokens=cached,
                cached_audio_tokens=cached,
                output_text_tokens=words,
                output_audio_tokens=said,
            )
            expected += (text * 4 + (remembered - cached) * 32 + cached * 0.4 + words * 24 + said * 64) / 1e6
            remembered += said
            spoken = Usage(input_tokens=heard, input_audio_tokens=heard, output_tokens=words, output_text_tokens=words)
            expected += (heard * 6 + words * 10) / 1e6
            session.emit(realtime.InputTranscript(item_id="i", text="", is_final=True, usage=spoken))
            reply(session, usage)
            await asyncio.sleep(0)
        session.emit(realtime.UsageReported(usage=Usage(input_tokens=9, input_text_tokens=9)))
        session.emit(realtime.Answered(question_id="q", text="", usage=Usage(output_tokens=7, output_text_tokens=7)))
        expected += (9 * 4 + 7 * 24) / 1e6

    script_of(house, scene)
    (record,) = house.ended
    assert record.cost is not None
    assert expected > 1
    assert float(record.cost) == pytest.approx(expected, rel=1e-9)
    assert record.currency == "USD"


@pytest.mark.parametrize(
    ("limit", "replies", "cause"),
    [
        (Budget(money=Decimal("0.50")), 4, "limits.budget.call.money"),
        (Budget(tokens=9_500), 4, "limits.budget.call.tokens"),
        (Budget(minutes=0.5), None, "limits.budget.call.minutes"),
    ],
)
def test_call_ends_within_a_reply_of_its_limit(tmp_path: Path, limit: Budget, replies: int | None, cause: str) -> None:
    house, given = house_of(plan_of(tmp_path), call=limit), 0

    async def scene() -> None:
        nonlocal given
        (session,) = await talk(house)
        for _ in range(60):
            if replies is not None and house.manager.call_count:
                reply(session)
                given += 1
            await house.live(1, step_s=0.25)
        assert house.ended

    script_of(house, scene)
    (record,) = house.ended
    assert (record.outcome, record.cause) == (Outcome.GATEWAY_HUNG_UP, cause)
    if replies is None:
        assert 29 <= record.duration_s <= 33
    else:
        assert given == replies


def test_plan_limits_what_a_session_may_spend(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path, limits="{money: 0.10}"))

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(1)

    script_of(house, scene)
    assert house.ended[0].cause == "sessions.reception.limits.money"


def test_escalation_at_a_share_asks_for_short_answers_once(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{name: dear, when: {budget: 25%}, do: [{answers: short}]}")
    house = house_of(plan, call=Budget(money=Decimal("0.50")))

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        reply(session)
        await house.live(1)
        (change,) = session.changes
        assert change.instructions == "Be kind.\n\nFrom now on answer in one short sentence."
        assert change.max_output_tokens is not None
        assert house.manager.call_count == 1

    script_of(house, scene)
    assert house.ended[0].escalations == ("dear",)


def test_escalation_over_a_cost_hands_the_caller_to_a_cheaper_session(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path, "{name: dear, when: {cost_over: 0.20}, do: [{session: modest}]}"))

    async def scene() -> None:
        (dear,) = await talk(house)
        reply(dear)
        await house.live(1)
        assert len(house.sessions) == 1
        reply(dear)
        await house.live(1)
        _, cheap = house.sessions
        assert dear.is_closed
        reply(cheap)

    script_of(house, scene)
    assert house.ended[0].cost == 2 * REPLY_COST + Decimal("0.003")
    assert house.ended[0].session == "modest"


def test_reply_that_is_told_after_its_session_was_left_counts(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path, "{name: dear, when: {cost_over: 0.10}, do: [{session: modest}]}"))

    async def scene() -> None:
        (dear,) = await talk(house)
        told = dear.on_event
        reply(dear)
        await house.live(1)
        assert told is not None
        told(realtime.ResponseFinished(response_id="x", status=realtime.ResponseStatus.CANCELLED, usage=REPLY))

    script_of(house, scene)
    assert house.ended[0].cost == 2 * REPLY_COST


def test_used_up_budget_closes_the_session_before_the_caller_is_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{name: spent, when: {budget: 100%}, do: [{play: closed.wav}]}")
    house = house_of(plan, call=Budget(money=Decimal("0.10")))

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(0.26)
        assert session.is_closed
        assert [leg.played for leg in house.media.legs.values()] == [[b"file"]]
        await house.live(1)

    script_of(house, scene)
    assert house.ended[0].escalations == ("spent",)


def test_session_billed_by_time_is_counted_while_it_lasts_and_no_longer(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{name: dear, when: {cost_over: 0.20}, do: [{transfer: sales}]}")
    house = house_of(plan, TIMED, call=Budget(money=Decimal("0.50")))

    async def scene() -> None:
        await talk(house)
        await house.live(20)
        assert not house.ended
        await house.live(40, step_s=0.25)

    script_of(house, scene)
    (record,) = house.ended
    assert record.cost is not None
    assert Decimal("0.50") <= record.cost <= Decimal("0.53")
    assert record.escalations == ("dear",)
    assert record.cause == "limits.budget.call.money"


def test_what_is_billed_beside_replies_is_in_the_record(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path), TIMED)

    async def scene() -> None:
        (session,) = await talk(house)
        await house.live(9, step_s=0.5)
        session.emit(realtime.UsageReported(usage=Usage(seconds=4.0)))
        session.emit(realtime.UsageReported(usage=Usage(seconds=2.5)))

    script_of(house, scene)
    (record,) = house.ended
    assert record.usage.seconds == 6.5
    assert record.cost == Decimal("0.065")


def test_time_costs_nothing_once_the_session_is_closed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{name: spent, when: {budget: 100%}, do: [{play: closed.wav}]}")
    house = house_of(plan, TIMED, call=Budget(minutes=0.1))

    async def scene() -> None:
        (session,) = await talk(house)
        await house.live(6.24)
        assert session.is_closed
        house.media.queued_ms = lambda _leg: 1.0  # type: ignore[method-assign]
        await house.live(60, step_s=0.5)
        assert house.manager.call_count == 1

    script_of(house, scene)
    (record,) = house.ended
    assert record.cost is not None
    assert record.cost < Decimal("0.08")


def test_calls_at_once_pass_the_day_by_no_more_than_the_reply_each_has_under_way(tmp_path: Path) -> None:
    limit, calls = Decimal("2.00"), 5
    house = house_of(plan_of(tmp_path), day=Budget(money=limit))

    async def scene() -> None:
        sessions = await talk(house, calls)
        assert len(sessions) == calls
        for _ in range(30):
            for session in sessions:
                if not session.is_closed:
                    reply(session)
                await house.live(0.1)
        assert len(house.ended) == calls
        dial(house)
        await house.live(1)
        assert len(house.sessions) == calls

    script_of(house, scene)
    spent = sum((record.cost or Decimal(0) for record in house.ended), Decimal(0))
    assert limit <= spent <= limit + calls * REPLY_COST
    assert {record.cause for record in house.ended} == {"limits.budget.day.money"}


@pytest.mark.parametrize("scope", ["day", "caller", "called"])
def test_caller_of_a_used_up_day_is_refused_before_the_answer_and_before_a_session(tmp_path: Path, scope: str) -> None:
    house = house_of(plan_of(tmp_path), **{scope: Budget(money=Decimal("0.10"))})
    pbx: QuietPbx = house.pbx.application  # type: ignore[assignment]

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(2)
        assert pbx.answered == 1
        dial(house)
        await house.live(1)
        assert (pbx.refused, pbx.answered, len(house.sessions)) == ([503], 1, 1)
        dial(house, "7001")  # costs no model
        await house.live(1)
        assert pbx.answered == 2

    script_of(house, scene)


def test_texts_that_nobody_may_pay_are_left_out_and_a_session_in_another_route_is_refused(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path), day=Budget(money=Decimal("0.10")))
    pbx: QuietPbx = house.pbx.application  # type: ignore[assignment]

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(2)
        known = len(house.sessions)
        dial(house, "7003")
        await house.live(1)
        assert pbx.refused == [503]
        with capture_logs() as logs:
            dial(house, "7002")
            await house.live(3)
        assert len(house.sessions) == known
        (told,) = [line for line in logs if line["event"] == "text not spoken"]
        assert told["reason"] == "limits.budget.day.money is used up"
        assert house.ended[-1].cause == "dialplan"

    script_of(house, scene)


def test_dialplan_chooses_what_becomes_of_the_caller_of_a_used_up_day(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "{name: spent, when: {budget: 100%}, do: [{reject: {code: 480, reason: Tomorrow}}]}")
    house = house_of(plan, day=Budget(money=Decimal("0.10")))
    pbx: QuietPbx = house.pbx.application  # type: ignore[assignment]

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(2)
        dial(house)
        await house.live(1)
        assert (pbx.refused, len(house.sessions)) == ([480], 1)

    script_of(house, scene)


def test_no_call_is_placed_that_nobody_may_pay(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    house = house_of(plan, day=Budget(money=Decimal("0.10")))

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(2)
        with pytest.raises(BudgetSpent, match=r"limits\.budget\.day\.money"):
            house.manager.place("pbx", parse_target("6001"), plan, "reception")

    script_of(house, scene)


def test_model_whose_price_nobody_knows_is_told_once_and_its_calls_have_no_cost(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path), SessionPrices(model=None, transcription=Price()))

    async def scene() -> None:
        for session in await talk(house, 3):
            reply(session)

    with capture_logs() as lines:
        script_of(house, scene)
    assert len([line for line in lines if line["event"] == "price unknown"]) == 1
    assert [record.cost for record in house.ended] == [None] * 3
    assert house.ended[0].usage == REPLY


def fallback_house(plan: Dialplan, prices: SessionPrices = HOSTED) -> CallHouse:
    """A house whose sessions fall back on the cheap ones."""
    accounting = Accounting(prices={"default": prices, "cheap": CHEAP})
    return CallHouse(plan, QuietPbx(), accounting=accounting, endurance=Endurance(fallbacks=("cheap",)))


def test_model_that_answers_in_place_of_another_costs_its_own_price(tmp_path: Path) -> None:
    house = fallback_house(plan_of(tmp_path))

    async def refuse(_on_event: realtime.EventCallback) -> None:
        raise ProviderRefused("no such model", code="model_not_found")

    def prepare(session: ScriptedSession) -> None:
        if len(house.sessions) == 1:
            session.connect, session.is_closed = refuse, True  # type: ignore[method-assign]
        else:
            confirm_when_connected(house)(session)

    async def scene() -> None:
        house.on_session = prepare
        dial(house)
        await house.live(1)
        reply(house.sessions[1])

    script_of(house, scene)
    assert house.ended[0].cost == Decimal("0.003")


@pytest.mark.parametrize(
    ("error", "second"),
    [
        (ProviderRefused("quota", code="insufficient_quota"), Decimal("0.003")),
        (ProviderUnavailable("line cut", code="1006"), REPLY_COST),
    ],
)
def test_each_reply_costs_what_the_model_that_made_it_costs(
    tmp_path: Path, error: ProviderError, second: Decimal
) -> None:
    house = fallback_house(plan_of(tmp_path))

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        session.emit(realtime.SessionFailed(error=error))
        await house.live(1)
        reply(house.sessions[-1])

    script_of(house, scene)
    assert house.ended[0].cost == REPLY_COST + second


def test_time_without_a_session_is_not_counted(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path), TIMED)

    async def scene() -> None:
        (session,) = await talk(house)
        await house.live(9)
        session.emit(realtime.SessionSuspended(reason="line cut"))
        await house.live(100, step_s=0.25)
        session.emit(
            realtime.SessionResumed(provider="scripted", model="m", session_id="s2", gap_ms=100_000, is_planned=False)
        )
        await house.live(10)

    script_of(house, scene)
    cost = house.ended[0].cost
    assert cost is not None
    assert abs(cost - Decimal("0.20")) < Decimal("0.02")


def test_call_without_a_limit_has_no_timer_and_no_end(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path))

    async def scene() -> None:
        (session,) = await talk(house)
        for _ in range(100):
            reply(session)
        await house.live(60, step_s=0.5)
        assert house.manager.call_count == 1

    script_of(house, scene)
    assert house.ended[0].cost == 100 * REPLY_COST


def test_what_was_reserved_is_free_when_the_call_has_ended(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path), day=Budget(money=Decimal("0.15")))

    async def scene() -> None:
        await talk(house)
        for call in list(house.manager._calls):
            call.hang_up()
        await house.live(40, step_s=0.25)
        dial(house, port=20010)
        await house.live(1)
        assert len(house.sessions) == 2

    script_of(house, scene)


def test_cost_that_is_met_and_not_passed_is_not_over(tmp_path: Path) -> None:
    house = house_of(plan_of(tmp_path, f"{{name: dear, when: {{cost_over: {REPLY_COST}}}, do: [{{answers: short}}]}}"))

    async def scene() -> None:
        (session,) = await talk(house)
        reply(session)
        await house.live(1)
        assert session.changes == []
        reply(session)
        await house.live(1)
        assert len(session.changes) == 1

    script_of(house, scene)
