"""The provider's side of the OpenAI protocol, fed into `OpenAIProtocol` as text, without a wire between them."""

from __future__ import annotations

import base64
import json
from typing import Any

from gateway.media.codec import AudioFormat
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.session import Secret, SessionEvent, SessionOptions
from tests.support.realtime_schema import assert_valid

KEY = "sk-never-shown"


class Peer:
    """A protocol under test and the provider's side of it, without a wire between them."""

    def __init__(self, *, is_ready: bool = True, **changes: Any) -> None:
        self.protocol = OpenAIProtocol(
            SessionOptions(
                **{"url": "ws://h/v1", "model": "m", "api_key": Secret(KEY), "output_format": AudioFormat.PCMU}
                | changes
            )
        )
        self.sent: list[dict[str, Any]] = []
        if is_ready:
            self.send("session.created")
            self.send("session.updated")
            self.sent.clear()

    def send(self, kind: str, **members: object) -> list[SessionEvent]:
        return self.send_text(json.dumps({"type": kind, "event_id": "e"} | members))

    def send_text(self, document: str) -> list[SessionEvent]:
        events = self.protocol.receive(document)
        self.drain()
        return events

    def drain(self) -> list[dict[str, Any]]:
        """What the protocol wants sent now; each is held against the schema."""
        events = [json.loads(message) for message in self.protocol.messages_to_send()]
        for event in events:
            assert_valid(event, "client")
        self.sent += events
        return events

    def take(self) -> list[str]:
        """Types of all that was sent since the last `take`."""
        self.drain()
        kinds = [event["type"] for event in self.sent]
        self.sent.clear()
        return kinds

    # --- the provider's moves

    def begin(self, response_id: str = "resp_1") -> list[SessionEvent]:
        return self.send("response.created", response={"id": response_id})

    def end(self, response_id: str = "resp_1", **response: object) -> list[SessionEvent]:
        return self.send("response.done", response={"id": response_id, "status": "completed", "output": []} | response)

    def speak(
        self, audio: bytes, item_id: str = "item_1", response_id: str = "resp_1", content_index: int = 0
    ) -> list[SessionEvent]:
        delta = base64.b64encode(audio).decode()
        where = {"response_id": response_id, "item_id": item_id, "content_index": content_index}
        return self.send("response.output_audio.delta", **where, delta=delta)

    def call(self, call_id: str, response_id: str = "resp_1", **item: object) -> list[SessionEvent]:
        call = {"type": "function_call", "call_id": call_id, "name": "look", "arguments": "{}", "status": "completed"}
        return self.send("response.output_item.done", response_id=response_id, item=call | item)

    def confirm(self, call_id: str) -> list[SessionEvent]:
        item = {"type": "function_call_output", "call_id": call_id, "output": ""}
        return self.send("conversation.item.added", item=item)

    def error(self, code: str, **error: object) -> list[SessionEvent]:
        return self.send("error", error={"type": "invalid_request_error", "code": code, "message": "why"} | error)

    def result(self, call_id: str, *, respond: bool = True) -> None:
        self.protocol.send_tool_result(call_id, "{}", respond=respond)

    @property
    def statistics(self) -> Any:
        return self.protocol.statistics
