"""OpenAI's agents library, which holds every event against its typed classes and tells what fails as an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession

from tests.clients.caller import ASK_HOURS, ASK_OPTIONS, ASK_PLACE, ASK_SALES, CONNECTING, HOURS, PLACE, blocks, heard
from tests.clients.wiretap import Wiretap


class Listener:
    """What the session tells, as it comes."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.audio = bytearray()
        self.errors: list[object] = []
        self.interruptions = 0
        self.turns = 0

    async def run(self) -> None:
        async for event in self.session:
            if event.type == "audio":
                self.audio += event.audio.data
            elif event.type == "audio_interrupted":
                self.interruptions += 1
                self.audio.clear()
            elif event.type == "error":
                self.errors.append(event.error)
            elif event.type == "raw_model_event" and event.data.type == "turn_ended":
                self.turns += 1

    async def answer_to(self, text: str, wire: Wiretap, is_there: Callable[[], object]) -> bytes:
        self.audio.clear()
        await say(self.session, text)
        await wire.until(is_there)
        return bytes(self.audio)


async def test_spoken_dialogue_without_an_error(wire: Wiretap) -> None:
    contacts: list[str] = []

    @function_tool
    def transfer(contact: Literal["sales", "support"]) -> str:
        """Connects the caller."""
        contacts.append(contact)
        return '{"status": "failed"}'

    agent = RealtimeAgent(name="reception", instructions="Be brief.", tools=[transfer])
    settings = {
        "model_name": "gpt-realtime-2.1",
        "audio": {
            "input": {
                "transcription": {"model": "gpt-transcribe"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 500, "interrupt_response": True},
            }
        },
    }
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    model = {"api_key": "none", "url": f"{wire.url}?model=gpt-realtime-2.1"}
    async with await runner.run(model_config=model) as session:
        listener = Listener(session)
        listening = asyncio.create_task(listener.run())

        await session.send_message("Hello.")
        await wire.until(lambda: listener.turns == 1)
        assert wire.words() == ["Hello. I can connect you to sales or to support, or tell you our opening hours."]
        assert len(listener.audio) > 48 * 2000

        assert heard(await listener.answer_to(ASK_HOURS, wire, lambda: listener.turns == 2)) == HOURS

        await listener.answer_to(ASK_SALES, wire, lambda: listener.turns == 4)
        assert wire.words()[2] == CONNECTING
        assert contacts == ["sales"]
        assert "sales cannot be reached" in wire.words()[3]

        await listener.answer_to(ASK_OPTIONS, wire, lambda: listener.audio)
        assert heard(await listener.answer_to(ASK_PLACE, wire, lambda: listener.turns == 6)) == PLACE
        assert listener.interruptions
        await wire.until(lambda: "conversation.item.retrieved" in wire.kinds())
        listening.cancel()
    assert [response["status_details"]["reason"] for response in wire.responses("cancelled")] == ["turn_detected"]
    assert "conversation.item.truncated" in wire.kinds()
    assert listener.errors == []
    assert wire.errors() == []


async def say(session: RealtimeSession, text: str) -> None:
    for block in blocks(text):
        await session.send_audio(block)
