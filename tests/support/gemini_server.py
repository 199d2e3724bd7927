"""A scripted Gemini Live over a real WebSocket on loopback: strict in what it takes, JSON in binary frames out.

As the real one it wants ``setup`` first, refuses every member that it does not know, null, and results of calls that
are not open (1007), answers text, the end of a caller's turn and tool results, breaks off its reply for text that is to
be answered, and ends every turn with ``turnComplete``, an interrupted one too::

    async with GeminiServer(replies=[Speech(audio=greeting, text="Hello.")]) as server:
        ...connect the code under test to server.url...
        session = await server.session()
        await session.interrupt("Wait.")                        # barge-in

Replies are given out in order; when they have run out a reply is empty. Nothing here waits for time to pass.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.support.provider_server import HttpRefusal, ProviderServer, ProviderSession
from tests.support.realtime_server import Call, Speech, ToolCalls

Message = dict[str, Any]
Reply = Speech | ToolCalls

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
USAGE: Message = {
    "promptTokenCount": 20,
    "responseTokenCount": 10,
    "totalTokenCount": 33,
    "thoughtsTokenCount": 3,
    "cachedContentTokenCount": 4,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 15}],
    "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 2}, {"modality": "AUDIO", "tokenCount": 8}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
}

# What may stand where: a mapping holds members, a list elements of one form, a type a value.
_SCHEMA: Message = {}
_SCHEMA |= {
    "type": str,
    "description": str,
    "nullable": bool,
    "enum": [str],
    "format": str,
    "pattern": str,
    "minimum": (int, float),
    "maximum": (int, float),
    "minLength": int,
    "maxLength": int,
    "minItems": int,
    "maxItems": int,
    "required": [str],
    "items": _SCHEMA,
    "anyOf": [_SCHEMA],
    "properties": {"*": _SCHEMA},
}
_CONTENT = {"role": str, "parts": [{"text": str}]}
_DETECTION = {
    "disabled": bool,
    "startOfSpeechSensitivity": str,
    "endOfSpeechSensitivity": str,
    "prefixPaddingMs": int,
    "silenceDurationMs": int,
}
_CLIENT: Message = {
    "setup": {
        "model": str,
        "generationConfig": {
            "responseModalities": [str],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": str}}},
            "maxOutputTokens": int,
            "thinkingConfig": {"thinkingLevel": str},
        },
        "systemInstruction": _CONTENT,
        "tools": [{"functionDeclarations": [{"name": str, "description": str, "parameters": _SCHEMA}]}],
        "realtimeInputConfig": {"automaticActivityDetection": _DETECTION, "activityHandling": str},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "contextWindowCompression": {"slidingWindow": {}},
        "sessionResumption": {"handle": str},
    },
    "clientContent": {"turns": [_CONTENT], "turnComplete": bool},
    "realtimeInput": {"audio": {"mimeType": str, "data": str}, "activityStart": {}, "activityEnd": {}},
    "toolResponse": {"functionResponses": [{"id": str, "name": str, "response": {"*": object}, "scheduling": str}]},
}


class InvalidArgument(Exception):
    """What the real one closes for with 1007."""


def check(value: Any, form: Any, where: str = "") -> None:
    """See that `value` is of this form, as ProtoJSON is read."""
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            raise InvalidArgument(f"{where} is not an object")
        for name, member in value.items():
            if name not in form and "*" not in form:
                raise InvalidArgument(f'Unknown name "{name}" at "{where}"')
            check(member, form.get(name, form.get("*")), f"{where}.{name}".lstrip("."))
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise InvalidArgument(f"{where} is not a list")
        for element in value:
            check(element, form[0], where)
    elif not isinstance(value, form) or (value is None):
        raise InvalidArgument(f"Invalid value at {where}")


class GeminiSession(ProviderSession):
    """One client's session: what it sent, and the levers to answer it."""

    def __init__(self, server: GeminiServer, connection: ServerConnection) -> None:
        super().__init__(connection)
        self.server = server
        self.messages: list[Message] = []
        """Every client message but audio, in order."""
        self.setup: Message = {}
        self.is_speaking = False
        """A turn of the model is under way."""
        self.open_calls: dict[str, str] = {}
        self._is_caller_active = False

    # --- what the client did ------------------------------------------------------------------------------------------

    def kinds(self) -> list[str]:
        """What the messages were so far, audio left out."""
        return [_kind(message) for message in self.messages]

    async def received(self, kind: str) -> Any:
        """The content of the next message of that kind that no earlier call returned; those between are passed over."""
        return next(iter(self.messages[await self.next_of(kind)].values()))

    # --- levers -------------------------------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, object] | str | bytes) -> None:
        """Send one message, garbage too; an object goes as JSON in a binary frame."""
        data = json.dumps(message).encode() if isinstance(message, Mapping) else message
        await self.send_text(data)

    async def content(self, **members: object) -> None:
        """Send ``serverContent``."""
        await self.send({"serverContent": members})

    async def hear(self, text: str) -> None:
        """Tell the caller's words, and nothing else."""
        await self.content(inputTranscription={"text": text})

    async def end_turn(self, text: str = "") -> None:
        """The caller has said this; the next scripted reply follows."""
        if text:
            await self.hear(text)
        await self.reply()

    async def interrupt(self, text: str = "", *, at_s: float | None = None) -> None:
        """The caller breaks in: the turn under way ends. `at_s` also tells the voice, as newer models do."""
        if at_s is not None:
            await self.send({"voiceActivity": {"voiceActivityType": "ACTIVITY_START", "audioOffset": f"{at_s:g}s"}})
        if text:
            await self.hear(text)
        await self._break_off()

    async def _break_off(self) -> None:
        await self.content(interrupted=True)
        if self.open_calls:
            await self.send({"toolCallCancellation": {"ids": list(self.open_calls)}})
            self.open_calls.clear()
        await self.complete()

    async def reply(self, reply: Reply | None = None) -> None:
        """Make `reply`, or the next scripted one."""
        reply = reply or (self.server.replies.pop(0) if self.server.replies else None)
        self.is_speaking = True
        match reply:
            case Speech():
                await self.say(reply.audio, reply.text)
                if reply.is_finished:
                    await self.content(generationComplete=True)
                    await self.complete()
            case ToolCalls():
                await self.call(reply.calls, times=reply.times)
            case None:
                await self.complete()

    async def say(self, audio: bytes, text: str = "") -> None:
        """Speak in the turn under way; the words come with the first piece."""
        words: Message = {"outputTranscription": {"text": text}} if text else {}
        for start in range(0, len(audio), self.server.piece_bytes):
            await self.content(
                modelTurn={"parts": [audio_part(audio[start : start + self.server.piece_bytes])]}, **words
            )
            words = {}

    async def call(self, calls: Iterable[Call], *, times: int = 1) -> list[str]:
        """Call tools; the turn goes on when all of them are answered."""
        told = []
        for call in calls:
            self._count += 1
            call_id = call.call_id or f"function-call-{self._count}"
            self.open_calls[call_id] = call.name
            told.append({"id": call_id, "name": call.name, "args": json.loads(call.arguments)})
        for _ in range(times):
            await self.send({"toolCall": {"functionCalls": told}})
        return [call["id"] for call in told]

    async def complete(self, **members: object) -> None:
        """End the turn of the model, with its usage."""
        self.is_speaking = False
        await self.send({"serverContent": {"turnComplete": True} | members, "usageMetadata": USAGE})

    # --- the honest server --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take messages until the client is gone."""
        try:
            async for data in self.connection:
                await self._take(data)
        except ConnectionClosed:
            pass
        except InvalidArgument as error:
            await self.close(1007, str(error)[:120])
        finally:
            received = self.connection.protocol.close_rcvd
            self.close_code = received.code if received else 1006
            await self.notify()

    async def _take(self, data: str | bytes) -> None:
        message = json.loads(data)
        check(message, _CLIENT)
        kind = _kind(message)
        if (kind == "setup") == bool(self.setup):
            raise InvalidArgument("setup must be the first message, and only it")
        content = next(iter(message.values()))
        if "audio" in content:
            self.audio += base64.b64decode(content["audio"]["data"])
        else:
            self.messages.append(message)
        await self.notify()
        match kind:
            case "setup":
                self.setup = content
                await self.server.set_up(self)
            case "clientContent" if content.get("turnComplete"):
                if self.is_speaking:
                    await self._break_off()
                await self.reply()
            case "realtimeInput":
                await self._take_activity(content)
            case "toolResponse":
                await self._take_results(content["functionResponses"])

    async def _take_activity(self, content: Message) -> None:
        detection = self.setup.get("realtimeInputConfig", {}).get("automaticActivityDetection", {})
        is_ours = detection.get("disabled", False)
        if "activityStart" in content or "activityEnd" in content:
            if not is_ours or ("activityStart" in content) == self._is_caller_active:
                raise InvalidArgument("unexpected activity")
            self._is_caller_active = "activityStart" in content
            if not self._is_caller_active:
                await self.reply()
        elif is_ours and not self._is_caller_active:
            raise InvalidArgument("audio outside of an activity")

    async def _take_results(self, results: Sequence[Message]) -> None:
        for result in results:
            if self.open_calls.pop(result.get("id", ""), None) != result["name"]:
                raise InvalidArgument("no such function call")
        if not self.open_calls:
            if any(result.get("scheduling") == "SILENT" for result in results):
                await self.complete()
            else:
                await self.reply()


class GeminiServer(ProviderServer[GeminiSession]):
    """Listens on a free port of 127.0.0.1. Without `is_confirming` no session is ever set up."""

    def __init__(
        self,
        *,
        replies: Iterable[Reply] = (),
        refusal: HttpRefusal | tuple[int, str] | None = None,
        is_confirming: bool = True,
        piece_bytes: int = 9600,
    ) -> None:
        super().__init__(refusal)
        self.replies = list(replies)
        self.piece_bytes = piece_bytes
        self._is_confirming = is_confirming

    def new_session(self, connection: ServerConnection) -> GeminiSession:
        """See `ProviderServer.new_session`."""
        return GeminiSession(self, connection)

    async def set_up(self, session: GeminiSession) -> None:
        """A session's ``setup`` came."""
        if isinstance(self.refusal, tuple):
            await session.close(*self.refusal)
        elif self._is_confirming:
            await session.send({"setupComplete": {"sessionId": f"session-{len(self.sessions)}"}})
            self.confirm(session)


def audio_part(audio: bytes, rate_hz: int = 24000) -> Message:
    """A part of a ``modelTurn``."""
    return {"inlineData": {"mimeType": f"audio/pcm;rate={rate_hz}", "data": base64.b64encode(audio).decode()}}


def _kind(message: Message) -> str:
    """What a client message is: the name of its one member."""
    kind = str(next(iter(message), ""))
    if len(message) != 1:
        raise InvalidArgument("one message, one thing")
    return kind
