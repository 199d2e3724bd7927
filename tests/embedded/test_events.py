"""What the server says is one JSON text an event, with an id of its own, in the order in which it was said."""

from __future__ import annotations

import json
import random
import re

from gateway.embedded.events import ContentPlace, Identities, ServerEvents
from tests.support.realtime_schema import assert_valid

PLACE = ContentPlace(response_id="resp_1", item_id="item_1", output_index=2)
ITEM = {"id": "item_1", "object": "realtime.item", "type": "function_call", "name": "f", "arguments": "{}"}
RESPONSE = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}


def said_by_all() -> list[dict[str, object]]:
    """Every event the server knows, once."""
    events = ServerEvents(Identities(random.Random(1)))
    events.error("invalid_value", "No.", parameter="type", event_id="c1")
    events.speech_started(audio_start_ms=0, item_id="item_1")
    events.speech_stopped(audio_end_ms=5, item_id="item_1")
    events.audio_committed(previous_item_id=None, item_id="item_1")
    events.audio_cleared()
    events.idle_timeout(audio_start_ms=1, audio_end_ms=2, item_id="item_1")
    events.transcription_delta(item_id="item_1", transcript="hello")
    events.transcription_completed(item_id="item_1", transcript="hello", seconds=1.5)
    events.transcription_failed(item_id="item_1", code="audio_unintelligible", message="No.")
    events.item_added(previous_item_id=None, item=ITEM)
    events.item_done(previous_item_id="item_0", item=ITEM)
    events.item_retrieved(ITEM)
    events.item_deleted("item_1")
    events.item_truncated(item_id="item_1", content_index=0, audio_end_ms=3)
    events.response_created(RESPONSE)
    events.response_done(RESPONSE)
    events.rate_limits_updated([{"name": "tokens", "limit": 10, "remaining": 9, "reset_seconds": 6.0}])
    events.tool_list_in_progress("mcpl_1")
    events.tool_list_failed("mcpl_1")
    events.output_item_added(response_id="resp_1", output_index=0, item=ITEM)
    events.output_item_done(response_id="resp_1", output_index=0, item=ITEM)
    events.content_part_added(PLACE, {"type": "audio", "transcript": ""})
    events.content_part_done(PLACE, {"type": "text", "text": "a"})
    events.audio_delta(PLACE, b"\x00\xff")
    events.audio_done(PLACE)
    events.transcript_delta(PLACE, "a")
    events.transcript_done(PLACE, "a")
    events.text_delta(PLACE, "a")
    events.text_done(PLACE, "a")
    call = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "call_id": "call_1"}
    events.arguments_delta(**call, arguments="{}")  # type: ignore[arg-type]
    events.arguments_done(**call, name="f", arguments="{}")  # type: ignore[arg-type]
    return [json.loads(text) for text in events.drain()]


def test_every_event_is_what_the_published_schema_demands() -> None:
    events = said_by_all()
    for event in events:
        assert_valid(event, "server")
    assert len({event["type"] for event in events}) == 31


def test_every_event_has_an_id_of_its_own() -> None:
    events = said_by_all()
    assert all(re.fullmatch(r"event_[a-zA-Z0-9]{21}", str(event["event_id"])) for event in events)
    assert len({event["event_id"] for event in events}) == len(events)


def test_identities_differ_and_carry_their_kind() -> None:
    identities = Identities(random.Random(1))
    assert re.fullmatch(r"resp_[a-zA-Z0-9]{21}", identities.new("resp"))
    assert len({identities.new("item") for _ in range(1000)}) == 1000


def test_drained_events_are_not_said_again() -> None:
    events = ServerEvents(Identities(random.Random(1)))
    events.audio_cleared()
    events.item_deleted("item_1")
    assert [json.loads(text)["type"] for text in events.drain()] == [
        "input_audio_buffer.cleared",
        "conversation.item.deleted",
    ]
    assert events.drain() == []


def test_error_names_parameter_and_client_event() -> None:
    (event,) = (event for event in said_by_all() if event["type"] == "error")
    assert event["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "No.",
        "param": "type",
        "event_id": "c1",
    }


def test_content_events_say_where_they_belong() -> None:
    (event,) = (event for event in said_by_all() if event["type"] == "response.output_audio.delta")
    del event["event_id"]
    assert event == {
        "type": "response.output_audio.delta",
        "response_id": "resp_1",
        "item_id": "item_1",
        "output_index": 2,
        "content_index": 0,
        "delta": "AP8=",
    }
