"""Scripted fakes of the providers that speak the OpenAI protocol in a dialect, each strict about its own.

Inside is `RealtimeServer`, which thinks in GA; here is what a vendor's server would see and say instead: its address,
its header, its members of the session, its names of events. What a client does wrong is refused as the vendor would,
and noted in `DialectSession.violations`. The rules are told here a second time, by hand, from the vendors' references:
what they are compared with is the table of `gateway.realtime.openai.dialects`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.support.provider_server import Event
from tests.support.realtime_server import RealtimeServer, ServerSession

KEY = "key-of-the-test"
ANY = "*"

PCM_24K, PCM_16K, PCM_8K = ({"type": "audio/pcm", "rate": rate} for rate in (24000, 16000, 8000))
PCMU, PCMA = {"type": "audio/pcmu"}, {"type": "audio/pcma"}
GA_FORMATS = [(PCM_24K, 48), (PCMU, 8), (PCMA, 8)]
ALL_FORMATS = [*GA_FORMATS, (PCM_16K, 32), (PCM_8K, 16)]
ONLY_24K = [(PCM_24K, 48)]
BETA_FORMATS = [("pcm16", 48), ("g711_ulaw", 8), ("g711_alaw", 8)]

GA_SESSION = {"type", "output_modalities", "instructions", "audio", "tools", "tool_choice", "max_output_tokens"}
XAI_SESSION = {"instructions", "voice", "turn_detection", "audio", "tools", "tool_choice", "max_output_tokens"}
BETA_SESSION = {"modalities", "instructions", "voice", "turn_detection", "tools", "tool_choice"}
BETA_SESSION |= {"input_audio_format", "output_audio_format", "input_audio_transcription"}
SMALL_INPUT = {"format", "transcription", "turn_detection"}

CLIENT_EVENTS = {
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "conversation.item.create",
    "response.create",
    "response.cancel",
}
BETA_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What one vendor's server insists on, and how it speaks."""

    path: str = "/v1/realtime"
    query: Mapping[str, str] = field(default_factory=lambda: {"model": "m"})
    header: tuple[str, str] = ("Authorization", f"Bearer {KEY}")
    shape: str = "ga"
    session: frozenset[str] | set[str] | None = None
    required: Mapping[str, Any] = field(default_factory=dict)
    """Members that the first ``session.update`` must have."""
    input: set[str] | None = None
    heard: list[tuple[Any, int]] = field(default_factory=lambda: GA_FORMATS)
    """Formats as they are written, and their octets a millisecond."""
    spoken: list[tuple[Any, int]] = field(default_factory=lambda: GA_FORMATS)
    turn_detections: tuple[str, ...] = ("server_vad", "semantic_vad")
    has_nested_tools: bool = False
    is_beta: bool = False
    truncates: bool = True
    deletes: bool = True
    opening: str = "session.created"
    usage: str = "response"
    """``response``, ``event`` (beside it), ``details`` (plural), ``seconds`` (running total) or ``none``."""
    key_refusal: tuple[Any, int] | None = None
    """Code of the error after the upgrade, and the close code; None for 401 at the upgrade."""
    expiry: tuple[Event, int] = field(
        default_factory=lambda: ({"type": "invalid_request_error", "code": "session_expired"}, 1001)
    )
    """Its last words after the longest session, and the close code."""


OPENAI_KEY = ("invalid_api_key", 3000)
RULES = {
    "openai": Rules(key_refusal=OPENAI_KEY),
    "azure": Rules(path="/openai/v1/realtime", header=("api-key", KEY)),
    "xai": Rules(
        shape="xai",
        session=XAI_SESSION,
        input={"format", "transcription"},
        heard=ALL_FORMATS,
        spoken=ALL_FORMATS,
        turn_detections=("server_vad",),
        truncates=False,
        opening="conversation.created",
        usage="seconds",
        expiry=({"type": "max_duration", "message": "The session is too old."}, 1000),
    ),
    "inworld": Rules(
        path="/api/v1/realtime/session",
        query={"key": ANY, "protocol": "realtime"},
        header=("Authorization", f"Basic {KEY}"),
        session=GA_SESSION | {"model"},
        required={"model": "m"},
        input=SMALL_INPUT,
        heard=ALL_FORMATS,
        spoken=ALL_FORMATS,
        truncates=False,
        deletes=False,
        usage="event",
        key_refusal=(7, 1000),
        expiry=({"code": 14, "message": "The server restarts."}, 1000),
    ),
    "eleven": Rules(
        path="/v1/convai/realtime",
        query={},
        header=("xi-api-key", KEY),
        session=GA_SESSION | {"model", "max_duration_seconds"},
        required={"model": "m", "max_duration_seconds": 7200},
        input=SMALL_INPUT,
        heard=ONLY_24K,
        spoken=[({"type": "audio/pcm"}, 48)],
        turn_detections=("semantic_vad",),
        deletes=False,
        usage="none",
        expiry=({}, 1000),
    ),
    "localai": Rules(session=GA_SESSION, input=SMALL_INPUT, heard=ONLY_24K, spoken=ONLY_24K, expiry=({}, 1001)),
    "speech_to_speech": Rules(
        session=GA_SESSION,
        input=SMALL_INPUT,
        heard=ONLY_24K,
        spoken=ONLY_24K,
        turn_detections=("server_vad",),
        deletes=False,
        expiry=({}, 1001),
    ),
    "azure_voice_live": Rules(
        path="/voice-live/realtime",
        query={"api-version": ANY, "model": "m"},
        header=("api-key", KEY),
        shape="flat",
        session=BETA_SESSION | {"max_response_output_tokens", "input_audio_noise_reduction"},
        heard=BETA_FORMATS,
        spoken=[*BETA_FORMATS, ("pcm16_16000hz", 32), ("pcm16_8000hz", 16)],
        turn_detections=("server_vad", "azure_semantic_vad"),
        is_beta=True,
        deletes=False,
    ),
    "qwen": Rules(
        path="/api-ws/v1/realtime",
        shape="flat",
        session=BETA_SESSION,
        heard=[("pcm", 32)],
        spoken=[("pcm", 48)],
        has_nested_tools=True,
        is_beta=True,
        truncates=False,
        deletes=False,
        usage="details",
    ),
    "speaches": Rules(
        shape="flat",
        session=BETA_SESSION | {"max_response_output_tokens"},
        heard=[("pcm16", 48)],
        spoken=[("pcm16", 48)],
        turn_detections=("server_vad",),
        is_beta=True,
        expiry=({"type": "server_error", "code": "server_error"}, 1011),
    ),
    "embedded": Rules(key_refusal=OPENAI_KEY),
}


class DialectSession(ServerSession):
    """One client's session, as the vendor sees it."""

    server: DialectServer

    def __init__(self, server: DialectServer, connection: ServerConnection) -> None:
        super().__init__(server, connection)
        self.rules = server.rules
        self.violations: list[str] = []
        """What the client did that the vendor refuses."""
        self.session: Event = {}
        """The session as the client wrote it."""
        self.said: list[Event] = []
        """Every client event but appends, as it came."""
        self._billed_s = 0

    async def wait_for_appends(self, count: int) -> None:
        """Wait until so many appends came, empty ones among them."""
        await self.wait_until(lambda: self.appends >= count, f"{count} appends")

    async def wait_for_violation(self) -> str:
        """Wait until the client did something that is refused; what."""
        await self.wait_until(lambda: bool(self.violations), "a violation")
        return self.violations[0]

    async def expire(self) -> None:
        """End the session as the vendor ends one that has lasted too long, or cannot go on."""
        error, code = self.rules.expiry
        if error:
            await self.send("error", error=error)
        await self.close(code)

    # --- what goes out ------------------------------------------------------------------------------------------------

    async def send(self, kind: str, **members: object) -> None:
        """One server event, in the dialect."""
        rules = self.rules
        if kind in ("session.created", "session.updated"):
            members["session"] = {"id": "sess_1", "model": "m"} | self._shown_session()
        if kind == "session.created" and kind != rules.opening:
            await super().send(rules.opening, conversation={"id": "conv_1"})
        if kind == "response.done":
            self._bill(members)
        if rules.is_beta:
            if kind == "conversation.item.done":
                return
            kind = BETA_NAMES.get(kind, kind)
        await super().send(kind, **members)

    def _shown_session(self) -> Event:
        return self.session if self.rules.shape != "ga" or self.rules.session else self.config

    def _bill(self, members: dict[str, Any]) -> None:
        """Put the usage where the vendor has it."""
        usage = members["response"].pop("usage")
        match self.rules.usage:
            case "response":
                members["response"]["usage"] = usage
            case "event":
                members["usage"] = usage
            case "details":
                plural = {name.replace("_token_", "_tokens_"): value for name, value in usage.items()}
                members["response"]["usage"] = plural
            case "seconds":
                self._billed_s += 3
                members["usage"] = usage | {"billable_audio_seconds": self._billed_s}

    # --- what comes in ------------------------------------------------------------------------------------------------

    async def _greet(self) -> bool:
        if not self._has_key and self.rules.key_refusal is not None:
            code, close_code = self.rules.key_refusal
            await self.error(code, f"wrong key {KEY}")
            await self.close(close_code)
            return False
        return await super()._greet()

    @property
    def _has_key(self) -> bool:
        return self.server.has_key(self.request)

    async def _handle(self, message: str | bytes) -> None:
        event: Event = json.loads(message)
        if event["type"] != "input_audio_buffer.append":
            self.said.append(event)
        problem = self._problem(event)
        if problem:
            self.violations.append(problem)
            await self.error("unknown_parameter", problem, event_id=event.get("event_id"))
            await self.notify()
            return
        if event["type"] == "session.update":
            self.session |= event["session"]
            event = event | {"session": self._as_ga(event["session"])}
        await super()._handle(json.dumps(event))
        if event["type"] == "conversation.item.create" and event["item"]["type"] == "force_message":
            await self.reply()

    def _problem(self, event: Event) -> str:
        """What the vendor would refuse."""
        rules, kind = self.rules, event["type"]
        known = CLIENT_EVENTS | ({"conversation.item.truncate"} if rules.truncates else set())
        if kind not in known | ({"conversation.item.delete"} if rules.deletes else set()):
            return f"unknown event {kind}"
        if kind == "session.update":
            return self._session_problem(event["session"])
        if kind == "conversation.item.create" and rules.is_beta:
            kinds = {part["type"] for part in event["item"].get("content", [])}
            return f"parts {sorted(kinds)}" if kinds - {"input_text", "text"} else ""
        if kind == "conversation.item.create" and event["item"]["type"] == "force_message" and rules.shape != "xai":
            return "item force_message"
        if kind == "response.create" and rules.is_beta and set(event.get("response", {})) - {"instructions"}:
            return f"reply {sorted(event['response'])}"
        return ""

    def _session_problem(self, session: Event) -> str:
        rules = self.rules
        unknown = set(session) - rules.session if rules.session is not None else set()
        if unknown:
            return f"unknown session keys {sorted(unknown)}"
        missing = {name for name, value in rules.required.items() if not self.session and session.get(name) != value}
        if missing:
            return f"no {sorted(missing)}"
        if rules.shape == "ga" and session.get("type") != "realtime":
            return "no session type"
        if rules.shape == "flat" and session.get("modalities", ["text", "audio"]) != ["text", "audio"]:
            return f"modalities {session['modalities']}"
        if rules.shape != "flat" and "audio" in session:
            unknown = set(session["audio"]["input"]) - rules.input if rules.input is not None else set()
            if unknown:
                return f"unknown input keys {sorted(unknown)}"
        return self._value_problem(session)

    def _value_problem(self, session: Event) -> str:
        rules, audio = self.rules, self._as_ga(session).get("audio", {})
        heard, spoken = audio.get("input", {}), audio.get("output", {})
        for form, known in ((heard.get("format"), rules.heard), (spoken.get("format"), rules.spoken)):
            if form is not None and form not in [name for name, _ in known]:
                return f"format {form}"
        turns = heard.get("turn_detection")
        if turns is not None and turns["type"] not in rules.turn_detections:
            return f"turn detection {turns['type']}"
        if any(("function" in tool) != rules.has_nested_tools for tool in session.get("tools", [])):
            return "shape of the tools"
        return ""

    def _as_ga(self, session: Event) -> Event:
        """A session of the vendor's shape in the shape that the server thinks in; formats as they were written."""
        if self.rules.shape == "ga":
            return session
        heard: Event = {}
        spoken: Event = {}
        if self.rules.shape == "xai":
            heard = dict(session.get("audio", {}).get("input", {}))
            spoken = dict(session.get("audio", {}).get("output", {}))
        for ours, theirs, way in (
            ("format", "input_audio_format", heard),
            ("format", "output_audio_format", spoken),
            ("transcription", "input_audio_transcription", heard),
            ("turn_detection", "turn_detection", heard),
            ("voice", "voice", spoken),
        ):
            if theirs in session:
                way[ours] = session[theirs]
        return {"audio": {"input": heard, "output": spoken}}

    def _bytes_per_ms(self, direction: str) -> int:
        known = self.rules.heard if direction == "input" else self.rules.spoken
        form = self.config["audio"][direction]["format"]
        return next(size for name, size in known if name == form)


class DialectServer(RealtimeServer):
    """The fake of one vendor, by its name in `RULES`."""

    def __init__(self, name: str, **behaviour: Any) -> None:
        super().__init__(**behaviour)
        self.rules = RULES[name]
        self.refused: list[str] = []
        """Paths of openings that were refused."""

    @property
    def root(self) -> str:
        """The address without a path."""
        return f"ws://127.0.0.1:{self.port}"

    async def dialect_session(self) -> DialectSession:
        """The next session that was opened and configured."""
        session = await self.session()
        assert isinstance(session, DialectSession)
        return session

    async def opened(self) -> DialectSession:
        """The next session that was opened, configured or not."""
        session = await self.connection()
        assert isinstance(session, DialectSession)
        return session

    def has_key(self, request: Request) -> bool:
        """Whether the opening shows the key where the vendor looks for it."""
        name, value = self.rules.header
        return request.headers.get(name) == value

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        query = dict(parse_qsl(parts.query))
        wanted = self.rules.query
        is_asked_right = set(query) == set(wanted) and all(
            query[name] and value in (ANY, query[name]) for name, value in wanted.items()
        )
        status = None
        if parts.path != self.rules.path or not is_asked_right:
            status = HTTPStatus.NOT_FOUND
        elif not self.has_key(request) and self.rules.key_refusal is None:
            status = HTTPStatus.UNAUTHORIZED
        if status is not None:
            self.refused.append(request.path)
            return connection.respond(status, "")
        return super()._process_request(connection, request)

    def new_session(self, connection: ServerConnection) -> DialectSession:
        """See `ProviderServer.new_session`."""
        return DialectSession(self, connection)
