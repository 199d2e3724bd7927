"""Client events are read strictly and refused in the protocol's own words."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedded.protocol import (
    EVENT_TYPES,
    AudioAppend,
    ItemCreate,
    RefusedEvent,
    ResponseCreate,
    decode_audio,
    parse_client_event,
)
from tests.embedded.conversation_desk import TRANSFER_TOOL
from tests.support.realtime_schema import assert_valid

ALL_ELEVEN: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": ""}},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    },
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 0},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "response.create", "response": {"metadata": {"a": "b"}, "tools": [dict(TRANSFER_TOOL)]}},
    {"type": "response.cancel", "response_id": "resp_1"},
]


def refused(message: str | bytes) -> RefusedEvent:
    with pytest.raises(RefusedEvent) as caught:
        parse_client_event(message)
    return caught.value


def refused_event(kind: str, **members: Any) -> tuple[str, str | None]:
    error = refused(json.dumps({"type": kind, **members}))
    return error.code, error.parameter


@pytest.mark.parametrize("event", ALL_ELEVEN, ids=lambda event: event["type"])
def test_every_client_event_is_read(event: dict[str, Any]) -> None:
    assert_valid(event, "client")
    parsed = parse_client_event(json.dumps({**event, "event_id": "c1"}))
    assert parsed.type == event["type"]
    assert parsed.event_id == "c1"


def test_events_are_the_eleven_of_the_protocol() -> None:
    assert {event["type"] for event in ALL_ELEVEN} == set(EVENT_TYPES)


def test_members_reach_the_event() -> None:
    created = parse_client_event(json.dumps(ALL_ELEVEN[5]))
    assert isinstance(created, ItemCreate)
    assert created.previous_item_id == "root"
    assert created.item.type == "message"
    response = parse_client_event(json.dumps(ALL_ELEVEN[9]))
    assert isinstance(response, ResponseCreate)
    assert response.response is not None
    assert response.response.metadata == {"a": "b"}


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "{'type':1}",
        "[" * 100_000,
        '{"type":"response.create"} {}',
        '{"type":"response.cancel","response_id":NaN}',
        '{"type":"response.cancel","response_id":1e999}',
        '{"type":"response.cancel","response_id":"\\ud800"}',
    ],
)
def test_what_is_no_json_is_invalid_json(message: str) -> None:
    assert refused(message).code == "invalid_json"


@pytest.mark.parametrize("message", ["[]", "1", "null", '"response.create"', "{}", '{"event_id":"c1"}', b"{}"])
def test_what_is_no_event_is_invalid_event(message: str | bytes) -> None:
    assert refused(message).code == "invalid_event"


def test_missing_type_is_told_with_the_clients_event_id() -> None:
    error = refused('{"event_id":"c1"}')
    assert error.message == "The 'type' field is missing."
    assert error.event_id == "c1"


@pytest.mark.parametrize("kind", ["response.destroy", "", 7, None, [], {}])
def test_unknown_type_is_refused_with_the_supported_ones(kind: object) -> None:
    error = refused(json.dumps({"type": kind, "event_id": "c1"}))
    assert (error.code, error.parameter, error.event_id) == ("invalid_value", "type", "c1")
    assert "Supported values are: 'session.update', 'input_audio_buffer.append'," in error.message


def test_unknown_type_is_cut_in_the_message() -> None:
    assert "x" * 81 not in refused(json.dumps({"type": "x" * 10_000})).message


@pytest.mark.parametrize(
    ("kind", "members", "expected"),
    [
        ("input_audio_buffer.append", {}, ("missing_required_parameter", "audio")),
        ("input_audio_buffer.append", {"audio": 5}, ("invalid_value", "audio")),
        ("input_audio_buffer.commit", {"now": True}, ("unknown_parameter", "now")),
        ("session.update", {"session": []}, ("invalid_value", "session")),
        ("session.update", {}, ("missing_required_parameter", "session")),
        ("conversation.item.create", {"item": {}}, ("missing_required_parameter", "item.type")),
        ("conversation.item.create", {"item": {"type": "message"}}, ("missing_required_parameter", "item.role")),
        ("conversation.item.create", {"item": {"type": "letter"}}, ("invalid_value", "item.type")),
        ("conversation.item.create", {"item": {"type": "message", "role": "cat"}}, ("invalid_value", "item.role")),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": [{"type": "output_text", "text": ""}]}},
            ("invalid_value", "item.content[0].type"),
        ),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": [{"type": "input_text"}]}},
            ("missing_required_parameter", "item.content[0].text"),
        ),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "", "x": 1}]}},
            ("unknown_parameter", "item.content[0].x"),
        ),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": ""}]}},
            ("invalid_value", "item.content[0].type"),
        ),
        (
            "conversation.item.truncate",
            {"item_id": "i", "content_index": 0},
            ("missing_required_parameter", "audio_end_ms"),
        ),
        (
            "conversation.item.truncate",
            {"item_id": "i", "content_index": 0, "audio_end_ms": -1},
            ("invalid_value", "audio_end_ms"),
        ),
        (
            "conversation.item.truncate",
            {"item_id": "i", "content_index": 0, "audio_end_ms": "5"},
            ("invalid_value", "audio_end_ms"),
        ),
        ("response.create", {"response": {"moods": []}}, ("unknown_parameter", "response.moods")),
        ("response.create", {"response": {"metadata": {"k" * 65: "v"}}}, ("invalid_value", "response.metadata")),
        (
            "response.create",
            {"response": {"metadata": {str(n): "" for n in range(17)}}},
            ("invalid_value", "response.metadata"),
        ),
        ("response.create", {"response": {"max_output_tokens": 4097}}, ("invalid_value", "response.max_output_tokens")),
        ("response.create", {"response": {"conversation": "mine"}}, ("invalid_value", "response.conversation")),
        ("response.cancel", {"event_id": "x" * 513}, ("invalid_value", "event_id")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_code_and_parameter(
    kind: str, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    code, parameter = refused_event(kind, **members)
    assert code == expected[0]
    assert parameter is not None
    assert parameter.startswith(expected[1])


def test_path_of_a_parameter_has_no_names_of_ours() -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": 1}]}
    assert refused_event("conversation.item.create", item=item) == ("invalid_value", "item.content[0].audio")


@given(st.binary(max_size=64))
def test_audio_comes_out_of_base64_as_it_went_in(audio: bytes) -> None:
    event = parse_client_event(
        json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})
    )
    assert isinstance(event, AudioAppend)
    assert decode_audio(event.audio) == audio


@pytest.mark.parametrize("audio", ["A", "AA=A", "AAA A", "ééé", "AAAA\n", "=", "\ud800"])
def test_what_is_not_base64_is_invalid_value(audio: str) -> None:
    with pytest.raises(RefusedEvent) as caught:
        decode_audio(audio)
    assert (caught.value.code, caught.value.parameter) == ("invalid_value", "audio")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(ALL_ELEVEN), st.data(), JSON)
def test_any_member_of_any_kind_is_read_or_refused(event: dict[str, Any], data: st.DataObject, value: object) -> None:
    name = data.draw(st.sampled_from([*event, "item", "response", "event_id"]))
    with contextlib.suppress(RefusedEvent):
        parse_client_event(json.dumps({**event, name: value}))


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_garbage_is_refused(message: str | bytes) -> None:
    assert refused(message).code in {"invalid_json", "invalid_event"}
