"""OpenAI's own Python client."""

from __future__ import annotations

import base64
import json
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import ClientSecretCreateResponse

from tests.clients.caller import ASK_HOURS, ASK_OPTIONS, ASK_PLACE, ASK_SALES, GREETING, HOURS, PLACE, blocks, heard
from tests.clients.wiretap import Wiretap

TRANSFER = {
    "type": "function",
    "name": "transfer",
    "description": "Connects the caller.",
    "parameters": {"type": "object", "properties": {"contact": {"type": "string", "enum": ["sales", "support"]}}},
}


async def test_spoken_dialogue(wire: Wiretap) -> None:
    async with (
        AsyncOpenAI(api_key="none", base_url=wire.base_url) as client,
        client.realtime.connect(model="gpt-realtime-2.1") as connection,
    ):
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": "Be brief.",
                "tools": [TRANSFER],
                "audio": {
                    "input": {
                        "transcription": {"model": "gpt-transcribe"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                    }
                },
            }
        )
        await connection.response.create()
        assert heard(audio_of(await until(connection, "response.done"))) == GREETING

        await say(connection, ASK_HOURS)
        events = await until(connection, "response.done")
        assert heard(audio_of(events)) == HOURS
        assert events[-1].response.usage.input_token_details.audio_tokens > 0

        await say(connection, ASK_SALES)
        response = (await until(connection, "response.done"))[-1].response
        call = next(item for item in response.output if item.type == "function_call")
        assert (call.name, json.loads(call.arguments)) == ("transfer", {"contact": "sales"})
        output = {"type": "function_call_output", "call_id": call.call_id, "output": '{"status": "failed"}'}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        assert "sales cannot be reached" in words_of(await until(connection, "response.done"))

        await say(connection, ASK_OPTIONS)
        item_id = (await until(connection, "response.output_audio.delta"))[-1].item_id
        await say(connection, ASK_PLACE)
        response = (await until(connection, "response.done"))[-1].response
        assert (response.status, response.status_details.reason) == ("cancelled", "turn_detected")
        await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=400)
        events = await until(connection, "response.done")
        assert heard(audio_of(events)) == PLACE
        await connection.conversation.item.retrieve(item_id=item_id)
        part = (await until(connection, "conversation.item.retrieved"))[-1].item.content[0]
        assert (len(base64.b64decode(part.audio)), part.transcript) == (400 * 48, None)
    assert wire.errors() == []


async def test_speech_is_transcribed_and_not_answered(wire: Wiretap) -> None:
    async with (
        AsyncOpenAI(api_key="none", base_url=wire.base_url) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}},
            }
        )
        for question in (ASK_HOURS, ASK_PLACE):
            await say(connection, question)
            kind = "conversation.item.input_audio_transcription.completed"
            transcript = (await until(connection, kind))[-1].transcript
            assert transcript == question.lower().rstrip("?")
    assert not any(kind.startswith("response") for kind in wire.kinds())
    assert wire.errors() == []


async def test_ephemeral_key_opens_a_session_of_its_settings(server_url: str) -> None:
    base_url = server_url.replace("ws", "http", 1).removesuffix("/realtime")
    async with AsyncOpenAI(api_key="none", base_url=base_url) as client:
        session = {"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Sing."}
        expiry = {"anchor": "created_at", "seconds": 60}
        response = await client.realtime.client_secrets.with_raw_response.create(expires_after=expiry, session=session)
        secret = ClientSecretCreateResponse.model_validate_json(response.http_response.content)
    assert secret.value.startswith("ek_")
    async with (
        AsyncOpenAI(api_key=secret.value, base_url=base_url) as client,
        client.realtime.connect(extra_query={"intent": "realtime"}) as connection,
    ):
        created = (await until(connection, "session.created"))[-1].session
        assert (created.model, created.instructions) == ("gpt-realtime-2.1", "Sing.")


async def say(connection: AsyncRealtimeConnection, text: str) -> None:
    for block in blocks(text):
        await connection.input_audio_buffer.append(audio=base64.b64encode(block).decode())


async def until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    events = [await connection.recv()]
    while events[-1].type != kind:
        events.append(await connection.recv())
    return events


def audio_of(events: list[Any]) -> bytes:
    return b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")


def words_of(events: list[Any]) -> str:
    return " ".join(e.transcript for e in events if e.type == "response.output_audio_transcript.done")
