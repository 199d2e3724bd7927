"""The server events of OpenAI Realtime (GA) that need no state to be told, and those a call needs nothing of, with why.

`OpenAIProtocol` has handlers for all others, and counts a type that stands in none of the three tables as unknown. A
test walks the published schema's 46 types, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.realtime.fields import Fields, MalformedEventError
from gateway.realtime.openai import codec
from gateway.realtime.session import InputTranscript, ItemRetrieved, SessionEvent, SpeechStopped


def _speech_stopped(event: Fields) -> SessionEvent:
    return SpeechStopped(item_id=event.text("item_id", ""), audio_end_ms=event.integer("audio_end_ms", 0))


def _input_transcript_delta(event: Fields) -> SessionEvent:
    return InputTranscript(item_id=event.text("item_id"), text=event.text("delta", ""), is_final=False)


def _input_transcript(event: Fields) -> SessionEvent:
    return InputTranscript(
        item_id=event.text("item_id"),
        text=event.text("transcript", ""),
        is_final=True,
        usage=codec.usage(event.fields("usage")),
        confidence=codec.confidence(event),
    )


def _item_retrieved(event: Fields) -> SessionEvent:
    item = event.fields("item")
    kind = codec.item_kind(item)
    if kind is None:
        raise MalformedEventError("an item of a kind that was not asked for")
    return ItemRetrieved(item_id=item.text("id"), kind=kind, text=codec.item_text(item))


TRANSLATED: Mapping[str, Callable[[Fields], SessionEvent]] = {
    "input_audio_buffer.speech_stopped": _speech_stopped,
    "conversation.item.input_audio_transcription.delta": _input_transcript_delta,
    "conversation.item.input_audio_transcription.completed": _input_transcript,
    "conversation.item.retrieved": _item_retrieved,
}

_PROGRESS = "nothing to do until it has ended"
_NOT_HERE = "WebRTC and SIP connections of the provider alone: there it owns the buffer of what is played"
_TOLD_ELSEWHERE = "an event beside it says the same, and more"
_OWN_ECHO = "confirms what we asked for; a refusal is an error"

IGNORED: Mapping[str, str] = {
    "conversation.created": "a session has one conversation, and nothing names it",
    "conversation.item.created": "the beta's name of conversation.item.added; GA does not send it",
    "conversation.item.deleted": _OWN_ECHO,
    "conversation.item.input_audio_transcription.segment": "speakers told apart; a telephone line has one",
    "conversation.item.truncated": _OWN_ECHO,
    "input_audio_buffer.cleared": _OWN_ECHO,
    "input_audio_buffer.committed": _TOLD_ELSEWHERE,
    "input_audio_buffer.dtmf_event_received": "SIP connections of the provider alone; our keys come by RTP or SIP",
    "mcp_list_tools.completed": "the model knows the tools; nothing is left to do",
    "mcp_list_tools.in_progress": _PROGRESS,
    "output_audio_buffer.cleared": _NOT_HERE,
    "output_audio_buffer.started": _NOT_HERE,
    "output_audio_buffer.stopped": _NOT_HERE,
    "response.content_part.added": _TOLD_ELSEWHERE,
    "response.content_part.done": _TOLD_ELSEWHERE,
    "response.function_call_arguments.delta": "half a call is none",
    "response.function_call_arguments.done": "output_item.done has the call whole, with its status",
    "response.mcp_call.in_progress": _PROGRESS,
    "response.mcp_call_arguments.delta": "the provider calls the tool, not we",
    "response.mcp_call_arguments.done": "the provider calls the tool, not we",
}
