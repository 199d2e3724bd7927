"""Sockets: whole turns by all engines, who is let in, what is sent when, what is left when a client has gone."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets
from websockets.asyncio.client import connect

from gateway.embedded import server as server_module
from gateway.embedded.server import EmbeddedOptions, serve
from gateway.embedded.worker import FrameKind
from gateway.errors import ConfigurationError, ResourceError
from tests.embedded.cardboard import CardboardEngines, cardboard_server
from tests.embedded.conversation_desk import HANG_UP_TOOL, TRANSFER_TOOL, calls, kinds, only, spoken
from tests.embedded.telephone import PATIENCE_S, Event, Samples, decoded, said, silence, telephone
from tests.support.aio import eventually

HOURS = "We are open from Monday to Friday, from nine in the morning until half past five."
HEARD = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
SAID = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
CALLED = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]
TURNS = {"type": "server_vad", "silence_duration_ms": 400}


def audio_of(events: list[Event], form: str) -> Samples:
    """Everything that was said, `int16[n]` at 8 kHz."""
    deltas = (event["delta"] for event in events if event["type"] == "response.output_audio.delta")
    return decoded(b"".join(map(base64.b64decode, deltas)), form)


def is_speech(samples: Samples) -> bool:
    """Whether something as loud and as uneven as a voice is there."""
    blocks = np.abs(samples[: len(samples) // 400 * 400].reshape(-1, 400).astype(float)).mean(axis=1)
    return bool(blocks.max() > 1000 and np.percentile(blocks, 95) > 3 * np.percentile(blocks, 10))


# ---- with all engines ----------------------------------------------------------------------------------------------


async def test_update_message_and_answer_run_in_the_golden_order(server_url: str) -> None:
    async with telephone(server_url + "?model=demo") as client:
        assert client.events[0]["session"]["model"] == "demo"
        assert (await client.update(instructions="Be brief."))["instructions"] == "Be brief."
        added = await client.write("What are your opening hours?")
        assert kinds(added) == ["conversation.item.added", "conversation.item.done"]
        events = await client.respond()
        assert kinds(events) == SAID
        assert spoken(events) == HOURS
        assert is_speech(audio_of(events, "audio/pcm"))


@pytest.mark.parametrize("form", ["audio/pcm", "audio/pcmu", "audio/pcma"])
async def test_spoken_turn_is_answered_in_every_format(server_url: str, form: str) -> None:
    async with telephone(server_url) as client:
        wire = {"type": form, "rate": 24000} if form == "audio/pcm" else {"type": form}
        heard = {"format": wire, "turn_detection": TURNS, "transcription": {"model": "embedded"}}
        await client.update(audio={"input": heard, "output": {"format": wire}})
        question = said("What are your opening hours?")
        await client.say(np.concatenate((silence(500), question)))
        events = await client.until("response.done")
        told = only(events, "conversation.item.input_audio_transcription.completed")
        assert told["transcript"] == "what are your opening hours"
        delta = only(events, "conversation.item.input_audio_transcription.delta")
        assert (delta["item_id"], delta["delta"]) == (told["item_id"], told["transcript"])
        assert kinds([event for event in events if event not in (delta, told)]) == [*HEARD, *SAID]
        assert spoken(events) == HOURS
        assert 100 <= events[0]["audio_start_ms"] <= 700
        assert events[1]["audio_end_ms"] == pytest.approx(500 + len(question) / 8 + 400, abs=300)
        reply = audio_of(events, form)
        assert is_speech(reply)
        tokens = events[-1]["response"]["usage"]["output_token_details"]["audio_tokens"]
        assert tokens == pytest.approx(len(reply) / 8 / 50, abs=1)


async def test_transfer_is_called_by_voice_and_its_failure_told(server_url: str) -> None:
    async with telephone(server_url) as client:
        await client.update(tools=[TRANSFER_TOOL, HANG_UP_TOOL], audio={"input": {"turn_detection": TURNS}})
        await client.say(said("I would like to speak to sales."))
        events = await client.until("response.done")
        assert kinds(events) == [*HEARD, *SAID[:-1], *CALLED, "response.done"]
        assert calls(events) == [("transfer", {"contact": "sales"})]
        call_id = only(events, "response.function_call_arguments.done")["call_id"]
        item = {"type": "function_call_output", "call_id": call_id, "output": '{"status": "failed"}'}
        await client.send("conversation.item.create", item=item)
        added = await client.until("conversation.item.done")
        assert kinds(added) == ["conversation.item.added", "conversation.item.done"]
        events = await client.respond()
        assert kinds(events) == SAID
        assert spoken(events).startswith("I am sorry, sales cannot be reached at the moment.")


async def test_barge_in_stops_the_reply_at_once_and_is_answered(server_url: str) -> None:
    async with telephone(server_url) as client:
        await client.update(audio={"input": {"turn_detection": TURNS}})
        words = " ".join(["This is one of many long sentences that nobody wants to hear."] * 40)
        await client.send("response.create", response={"instructions": f'Say "{words}"'})
        begun = only(await client.until("response.output_audio.delta"), "response.created")["response"]
        await client.say(said("Where are you located?"))
        events = await client.until("response.done")
        started = [event["type"] for event in events].index("input_audio_buffer.speech_started")
        assert kinds(events[started + 1 :]) == SAID[6:]
        response = events[-1]["response"]
        assert response["id"] == begun["id"]
        assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        after = await client.until("response.done")
        assert kinds(after) == [*HEARD[1:], *SAID]
        assert "Market Street" in spoken(after)
        assert begun["id"] not in {event.get("response_id") for event in after}
        place = {"item_id": response["output"][0]["id"], "content_index": 0}
        await client.send("conversation.item.truncate", **place, audio_end_ms=200)
        assert kinds(await client.until("conversation.item.truncated")) == ["conversation.item.truncated"]
        await client.send("conversation.item.truncate", **place, audio_end_ms=201)
        assert (await client.receive())["error"]["param"] == "audio_end_ms"


async def test_clients_cancel_ends_the_reply_and_is_refused_when_late(server_url: str) -> None:
    async with telephone(server_url) as client:
        await client.send("response.create", response={"metadata": {"n": "1"}})
        await client.until("response.output_audio.delta")
        await client.send("response.cancel")
        response = (await client.until("response.done"))[-1]["response"]
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert response["metadata"] == {"n": "1"}
        await client.send("response.cancel", event_id="late")
        error = (await client.receive())["error"]
        assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "late")
        assert (await client.respond())[-1]["response"]["status"] == "completed"


async def test_four_callers_are_each_answered_their_own_question(server_url: str) -> None:
    questions = {
        "What are your opening hours?": "We are open",
        "Where are you located?": "Market Street",
        "What can you do?": "I can connect you to sales",
        "Goodbye.": "Thank you for calling Acme",
    }

    async def ask(question: str, answer: str) -> None:
        async with telephone(server_url) as client:
            await client.update(audio={"input": {"turn_detection": TURNS}})
            await client.say(said(question))
            events = await client.until("response.done")
            assert kinds(events) == [*HEARD, *SAID]
            assert answer in spoken(events)

    async with asyncio.TaskGroup() as group:
        for question, answer in questions.items():
            group.create_task(ask(question, answer))


REFUSED: list[tuple[str | bytes, str]] = [
    ("{", "invalid_json"),
    ("[]", "invalid_event"),
    ("{}", "invalid_event"),
    (b"{}", "invalid_event"),
    ('{"type": "response.destroy"}', "invalid_value"),
    ('{"type": "session.update", "session": {"type": "realtime", "x": 1}}', "unknown_parameter"),
    ('{"type": "session.update", "session": {}}', "missing_required_parameter"),
    ('{"type": "input_audio_buffer.append", "audio": "!"}', "invalid_value"),
    ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
    ('{"type": "conversation.item.retrieve", "item_id": "x"}', "item_retrieve_invalid_item_id"),
    ('{"type": "conversation.item.delete", "item_id": "x"}', "item_delete_invalid_item_id"),
]


async def test_bad_events_are_refused_one_by_one_and_the_session_goes_on(server_url: str) -> None:
    async with telephone(server_url) as client:
        for message, _ in REFUSED:
            await client.socket.send(message)
        answers = [await client.receive() for _ in REFUSED]
        assert [answer["error"]["code"] for answer in answers] == [code for _, code in REFUSED]
        assert (await client.update(instructions="Still here."))["instructions"] == "Still here."


# ---- with engines of cardboard -------------------------------------------------------------------------------------


async def closing(url: str, **options: Any) -> tuple[list[Event], int | None, str | None]:
    """Events until the server closes, and how it does."""
    events: list[Event] = []
    async with connect(url, **options) as socket, asyncio.timeout(PATIENCE_S):
        try:
            while True:
                events.append(json.loads(await socket.recv()))
        except websockets.ConnectionClosed:
            return events, socket.close_code, socket.close_reason


async def test_paths_that_end_in_realtime_are_served_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch) as (server, _):
        base = server.url.removesuffix("/v1/realtime")
        for path in ("/v1/realtime", "/openai/v1/realtime/", "/realtime?model=x"):
            async with telephone(base + path) as client:
                assert client.events[0]["type"] == "session.created"
        for path in ("/", "/v1", "/v1/realtime/x"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(base + path)
            assert refused.value.response.status_code == 404


async def test_key_is_shown_by_header_or_subprotocol(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch, api_key="secret") as (server, _):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            events, code, reason = await closing(server.url, additional_headers=headers)
            assert [event["error"]["code"] for event in events] == ["invalid_api_key"]
            assert (code, reason) == (3000, "invalid_request_error.invalid_api_key")
        async with telephone(server.url, additional_headers={"Authorization": "Bearer secret"}) as client:
            assert client.socket.subprotocol is None
        protocols = ["realtime", "openai-insecure-api-key.secret"]
        async with telephone(server.url, subprotocols=protocols) as client:
            assert client.socket.subprotocol == "realtime"


async def test_session_is_ended_at_its_age_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch, max_age_s=0.2) as (server, _):
        tasks_before = asyncio.all_tasks()
        events, code, reason = await closing(f"{server.url}?model=any")
        assert [event["type"] for event in events] == ["session.created", "error"]
        assert events[1]["error"]["code"] == "session_expired"
        assert (code, reason) == (1001, events[1]["error"]["message"])
        await eventually(lambda: asyncio.all_tasks() <= tasks_before)


async def test_client_torn_away_in_mid_turn_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch, audio_speed=1.0) as (server, engines):
        tasks_before = asyncio.all_tasks()
        async with telephone(server.url) as client:
            await client.send("response.create")
            await client.until("response.output_audio.delta")
            await client.say(said("What are your opening hours?"))
            await eventually(lambda: engines.listening)
            client.socket.transport.abort()
        await eventually(lambda: not engines.listening)
        await eventually(lambda: asyncio.all_tasks() <= tasks_before)
        engines.voices[0](FrameKind.DATA, bytes(480))  # the voice is still at it
        engines.voices[0](FrameKind.END, b"")
        assert len(engines.voices) == 1


async def test_speech_leaves_at_its_speed_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch, audio_speed=8.0) as (server, engines), telephone(server.url) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        began = asyncio.get_running_loop().time()
        for _ in range(8):
            engines.voices[0](FrameKind.DATA, bytes(48 * 500))
        for _ in range(8):
            await client.until("response.output_audio.delta")
        assert asyncio.get_running_loop().time() - began > 4.0 / 8 * 0.7


async def test_client_is_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_module.PING_INTERVAL_S == 20
    monkeypatch.setattr(server_module, "PING_INTERVAL_S", 0.01)
    async with cardboard_server(monkeypatch) as (server, _):
        host, port = server.url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        head = ["GET /v1/realtime?model=m HTTP/1.1", f"Host: {host}:{port}", *upgrade, key, "", ""]
        writer.write("\r\n".join(head).encode())
        async with asyncio.timeout(PATIENCE_S):
            await reader.readuntil(b"\r\n\r\n")
            _, length = await reader.readexactly(2)
            assert length == 126
            await reader.readexactly(int.from_bytes(await reader.readexactly(2)))  # session.created
            assert (await reader.readexactly(1))[0] == 0x89
        writer.close()


async def test_message_of_several_megabytes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch) as (server, _), telephone(server.url) as client:
        await client.update(audio={"input": {"turn_detection": None}})
        await client.send("input_audio_buffer.append", audio=base64.b64encode(bytes(2 << 20)).decode())
        await client.send("input_audio_buffer.clear")
        assert (await client.receive())["type"] == "input_audio_buffer.cleared"


async def test_server_that_ends_says_going_away_and_ends_its_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch) as (server, engines):
        socket = await connect(f"{server.url}?model=any")
        await socket.recv()
        await server.close()
        assert not engines.is_running
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1001


async def test_taken_port_is_told_and_ends_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch) as (server, _):
        port = int(server.url.split(":")[2].split("/")[0])
        second = CardboardEngines()
        monkeypatch.setattr(server_module, "Engines", lambda _options: second)
        with pytest.raises(ResourceError, match=f"127.0.0.1:{port}"):
            async with serve(EmbeddedOptions(port=port)):
                pass
        assert not second.is_running


async def test_brain_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    brain = tmp_path / "brain.yaml"
    brain.write_text("name: x\ngreeting: Hello.\nfallback: ['Pardon?']\nintents: {a: {phrases: ['[b'], reply: c}}\n")
    with pytest.raises(ConfigurationError, match=r"never closed"):
        async with serve(EmbeddedOptions(port=0, brain=brain)):
            pass
