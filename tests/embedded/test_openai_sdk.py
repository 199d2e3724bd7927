"""OpenAI's own Python client talks to the embedded server; every event passes its typed classes."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest
from openai.types import realtime
from pydantic import TypeAdapter

from gateway.embedded.server import EmbeddedOptions, serve
from gateway.embedded.voice import speak
from tests.support.conversation_rig import HANG_UP, TRANSFER, Rig
from tests.support.phone_line import pause


def test_every_event_of_a_long_conversation_passes_the_typed_classes() -> None:
    rig = Rig(voice_is_slow=False)
    rig.configure(
        tools=[TRANSFER, HANG_UP],
        audio={
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "any"},
                "turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000},
            }
        },
    )
    rig.send({"type": "response.create", "response": {"metadata": {"k": "v"}}})
    item_id = rig.events[-1]["response"]["output"][0]["id"]
    truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 200}
    rig.send(truncate)
    rig.send({"type": "conversation.item.retrieve", "item_id": item_id})
    rig.say("talk to sales")
    call_id = next(e["call_id"] for e in rig.events if e["type"] == "response.function_call_arguments.done")
    output = {"type": "function_call_output", "call_id": call_id, "output": '{"status": "failed"}'}
    rig.send({"type": "conversation.item.create", "item": output})
    rig.send({"type": "response.create"})
    rig.say("")
    rig.wait(60)
    rig.send({"type": "response.create", "response": {"output_modalities": ["text"], "conversation": "none"}})
    rig.send({"type": "input_audio_buffer.clear"})
    rig.send({"type": "conversation.item.delete", "item_id": item_id})
    rig.send({"type": "nonsense"})
    adapter: TypeAdapter[object] = TypeAdapter(realtime.RealtimeServerEvent)
    for event in rig.events:
        model = adapter.validate_python(event)
        assert getattr(model, "type", None) == event["type"]
    assert len({event["type"] for event in rig.events}) > 25


@pytest.mark.heavy
async def test_official_client_holds_a_conversation() -> None:
    async with serve(EmbeddedOptions(port=0, audio_speed=0)) as server:
        base_url = server.url.removesuffix("/realtime").replace("ws://", "http://")
        async with (
            openai.AsyncOpenAI(api_key="none", base_url=base_url) as client,
            client.realtime.connect(model="gpt-realtime-2.1") as connection,
        ):
            assert (await connection.recv()).type == "session.created"
            await connection.session.update(
                session={"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
            )
            speech = np.concatenate((pause(0.3), speak("where are you located"), pause(1.0)))
            wideband = np.repeat(speech, 3).astype("<i2").tobytes()
            for start in range(0, len(wideband), 4800):
                audio = base64.b64encode(wideband[start : start + 4800]).decode()
                await connection.input_audio_buffer.append(audio=audio)
            said = ""
            async for event in connection:
                if event.type == "response.output_audio_transcript.done":
                    said += event.transcript
                if event.type == "response.done":
                    break
            assert "Market Street" in said
