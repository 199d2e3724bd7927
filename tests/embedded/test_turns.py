"""Turns and what ends them: odd blocks, late ears, interruptions, silence, and answers nobody waits for."""

from __future__ import annotations

import audioop
import base64
from typing import Any

import numpy as np
import pytest

from gateway.embedded.caller_words import Recognize
from gateway.embedded.conversation import Prepare
from gateway.embedded.hearing import Listen
from gateway.embedded.recognizer import NOTHING, Recognition
from gateway.embedded.response import Speak
from gateway.embedded.vad import PAUSE_MS
from tests.embedded.conversation_desk import (
    CERTAIN_FIT,
    DOUBTFUL_FIT,
    HOPELESS_FIT,
    SCRIPT,
    TRANSFER_TOOL,
    Desk,
    Event,
    kinds,
    loud,
    only,
    refusal,
    silent,
    spoken,
)

HEARD = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
SAID = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
WHO = Recognition(text="who are you", fit=CERTAIN_FIT)


def begin_speech(desk: Desk) -> list[Event]:
    """The caller begins to speak; the ear says so at once."""

    def speak() -> None:
        desk.append(loud(320))
        for task in [task for task in desk.asked if isinstance(task, Listen)]:
            desk.answer(task)

    return desk.during(speak)


def listen(desk: Desk, audio: bytes) -> list[Any]:
    """The caller goes on, heard by the ear at once; what else is asked for meanwhile."""
    count = len(desk.asked)

    def hear() -> None:
        desk.append(audio)
        for task in [task for task in desk.asked[count:] if isinstance(task, Listen)]:
            desk.answer(task)

    desk.during(hear)
    return [task for task in desk.asked[count:] if not isinstance(task, Listen)]


# ---- found by voice ------------------------------------------------------------------------------------------------


def test_turn_is_one_item_from_its_first_sound_to_its_reply() -> None:
    events = Desk().hear("who are you")
    assert kinds(events) == [*HEARD, *SAID]
    item_id = events[0]["item_id"]
    assert [event.get("item_id", event.get("item", {}).get("id")) for event in events[:5]] == [item_id] * 5
    reply = [event for event in events if event["type"] == "conversation.item.added"][1]
    assert reply["previous_item_id"] == item_id


def test_turn_is_timed_by_the_audio_received_with_its_padding_and_silence() -> None:
    desk = Desk()
    desk.turns(prefix_padding_ms=300, silence_duration_ms=480)
    desk.append(silent(1600))
    started, stopped = desk.hear("who are you", speech_ms=960, silence_ms=960)[:2]
    assert started["audio_start_ms"] == pytest.approx(1600 - 300, abs=40)
    assert stopped["audio_end_ms"] == pytest.approx(1600 + 960 + 480, abs=64)
    turn_ms = stopped["audio_end_ms"] - started["audio_start_ms"]
    assert len(desk.last_asked(Recognize).samples) // 16 == turn_ms - 480 + PAUSE_MS


@pytest.mark.parametrize("is_slow", [False, True])
def test_words_are_made_out_while_the_silence_is_awaited_that_ends_the_turn(*, is_slow: bool) -> None:
    desk = Desk(answers_itself=False)
    desk.turns(silence_duration_ms=480)
    begin_speech(desk)
    asked = listen(desk, silent(PAUSE_MS + 40))
    assert [type(task) for task in asked] == [Recognize]

    def answer() -> None:
        desk.conversation.recognized(asked[0].number, WHO, desk.now)

    assert is_slow or desk.during(answer) == []
    assert listen(desk, silent(480)) == ([] if is_slow else [desk.last_asked(Speak)])
    assert not is_slow or kinds(desk.during(answer))
    assert desk.last_asked(Speak).text.startswith("I am the automatic receptionist")


def test_words_of_a_pause_are_worth_nothing_when_the_caller_goes_on() -> None:
    desk = Desk(answers_itself=False)
    desk.turns(silence_duration_ms=480)
    begin_speech(desk)
    (first,) = listen(desk, silent(PAUSE_MS + 40))
    (second,) = listen(desk, loud(320) + silent(PAUSE_MS + 40))
    assert len(second.samples) > len(first.samples)
    assert listen(desk, silent(480)) == []
    assert desk.during(lambda: desk.conversation.recognized(first.number, WHO, desk.now)) == []
    desk.during(lambda: desk.conversation.recognized(second.number, NOTHING, desk.now))
    assert desk.last_asked(Speak).text == SCRIPT.fallback[0].partition(".")[0] + "."


def test_words_of_a_pause_are_worth_nothing_when_the_client_ends_the_turn() -> None:
    desk = Desk(answers_itself=False)
    desk.turns(silence_duration_ms=480)
    begin_speech(desk)
    (guess,) = listen(desk, silent(PAUSE_MS + 40))
    desk.send("input_audio_buffer.commit")
    asked = desk.last_asked(Recognize)
    assert asked.number != guess.number
    desk.respond()
    assert desk.during(lambda: desk.conversation.recognized(guess.number, WHO, desk.now)) == []
    desk.during(lambda: desk.conversation.recognized(asked.number, WHO, desk.now))
    assert desk.last_asked(Speak).text.startswith("I am the automatic receptionist")


@pytest.mark.parametrize(("pause_ms", "heard_ms"), [(160, 160), (640, 200), (1600, 200)])
def test_recogniser_hears_little_of_a_pause_and_the_history_all(pause_ms: int, heard_ms: int) -> None:
    desk = Desk()
    desk.turns(silence_duration_ms=2000, prefix_padding_ms=0)
    desk.append(loud(640) + silent(pause_ms) + loud(640))
    stopped = only(desk.append(silent(2560)), "input_audio_buffer.speech_stopped")
    heard = np.frombuffer(desk.last_asked(Recognize).samples, "<i2")
    assert len(heard) / 8 == pytest.approx(1280 + heard_ms + PAUSE_MS, abs=70)
    assert np.count_nonzero(np.abs(heard) > 100) / 8 > 1100
    retrieved = only(desk.send("conversation.item.retrieve", item_id=stopped["item_id"]), "conversation.item.retrieved")
    audio_ms = len(base64.b64decode(retrieved["item"]["content"][0]["audio"])) / 48
    assert audio_ms == pytest.approx(stopped["audio_end_ms"], abs=70)


def test_pauses_of_a_turn_are_not_those_of_the_next() -> None:
    desk = Desk()
    desk.turns(silence_duration_ms=960, prefix_padding_ms=0)
    desk.append(loud(640) + silent(640) + loud(640) + silent(1280))
    events = desk.append(loud(640) + silent(1280))
    start_ms = only(events, "input_audio_buffer.speech_started")["audio_start_ms"]
    end_ms = only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"]
    assert len(desk.last_asked(Recognize).samples) == 16 * (end_ms - start_ms - 960 + PAUSE_MS)


def test_turn_does_not_reach_back_into_the_one_before_it() -> None:
    desk = Desk()
    desk.turns(prefix_padding_ms=5000, silence_duration_ms=200)
    first, second = desk.hear("who are you"), desk.hear("who are you")
    stopped_ms = only(first, "input_audio_buffer.speech_stopped")["audio_end_ms"]
    assert only(second, "input_audio_buffer.speech_started")["audio_start_ms"] >= stopped_ms


def test_crackle_far_below_the_voice_is_no_speech_whatever_the_ear_says() -> None:
    desk = Desk()
    voice = 3 * np.frombuffer(loud(640), "<i2")
    crackle = np.zeros((32, 24 * 32), "<i2")
    crackle[:, 100:106] = 2000  # each chunk has a click that opens the gate
    events = desk.append(voice.astype("<i2").tobytes()) + desk.append(crackle.tobytes())
    asked = [task for task in desk.asked if isinstance(task, Listen)]
    assert len(asked) > 40
    assert only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"] == pytest.approx(640 + 200, abs=70)


def test_padding_does_not_reach_back_before_the_session() -> None:
    desk = Desk()
    desk.turns(prefix_padding_ms=5000)
    assert desk.hear("who are you")[0]["audio_start_ms"] == 0


def test_silence_says_nothing_and_asks_nothing_of_the_ear() -> None:
    desk = Desk()
    assert desk.append(silent(5000)) == []
    assert not [task for task in desk.asked if isinstance(task, Listen)]


def test_click_is_no_turn() -> None:
    desk = Desk()
    assert desk.append(silent(320)) + desk.append(loud(20)) + desk.append(silent(640)) == []


@pytest.mark.parametrize("block_ms", [1, 7, 20, 1000])
def test_blocks_of_any_size_make_the_same_turn(block_ms: int) -> None:
    desk = Desk()
    desk.words.append(WHO)
    audio = silent(700) + loud(700) + silent(700)
    events: list[Event] = []
    for start in range(0, len(audio), block_ms * 48):
        events += desk.append(audio[start : start + block_ms * 48])
    assert kinds(events) == [*HEARD, *SAID]
    assert events[0]["audio_start_ms"] == pytest.approx(400, abs=40)
    assert events[1]["audio_end_ms"] == pytest.approx(1600, abs=70)


def test_samples_torn_between_appends_are_kept_whole() -> None:
    desk = Desk()
    audio = silent(320) + loud(640)
    events = desk.append(audio[:20_001]) + desk.append(audio[20_001:])
    assert kinds(events) == ["input_audio_buffer.speech_started"]
    desk.words.append(WHO)
    assert desk.append(silent(640))[0]["audio_end_ms"] == pytest.approx(320 + 640 + 200, abs=70)


def test_late_answers_of_the_ear_count_in_the_order_of_the_audio() -> None:
    desk = Desk(answers_itself=False)
    desk.append(loud(320))
    asked = [task for task in desk.asked if isinstance(task, Listen)]
    for task in asked[:0:-1]:
        desk.answer(task)
    desk.settle()
    assert kinds(desk.events) == ["session.created"]
    desk.answer(asked[0])
    desk.settle()
    assert kinds(desk.events) == ["session.created", "input_audio_buffer.speech_started"]


def test_words_that_fit_badly_count_as_not_understood() -> None:
    events = Desk().hear("who are you", fit=HOPELESS_FIT)
    assert spoken(events).startswith("I am sorry, I did not understand.")


def test_contacts_of_the_tool_are_what_is_listened_for() -> None:
    desk = Desk()
    assert "desk" not in desk.last_asked(Prepare).listening.words
    desk.update(tools=[TRANSFER_TOOL])
    prepared = desk.last_asked(Prepare).listening
    assert {"sales", "support", "front", "desk"} <= set(prepared.words)
    desk.hear("support")
    assert desk.last_asked(Recognize).listening == prepared


def test_keywords_of_the_transcription_are_listened_for_as_well() -> None:
    desk = Desk()
    desk.update(audio={"input": {"transcription": {"model": "embedded", "keywords": ["zebra crossing"]}}})
    prepared = desk.last_asked(Prepare).listening
    assert {"zebra", "crossing", "goodbye"} <= set(prepared.words)
    desk.hear("zebra crossing")
    assert desk.last_asked(Recognize).listening == prepared
    desk.update(audio={"input": {"transcription": {"model": "embedded", "keywords": None}}})
    assert "zebra" not in desk.last_asked(Prepare).listening.words


# ---- interrupted ---------------------------------------------------------------------------------------------------


def test_barge_in_closes_all_that_was_open_before_the_response_is_done() -> None:
    desk = Desk(answers_itself=False)
    desk.respond()
    number = desk.last_asked(Speak).number
    desk.conversation.spoken(number, bytes(24000))
    desk.settle()
    events = begin_speech(desk)
    assert kinds(events) == ["input_audio_buffer.speech_started", *SAID[6:]]
    assert events[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert not desk.conversation.is_wanted(number)


def test_barge_in_leaves_responses_out_of_band_alone() -> None:
    desk = Desk(answers_itself=False)
    desk.respond(conversation="none")
    assert kinds(begin_speech(desk)) == ["input_audio_buffer.speech_started"]
    assert desk.conversation.is_wanted(desk.last_asked(Speak).number)


# ---- while a question waits ----------------------------------------------------------------------------------------


def test_answer_to_a_question_is_listened_for_and_the_grammar_is_prepared() -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL])
    plain = desk.last_asked(Prepare).listening
    desk.hear("connect me to support", fit=DOUBTFUL_FIT)
    assert desk.last_asked(Recognize).listening == plain
    asking = desk.last_asked(Prepare).listening
    assert asking != plain
    desk.hear("yes")
    assert desk.last_asked(Recognize).listening == asking
    desk.hear("who are you")
    assert desk.last_asked(Recognize).listening == plain


# ---- ended by the client -------------------------------------------------------------------------------------------


def test_commit_takes_the_buffer_only_once() -> None:
    desk = Desk()
    desk.by_hand()
    desk.append(loud(500))
    desk.send("input_audio_buffer.commit")
    assert refusal(desk.send("input_audio_buffer.commit"))[0] == "input_audio_buffer_commit_empty"


def test_commit_in_mid_speech_ends_the_turn_under_its_announced_item() -> None:
    desk = Desk()
    started = only(desk.append(loud(640)), "input_audio_buffer.speech_started")
    events = desk.send("input_audio_buffer.commit")
    assert kinds(events) == HEARD[2:]
    assert events[0]["item_id"] == started["item_id"]
    assert desk.append(silent(640)) == []


def test_clear_in_mid_speech_forgets_the_turn() -> None:
    desk = Desk()
    desk.append(loud(640))
    assert kinds(desk.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert desk.append(silent(1000)) == []
    assert kinds(desk.hear("who are you")) == [*HEARD, *SAID]


def test_turns_by_voice_can_be_switched_on_again() -> None:
    desk = Desk()
    desk.by_hand()
    assert desk.append(loud(640) + silent(640)) == []
    desk.turns()
    assert kinds(desk.hear("who are you")) == [*HEARD, *SAID]


# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["audio/pcmu", "audio/pcma"])
def test_g711_is_heard_and_spoken(form: str) -> None:
    encode = audioop.lin2ulaw if form == "audio/pcmu" else audioop.lin2alaw
    desk = Desk()
    desk.update(audio={"input": {"format": {"type": form}}, "output": {"format": {"type": form}}})
    desk.words.append(WHO)
    events = desk.append(encode(loud(640, 8000) + silent(640, 8000), 2))
    assert kinds(events) == [*HEARD, *SAID]
    assert desk.last_asked(Speak).wire_format.value == form
    assert events[-1]["response"]["audio"]["output"]["format"] == {"type": form}


def test_broken_base64_is_refused_and_the_next_audio_heard() -> None:
    desk = Desk()
    events = desk.send("input_audio_buffer.append", audio="!", event_id="c5")
    assert refusal(events) == ("invalid_value", "audio")
    assert events[0]["error"]["event_id"] == "c5"
    assert kinds(desk.append(loud(320))) == ["input_audio_buffer.speech_started"]


# ---- silence and garbage -------------------------------------------------------------------------------------------


def test_caller_who_speaks_is_not_asked_whether_they_are_there() -> None:
    desk = Desk()
    desk.turns(idle_timeout_ms=5000)
    desk.respond()
    desk.append(loud(640))
    assert desk.pass_time(60) == []


def test_silence_is_not_timed_unless_asked_for() -> None:
    desk = Desk()
    desk.respond()
    assert desk.pass_time(600) == []


def test_any_number_of_refused_events_leaves_the_session_open() -> None:
    desk = Desk()
    for message in ["", "[]", "{}", '{"type":"x"}', b"\0", '{"type":"response.cancel"}'] * 20:
        assert kinds(desk.send_raw(message)) == ["error"]
    assert desk.conversation.closing is None
    assert kinds(desk.hear("who are you")) == [*HEARD, *SAID]


def test_answers_to_what_nobody_asked_change_nothing() -> None:
    desk = Desk()
    conversation = desk.conversation

    def answer() -> None:
        conversation.measured(99, 1.0, desk.now)
        conversation.recognized(99, NOTHING, desk.now)
        conversation.spoken(99, bytes(48))
        conversation.sentence_ended(99, desk.now)

    assert desk.during(answer) == []
    assert kinds(desk.respond()) == SAID
