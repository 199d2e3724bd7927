"""Events of the speech model's provider: meant something, or counted; what we send in return is JSON text."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.media.codec import AudioFormat
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.session import HostedServer, Secret, SessionOptions

_CONVERSATION = Path(__file__).parents[1] / "data" / "realtime-conversation.jsonl"
_EVENTS = [json.loads(line) for line in _CONVERSATION.read_text(encoding="utf-8").splitlines()]


def _line(**event: object) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


_SERVER = [_line(**line["event"]) for line in _EVENTS if line["from"] == "server"]
_HOSTED_ITEMS = (
    {"type": "mcp_approval_request", "id": "a", "server_label": "crm", "name": "look", "arguments": "{}"},
    {"type": "mcp_list_tools", "id": "l", "server_label": "crm", "tools": []},
    {
        "type": "mcp_call",
        "id": "m",
        "server_label": "crm",
        "name": "look",
        "error": {"type": "http_error", "code": 502},
    },
)
_ANSWER = {"id": "q", "conversation_id": None, "metadata": {"gateway_question": "q1"}, "output": []}
_LIMIT = {"name": "tokens", "limit": 5, "remaining": 0, "reset_seconds": 0.5}
_HOSTED = [
    *(_line(type="response.output_item.done", response_id="r", item=item) for item in _HOSTED_ITEMS),
    *(_line(type="conversation.item.added", item=item) for item in _HOSTED_ITEMS),
    _line(type="response.done", response=_ANSWER),
    _line(type="rate_limits.updated", rate_limits=[_LIMIT]),
]
SEEDS = [b"\n".join(_SERVER[:2]), *_SERVER, b"\n".join(_SERVER[2:12]), *_HOSTED, b"\n".join(_HOSTED)]


def fuzz(data: bytes) -> None:
    """One event a line, behind the two that begin a session."""
    crm = HostedServer(label="crm", url="https://crm.example/mcp")
    options = SessionOptions(
        url="ws://h/v1", model="m", api_key=Secret("k"), output_format=AudioFormat.PCMU, hosted_servers=(crm,)
    )
    protocol = OpenAIProtocol(options)
    for line in _SERVER[:2]:
        protocol.receive(line.decode())
    protocol.ask("question", "Was it urgent?")
    for line in data.split(b"\n"):
        protocol.receive(line.decode("utf-8", "replace"))
    for message in protocol.messages_to_send():
        json.loads(message.encode("utf-8"))
