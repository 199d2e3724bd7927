"""A scripted realtime provider: OpenAI Realtime GA over a real WebSocket on loopback, for tests of what talks to one.

It does by itself what every honest server does: it greets with ``session.created``, merges and confirms
``session.update``, records the caller's audio, keeps items, runs one reply at a time and beside it questions, validates
truncations and cancellations. What it says is scripted, what goes wrong is ordered by the test::

    async with RealtimeServer(replies=[Speech(audio=greeting, text="Hello.")]) as server:
        ...connect the code under test to server.url...
        session = await server.session()
        await session.wait_for_audio(960)
        await session.start_speech()                            # barge-in
        truncated = await session.received("conversation.item.truncate")

Replies are given out in order, one for each ``response.create`` and each `end_turn`; when they have run out a reply is
empty. Audio is sent as a burst, as the real one does, in pieces of `piece_ms`.

Nothing here waits for time to pass: a lever returns when its events are sent, a wait when the event was seen.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.support.provider_server import Event, HttpRefusal, ProviderServer, ProviderSession

BYTES_PER_MS = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}


# --- what the server is told to say ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Speech:
    """A reply that is spoken: audio in the session's output format. Unfinished, it is active until it is cancelled."""

    audio: bytes
    text: str = "I see."
    is_finished: bool = True


@dataclass(frozen=True, kw_only=True)
class Call:
    """One tool call. `arguments` is text, so that it can be wrong."""

    name: str
    arguments: str = "{}"
    call_id: str = ""
    """Chosen by the server when empty."""


@dataclass(frozen=True, kw_only=True)
class ToolCalls:
    """A reply that calls tools, each told `times` times."""

    calls: Sequence[Call]
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A reply that ends with status ``failed``."""

    code: str
    message: str = "It failed."


Reply = Speech | ToolCalls | Failure


@dataclass(frozen=True, kw_only=True)
class InBandRefusal:
    """The upgrade succeeds; then one ``error`` event, then close. How the real server refuses a bad key."""

    code: str = "invalid_api_key"
    message: str = "Incorrect API key provided."
    close_code: int = 3000


Refusal = HttpRefusal | InBandRefusal


# --- one connection --------------------------------------------------------------------------------------------------


class ServerSession(ProviderSession):
    """One client's session: what it sent, and the levers to answer it."""

    def __init__(self, server: RealtimeServer, connection: ServerConnection) -> None:
        super().__init__(connection)
        self.server = server
        self.number = len(server.sessions) + 1
        self.events: list[Event] = []
        """Every client event but appends, in order."""
        self.appends = 0
        self.config: Event = _default_session(self.number)
        self.active: str | None = None
        """Id of the reply under way."""
        self._item_ms: dict[str, float] = {}
        self._open_items: list[tuple[str, str]] = []
        self._calls: set[str] = set()
        self._items: dict[str, Event] = {}

    # --- what the client did ------------------------------------------------------------------------------------------

    async def received(self, kind: str) -> Event:
        """The next client event of type `kind` that no earlier call returned; those in between are passed over."""
        return self.events[await self.next_of(kind)]

    def kinds(self) -> list[str]:
        """Types of all client events so far, appends left out."""
        return [str(event.get("type")) for event in self.events]

    # --- levers -------------------------------------------------------------------------------------------------------

    async def send(self, kind: str, **members: object) -> None:
        """Send one server event; it gets an event id."""
        await self.send_text(json.dumps({"type": kind, "event_id": self._name("event")} | members))

    async def start_speech(self, audio_start_ms: int | None = None) -> str:
        """The caller begins to speak; a reply under way is cancelled if the session says so. The new item's id."""
        item_id = self._name("item_user")
        start_ms = self.appended_ms if audio_start_ms is None else audio_start_ms
        await self.send("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item_id)
        turns = self.config["audio"]["input"]["turn_detection"]
        if turns and turns.get("interrupt_response") and self.active is not None:
            await self.finish("cancelled", reason="turn_detected")
        return item_id

    async def end_turn(self, item_id: str, transcript: str = "", *, is_answered: bool = True) -> None:
        """The caller ends to speak; the next scripted reply follows."""
        await self.send("input_audio_buffer.speech_stopped", audio_end_ms=self.appended_ms, item_id=item_id)
        await self.send("input_audio_buffer.committed", previous_item_id=None, item_id=item_id)
        content = [{"type": "input_audio", "transcript": None}]
        await self._add_item({"id": item_id, "type": "message", "role": "user", "content": content})
        if transcript:
            usage = {"type": "duration", "seconds": 1}
            await self.send(
                "conversation.item.input_audio_transcription.completed",
                item_id=item_id,
                content_index=0,
                transcript=transcript,
                usage=usage,
            )
        if is_answered:
            await self.reply()

    async def reply(self, reply: Reply | None = None) -> str:
        """Make `reply`, or the next scripted one; the response's id."""
        if reply is None:
            reply = self.server.next_reply()
        response_id = await self.start()
        match reply:
            case Speech():
                await self.say(reply.audio, reply.text)
                if reply.is_finished:
                    await self.finish()
            case ToolCalls():
                await self.call(reply.calls, times=reply.times)
                await self.finish()
            case Failure():
                await self.finish("failed", error={"code": reply.code, "message": reply.message, "type": reply.code})
            case None:
                await self.finish()
        return response_id

    async def start(self) -> str:
        """Begin a reply; its id."""
        self.active = self._name("resp")
        await self.send("response.created", response=self._response("in_progress"))
        return self.active

    async def say(self, audio: bytes, text: str = "", *, response_id: str | None = None) -> str:
        """Speak as a new item of the reply under way; its id. The item stays open until `finish`."""
        response_id = response_id or self.active or ""
        item_id = self._name("item")
        self._open_items.append((response_id, item_id))
        item: Event = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
        item |= {"status": "in_progress", "content": []}
        await self.send("response.output_item.added", response_id=response_id, output_index=0, item=item)
        await self.send("conversation.item.added", previous_item_id=None, item=item)
        self._items[item_id] = item | {"content": [{"type": "output_audio", "transcript": text}]}
        if text:
            where = self._place(response_id, item_id)
            await self.send("response.output_audio_transcript.delta", **where, delta=text)
            await self.send("response.output_audio_transcript.done", **where, transcript=text)
        await self.send_audio(audio, response_id=response_id, item_id=item_id)
        return item_id

    async def send_audio(self, audio: bytes, *, response_id: str, item_id: str) -> None:
        """Send audio of an item, however late."""
        step = max(self.server.piece_ms * self._bytes_per_ms("output"), 1)
        self._item_ms[item_id] = self._item_ms.get(item_id, 0.0) + len(audio) / self._bytes_per_ms("output")
        for start in range(0, len(audio), step):
            delta = base64.b64encode(audio[start : start + step]).decode()
            await self.send("response.output_audio.delta", **self._place(response_id, item_id), delta=delta)

    async def call(self, calls: Iterable[Call], *, times: int = 1, status: str = "completed") -> list[str]:
        """Call tools in the reply under way; the call ids."""
        made = []
        for call in calls:
            call_id = call.call_id or self._name("call")
            item = {"id": self._name("item"), "object": "realtime.item", "type": "function_call", "status": status}
            item |= {"name": call.name, "call_id": call_id, "arguments": call.arguments}
            where = {"response_id": self.active, "output_index": 0}
            self._calls.add(call_id)
            made.append(call_id)
            for _ in range(times):
                await self.send(
                    "response.function_call_arguments.done",
                    **where | {"item_id": item["id"], "call_id": call_id},
                    name=call.name,
                    arguments=call.arguments,
                )
                await self.send("conversation.item.done", previous_item_id=None, item=item)
                await self.send("response.output_item.done", **where, item=item)
        return made

    async def request_approval(self, server_label: str, name: str) -> str:
        """Want a call of a hosted tool approved, in the reply under way; the request's id."""
        request_id = self._name("mcpr")
        item = {"id": request_id, "type": "mcp_approval_request", "server_label": server_label, "name": name}
        item |= {"arguments": "{}"}
        await self.send("conversation.item.done", previous_item_id=None, item=item)
        await self.send("response.output_item.done", response_id=self.active, output_index=0, item=item)
        return request_id

    async def answer(self, created: Event, text: str) -> None:
        """Answer a question, a ``response.create`` beside the conversation, in writing."""
        response_id, item_id = self._name("resp"), self._name("item")
        response = self._response("in_progress") | {"id": response_id, "conversation_id": None}
        response |= {"metadata": created["response"].get("metadata"), "output_modalities": ["text"]}
        await self.send("response.created", response=response)
        item: Event = {"id": item_id, "object": "realtime.item", "type": "message", "role": "assistant"}
        item |= {"status": "completed", "content": [{"type": "output_text", "text": text}]}
        await self.send("response.output_text.done", **self._place(response_id, item_id), text=text)
        await self.send("response.output_item.done", response_id=response_id, output_index=0, item=item)
        await self.send("response.done", response=response | {"status": "completed", "output": [item]})

    async def finish(self, status: str = "completed", *, reason: str = "", error: Event | None = None) -> None:
        """End the reply under way, with the closing events of its items."""
        response_id, self.active = self.active or "", None
        for of_response, item_id in self._open_items:
            if of_response == response_id:
                await self.send("response.output_audio.done", **self._place(response_id, item_id))
        self._open_items = [entry for entry in self._open_items if entry[0] != response_id]
        response = self._response(status) | {"id": response_id}
        if status != "completed":
            response["status_details"] = {"type": status} | ({"reason": reason} if reason else {})
            if error is not None:
                response["status_details"]["error"] = error
        response["usage"] = {
            "total_tokens": 30,
            "input_tokens": 20,
            "output_tokens": 10,
            "input_token_details": {"text_tokens": 5, "audio_tokens": 15, "cached_tokens": 4},
            "output_token_details": {"text_tokens": 2, "audio_tokens": 8},
        }
        await self.send("response.done", response=response)
        limits = [{"name": "tokens", "limit": 40_000, "remaining": 39_970, "reset_seconds": 0.05}]
        await self.send("rate_limits.updated", rate_limits=limits)

    async def error(self, code: str, message: str = "", *, event_id: str | None = None, **members: object) -> None:
        """Send an ``error`` event."""
        detail = {"type": "invalid_request_error", "code": code, "message": message or code, "param": None}
        await self.send("error", error=detail | {"event_id": event_id} | members)

    @property
    def appended_ms(self) -> int:
        """Length of all audio appended."""
        return len(self.audio) // self._bytes_per_ms("input")

    # --- the honest part ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the connection ends."""
        try:
            if await self._greet():
                async for message in self.connection:
                    await self._handle(message)
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self.connection.close_code or 1006
            await self.notify()

    async def _greet(self) -> bool:
        refusal = self.server.refusal
        if isinstance(refusal, InBandRefusal):
            await self.error(refusal.code, refusal.message)
            await self.close(refusal.close_code, f"invalid_request_error.{refusal.code}")
            return False
        if self.server.delay_s:
            await asyncio.sleep(self.server.delay_s)
        if not self.server.is_silent:
            await self.send("session.created", session=self.config)
        return True

    async def _handle(self, message: str | bytes) -> None:
        event: Event = json.loads(message)
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            audio = base64.b64decode(event["audio"], validate=True)
            self.audio += audio
            self.appends += 1
            if self.server.is_echoing:
                await self._echo(audio)
        else:
            self.events.append(event)
            handler = self._HANDLERS.get(kind)
            if handler is not None and not self.server.is_silent:
                await handler(self, event)
        await self.notify()

    async def _echo(self, audio: bytes) -> None:
        """Send back what came, as one endless item."""
        if self.active is None:
            await self.start()
        if not self._open_items:
            await self.say(b"")
        response_id, item_id = self._open_items[-1]
        await self.send_audio(audio, response_id=response_id, item_id=item_id)

    async def _on_update(self, event: Event) -> None:
        refused = self.server.update_error
        if refused:
            await self.error(refused, f"Refused: {refused}", event_id=event.get("event_id"))
            return
        if not self.server.is_confirming:
            return
        _merge(self.config, event["session"])
        _merge(self.config, self.server.overrides)
        await self.send("session.updated", session=self.config)
        self.server.configured(self)

    async def _on_item(self, event: Event) -> None:
        item = event["item"]
        if item["type"] == "function_call_output":
            if item["call_id"] not in self._calls:
                await self.error("invalid_value", "no such call", event_id=event.get("event_id"))
                return
            self._calls.discard(item["call_id"])
        elif item["type"] == "function_call":
            self._calls.add(item["call_id"])
        await self._add_item({"id": self._name("item")} | item)

    async def _add_item(self, item: Event) -> None:
        item = item | {"object": "realtime.item", "status": "completed"}
        self._items[item["id"]] = item
        await self.send("conversation.item.added", previous_item_id=None, item=item)
        await self.send("conversation.item.done", previous_item_id=None, item=item)

    async def _on_delete(self, event: Event) -> None:
        if self._items.pop(event["item_id"], None) is None:
            await self.error("item_delete_invalid_item_id", event_id=event.get("event_id"))
        else:
            await self.send("conversation.item.deleted", item_id=event["item_id"])

    async def _on_retrieve(self, event: Event) -> None:
        item = self._items.get(event["item_id"])
        if item is None:
            await self.error("item_retrieve_invalid_item_id", event_id=event.get("event_id"))
        else:
            await self.send("conversation.item.retrieved", item=item)

    async def _on_clear(self, _event: Event) -> None:
        await self.send("input_audio_buffer.cleared")

    async def _on_create(self, event: Event) -> None:
        if event.get("response", {}).get("conversation") == "none":
            if self.server.answers:
                await self.answer(event, self.server.answers.pop(0))
            return
        if self.active is not None:
            code = "conversation_already_has_active_response"
            await self.error(code, f"active: {self.active}", event_id=event.get("event_id"))
        elif self.server.is_replying:
            await self.reply()

    async def _on_cancel(self, event: Event) -> None:
        if self.active is None or event.get("response_id", self.active) != self.active:
            await self.error("response_cancel_not_active", event_id=event.get("event_id"))
        else:
            await self.finish("cancelled", reason="client_cancelled")

    async def _on_truncate(self, event: Event) -> None:
        item_id, end_ms = event["item_id"], event["audio_end_ms"]
        stored_ms = self._item_ms.get(item_id)
        if stored_ms is None:
            await self.error("item_truncate_invalid_item_id", event_id=event.get("event_id"))
        elif end_ms > stored_ms:
            text = f"Audio content of {stored_ms:g}ms is already shorter than {end_ms}ms"
            await self.error("invalid_value", text, event_id=event.get("event_id"), param="audio_end_ms")
        else:
            self._item_ms[item_id] = end_ms
            where = {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms}
            await self.send("conversation.item.truncated", **where)

    async def _on_commit(self, _event: Event) -> None:
        item_id = self._name("item_user")
        await self.send("input_audio_buffer.committed", previous_item_id=None, item_id=item_id)

    _HANDLERS: ClassVar[Mapping[str, Callable[[ServerSession, Event], Awaitable[None]]]] = {
        "session.update": _on_update,
        "conversation.item.create": _on_item,
        "response.create": _on_create,
        "response.cancel": _on_cancel,
        "conversation.item.truncate": _on_truncate,
        "conversation.item.delete": _on_delete,
        "conversation.item.retrieve": _on_retrieve,
        "input_audio_buffer.commit": _on_commit,
        "input_audio_buffer.clear": _on_clear,
    }

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self.number}_{self._count}"

    def _place(self, response_id: str, item_id: str) -> Event:
        return {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}

    def _bytes_per_ms(self, direction: str) -> int:
        return BYTES_PER_MS[self.config["audio"][direction]["format"]["type"]]

    def _response(self, status: str) -> Event:
        return {
            "object": "realtime.response",
            "id": self.active,
            "status": status,
            "status_details": None,
            "output": [],
            "conversation_id": "conv_1",
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "usage": None,
            "metadata": None,
        }


# --- the server ------------------------------------------------------------------------------------------------------


class RealtimeServer(ProviderServer[ServerSession]):
    """The scripted provider; an asynchronous context manager.

    `replies`: what it says, in order. `answers`: what it writes to questions beside the conversation, in order; when
    they have run out, questions wait. `refusal`: how it turns everybody away. `update_error`: code with which it
    refuses ``session.update``. `overrides`: members it puts into the confirmed session whatever was asked. `is_silent`:
    accepts the upgrade and says nothing. `is_confirming`: sends ``session.updated``. `is_replying`: answers
    ``response.create``; without, the test does. `is_echoing`: speaks back all audio. `piece_ms`: audio per delta.
    `tls`: serve wss.

    All of them may be changed while it runs; they hold from then on.
    """

    PATH = "/v1"

    def __init__(
        self,
        *,
        replies: Iterable[Reply] = (),
        answers: Iterable[str] = (),
        refusal: Refusal | None = None,
        update_error: str = "",
        overrides: Event | None = None,
        is_silent: bool = False,
        is_confirming: bool = True,
        is_replying: bool = True,
        is_echoing: bool = False,
        piece_ms: int = 200,
        delay_s: float = 0.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(refusal, tls)
        self.replies = list(replies)
        self.answers = list(answers)
        self.update_error = update_error
        self.overrides = overrides or {}
        self.is_silent = is_silent
        self.is_confirming = is_confirming
        self.is_replying = is_replying
        self.is_echoing = is_echoing
        self.piece_ms = piece_ms
        self.delay_s = delay_s
        """What a session takes to be created, as a hosted model's does."""

    def new_session(self, connection: ServerConnection) -> ServerSession:
        """See `ProviderServer.new_session`."""
        return ServerSession(self, connection)

    def configured(self, session: ServerSession) -> None:
        """A session got its first configuration confirmed."""
        if session.kinds().count("session.update") == 1:
            self.confirm(session)

    def next_reply(self) -> Reply | None:
        """The next scripted reply, None when they have run out."""
        return self.replies.pop(0) if self.replies else None


def _default_session(number: int) -> Event:
    """``session`` of ``session.created``."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": f"sess_{number}",
        "model": "gpt-realtime-2.1-mini",
        "expires_at": 1_795_000_000,
        "output_modalities": ["audio"],
        "instructions": "Be kind.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "truncation": "auto",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
    }


def _merge(target: Event, changes: Mapping[str, Any]) -> None:
    """Deep merge, but formats and turn detection are replaced whole."""
    for name, value in changes.items():
        if (
            isinstance(value, Mapping)
            and isinstance(target.get(name), dict)
            and name not in ("format", "turn_detection")
        ):
            _merge(target[name], value)
        else:
            target[name] = value
