"""Members of the OpenAI Realtime session object that are asked for where the options name them, and left out elsewhere.

Source: the Realtime API reference, session object (GA). An older or a foreign server refuses an update whole for one
member that it does not know; so nothing is sent that is the provider's own default.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TypeAlias

from gateway.realtime.session import ContextTruncation, HostedServer, SessionOptions

JsonObject: TypeAlias = dict[str, object]

LOGPROBS = "item.input_audio_transcription.logprobs"


def transcription(options: SessionOptions) -> JsonObject | None:
    """``audio.input.transcription``; None where the caller's words are not asked for."""
    if options.transcription_model is None:
        return None
    result: JsonObject = {"model": options.transcription_model}
    if options.transcription_language is not None:
        result["language"] = options.transcription_language
    if options.transcription_languages:
        result["languages"] = list(options.transcription_languages)
    if options.transcription_prompt:
        result["prompt"] = options.transcription_prompt
    if options.transcription_keywords:
        result["keywords"] = list(options.transcription_keywords)
    if options.transcription_delay is not None:
        result["delay"] = options.transcription_delay
    return result


def noise_reduction(options: SessionOptions) -> JsonObject | None:
    """``audio.input.noise_reduction``; it works before turn detection and model."""
    if options.noise_reduction is None:
        return None
    result: JsonObject = {"type": options.noise_reduction}
    if options.noise_reduction_strength is not None:
        result["strength"] = options.noise_reduction_strength
    return result


def truncation(wanted: ContextTruncation) -> object:
    """``truncation``."""
    if wanted.policy != "retention_ratio":
        return wanted.policy
    result: JsonObject = {"type": "retention_ratio", "retention_ratio": wanted.retention_ratio}
    if wanted.max_tokens is not None:
        result["token_limits"] = {"post_instructions": wanted.max_tokens}
    return result


def hosted_tool(server: HostedServer) -> JsonObject:
    """A tool of type ``mcp``: the one place where its credentials are revealed."""
    tool: JsonObject = {"type": "mcp", "server_label": server.label}
    if server.connector_id:
        tool["connector_id"] = server.connector_id
    else:
        tool["server_url"] = server.url
    if server.description:
        tool["server_description"] = server.description
    if server.authorization:
        tool["authorization"] = server.authorization.reveal()
    if server.headers:
        tool["headers"] = dict(server.headers)
    if server.allowed_tools is not None:
        tool["allowed_tools"] = list(server.allowed_tools)
    return tool | {"require_approval": server.require_approval}


def safety_identifier(options: SessionOptions) -> str:
    """``OpenAI-Safety-Identifier``: the same for each call of a caller, and nobody's number without our key.

    A bare hash would be the number itself: all telephone numbers there are can be hashed in a minute.
    """
    key = options.api_key.reveal() if options.api_key else ""
    return hmac.new(key.encode(), options.caller.encode(), hashlib.sha256).hexdigest()
