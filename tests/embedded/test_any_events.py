"""Events of every kind with anything at all in their places: carried out or refused, and the session goes on."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.embedded import conversation_desk
from tests.embedded.conversation_desk import HANG_UP_TOOL, TRANSFER_TOOL, Desk, loud

RUNS = 5000

EVENTS: list[dict[str, Any]] = [
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "tools": [TRANSFER_TOOL, HANG_UP_TOOL, {"type": "mcp", "server_label": "a", "allowed_tools": ["b"]}],
            "tool_choice": "required",
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
        },
    },
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "output_modalities": ["text"],
            "max_output_tokens": 3,
            "audio": {
                "input": {"turn_detection": None, "format": {"type": "audio/pcmu"}, "transcription": {"model": "a"}},
                "output": {"format": {"type": "audio/pcma"}, "speed": 1.5, "voice": {"id": "a"}},
            },
        },
    },
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(loud(200)).decode()},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "item": {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "sales"}]},
    },
    {
        "type": "conversation.item.create",
        "item": {"id": "b", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]},
    },
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {"id": "c", "type": "function_call", "name": "transfer", "arguments": "{}", "call_id": "d"},
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "d", "output": '{"status": "failed"}'},
    },
    {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "input": [{"type": "item_reference", "id": "a"}],
            "metadata": {"a": "b"},
            "tool_choice": {"type": "function", "name": "transfer"},
        },
    },
    {"type": "response.create", "event_id": "e", "response": {"instructions": 'Say "hello"'}},
    {"type": "response.cancel", "response_id": "resp_0"},
    {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 0},
    {"type": "conversation.item.retrieve", "item_id": "b"},
    {"type": "conversation.item.delete", "item_id": "a"},
]

# fmt: off
ANYTHING: list[Any] = [
    None, True, 0, -1, 1, 5, 10**30, 1.5,
    "", "x", "root", "a", "auto", "none", "inf", "\ud800", "\0", "日本", "A" * 5000,
    [], {}, [[]], ["text"], ["audio", "text"], {"type": "x"}, {"type": "audio/pcmu"}, {"type": "semantic_vad"},
    {"type": "server_vad", "idle_timeout_ms": 5000}, [{"type": "mcp", "server_label": "x"}],
    [{"type": "function", "name": "transfer", "parameters": {"properties": {"a": {"enum": ["sales", 1, None, ""]}}}}],
]
# fmt: on


def test_anything_is_carried_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The published schema has no room for all that clients may make up, a voice of their own among it.
    monkeypatch.setattr(conversation_desk, "assert_valid", lambda *_: None)
    monkeypatch.setattr(conversation_desk, "assert_typed", lambda event, _: json.dumps(event, allow_nan=False).encode())
    chance = random.Random(3)
    desk = Desk()
    for number in range(RUNS):
        if number % 100 == 0:
            desk = Desk()
        event = copy.deepcopy(chance.choice(EVENTS))
        for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
            disturb(event, chance)
        try:
            desk.send_raw(json.dumps(event))
            desk.pass_time(chance.random())
        except Exception as error:
            raise AssertionError(f"{json.dumps(event)[:1000]}: {error!r}") from error


def disturb(event: dict[str, Any], chance: random.Random) -> None:
    """Put anything in one place of `event`, or nothing at all."""
    others = [(container, key) for container, key in places(event) if container is not event or key != "type"]
    if not others:
        return
    container, key = chance.choice(others)
    if chance.random() < 0.1:
        del container[key]
    else:
        container[key] = copy.deepcopy(chance.choice(ANYTHING))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member and element with what it is in."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(members):
        yield value, key
        yield from places(member)
