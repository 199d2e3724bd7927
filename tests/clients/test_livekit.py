"""LiveKit's OpenAI plugin, which finds its replies by their metadata."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai.realtime import RealtimeModel
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from tests.clients.caller import ASK_HOURS, ASK_OPTIONS, ASK_PLACE, ASK_SALES, GREETING, HOURS, PLACE, blocks, heard
from tests.clients.wiretap import Wiretap


class Spoken:
    """One generation: its audio, the item that holds it, and the functions it calls."""

    def __init__(self, created: llm.GenerationCreatedEvent) -> None:
        self.audio = bytearray()
        self.item_id = ""
        self.calls: list[llm.FunctionCall] = []
        self.task = asyncio.create_task(self._take(created))

    async def _take(self, created: llm.GenerationCreatedEvent) -> None:
        async for message in created.message_stream:
            self.item_id = message.message_id
            async for frame in message.audio_stream:
                self.audio += frame.data.tobytes()
        self.calls = [call async for call in created.function_stream]


@pytest.fixture
async def model(wire: Wiretap) -> Any:
    turns = ServerVad(type="server_vad", silence_duration_ms=500, create_response=True, interrupt_response=True)
    async with aiohttp.ClientSession() as http:
        made = RealtimeModel(base_url=wire.base_url, api_key="none", http_session=http, turn_detection=turns)
        yield made
        await made.aclose()


async def test_spoken_dialogue(wire: Wiretap, model: RealtimeModel) -> None:
    session = model.session()
    generations: asyncio.Queue[Spoken] = asyncio.Queue()
    session.on("generation_created", lambda created: generations.put_nowait(Spoken(created)))
    errors: list[object] = []
    session.on("error", errors.append)

    async def next_spoken() -> Spoken:
        spoken = await generations.get()
        await spoken.task
        return spoken

    @llm.function_tool
    async def transfer(contact: str) -> str:
        """Connects the caller.

        Args:
            contact: Whom to.
        """
        return ""

    schema = {
        "name": "transfer",
        "description": "Connects the caller.",
        "parameters": {"type": "object", "properties": {"contact": {"type": "string", "enum": ["sales", "support"]}}},
    }
    await session.update_tools([llm.function_tool(transfer, raw_schema=schema)])
    await session.update_instructions("Be brief.")

    await session.generate_reply()
    assert heard(bytes((await next_spoken()).audio)) == GREETING

    say(session, ASK_HOURS)
    assert heard(bytes((await next_spoken()).audio)) == HOURS

    say(session, ASK_SALES)
    (call,) = (await next_spoken()).calls
    assert (call.name, call.arguments) == ("transfer", '{"contact": "sales"}')
    context = session.chat_ctx.copy()
    context.items.append(
        llm.FunctionCallOutput(call_id=call.call_id, name="transfer", output='{"status": "failed"}', is_error=False)
    )
    await session.update_chat_ctx(context)
    await session.generate_reply()
    await next_spoken()
    assert "sales cannot be reached" in wire.words()[-1]

    say(session, ASK_OPTIONS)
    spoken = await generations.get()
    await wire.until(lambda: spoken.audio)
    say(session, ASK_PLACE)
    await spoken.task
    session.truncate(message_id=spoken.item_id, modalities=["audio"], audio_end_ms=300, audio_transcript="I can")
    assert heard(bytes((await next_spoken()).audio)) == PLACE
    await wire.until(lambda: "conversation.item.truncated" in wire.kinds())
    assert [response["status_details"]["reason"] for response in wire.responses("cancelled")] == ["turn_detected"]
    await session.aclose()
    assert errors == []
    assert wire.errors() == []


def say(session: Any, text: str) -> None:
    for block in blocks(text):
        session.push_audio(rtc.AudioFrame(block, 24000, 1, len(block) // 2))
