"""Many clients, and clients that do harm: nothing is held up, nothing grows without bound, nothing is left behind."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import connect

from gateway.embedded import connection, server
from gateway.embedded.conversation import Conversation
from gateway.embedded.worker import FrameKind
from tests.bench import sessions
from tests.embedded.cardboard import cardboard_server
from tests.embedded.conversation_desk import LoudnessGate, loud
from tests.embedded.telephone import PATIENCE_S, telephone
from tests.support.aio import eventually


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_twenty_clients_at_once_are_served_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    conversations: weakref.WeakSet[Conversation] = weakref.WeakSet()

    def converse(*arguments: Any, **options: Any) -> Conversation:
        conversation = Conversation(*arguments, **options)
        conversations.add(conversation)
        return conversation

    monkeypatch.setattr(server, "Conversation", converse)
    async with cardboard_server(monkeypatch) as (served, engines):
        engines.ends_sentences = True

        async def call(number: int) -> None:
            async with telephone(served.url) as client:
                await client.update(instructions=str(number))
                audio = base64.b64encode(loud(100)).decode()
                await client.send("input_audio_buffer.append", audio=audio)
                response = (await client.respond(metadata={"number": str(number)}))[-1]["response"]
                assert (response["status"], response["metadata"]) == ("completed", {"number": str(number)})
                if number % 2:
                    client.socket.transport.abort()

        before, tasks_before = descriptors(), asyncio.all_tasks()
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(call(number))
        assert engines.voices
        await eventually(lambda: asyncio.all_tasks() <= tasks_before)
        await eventually(lambda: descriptors() <= before)
        assert not engines.listening
        engines.unjudged.clear()
        engines.voices.clear()
        gc.collect()
        assert len(conversations) == 0


async def test_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", 1 << 20)
    async with cardboard_server(monkeypatch, audio_speed=0) as (served, engines):
        tasks_before = asyncio.all_tasks()
        socket = await connect(f"{served.url}?model=any", max_queue=1)
        await socket.send(json.dumps({"type": "response.create"}))
        await eventually(lambda: engines.voices)
        socket.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(64):
            engines.voices[0](FrameKind.DATA, bytes(1 << 18))
            await asyncio.sleep(0)
        await eventually(
            lambda: not [task for task in asyncio.all_tasks() - tasks_before if "embedded" in task.get_name()]
        )
        socket.transport.abort()
        await socket.wait_closed()
        async with telephone(served.url) as client:
            await client.update(instructions="Others are served.")


async def test_client_that_speaks_faster_than_it_is_heard_is_made_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_UNJUDGED_CHUNKS", 50)
    monkeypatch.setattr(server, "SpeechGate", LoudnessGate)
    async with cardboard_server(monkeypatch) as (served, engines), telephone(served.url) as client:
        audio = base64.b64encode(loud(320)).decode()  # ten chunks
        for _ in range(12):
            await client.send("input_audio_buffer.append", audio=audio)
        await client.send("conversation.item.retrieve", item_id="item_0")
        await eventually(lambda: len(engines.unjudged) > 50)
        async with telephone(served.url) as other:
            await other.update(instructions="Others are served.")
        most, judged = len(engines.unjudged), 0
        answer = asyncio.create_task(client.receive())
        while not answer.done() or engines.unjudged:
            most = max(most, len(engines.unjudged))
            if engines.unjudged:
                engines.unjudged.pop(0)(0.0)
                judged += 1
            await asyncio.sleep(0)
        assert (await answer)["error"]["code"] == "item_retrieve_invalid_item_id"
        assert judged >= 119
        assert most <= 60


async def test_client_that_leaves_while_it_is_made_to_wait_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_UNJUDGED_CHUNKS", 5)
    monkeypatch.setattr(connection, "LOOK_S", 0.01)
    monkeypatch.setattr(server, "SpeechGate", LoudnessGate)
    async with cardboard_server(monkeypatch) as (served, engines):
        tasks_before = asyncio.all_tasks()
        async with telephone(served.url) as client:
            await client.send("input_audio_buffer.append", audio=base64.b64encode(loud(320)).decode())
            await eventually(lambda: len(engines.unjudged) > 5)
            client.socket.transport.abort()
        await eventually(lambda: not engines.listening)
        await eventually(lambda: asyncio.all_tasks() <= tasks_before)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x83\x80\x00\x00\x00\x00", 1002),  # an opcode that there is not
        (b"\x81\x02{}", 1002),  # not masked
        (b"\x81\x81\x00\x00\x00\x00\xff", 1007),  # not UTF-8
        (b"\x81\xff\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00", 1009),  # two gigabytes announced
    ],
)
async def test_frame_that_is_none_ends_its_connection_alone(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, code: int
) -> None:
    async with cardboard_server(monkeypatch) as (served, _), telephone(served.url) as other:
        tasks_before = asyncio.all_tasks()
        async with telephone(served.url) as client:
            client.socket.transport.write(sent)
            with pytest.raises(websockets.ConnectionClosed):
                await client.receive()
            assert client.socket.close_code == code
        await eventually(lambda: asyncio.all_tasks() <= tasks_before)
        await other.update(instructions="Others are served.")


async def test_message_over_the_limit_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_MESSAGE_BYTES", 1 << 16)
    async with cardboard_server(monkeypatch) as (served, _), telephone(served.url) as client:
        await client.socket.send(" " * ((1 << 16) + 1))
        with pytest.raises(websockets.ConnectionClosed):
            await client.receive()
        assert client.socket.close_code == 1009


async def test_limit_of_a_message_lets_the_largest_audio_through() -> None:
    assert len(base64.b64encode(bytes(15 << 20))) + 1000 <= server.MAX_MESSAGE_BYTES


async def test_client_that_says_nothing_at_all_is_not_waited_for_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch) as (served, _):
        host, port = served.url.split("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(PATIENCE_S):
            await served.close()
        writer.close()


@pytest.mark.heavy
async def test_sessions_torn_away_and_ill_behaved_leave_nothing_in_the_engines() -> None:
    before, after = await sessions.measure(24, rows=2)
    assert after.answered >= 6
    assert (after.streams, after.tasks) == (0, 0)
    assert after.descriptors <= before.descriptors
