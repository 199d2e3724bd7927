"""Every event of the published protocol has its place; and those that need no state are told as they should be."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gateway.realtime.openai.event_tables import IGNORED, TRANSLATED
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.session import CallerIdle, InputTranscript, InputTranscriptFailed, ItemAdded, ItemRetrieved, Tool
from tests.support.openai_peer import KEY, Peer
from tests.support.realtime_schema import SCHEMA_FILE

SERVER_TYPES = sorted(json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["types"]["server"])
TABLES = (OpenAIProtocol._HANDLERS, TRANSLATED, IGNORED)


def test_the_schema_has_46_server_events() -> None:
    assert len(SERVER_TYPES) == 46


@pytest.mark.parametrize("kind", SERVER_TYPES)
def test_every_server_event_is_handled_or_ignored_for_a_reason(kind: str) -> None:
    assert sum(kind in table for table in TABLES) == 1
    assert kind not in IGNORED or len(IGNORED[kind]) > 10
    peer = Peer()
    peer.send(kind)
    assert peer.statistics.unknown_events == 0


def test_no_table_names_an_event_that_there_is_not() -> None:
    assert {kind for table in TABLES for kind in table} == set(SERVER_TYPES)


# --- the caller -------------------------------------------------------------------------------------------------------


def test_turn_that_could_not_be_transcribed_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    error = {"type": "transcription_error", "code": "audio_unintelligible", "message": f"no words {KEY}"}
    told = peer.send("conversation.item.input_audio_transcription.failed", item_id="u", content_index=0, error=error)
    assert told == [InputTranscriptFailed(item_id="u", code="audio_unintelligible", reason="no words ***")]
    assert peer.statistics.failed_transcripts == 1
    assert "audio_unintelligible" in caplog.text
    assert KEY not in caplog.text


def test_silent_caller_is_told_and_results_wait_for_the_providers_own_reply() -> None:
    peer = Peer(tools=(Tool(name="look"),))
    peer.begin()
    peer.call("c1")
    peer.end()
    told = peer.send("input_audio_buffer.timeout_triggered", audio_start_ms=100, audio_end_ms=6100, item_id="u")
    assert told == [CallerIdle(item_id="u", audio_start_ms=100, audio_end_ms=6100)]
    peer.result("c1")
    peer.confirm("c1")
    assert peer.take() == ["conversation.item.create"]
    peer.begin("resp_2")  # what the provider says to a silent caller; it has seen the result
    peer.end("resp_2")
    assert peer.take() == []


def test_confidence_is_the_mean_of_the_tokens_probabilities() -> None:
    (told,) = completed(logprobs=[{"token": "a", "logprob": math.log(0.5)}, {"token": "b", "logprob": math.log(0.125)}])
    assert told.confidence == pytest.approx(0.25)


@pytest.mark.parametrize(
    "logprobs",
    [None, [], "x", 7, [{"logprob": "sure"}], [{"logprob": 3}], [7], [{"logprob": -(10**400)}], [{}]],
    ids=str,
)
def test_transcript_without_usable_confidence_is_a_transcript(logprobs: Any) -> None:
    (told,) = completed(logprobs=logprobs)
    assert told == InputTranscript(item_id="u", text="hello", is_final=True)


def completed(**members: Any) -> list[Any]:
    kind = "conversation.item.input_audio_transcription.completed"
    return Peer().send(kind, item_id="u", content_index=0, transcript="hello", **members)


# --- items ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "output_text", "text": "One. "}, {"type": "output_audio", "transcript": "Two."}], "One. Two."),
        ([{"type": "output_audio", "audio": "AAAA"}], ""),
        ([], ""),
    ],
    ids=["words", "sound", "nothing"],
)
def test_retrieved_item_is_told_in_words(content: list[dict[str, str]], text: str) -> None:
    peer = Peer()
    peer.protocol.retrieve_item("item_1")
    assert peer.take() == ["conversation.item.retrieve"]
    item = {"id": "item_1", "type": "message", "role": "assistant", "content": content}
    assert peer.send("conversation.item.retrieved", item=item) == [
        ItemRetrieved(item_id="item_1", kind="assistant", text=text)
    ]


def test_retrieved_item_may_bring_minutes_of_audio() -> None:
    content = [{"type": "output_audio", "transcript": "Long.", "audio": "A" * 2_000_000}]
    item = {"id": "item_1", "type": "message", "role": "assistant", "content": content}
    assert len(Peer().send("conversation.item.retrieved", item=item)) == 1


def test_image_in_an_item_is_passed_over() -> None:
    peer = Peer()
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    item = {
        "id": "item_1",
        "type": "message",
        "role": "user",
        "content": [image, {"type": "input_text", "text": "see"}],
    }
    assert peer.send("conversation.item.added", item=item) == [ItemAdded(item_id="item_1", kind="user")]
    (retrieved,) = peer.send("conversation.item.retrieved", item=item)
    assert retrieved == ItemRetrieved(item_id="item_1", kind="user", text="see")
    assert peer.take() == []
    assert peer.statistics.malformed_events == 0


# --- the account ------------------------------------------------------------------------------------------------------


def test_rate_limits_are_kept_as_told_last() -> None:
    peer = Peer()
    limits = [
        {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 60},
        {"name": "tokens", "limit": 50_000, "remaining": 0, "reset_seconds": 12.5},
    ]
    assert peer.send("rate_limits.updated", rate_limits=limits) == []
    kept = peer.statistics.rate_limits
    assert (kept["requests"].remaining, kept["tokens"].limit, kept["tokens"].reset_s) == (999, 50_000, 12.5)
    peer.send("rate_limits.updated", rate_limits=limits[:1] * 500)
    assert set(peer.statistics.rate_limits) == {"requests"}
