"""The server over its real WebSocket, with its real engines: what a gateway on loopback gets from it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import websockets
from websockets.asyncio.client import connect

from gateway.embedded.audio import resample
from gateway.embedded.recognizer import recognize
from gateway.embedded.server import EmbeddedOptions, EmbeddedServer, serve
from gateway.embedded.voice import speak
from gateway.errors import ResourceError
from tests.support.aio import eventually
from tests.support.conversation_rig import HANG_UP, TRANSFER, only, spoken, types
from tests.support.phone_line import pause
from tests.support.realtime_caller import RealtimeCaller, calling, heard_audio

COMMAND = [sys.executable, "-m", "gateway.embedded", "--port", "0", "--parent-watch"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server in its own process, as the gateway starts it; speech comes as fast as it is made."""
    process = subprocess.Popen([*COMMAND, "--audio-speed", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, process.stdin:
        yield json.loads(process.stdout.readline())["url"]
    assert process.wait(10) == 0


@pytest.fixture
async def caller(url: str) -> AsyncIterator[RealtimeCaller]:
    async with calling(url) as connected:
        await connected.configure(tools=[TRANSFER, HANG_UP])
        yield connected


# --- Turns ------------------------------------------------------------------------------------------------------------


async def test_question_by_voice_is_answered_by_voice(caller: RealtimeCaller) -> None:
    await caller.say("what are your opening hours")
    events = await caller.until("response.done")
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
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
    answer = "We are open from Monday to Friday, from nine in the morning until half past five."
    assert spoken(events) == answer
    heard = recognize(heard_audio(events), [answer, "You find us at Market Street", "Good day, this is Acme"])
    assert heard == "we are open from monday to friday from nine in the morning until half past five"


async def test_greeting_is_heard_as_it_was_asked_for(caller: RealtimeCaller) -> None:
    greeting = "Welcome to the city library, how can I help you?"
    response = {"instructions": f'Say exactly: "{greeting}"'}
    await caller.send({"type": "response.create", "response": response})
    events = await caller.until("response.done")
    others = ["welcome to the city hospital how may we help you", "thank you for calling the library goodbye"]
    assert recognize(heard_audio(events), [greeting, *others]) == "welcome to the city library how can i help you"


async def test_transfer_is_announced_by_voice_and_called_with_an_offered_contact(caller: RealtimeCaller) -> None:
    await caller.say("connect me with the support department")
    events = await caller.until("response.done")
    call = only(events, "response.function_call_arguments.done")
    assert (call["name"], json.loads(call["arguments"])) == ("transfer", {"contact": "support"})
    candidates = [f"one moment i am connecting you to {contact}" for contact in ("sales", "support", "billing")]
    assert recognize(heard_audio(events), candidates) == "one moment i am connecting you to support"
    output = json.dumps({"status": "failed", "reason": "busy"})
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    await caller.send({"type": "conversation.item.create", "item": item})
    await caller.send({"type": "response.create"})
    assert "support cannot be reached" in spoken(await caller.until("response.done"))


async def test_off_topic_sentence_is_asked_back(caller: RealtimeCaller) -> None:
    await caller.say("the quick brown fox jumps over the lazy dog")
    events = await caller.until("response.done")
    assert "did not understand" in spoken(events)
    only(events, "conversation.item.input_audio_transcription.failed")


@pytest.mark.heavy
async def test_caller_who_breaks_in_cancels_the_reply_and_is_answered() -> None:
    async with serve(EmbeddedOptions(port=0, audio_speed=2.0)) as slow, calling(slow.url) as caller:
        await caller.configure()
        await caller.send({"type": "response.create"})
        head = await caller.until("response.output_audio.delta")
        item_id = only(head, "conversation.item.added")["item"]["id"]
        await caller.say("where are you located")
        events = await caller.until("response.done")
        cancelled = events[-1]["response"]
        assert cancelled["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        received_ms = len(heard_audio(head + events)) // 8
        truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0}
        await caller.send(truncate | {"audio_end_ms": received_ms})
        await caller.send(truncate | {"audio_end_ms": received_ms + 1000})
        rest = await caller.until("error")
        assert only(rest, "conversation.item.truncated")["audio_end_ms"] == received_ms
        assert only(rest, "error")["error"]["code"] == "invalid_value"
        if "response.done" not in types(rest):
            rest += await caller.until("response.done")
        assert "Market Street" in spoken(rest)


@pytest.mark.parametrize(("kind", "rate_hz"), [("audio/pcm", 24000), ("audio/pcma", 8000)])
async def test_other_formats_carry_the_same_conversation(url: str, kind: str, rate_hz: int) -> None:
    async with calling(url) as caller:
        audio = {"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}}
        await caller.send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        speech = np.concatenate((pause(0.3), speak("where are you located"), pause(0.6)))
        coded = resample(speech, 8000, rate_hz).tobytes()
        if kind == "audio/pcma":
            coded = bytes(ALAW[(speech.astype(int) + 32768) >> 3])
        for start in range(0, len(coded), 4001):  # blocks that tear samples apart
            block = base64.b64encode(coded[start : start + 4001]).decode()
            await caller.send({"type": "input_audio_buffer.append", "audio": block})
        events = await caller.until("response.done")
        assert "Market Street" in spoken(events)
        deltas = [base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta"]
        seconds = sum(map(len, deltas)) / (rate_hz * (2 if kind == "audio/pcm" else 1))
        assert 3 < seconds < 6


def _alaw_table() -> np.ndarray:
    import audioop

    levels = (np.arange(8192) << 3) - 32768
    return np.frombuffer(audioop.lin2alaw(levels.astype("<i2").tobytes(), 2), dtype=np.uint8)


ALAW = _alaw_table()


async def test_four_callers_at_once_get_each_their_answer(url: str) -> None:
    questions = {
        "what are your opening hours": "half past five",
        "where are you located": "Market Street",
        "connect me with the sales department": "connecting you to sales",
        "put me through to support": "connecting you to support",
    }

    async def ask(question: str, expected: str) -> None:
        async with calling(url) as caller:
            await caller.configure(tools=[TRANSFER])
            await caller.say(question)
            assert expected in spoken(await caller.until("response.done"))

    async with asyncio.TaskGroup() as group:
        for question, expected in questions.items():
            group.create_task(ask(question, expected))


# --- Connections ------------------------------------------------------------------------------------------------------


async def test_malformed_events_leave_the_session_open(caller: RealtimeCaller) -> None:
    for message in ("{", "[1]", b"\xff\xfe", '{"type": "no.such"}', '{"type": "response.create", "x": 1}', "null"):
        await caller.send(message)
        assert (await caller.receive())["type"] == "error"
    await caller.send({"type": "response.create"})
    assert (await caller.until("response.done"))[-1]["response"]["status"] == "completed"


async def test_callers_who_vanish_in_mid_turn_do_no_harm(url: str) -> None:
    for _ in range(3):
        async with calling(url) as caller:
            await caller.configure()
            await caller.append(np.concatenate((pause(0.2), speak("where are you located"), pause(0.35))))
            caller.socket.transport.abort()
    async with calling(url) as caller:
        await caller.configure()
        await caller.say("where are you located")
        assert "Market Street" in spoken(await caller.until("response.done"))


@pytest.mark.parametrize(
    ("offered", "chosen"), [(None, None), (["realtime", "openai-insecure-api-key.x"], "realtime"), (["chat"], None)]
)
async def test_subprotocol_is_taken_when_offered_and_never_demanded(
    url: str, offered: list[str] | None, chosen: str | None
) -> None:
    async with connect(url, subprotocols=offered) as socket:
        assert socket.subprotocol == chosen


async def test_beta_clients_are_told_within_the_socket(url: str) -> None:
    async with connect(url, additional_headers={"OpenAI-Beta": "realtime=v1"}) as socket:
        assert json.loads(await socket.recv())["error"]["code"] == "beta_api_shape_disabled"
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
        4000,
        "invalid_request_error.beta_api_shape_disabled",
    )


async def test_only_the_realtime_path_is_served(url: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(url.replace("/realtime", "/chat"))
    assert refused.value.response.status_code == 404


async def test_key_is_asked_for_where_one_is_set() -> None:
    async with serve(EmbeddedOptions(port=0, api_key="right")) as server:
        async with connect(server.url, additional_headers={"Authorization": "Bearer wrong"}) as socket:
            assert json.loads(await socket.recv())["error"]["code"] == "invalid_api_key"
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 3000
        async with calling(server.url, additional_headers={"Authorization": "Bearer right"}):
            pass
        async with calling(server.url, subprotocols=["realtime", "openai-insecure-api-key.right"]):
            pass


async def test_session_ends_at_its_age() -> None:
    async with serve(EmbeddedOptions(port=0, max_age_s=0.2)) as server, calling(server.url) as caller:
        assert only(await caller.until("error"), "error")["error"]["code"] == "session_expired"
        with pytest.raises(websockets.ConnectionClosedOK) as closed:
            await caller.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


# --- Processes --------------------------------------------------------------------------------------------------------


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def engine_processes(server: EmbeddedServer) -> set[int]:
    children = (worker._child for worker in server._engines._workers)
    return {child.process.pid for child in children if child is not None}


async def test_dead_engines_are_started_again_under_a_running_call() -> None:
    async with serve(EmbeddedOptions(port=0, audio_speed=0)) as server, calling(server.url) as caller:
        await caller.configure()
        before = engine_processes(server)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len(engine_processes(server) - before) == len(before), 10)
        await caller.say("where are you located")
        assert "Market Street" in spoken(await caller.until("response.done"))


def test_everything_ends_with_the_parent() -> None:
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        children = workers_of(process.pid)
        assert len(children) == 2
        process.stdin.close()
        assert process.wait(10) == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


async def test_port_that_is_taken_is_told() -> None:
    async with serve(EmbeddedOptions(port=0)) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(ResourceError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serve(EmbeddedOptions(port=port)):
                pass


async def test_missing_engines_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ResourceError, match=r"pip install '\.\[local\]' in the gateway's source folder"):
        async with serve(EmbeddedOptions(port=0)):
            pass
