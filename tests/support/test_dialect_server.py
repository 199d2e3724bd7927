"""The fakes are as strict as their vendors: what the tests of the dialects rest on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.dialect_server import RULES, DialectServer, DialectSession
from tests.support.provider_server import PATIENCE_S

VAD = {"type": "server_vad"}
ELEVEN = {"type": "realtime", "model": "m", "max_duration_seconds": 7200}


def address(server: DialectServer, *, path: str = "", query: str | None = None) -> str:
    asked = "&".join(f"{name}={value}" for name, value in server.rules.query.items()) if query is None else query
    return f"{server.root}{path or server.rules.path}?{asked}".rstrip("?")


async def refusal_of(server: DialectServer, url: str, header: tuple[str, str]) -> int | None:
    """Status of a refused opening; None where it was not refused."""
    try:
        async with connect(url, additional_headers=[header], compression=None):
            return None
    except InvalidStatus as error:
        return error.response.status_code


async def violation_of(name: str, event: dict[str, Any]) -> str:
    """What the vendor refuses of one client event, the first of its session; empty for nothing."""
    async with (
        DialectServer(name) as server,
        connect(address(server), additional_headers=[server.rules.header], compression=None) as socket,
    ):
        await socket.send(json.dumps(event))
        answer: dict[str, Any] = {}
        while answer.get("type") not in ("error", "session.updated"):
            answer = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
        session = server.sessions[0]
        assert isinstance(session, DialectSession)
        return session.violations[0] if session.violations else ""


@pytest.mark.parametrize("name", sorted(RULES))
async def test_opening_must_be_the_vendors(name: str) -> None:
    async with DialectServer(name) as server:
        header = server.rules.header
        assert await refusal_of(server, address(server), header) is None
        assert await refusal_of(server, address(server, path="/v2/realtime"), header) == 404
        assert await refusal_of(server, address(server, query="model=m&x=1"), header) == 404
        wrong = await refusal_of(server, address(server), ("X-Key", "k"))
        assert wrong == (None if server.rules.key_refusal else 401)


@pytest.mark.parametrize(
    ("name", "session", "problem"),
    [
        ("xai", {"type": "realtime", "voice": "ara"}, "unknown session keys ['type']"),
        ("xai", {"voice": "ara", "turn_detection": {"type": "semantic_vad"}}, "turn detection semantic_vad"),
        ("xai", {"voice": "ara", "turn_detection": VAD}, ""),
        ("inworld", {"type": "realtime"}, "no ['model']"),
        ("eleven", ELEVEN | {"audio": {"input": {"turn_detection": VAD}}}, "server_vad"),
        ("eleven", ELEVEN | {"tracing": "auto"}, "unknown session keys ['tracing']"),
        ("eleven", ELEVEN | {"audio": {"input": {"noise_reduction": {}}}}, "input keys"),
        ("localai", {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}, "format"),
        ("qwen", {"type": "realtime", "output_modalities": ["audio"]}, "unknown session keys"),
        ("qwen", {"modalities": ["audio"]}, "modalities"),
        ("qwen", {"input_audio_format": "g711_ulaw"}, "format g711_ulaw"),
        ("qwen", {"tools": [{"type": "function", "name": "look"}]}, "shape of the tools"),
        ("speaches", {"tools": [{"type": "function", "function": {"name": "look"}}]}, "shape of the tools"),
        ("azure_voice_live", {"turn_detection": {"type": "semantic_vad"}}, "turn detection semantic_vad"),
    ],
)
async def test_session_must_be_in_the_vendors_shape(name: str, session: dict[str, Any], problem: str) -> None:
    found = await violation_of(name, {"type": "session.update", "session": session})
    assert problem in found
    assert bool(problem) == bool(found)


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("xai", {"type": "conversation.item.truncate", "item_id": "i"}),
        ("eleven", {"type": "conversation.item.delete", "item_id": "i"}),
        ("inworld", {"type": "pong"}),
        ("openai", {"type": "conversation.item.create", "item": {"type": "force_message"}}),
        ("speaches", {"type": "conversation.item.create", "item": {"type": "x", "content": [{"type": "output_text"}]}}),
    ],
)
async def test_event_the_vendor_does_not_know_is_refused(name: str, event: dict[str, Any]) -> None:
    assert await violation_of(name, event)
