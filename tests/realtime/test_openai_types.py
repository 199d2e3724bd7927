"""Everything we send passes the typed events of the official client, and so does what the scripted provider sends."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.media.codec import AudioFormat
from gateway.realtime.openai import codec
from gateway.realtime.openai.event_tables import IGNORED, TRANSLATED
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.openai.session import CAPABILITIES
from gateway.realtime.session import (
    ContextTruncation,
    HostedServer,
    Message,
    ReasoningEffort,
    Secret,
    SessionChange,
    SessionOptions,
    Tool,
    ToolExchange,
    TurnDetection,
)
from tests.support.openai_types import CLIENT_EVENTS, SERVER_EVENTS, assert_typed
from tests.support.realtime_schema import assert_valid

TEXT = st.text(max_size=6)
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
EFFORTS = st.sampled_from(typing.get_args(ReasoningEffort))
ROLES = st.sampled_from(["user", "system", "assistant"])
TOOLS = st.lists(st.builds(Tool, name=NAMES, description=TEXT), max_size=3).map(tuple)
FORMATS = st.sampled_from(CAPABILITIES.input_formats)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


SERVERS = st.builds(
    HostedServer,
    label=NAMES,
    url=st.sampled_from(["https://crm.example/mcp", "https://erp.example/"]),
    connector_id=st.sampled_from(["", "connector_gmail"]),
    authorization=maybe(TEXT.map(Secret)),
    headers=st.lists(st.tuples(NAMES, TEXT), max_size=2).map(tuple),
    description=TEXT,
    allowed_tools=maybe(st.lists(NAMES, max_size=2).map(tuple)),
    require_approval=st.sampled_from(["always", "never"]),
)
OPTIONS = st.builds(
    SessionOptions,
    url=st.just("ws://h/v1"),
    model=NAMES,
    voice=st.sampled_from(["", "marin", "voice_1"]),
    instructions=TEXT,
    input_format=FORMATS,
    output_format=FORMATS,
    turn_detection=st.builds(
        TurnDetection,
        kind=st.sampled_from(["server_vad", "semantic_vad", "none"]),
        threshold=st.floats(0, 1),
        idle_timeout_ms=maybe(st.integers(5000, 30_000)),
        eagerness=st.sampled_from(["low", "medium", "high", "auto"]),
        creates_response=st.booleans(),
        interrupts_response=st.booleans(),
    ),
    noise_reduction=maybe(st.sampled_from(["near_field", "far_field"])),
    noise_reduction_strength=maybe(st.floats(0, 1)),
    transcription_model=maybe(NAMES),
    transcription_language=maybe(st.just("de")),
    transcription_languages=st.lists(st.sampled_from(["de", "en"]), max_size=2).map(tuple),
    transcription_prompt=TEXT,
    transcription_keywords=st.lists(TEXT, max_size=2).map(tuple),
    transcription_delay=maybe(EFFORTS),
    has_confidence=st.booleans(),
    output_modality=st.sampled_from(["audio", "text"]),
    output_speed=maybe(st.floats(0.25, 1.5)),
    tools=TOOLS,
    hosted_servers=st.lists(SERVERS, max_size=2).map(tuple),
    tool_choice=st.sampled_from(["auto", "none", "required", "look"]),
    parallel_tool_calls=maybe(st.booleans()),
    max_output_tokens=maybe(st.integers(1, 4096)),
    reasoning_effort=maybe(EFFORTS),
    truncation=maybe(
        st.builds(
            ContextTruncation,
            policy=st.sampled_from(["auto", "disabled", "retention_ratio"]),
            retention_ratio=st.floats(0, 1),
            max_tokens=maybe(st.integers(0, 100_000)),
        )
    ),
    caller=st.sampled_from(["", "+4930123456"]),
    history=st.lists(
        st.builds(Message, role=ROLES, text=TEXT)
        | st.builds(ToolExchange, call_id=NAMES, name=NAMES, arguments=st.just("{}"), output=TEXT),
        max_size=3,
    ).map(tuple),
)


def sent(protocol: OpenAIProtocol) -> list[dict[str, Any]]:
    """What waits to be sent, each held against the official client's classes and the published schema."""
    events = [json.loads(message) for message in protocol.messages_to_send()]
    for event in events:
        assert_typed(event, "client")
        assert_valid(event, "client")
    return events


def opened(options: SessionOptions) -> tuple[OpenAIProtocol, list[dict[str, Any]]]:
    protocol = OpenAIProtocol(options)
    protocol.receive('{"type":"session.created"}')
    protocol.receive('{"type":"session.updated"}')
    return protocol, sent(protocol)


@given(OPTIONS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_session_that_can_be_asked_for_is_typed(options: SessionOptions) -> None:
    _, events = opened(options)
    assert events[0]["type"] == "session.update"
    assert len(events) > len(options.history)


@given(
    st.builds(
        SessionChange, instructions=maybe(TEXT), tools=maybe(TOOLS), max_output_tokens=maybe(st.integers(1, 4096))
    ),
    st.lists(SERVERS, max_size=1).map(tuple),
)
@settings(max_examples=30, deadline=None)
def test_every_change_is_typed(change: SessionChange, servers: tuple[HostedServer, ...]) -> None:
    protocol, _ = opened(SessionOptions(url="ws://h/v1", hosted_servers=servers))
    protocol.update(change)
    sent(protocol)


def test_every_command_is_typed_and_all_client_events_but_one_are_sent() -> None:
    server = HostedServer(label="crm", url="https://crm.example/mcp")
    protocol, events = opened(SessionOptions(url="ws://h/v1", tools=(Tool(name="look"),), hosted_servers=(server,)))
    audio = json.loads(protocol.audio_message(b"\xff" * 160))
    assert_typed(audio, "client")
    protocol.commit_audio()
    protocol.clear_audio()
    for role in typing.get_args(codec.Role):
        protocol.send_text(role, "hello")
    protocol.respond(None)
    protocol.receive('{"type":"response.created","response":{"id":"resp_1"}}')
    protocol.receive(
        '{"type":"response.output_audio.delta","response_id":"resp_1","item_id":"item_1","content_index":0,"delta":"AAA="}'
    )
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    ask = {"type": "mcp_approval_request", "id": "req_1", "server_label": "crm", "name": "x", "arguments": "{}"}
    for item in (call, ask):
        protocol.receive(json.dumps({"type": "response.output_item.done", "response_id": "resp_1", "item": item}))
    protocol.send_tool_result("c1", "{}", respond=True)
    protocol.say("Good evening.")
    protocol.ask("q", "Was it urgent?")
    protocol.cancel_response()
    protocol.truncate("item_1", 0, 0)
    protocol.retrieve_item("item_1")
    protocol.delete_item("item_1")
    protocol.replace_items(("item_2",), "summary_1", "They spoke.")
    protocol.update(SessionChange(instructions="Be kind."))
    protocol.receive('{"type":"response.done","response":{"id":"resp_1","status":"cancelled"}}')
    kinds = {event["type"] for event in [audio, *events, *sent(protocol)]}
    assert set(CLIENT_EVENTS) - kinds == {"output_audio_buffer.clear"}


def test_official_client_has_no_event_that_we_do_not_know() -> None:
    assert set(SERVER_EVENTS) == {*OpenAIProtocol._HANDLERS, *TRANSLATED, *IGNORED}


def test_check_finds_a_member_that_there_is_not_and_a_value_that_cannot_be() -> None:
    session = codec.session_update(SessionOptions(url="ws://h/v1", output_format=AudioFormat.PCMU))
    inside: Any = session["session"]
    inside["audio"]["output"]["loudness"] = 1
    with pytest.raises(AssertionError, match="loudness"):
        assert_typed(session, "client")
    del inside["audio"]["output"]["loudness"]
    inside["max_output_tokens"] = "many"
    with pytest.raises(ValidationError):
        assert_typed(session, "client")
