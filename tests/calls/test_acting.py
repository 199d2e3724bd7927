"""A call that performs the dialplan's steps: before and after the answer, with a session or without."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.events.steps import (
    AskHook,
    DropHook,
    HookAnswered,
    HookFailed,
    PlayTone,
    PrepareSpeech,
    Speak,
    SpeechReady,
)
from gateway.calls.phases.acting import ENDLESS
from gateway.calls.record import CallDirection
from gateway.dialplan import actions as a
from gateway.dialplan.contacts import Contact, TransferMode
from gateway.dialplan.model import Dialplan, Match, Route, SessionPlan
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.targets import parse_target
from gateway.dialplan.template import parse_template
from gateway.dialplan.tools import HttpRequest
from gateway.dialplan.triggers import DigitPressed, Escalation
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SALES = Contact(
    name="sales", description="", targets=(parse_target("sip:6001"),), ring_s=10, mode=TransferMode.ATTENDED
)
SESSION = SessionPlan(name="desk", use="default", greeting=None, instructions=None, tools=())
PLAN = replace(
    BARE_PLAN,
    contacts={"sales": SALES},
    sessions={"desk": SESSION},
    routes=(Route(name="again", match=Match(), actions=(a.WaitAction(seconds=1), a.GotoAction(route="again"))),),
    escalations=(Escalation(name="zero", trigger=DigitPressed("0"), actions=(a.HangUpAction(),)),),
)
REQUEST = HttpRequest(method="POST", url=parse_url_template("https://hook.example/"))
HOOK = a.HookAction(request=REQUEST, failed=(a.RejectAction(status=503),))
SILENT = e.BridgeAudio(is_open=False)
TIME_IS_UP = e.TimerFired(timer=e.TimerName.STEP)
MENU = a.MenuAction(prompt=a.PlayAction(file=Path("m.wav")), choices={"1": (a.QueueAction(contact="sales"),)}, words={})


def say(text: str) -> a.SayAction:
    return a.SayAction(text=parse_template(text)[0])


def call_with(*actions: a.Action, plan: Dialplan = PLAN, **fields: object) -> Call:
    return Call(plan=plan, actions=actions, **fields)  # type: ignore[arg-type]


def feed(call: Call, *events: e.Event, at: datetime = NOON) -> list[e.Command]:
    commands: list[e.Command] = []
    for event in events:
        commands = call.step(event, at)
    return commands


def timer(seconds: float) -> e.StartTimer:
    return e.StartTimer(timer=e.TimerName.STEP, delay_s=seconds)


def test_it_rings_for_so_long_before_it_is_answered() -> None:
    call = call_with(a.RingAction(seconds=5), a.AnswerAction(), say("Hello."))
    assert feed(call, e.Started()) == [e.Ring(), timer(5)]
    assert call.state is CallState.ACTING
    assert feed(call, TIME_IS_UP) == [e.Answer()]
    assert feed(call, e.Established())[1:] == [SILENT, Speak(text="Hello.")]
    assert feed(call, e.PlayoutEnded()) == [e.HangUp()]


def test_ringing_of_a_call_that_is_answered_is_nothing() -> None:
    call = call_with(a.AnswerAction(), a.RingAction(seconds=5), a.WaitAction(seconds=2))
    assert feed(call, e.Started()) == [e.Answer()]
    assert feed(call, e.Established())[1:] == [SILENT, timer(2)]


def test_a_caller_who_gives_up_while_it_rings_has_cancelled() -> None:
    call = call_with(a.RingAction(seconds=5))
    feed(call, e.Started(), e.CallerLeft(cause="cancelled"))
    assert call.notes.outcome is e.Outcome.CANCELLED


def test_a_call_that_rings_is_rejected_when_the_gateway_goes() -> None:
    call = call_with(a.RingAction(seconds=5))
    assert [type(command) for command in feed(call, e.Started(), e.DrainEnded())] == [e.Reject]


def test_the_caller_is_answered_when_the_text_is_ready_that_they_hear_first() -> None:
    call = call_with(replace(MENU, prompt=say("One or two?")))
    assert feed(call, e.Started()) == [e.Ring(), PrepareSpeech(speech=Speak(text="One or two?"))]
    assert feed(call, e.PlayoutEnded()) == []
    assert feed(call, SpeechReady()) == [e.Answer()]
    assert feed(call, e.Established())[1:] == [SILENT, Speak(text="One or two?")]


def test_a_hook_is_asked_before_the_answer_and_may_refuse_the_call() -> None:
    call = call_with(HOOK, a.HangUpAction())
    assert feed(call, e.Started()) == [AskHook(request=REQUEST, values={})]
    assert feed(call, HookFailed()) == [e.Reject(status=503)]


def test_what_a_hook_says_comes_before_what_is_left() -> None:
    call = call_with(HOOK, a.HangUpAction())
    tone = a.ToneAction(tone=a.Tone.BEEP, seconds=0.5)
    assert feed(call, e.Started(), HookAnswered(actions=(tone,))) == [e.Answer()]
    assert feed(call, e.Established())[-1] == PlayTone(tone=a.Tone.BEEP, seconds=0.5)
    assert feed(call, e.PlayoutEnded()) == [e.HangUp()]


def test_a_queue_is_a_blind_transfer_whatever_the_mode_of_the_contact() -> None:
    call = call_with(MENU)
    feed(call, e.Started(), e.Established())
    assert isinstance(feed(call, e.DigitReceived(digit="1"))[-1], e.Refer)
    assert call.state is CallState.TRANSFERRING
    assert call.notes.transfer_target == "sales"


def test_a_key_with_an_escalation_ends_a_step_that_has_no_use_for_it() -> None:
    call = call_with(HOOK, a.AnswerAction())
    feed(call, e.Started())
    assert DropHook() in feed(call, e.DigitReceived(digit="0"))
    assert call.notes.escalations == ["zero"]


def test_a_menu_has_its_own_keys_before_those_of_escalations() -> None:
    choices = {"0": (a.WaitAction(seconds=9),)}
    call = call_with(a.MenuAction(prompt=None, choices=choices, words={}))
    feed(call, e.Started(), e.Established())
    assert feed(call, e.DigitReceived(digit="0"))[-1] == timer(9)
    assert call.notes.escalations == []


def test_late_news_of_a_step_that_was_left_changes_nothing() -> None:
    call = call_with(MENU)
    feed(call, e.Started(), e.Established(), e.DigitReceived(digit="1"))
    assert feed(call, e.PlayoutEnded(), TIME_IS_UP) == []


def test_the_end_key_behind_a_full_number_is_not_taken_for_an_answer_to_the_next_menu() -> None:
    collect = a.CollectAction(prompt=None, into="n", least=1, most=1)
    menu = replace(MENU, otherwise=(a.HangUpAction(),), tries=1)
    for later, is_over in ((0.5, False), (3, True)):
        call = call_with(collect, menu)
        feed(call, e.Started(), e.Established(), e.DigitReceived(digit="5"))
        feed(call, e.DigitReceived(digit="#"), at=NOON + timedelta(seconds=later))
        assert (call.state is CallState.ENDED) is is_over


def test_a_plan_that_waits_in_circles_ends_the_call_and_says_why() -> None:
    call = call_with(a.GotoAction(route="again"))
    feed(call, e.Started(), e.Established())
    for _ in range(501):
        feed(call, TIME_IS_UP)
    assert (call.state, call.notes.cause) == (CallState.ENDED, ENDLESS)


def test_a_plan_in_circles_without_any_time_ends_before_the_answer() -> None:
    again = Route(name="again", match=Match(), actions=(a.GotoAction(route="again"),))
    call = call_with(a.GotoAction(route="again"), plan=replace(PLAN, routes=(again,)))
    assert feed(call, e.Started()) == [e.Reject(status=480)]
    assert call.notes.cause == ENDLESS


def test_after_the_last_step_the_caller_is_back_with_the_session() -> None:
    key = Escalation(name="x", trigger=DigitPressed("5"), actions=(a.PlayAction(file=Path("again.wav")),))
    call = call_with(a.SessionAction(name="desk"), plan=replace(PLAN, escalations=(key,)))
    feed(call, e.Started(), e.SessionOpened(), e.Established())
    assert feed(call, e.DigitReceived(digit="5"))[-2:] == [SILENT, e.Play(file=Path("again.wav"))]
    assert feed(call, e.PlayoutEnded()) == [e.BridgeAudio(is_open=True)]
    assert call.state is CallState.TALKING


def test_a_call_of_ours_is_dialled_after_the_hook_and_does_not_ring_for_itself() -> None:
    call = call_with(a.RingAction(seconds=5), HOOK, say("Hello."), direction=CallDirection.OUTGOING)
    assert feed(call, e.Started()) == [AskHook(request=REQUEST, values={})]
    assert feed(call, HookAnswered()) == [PrepareSpeech(speech=Speak(text="Hello."))]
    assert feed(call, SpeechReady()) == [e.Dial()]
    assert feed(call, e.Rang(), e.Established())[-1] == Speak(text="Hello.")


def test_who_is_silent_in_a_menu_is_missed_like_anybody_else() -> None:
    call = call_with(MENU)
    feed(call, e.Started(), e.Established())
    assert [type(command) for command in feed(call, e.MediaLost())] == [e.HangUp]
