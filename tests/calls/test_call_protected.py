"""Protected prompts and steps: heard whole and in time, and what callers press meanwhile counts when they are over."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.escalation.events import FactNoticed
from gateway.calls.escalation.facts import SilenceLasted
from gateway.calls.events.steps import PrepareSpeech, Speak, SpeechReady
from gateway.calls.phases.conversing import PUT_THROUGH
from gateway.calls.phases.interruptions import HUNG_UP_AFTER
from gateway.calls.stage import MAX_WAITING_KEYS
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts
from tests.calls.test_call import NOON, feed, referred
from tests.support.plans import write_sound

PLAN = """
version: 1
name: test
timezone: UTC
contacts:
  sales: {dial: [sip:6001]}
sessions:
  reception: {use: grand, protect: [Hear this., notice.wav], greeting: Hello.}
  second: {use: default, protect: [notice.wav, Hear this., And this.]}
  recorded: {use: default, protect: notice.wav, record: {consent: ask, play: ask.wav}}
  free: {use: default}
routes:
  - {name: talk, match: {to: "1"}, do: [{session: reception}]}
  - {name: recorded, match: {to: "2"}, do: [{session: recorded}]}
  - name: choose
    match: {to: "3"}
    do:
      - {say: {text: Hear this., protect: true}}
      - {play: {file: notice.wav, protect: true}}
      - {menu: {say: Choose., 1: [{say: One.}], 2: [{say: Two.}], tries: 1}}
  - name: number
    match: {to: "4"}
    do: [{say: {text: Hear this., protect: true}}, {collect: {into: v, digits: 3}}, {say: "{vars.v}"}]
  - {name: greeted, match: {to: "5"}, do: [{answer: true}, {session: reception}]}
  - {name: called, match: {to: "6", direction: outgoing}, do: [{session: reception}]}
  - {name: free, match: {to: "7"}, do: [{session: free}]}
  - {name: told, match: {to: "8"}, do: [{say: {text: Hear this., protect: true}}, {session: free}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
  - {name: over, when: {dtmf: "8"}, do: [{session: second}]}
  - {name: law, when: {dtmf: "9"}, do: [{say: {text: Hear this., protect: true}}]}
  - {name: quiet, when: {dtmf: "7"}, do: [{hang_up_after: 5s}]}
  - {name: silent, when: {silence: 9s}, do: [{hang_up_after: 5s}]}
  - {name: long, when: {silence: 20s}, do: [{say: {text: Hear this., protect: true}}]}
  - {name: down, when: {provider_down: true}, do: [{say: Sorry.}, {hang_up: true}]}
"""
QUIET = e.BridgeAudio(is_open=False, keeps_caller=True)
SAID = Speak(text="Hear this.", use="grand")
GREETED = [e.BridgeAudio(is_open=True), e.Greet()]


@pytest.fixture
def played(tmp_path: Path) -> e.Play:
    write_sound(tmp_path / "ask.wav")
    write_sound(tmp_path / "notice.wav")
    return e.Play(file=tmp_path / "notice.wav")


def call_to(folder: Path, number: str, *events: e.Event) -> Call:
    (folder / "plan.yaml").write_text(PLAN)
    plan = load_dialplan(folder / "plan.yaml")
    facts = CallFacts(to=number, from_="1001", at=NOON, is_outgoing=number == "6")
    call = Call(plan=plan, actions=plan.decide(facts).actions, facts=facts)
    feed(call, *events)
    return call


def key(digit: str) -> e.DigitReceived:
    return e.DigitReceived(digit=digit)


OPENED = (e.Started(), e.SessionOpened(), SpeechReady(), e.Established())
"""Until the first prompt of the session is heard."""
HEARD = (e.PlayoutEnded(), e.PlayoutEnded())


def test_a_caller_is_answered_when_the_first_prompt_is_ready(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1")
    assert call.step(e.Started(), NOON) == [e.Ring(), e.OpenSession(name="reception")]
    assert call.step(e.SessionOpened(), NOON) == [e.Ring(), PrepareSpeech(speech=SAID)]
    assert call.step(SpeechReady(), NOON) == [e.Answer()]
    assert call.step(e.Established(), NOON)[1:] == [QUIET, SAID]


def test_prompts_are_heard_in_their_order_and_before_the_greeting(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED)
    assert feed(call, e.PlayoutEnded()) == [QUIET, played]
    assert feed(call, e.PlayoutEnded()) == GREETED
    assert call.state is CallState.TALKING


def test_a_caller_who_waits_already_hears_the_first_prompt_when_the_session_is_open(
    tmp_path: Path, played: e.Play
) -> None:
    call = call_to(tmp_path, "5", e.Started(), e.Established())
    assert feed(call, e.SessionOpened()) == [QUIET, SAID]


def test_what_the_provider_tells_of_the_callers_voice_moves_nothing(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED)
    assert feed(call, e.CallerSpoke()) == []
    assert feed(call, *HEARD) == GREETED
    assert feed(call, e.CallerSpoke()) == [e.BargeIn()]


def test_a_key_of_an_escalation_counts_when_the_last_prompt_has_been_heard(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED)
    assert feed(call, key("0")) == []
    assert feed(call, e.PlayoutEnded()) == [QUIET, played]
    commands = feed(call, e.PlayoutEnded())
    assert commands[:2] == GREETED
    assert referred(commands) == ["sip:6001"]
    assert call.notes.escalations == ["zero"]


def test_keys_without_an_escalation_are_for_the_model(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED, key("1"), key("2"), *HEARD)
    (told,) = feed(call, e.TimerFired(timer=e.TimerName.DIGITS))
    assert isinstance(told, e.TellModel)
    assert told.text.endswith("1 2")


def test_no_key_that_was_pressed_before_agrees_to_be_recorded(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "2", e.Started(), e.SessionOpened(), e.Established(), key("1"), e.PlayoutEnded())
    assert call.state is CallState.CONSENTING
    assert call.notes.consent is None
    feed(call, key("1"))
    assert call.notes.consent is e.RecordingConsent.AGREED


def test_a_key_of_an_escalation_counts_before_the_question_of_the_recording(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "2", e.Started(), e.SessionOpened(), e.Established(), key("0"))
    assert referred(feed(call, e.PlayoutEnded())) == ["sip:6001"]
    assert call.notes.consent is None


def test_a_model_that_is_lost_meanwhile_is_missed_when_the_prompts_have_been_heard(
    tmp_path: Path, played: e.Play
) -> None:
    call = call_to(tmp_path, "1", *OPENED)
    assert feed(call, e.SessionLost(reason="gone")) == []
    assert feed(call, e.PlayoutEnded()) == [QUIET, played]
    assert feed(call, e.PlayoutEnded())[-1] == Speak(text="Sorry.")
    assert call.notes.escalations == ["down"]


def test_each_prompt_is_heard_once_in_a_call(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED, *HEARD, key("8"))
    assert feed(call, e.SessionOpened())[-1] == Speak(text="And this.", use="default")
    assert feed(call, e.PlayoutEnded()) == GREETED


def test_somebody_who_takes_the_callers_place_hears_all_prompts_from_the_start(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED, e.PlayoutEnded(), key("0"))
    assert feed(call, e.CallerReplaced())[-1] == SAID
    assert feed(call, e.PlayoutEnded()) == [QUIET, played]
    assert feed(call, e.PlayoutEnded()) == GREETED  # and the key was the other one's


def test_somebody_who_is_put_through_hears_the_prompts_before_the_model_greets_them(
    tmp_path: Path, played: e.Play
) -> None:
    call = call_to(tmp_path, "1", *OPENED, *HEARD)
    told = [e.TellModel(text=PUT_THROUGH), e.BridgeAudio(is_open=True)]
    assert feed(call, e.CallerReplaced()) == [QUIET, SAID]
    assert feed(call, e.PlayoutEnded()) == [QUIET, played]
    assert feed(call, e.PlayoutEnded()) == told
    assert feed(call, e.CallerReplaced(), e.PlayoutEnded(), e.CallerReplaced())[-1] == SAID
    assert feed(call, e.PlayoutEnded(), e.PlayoutEnded())[-2:] == told


def test_the_model_is_told_of_two_who_were_put_through_once_and_behind_the_prompts(
    tmp_path: Path, played: e.Play
) -> None:
    call = call_to(tmp_path, "1", *OPENED, *HEARD, e.CallerReplaced())
    commands = feed(call, e.PlayoutEnded(), e.CallerReplaced())
    assert commands[-2:] == [QUIET, SAID]
    assert e.TellModel(text=PUT_THROUGH) not in commands
    assert feed(call, *HEARD).count(e.TellModel(text=PUT_THROUGH)) == 1


@pytest.mark.parametrize(("number", "until"), [("1", (*OPENED, *HEARD)), ("7", OPENED[:2] + OPENED[3:])])
def test_keys_of_who_was_there_before_are_not_told_as_those_of_who_was_put_through(
    tmp_path: Path, played: e.Play, number: str, until: tuple[e.Event, ...]
) -> None:
    call = call_to(tmp_path, number, *until, key("1"), e.CallerReplaced())
    paused = e.TimerFired(timer=e.TimerName.DIGITS)
    assert feed(call, paused) == []
    (told,) = feed(call, *HEARD, key("2"), paused)[-1:]
    assert isinstance(told, e.TellModel)
    assert told.text.endswith("keys: 2")


@pytest.mark.parametrize(("number", "until"), [("1", (*OPENED, *HEARD)), ("7", OPENED[:2] + OPENED[3:])])
def test_nobody_is_hung_up_on_for_the_silence_of_who_has_put_them_through(
    tmp_path: Path, played: e.Play, number: str, until: tuple[e.Event, ...]
) -> None:
    call = call_to(tmp_path, number, *until, key("7"), e.CallerReplaced(), e.TimerFired(timer=e.TimerName.FAREWELL))
    feed(call, *HEARD)
    assert call.state is CallState.TALKING


def test_time_that_is_up_in_a_protected_text_begins_again_as_the_model_has_not_heard_the_caller(
    tmp_path: Path, played: e.Play
) -> None:
    farewell = e.TimerFired(timer=e.TimerName.FAREWELL)
    call = call_to(
        tmp_path, "7", e.Started(), e.SessionOpened(), e.Established(), FactNoticed(fact=SilenceLasted(seconds=9))
    )
    feed(call, FactNoticed(fact=SilenceLasted(seconds=20)))
    assert call.state is CallState.ACTING
    assert feed(call, farewell) == []
    assert e.StartTimer(timer=e.TimerName.FAREWELL, delay_s=5) in feed(call, e.PlayoutEnded())
    feed(call, farewell)
    assert call.notes.cause == HUNG_UP_AFTER


def test_what_was_said_before_the_question_of_the_recording_is_not_forgotten(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "2", e.Started(), e.SessionOpened(), e.Established())
    asked = [e.BridgeAudio(is_open=False, keeps_said=True), e.Play(file=tmp_path / "ask.wav")]
    assert feed(call, e.PlayoutEnded()) == asked


def test_the_question_of_the_recording_comes_behind_the_prompts_for_who_takes_the_callers_place(
    tmp_path: Path, played: e.Play
) -> None:
    call = call_to(tmp_path, "2", e.Started(), e.SessionOpened(), e.Established(), e.PlayoutEnded())
    assert call.state is CallState.CONSENTING
    assert feed(call, e.CallerReplaced())[-1] == played
    assert feed(call, e.PlayoutEnded())[-1] == e.Play(file=tmp_path / "ask.wav")


def test_a_call_of_ours_is_placed_when_the_first_prompt_is_ready(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "6")
    assert e.Dial() not in feed(call, e.Started(), e.SessionOpened())


def test_keys_pressed_before_a_menu_choose_in_it(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "3", e.Started(), SpeechReady(), e.Established(), key("2"))
    assert feed(call, e.PlayoutEnded()) == [QUIET, played]
    assert feed(call, key("1")) == []
    commands = feed(call, e.PlayoutEnded())
    assert [c.text for c in commands if isinstance(c, Speak)] == ["Choose.", "Two."]


def test_a_key_pressed_before_the_session_is_open_does_not_wait_for_it(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "8", e.Started(), SpeechReady(), e.Established(), key("0"))
    commands = feed(call, e.PlayoutEnded())
    assert commands[0] == e.OpenSession(name="free")
    assert referred(commands) == ["sip:6001"]


def test_digits_pressed_before_they_are_asked_for_are_collected(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "4", e.Started(), SpeechReady(), e.Established(), *map(key, "123"))
    assert feed(call, e.PlayoutEnded())[-1] == Speak(text="1 2 3", is_personal=True)


def test_a_protected_text_of_an_escalation_is_not_left_to_the_model(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "7", e.Started(), e.SessionOpened(), e.Established())
    commands = feed(call, key("9"))
    assert e.BargeIn() in commands
    assert commands[-2:] == [QUIET, Speak(text="Hear this.")]
    assert feed(call, e.PlayoutEnded()) == [e.BridgeAudio(is_open=True)]


def test_of_very_many_keys_some_are_lost(tmp_path: Path, played: e.Play) -> None:
    call = call_to(tmp_path, "1", *OPENED, *map(key, "1" * (MAX_WAITING_KEYS + 5)), *HEARD)
    (told,) = feed(call, e.TimerFired(timer=e.TimerName.DIGITS))
    assert isinstance(told, e.TellModel)
    assert told.text.count("1") == MAX_WAITING_KEYS


@pytest.mark.parametrize("event", [e.CallerLeft(cause="bye"), e.MediaLost(), e.HangUpAsked(), e.DrainEnded()])
def test_the_end_of_the_call_ends_a_protected_prompt(tmp_path: Path, played: e.Play, event: e.Event) -> None:
    call = call_to(tmp_path, "1", *OPENED, event)
    assert call.state is CallState.ENDED
