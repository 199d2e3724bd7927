"""``voicemail`` and ``callback`` as machines: what they ask for, whatever the caller does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.events.steps import (
    EndMessage,
    LeaveWish,
    MessageEnded,
    MessageReady,
    NoteLostWish,
    PlayTone,
    PrepareMessage,
    RecordMessage,
    Speak,
)
from gateway.calls.steps.callback import INVALID, WITHHELD, Callback, dialable
from gateway.calls.steps.make import make_step
from gateway.calls.steps.step import QUIET
from gateway.calls.steps.voicemail import BEEP_S, READY_LIMIT_S, SPARE_S, Voicemail
from gateway.calls.variables import Variables
from gateway.dialplan.actions import CallbackAction, PlayAction, Tone, VoicemailAction
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.model import CallFacts
from gateway.dialplan.own_phrases import SHIPPED
from gateway.dialplan.template import parse_template
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOX = Mailbox(name="night", limit_s=60)
PREPARE, RECORD = PrepareMessage(mailbox=BOX), RecordMessage(mailbox=BOX)
GERMAN = SHIPPED["de"]
BEEP = PlayTone(tone=Tone.BEEP, seconds=BEEP_S)
PROMPT = e.Play(file=Path("leave.wav"))
TIME_IS_UP = e.TimerFired(timer=e.TimerName.STEP)


def timer(seconds: float) -> e.StartTimer:
    return e.StartTimer(timer=e.TimerName.STEP, delay_s=seconds)


def key(digit: str) -> e.DigitReceived:
    return e.DigitReceived(digit=digit)


def voicemail(prompt: e.Command | None = PROMPT, box: Mailbox = BOX) -> Voicemail:
    return Voicemail(box, lambda _at: prompt)


def feed(step: Voicemail, *events: e.Event) -> list[e.Command]:
    commands: list[e.Command] = []
    for event in events:
        commands = step.on(event, NOON)
    return commands


def recording() -> Voicemail:
    step = voicemail()
    step.begin(NOON)
    assert feed(step, MessageReady(), e.PlayoutEnded(), e.PlayoutEnded()) == [RECORD, timer(60 + SPARE_S)]
    return step


def test_prompt_beep_and_then_the_caller_is_recorded() -> None:
    step = voicemail()
    assert step.begin(NOON) == [PREPARE, PROMPT]
    assert feed(step, MessageReady()) == []
    assert feed(step, e.PlayoutEnded()) == [BEEP]
    assert feed(step, e.PlayoutEnded()) == [RECORD, timer(60 + SPARE_S)]
    assert step.follows is None


def test_a_key_ends_the_prompt_and_other_keys_do_not() -> None:
    step = voicemail()
    step.begin(NOON)
    assert feed(step, MessageReady(), key("5")) == []
    assert feed(step, key("#")) == [e.StopPlaying(), BEEP]
    assert feed(step, key("#")) == []


def test_the_beep_waits_for_whoever_writes_it_down_and_not_for_ever() -> None:
    for news in (MessageReady(), TIME_IS_UP):
        step = voicemail()
        step.begin(NOON)
        assert feed(step, e.PlayoutEnded()) == [timer(READY_LIMIT_S)]
        assert feed(step, news) == [BEEP]
        assert feed(step, MessageReady()) == []


def test_without_a_prompt_and_a_beep_it_is_recorded_at_once() -> None:
    step = voicemail(None, replace(BOX, has_beep=False))
    assert step.begin(NOON)[1:] == [timer(READY_LIMIT_S)]
    assert [type(command) for command in feed(step, MessageReady())] == [RecordMessage, e.StartTimer]


@pytest.mark.parametrize("end", [key("#"), MessageEnded(), TIME_IS_UP], ids=["key", "silence", "time"])
def test_what_ends_it(end: e.Event) -> None:
    step = recording()
    assert feed(step, key("1"), e.PlayoutEnded()) == []
    assert step.follows is None
    assert feed(step, end) == [*QUIET, EndMessage()]
    assert step.follows == ()


def test_hanging_up_and_another_action_end_it_as_well() -> None:
    assert recording().end() == [EndMessage()]
    assert recording().leave() == [*QUIET, EndMessage()]


def test_where_nobody_keeps_messages_the_plan_goes_on_at_once() -> None:
    step = voicemail()
    step.begin(NOON)
    assert feed(step, MessageEnded()) == [*QUIET, EndMessage()]
    assert step.follows == ()


def test_only_its_key_is_taken_from_escalations() -> None:
    assert [digit for digit in "0123456789*#" if recording().takes(digit)] == ["#"]


def facts(number: str) -> Variables:
    plan = replace(BARE_PLAN, mailboxes={"night": BOX}, phrases=GERMAN)
    return Variables(plan, CallFacts(to="7000", from_=number, at=NOON))


def test_a_plans_actions_become_these_steps() -> None:
    box = replace(BOX, prompt=PlayAction(file=Path("leave.wav")))
    variables = Variables(replace(BARE_PLAN, mailboxes={"night": box}), None)
    step = make_step(VoicemailAction(mailbox="night"), variables, NOON)
    assert isinstance(step, Voicemail)
    assert step.begin(NOON) == [PrepareMessage(mailbox=box), PROMPT]


def test_the_caller_is_called_back_at_their_own_number() -> None:
    step = make_step(CallbackAction(mailbox="night"), facts("+49 30 1234"), NOON)
    assert isinstance(step, Callback)
    assert step.begin(NOON) == [LeaveWish(mailbox=BOX, number="+49301234"), Speak(text=GERMAN.callback)]
    assert step.on(key("#"), NOON) == []
    assert step.follows is None
    step.on(e.PlayoutEnded(), NOON)
    assert step.follows == ()


def test_or_at_the_number_that_they_gave() -> None:
    action = CallbackAction(mailbox="night", number=parse_template("0171 555")[0])
    step = make_step(action, facts("anonymous"), NOON)
    assert step is not None
    assert step.begin(NOON)[0] == LeaveWish(mailbox=BOX, number="0171555")


@pytest.mark.parametrize("given", [None, "{caller.number}"])
@pytest.mark.parametrize("number", ["anonymous", "", "unavailable", "ann"])
def test_a_withheld_number_is_refused_in_words(number: str, given: str | None) -> None:
    action = CallbackAction(mailbox="night", number=None if given is None else parse_template(given)[0])
    step = make_step(action, facts(number), NOON)
    assert step is not None
    assert step.begin(NOON) == [NoteLostWish(mailbox=BOX, why=WITHHELD), Speak(text=GERMAN.callback_withheld)]


@pytest.mark.parametrize(("number", "given"), [("+49301234", "1"), ("anonymous", "1 2 x"), ("+49301234", "")])
def test_what_is_no_number_is_not_said_to_be_withheld(number: str, given: str) -> None:
    action = CallbackAction(mailbox="night", number=parse_template(given)[0])
    step = make_step(action, facts(number), NOON)
    assert step is not None
    assert step.begin(NOON) == [NoteLostWish(mailbox=BOX, why=INVALID), Speak(text=GERMAN.callback_invalid)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+49 (30) 12-34", "+49301234"),
        ("6001", "6001"),
        (" 0171.555/1 ", "01715551"),
        ("", ""),
        ("1", ""),
        ("12a", ""),
        ("+", ""),
        ("++12", ""),
        ("sip:6001@x", ""),
        ("٣٤٥", ""),
        ("1" * 33, ""),
    ],
)
def test_what_can_be_dialled(text: str, number: str) -> None:
    assert dialable(text) == number
