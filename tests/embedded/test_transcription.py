"""Transcription sessions: what is heard is written down, nothing is said."""

from __future__ import annotations

import math

import pytest

from gateway.embedded.recognizer import Recognition
from gateway.embedded.session import TranscriptionConfig
from tests.embedded.conversation_desk import Desk, kinds, loud, only, refusal, silent

TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
]


def transcribing() -> Desk:
    return Desk(config=TranscriptionConfig())


def test_session_is_created_with_what_a_caller_has_and_no_more() -> None:
    session = only(transcribing().events, "session.created")["session"]
    assert (session["type"], session["object"]) == ("transcription", "realtime.transcription_session")
    assert session["audio"].keys() == {"input"}
    assert not {"model", "tools", "instructions", "output_modalities"} & session.keys()


def test_turns_are_written_down_and_not_answered() -> None:
    desk = transcribing()
    events = desk.hear("what are your opening hours") + desk.hear("goodbye")
    assert kinds(events) == 2 * TURN
    assert [event["transcript"] for event in events if "transcript" in event] == [
        "what are your opening hours",
        "goodbye",
    ]


LOGPROBS = "item.input_audio_transcription.logprobs"


@pytest.mark.parametrize(("fit", "probability"), [(0.0, 0.5), (3.0, 0.953), (-1.0, 0.269), (40.0, 1.0)])
def test_client_that_asks_is_told_how_probable_the_words_are(fit: float, probability: float) -> None:
    desk = transcribing()
    desk.send("session.update", session={"type": "transcription", "include": [LOGPROBS]})
    events = desk.hear("goodbye", fit=fit)[-2:]
    assert kinds(events) == TURN[-2:]
    for event in events:
        (token,) = event["logprobs"]
        assert (token["token"], bytes(token["bytes"])) == ("goodbye", b"goodbye")
        assert math.exp(token["logprob"]) == pytest.approx(probability, abs=0.001)


def test_probability_is_not_told_unasked_nor_where_there_is_none() -> None:
    desk = transcribing()
    assert not [event for event in desk.hear("goodbye") if "logprobs" in event]
    desk.send("session.update", session={"type": "transcription", "include": [LOGPROBS]})
    desk.words.append(Recognition(text="my cat is blue", fit=0.5, is_measured=False))
    events = desk.append(loud(800)) + desk.append(silent(600))
    assert kinds(events) == TURN
    assert not [event for event in events if "logprobs" in event]


def test_client_may_end_the_turns() -> None:
    desk = transcribing()
    update = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}}}
    session = only(desk.send("session.update", session=update), "session.updated")["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    desk.append(b"\x10" * 800)
    assert kinds(desk.send("input_audio_buffer.commit"))[:3] == TURN[2:5]


def test_silent_caller_is_left_alone() -> None:
    desk = transcribing()
    turns = {"type": "server_vad", "idle_timeout_ms": 5000}
    desk.send("session.update", session={"type": "transcription", "audio": {"input": {"turn_detection": turns}}})
    desk.hear("goodbye")
    assert desk.pass_time(60) == []


def test_what_would_answer_is_refused() -> None:
    desk = transcribing()
    assert refusal(desk.respond()) == ("bad_response_create", "type")
    update = {"type": "transcription", "instructions": "x"}
    assert refusal(desk.send("session.update", session=update)) == ("unknown_parameter", "session.instructions")


def test_kind_of_a_session_stays() -> None:
    assert refusal(transcribing().update()) == ("invalid_value", "session.type")
    assert refusal(Desk().send("session.update", session={"type": "transcription"})) == (
        "invalid_value",
        "session.type",
    )
