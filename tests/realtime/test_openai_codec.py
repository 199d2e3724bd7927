"""Events to text and back, each one we send held against the published schema."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime.fields import Fields
from gateway.realtime.openai import codec
from gateway.realtime.session import ResponseStatus, SessionChange, SessionOptions, Tool, TurnDetection, Usage
from tests.support.realtime_schema import assert_valid


def options(**changes: Any) -> SessionOptions:
    return SessionOptions(**{"url": "ws://127.0.0.1:1/v1", "model": "gpt-realtime-2.1-mini"} | changes)


def session_of(**changes: Any) -> dict[str, Any]:
    """``session`` of the update for these options, which must be valid."""
    event = json.loads(codec.encode(codec.session_update(options(**changes))))
    assert_valid(event, "client")
    session: dict[str, Any] = event["session"]
    return session


# --- URL --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", "wss://api.openai.com/v1/realtime?model=m"),
        ("https://api.openai.com/v1/", "wss://api.openai.com/v1/realtime?model=m"),
        ("wss://api.openai.com/v1/realtime", "wss://api.openai.com/v1/realtime?model=m"),
        ("http://127.0.0.1:8765/v1", "ws://127.0.0.1:8765/v1/realtime?model=m"),
        ("ws://127.0.0.1:8765", "ws://127.0.0.1:8765/v1/realtime?model=m"),
        ("ws://[::1]:8765/v1/realtime/", "ws://[::1]:8765/v1/realtime?model=m"),
        ("wss://h/openai/v1/realtime?model=old&x=a%20b", "wss://h/openai/v1/realtime?x=a+b&model=m"),
        (" wss://h/v1/realtime#part ", "wss://h/v1/realtime?model=m"),
    ],
)
def test_url_of_every_accepted_form(url: str, expected: str) -> None:
    assert codec.realtime_url(options(url=url, model="m")) == expected


def test_url_keeps_its_own_model_when_the_options_name_none() -> None:
    assert codec.realtime_url(options(url="ws://h/v1?model=m", model="")) == "ws://h/v1/realtime?model=m"


def test_model_is_quoted_into_the_url() -> None:
    assert codec.realtime_url(options(url="ws://h/v1", model="a/b&c=d")).endswith("?model=a%2Fb%26c%3Dd")


@pytest.mark.parametrize("url", ["", "h/v1", "ftp://h/v1", "ws://", "ws://u:p@h/v1", "ws://h:x/v1", "ws://[::1/v1"])
def test_unusable_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(ProviderRefused, match="realtime url") as caught:
        codec.realtime_url(options(url=url))
    assert not url or url not in str(caught.value)


# --- session.update ---------------------------------------------------------------------------------------------------


def test_silence_is_always_said() -> None:
    turns = session_of()["audio"]["input"]["turn_detection"]
    assert turns["type"] == "server_vad"
    assert turns["silence_duration_ms"] == 500


def test_server_vad_in_full() -> None:
    turns = TurnDetection(
        threshold=0.7,
        prefix_padding_ms=200,
        silence_duration_ms=350,
        idle_timeout_ms=6000,
        creates_response=False,
        interrupts_response=False,
    )
    assert session_of(turn_detection=turns)["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 200,
        "silence_duration_ms": 350,
        "idle_timeout_ms": 6000,
        "create_response": False,
        "interrupt_response": False,
    }


def test_semantic_vad_has_eagerness_and_no_silence() -> None:
    turns = TurnDetection(kind="semantic_vad", eagerness="high")
    assert session_of(turn_detection=turns)["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }


def test_no_turn_detection_is_null() -> None:
    turns = session_of(turn_detection=TurnDetection(kind="none"))["audio"]["input"]
    assert turns["turn_detection"] is None


@pytest.mark.parametrize(
    ("audio_format", "expected"),
    [
        (AudioFormat.PCM16_24K, {"type": "audio/pcm", "rate": 24000}),
        (AudioFormat.PCMU, {"type": "audio/pcmu"}),
        (AudioFormat.PCMA, {"type": "audio/pcma"}),
    ],
)
def test_formats_each_way(audio_format: AudioFormat, expected: Mapping[str, object]) -> None:
    assert session_of(input_format=audio_format)["audio"]["input"]["format"] == expected
    assert session_of(output_format=audio_format)["audio"]["output"]["format"] == expected


def test_everything_that_can_be_asked() -> None:
    session = session_of(
        voice="marin",
        instructions='Say "grüß" \ud83d.',
        noise_reduction="near_field",
        transcription_model="gpt-transcribe",
        transcription_language="de",
        tools=(Tool(name="transfer", description="Put through", parameters={"type": "object", "properties": {}}),),
        tool_choice="transfer",
        max_output_tokens=500,
        reasoning_effort="low",
    )
    assert session["instructions"] == 'Say "grüß" \ud83d.'
    assert session["audio"]["output"]["voice"] == "marin"
    assert session["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-transcribe", "language": "de"}
    assert session["tools"][0]["name"] == "transfer"
    assert session["tool_choice"] == {"type": "function", "name": "transfer"}
    assert session["max_output_tokens"] == 500
    assert session["reasoning"] == {"effort": "low"}


def test_what_is_left_open_is_left_to_the_provider() -> None:
    session = session_of()
    assert set(session) == {"type", "output_modalities", "audio", "tools"}
    assert "voice" not in session["audio"]["output"]
    assert set(session["audio"]["input"]) == {"format", "turn_detection"}


# --- other events -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        codec.message("user", "hello"),
        codec.message("system", "hello"),
        codec.message("assistant", "hello"),
        codec.tool_result("call_1", '{"a":1}'),
        codec.response_create(None),
        codec.response_create("Greet."),
        codec.response_cancel(None),
        codec.response_cancel("resp_1"),
        codec.truncate("item_1", 0, 640),
        {"type": "input_audio_buffer.commit"},
    ],
    ids=lambda event: str(event["type"]),
)
def test_every_event_is_what_the_schema_says(event: Mapping[str, object]) -> None:
    assert_valid(json.loads(codec.encode(event)), "client")


@given(st.binary(max_size=2000))
def test_append_is_json_with_the_audio_in_base64(audio: bytes) -> None:
    text = codec.append(audio)
    event = json.loads(text)
    assert_valid(event, "client")
    assert event == {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}
    assert codec.append_size(len(audio)) == len(text)


def test_any_string_can_be_sent() -> None:
    codec.encode(codec.message("user", "half a pair: \ud83d")).encode()


# --- received audio ---------------------------------------------------------------------------------------------------

DELTA = {
    "type": "response.output_audio.delta",
    "event_id": "event_1",
    "response_id": "resp_1",
    "item_id": "item_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "f39/fw==",
}


def compact(event: Mapping[str, object]) -> str:
    return json.dumps(event, separators=(",", ":"))


def test_audio_delta_is_read_in_the_layouts_that_are_sent() -> None:
    first = {"event_id": DELTA["event_id"], "type": DELTA["type"]}
    for event in (DELTA, first | DELTA):
        for document in (compact(event), json.dumps(event)):
            assert codec.read_audio_delta(document, 1) == ("resp_1", "item_1", 0, b"\x7f\x7f\x7f\x7f"), document


@pytest.mark.parametrize(
    "document",
    [
        json.dumps(DELTA, indent=1),
        compact({"item_id": "item_1"} | DELTA),
        compact(DELTA | {"obfuscation": "x"}),
        compact(DELTA | {"content_index": 1.0}),
        compact(DELTA | {"item_id": 'a"b'}),
        compact(DELTA | {"item_id": "\u00e4"}),
        compact(DELTA | {"delta": "f39/f"}),
        compact(DELTA).replace("/", "\\/"),
        compact(DELTA)[:-1] + ',"delta":"AAAA"}',
        compact(DELTA) + " ",
        compact(DELTA)[:-1],
        compact(DELTA)[:-2],
        '{"type":"session.created"}',
        "",
    ],
)
def test_any_other_layout_is_left_to_the_parser(document: str) -> None:
    assert codec.read_audio_delta(document, 1) is None


def test_half_a_sample_is_left_to_the_parser() -> None:
    assert codec.read_audio_delta(compact(DELTA | {"delta": "f39/"}), 2) is None


@pytest.mark.parametrize(
    "text", ["f39", "f39/fw=", "f39/fw===", "f3 9/fw==", "f39/\nfw==", "gr\u00fc\u00df", "A", "", "\\u0041AA="]
)
def test_what_is_not_base64_is_no_audio(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        codec.decode_audio(text, 1)


def test_half_a_sample_is_no_audio() -> None:
    assert codec.decode_audio("f39/", 1) == b"\x7f\x7f\x7f"
    with pytest.raises(ValueError, match="whole samples"):
        codec.decode_audio("f39/", 2)


# --- other members ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"), [("", {}), (" ", {}), ("{}", {}), ('{"a":[1,{"b":null}]}', {"a": [1, {"b": None}]})]
)
def test_tool_arguments(text: str, expected: Mapping[str, object]) -> None:
    assert codec.tool_arguments(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '"a"',
        "null",
        '{"a":NaN}',
        '{"a":' + "[" * 100 + "]" * 100 + "}",
        '{"a":"\\ud83d"}',
        '{"a":' + "[" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_arguments_that_cannot_be_passed_on_are_none(text: str) -> None:
    assert codec.tool_arguments(text) is None


def test_usage_in_full() -> None:
    told = {
        "total_tokens": 253,
        "input_tokens": 132,
        "output_tokens": 121,
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 1,
            "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4, "image_tokens": 2},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91, "reasoning_tokens": 7},
    }
    assert codec.usage(Fields(told)) == Usage(
        input_tokens=132,
        output_tokens=121,
        input_text_tokens=119,
        input_audio_tokens=13,
        input_image_tokens=1,
        cached_tokens=64,
        cached_text_tokens=60,
        cached_audio_tokens=4,
        cached_image_tokens=2,
        output_text_tokens=30,
        output_audio_tokens=91,
        reasoning_tokens=7,
    )


def test_usage_by_time() -> None:
    assert codec.usage(Fields({"type": "duration", "seconds": 2.5})) == Usage(seconds=2.5)


@pytest.mark.parametrize("told", [{}, {"input_tokens": "many"}, {"input_tokens": -1}, {"input_token_details": 3}])
def test_usage_that_cannot_be_read_is_none(told: Mapping[str, object]) -> None:
    assert codec.usage(Fields(told)) is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, ResponseStatus.COMPLETED),
        ({"status": "cancelled"}, ResponseStatus.CANCELLED),
        ({"status": "failed"}, ResponseStatus.FAILED),
        ({"status": "new word"}, ResponseStatus.INCOMPLETE),
    ],
)
def test_status_of_a_reply(told: Mapping[str, object], expected: ResponseStatus) -> None:
    assert codec.response_status(Fields(told)) is expected


# --- changes ----------------------------------------------------------------------------------------------------------


def test_change_of_language_names_the_transcription_model_again() -> None:
    event = json.loads(
        codec.encode(
            codec.change(SessionChange(transcription_language="fr"), options(transcription_model="gpt-4o-transcribe"))
        )
    )
    transcription = {"model": "gpt-4o-transcribe", "language": "fr"}
    assert event["session"] == {"type": "realtime", "audio": {"input": {"transcription": transcription}}}
    assert_valid(event, "client")


def test_language_changes_nothing_where_nothing_is_transcribed() -> None:
    assert codec.change(SessionChange(transcription_language="fr"), options())["session"] == {"type": "realtime"}
