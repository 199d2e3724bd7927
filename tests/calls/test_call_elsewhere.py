"""What happens to a call while caller and model do not talk: in a step, while a session opens, before a transfer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.events.steps import EndMessage, LeaveWish, Speak
from gateway.calls.phases.conversing import PUT_THROUGH
from gateway.calls.record import CallDirection
from gateway.dialplan import actions as a
from gateway.dialplan.contacts import Contact, TransferMode
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.model import CallFacts, Dialplan, SessionPlan
from gateway.dialplan.targets import parse_target
from gateway.dialplan.template import parse_template
from gateway.dialplan.triggers import Circumstances, DigitPressed, Escalation, ProviderDown
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_world import MONDAY, say

WAV = Path("sound.wav")
SALES = Contact(name="sales", description="", targets=(parse_target("sip:6001"),), ring_s=10, mode=TransferMode.BLIND)
BOSS = replace(SALES, name="boss", targets=(parse_target("sip:6009"),))
DESK = SessionPlan(name="desk", use="default", greeting=None, instructions=None, tools=("transfer", "hang_up", "find"))
MENU = a.MenuAction(prompt=a.PlayAction(file=WAV), choices={"1": (a.HangUpAction(),)}, words={})
LOST = e.SessionLost(reason="gone")
OPENED = (e.Started(), e.SessionOpened(), e.Established())
TO_SALES = e.ToolAsked(call_id="c1", name="transfer", arguments={"contact": "sales"})


def by_key(digit: str, *actions: a.Action) -> Escalation:
    return Escalation(name=f"key {digit}", trigger=DigitPressed(digit), actions=actions)


DOWN = Escalation(name="down", trigger=ProviderDown(), actions=(a.TransferAction(contact="sales"),))
PLAN = replace(
    BARE_PLAN,
    contacts={"sales": SALES, "boss": BOSS},
    sessions={"desk": DESK, "other": replace(DESK, name="other")},
    mailboxes={"night": Mailbox(name="night")},
    escalations=(
        by_key("0", a.TransferAction(contact="sales")),
        by_key("3", a.TransferAction(contact="boss"), a.PlayAction(file=WAV)),
        by_key("5", a.PlayAction(file=WAV)),
        by_key("6", a.SessionAction(name="other")),
        by_key("7", a.SetAction(values={"x": parse_template("y")[0]})),
        by_key("8", say("We are open until five.")),
        DOWN,
    ),
)


def call_with(*actions: a.Action, plan: Dialplan = PLAN, **fields: object) -> Call:
    facts = CallFacts(to="7000", from_="+49301", at=MONDAY)
    return Call(plan=plan, actions=actions, facts=facts, **fields)  # type: ignore[arg-type]


def feed(call: Call, *events: e.Event) -> list[e.Command]:
    commands: list[e.Command] = []
    for event in events:
        commands = call.step(event, MONDAY)
    return commands


def key(digit: str) -> e.DigitReceived:
    return e.DigitReceived(digit=digit)


def talking(plan: Dialplan = PLAN) -> Call:
    call = call_with(a.SessionAction(name="desk"), plan=plan)
    feed(call, *OPENED)
    assert call.state is CallState.TALKING
    return call


def replies(commands: list[e.Command]) -> dict[str, object]:
    return {command.call_id: command.output["status"] for command in commands if isinstance(command, e.ReplyToTool)}


def test_a_session_that_is_lost_while_a_file_plays_is_missed_behind_it() -> None:
    call = talking()
    feed(call, key("5"), LOST)
    assert isinstance(feed(call, e.PlayoutEnded())[-1], e.Refer)
    assert call.notes.escalations == ["key 5", "down"]


def test_without_an_escalation_for_it_the_record_says_that_the_session_was_lost() -> None:
    call = talking(replace(PLAN, escalations=PLAN.escalations[:-1]))
    feed(call, key("5"), LOST, e.PlayoutEnded())
    assert (call.state, call.notes.outcome, call.notes.cause) == (CallState.ENDED, e.Outcome.FAILED, "gone")


def test_a_session_that_is_opened_behind_the_step_makes_good_for_the_one_that_was_lost() -> None:
    call = talking(
        replace(PLAN, escalations=(by_key("5", a.PlayAction(file=WAV), a.SessionAction(name="other")), DOWN))
    )
    feed(call, key("5"), LOST, e.PlayoutEnded(), e.SessionOpened())
    assert (call.state, call.notes.escalations) == (CallState.TALKING, ["key 5"])


def test_a_session_that_cannot_be_opened_is_the_one_that_circumstances_ask_about() -> None:
    only_there = replace(DOWN, circumstances=Circumstances(sessions=("other",)))
    call = talking(replace(PLAN, escalations=(PLAN.escalations[3], only_there)))
    assert isinstance(feed(call, key("6"), LOST)[-1], e.Refer)


@pytest.mark.parametrize("rings", [(), (e.Rang(),)])
def test_the_tool_of_a_session_that_is_not_heard_yet_is_answered_in_a_call_of_ours(rings: tuple[e.Event, ...]) -> None:
    call = call_with(a.SessionAction(name="desk"), direction=CallDirection.OUTGOING)
    feed(call, e.Started(), e.SessionOpened(), *rings)
    asked = e.ToolAsked(call_id="c1", name="find", arguments={})
    assert replies(feed(call, asked)) == {"c1": "refused"}


def test_a_key_ends_the_wait_for_a_session_in_an_answered_call() -> None:
    call = call_with(a.PlayAction(file=WAV), a.SessionAction(name="desk"))
    feed(call, e.Started(), e.Established(), e.PlayoutEnded())
    assert call.state is CallState.PREPARING
    commands = feed(call, key("0"))
    assert commands[0] == e.CloseSession()
    assert isinstance(commands[-1], e.Refer)
    assert feed(call, e.SessionOpened()) == []


def test_the_key_for_whom_the_caller_is_about_to_be_connected_with_costs_no_second_transfer() -> None:
    call = talking()
    feed(call, TO_SALES)
    assert feed(call, key("0")) == []
    assert isinstance(feed(call, e.PlayoutEnded())[-1], e.Refer)
    assert call.notes.escalations == ["key 0"]


def test_a_key_that_ends_nothing_leaves_the_announced_transfer_going() -> None:
    call = talking()
    feed(call, TO_SALES)
    feed(call, key("7"))
    assert (call.state, call.variables["x"]) == (CallState.ANNOUNCING, "y")
    assert isinstance(feed(call, e.PlayoutEnded())[-1], e.Refer)


def test_a_key_for_somebody_else_answers_the_tool_and_what_stands_behind_it_still_follows() -> None:
    call = talking()
    feed(call, TO_SALES)
    assert replies(feed(call, key("3"))) == {"c1": "failed"}
    busy = e.TransferReported(status=486, reason="Busy Here", is_final=True)
    commands = feed(call, busy)
    assert replies(commands) == {}
    assert commands[-1] == e.Play(file=WAV)


def test_a_key_that_keeps_the_call_from_ending_answers_the_tool_that_was_to_end_it() -> None:
    call = talking()
    feed(call, e.ToolAsked(call_id="c1", name="hang_up", arguments={}))
    assert replies(feed(call, key("5"))) == {"c1": "failed"}
    feed(call, e.PlayoutEnded())
    assert call.state is CallState.TALKING


def test_a_key_that_says_something_in_a_menu_is_followed_by_the_menu_and_what_is_left() -> None:
    call = call_with(MENU, a.PlayAction(file=Path("behind.wav")))
    feed(call, e.Started(), e.Established())
    assert feed(call, key("8"))[-1] == Speak(text="We are open until five.")
    assert feed(call, e.PlayoutEnded())[-1] == e.Play(file=WAV)
    feed(call, e.PlayoutEnded(), e.TimerFired(timer=e.TimerName.STEP), e.PlayoutEnded())
    assert feed(call, e.TimerFired(timer=e.TimerName.STEP))[-1] == e.Play(file=Path("behind.wav"))


def test_a_key_that_notes_something_does_not_disturb_the_menu() -> None:
    call = call_with(MENU)
    feed(call, e.Started(), e.Established())
    assert feed(call, key("7")) == []
    assert (call.state, call.variables["x"]) == (CallState.ACTING, "y")


def test_somebody_else_on_the_line_hears_the_menu_from_its_beginning() -> None:
    call = call_with(a.CollectAction(prompt=a.PlayAction(file=WAV), into="n", least=2, most=2))
    feed(call, e.Started(), e.Established(), key("1"))
    assert feed(call, e.CallerReplaced())[-1] == e.Play(file=WAV)
    feed(call, key("4"), key("2"))
    assert call.variables["n"] == "42"


def test_a_message_is_of_one_caller_alone() -> None:
    call = call_with(a.VoicemailAction(mailbox="night"))
    feed(call, e.Started(), e.Established())
    assert EndMessage() in feed(call, e.CallerReplaced())


def test_a_wish_to_be_called_back_is_not_left_twice() -> None:
    call = call_with(a.CallbackAction(mailbox="night"))
    feed(call, e.Started())
    commands = [*feed(call, e.Established()), *feed(call, e.CallerReplaced())]
    assert sum(isinstance(command, LeaveWish) for command in commands) <= 1


def test_the_model_is_told_of_somebody_else_when_they_are_with_it() -> None:
    call = talking()
    feed(call, key("5"), e.CallerReplaced())
    assert feed(call, e.PlayoutEnded()) == [e.TellModel(text=PUT_THROUGH), e.BridgeAudio(is_open=True)]
