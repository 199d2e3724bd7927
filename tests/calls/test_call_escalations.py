"""What a call makes of facts that its dialplan has escalations for, whatever the model is doing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.escalation import facts as f
from gateway.calls.escalation.events import AskVerdict, FactNoticed, Interject
from gateway.calls.events.steps import WordsHeard
from gateway.calls.phases.interruptions import HUNG_UP_AFTER
from gateway.dialplan import actions as a
from gateway.dialplan import triggers as t
from gateway.dialplan.contacts import Contact
from gateway.dialplan.hours import OpeningHours, parse_time_range
from gateway.dialplan.model import CallFacts, Consent, Dialplan, RecordPlan, SessionPlan
from gateway.dialplan.pattern import parse_caller, parse_number
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.targets import parse_target
from gateway.dialplan.template import parse_template
from gateway.dialplan.tools import HttpRequest
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 20, 23, tzinfo=UTC)
OFFICE = OpeningHours(name="office", week=((parse_time_range("09:00-17:00"),),) * 7, closed=())
CONTACTS = {
    name: Contact(name=name, description="", targets=(parse_target(f"sip:{number}"),), ring_s=20.0)
    for name, number in (("sales", 6001), ("desk", 6002))
}
SESSION = SessionPlan(name="reception", use="default", greeting=None, instructions=None, tools=("transfer", "hang_up"))
SALES, DESK = a.TransferAction(contact="sales"), a.TransferAction(contact="desk")
HUMAN, WORDS, NOTHING = f.CallerSaid(text="a human!"), f.CallerSaid(text="My name is Ann."), f.CallerSaid(text="")
REQUEST = HttpRequest(method="POST", url=parse_url_template("https://judge.example/turns"))
BUSY = e.TransferReported(status=486, reason="Busy Here", is_final=True)


def text(words: str) -> a.Template:
    return parse_template(words)[0]


def escalation(trigger: t.Trigger, *actions: a.Action, name: str = "x", **circumstances: object) -> t.Escalation:
    return t.Escalation(
        name=name,
        trigger=trigger,
        actions=actions,
        circumstances=t.Circumstances(**circumstances),  # type: ignore[arg-type]
    )


def plan_with(*escalations: t.Escalation, **others: object) -> Dialplan:
    sessions = {"reception": SESSION, "other": replace(SESSION, name="other")}
    plan = replace(BARE_PLAN, contacts=CONTACTS, sessions=sessions, hours={"office": OFFICE})
    return replace(plan, escalations=escalations, **others)  # type: ignore[arg-type]


def call_with(*escalations: t.Escalation, caller: str = "1001", first: tuple[a.Action, ...] = ()) -> Call:
    """A call that is to talk with the session, after `first`."""
    plan = plan_with(*escalations)
    facts = CallFacts(to="7000", from_=caller, at=NOON)
    return Call(plan=plan, actions=[*first, a.SessionAction(name="reception")], facts=facts)


def feed(call: Call, *events: e.Event | f.Fact, at: datetime = NOON) -> list[e.Command]:
    """Step through `events`; the commands of the last one."""
    commands: list[e.Command] = []
    for event in events:
        told = FactNoticed(fact=event) if isinstance(event, f.Fact) else event
        commands = call.step(told, at)
    return commands


def talking(*escalations: t.Escalation, caller: str = "1001") -> Call:
    call = call_with(*escalations, caller=caller)
    feed(call, e.Started(), e.SessionOpened(), e.Established())
    assert call.state is CallState.TALKING
    return call


def referred(commands: list[e.Command]) -> list[str]:
    return [str(command.target) for command in commands if isinstance(command, e.Refer)]


def transfer_tool(contact: str) -> e.ToolAsked:
    return e.ToolAsked(call_id="c", name="transfer", arguments={"contact": contact})


SAID = t.Said(("a human",))
FIRED: list[tuple[t.Trigger, list[e.Event | f.Fact]]] = [
    (SAID, [HUMAN]),
    (t.Repeated(2), [WORDS, WORDS]),
    (t.NotUnderstood(2), [NOTHING, NOTHING]),
    (t.SilentFor(25.0), [f.SilenceLasted(seconds=25.0)]),
    (t.ToolsFailed(2), [e.ToolFailed(name="x"), e.ToolFailed(name="y")]),
    (t.LastedFor(10), [e.TimerFired(timer=e.TimerName.TALK)]),
    (t.LanguageHeard(("fr",)), [f.LanguageChanged(language="fr")]),
    (t.SentimentReported(("angry",)), [f.SentimentShown(kind="angry")]),
    (t.VerdictGiven(REQUEST), [f.VerdictReached(escalation="x")]),
]


@pytest.mark.parametrize(("trigger", "events"), FIRED, ids=[type(trigger).__name__ for trigger, _ in FIRED])
def test_every_trigger_transfers_a_caller_who_talks_with_the_model(
    trigger: t.Trigger, events: list[e.Event | f.Fact]
) -> None:
    call = talking(escalation(trigger, SALES))
    assert referred(feed(call, *events[:-1])) == []
    commands = feed(call, events[-1])
    assert (referred(commands), e.BargeIn() in commands) == (["sip:6001"], True)
    assert (call.state, call.notes.escalations) == (CallState.TRANSFERRING, ["x"])


def test_it_fires_once_in_a_call(tmp_path: Path) -> None:
    call = talking(escalation(SAID, SALES))
    feed(call, HUMAN, BUSY)
    assert call.state is CallState.TALKING
    assert feed(call, HUMAN) == []
    assert call.notes.escalations == ["x"]


def test_a_silence_fires_again() -> None:
    call = talking(escalation(t.SilentFor(10.0), a.SayAction(text=text("Are you there?"))))
    silence = f.SilenceLasted(seconds=10.0)
    assert [feed(call, silence), feed(call, silence)] == [[Interject(text="Are you there?")]] * 2
    assert call.notes.escalations == ["x", "x"]


def test_of_several_that_one_fact_sets_off_the_first_fires_and_the_next_by_the_next() -> None:
    call = talking(escalation(SAID, SALES), escalation(SAID, DESK, name="y"))
    assert referred(feed(call, HUMAN)) == ["sip:6001"]
    feed(call, BUSY)
    assert referred(feed(call, HUMAN)) == ["sip:6002"]


def test_each_that_fires_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    plan = plan_with(escalation(SAID, SALES), escalation(t.DigitPressed("0"), DESK, name="zero"))
    call = Call(
        plan=plan, actions=[a.SessionAction(name="reception")], on_escalation=lambda fired: told.append(fired.name)
    )
    feed(call, e.Started(), e.SessionOpened(), e.Established(), HUMAN, BUSY, e.DigitReceived(digit="0"))
    assert told == ["x", "zero"] == call.notes.escalations


# What the model does changes nothing.


def test_it_fires_while_the_model_waits_for_a_tool() -> None:
    call = talking(escalation(SAID, SALES))
    feed(call, e.ToolAsked(call_id="c", name="note", arguments={}))
    assert referred(feed(call, HUMAN)) == ["sip:6001"]


def test_it_breaks_off_a_hang_up_of_the_models() -> None:
    call = talking(escalation(SAID, SALES))
    feed(call, e.ToolAsked(call_id="c", name="hang_up", arguments={}))
    assert call.state is CallState.CLOSING
    assert referred(feed(call, HUMAN)) == ["sip:6001"]


def test_a_transfer_that_is_announced_to_the_same_contact_goes_on_and_is_not_doubled() -> None:
    call = talking(escalation(SAID, SALES))
    feed(call, transfer_tool("sales"))
    assert feed(call, HUMAN) == []
    assert (call.state, call.notes.escalations) == (CallState.ANNOUNCING, ["x"])
    assert referred(feed(call, e.PlayoutEnded())) == ["sip:6001"]


def test_a_transfer_that_is_announced_to_somebody_else_gives_way() -> None:
    call = talking(escalation(SAID, SALES))
    feed(call, transfer_tool("desk"))
    assert referred(feed(call, HUMAN)) == ["sip:6001"]


def test_it_fires_while_the_model_finishes_for_a_budget() -> None:
    call = talking(escalation(SAID, SALES))
    feed(call, e.BudgetReached(mark=t.BudgetUsed(1.0), limit="limits.budget.call.money"))
    assert call.state is CallState.CONCLUDING
    assert referred(feed(call, HUMAN)) == ["sip:6001"]


# Where the caller is elsewhere.


def test_what_is_set_off_while_a_file_is_played_fires_when_the_caller_is_back() -> None:
    call = talking(escalation(SAID, SALES), escalation(t.DigitPressed("5"), a.PlayAction(file=Path("x.wav")), name="y"))
    feed(call, e.DigitReceived(digit="5"))
    assert call.state is CallState.ACTING
    assert feed(call, HUMAN) == []
    assert call.notes.escalations == ["y"]
    assert referred(feed(call, e.PlayoutEnded())) == ["sip:6001"]
    assert call.notes.escalations == ["y", "x"]


def test_what_is_set_off_while_a_caller_is_asked_whether_they_may_be_recorded_fires_when_that_is_settled() -> None:
    record = RecordPlan(consent=Consent.ASK, play=Path("question.wav"))
    plan = plan_with(escalation(t.ToolsFailed(1), SALES))
    plan = replace(plan, sessions={"reception": replace(SESSION, record=record)})
    call = Call(plan=plan, actions=[a.SessionAction(name="reception")])
    feed(call, e.Started(), e.SessionOpened(), e.Established())
    assert call.state is CallState.CONSENTING
    assert feed(call, e.ToolFailed(name="x")) == []
    assert referred(feed(call, e.DigitReceived(digit=record.decline))) == ["sip:6001"]


def test_what_is_set_off_before_the_answer_fires_behind_it() -> None:
    call = call_with(escalation(t.ToolsFailed(1), SALES))
    assert feed(call, e.Started(), e.SessionOpened(), e.ToolFailed(name="x")) == []
    assert call.state is CallState.ANSWERING
    assert referred(feed(call, e.Established())) == ["sip:6001"]


def test_what_is_set_off_during_a_transfer_fires_only_if_it_fails() -> None:
    call = talking(escalation(t.DigitPressed("0"), SALES, name="zero"), escalation(SAID, DESK))
    feed(call, e.DigitReceived(digit="0"), HUMAN)
    assert referred(feed(call, BUSY)) == ["sip:6002"]
    assert call.notes.escalations == ["zero", "x"]
    call = talking(escalation(t.DigitPressed("0"), SALES, name="zero"), escalation(SAID, DESK))
    feed(call, e.DigitReceived(digit="0"), HUMAN, e.TransferReported(status=200, reason="OK", is_final=True))
    assert call.notes.escalations == ["zero"]


def test_facts_of_a_call_that_has_ended_change_nothing() -> None:
    call = talking(escalation(SAID, SALES))
    assert feed(call, e.CallerLeft(cause="bye"), HUMAN) == []
    assert call.notes.escalations == []


# The conversation goes on.


def test_facts_are_told_and_texts_said_while_the_conversation_goes_on() -> None:
    tell, say = (
        a.TellAction(text=text("Be brief, {caller.number}.")),
        a.SayAction(text=text("One moment, {caller.number}.")),
    )
    answers = a.AnswersAction(length=a.AnswerLength.SHORT)
    call = talking(escalation(SAID, tell, say, answers), caller="4930")
    commands = feed(call, HUMAN)
    assert commands == [
        e.TellModel(text='Be brief, "4930".'),
        Interject(text="One moment, 4 9 3 0."),
        e.ShortenAnswers(),
    ]
    assert call.state is CallState.TALKING


def test_what_keeps_the_conversation_going_waits_while_the_model_is_about_to_leave() -> None:
    call = talking(escalation(SAID, a.TellAction(text=text("Hurry."))))
    feed(call, transfer_tool("sales"))
    assert feed(call, HUMAN) == []
    feed(call, e.PlayoutEnded())
    assert e.TellModel(text="Hurry.") in feed(call, BUSY)


def test_what_is_said_before_a_transfer_is_said_to_its_end() -> None:
    call = talking(escalation(SAID, a.SayAction(text=text("I will connect you.")), SALES))
    assert not any(isinstance(command, Interject | e.Refer) for command in feed(call, HUMAN))
    assert call.state is CallState.ACTING
    assert referred(feed(call, e.PlayoutEnded())) == ["sip:6001"]


SILENT_CALLER = (a.SayAction(text=text("Are you there?")), a.HangUpAfterAction(seconds=15))
SILENCE, TIME_IS_UP = f.SilenceLasted(seconds=10.0), e.TimerFired(timer=e.TimerName.FAREWELL)


def test_a_caller_who_says_nothing_is_hung_up_on() -> None:
    call = talking(escalation(t.SilentFor(10.0), *SILENT_CALLER))
    assert feed(call, SILENCE)[-1] == e.StartTimer(timer=e.TimerName.FAREWELL, delay_s=15)
    assert feed(call, SILENCE) == [Interject(text="Are you there?")]  # the first delay counts
    assert feed(call, TIME_IS_UP) == [e.HangUp()]
    assert (call.notes.outcome, call.notes.cause) == (e.Outcome.GATEWAY_HUNG_UP, HUNG_UP_AFTER)


@pytest.mark.parametrize("sign", [WORDS, e.DigitReceived(digit="5"), f.CallerHeard()], ids=["words", "key", "sound"])
def test_a_caller_who_gives_a_sign_is_not(sign: e.Event | f.Fact) -> None:
    call = talking(escalation(t.SilentFor(10.0), *SILENT_CALLER))
    feed(call, SILENCE, sign)
    assert feed(call, TIME_IS_UP) == []
    assert call.state is CallState.TALKING


def test_a_sound_without_words_begins_the_time_anew() -> None:
    call = talking(escalation(t.SilentFor(10.0), *SILENT_CALLER))
    feed(call, SILENCE, f.CallerHeard())
    assert feed(call, NOTHING) == [e.StartTimer(timer=e.TimerName.FAREWELL, delay_s=15)]
    assert feed(call, TIME_IS_UP) == [e.HangUp()]


def test_nobody_is_hung_up_on_who_is_being_transferred_and_whoever_comes_back_has_all_the_time_again() -> None:
    call = talking(escalation(t.SilentFor(10.0), *SILENT_CALLER))
    feed(call, SILENCE, transfer_tool("sales"), e.PlayoutEnded())
    assert feed(call, TIME_IS_UP) == []
    assert call.state is CallState.TRANSFERRING
    assert e.StartTimer(timer=e.TimerName.FAREWELL, delay_s=15) in feed(call, BUSY)
    assert feed(call, SILENCE) == [Interject(text="Are you there?")]
    assert feed(call, TIME_IS_UP) == [e.HangUp()]


MENU = a.MenuAction(
    prompt=None, choices={"1": (a.ToneAction(tone=a.Tone.BEEP, seconds=1),)}, words={"1": ("yes",)}, tries=1
)
STEP_IS_UP = e.TimerFired(timer=e.TimerName.STEP)


def asked() -> Call:
    """A silent caller who is asked something by a menu when their time is up."""
    call = talking(escalation(t.SilentFor(10.0), a.HangUpAfterAction(seconds=15), MENU))
    feed(call, SILENCE)
    assert call.state is CallState.ACTING
    return call


def test_a_caller_whose_time_is_up_in_a_menu_is_hung_up_on_when_they_are_back() -> None:
    call = asked()
    assert feed(call, TIME_IS_UP) == []
    assert feed(call, STEP_IS_UP)[-1] == e.HangUp()
    assert call.notes.cause == HUNG_UP_AFTER


@pytest.mark.parametrize("sign", [e.DigitReceived(digit="1"), WordsHeard(text="yes")], ids=["key", "words"])
def test_a_caller_who_chooses_is_not(sign: e.Event) -> None:
    for events in ((sign, TIME_IS_UP), (TIME_IS_UP, sign)):
        call = asked()
        feed(call, *events, e.PlayoutEnded())
        assert call.state is CallState.TALKING


def test_a_caller_who_comes_to_another_session_has_all_the_time_again() -> None:
    call = talking(escalation(t.SilentFor(10.0), a.HangUpAfterAction(seconds=15), a.SessionAction(name="other")))
    feed(call, SILENCE, TIME_IS_UP)
    assert e.StartTimer(timer=e.TimerName.FAREWELL, delay_s=15) in feed(call, e.SessionOpened())
    assert feed(call, TIME_IS_UP) == [e.HangUp()]


def test_a_sound_that_nobody_writes_down_spares_the_caller_until_the_next_silence() -> None:
    call = talking(escalation(t.SilentFor(10.0), *SILENT_CALLER))
    feed(call, SILENCE, f.CallerHeard())
    assert feed(call, TIME_IS_UP) == []
    feed(call, SILENCE)
    assert feed(call, TIME_IS_UP) == [e.HangUp()]


# Minutes.


def test_minutes_count_from_the_greeting_and_one_after_the_other() -> None:
    minutes = [escalation(t.LastedFor(m), a.TellAction(text=text(str(m))), name=str(m)) for m in (10, 2, 5)]
    call = call_with(*minutes)
    begun = feed(call, e.Started(), e.SessionOpened(), e.Established())
    delays = [begun[-1]]
    told = []
    for _ in range(3):
        *first, last = feed(call, e.TimerFired(timer=e.TimerName.TALK))
        told.append(last)
        delays += first
    assert delays == [e.StartTimer(timer=e.TimerName.TALK, delay_s=60 * m) for m in (2, 3, 5)]
    assert told == [e.TellModel(text=m) for m in ("2", "5", "10")]
    assert feed(call, e.TimerFired(timer=e.TimerName.TALK)) == []


# Circumstances.


@pytest.mark.parametrize(
    ("circumstances", "fires_at"),
    [
        ({"from_": (parse_caller("+4930*"),)}, [NOON, NIGHT]),
        ({"from_": (parse_caller("+4940*"),)}, []),
        ({"to": (parse_number("7000"),)}, [NOON, NIGHT]),
        ({"to": (parse_number("7001"),)}, []),
        ({"hours": "office"}, [NOON]),
        ({"sessions": ("reception",)}, [NOON, NIGHT]),
        ({"sessions": ("other",)}, []),
        ({"from_": (parse_caller("+4930*"),), "hours": "office", "sessions": ("other", "reception")}, [NOON]),
    ],
)
@pytest.mark.parametrize("trigger", [SAID, t.DigitPressed("0"), t.CostOver(Decimal(1)), t.ProviderDown()])
def test_circumstances_have_to_hold_when_it_happens(
    trigger: t.Trigger, circumstances: dict[str, object], fires_at: list[datetime]
) -> None:
    events: dict[type[t.Trigger], e.Event | f.Fact] = {
        t.Said: HUMAN,
        t.DigitPressed: e.DigitReceived(digit="0"),
        t.CostOver: e.BudgetReached(mark=t.CostOver(Decimal(1)), limit="limits.budget.call.money"),
        t.ProviderDown: e.SessionLost(reason="gone"),
    }
    for at in (NOON, NIGHT):
        call = talking(escalation(trigger, SALES, **circumstances), caller="+49301234")
        feed(call, events[type(trigger)], at=at)
        assert call.notes.escalations == (["x"] if at in fires_at else []), at


def test_the_first_whose_circumstances_hold_answers_a_lost_session() -> None:
    vip = escalation(t.ProviderDown(), SALES, name="vip", from_=(parse_caller("+4930*"),))
    call = talking(vip, escalation(t.ProviderDown(), DESK, name="others"))
    assert referred(feed(call, e.SessionLost(reason="gone"))) == ["sip:6002"]
    call = talking(vip, escalation(t.ProviderDown(), DESK, name="others"), caller="+49301")
    assert referred(feed(call, e.SessionLost(reason="gone"))) == ["sip:6001"]


def test_a_session_that_cannot_be_opened_is_the_one_that_circumstances_mean() -> None:
    for session, fired in (("reception", ["x"]), ("other", [])):
        call = call_with(escalation(t.ProviderDown(), SALES, sessions=(session,)))
        feed(call, e.Started(), e.SessionLost(reason="gone"))
        assert call.notes.escalations == fired


def test_turns_that_do_not_count_for_now_are_judged_all_the_same() -> None:
    call = talking(escalation(t.Repeated(2), SALES, hours="office"))
    feed(call, WORDS, at=NIGHT)
    assert referred(feed(call, WORDS, at=NOON)) == ["sip:6001"]


# Verdicts.


def test_a_web_service_is_asked_after_each_turn_that_has_words_until_it_has_fired() -> None:
    set_name = escalation(t.DigitPressed("5"), a.SetAction(values={"name": text("Ann")}), name="key")
    call = talking(escalation(t.VerdictGiven(REQUEST), SALES), set_name)
    assert feed(call, WORDS) == [AskVerdict(escalation="x", request=REQUEST, turn=1, text=WORDS.text)]
    feed(call, NOTHING, f.CallerSaid(text="hello there", echoed=frozenset({0, 1})), e.DigitReceived(digit="5"))
    asked = AskVerdict(escalation="x", request=REQUEST, turn=2, text=HUMAN.text, values={"name": "Ann"})
    assert feed(call, HUMAN) == [asked]
    assert referred(feed(call, f.VerdictReached(escalation="x"))) == ["sip:6001"]
    feed(call, BUSY)
    assert feed(call, WORDS) == []


def test_a_web_service_is_told_of_a_turn_once_it_is_whole() -> None:
    call = talking(escalation(t.VerdictGiven(REQUEST), SALES))
    assert feed(call, replace(WORDS, is_whole=False)) == []
    assert feed(call, WORDS) == [AskVerdict(escalation="x", request=REQUEST, turn=1, text=WORDS.text)]


def test_a_web_service_is_not_told_of_turns_outside_its_circumstances() -> None:
    call = talking(escalation(t.VerdictGiven(REQUEST), SALES, hours="office"))
    assert feed(call, WORDS, at=NIGHT) == []
    assert feed(call, WORDS) != []
