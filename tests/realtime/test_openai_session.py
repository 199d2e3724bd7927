"""What a session is asked to be, and how it is changed: as little as possible, and always in the same octets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.realtime import context
from gateway.realtime.openai import codec
from gateway.realtime.openai.session_object import safety_identifier
from gateway.realtime.session import (
    ContextTruncation,
    HostedServer,
    OutputTranscript,
    ResponseFinished,
    Secret,
    SessionChange,
    SessionOptions,
    Tool,
    ToolCalled,
    TurnDetection,
)
from tests.support.conversation_rig import TRANSFER, Rig
from tests.support.openai_peer import Peer
from tests.support.realtime_schema import assert_valid

TOOLS = (Tool(name="zebra"), Tool(name="apple", parameters={"type": "object", "properties": {"b": {}, "a": {}}}))


def options(**changes: Any) -> SessionOptions:
    return SessionOptions(**{"url": "ws://h/v1", "model": "m"} | changes)


def session_of(**changes: Any) -> dict[str, Any]:
    event = json.loads(codec.encode(codec.session_update(options(**changes))))
    assert_valid(event, "client")
    session: dict[str, Any] = event["session"]
    return session


# --- asked for --------------------------------------------------------------------------------------------------------


def test_transcription_with_all_that_can_be_said_of_it() -> None:
    session = session_of(
        transcription_model="gpt-transcribe",
        transcription_languages=("de", "en"),
        transcription_prompt="A dentist's practice.",
        transcription_keywords=("Xylocain", "Dr. Özdemir"),
        transcription_delay="low",
        has_confidence=True,
    )
    assert session["audio"]["input"]["transcription"] == {
        "model": "gpt-transcribe",
        "languages": ["de", "en"],
        "prompt": "A dentist's practice.",
        "keywords": ["Xylocain", "Dr. Özdemir"],
        "delay": "low",
    }
    assert session["include"] == ["item.input_audio_transcription.logprobs"]


def test_nothing_of_a_transcription_is_asked_for_without_one() -> None:
    session = session_of(transcription_keywords=("x",), has_confidence=True)
    assert "transcription" not in session["audio"]["input"]
    assert "include" not in session


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ContextTruncation(), "auto"),
        (ContextTruncation(policy="disabled"), "disabled"),
        (
            ContextTruncation(policy="retention_ratio", retention_ratio=0.8),
            {"type": "retention_ratio", "retention_ratio": 0.8},
        ),
        (
            ContextTruncation(policy="retention_ratio", retention_ratio=0.5, max_tokens=8000),
            {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 8000}},
        ),
    ],
)
def test_truncation(wanted: ContextTruncation, expected: object) -> None:
    assert session_of(truncation=wanted)["truncation"] == expected


def test_pace_strength_and_parallel_calls() -> None:
    session = session_of(
        output_speed=1.2, noise_reduction="far_field", noise_reduction_strength=0.4, parallel_tool_calls=False
    )
    assert session["audio"]["output"]["speed"] == 1.2
    assert session["audio"]["input"]["noise_reduction"] == {"type": "far_field", "strength": 0.4}
    assert session["parallel_tool_calls"] is False


def test_nothing_is_ever_traced_at_the_provider() -> None:
    assert "tracing" not in session_of(caller="+4930123456")


# --- the provider's cache ---------------------------------------------------------------------------------------------


def test_same_options_are_the_same_octets_with_instructions_and_tools_first() -> None:
    def opened() -> str:
        peer = Peer(is_ready=False, **every_option())
        peer.protocol.receive('{"type":"session.created"}')
        (message,) = peer.protocol.messages_to_send()
        return message

    assert opened() == opened()
    session = json.loads(opened())["session"]
    assert list(session)[:3] == ["type", "instructions", "tools"]
    assert [tool.get("name") for tool in session["tools"]] == ["zebra", "apple", None]
    assert list(session["tools"][1]["parameters"]["properties"]) == ["b", "a"]


def test_callers_number_changes_nothing_of_what_the_model_is_told() -> None:
    given = every_option()
    one = codec.encode(codec.session_update(options(**given | {"caller": "+491"})))
    other = codec.encode(codec.session_update(options(**given | {"caller": "+492"})))
    assert one == other


def every_option() -> dict[str, Any]:
    return {
        "instructions": "Be brief.",
        "voice": "marin",
        "tools": TOOLS,
        "hosted_servers": (HostedServer(label="crm", url="https://crm.example/mcp"),),
        "transcription_model": "gpt-transcribe",
        "transcription_keywords": ("b", "a"),
        "truncation": ContextTruncation(policy="retention_ratio", retention_ratio=0.8),
        "max_output_tokens": 400,
        "reasoning_effort": "low",
    }


def test_cached_tokens_reach_the_usage_of_a_reply() -> None:
    peer = Peer()
    peer.begin()
    given = {"text_tokens": 100, "cached_tokens": 64, "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4}}
    (finished,) = peer.end(usage={"input_tokens": 100, "input_token_details": given})
    assert isinstance(finished, ResponseFinished)
    assert finished.usage is not None
    assert (finished.usage.cached_tokens, finished.usage.cached_text_tokens, finished.usage.cached_audio_tokens) == (
        64,
        60,
        4,
    )


# --- changed ----------------------------------------------------------------------------------------------------------


def changed(peer: Peer, **change: Any) -> list[dict[str, Any]]:
    """``session`` of each update that a change leads to."""
    peer.protocol.update(SessionChange(**change))
    return [event["session"] for event in peer.drain()]


def test_only_what_changes_is_sent() -> None:
    peer = Peer(instructions="Be brief.", tools=TOOLS)
    assert changed(peer, instructions="Be kind.", tools=TOOLS) == [{"type": "realtime", "instructions": "Be kind."}]
    assert changed(peer, max_output_tokens=50) == [{"type": "realtime", "max_output_tokens": 50}]


def test_what_is_so_already_is_not_sent() -> None:
    peer = Peer(instructions="Be brief.", tools=TOOLS)
    assert changed(peer) == []
    assert changed(peer, instructions="Be brief.", tools=TOOLS) == []
    assert len(changed(peer, instructions="Be kind.")) == 1
    assert changed(peer, instructions="Be kind.") == []
    assert len(changed(peer, instructions="Be brief.")) == 1


def test_other_tools_keep_the_hosted_servers() -> None:
    peer = Peer(tools=TOOLS, hosted_servers=(HostedServer(label="crm", url="https://crm.example/mcp"),))
    (session,) = changed(peer, tools=())
    assert [tool["type"] for tool in session["tools"]] == ["mcp"]


def test_instructions_can_be_emptied_and_tools_taken_away() -> None:
    peer = Peer(instructions="Be brief.", tools=TOOLS)
    assert changed(peer, instructions="", tools=()) == [{"type": "realtime", "instructions": "", "tools": []}]


def test_change_after_a_refused_one_is_sent_in_full() -> None:
    peer = Peer(instructions="Be brief.", tools=TOOLS)
    changed(peer, instructions="Be kind.")
    peer.error("unknown_parameter", event_id=peer.sent[-1]["event_id"])
    assert len(changed(peer, instructions="Be kind.")) == 1


# --- turns that are ours to find --------------------------------------------------------------------------------------


def test_turn_without_detection_is_cleared_committed_and_answered_by_hand() -> None:
    peer = Peer(turn_detection=TurnDetection(kind="none"))
    peer.protocol.clear_audio()
    peer.protocol.commit_audio()
    peer.protocol.respond(None)
    assert peer.take() == ["input_audio_buffer.clear", "input_audio_buffer.commit", "response.create"]
    peer.begin()
    peer.speak(b"a" * 80)
    peer.protocol.cancel_response()
    peer.protocol.truncate("item_1", 0, 5)
    assert peer.take() == ["response.cancel", "conversation.item.truncate"]


def test_commit_of_too_little_is_no_error_of_the_session() -> None:
    peer = Peer(turn_detection=TurnDetection(kind="none"))
    peer.protocol.commit_audio()
    assert peer.error("input_audio_buffer_commit_empty") == []
    assert peer.statistics.benign_errors == 1


# --- sessions that write ----------------------------------------------------------------------------------------------


def test_session_that_writes_tells_words_and_no_audio() -> None:
    assert session_of(output_modality="text")["output_modalities"] == ["text"]
    peer = Peer(output_modality="text")
    peer.begin()
    where = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    told = peer.send("response.output_text.delta", **where, delta="We are ")
    told += peer.send("response.output_text.done", **where, text="We are open.")
    words = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    assert told == [
        OutputTranscript(**words, text="We are ", is_final=False),
        OutputTranscript(**words, text="We are open.", is_final=True),
    ]


# --- calls of interrupted replies -------------------------------------------------------------------------------------


def test_call_of_an_interrupted_reply_is_not_run_but_answered() -> None:
    peer = Peer(tools=TOOLS)
    peer.begin()
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    assert peer.call("c1") == []
    peer.end(status="cancelled")
    (answer,) = peer.drain() or peer.sent
    assert "interrupted" in answer["item"]["output"]
    assert "response.create" not in peer.take()


def test_call_before_the_interruption_stays_told() -> None:
    peer = Peer(tools=TOOLS)
    peer.begin()
    assert [type(event) for event in peer.call("c1")] == [ToolCalled]
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    peer.end(status="cancelled")
    peer.result("c1")
    assert peer.take() == ["conversation.item.create"]


# --- the caller's pseudonym -------------------------------------------------------------------------------------------


def test_pseudonym_is_the_callers_and_says_nothing_without_the_key() -> None:
    def pseudonym(caller: str, key: str) -> str:
        return safety_identifier(options(caller=caller, api_key=Secret(key)))

    assert pseudonym("+4930123", "k") == pseudonym("+4930123", "k")
    assert len({pseudonym("+4930123", "k"), pseudonym("+4930124", "k"), pseudonym("+4930123", "other")}) == 3
    assert "4930123" not in pseudonym("+4930123", "k")
    assert "4930123" not in repr(options(caller="+4930123"))


# --- the embedded server ----------------------------------------------------------------------------------------------


def test_embedded_server_takes_all_that_can_be_asked_of_a_hosted_one() -> None:
    given = every_option() | {
        "turn_detection": TurnDetection(idle_timeout_ms=6000),
        "transcription_languages": ("de",),
        "transcription_prompt": "A practice.",
        "transcription_delay": "low",
        "has_confidence": True,
        "noise_reduction": "near_field",
        "noise_reduction_strength": 0.5,
        "output_speed": 1.1,
        "parallel_tool_calls": False,
    }
    events = Rig().send(codec.session_update(options(**given)))
    assert events[0]["type"] == "session.updated", events


def test_embedded_server_writes_down_what_a_long_call_was_about() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER])
    rig.say("when are you open")
    rig.say("i would like to speak to sales")
    done = rig.send(codec.question("q1", context.INSTRUCTIONS))[-1]["response"]
    told = done["output"][0]["content"][0]["text"]
    assert 'The caller said "when are you open", then "i would like to speak to sales".' in told
    assert "transfer (contact: sales)" in told
