"""The scripted provider says only what the protocol has."""

from __future__ import annotations

import json
from typing import Any

from gateway.realtime.openai.session import OpenAIRealtimeSession
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    HostedServer,
    ItemRetrieved,
    ResponseFinished,
    SessionEvent,
    SessionOptions,
    SpeechStarted,
    ToolCalled,
)
from tests.support.openai_types import assert_typed
from tests.support.realtime_events import EventLog
from tests.support.realtime_schema import assert_valid
from tests.support.realtime_server import Call, Failure, RealtimeServer, ServerSession, Speech, ToolCalls


async def test_every_event_of_a_conversation_is_what_schema_and_official_client_say(monkeypatch: Any) -> None:
    sent: list[dict[str, Any]] = []
    send_text = ServerSession.send_text

    async def recorded(peer: ServerSession, text: str | bytes) -> None:
        sent.append(json.loads(text))
        await send_text(peer, text)

    monkeypatch.setattr(ServerSession, "send_text", recorded)

    def react(event: SessionEvent) -> None:
        if isinstance(event, ToolCalled):
            session.send_tool_result(event.call.call_id, "{}")
        elif isinstance(event, SpeechStarted):
            session.truncate(item_id[0], 0, 100)

    item_id: list[str] = []
    replies = [
        ToolCalls(calls=[Call(name="look")], times=2),
        Speech(audio=bytes(48 * 400), is_finished=False),
        Failure(code="server_error"),
    ]
    async with RealtimeServer(replies=replies, answers=["Yes."]) as server:
        hosted = HostedServer(label="crm", url="https://crm.example/mcp")
        session = OpenAIRealtimeSession(SessionOptions(url=server.url, hosted_servers=(hosted,)))
        log = EventLog(react)
        await session.connect(log)
        peer = await server.session()
        session.append_audio(bytes(9600))
        await peer.wait_for_audio(9600)
        session.respond()
        await peer.received("conversation.item.create")
        await peer.received("response.create")
        item_id.append((await log.next(AudioDelta)).item_id)
        turn = await peer.start_speech()
        await peer.received("conversation.item.truncate")
        await peer.end_turn(turn, "Stop.")
        while len(log.of(ResponseFinished)) < 3:
            await log.next(ResponseFinished)
        session.send_text("user", "pressed 5")
        session.commit_audio()
        await peer.received("input_audio_buffer.commit")
        session.ask("q", "Was it urgent?")
        assert (await log.next(Answered)).text == "Yes."
        session.retrieve_item(item_id[0])
        await log.next(ItemRetrieved)
        session.delete_item(item_id[0])
        session.delete_item("item_0")
        session.clear_audio()
        await peer.received("input_audio_buffer.clear")
        await peer.start()
        await peer.request_approval("crm", "look")
        await peer.received("conversation.item.create")
        await peer.finish("cancelled", reason="client_cancelled")
        await peer.received("response.create")
        await session.close()
    for event in sent:
        assert_valid(event, "server")
        assert_typed(event, "server")
    kinds = {event["type"] for event in sent}
    assert {"conversation.item.deleted", "conversation.item.retrieved", "rate_limits.updated", "error"} <= kinds
    assert {"conversation.item.truncated", "response.output_item.done", "response.done", "session.updated"} <= kinds
