"""Who is recorded: nobody who was not told or asked, nobody who declined, nobody who never agreed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.agreement import NO_LONGER_ASKING
from gateway.calls.call import Call, CallState
from gateway.calls.events import RecordingConsent, TimerName
from gateway.calls.transfers.refusal import Refusal
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts
from tests.calls.test_call import NOON, feed, transfer
from tests.support.plans import write_sound

PLAN = """
version: 1
name: test
timezone: UTC
contacts:
  sales: {dial: [sip:6001], mode: attended}
sessions:
  reception: {use: default, greeting: "Hello.", tools: [transfer, hang_up], record: %s}
  other: {use: default}
routes:
  - {name: talk, do: [{session: reception}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
  - {name: pause, when: {dtmf: "7"}, do: [{recording: pause}]}
  - {name: resume, when: {dtmf: "8"}, do: [{recording: resume}]}
  - {name: stop, when: {dtmf: "9"}, do: [{recording: stop}]}
  - {name: other, when: {dtmf: "5"}, do: [{session: other}]}
"""
ASK = "{consent: ask, play: ask.wav, wait: 8s}"
ANNOUNCE = "{consent: announce, play: ask.wav}"
GIVEN = "{consent: given}"
GREETED = [e.BridgeAudio(is_open=True), e.Greet()]
QUIET = [e.StopTimer(timer=TimerName.CONSENT), e.StopPlaying()]


ZERO = '{name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}'


def call_with(folder: Path, record: str, *events: e.Event, zero: str = ZERO) -> Call:
    """A call whose session is open, and to which `events` happened."""
    write_sound(folder / "ask.wav")
    (folder / "plan.yaml").write_text((PLAN % record).replace(ZERO, zero))
    plan = load_dialplan(folder / "plan.yaml")
    call = Call(plan=plan, actions=plan.decide(CallFacts(to="7000", from_="1001", at=NOON)).actions)
    feed(call, e.Started(), e.SessionOpened(), *events)
    return call


def pressed(digit: str) -> e.DigitReceived:
    return e.DigitReceived(digit=digit)


def is_recording_begun(commands: list[e.Command]) -> bool:
    return e.StartRecording() in commands


def test_caller_who_agreed_elsewhere_is_recorded_from_the_first_word(tmp_path: Path) -> None:
    call = call_with(tmp_path, GIVEN)
    assert call.step(e.Established(), NOON)[1:] == [e.StartRecording(), *GREETED]
    assert call.notes.consent is RecordingConsent.GIVEN


def test_announcement_is_heard_before_the_recording_and_the_greeting(tmp_path: Path) -> None:
    call = call_with(tmp_path, ANNOUNCE)
    begun = call.step(e.Established(), NOON)[1:]
    assert begun == [e.BridgeAudio(is_open=False, keeps_said=True), e.Play(file=tmp_path / "ask.wav")]
    assert call.state is CallState.CONSENTING
    assert call.step(e.PlayoutEnded(), NOON) == [*QUIET, e.StartRecording(), *GREETED]
    assert (call.state, call.notes.consent) == (CallState.TALKING, RecordingConsent.ANNOUNCED)


def test_caller_who_is_asked_is_not_recorded_until_they_press_the_key(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK)
    assert not is_recording_begun(call.step(e.Established(), NOON))
    assert call.step(e.PlayoutEnded(), NOON) == [e.StartTimer(timer=TimerName.CONSENT, delay_s=8)]
    for nothing in (e.CallerSpoke(), pressed("3"), e.PlayoutEnded()):
        assert not is_recording_begun(call.step(nothing, NOON))
        assert call.state is CallState.CONSENTING
    assert call.step(pressed("1"), NOON) == [*QUIET, e.StartRecording(), *GREETED]
    assert call.notes.consent is RecordingConsent.AGREED


def test_key_may_come_while_the_question_is_played(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK, e.Established())
    assert call.step(pressed("1"), NOON) == [*QUIET, e.StartRecording(), *GREETED]


@pytest.mark.parametrize(
    ("event", "consent"),
    [
        (pressed("2"), RecordingConsent.DECLINED),
        (e.TimerFired(timer=TimerName.CONSENT), RecordingConsent.UNANSWERED),
    ],
)
def test_caller_who_does_not_agree_talks_to_the_model_unrecorded(
    tmp_path: Path, event: e.Event, consent: RecordingConsent
) -> None:
    call = call_with(tmp_path, ASK, e.Established(), e.PlayoutEnded())
    assert call.step(event, NOON) == [*QUIET, *GREETED]
    assert (call.state, call.notes.consent) == (CallState.TALKING, consent)
    for later in (pressed("1"), pressed("8"), e.TimerFired(timer=TimerName.CONSENT), e.PlayoutEnded()):
        assert not is_recording_begun(call.step(later, NOON))


@pytest.mark.parametrize("consent", [ASK, ANNOUNCE])
def test_caller_who_hangs_up_during_the_announcement_is_not_recorded(tmp_path: Path, consent: str) -> None:
    call = call_with(tmp_path, consent, e.Established())
    assert not is_recording_begun(call.step(e.CallerLeft(cause="bye"), NOON))
    assert not is_recording_begun(call.step(e.PlayoutEnded(), NOON))
    assert call.notes.consent is None


def test_key_of_an_escalation_works_during_the_question_and_the_caller_is_asked_again(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK, e.Established(), e.PlayoutEnded())
    commands = call.step(pressed("0"), NOON)
    assert commands[0] == e.StopTimer(timer=TimerName.CONSENT)
    assert any(isinstance(command, e.CallTarget) for command in commands)
    assert not is_recording_begun(commands)
    back = call.step(e.TargetRefused(refusal=Refusal.BUSY, status=486, reason="Busy Here"), NOON)
    assert e.Play(file=tmp_path / "ask.wav") in back
    assert not is_recording_begun(back)
    assert is_recording_begun(call.step(pressed("1"), NOON))


def test_session_that_is_lost_during_the_question_ends_as_it_does_elsewhere(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK, e.Established())
    assert e.HangUp(reason='SIP;cause=503;text="speech service lost"') in call.step(e.SessionLost(reason="x"), NOON)


def test_caller_whom_nobody_hears_is_missed_during_the_question(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK, e.Established())
    call.step(e.MediaLost(), NOON)
    assert call.state is CallState.ENDED


def test_who_takes_the_callers_place_during_the_announcement_hears_it_from_the_start(tmp_path: Path) -> None:
    call = call_with(tmp_path, ANNOUNCE, e.Established())
    asked = [e.BridgeAudio(is_open=False, keeps_said=True), e.Play(file=tmp_path / "ask.wav")]
    assert call.step(e.CallerReplaced(), NOON) == [*NO_LONGER_ASKING, *asked]


def test_who_takes_the_callers_place_later_is_not_recorded(tmp_path: Path) -> None:
    call = call_with(tmp_path, GIVEN, e.Established())
    commands = call.step(e.CallerReplaced(), NOON)
    assert commands[0] == e.StopRecording(why="somebody else is on the line")


def test_recording_is_paused_and_resumed_by_keys_and_the_model_knows(tmp_path: Path) -> None:
    call = call_with(tmp_path, GIVEN, e.Established())
    for key, is_paused, word in (("7", True, "pause"), ("8", False, "resume")):
        barge_in, change, told = call.step(pressed(key), NOON)
        assert (barge_in, change) == (e.BargeIn(), e.PauseRecording(is_paused=is_paused))
        assert isinstance(told, e.TellModel)
        assert word in told.text
        assert call.state is CallState.TALKING


@pytest.mark.parametrize(("tool", "state"), [("transfer", CallState.ANNOUNCING), ("hang_up", CallState.CLOSING)])
def test_key_that_pauses_disturbs_neither_a_transfer_nor_a_farewell(
    tmp_path: Path, tool: str, state: CallState
) -> None:
    asked = e.ToolAsked(call_id="c1", name=tool, arguments={"contact": "sales"})
    call = call_with(tmp_path, GIVEN, e.Established(), asked)
    assert call.step(pressed("7"), NOON) == [e.PauseRecording(is_paused=True)]
    assert call.state is state


def test_key_that_pauses_while_nothing_is_recorded_does_nothing_to_the_question(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK, e.Established(), e.PlayoutEnded())
    assert call.step(pressed("7"), NOON) == []
    assert call.state is CallState.CONSENTING
    assert is_recording_begun(call.step(pressed("1"), NOON))


def test_recording_may_be_ended_on_the_way_to_a_contact(tmp_path: Path) -> None:
    both = '{name: zero, when: {dtmf: "0"}, do: [{recording: stop}, {transfer: sales}]}'
    call = call_with(tmp_path, GIVEN, e.Established(), zero=both)
    commands = call.step(pressed("0"), NOON)
    assert e.StopRecording(why="stopped by the dialplan") in commands
    assert call.state is CallState.TRANSFERRING


def test_recording_that_was_stopped_does_not_come_back(tmp_path: Path) -> None:
    call = call_with(tmp_path, GIVEN, e.Established())
    assert e.StopRecording(why="stopped by the dialplan") in call.step(pressed("9"), NOON)
    assert call.notes.consent is RecordingConsent.WITHDRAWN
    for key in "789":
        changed = call.step(pressed(key), NOON)
        assert not any(isinstance(c, e.StartRecording | e.PauseRecording | e.StopRecording) for c in changed)


def test_stop_during_the_question_is_an_answer(tmp_path: Path) -> None:
    call = call_with(tmp_path, ASK, e.Established())
    commands = call.step(pressed("9"), NOON)
    assert e.Greet() in commands
    assert not is_recording_begun(commands)
    assert (call.state, call.notes.consent) == (CallState.TALKING, RecordingConsent.WITHDRAWN)


def test_session_that_does_not_record_ends_the_recording_of_the_one_before(tmp_path: Path) -> None:
    call = call_with(tmp_path, GIVEN, e.Established(), pressed("5"))
    commands = call.step(e.SessionOpened(), NOON)
    assert commands == [e.StopRecording(why="the session is not recorded"), *GREETED]


@pytest.mark.parametrize(("record", "is_recorded"), [(GIVEN, False), ("{consent: given, contacts: true}", True)])
def test_contact_whose_audio_we_carry_is_recorded_only_where_the_plan_says_so(
    tmp_path: Path, record: str, is_recorded: bool
) -> None:
    call = call_with(tmp_path, record, e.Established(), transfer("sales"), e.PlayoutEnded(), e.TargetAnswered())
    refused = e.TransferReported(status=420, reason="Bad Extension", is_final=True)
    commands = call.step(refused, NOON)
    assert call.state is CallState.JOINED
    assert any(isinstance(command, e.StopRecording) for command in commands) is not is_recorded
