"""The client side of the OpenAI Realtime protocol (GA), without input or output.

Text of the provider goes into `receive` and comes out as events of `gateway.realtime.session`; commands and what the
protocol answers by itself wait in `messages_to_send`. The opening is three messages; everything after it depends on the
account of audio (`ledger`) and on the queue of replies (`response_queue`) alone::

    AWAITING_CREATED --session.created / session.update--> AWAITING_UPDATED --session.updated--> READY
           └────────────────────────── any error ──────────────────┴───────── fatal error ────────┴──> FAILED

Beside the conversation run questions (`questions`) and the tools that the provider calls itself (`hosted_tools`).
Events that are unknown, malformed or late are counted and left out; none of them ends a session.

Ten of the eleven client events are sent, ``input_audio_buffer.append`` past this module, as octets. The eleventh,
``output_audio_buffer.clear``, is refused on a WebSocket: there the buffer of what is played is the media engine's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import ClassVar

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown
from gateway.realtime.fields import Fields, MalformedEventError, parse
from gateway.realtime.ledger import AudioLedger
from gateway.realtime.openai import codec
from gateway.realtime.openai.errors import BENIGN, BUSY, FATAL, ErrorDetail, close_verdict
from gateway.realtime.openai.event_tables import IGNORED, TRANSLATED
from gateway.realtime.openai.hosted_tools import APPROVAL_REQUEST, APPROVAL_RESPONSE, HostedTools
from gateway.realtime.openai.outbox import Outbox
from gateway.realtime.openai.response_queue import ResponseQueue
from gateway.realtime.questions import Questions
from gateway.realtime.scrub import scrubber
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    AudioFinished,
    CallerIdle,
    InputTranscriptFailed,
    ItemAdded,
    OutputTranscript,
    RateLimit,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    Role,
    SessionChange,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    SessionStatistics,
    SpeechStarted,
    ToolCall,
    ToolCalled,
)

_log = logging.getLogger(__name__)

MAX_EVENT_CHARACTERS = 1024 * 1024
"""Largest event other than audio; a real one has some kilobytes."""
MAX_RATE_LIMITS = 8
"""Limits of the account that are kept; there are two."""
MAX_RETRIEVED_CHARACTERS = 16 * 1024 * 1024
"""Largest ``conversation.item.retrieved``: it brings the item's audio along."""

_TRUNCATE = "conversation.item.truncate"
_CREATE = "response.create"
_BAD_CREATE = "bad_response_create"
_UPDATE = "session.update"
_RETRIEVED = "conversation.item.retrieved"
_BAD_ARGUMENTS = '{"error":"the arguments are not a JSON object"}'
_CHANGEABLE = ("instructions", "tools", "max_output_tokens", "transcription_language")
_INTERRUPTED = '{"error":"not done: the caller interrupted you; call again if it is still wanted"}'


class Phase(Enum):
    """How far the session is."""

    AWAITING_CREATED = "session.created"
    AWAITING_UPDATED = "session.updated"
    READY = "ready"
    FAILED = "failed"


class OpenAIProtocol:
    """One session. `options` must name formats of `codec.FORMATS`."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        turns = options.turn_detection
        is_automatic = turns.kind != "none"
        self._is_interrupting = is_automatic and turns.interrupts_response
        self._bytes_per_sample = options.output_format.bytes_per_sample
        self._ledger = AudioLedger(options.output_format.bytes_per_ms)
        self._queue = ResponseQueue(has_automatic_responses=is_automatic and turns.creates_response)
        self._phase = Phase.AWAITING_CREATED
        self._is_next_response_unwanted = False
        self._outbox = Outbox()
        self._approval_count = 0
        self._questions = Questions()
        self._replacing: dict[str, tuple[str, ...]] = {}  # by the summary that takes their place
        self._events: list[SessionEvent] = []
        self._in_force = SessionChange(
            instructions=options.instructions or None, tools=options.tools, max_output_tokens=options.max_output_tokens
        )
        self.statistics = SessionStatistics()
        self._scrub = scrubber(options)
        self._hosted = HostedTools(options.hosted_servers, self.statistics, self._scrub)

    @property
    def phase(self) -> Phase:
        """How far the session is."""
        return self._phase

    # --- in and out ---------------------------------------------------------------------------------------------------

    @property
    def awaited(self) -> str:
        """The event that must come next."""
        return self._phase.value

    def receive(self, document: str | bytes) -> list[SessionEvent]:
        """One message of the provider; what it means to the call, in order. Binary ones mean nothing."""
        if isinstance(document, bytes):
            self.statistics.malformed_events += 1
            return []
        self.statistics.messages_received += 1
        if self._phase is Phase.FAILED:
            return []
        try:
            self._dispatch(document)
        except MalformedEventError as error:
            self.statistics.malformed_events += 1
            _log.debug("! malformed event skipped: %s", error)
        self._ask()
        events, self._events = self._events, []
        return events

    def messages_to_send(self) -> list[str]:
        """What is to be sent now, in order; each is given out once."""
        return self._outbox.take()

    def audio_message(self, audio: bytes) -> bytes:
        """`audio` of the caller on its way."""
        return codec.append(audio)

    def audio_message_size(self, audio_bytes: int) -> int:
        """Bytes of such a message."""
        return codec.append_size(audio_bytes)

    def opening_verdict(self, error: ProviderError) -> ProviderError:
        """An upgrade may be refused with a status that invites another try and a code that forbids it."""
        if error.is_retryable and error.code in FATAL:
            return ProviderRefused(str(error), code=error.code)
        return error

    def close_verdict(self, code: int, reason: str) -> ProviderError:
        """What the provider's end of the connection means."""
        return close_verdict(code, reason)

    def _dispatch(self, document: str) -> None:
        delta = codec.read_audio_delta(document, self._bytes_per_sample)
        if delta is not None:
            self._take_audio(*delta)
            return
        if len(document) > MAX_EVENT_CHARACTERS and not _may_be_large(document):
            raise MalformedEventError("too large")
        event = parse(document)
        kind = event.text("type")
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            _log.debug("< %s", kind)
            handler(self, event)
        elif kind in TRANSLATED:
            self._events.append(TRANSLATED[kind](event))
        elif kind not in IGNORED:
            self.statistics.unknown_events += 1
            _log.debug("< unknown event %s", shown(kind))

    def _ask(self) -> None:
        """Ask for the reply that is due, if one is."""
        wanted = self._queue.due()
        if wanted is not None and self._phase is Phase.READY:
            self._queue.request(self._outbox.put(codec.response_create(wanted.instructions)), wanted)

    def _fail(self, error: ProviderError) -> None:
        self._phase = Phase.FAILED
        self._events.append(SessionFailed(error=error))

    # --- commands -----------------------------------------------------------------------------------------------------

    def commit_audio(self) -> None:
        """End the caller's turn."""
        self._outbox.put({"type": "input_audio_buffer.commit"})

    def send_text(self, role: Role, text: str) -> None:
        """Put a message into the conversation."""
        self._outbox.put(codec.message(role, text))

    def say(self, text: str) -> None:
        """Let the model speak these words."""
        self.respond(codec.say_instructions(text))

    def respond(self, instructions: str | None) -> None:
        """Let the model speak, once the reply under way has ended."""
        self._queue.want(instructions)
        self._ask()

    def ask(self, question_id: str, instructions: str) -> list[SessionEvent]:
        """Let the model write beside the conversation; the answer comes later."""
        key = self._questions.next_key()
        self._questions.ask(key, question_id, self._outbox.put(codec.question(key, instructions)))
        return []

    def clear_audio(self) -> None:
        """Forget what was appended and not committed: a turn of the caller that is not to be heard."""
        self._outbox.put({"type": "input_audio_buffer.clear"})

    def retrieve_item(self, item_id: str) -> None:
        """Ask what the provider has of an item; `ItemRetrieved` follows where it has it."""
        self._outbox.put(codec.retrieve_item(item_id))

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the conversation."""
        self._outbox.put(codec.delete_item(item_id))

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """Put a summary at the beginning of the conversation, and take out what it stands for once it is there."""
        self._outbox.put(codec.message("assistant", summary, item_id=summary_id, is_first=True))
        self._replacing[summary_id] = tuple(item_ids)

    def update(self, change: SessionChange) -> None:
        """Change instructions, tools or language; what is so already is not sent, as it would cost the cache."""
        members = ((name, getattr(change, name)) for name in _CHANGEABLE)
        changed = {n: value for n, value in members if value is not None and value != getattr(self._in_force, n)}
        if changed:
            self._in_force = replace(self._in_force, **changed)
            self._outbox.put(codec.change(SessionChange(**changed), self._options))

    def cancel_response(self) -> None:
        """End the reply under way, or the one just asked for."""
        self._queue.cancel()
        active = self._queue.active
        if active is not None:
            self._ledger.interrupt(active)
            self._outbox.put(codec.response_cancel(active))
        elif self._queue.is_requested:
            self._is_next_response_unwanted = True
            self._outbox.put(codec.response_cancel(None))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Keep of an item what was heard. More than was received is refused by the provider; so is an unknown item."""
        self._ledger.interrupt(item_id)
        received_ms = self._ledger.received_ms((item_id, content_index))
        if received_ms is not None:
            self._outbox.put(codec.truncate(item_id, content_index, min(max(audio_end_ms, 0), received_ms)))

    def send_tool_result(self, call_id: str, output: str, *, respond: bool) -> None:
        """Answer a tool call, once."""
        if not self._queue.answer(call_id, respond=respond):
            self.statistics.stale_results += 1
            return
        self._outbox.put(codec.tool_result(call_id, output))
        self._ask()

    # --- session ------------------------------------------------------------------------------------------------------

    def _on_created(self, _event: Fields) -> None:
        if self._phase is Phase.AWAITING_CREATED:
            self._phase = Phase.AWAITING_UPDATED
            self._outbox.put(codec.session_update(self._options))

    def _on_updated(self, event: Fields) -> None:
        if self._phase is not Phase.AWAITING_UPDATED:
            return
        session = event.fields("session")
        problem = codec.format_problem(self._options, session.fields("audio"))
        if problem:
            self._fail(ProviderRefused(problem, code="audio_format"))
            return
        self._phase = Phase.READY
        for item in self._options.history:
            for message in codec.history_item(item):
                self._outbox.put(message)
        self._events.append(
            SessionReady(
                session_id=session.text("id", ""),
                model=session.text("model", self._options.model),
                expires_at_s=session.integer("expires_at", 0) or None,
            )
        )

    def _on_error(self, event: Fields) -> None:
        detail = ErrorDetail.of(event.fields("error"), self._scrub)
        if detail.is_fatal or self._phase is not Phase.READY:
            self._fail(detail.verdict("the provider refused the session"))
            return
        command = self._outbox.kind_of(detail.event_id)
        is_nameless = not detail.event_id and detail.code in (BUSY, _BAD_CREATE)
        # A refusal that names no event is that of the reply we wait for, or else of a question.
        if detail.event_id or (is_nameless and not self._queue.is_requested):
            refused = self._questions.refuse(detail.event_id, self._verdict(detail, "the question was refused"))
            if refused is not None:
                self._events.append(refused)
                return
        is_ours = command == _CREATE or is_nameless
        was_requested = is_ours and self._queue.refuse(detail.event_id, is_busy=detail.code == BUSY)
        if was_requested:
            self._is_next_response_unwanted = False
        if command == _UPDATE:
            self._in_force = SessionChange()  # what holds is not known any more
        if detail.code in BENIGN or _is_late_truncate(detail, command):
            self.statistics.benign_errors += 1
            _log.debug("< benign error %s", detail.code)
            return
        self.statistics.errors += 1
        _log.warning("error of the provider: %s: %s", shown(detail.code), detail.message)
        if was_requested:
            error = self._verdict(detail, "the provider refused to reply")
            self._events.append(ResponseFinished(response_id="", status=ResponseStatus.FAILED, error=error))

    def _verdict(self, detail: ErrorDetail, context: str) -> ProviderError:
        """With the wait until a limit of the account is lifted, where the error itself names none."""
        error = detail.verdict(context)
        if detail.code == "rate_limit_exceeded" and error.retry_after_s is None:
            waits = [limit.reset_s for limit in self.statistics.rate_limits.values() if limit.remaining == 0]
            error.retry_after_s = max(waits, default=None)
        return error

    def _on_rate_limits(self, event: Fields) -> None:
        """Facts for the log; a limit that is reached shows in the reply that fails."""
        self.statistics.rate_limits = {
            shown(told.text("name", "")): RateLimit(
                limit=told.integer("limit", 0),
                remaining=told.integer("remaining", 0),
                reset_s=told.number("reset_seconds", 0.0),
            )
            for told in event.each("rate_limits")[:MAX_RATE_LIMITS]
        }

    # --- the caller ---------------------------------------------------------------------------------------------------

    def _on_speech_started(self, event: Fields) -> None:
        """Barge-in: where the provider ends its reply by itself, the rest of that reply is late from here on."""
        started = SpeechStarted(item_id=event.text("item_id", ""), audio_start_ms=event.integer("audio_start_ms", 0))
        self._queue.begin_turn()
        if self._is_interrupting and self._queue.active is not None:
            self._ledger.interrupt(self._queue.active)
        self._events.append(started)

    def _on_input_transcript_failed(self, event: Fields) -> None:
        self.statistics.failed_transcripts += 1
        detail = ErrorDetail.of(event.fields("error"), self._scrub)
        item_id, code = event.text("item_id"), shown(detail.code) or "error"
        _log.warning("a turn of the caller was not transcribed: %s: %s", code, detail.message)
        self._events.append(InputTranscriptFailed(item_id=item_id, code=code, reason=detail.message))

    def _on_timeout(self, event: Fields) -> None:
        """The caller was silent for so long that the provider begins a reply by itself, as at the end of a turn."""
        idle = CallerIdle(
            item_id=event.text("item_id", ""),
            audio_start_ms=event.integer("audio_start_ms", 0),
            audio_end_ms=event.integer("audio_end_ms", 0),
        )
        self._queue.begin_turn()
        self._events.append(idle)

    # --- the model ----------------------------------------------------------------------------------------------------

    def _on_response_created(self, event: Fields) -> None:
        response = event.fields("response")
        if self._questions.begin(response):
            return
        response_id = response.text("id")
        self._queue.begin(response_id)
        if self._is_next_response_unwanted:
            self._is_next_response_unwanted = False
            self._ledger.interrupt(response_id)
        self._events.append(ResponseStarted(response_id=response_id))

    def _on_audio_delta(self, event: Fields) -> None:
        """A delta of an unusual layout."""
        text, response_id, item_id = event.text("delta"), event.text("response_id"), event.text("item_id")
        content_index = event.integer("content_index", 0)
        try:
            audio = codec.decode_audio(text, self._bytes_per_sample)
        except ValueError as error:
            self.statistics.skipped_audio += 1
            _log.debug("! audio skipped: %s", error)
            return
        self._take_audio(response_id, item_id, content_index, audio)

    def _take_audio(self, response_id: str, item_id: str, content_index: int, audio: bytes) -> None:
        if self._questions.owns(response_id):
            return  # asked to write, it speaks
        if not self._ledger.take(response_id, (item_id, content_index), len(audio)):
            self.statistics.late_audio += 1
            return
        self._events.append(
            AudioDelta(response_id=response_id, item_id=item_id, content_index=content_index, audio=audio)
        )

    def _on_audio_done(self, event: Fields) -> None:
        self._finish_audio(event.text("response_id"), event.text("item_id"), event.integer("content_index", 0))

    def _finish_audio(self, response_id: str, item_id: str, content_index: int) -> None:
        if self._ledger.finish((item_id, content_index)):
            finished = AudioFinished(response_id=response_id, item_id=item_id, content_index=content_index)
            self._events.append(finished)

    def _on_output_transcript_delta(self, event: Fields) -> None:
        if not self._ledger.is_interrupted(event.text("item_id")):
            self._add_output_transcript(event, event.text("delta", ""), is_final=False)

    def _on_output_transcript(self, event: Fields) -> None:
        self._add_output_transcript(event, event.text("transcript", ""), is_final=True)

    def _on_output_text(self, event: Fields) -> None:
        """The end of what was written, in a session or an item that is not spoken."""
        self._add_output_transcript(event, event.text("text", ""), is_final=True)

    def _add_output_transcript(self, event: Fields, text: str, *, is_final: bool) -> None:
        if self._questions.owns(event.text("response_id")):
            return  # the answer is told as a whole
        self._events.append(
            OutputTranscript(
                response_id=event.text("response_id"),
                item_id=event.text("item_id"),
                content_index=event.integer("content_index", 0),
                text=text,
                is_final=is_final,
            )
        )

    def _on_item_added(self, event: Fields) -> None:
        item = event.fields("item")
        item_id, kind = item.text("id", ""), codec.item_kind(item)
        if item_id and kind is not None:
            self._events.append(ItemAdded(item_id=item_id, kind=kind, call_id=item.text("call_id", "")))
        for replaced in self._replacing.pop(item_id, ()):
            self.delete_item(replaced)
        self._hosted.note(item)
        self._on_item_known(event)

    def _on_item_known(self, event: Fields) -> None:
        """The provider has an item in its conversation; of ours the results of tools matter."""
        item = event.fields("item")
        kind = item.text("type", "")
        if kind == "function_call_output":
            self._queue.confirm(item.text("call_id"))
        elif kind == APPROVAL_RESPONSE:
            self._queue.confirm(item.text("approval_request_id"))

    def _on_output_item_added(self, event: Fields) -> None:
        self._hosted.note(event.fields("item"))

    def _on_output_item_done(self, event: Fields) -> None:
        item, response_id = event.fields("item"), event.text("response_id", "")
        if self._questions.owns(response_id):
            return
        self._hosted.log_failure(item)
        self._take_call(item, response_id)

    # --- tools --------------------------------------------------------------------------------------------------------

    def _on_listing_failed(self, event: Fields) -> None:
        self._hosted.fail_listing(event.text("item_id", ""))

    def _on_hosted_call_completed(self, _event: Fields) -> None:
        self._hosted.end_call(is_failed=False)

    def _on_hosted_call_failed(self, _event: Fields) -> None:
        self._hosted.end_call(is_failed=True)

    def _approve(self, request: Fields, response_id: str) -> None:
        """Answer a request for approval, once; it counts as a call of which we have the result at once."""
        request_id = request.text("id")
        if not self._queue.tell(request_id, response_id):
            return
        is_wanted = not self._ledger.is_interrupted(response_id)
        approval = self._hosted.decide(request, is_wanted=is_wanted)
        self._queue.answer(request_id, respond=is_wanted)
        self._approval_count += 1
        item_id = f"approval_{self._approval_count}"
        self._outbox.put(codec.approval(item_id, request_id, approves=approval.approves))

    def _take_call(self, item: Fields, response_id: str) -> None:
        """Tell a function call, once. Half a call, of a reply that was cut short, is not one.

        A whole call of a reply that was interrupted is not told either, but answered: it stands in the conversation.
        """
        if item.text("type", "") == APPROVAL_REQUEST:
            self._approve(item, response_id)
            return
        if item.text("type", "") != "function_call" or item.text("status", "completed") != "completed":
            return
        call_id, name = item.text("call_id"), item.text("name")
        if not self._queue.tell(call_id, response_id):
            self.statistics.repeated_calls += 1
            return
        if self._ledger.is_interrupted(response_id):
            self.statistics.rejected_calls += 1
            self.send_tool_result(call_id, _INTERRUPTED, respond=False)
            return
        arguments = codec.tool_arguments(item.text("arguments", ""))
        if arguments is None:
            self.statistics.rejected_calls += 1
            self.send_tool_result(call_id, _BAD_ARGUMENTS, respond=True)
            return
        call = ToolCall(call_id=call_id, name=name, arguments=arguments, response_id=response_id)
        self._events.append(ToolCalled(call=call))

    def _on_response_done(self, event: Fields) -> None:
        response = event.fields("response")
        is_answer, question_id = self._questions.take(response)
        if is_answer:
            if question_id is not None:
                self._answer(question_id, response)
            return
        response_id = response.text("id", self._queue.active or "")
        status = codec.response_status(response)
        details = response.fields("status_details")
        failure = ErrorDetail.of(details.fields("error"), self._scrub) if status is ResponseStatus.FAILED else None
        if status is ResponseStatus.COMPLETED:
            self._take_calls_left(response, response_id)
        for item_id, content_index in self._ledger.unfinished(response_id):
            self._finish_audio(response_id, item_id, content_index)
        self._queue.end(response_id)
        self._events.append(
            ResponseFinished(
                response_id=response_id,
                status=status,
                usage=codec.usage(response.fields("usage") or event.fields("usage")),
                reason=shown(details.text("reason", "")),
                error=self._verdict(failure, "the reply failed") if failure is not None else None,
            )
        )
        if failure is not None and failure.is_fatal:
            self._fail(failure.verdict("the provider ended the session"))

    def _answer(self, question_id: str, response: Fields) -> None:
        """Tell what the model wrote to a question."""
        details, status = response.fields("status_details"), codec.response_status(response)
        failure = ErrorDetail.of(details.fields("error"), self._scrub) if status is ResponseStatus.FAILED else None
        error: ProviderError | None = None
        if failure is not None:
            error = self._verdict(failure, "the question was not answered")
        elif status is not ResponseStatus.COMPLETED:
            reason = shown(details.text("reason", "")) or status.value
            kind = ProviderUnavailable if status is ResponseStatus.CANCELLED else ProviderRefused
            error = kind(f"the question was not answered: {reason}", code=reason)
        text, usage = codec.written_text(response), codec.usage(response.fields("usage"))
        self._events.append(Answered(question_id=question_id, text=text, usage=usage, error=error))
        if failure is not None and failure.is_fatal:
            self._fail(failure.verdict("the provider ended the session"))

    def _take_calls_left(self, response: Fields, response_id: str) -> None:
        """Calls that a dialect tells only in the summary of the reply."""
        for item in response.each("output"):
            name = _CALL_IDS.get(item.text("type", ""))
            if name is not None and not self._queue.is_told(item.text(name)):
                self._take_call(item, response_id)

    _HANDLERS: ClassVar[Mapping[str, Callable[[OpenAIProtocol, Fields], None]]] = {
        "session.created": _on_created,
        "session.updated": _on_updated,
        "error": _on_error,
        "input_audio_buffer.speech_started": _on_speech_started,
        "conversation.item.input_audio_transcription.failed": _on_input_transcript_failed,
        "input_audio_buffer.timeout_triggered": _on_timeout,
        "conversation.item.added": _on_item_added,
        "conversation.item.done": _on_item_known,
        "response.created": _on_response_created,
        codec.AUDIO_DELTA: _on_audio_delta,
        "response.output_audio.done": _on_audio_done,
        "response.output_audio_transcript.delta": _on_output_transcript_delta,
        "response.output_audio_transcript.done": _on_output_transcript,
        "response.output_text.delta": _on_output_transcript_delta,
        "response.output_text.done": _on_output_text,
        "response.output_item.added": _on_output_item_added,
        "response.output_item.done": _on_output_item_done,
        "response.done": _on_response_done,
        "mcp_list_tools.failed": _on_listing_failed,
        "response.mcp_call.completed": _on_hosted_call_completed,
        "response.mcp_call.failed": _on_hosted_call_failed,
        "rate_limits.updated": _on_rate_limits,
    }


_CALL_IDS: Mapping[str, str] = {"function_call": "call_id", APPROVAL_REQUEST: "id"}
"""Items of a reply that want something of us, and the member that names them."""


def _may_be_large(document: str) -> bool:
    """Whether an event brings audio along: the next piece of a reply, or an item that was asked for."""
    head = document[:1024]
    return codec.AUDIO_DELTA in head or (_RETRIEVED in head and len(document) <= MAX_RETRIEVED_CHARACTERS)


def _is_late_truncate(detail: ErrorDetail, command: str) -> bool:
    """Whether a truncation was refused: what was heard is cut by then, and nobody waits for the answer."""
    return detail.code == "invalid_value" and (command == _TRUNCATE or detail.parameter == "audio_end_ms")
