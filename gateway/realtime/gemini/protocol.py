"""The client side of Gemini Live, without input or output.

We speak first (``setup``), the provider confirms (``setupComplete``), then both talk at will. Gemini names no replies
and no items: a reply is what the model says up to a tool call or to the end of its turn, and gets its names here::

    modelTurn (first audio), toolCall ──> ResponseStarted
    generationComplete ────────────────> AudioFinished
    toolCall ──────────────────────────> ToolCalled, then the end of the reply: the model waits for the result
    interrupted ───────────────────────> Interrupted; what still comes of the turn is late
    turnComplete ──────────────────────> the words of both sides, AudioFinished if it is due, ResponseFinished

One message may hold several of these. What is unknown, malformed or late is counted and left out; none of it ends a
session. There is no error event: Gemini says what is wrong when it closes (`errors`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from gateway.errors import ProviderError, ProviderRefused, shown
from gateway.realtime.fields import Fields, MalformedEventError, parse
from gateway.realtime.gemini import codec
from gateway.realtime.gemini.errors import close_verdict
from gateway.realtime.gemini.replies import Replies
from gateway.realtime.gemini.schema import dropped_keywords
from gateway.realtime.gemini.tools import ToolCalls
from gateway.realtime.gemini.turns import CallerWords, TextQueue, Turn
from gateway.realtime.session import (
    Answered,
    InputTranscript,
    Interrupted,
    ResumptionOffered,
    Role,
    SessionChange,
    SessionEvent,
    SessionExpiring,
    SessionOptions,
    SessionReady,
    SessionStatistics,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCalled,
    ToolCancelled,
    Usage,
    UsageReported,
)

_log = logging.getLogger(__name__)

MAX_MESSAGE_CHARACTERS = 1024 * 1024
"""Largest message other than audio; a real one has some kilobytes."""
GO_AWAY_S = 60.0
"""How long a session lasts after a ``goAway`` that does not say."""

_BAD_ARGUMENTS = '{"error":"the arguments are not a JSON object"}'


class Phase(Enum):
    """How far the session is."""

    AWAITING_SETUP = "setupComplete"
    READY = "ready"


class GeminiProtocol:
    """One session. `options` must name formats of `codec`."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._phase = Phase.AWAITING_SETUP
        self._has_own_turns = options.turn_detection.kind == "none"
        self._is_caller_active = False
        self._audio_head = codec.audio_head(options.input_format)
        self._queue = TextQueue()
        self._tools = ToolCalls(options.model)
        self._caller = CallerWords()
        self._is_answer_due = False  # to the caller's turn that we ended
        self._is_going_away = False
        self._usage: Usage | None = None
        self._outgoing = [codec.encode(codec.setup(options))]
        self._events: list[SessionEvent] = []
        self._handlers: tuple[tuple[str, Callable[[Fields], None]], ...] = (
            # In this order, also where one message holds several.
            ("setupComplete", self._on_setup_complete),
            ("voiceActivity", self._on_voice_activity),
            ("serverContent", self._on_content),
            ("toolCall", self._on_tool_call),
            ("toolCallCancellation", self._on_cancellation),
            ("usageMetadata", self._on_usage),
            ("goAway", self._on_go_away),
            ("sessionResumptionUpdate", self._on_resumption),
        )
        self.statistics = SessionStatistics()
        self._replies = Replies(self.statistics, self._tell, self._on_reply_begun)
        for tool in options.tools:
            if dropped := dropped_keywords(tool.parameters):
                _log.debug("tool %s: the model is not told %s", shown(tool.name), ", ".join(sorted(dropped)))

    # --- in and out ---------------------------------------------------------------------------------------------------

    @property
    def awaited(self) -> str:
        """The message that must come next."""
        return self._phase.value

    def receive(self, document: str | bytes) -> list[SessionEvent]:
        """One message of the provider, JSON as text or as binary; what it means to the call, in order."""
        self.statistics.messages_received += 1
        try:
            self._dispatch(_parse(document))
        except MalformedEventError as error:
            self._note_malformed(error)
        self._ask()
        events, self._events = self._events, []
        return events

    def messages_to_send(self) -> list[str]:
        """What is to be sent now, in order; each is given out once."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def audio_message(self, audio: bytes) -> bytes:
        """`audio` of the caller on its way; where turns are ours to find, the first of it begins one."""
        if self._has_own_turns and not self._is_caller_active:
            self._is_caller_active = True
            self._send(codec.activity(is_start=True))
        return codec.audio(self._audio_head, audio)

    def audio_message_size(self, audio_bytes: int) -> int:
        """Bytes of such a message."""
        return codec.audio_size(self._audio_head, audio_bytes)

    def opening_verdict(self, error: ProviderError) -> ProviderError:
        """The HTTP status says it all."""
        return error

    def close_verdict(self, code: int, reason: str) -> ProviderError:
        """What the provider's end of the connection means."""
        return close_verdict(code, reason, is_expired=self._is_going_away)

    def _dispatch(self, message: Fields) -> None:
        is_known = False
        for name, handler in self._handlers:
            if name not in message:
                continue
            is_known = True
            if self._phase is Phase.READY or name == "setupComplete":
                self._guarded(handler, message, name)
        content = message.members.get("serverContent")
        if self._phase is Phase.READY and isinstance(content, dict) and content.get("turnComplete") is True:
            self._guarded(self._on_turn_complete, message, "serverContent")  # behind the usage, which is the turn's
        if not is_known:
            self.statistics.unknown_events += 1
            _log.debug("< unknown message %s", shown(list(message.members)))

    def _guarded(self, handler: Callable[[Fields], None], message: Fields, name: str) -> None:
        """One part of a message; a malformed one costs itself alone."""
        try:
            handler(message.fields(name))
        except MalformedEventError as error:
            self._note_malformed(error)

    def _note_malformed(self, error: MalformedEventError) -> None:
        self.statistics.malformed_events += 1
        _log.debug("! malformed message skipped: %s", error)

    def _send(self, message: Mapping[str, object]) -> None:
        self._outgoing.append(codec.encode(message))
        _log.debug("> %s", next(iter(message)))

    def _tell(self, event: SessionEvent) -> None:
        self._events.append(event)

    def _ask(self) -> None:
        """Send the text that is due, if some is."""
        if self._phase is Phase.READY and (message := self._queue.due()) is not None:
            self._send(message)

    # --- commands -----------------------------------------------------------------------------------------------------

    def commit_audio(self) -> None:
        """End the caller's turn, where turns are ours to find. Gemini answers it by itself."""
        if self._has_own_turns and self._is_caller_active:
            self._is_caller_active = False
            self._send(codec.activity(is_start=False))
            self._is_answer_due = True
            self._queue.turn = Turn.REQUESTED

    def send_text(self, role: Role, text: str) -> None:
        """Put a message into the conversation, as soon as the model has ended its turn."""
        self._queue.add(codec.turn(role, text))
        self._ask()

    def say(self, text: str) -> None:
        """Let the model speak these words."""
        self.respond(codec.say_instructions(text))

    def respond(self, instructions: str | None) -> None:
        """Let the model speak, once its turn under way has ended; nothing where the caller's turn lets it anyway."""
        is_coming, self._is_answer_due = self._is_answer_due, False
        if is_coming and instructions is None:
            return
        self._queue.want_reply(instructions)
        self._ask()

    def ask(self, question_id: str, instructions: str) -> list[SessionEvent]:
        """Refused: Gemini writes nothing beside the conversation."""
        error = ProviderRefused("the provider answers no questions beside the conversation", code="unsupported")
        return [Answered(question_id=question_id, text="", error=error)]

    def delete_item(self, item_id: str) -> None:
        """Nothing: what Gemini has heard it keeps."""

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """Nothing: Gemini shortens a long conversation by itself (``contextWindowCompression``)."""

    def update(self, change: SessionChange) -> None:
        """Nothing but a word in the log: what was set up stays."""
        _log.warning("the provider cannot change a session under way: it goes on as it was set up")

    def cancel_response(self) -> None:
        """Drop the reply under way, or the one just asked for. Gemini speaks on, unheard: it has no word for it."""
        self._queue.drop_request()
        if self._replies.is_active:
            self._replies.end_early("client_cancelled")
        elif self._queue.turn is Turn.REQUESTED:
            self._replies.drop_next()

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Drop what still comes of an item. Gemini keeps its own account of what was heard."""
        self._replies.truncate(item_id)

    def send_tool_result(self, call_id: str, output: str, *, respond: bool) -> None:
        """Answer a tool call, once."""
        response = self._tools.answer(call_id, output, respond=respond)
        if response is None:
            self.statistics.stale_results += 1
            return
        self._send(response)
        if respond and self._queue.turn is Turn.IDLE:
            self._queue.turn = Turn.REQUESTED
        elif not respond and not self._replies.is_active and not self._tools.has_open:
            self._queue.turn = Turn.IDLE  # no turn follows a result that is met with silence
            self._ask()

    # --- session ------------------------------------------------------------------------------------------------------

    def _on_setup_complete(self, complete: Fields) -> None:
        if self._phase is Phase.READY:
            return
        self._phase = Phase.READY
        if not self._options.resume_handle:  # by which the provider knows it all
            for item in self._options.history:
                self._queue.add(codec.history_turn(item))
        session_id = complete.text("sessionId", "")
        self._tell(SessionReady(session_id=session_id, model=self._options.model))

    def _on_go_away(self, notice: Fields) -> None:
        self._is_going_away = True
        self._tell(SessionExpiring(in_s=codec.duration_s(notice, "timeLeft", GO_AWAY_S)))

    def _on_resumption(self, update: Fields) -> None:
        handle = update.text("newHandle", "")
        if handle and update.members.get("resumable") is True:
            self._tell(ResumptionOffered(handle=handle))

    def _on_usage(self, metadata: Fields) -> None:
        """Billed with the turn it is told in; behind its end it is billed apart."""
        usage = codec.usage(metadata)
        if usage is None:
            raise MalformedEventError("usageMetadata")
        self._usage = codec.total(self._usage, usage)
        if self._queue.turn is Turn.IDLE and not self._replies.is_active:
            self._report_usage()

    def _report_usage(self) -> None:
        usage, self._usage = self._usage, None
        if usage is not None:
            self._tell(UsageReported(usage=usage))

    # --- the caller ---------------------------------------------------------------------------------------------------

    def _on_voice_activity(self, activity: Fields) -> None:
        """Told by newer models, just before the ``interrupted`` that it leads to."""
        at_ms = round(1000 * codec.duration_s(activity, "audioOffset", 0.0))
        match activity.text("voiceActivityType", ""):
            case "ACTIVITY_START":
                if self._queue.turn is Turn.OPEN:  # what is being answered was another turn
                    self._finish_caller_words(is_interrupted=True)
                self._tell(SpeechStarted(item_id=self._caller.item_id, audio_start_ms=at_ms))
            case "ACTIVITY_END":
                self._tell(SpeechStopped(item_id=self._caller.item_id, audio_end_ms=at_ms))

    def _add_caller_words(self, transcription: Fields) -> None:
        """Some models write down the caller unasked."""
        if self._options.transcription_model is None:
            return
        text = transcription.text("text", "")
        if text:
            self._caller.add(text)
            self._tell(InputTranscript(item_id=self._caller.item_id, text=text, is_final=False))
        if transcription.members.get("finished") is True:
            self._finish_caller_words()

    def _finish_caller_words(self, *, is_interrupted: bool = False) -> None:
        said = self._caller.finish(is_interrupted=is_interrupted)
        if said is not None:
            self._tell(InputTranscript(item_id=said[0], text=said[1], is_final=True))

    # --- the model ----------------------------------------------------------------------------------------------------

    def _on_content(self, content: Fields) -> None:
        self._add_caller_words(content.fields("inputTranscription"))
        for part in content.fields("modelTurn").each("parts"):
            if "inlineData" in part:
                self._replies.take_audio(part.fields("inlineData"))
        self._replies.add_words(content.fields("outputTranscription").text("text", ""))
        if content.members.get("interrupted") is True:
            self._on_interrupted()
        if content.members.get("generationComplete") is True:
            self._replies.finish_audio()

    def _on_reply_begun(self) -> None:
        self._is_answer_due = False
        self._queue.turn = Turn.OPEN
        self._queue.note_answered()
        self._caller.note_reply()

    def _on_interrupted(self) -> None:
        """Barge-in. The end of the turn follows; where that came before, only what is queued here has to go."""
        if self._queue.turn is Turn.OPEN:
            self._finish_caller_words(is_interrupted=True)
            self._replies.end_early("interrupted")
        self._tell(Interrupted())

    def _on_turn_complete(self, content: Fields) -> None:
        self._finish_reply(_word(content, "turnCompleteReason"))
        self._report_usage()
        self._replies.end_turn()
        self._is_answer_due = False
        # A model that thinks in the background says more: text now would break its thoughts off.
        is_in_progress = _word(content, "interactionStatus") == "IN_PROGRESS"
        self._queue.turn = Turn.OPEN if is_in_progress else Turn.IDLE

    def _finish_reply(self, turn_reason: str = "") -> None:
        """The end of a reply, by a tool call or by the end of the turn; the caller's words it answered come first."""
        self._finish_caller_words(is_interrupted=self._replies.is_discarding)
        if self._replies.finish(self._usage, turn_reason):
            self._usage = None

    # --- tools --------------------------------------------------------------------------------------------------------

    def _on_tool_call(self, message: Fields) -> None:
        """The reply is over with it: the model speaks on in another one."""
        is_told = False
        for call in message.each("functionCalls"):
            try:
                is_told |= self._take_call(call)
            except MalformedEventError as error:
                self._note_malformed(error)
        if is_told:
            self._finish_reply()

    def _take_call(self, call: Fields) -> bool:
        """Tell one call; whether it was one to be told."""
        call_id = self._tools.take(call)
        if call_id is None:
            self.statistics.repeated_calls += 1
            return False
        arguments = call.members.get("args")
        arguments = {} if arguments is None else arguments
        if not isinstance(arguments, dict) or not codec.is_sendable(arguments):
            self.statistics.rejected_calls += 1
            self.send_tool_result(call_id, _BAD_ARGUMENTS, respond=True)
            return False
        response_id = self._replies.begin()
        told = ToolCall(call_id=call_id, name=call.text("name"), arguments=arguments, response_id=response_id)
        self._tell(ToolCalled(call=told))
        return True

    def _on_cancellation(self, cancellation: Fields) -> None:
        ids = cancellation.members.get("ids")
        if not isinstance(ids, list):
            raise MalformedEventError("ids is not a list")
        for call_id in ids:
            if self._tools.cancel(call_id):
                self._tell(ToolCancelled(call_id=call_id))


def _word(content: Fields, name: str) -> str:
    """A word that must not cost more than itself when it is none."""
    value = content.members.get(name)
    return value if isinstance(value, str) else ""


def _parse(document: str | bytes) -> Fields:
    """The JSON object of a message.

    Raises:
        MalformedEventError: it is none, or too large to be one.
    """
    try:
        text = document if isinstance(document, str) else document.decode()
    except UnicodeDecodeError as error:
        raise MalformedEventError("not UTF-8") from error
    if len(text) > MAX_MESSAGE_CHARACTERS and '"inlineData"' not in text[:1024]:
        raise MalformedEventError("too large")
    return parse(text)
