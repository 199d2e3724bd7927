"""What a client may do to the items of its conversation."""

from __future__ import annotations

import audioop
import base64
from typing import Any

import numpy as np
import pytest

from gateway.embedded import history
from gateway.embedded.recognizer import Recognition
from gateway.embedded.response import Speak
from tests.embedded.conversation_desk import (
    CERTAIN_FIT,
    TRANSFER_TOOL,
    Desk,
    calls,
    kinds,
    loud,
    only,
    refusal,
    silent,
    spoken,
)


def order(desk: Desk) -> list[str]:
    """Ids of the conversation's items, as the events told them."""
    ids: list[str] = []
    for event in desk.events:
        if event["type"] == "conversation.item.added":
            previous = event["previous_item_id"]
            ids.insert(ids.index(previous) + 1 if previous else 0, event["item"]["id"])
        elif event["type"] == "conversation.item.deleted":
            ids.remove(event["item_id"])
    return ids


def greeting_id(desk: Desk) -> str:
    """Let the assistant greet (two sentences, two seconds); returns the item's id."""
    item_id: str = only(desk.respond(), "response.output_item.added")["item"]["id"]
    return item_id


def retrieved(desk: Desk, item_id: str) -> dict[str, Any]:
    item: dict[str, Any] = only(
        desk.send("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved"
    )["item"]
    return item


# ---- create --------------------------------------------------------------------------------------------------------


def test_created_item_is_added_and_done_and_not_answered() -> None:
    events = Desk().write("Hello", id="item_mine")
    assert kinds(events) == ["conversation.item.added", "conversation.item.done"]
    assert events[0]["previous_item_id"] is None
    assert events[1]["item"] == {
        "id": "item_mine",
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}],
    }


def test_items_line_up_unless_told_otherwise() -> None:
    desk = Desk()
    for item_id in ("b", "c"):
        desk.write("x", id=item_id)
    for item_id, previous in (("a", "root"), ("bb", "b"), ("d", "c")):
        item = {"id": item_id, "type": "message", "role": "user", "content": []}
        desk.send("conversation.item.create", item=item, previous_item_id=previous)
    assert order(desk) == ["a", "b", "bb", "c", "d"]


def test_item_gets_an_id_where_it_has_none() -> None:
    desk = Desk()
    item_ids = {desk.write("x")[0]["item"]["id"] for _ in range(20)}
    assert len(item_ids) == 20
    assert all(item_id.startswith("item_") for item_id in item_ids)


def test_duplicate_id_is_refused() -> None:
    desk = Desk()
    desk.write("x", id="a")
    assert refusal(desk.write("y", id="a")) == ("item_create_duplicate_item_id", "item.id")
    assert order(desk) == ["a"]


def test_unknown_previous_item_is_refused() -> None:
    item = {"type": "message", "role": "user", "content": []}
    events = Desk().send("conversation.item.create", item=item, previous_item_id="nowhere", event_id="c8")
    assert refusal(events) == ("invalid_value", "previous_item_id")
    assert events[0]["error"]["event_id"] == "c8"


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Good day."}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Good day."}]},
        ),
        (
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
            {"call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        ),
        (
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}],
            },
            {"content": [{"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}]},
        ),
    ],
)
def test_history_of_every_kind_is_shown_as_created(item: dict[str, Any], shown: dict[str, Any]) -> None:
    told = Desk().send("conversation.item.create", item=item)[1]["item"]
    assert {name: told[name] for name in shown} == shown


def test_output_for_a_call_that_was_never_made_is_refused() -> None:
    item = {"type": "function_call_output", "call_id": "call_0", "output": "{}"}
    assert refusal(Desk().send("conversation.item.create", item=item)) == ("invalid_value", "item.call_id")


def test_approval_that_nobody_asked_for_is_refused() -> None:
    item = {"type": "mcp_approval_response", "approval_request_id": "mcpr_0", "approve": True}
    assert refusal(Desk().send("conversation.item.create", item=item))[0] == "invalid_value"


def test_spoken_item_may_be_created_with_its_audio() -> None:
    desk = Desk()

    desk.words.append(Recognition(text="who are you", fit=CERTAIN_FIT))
    audio = base64.b64encode(loud(500)).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    told = desk.send("conversation.item.create", item=item)[0]["item"]
    assert "audio" not in told["content"][0]
    assert "automatic receptionist" in spoken(desk.respond())
    assert len(base64.b64decode(retrieved(desk, told["id"])["content"][0]["audio"])) == pytest.approx(24000, abs=150)


def test_spoken_item_with_its_words_needs_no_audio() -> None:
    desk = Desk()
    content = [{"type": "input_audio", "transcript": "When are you open?"}]
    desk.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    assert spoken(desk.respond()).startswith("We are open")


def test_keys_told_by_the_system_are_acted_on() -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL])
    content = [{"type": "input_text", "text": "The caller pressed the key 0"}]
    desk.send("conversation.item.create", item={"type": "message", "role": "system", "content": content})
    assert calls(desk.respond()) == [("transfer", {"contact": "front_desk"})]


# ---- retrieve ------------------------------------------------------------------------------------------------------


def test_spoken_turn_is_retrieved_with_its_audio_and_words() -> None:
    desk = Desk()
    desk.update(audio={"input": {"format": {"type": "audio/pcmu"}}})

    desk.words.append(Recognition(text="who are you", fit=CERTAIN_FIT))
    line = audioop.lin2ulaw(silent(640, 8000) + loud(640, 8000) + silent(640, 8000), 2)
    events = desk.append(line)
    started = only(events, "input_audio_buffer.speech_started")
    stopped = only(events, "input_audio_buffer.speech_stopped")
    (part,) = retrieved(desk, started["item_id"])["content"]
    assert part["transcript"] == "who are you"
    assert base64.b64decode(part["audio"]) == line[started["audio_start_ms"] * 8 : stopped["audio_end_ms"] * 8]


def test_reply_is_retrieved_with_the_audio_that_was_sent() -> None:
    desk = Desk()
    item_id = greeting_id(desk)
    sent = b"".join(base64.b64decode(e["delta"]) for e in desk.events if e["type"] == "response.output_audio.delta")
    (part,) = retrieved(desk, item_id)["content"]
    assert base64.b64decode(part["audio"]) == sent
    assert len(sent) == 2 * 48000


def test_retrieving_nothing_is_refused() -> None:
    events = Desk().send("conversation.item.retrieve", item_id="item_0")
    assert refusal(events) == ("item_retrieve_invalid_item_id", "item_id")


def test_oldest_audio_is_forgotten_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_KEPT_AUDIO_BYTES", 30_000)
    desk = Desk()
    desk.turns(create_response=False)
    first, second = (only(desk.hear("x"), "input_audio_buffer.committed")["item_id"] for _ in range(2))
    assert retrieved(desk, first)["content"][0]["audio"] == ""
    kept = np.frombuffer(base64.b64decode(retrieved(desk, second)["content"][0]["audio"]), dtype="<i2")
    assert np.abs(kept.astype(int)).max() > 5000


def test_pictures_are_forgotten_like_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_KEPT_AUDIO_BYTES", 100)
    desk = Desk()
    for item_id in ("item_1", "item_2"):
        part = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 60}
        item = {"id": item_id, "type": "message", "role": "user", "content": [part]}
        assert kinds(desk.send("conversation.item.create", item=item))[-1] == "conversation.item.done"
    shown = [retrieved(desk, item_id)["content"][0]["image_url"] for item_id in ("item_1", "item_2")]
    assert shown == ["data:image/png;base64,", "data:image/png;base64," + "A" * 60]


@pytest.mark.parametrize("limit", ["MAX_CONTEXT_TOKENS", "MAX_ITEMS"])
def test_oldest_items_are_dropped_when_the_conversation_is_full(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(history, limit, {"MAX_CONTEXT_TOKENS": 30, "MAX_ITEMS": 3}[limit])
    desk = Desk()
    for number in range(5):
        assert kinds(desk.write("x" * 40, id=f"item_{number}")) == ["conversation.item.added", "conversation.item.done"]
    kept = [
        number
        for number in range(5)
        if kinds(desk.send("conversation.item.retrieve", item_id=f"item_{number}")) != ["error"]
    ]
    assert kept == [2, 3, 4]


def test_picture_that_is_no_data_is_refused() -> None:
    part = {"type": "input_image", "image_url": "https://example.com/cat.png"}
    item = {"type": "message", "role": "user", "content": [part]}
    events = Desk().send("conversation.item.create", item=item)
    assert refusal(events) == ("invalid_value", "item.content[0].image_url")


# ---- delete --------------------------------------------------------------------------------------------------------


def test_deleted_item_is_gone() -> None:
    desk = Desk()
    for item_id in ("a", "b", "c"):
        desk.write("x", id=item_id)
    assert kinds(desk.send("conversation.item.delete", item_id="b")) == ["conversation.item.deleted"]
    assert desk.write("y", id="d")[0]["previous_item_id"] == "c"
    assert order(desk) == ["a", "c", "d"]
    assert refusal(desk.send("conversation.item.delete", item_id="b")) == ("item_delete_invalid_item_id", "item_id")


def test_deleted_message_is_not_answered() -> None:
    desk = Desk()
    desk.write("When are you open?", id="a")
    desk.send("conversation.item.delete", item_id="a")
    assert "open" not in spoken(desk.respond())


# ---- truncate ------------------------------------------------------------------------------------------------------


def test_truncated_item_keeps_what_was_heard_and_forgets_its_words() -> None:
    desk = Desk()
    item_id = greeting_id(desk)
    events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=640)
    assert kinds(events) == ["conversation.item.truncated"]
    assert (events[0]["item_id"], events[0]["content_index"], events[0]["audio_end_ms"]) == (item_id, 0, 640)
    (part,) = retrieved(desk, item_id)["content"]
    assert len(base64.b64decode(part["audio"])) == 640 * 48
    assert part["transcript"] is None


@pytest.mark.parametrize("end_ms", [0, 1999, 2000])
def test_truncation_goes_from_nothing_to_all(end_ms: int) -> None:
    desk = Desk()
    item_id = greeting_id(desk)
    events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)
    assert kinds(events) == ["conversation.item.truncated"]


def test_truncation_beyond_the_audio_is_refused() -> None:
    desk = Desk()
    item_id = greeting_id(desk)
    events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2001)
    assert refusal(events) == ("invalid_value", "audio_end_ms")
    assert events[0]["error"]["message"] == "Audio content of 2000ms is already shorter than 2001ms"


def test_broken_millisecond_at_the_end_counts_as_a_whole_one() -> None:
    desk = Desk(answers_itself=False)
    item_id = only(desk.respond(), "conversation.item.added")["item"]["id"]
    sentence = desk.last_asked(Speak).number
    desk.during(lambda: desk.conversation.spoken(sentence, bytes(100 * 48 + 2)))
    truncate = {"item_id": item_id, "content_index": 0}
    assert refusal(desk.send("conversation.item.truncate", **truncate, audio_end_ms=102))[1] == "audio_end_ms"
    assert kinds(desk.send("conversation.item.truncate", **truncate, audio_end_ms=101)) == [
        "conversation.item.truncated"
    ]
    assert len(base64.b64decode(retrieved(desk, item_id)["content"][0]["audio"])) == 100 * 48 + 2


def test_truncation_only_ever_shortens() -> None:
    desk = Desk()
    item_id = greeting_id(desk)
    desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
    events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=600)
    assert refusal(events) == ("invalid_value", "audio_end_ms")


def test_truncating_what_the_assistant_did_not_say_is_refused() -> None:
    desk = Desk()
    desk.write("x", id="mine")
    for item_id in ("item_0", "mine"):
        events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
        assert refusal(events) == ("item_truncate_invalid_item_id", "item_id")
        assert events[0]["error"]["message"] == f"Item with item_id not found: {item_id}"


def test_truncating_a_part_that_has_no_audio_is_refused() -> None:
    desk = Desk()
    events = desk.send("conversation.item.truncate", item_id=greeting_id(desk), content_index=1, audio_end_ms=0)
    assert refusal(events) == ("invalid_value", "content_index")
    desk.update(output_modalities=["text"])
    events = desk.send("conversation.item.truncate", item_id=greeting_id(desk), content_index=0, audio_end_ms=0)
    assert refusal(events) == ("invalid_value", "content_index")


def test_reply_that_is_still_being_made_can_be_truncated() -> None:

    desk = Desk(answers_itself=False)
    item_id = greeting_id(desk)
    desk.conversation.spoken(desk.last_asked(Speak).number, bytes(48 * 300))
    desk.settle()
    events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=301)
    assert refusal(events) == ("invalid_value", "audio_end_ms")
    events = desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=300)
    assert kinds(events) == ["conversation.item.truncated"]


def test_truncated_speech_costs_what_was_heard() -> None:
    desk = Desk()
    item_id = greeting_id(desk)
    desk.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
    usage = only(desk.respond(), "response.done")["response"]["usage"]
    assert usage["input_token_details"]["audio_tokens"] == 500 // 50
