"""The two directions between the original protocol and its dialects, event by event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.realtime.fields import MalformedEventError
from gateway.realtime.openai.codec import AUDIO_DELTA, read_audio_delta
from gateway.realtime.openai.dialects import DIALECTS
from gateway.realtime.openai.edge import Edge
from gateway.realtime.openai.protocol import MAX_EVENT_CHARACTERS
from gateway.realtime.profile import profile_of
from gateway.realtime.session import SessionOptions

FOREIGN = sorted(name for name, dialect in DIALECTS.items() if not dialect.is_original)
BETA = sorted(name for name, dialect in DIALECTS.items() if dialect.has_beta_names)


def edge(name: str, **changes: Any) -> Edge:
    profile = profile_of(name)
    assert profile is not None
    assert profile.linear_formats is not None
    heard, spoken = profile.linear_formats
    return Edge(DIALECTS[name], SessionOptions(url="ws://h", input_format=heard, output_format=spoken, **changes))


def outbound(name: str, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(edge(name, **changes).outbound(json.dumps(event)))
    return written


def inbound(name: str, event: dict[str, Any]) -> dict[str, Any]:
    text = edge(name).inbound(json.dumps(event))
    assert text is not None
    read: dict[str, Any] = json.loads(text)
    return read


def session_of(name: str, session: dict[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = outbound(name, {"type": "session.update", "session": session})["session"]
    return written


def delta(kind: str) -> str:
    return (
        f'{{"type":"{kind}","event_id":"e","response_id":"r","item_id":"i","output_index":0,"content_index":0,'
        '"delta":"AAAA"}'
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_audio_passes_unparsed_and_is_read_by_the_quick_way(name: str) -> None:
    beta, original = delta("response.audio.delta"), delta(AUDIO_DELTA)
    passed = edge(name).inbound(beta if name in BETA else original)
    assert passed == original
    assert read_audio_delta(passed, 1) == ("r", "i", 0, b"\0\0\0")
    broken = original.removesuffix('"}')  # parsed, it would be refused
    assert edge(name).inbound(broken) is broken


@pytest.mark.parametrize("name", FOREIGN)
def test_cancelling_names_no_reply(name: str) -> None:
    event = {"type": "response.cancel", "event_id": "c1", "response_id": "r"}
    assert outbound(name, event) == {"type": "response.cancel", "event_id": "c1"}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_dialect_does_not_know_is_not_sent(name: str) -> None:
    spoken = {"voice": "ash", "speed": 1.2}
    asked = {"tracing": "auto", "truncation": "disabled", "prompt": {"id": "p"}, "include": [], "audio": {}}
    asked["audio"] = {"input": {"noise_reduction": {"type": "near_field"}, "novelty": 1}, "output": spoken}
    session = session_of(name, {"type": "realtime", "instructions": "Hi."} | asked)
    assert set(session) <= (DIALECTS[name].session_keys or set())
    assert session["instructions"] == "Hi."
    told = json.dumps(session)
    assert "speed" not in told
    assert "novelty" not in told
    assert ("near_field" in told) == (name == "azure_voice_live")


@pytest.mark.parametrize("name", FOREIGN)
def test_transcription_is_told_model_and_language(name: str) -> None:
    wanted = {"model": "listener", "language": "en", "keywords": ["GmbH"], "prompt": "A call.", "delay": "low"}
    session = session_of(name, {"audio": {"input": {"transcription": wanted}}})
    told = session.get("input_audio_transcription") or session["audio"]["input"]["transcription"]
    assert told == ({"language": "en"} if name == "eleven" else {"model": "listener", "language": "en"})
    assert {"keywords", "transcription_prompt", "transcription_delay"} <= DIALECTS[name].lacks


def test_transcription_that_cannot_be_chosen_is_not_told() -> None:
    told = session_of("eleven", {"audio": {"input": {"transcription": {"model": "listener"}}}})
    assert told["audio"] == {"input": {}}


@pytest.mark.parametrize("name", FOREIGN)
def test_tools_of_servers_are_passed_on_where_they_are_known(name: str) -> None:
    tools = [{"type": "function", "name": "look"}, {"type": "mcp", "server_label": "desk"}]
    session = session_of(name, {"type": "realtime", "tools": tools})
    assert len(session["tools"]) == (2 if name == "xai" else 1)
    assert ("mcp" in DIALECTS[name].lacks) == (name != "xai")


def test_effort_of_reasoning_has_a_flat_name() -> None:
    assert session_of("azure_voice_live", {"reasoning": {"effort": "low"}}) == {"reasoning_effort": "low"}
    assert session_of("xai", {"reasoning": {"effort": "high"}}) == {"reasoning": {"effort": "high"}}


@pytest.mark.parametrize(
    ("name", "limit"), [("azure_voice_live", "max_response_output_tokens"), ("inworld", "max_output_tokens")]
)
def test_limit_of_a_reply_has_the_dialects_name(name: str, limit: str) -> None:
    assert session_of(name, {"max_output_tokens": 500})[limit] == 500


def test_model_and_longest_session_are_told_once() -> None:
    session = {"type": "realtime", "instructions": "Hi."}
    first = session | {"output_modalities": ["audio"], "audio": {}}
    opening = outbound("eleven", {"type": "session.update", "session": first}, model="m")["session"]
    assert (opening["model"], opening["max_duration_seconds"]) == ("m", 7200)
    assert outbound("eleven", {"type": "session.update", "session": session}, model="m")["session"] == session


def test_instructions_of_any_length_are_sent() -> None:
    text = "a, " * 60_000
    assert session_of("xai", {"instructions": text}) == {"instructions": text}


def test_turns_of_our_own_stay_null() -> None:
    audio = {"input": {"turn_detection": None}, "output": {}}
    assert session_of("xai", {"audio": audio})["turn_detection"] is None
    assert session_of("qwen", {"audio": audio}) == {"turn_detection": None}


def test_conversation_opens_the_session_where_that_comes_first() -> None:
    created = {"type": "conversation.created", "conversation": {"id": "conv_1"}}
    assert inbound("xai", created)["type"] == "session.created"
    assert inbound("inworld", created)["type"] == "conversation.created"


@pytest.mark.parametrize("name", FOREIGN)
def test_item_under_its_older_name_is_an_item_added(name: str) -> None:
    item = {"id": "i", "type": "message", "role": "user"}
    read = inbound(name, {"type": "conversation.item.created", "item": item})
    assert (read["type"], read["item"]) == ("conversation.item.added", item)


@pytest.mark.parametrize("name", FOREIGN)
def test_large_event_is_not_parsed(name: str) -> None:
    text = json.dumps({"type": "session.updated", "session": {"id": "x" * MAX_EVENT_CHARACTERS}})
    with pytest.raises(MalformedEventError, match="large"):
        edge(name).inbound(text)


@pytest.mark.parametrize("billed", ["much", None, True, -1, [3]])
def test_end_of_a_reply_is_told_whatever_its_bill_says(billed: object) -> None:
    response = {"id": "r", "status": "completed"}
    read = inbound("xai", {"type": "response.done", "response": response, "usage": {"billable_audio_seconds": billed}})
    assert read["response"]["id"] == "r"
    assert read["response"]["usage"].get("seconds", 0) in (0, 1)


@pytest.mark.parametrize("nonsense", ["NaN", "Infinity", "1" + 400 * "0", "true"])
def test_bill_that_is_no_number_does_not_cost_those_behind_it(nonsense: str) -> None:
    """The provider tells all since the beginning, so what was told last is remembered."""
    seconds = []
    told = edge("xai")
    for billed in ("2.5", nonsense, "4.0"):
        document = f'{{"type":"response.done","response":{{"id":"r"}},"usage":{{"billable_audio_seconds":{billed}}}}}'
        read = json.loads(told.inbound(document) or "")
        seconds.append(read["response"]["usage"].get("seconds"))
    assert seconds == [2.5, None, 1.5]


@pytest.mark.parametrize("name", FOREIGN)
def test_what_a_session_is_opened_with_is_not_told_again_when_its_language_changes(name: str) -> None:
    changed = {"type": "realtime", "audio": {"input": {"transcription": {"model": "listener", "language": "de"}}}}
    told = json.dumps(outbound(name, {"type": "session.update", "session": changed}, model="m"))
    assert '"language": "de"' in told
    assert '"m"' not in told
    assert "max_duration_seconds" not in told
