"""A realtime session with OpenAI, and with every server that speaks its protocol (GA).

`OpenAIProtocol` decides, `SocketSession` moves text; here stand what the protocol offers, its address and its key.
"""

from __future__ import annotations

from gateway.realtime import openai_codec as codec
from gateway.realtime.openai_protocol import OpenAIProtocol
from gateway.realtime.session import Capabilities, SessionOptions
from gateway.realtime.socket_session import SocketSession

CAPABILITIES = Capabilities(
    input_formats=tuple(codec.FORMATS),
    output_formats=tuple(codec.FORMATS),
    turn_detections=("server_vad", "semantic_vad", "none"),
    has_truncate=True,
    has_cancel=True,
    has_tools=True,
    usage_unit="tokens",
    max_session_s=3600.0,
    has_questions=True,
    has_deletion=True,
    has_update=True,
)


class OpenAIRealtimeSession(SocketSession):
    """`gateway.realtime.session.RealtimeSession` for the OpenAI protocol family."""

    def __init__(self, options: SessionOptions) -> None:
        super().__init__(
            options,
            protocol=OpenAIProtocol(options),
            capabilities=CAPABILITIES,
            url=codec.realtime_url(options),
            headers=_headers(options),
        )


def _headers(options: SessionOptions) -> list[tuple[str, str]]:
    if not options.api_key:
        return []
    return [("Authorization", f"Bearer {options.api_key.reveal().strip()}")]
