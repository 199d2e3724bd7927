"""A realtime session with Gemini Live, of the Gemini API (by key) and of Vertex AI (by OAuth token).

`GeminiProtocol` decides, `SocketSession` moves text; here stand what Gemini offers, its address and its credentials.
The key stands in the query of the address, which nothing shows.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.errors import ProviderRefused
from gateway.realtime.gemini import codec
from gateway.realtime.gemini.protocol import GeminiProtocol
from gateway.realtime.profile import ORIGINALS_KEYS, ProviderProfile
from gateway.realtime.session import Capabilities, SessionOptions
from gateway.realtime.socket_session import SocketSession

CAPABILITIES = Capabilities(
    input_formats=codec.INPUT_FORMATS,
    output_formats=(codec.OUTPUT_FORMAT,),
    turn_detections=("server_vad", "none"),
    has_truncate=False,
    has_cancel=False,
    has_tools=True,
    usage_unit="tokens",
    max_session_s=600.0,
    has_resumption=True,
)
_LACKS = frozenset(
    {
        "backend_model",
        "language",
        "mcp",
        "noise_reduction",
        "parallel_tool_calls",
        "truncation",
        "turn_detection.idle_timeout_ms",
    }
)


class GeminiSession(SocketSession):
    """`gateway.realtime.session.RealtimeSession` for Gemini Live.

    Raises:
        ProviderRefused: the options ask for what Gemini cannot do, or hold no usable URL.
    """

    profile: ClassVar = ProviderProfile(
        capabilities=CAPABILITIES,
        url="wss://generativelanguage.googleapis.com",
        lacks=ORIGINALS_KEYS | _LACKS,
        needs=frozenset({"model"}),
    )

    def __init__(self, options: SessionOptions) -> None:
        _check(options)
        super().__init__(
            options,
            protocol=GeminiProtocol(options),
            capabilities=CAPABILITIES,
            url=codec.live_url(options),
            headers=codec.authorization(options),
        )


def _check(options: SessionOptions) -> None:
    """Refuse what would be heard as something else; a hint without counterpart (noise reduction) is left out."""
    turns = options.turn_detection
    if not options.model:
        raise ProviderRefused("gemini needs a model, as gemini-3.8-live", code="model")
    if turns.kind not in CAPABILITIES.turn_detections:
        known = ", ".join(CAPABILITIES.turn_detections)
        raise ProviderRefused(f"gemini has no turn detection {turns.kind} (it has {known})", code="turn_detection")
    if turns.kind != "none" and not turns.creates_response:
        raise ProviderRefused("gemini answers every turn that it detects by itself", code="turn_detection")
    if turns.idle_timeout_ms is not None:
        raise ProviderRefused("gemini has no idle timeout", code="turn_detection")
    if options.tool_choice not in ("auto", "none"):
        raise ProviderRefused("gemini chooses its tools itself (tool_choice auto or none)", code="tool_choice")
