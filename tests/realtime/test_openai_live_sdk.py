"""What is said to GPT-Live, and what our stand-in for it says, passes the typed classes of OpenAI's own Python client.

Runs where an `openai` package is installed that knows the Live API; it is no dependency of ours.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.session import OpenAILiveSession
from gateway.realtime.session import Message, SessionChange, SessionOptions, Tool, ToolExchange
from tests.support.live_server import LiveServer
from tests.support.realtime_events import EventLog
from tests.support.realtime_server import Speech

live = pytest.importorskip("openai.types.live")

SOUND = b"\x10" * 800


def unknown_members(value: object) -> list[str]:
    """Members that the client's classes have no name for, at any depth."""
    if isinstance(value, BaseModel):
        inner = [name for field in type(value).model_fields for name in unknown_members(getattr(value, field))]
        return [*(value.model_extra or {}), *inner]
    if isinstance(value, list):
        return [name for element in value for name in unknown_members(element)]
    return []


def assert_typed(kind: Any, events: list[dict[str, Any]]) -> None:
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    for event in events:
        model = adapter.validate_python(event)
        assert getattr(model, "type", None) == event["type"]
        assert unknown_members(model) == [], event


async def test_a_whole_session_passes_the_typed_classes() -> None:
    form = AudioFormat.PCMA
    async with LiveServer(replies=[Speech(audio=SOUND, text="Hello.")] * 9) as server:
        options = SessionOptions(
            url=server.url,
            model="gpt-live-1",
            voice="voice_1",
            instructions="Be kind.",
            input_format=form,
            output_format=form,
            tools=(Tool(name="look", description="Looks."),),
            max_output_tokens=100,
            reasoning_effort="low",
            history=(
                Message(role="system", text="Known."),
                Message(role="user", text="Hello."),
                Message(role="assistant", text="Hello."),
                ToolExchange(call_id="c", name="look", arguments="{}", output="{}"),
            ),
        )
        session = OpenAILiveSession(options)
        log = EventLog()
        await session.connect(log)
        peer = await server.session()
        session.respond("Greet.")
        session.say("Hello.")
        session.send_text("system", "A fact.")
        session.update(SessionChange(instructions="New.", tools=(Tool(name="other"),), max_output_tokens=50))
        call_id = await peer.call_tool("look")
        await peer.received("session.update")
        session.send_tool_result(call_id, "{}")
        await peer.received("response.create")
        session.append_audio(SOUND)
        await peer.hear("Hello.")
        await peer.report_usage(1.0)
        await peer.error("invalid_value", client_event_id="c1")
        await session.close()
        await peer.wait_closed()
    assert peer.faults == []
    assert_typed(live.ClientEvent, peer.events)
    assert_typed(live.ServerEvent, peer.sent)
    assert len({event["type"] for event in peer.sent}) >= 11
