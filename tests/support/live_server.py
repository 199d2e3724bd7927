"""A scripted GPT-Live: the OpenAI Live API over a real WebSocket on loopback, for tests of what talks to one.

It is full duplex and strict. It lives by the audio that it is sent: for every piece of the caller's it sends one of
its own, speech or silence, so that its pace is the caller's and nothing here waits for time to pass. It stops by itself
when it is talked over. What the Live API does not know is refused, as ``unknown_parameter``, and noted in `faults`::

    async with LiveServer(replies=[Speech(audio=greeting, text="Hello.")]) as server:
        ...connect the code under test to server.url...
        session = await server.session()
        await session.call_tool("look_up")
        output = await session.received("response.item.create")

Replies are given out in order: one for each request to speak, by instructions or commentary, and one for each
``response.create`` that lets the backend go on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.loudness import sounding_parts
from tests.support.provider_server import Event, HttpRefusal, ProviderServer, ProviderSession
from tests.support.realtime_server import Reply, Speech, ToolCalls

FORMATS = {
    ("audio/pcm", 24000): AudioFormat.PCM16_24K,
    ("audio/pcm", 16000): AudioFormat.PCM16_16K,
    ("audio/pcmu", 8000): AudioFormat.PCMU,
    ("audio/pcma", 8000): AudioFormat.PCMA,
}
HASTY_PAUSE_MS = 1000
TALKED_OVER_MS = 200
"""Speech of the caller at which the model stops."""
MAX_MESSAGES, MAX_APPEND_CHARACTERS, MAX_HISTORY_CHARACTERS = 128, 2000, 4 * 8192

_CHANNELS = ("instructions", "thinking", "commentary")
_EVENTS: dict[str, set[str]] = {
    "session.start": {"session"},
    "session.update": {"session"},
    "session.input_audio.append": {"audio"},
    "session.close": set(),
    "response.create": set(),
    "response.item.create": {"item"},
} | {f"session.{channel}.append": {"content", "delegation_id"} for channel in _CHANNELS}
"""Client events, and the members that each must have; ``event_id`` it may have."""
_SESSION = {"model", "instructions", "input", "audio", "delegation", "triggers", "store", "safety_identifier", "client"}
_BACKEND = {"model", "instructions", "tools", "tool_choice", "max_output_tokens", "parallel_tool_calls", "reasoning"}


class Refused(Exception):
    """What the API does not take."""


# --- one connection --------------------------------------------------------------------------------------------------


class LiveServerSession(ProviderSession):
    """One client's session: what it sent, and the levers to answer it."""

    def __init__(self, server: LiveServer, connection: ServerConnection) -> None:
        super().__init__(connection)
        self.server = server
        self.session_id = f"live_{len(server.sessions) + 1}"
        self.events: list[Event] = []
        """Every client event but appends of audio, in order."""
        self.sent: list[Event] = []
        """Every event of ours, in order."""
        self.faults: list[str] = []
        """What was refused."""
        self.config: Event = {}
        """``session`` of ``session.start``."""
        self.sent_ms = 0
        """Audio made, silence included."""
        self.interruptions = 0
        """How often it was talked over."""
        self._form = AudioFormat.PCM16_24K
        self._voice = bytearray()
        self._loud_ms = 0
        self._owed_acks: list[Event] = []
        self._open_calls: set[str] = set()
        self._known_calls: set[str] = set()
        self._held: list[str] | None = None

    # --- what the client did ------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Path of the opening request, with its query."""
        return self.request.path

    def kinds(self) -> list[str]:
        """Types of all client events so far, appends of audio left out."""
        return [str(event.get("type")) for event in self.events]

    @property
    def heard_ms(self) -> int:
        """Length of all audio appended."""
        return len(self.audio) // self._form.bytes_per_ms

    @property
    def is_speaking(self) -> bool:
        """Whether something is left to be said."""
        return bool(self._voice)

    async def received(self, kind: str) -> Event:
        """The next client event of type `kind` that no earlier call returned; those in between are passed over."""
        return self.events[await self.next_of(kind)]

    def account(self) -> str:
        """See `ProviderSession.account`."""
        return f"{super().account()}, refused {self.faults}"

    # --- levers -------------------------------------------------------------------------------------------------------

    async def send(self, kind: str, **members: object) -> None:
        """Send one server event, or hold it back while the network stalls. Audio alone has no id of its own."""
        name = {} if kind == "session.output_audio.delta" else {"event_id": self._name("event")}
        event: Event = {"type": kind} | name | members
        text = json.dumps(event)
        self.sent.append(event)
        if self._held is not None:
            self._held.append(text)
        else:
            await self.send_text(text)

    def stall(self) -> None:
        """Let nothing through to the client; what is sent meanwhile comes at once with `recover`."""
        self._held = []

    async def recover(self) -> None:
        """Let through what was held back."""
        held, self._held = self._held or [], None
        for text in held:
            await self.send_text(text)

    async def speak(self, speech: Speech) -> None:
        """Say it from now on, at the pace of hearing; its words come with the first of it."""
        start_ms = self.sent_ms + len(self._voice) // self._form.bytes_per_ms
        self._voice += speech.audio
        end_ms = self.sent_ms + len(self._voice) // self._form.bytes_per_ms
        if speech.text:
            await self.send("session.output_transcript.delta", delta=speech.text, start_ms=start_ms, end_ms=end_ms)
        if self.server.is_hasty:
            await self._play(len(self._voice) // self._form.bytes_per_ms)
            await self._play(HASTY_PAUSE_MS)

    async def hear(self, text: str, *, start_ms: int | None = None, end_ms: int | None = None) -> None:
        """Write down words of the caller."""
        start_ms = self.heard_ms if start_ms is None else start_ms
        end_ms = start_ms if end_ms is None else end_ms
        await self.send("session.input_transcript.delta", delta=text, start_ms=start_ms, end_ms=end_ms)

    async def delegate(self, target: str) -> str:
        """Hand work on; its id."""
        delegation = {"id": self._name("delegation"), "target": target, "type": "delegation"}
        await self.send("session.delegation.created", delegation=delegation, offset_ms=self.sent_ms)
        return delegation["id"]

    async def begin_work(self) -> str:
        """Hand work on to the backend, which begins; the work's id."""
        delegation_id = await self.delegate("responses")
        await self.tell_work(delegation_id, {"type": "response.created", "response": {"id": self._name("resp")}})
        return delegation_id

    async def tell_call(self, delegation_id: str, name: str, arguments: str = "{}", *, times: int = 1) -> str:
        """Let the backend call a tool; the call's id."""
        call_id = self._name("call")
        item = {"id": self._name("fc"), "type": "function_call", "status": "completed"}
        item |= {"call_id": call_id, "name": name, "arguments": arguments}
        self._open_calls.add(call_id)
        self._known_calls.add(call_id)
        for _ in range(times):
            await self.tell_work(delegation_id, {"type": "response.output_item.done", "item": item})
        return call_id

    async def end_work(self, delegation_id: str, kind: str = "response.completed", **members: object) -> None:
        """End the backend's reply."""
        usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
        usage |= {"input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 3}}
        response = {"id": self._name("resp"), "usage": usage} | members
        await self.tell_work(delegation_id, {"type": kind, "response": response})

    async def tell_work(self, delegation_id: str | None, event: Event) -> None:
        """One event of the backend's stream."""
        await self.send("response.event", delegation_id=delegation_id, event=event)

    async def call_tool(self, name: str, arguments: str = "{}", *, times: int = 1) -> str:
        """A whole piece of work that calls one tool; the call's id."""
        delegation_id = await self.begin_work()
        call_id = await self.tell_call(delegation_id, name, arguments, times=times)
        await self.end_work(delegation_id)
        return call_id

    async def report_usage(self, seconds: float, usage_ratio: float = 0.1) -> None:
        """Tell what is billed since the beginning."""
        window = {"usage_ratio": usage_ratio}
        await self.send("session.usage.updated", usage={"seconds": seconds}, context_window=window)

    async def end(self, reason: str, seconds: float = 7.0) -> None:
        """End the session."""
        await self.send("session.closed", reason=reason, session=self._snapshot(), usage={"seconds": seconds})
        await self.connection.close()

    async def error(
        self, code: str, *, kind: str = "invalid_request_error", client_event_id: str | None = None
    ) -> None:
        """Send an ``error`` event."""
        error = {"type": kind, "code": code, "message": f"Refused: {code}", "param": None}
        await self.send("error", error=error | {"client_event_id": client_event_id})

    # --- the honest part ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the connection ends."""
        try:
            async for message in self.connection:
                await self._take(json.loads(message))
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self.connection.close_code or 1006
            await self.notify()

    async def _take(self, event: Event) -> None:
        if event.get("type") != "session.input_audio.append":
            self.events.append(event)
        try:
            _check(event, is_started=bool(self.config))
            if not self.server.is_silent:
                await self._HANDLERS[event["type"]](self, event)
        except Refused as refusal:
            self.faults.append(str(refusal))
            await self.error(str(refusal).split()[0], client_event_id=event.get("event_id"))
        await self.notify()

    async def _on_start(self, event: Event) -> None:
        if self.server.start_error:
            raise Refused(self.server.start_error)
        self.config = event["session"]
        audio_format = self.config["audio"]["format"]
        self._form = FORMATS[audio_format["type"], audio_format["rate"]]
        await self.send("session.started", session=self._snapshot() | self.server.overrides)
        self.server.confirm(self)

    def _snapshot(self) -> Event:
        return self.config | {"id": self.session_id, "expires_at": 1_795_000_000, "status": "active"}

    async def _on_append(self, event: Event) -> None:
        audio = base64.b64decode(event["audio"], validate=True)
        self.audio += audio
        for has_sound, part in sounding_parts(audio, self._form):
            self._loud_ms = self._loud_ms + len(part) // self._form.bytes_per_ms if has_sound else 0
            if self._loud_ms >= TALKED_OVER_MS and self._voice:
                self.interruptions += 1
                self._voice.clear()
        await self._keep_pace()

    async def _keep_pace(self) -> None:
        """Send as much audio as was heard: speech while there is some."""
        acks, self._owed_acks = self._owed_acks, []
        for ack in acks:
            await self.send(**ack)
        while self.heard_ms - self.sent_ms >= self.server.piece_ms and not self.server.is_hasty:
            await self._play(self.server.piece_ms)

    async def _play(self, ms: int) -> None:
        """The next audio of ours: what is to be said, and silence behind it."""
        size = ms * self._form.bytes_per_ms
        piece = bytes(self._voice[:size])
        del self._voice[:size]
        piece += self._form.silence * ((size - len(piece)) // self._form.bytes_per_sample)
        self.sent_ms += ms
        await self.send("session.output_audio.delta", delta=base64.b64encode(piece).decode())

    async def _on_context(self, event: Event) -> None:
        channel = event["type"].split(".")[1]
        place = {"start_ms": self.sent_ms, "end_ms": self.sent_ms}
        ack = {"kind": f"session.{channel}.appended", "client_event_id": event.get("event_id")}
        self._owed_acks.append(ack | place)
        if channel != "thinking":
            await self.reply()

    async def reply(self) -> None:
        """Give the next scripted reply, if there is one."""
        match self.server.replies.pop(0) if self.server.replies else None:
            case Speech() as speech:
                await self.speak(speech)
            case ToolCalls(calls=calls, times=times):
                work = await self.begin_work()
                for call in calls:
                    await self.tell_call(work, call.name, call.arguments, times=times)
                await self.end_work(work)
            case _:
                pass

    async def _on_update(self, event: Event) -> None:
        changes = event["session"]["delegation"]
        if changes["type"] != self.config["delegation"]["type"]:
            raise Refused("immutable_field_update session.delegation.type")
        await self.send("session.updated", session=self._snapshot())

    async def _on_item(self, event: Event) -> None:
        item = event["item"]
        if item["type"] == "function_call_output" and item["call_id"] not in self._open_calls:
            raise Refused(f"invalid_value no open call {item['call_id']}")
        self._open_calls.discard(item["call_id"])

    async def _on_create(self, _event: Event) -> None:
        if self._open_calls:
            raise Refused(f"invalid_value calls without an output: {sorted(self._open_calls)}")
        await self.tell_work(None, {"type": "response.created", "response": {}})
        await self.end_work("")
        await self.reply()

    async def _on_close(self, _event: Event) -> None:
        if self.server.is_farewelling:
            await self.end("close_requested")

    _HANDLERS: ClassVar[Mapping[str, Callable[[LiveServerSession, Event], Awaitable[None]]]] = {
        "session.start": _on_start,
        "session.update": _on_update,
        "session.input_audio.append": _on_append,
        "session.instructions.append": _on_context,
        "session.thinking.append": _on_context,
        "session.commentary.append": _on_context,
        "response.item.create": _on_item,
        "response.create": _on_create,
        "session.close": _on_close,
    }

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


# --- strictness ------------------------------------------------------------------------------------------------------


def _check(event: Event, *, is_started: bool) -> None:
    """See that it is an event of the API, whole, with nothing unknown in it, and in its time."""
    kind = event.get("type")
    if kind not in _EVENTS:
        raise Refused(f"invalid_event {kind}")
    if is_started == (kind == "session.start"):
        raise Refused(f"invalid_event {kind} out of turn")
    _members(event, f"{kind}", required=_EVENTS[kind] | {"type"}, known={"event_id"})
    if kind == "session.start":
        _check_session(event["session"])
    elif kind == "session.update":
        _members(event["session"], "session", known={"delegation", "triggers"})
        _check_delegation(event["session"]["delegation"], is_whole=False)
    elif "content" in event and not 0 < len(event["content"]) <= MAX_APPEND_CHARACTERS:
        raise Refused("string_above_max_length content")


def _check_session(session: Event) -> None:
    _members(session, "session", required={"model"}, known=_SESSION)
    audio = session.get("audio", {})
    _members(audio, "session.audio", required={"format"}, known={"output"})
    _members(audio["format"], "session.audio.format", required={"type", "rate"})
    if (audio["format"]["type"], audio["format"]["rate"]) not in FORMATS:
        raise Refused("invalid_value session.audio.format")
    _members(audio.get("output", {}), "session.audio.output", known={"voice"})
    _check_delegation(session.get("delegation", {"type": "client"}), is_whole=True)
    history = session.get("input", [])
    if len(history) > MAX_MESSAGES or sum(len(json.dumps(item)) for item in history) > MAX_HISTORY_CHARACTERS:
        raise Refused("array_above_max_length session.input")
    for item in history:
        _members(item, "session.input", required={"type", "role", "content"}, known={"id", "status"})
        (part,) = item["content"]
        _members(part, "session.input.content", required={"type", "text"})
        expected = {"developer": "input_text", "user": "input_text", "assistant": "output_text"}
        if part["type"] != expected.get(item["role"]):
            raise Refused("invalid_value session.input.content.type")


def _check_delegation(delegation: Event, *, is_whole: bool) -> None:
    has_backend = delegation["type"] == "responses"
    _members(delegation, "delegation", required={"type", "responses"} if has_backend else {"type"})
    if has_backend:
        backend = delegation["responses"]
        _members(backend, "delegation.responses", required={"model"} if is_whole else set(), known=_BACKEND)
        for tool in backend.get("tools", []):
            _members(tool, "tools", required={"type", "name"}, known={"description", "parameters", "strict"})


def _members(value: Event, where: str, *, required: set[str] | None = None, known: set[str] | None = None) -> None:
    required = required or set()
    unknown = value.keys() - required - (known or set())
    if unknown:
        raise Refused(f"unknown_parameter {where}: {sorted(unknown)}")
    if required - value.keys():
        raise Refused(f"missing_required_parameter {where}: {sorted(required - value.keys())}")


# --- the server ------------------------------------------------------------------------------------------------------


class LiveServer(ProviderServer[LiveServerSession]):
    """The scripted provider; an asynchronous context manager.

    `replies`: what it says, in order. `refusal`: how it turns everybody away. `start_error`: code with which it refuses
    ``session.start``. `overrides`: members it puts into the session that it tells. `is_silent`: takes everything and
    says nothing. `is_farewelling`: answers ``session.close``. `is_hasty`: says what it has to say at once, and a second
    of silence behind it, whatever it hears. `piece_ms`: audio per delta.
    """

    PATH = "/v1"

    def __init__(
        self,
        *,
        replies: Iterable[Reply] = (),
        refusal: HttpRefusal | None = None,
        start_error: str = "",
        overrides: Event | None = None,
        is_silent: bool = False,
        is_farewelling: bool = True,
        is_hasty: bool = False,
        piece_ms: int = 100,
    ) -> None:
        super().__init__(refusal)
        self.replies = list(replies)
        self.start_error = start_error
        self.overrides: dict[str, Any] = overrides or {}
        self.is_silent = is_silent
        self.is_farewelling = is_farewelling
        self.is_hasty = is_hasty
        self.piece_ms = piece_ms

    def new_session(self, connection: ServerConnection) -> LiveServerSession:
        """See `ProviderServer.new_session`."""
        return LiveServerSession(self, connection)
