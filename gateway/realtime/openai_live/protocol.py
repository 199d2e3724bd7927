"""The client side of the OpenAI Live protocol (GPT-Live), without input or output.

Text of the provider goes into `receive` and comes out as events of `gateway.realtime.session`; commands and what the
protocol answers by itself wait in `messages_to_send`::

    AWAITING_STARTED --session.started--> READY --session.closed--> CLOSED
           └──────────── any error ─────────┴── fatal error, or closed by the provider ──> FAILED

The model listens and speaks at once and stops by itself when it is talked over. It knows no turns: they are made here
(`turns`). What the gateway wants it to do is told on three channels: rules and requests to speak as instructions,
facts as thinking, words to be said as commentary. Its tools belong to a model in the background
(`delegation`).

Source: the Live API's reference as the types of OpenAI's Python SDK state it (``openai.types.live``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import ClassVar, Final

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown
from gateway.realtime.fields import Fields, MalformedEventError, parse
from gateway.realtime.openai.codec import decode_audio, say_instructions, tool_arguments
from gateway.realtime.openai.errors import FATAL, ErrorDetail, close_verdict
from gateway.realtime.openai.outbox import Outbox
from gateway.realtime.openai_live import codec
from gateway.realtime.openai_live.delegation import Delegations, Taken
from gateway.realtime.openai_live.turns import CallerTurns, ModelTurns
from gateway.realtime.scrub import scrubber
from gateway.realtime.session import (
    Answered,
    ResponseStatus,
    Role,
    SessionChange,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    SessionStatistics,
    ToolCall,
    ToolCalled,
    ToolCancelled,
    Usage,
    UsageReported,
)

_log = logging.getLogger(__name__)

MAX_EVENT_CHARACTERS: Final = 1024 * 1024
"""Largest event: twenty seconds of audio in one, or a backend's whole answer."""

_NOW: Final = "Do this now and once, without waiting for the caller to speak first."
_SPEAK: Final = "Speak to the caller now, without waiting for them to speak first."
_INSTEAD: Final = "From now on these instructions hold in place of those before:"
_NOBODY: Final = (
    "Nothing can be looked up or done beside this conversation. Tell the caller so, if they wait for it, and go on "
    "with what you know."
)
_BAD_ARGUMENTS: Final = '{"error":"the arguments are not a JSON object"}'
_LIVE_FATAL: Final = FATAL | {"forbidden"}
_CLOSED_FOR_GOOD: Final = frozenset({"content"})
"""Reasons of ``session.closed`` that a new session would meet again."""


class Phase(Enum):
    """How far the session is."""

    AWAITING_STARTED = "session.started"
    READY = "ready"
    CLOSED = "closed"
    FAILED = "failed"


class OpenAILiveProtocol:
    """One session. `options` must name one format of `codec.FORMATS` for both directions."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._scrub = scrubber(options)
        self._form = options.output_format
        self._model = ModelTurns(options.output_format)
        self._caller = CallerTurns(has_words=options.transcription_model is not None)
        self._delegations = Delegations()
        self._phase = Phase.AWAITING_STARTED
        self._is_close_requested = False
        self._billed_s = 0.0
        self._outbox = Outbox()
        self._events: list[SessionEvent] = []
        self.statistics = SessionStatistics()
        self.heard_ms = 0.0
        """Audio received, silence included: the provider's clock."""
        self._outbox.put(codec.session_start(options))

    # --- in and out ---------------------------------------------------------------------------------------------------

    @property
    def awaited(self) -> str:
        """The event that must come next."""
        return self._phase.value

    @property
    def is_over(self) -> bool:
        """Whether the provider has ended the session; the connection is of no use any more."""
        return self._phase in (Phase.CLOSED, Phase.FAILED)

    def receive(self, document: str | bytes) -> list[SessionEvent]:
        """One message of the provider; what it means to the call, in order. Binary ones mean nothing."""
        if isinstance(document, bytes):
            self.statistics.malformed_events += 1
            return []
        self.statistics.messages_received += 1
        if self.is_over:
            return []
        try:
            self._dispatch(document)
        except MalformedEventError as error:
            self.statistics.malformed_events += 1
            _log.debug("! malformed event skipped: %s", error)
        return self._told()

    def messages_to_send(self) -> list[str]:
        """What is to be sent now, in order; each is given out once."""
        return self._outbox.take()

    def end_turns(self) -> list[SessionEvent]:
        """The provider's stream has stopped: nobody may wait for the end of what it carried."""
        self._end_turns(ResponseStatus.INCOMPLETE)
        return self._told()

    def audio_message(self, audio: bytes) -> bytes:
        """`audio` of the caller on its way."""
        return codec.append(audio)

    def audio_message_size(self, audio_bytes: int) -> int:
        """Bytes of such a message."""
        return codec.append_size(audio_bytes)

    def opening_verdict(self, error: ProviderError) -> ProviderError:
        """An upgrade may be refused with a status that invites another try and a code that forbids it."""
        if error.is_retryable and error.code in _LIVE_FATAL:
            return ProviderRefused(str(error), code=error.code)
        return error

    def close_verdict(self, code: int, reason: str) -> ProviderError:
        """What the provider's end of the connection means."""
        return close_verdict(code, reason)

    def _dispatch(self, document: str) -> None:
        if len(document) > MAX_EVENT_CHARACTERS:
            raise MalformedEventError("too large")
        event = parse(document)
        kind = event.text("type")
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            if kind != codec.AUDIO_DELTA:
                _log.debug("< %s", kind)
            handler(self, event)
        elif kind not in _UNINTERESTING:
            self.statistics.unknown_events += 1
            _log.debug("< unknown event %s", shown(kind))

    def _append(self, channel: codec.Channel, text: str, delegation_id: str | None = None) -> None:
        for event in codec.appends(channel, text, delegation_id):
            self._outbox.put(event)

    def _told(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events

    # --- commands -----------------------------------------------------------------------------------------------------

    def commit_audio(self) -> None:
        """There are no turns to end."""

    def send_text(self, role: Role, text: str) -> None:
        """Let the model know something, quietly."""
        self._append("thinking", codec.told(role, text))

    def say(self, text: str) -> None:
        """Let the model speak these words."""
        self._append("commentary", say_instructions(text))

    def respond(self, instructions: str | None) -> None:
        """Let the model speak. What it is asked stays in its memory, so it is told that once is enough."""
        self._append("instructions", f"{instructions}\n\n{_NOW}" if instructions else _SPEAK)

    def ask(self, question_id: str, instructions: str) -> list[SessionEvent]:
        """The voice cannot write beside the conversation, and its backend would be heard."""
        error = ProviderRefused("the provider answers no questions beside the conversation", code="unsupported")
        return [Answered(question_id=question_id, text="", error=error)]

    def delete_item(self, item_id: str) -> None:
        """Nothing can be taken out of this model's memory."""

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """The provider sums up by itself what was long ago."""

    def update(self, change: SessionChange) -> None:
        """Change what can be: instructions by further ones, tools where the session began with some."""
        if change.instructions is not None:
            self._append("instructions", f"{_INSTEAD}\n\n{change.instructions}")
        update = codec.session_update(change)
        if update is not None and self._options.tools:
            self._outbox.put(update)
            self._append("instructions", codec.handed_on(change.tools or ()))
        elif change.tools:
            self.statistics.errors += 1
            _log.warning("a session that began without tools cannot be given any")

    def cancel_response(self) -> None:
        """The model stops when it is talked over, and for nothing else."""

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """The model knows what was heard: it speaks at the pace of hearing."""

    def send_tool_result(self, call_id: str, output: str, *, respond: bool) -> None:
        """Answer a tool call, once; the backend goes on when every call has its result."""
        match self._delegations.answer(call_id, respond=respond):
            case Taken.RESULT:
                self._outbox.put(codec.tool_result(call_id, output))
                self._go_on()
            case Taken.NEWS:
                self._append("thinking", f"What was handed on has failed, but a part of it was done: {output}")
            case Taken.NOTHING:
                self.statistics.stale_results += 1

    def request_close(self) -> bool:
        """Ask for the end, which the provider confirms with what is billed; False where there is nothing to end."""
        if self._phase is not Phase.READY:
            return False
        if not self._is_close_requested:
            self._is_close_requested = True
            self._outbox.put({"type": "session.close"})
        return True

    def _go_on(self) -> None:
        if self._delegations.take_request():
            self._outbox.put({"type": "response.create"})

    # --- session ------------------------------------------------------------------------------------------------------

    def _on_started(self, event: Fields) -> None:
        if self._phase is not Phase.AWAITING_STARTED:
            return
        session = event.fields("session")
        taken, wanted = session.fields("audio").fields("format"), codec.FORMATS[self._form]
        if taken and any(name in taken and taken.members[name] != value for name, value in wanted.items()):
            text = f"the provider does not take {wanted['type']}: it answered {shown(taken.members)}"
            self._fail(ProviderRefused(text, code="audio_format"))
            return
        session_id = session.text("id", "")
        self._model.name = self._caller.name = session_id or "live"
        self._phase = Phase.READY
        self._events.append(
            SessionReady(
                session_id=session_id,
                model=session.text("model", self._options.model),
                expires_at_s=session.integer("expires_at", 0) or None,
            )
        )

    def _on_usage(self, event: Fields) -> None:
        self._bill(event.fields("usage"))
        window = event.fields("context_window")
        self.statistics.context_usage_ratio = window.number("usage_ratio", self.statistics.context_usage_ratio)

    def _bill(self, usage: Fields) -> None:
        """Tell what is billed since the last time: the provider counts from the beginning."""
        seconds = usage.number("seconds", 0.0)
        if seconds > self._billed_s:
            self._events.append(UsageReported(usage=Usage(seconds=seconds - self._billed_s)))
            self._billed_s = seconds

    def _on_closed(self, event: Fields) -> None:
        reason = event.text("reason", "")
        self._bill(event.fields("usage"))
        if self._is_close_requested:
            self._end_turns(ResponseStatus.INCOMPLETE)
            self._phase = Phase.CLOSED
            return
        text = f"the provider ended the session: {shown(reason)}"
        kind = ProviderRefused if reason in _CLOSED_FOR_GOOD else ProviderUnavailable
        self._fail(kind(text, code=shown(reason) or "closed"))

    def _on_error(self, event: Fields) -> None:
        error = event.fields("error")
        detail = replace(ErrorDetail.of(error, self._scrub), event_id=error.text("client_event_id", ""))
        if detail.kind in _LIVE_FATAL:  # the code has been seen to change while the type stayed
            detail = replace(detail, code=detail.kind)
        if detail.is_fatal or detail.code in _LIVE_FATAL or self._phase is not Phase.READY:
            self._fail(detail.verdict("the provider refused the session"))
            return
        self.statistics.errors += 1
        command = self._outbox.kind_of(detail.event_id) or "no command of ours"
        _log.warning("error of the provider: %s: %s (%s)", shown(detail.code), detail.message, command)

    def _fail(self, error: ProviderError) -> None:
        self._end_turns(ResponseStatus.INCOMPLETE)
        self._phase = Phase.FAILED
        self._events.append(SessionFailed(error=error))

    def _end_turns(self, status: ResponseStatus) -> None:
        self._events += self._caller.finish()
        self._events += self._model.finish(status)

    # --- what is said -------------------------------------------------------------------------------------------------

    def _on_audio(self, event: Fields) -> None:
        text = event.text("delta")
        try:
            audio = decode_audio(text, self._form.bytes_per_sample)
        except ValueError as error:
            self.statistics.skipped_audio += 1
            _log.debug("! audio skipped: %s", error)
            return
        if self._phase is not Phase.READY:
            return
        ms = len(audio) / self._form.bytes_per_ms
        self.heard_ms += ms
        self._events += self._caller.pass_time(ms)
        self._events += self._model.hear(audio)

    def _on_output_words(self, event: Fields) -> None:
        self._events += self._model.read(event.text("delta"), _ms(event, "start_ms"), _ms(event, "end_ms"))

    def _on_input_words(self, event: Fields) -> None:
        self._events += self._caller.read(event.text("delta"), _ms(event, "start_ms"), _ms(event, "end_ms"))

    # --- tools --------------------------------------------------------------------------------------------------------

    def _on_delegation(self, event: Fields) -> None:
        """Work is handed on. To us it is only where there are no tools, and then there is nothing that we could do."""
        delegation = event.fields("delegation")
        if delegation.text("target", "") == "client":
            self._append("commentary", _NOBODY, delegation.text("id"))

    def _on_backend(self, event: Fields) -> None:
        """An event of the backend's own stream."""
        delegation_id, inner = event.text("delegation_id", ""), event.fields("event")
        kind = inner.text("type", "")
        if kind == "response.created":
            self._delegations.begin(delegation_id)
        elif kind == "response.output_item.done":
            self._take_call(inner.fields("item"), delegation_id)
        elif kind in _ENDINGS:
            self._end_work(kind, inner.fields("response"), delegation_id)

    def _take_call(self, item: Fields, delegation_id: str) -> None:
        """Tell a function call, once. Half a call is not one."""
        if item.text("type", "") != "function_call" or item.text("status", "completed") != "completed":
            return
        call_id, name = item.text("call_id"), item.text("name")
        if not self._delegations.tell(call_id, delegation_id):
            self.statistics.repeated_calls += 1
            return
        arguments = tool_arguments(item.text("arguments", ""))
        if arguments is None:
            self.statistics.rejected_calls += 1
            self.send_tool_result(call_id, _BAD_ARGUMENTS, respond=True)
            return
        call = ToolCall(call_id=call_id, name=name, arguments=arguments, response_id=delegation_id)
        self._events.append(ToolCalled(call=call))

    def _end_work(self, kind: str, response: Fields, delegation_id: str) -> None:
        usage = _backend_usage(response.fields("usage"))
        if usage is not None:
            self._events.append(UsageReported(usage=usage))
        if kind == "response.completed":
            self._delegations.complete(delegation_id)
        else:
            self.statistics.errors += 1
            code = response.fields("error").text("code", "") or response.fields("incomplete_details").text("reason", "")
            _log.warning("the model that runs the tools gave up: %s %s", kind, shown(code))
            self._events += [ToolCancelled(call_id=call_id) for call_id in self._delegations.fail(delegation_id)]
        self._go_on()

    _HANDLERS: ClassVar[Mapping[str, Callable[[OpenAILiveProtocol, Fields], None]]] = {
        "session.started": _on_started,
        "session.usage.updated": _on_usage,
        "session.closed": _on_closed,
        "error": _on_error,
        codec.AUDIO_DELTA: _on_audio,
        "session.output_transcript.delta": _on_output_words,
        "session.input_transcript.delta": _on_input_words,
        "session.delegation.created": _on_delegation,
        "response.event": _on_backend,
    }


_ENDINGS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
_UNINTERESTING: Final = frozenset(
    {
        "info",
        "session.commentary.appended",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        "session.instructions.appended",
        "session.output_audio.fixture.played",
        "session.output_audio.fixture.playing",
        "session.thinking.appended",
        "session.updated",
    }
)
"""Known types that mean nothing to a call."""


def _ms(event: Fields, name: str) -> int | None:
    return event.integer(name) if name in event else None


def _backend_usage(usage: Fields) -> Usage | None:
    """Tokens of the backend, which is billed apart from the voice."""
    if not usage:
        return None
    given, made = usage.integer("input_tokens", 0), usage.integer("output_tokens", 0)
    cached = usage.fields("input_tokens_details").integer("cached_tokens", 0)
    return Usage(
        input_tokens=given,
        output_tokens=made,
        input_text_tokens=given,
        cached_tokens=cached,
        cached_text_tokens=cached,
        output_text_tokens=made,
        reasoning_tokens=usage.fields("output_tokens_details").integer("reasoning_tokens", 0),
    )
