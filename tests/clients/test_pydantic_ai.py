"""Pydantic AI's realtime sessions, which choose the ids of their items and truncate what nobody heard."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic_ai import Agent
from pydantic_ai.messages import (
    RealtimeInputSpeechStartEvent,
    RealtimeInputTranscriptionErrorEvent,
    RealtimeSessionErrorEvent,
    RealtimeTurnCompleteEvent,
)
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

from tests.clients.caller import ASK_HOURS, ASK_OPTIONS, ASK_PLACE, ASK_SALES, HOURS, PLACE, blocks, heard
from tests.clients.wiretap import Wiretap


class Listener:
    """What a session tells and plays, as it comes. A caller who breaks in has heard what was played until then."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.audio = bytearray()
        self.errors: list[object] = []
        self.turns = 0
        self.interruptions = 0
        self.playing = asyncio.Event()
        """Unset: the loudspeaker takes one more block and stands still."""
        self.playing.set()

    async def follow(self) -> None:
        async for event in self.session:
            match event:
                case RealtimeInputSpeechStartEvent():
                    heard_bytes = self.session.played_audio_bytes
                    if await self.session.interrupt(played_bytes=heard_bytes):
                        self.interruptions += 1
                        self.playing.set()
                    self.audio.clear()
                case RealtimeTurnCompleteEvent():
                    self.turns += 1
                case RealtimeSessionErrorEvent() | RealtimeInputTranscriptionErrorEvent():
                    self.errors.append(event)

    async def play(self) -> None:
        async for audio in self.session.stream_audio():
            self.audio += audio
            await self.playing.wait()

    async def say(self, text: str) -> None:
        for block in blocks(text):
            await self.session.send_audio(block)


async def test_spoken_dialogue(wire: Wiretap) -> None:
    contacts: list[str] = []
    agent = Agent(instructions="Be brief.")

    @agent.tool_plain
    def transfer(contact: Literal["sales", "support"]) -> dict[str, str]:
        """Connects the caller."""
        contacts.append(contact)
        return {"status": "failed"}

    provider = OpenAIProvider(base_url=wire.base_url, api_key="none")
    realtime = agent.realtime(OpenAIRealtimeModel("gpt-realtime", provider=provider))
    async with realtime.session() as session, asyncio.TaskGroup() as tasks:
        listener = Listener(session)
        running = [tasks.create_task(listener.play()), tasks.create_task(listener.follow())]

        await session.send("Hello.")
        await wire.until(lambda: listener.turns == 1)
        assert wire.words() == ["Hello. I can connect you to sales or to support, or tell you our opening hours."]

        await listener.say(ASK_HOURS)
        await wire.until(lambda: listener.turns == 2)
        assert heard(bytes(listener.audio)) == HOURS

        await listener.say(ASK_SALES)
        await wire.until(lambda: listener.turns == 3)
        assert contacts == ["sales"]
        assert "sales cannot be reached" in wire.words()[-1]

        listener.audio.clear()
        listener.playing.clear()
        await listener.say(ASK_OPTIONS)
        await wire.until(lambda: listener.audio)
        await listener.say(ASK_PLACE)
        await wire.until(lambda: listener.interruptions and listener.turns >= 4 and wire.words()[-1] == PLACE)
        assert heard(bytes(listener.audio)) == PLACE
        for task in running:
            task.cancel()
    assert len(wire.responses("cancelled")) == 1
    assert "conversation.item.truncated" in wire.kinds()
    assert listener.errors == []
