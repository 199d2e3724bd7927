"""One session of OpenAI Realtime GA, without sockets, engines or clocks.

::

    client text ──> receive ──────┐             ┌──> events_to_send   encoded server events
    ear         ──> measured ─────┤   hearing   ├──> tasks            Listen, Recognize, Prepare, Speak, Think
    recognizer  ──> recognized ───┤   history   ├──> get_timer        silent callers, the session's end
    voice       ──> spoken, ──────┤  responder  └──> closing          close code and reason
                    sentence_ended│
    chat model  ──> thought, ─────┘
                    thought_failed

A turn found by voice goes speech_started → (a running response is cancelled) → speech_stopped → committed → item →
response.created at once; the response speaks when the recogniser has told the words. A client that ends turns itself
goes the same way from `commit` and `response.create`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.embedded import protocol
from gateway.embedded.audio import WireFormat
from gateway.embedded.brain import Dialogue, Reply
from gateway.embedded.caller_words import CallerWords, Recognize
from gateway.embedded.chat import Think
from gateway.embedded.events import Identities, ServerEvents
from gateway.embedded.hearing import InputHearing, Listen
from gateway.embedded.history import History
from gateway.embedded.items import InputAudio, Message
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.protocol import RefusedEvent, ResponseParameters
from gateway.embedded.recognizer import Listening, Recognition
from gateway.embedded.responder import Responder
from gateway.embedded.response import Speak
from gateway.embedded.session import AnyConfig, McpTool, SemanticVad, ServerVad, SessionConfig
from gateway.embedded.session_update import updated_session
from gateway.embedded.turn_taking import end_silence_ms, turn_options
from gateway.embedded.vad import SpeechGate, SpeechPaused, SpeechStarted, SpeechStopped

MIN_COMMIT_MS = 100


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have a grammar ready before the first turn that needs it; not answered."""

    listening: Listening


Task = Listen | Recognize | Prepare | Speak | Think


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationOptions:
    """What a session is opened with."""

    config: AnyConfig
    """The session as it is created; its kind stays."""
    max_age_s: float = 3600.0
    """Age at which the session ends, as the real server's does."""


class Conversation:
    """A session and its default conversation. `now` is any steady clock's seconds."""

    def __init__(
        self,
        options: ConversationOptions,
        *,
        phrasebook: Phrasebook,
        gate: SpeechGate,
        entropy: random.Random,
        now: float,
        unix_time: float,
    ) -> None:
        self.closing: tuple[int, str] | None = None
        """Close code and reason, once the connection must end."""
        self._options = options
        self._identities = Identities(entropy)
        self._events = ServerEvents(self._identities)
        self._phrasebook = phrasebook
        self._dialogue = Dialogue(phrasebook.script, lambda tools: phrasebook.phrases(tools).grammar)
        self._config = options.config
        self._hearing = InputHearing(gate)
        self._history = History(self._events, self._identities)
        self._tasks: list[Task] = []
        self._responder = Responder(
            dialogue=self._dialogue,
            history=self._history,
            events=self._events,
            identities=self._identities,
            request=self._tasks.append,
            chat=phrasebook.script.chat,
        )
        self._words = CallerWords(self._history, self._events, self._tasks.append)
        self._speech_item_id = ""
        self._expected: frozenset[str] = frozenset()
        self._is_response_due = False
        self._idle_at: float | None = None
        self._idle_start_ms = 0
        self._expires_at = now + options.max_age_s
        self._expires_at_unix = int(unix_time + options.max_age_s)
        self._session_id = self._identities.new("sess")
        self._configure_hearing()
        self._tasks.append(Prepare(self._listening()))
        self._events.session_created(self._session_wire())
        self._list_tools(self._config.tool_servers)

    # --- What the shell fetches --------------------------------------------------------------------------------------

    def events_to_send(self) -> list[str]:
        """Server events not yet sent, each one WebSocket text message."""
        return self._events.drain()

    def tasks(self) -> list[Task]:
        """Work for the engines not yet handed out."""
        drained = self._tasks[:]
        self._tasks.clear()
        return drained

    def get_timer(self) -> float:
        """When `handle_timer` must be called, in the clock of `now`."""
        return self._expires_at if self._idle_at is None else min(self._idle_at, self._expires_at)

    def is_wanted(self, sentence: int) -> bool:
        """Whether anybody still waits for this sentence's audio."""
        return self._responder.is_wanted(sentence)

    # --- What the engines answer -------------------------------------------------------------------------------------

    def measured(self, number: int, probability: float, now: float) -> None:
        """The ear's answer to `Listen`."""
        self._hearing.measured(number, probability)
        self._follow_turns()
        self._settle(now)

    def recognized(self, number: int, heard: Recognition, now: float) -> None:
        """The recogniser's answer to `Recognize`."""
        if not self._words.recognized(number, heard):
            self._weigh_pause(heard)
            self._settle(now)
            return
        if self._words.are_known and isinstance(self._config, SessionConfig):
            self._responder.go_on(self._config)
        self._settle(now)

    def spoken(self, sentence: int, audio: bytes) -> None:
        """Audio that the voice made for `Speak`."""
        self._responder.spoken(sentence, audio)

    def sentence_ended(self, sentence: int, now: float, *, has_failed: bool = False) -> None:
        """The voice is through with `Speak`."""
        self._responder.sentence_ended(sentence, has_failed=has_failed)
        self._settle(now)

    def is_awaited(self, number: int) -> bool:
        """Whether anybody still waits for the model's reply to this `Think`."""
        return self._responder.is_awaited(number)

    def thought(self, number: int, reply: Reply, now: float, *, is_whole: bool) -> None:
        """A part of the model's reply to `Think`; `is_whole` with the last."""
        self._responder.thought(number, reply, is_whole=is_whole)
        self._settle(now)

    def thought_failed(self, number: int, now: float) -> None:
        """The model gives no answer to `Think`, or not the rest of it."""
        self._responder.thought_failed(number)
        self._settle(now)

    def handle_timer(self, now: float) -> None:
        """Time has come: a caller who says nothing, or the end of the session."""
        if now >= self._expires_at:
            minutes = max(1, round(self._options.max_age_s / 60))
            reason = f"Your session hit the maximum duration of {minutes} minutes."
            self._events.error("session_expired", reason)
            self.closing = (1001, reason)
        elif self._idle_at is not None and now >= self._idle_at and isinstance(self._config, SessionConfig):
            self._time_out_idle(self._config)
            self._settle(now)

    # --- What the client says ----------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now: float) -> None:
        """Carry out one client event, or answer it with an error."""
        event_id: str | None = None
        try:
            event = protocol.parse_client_event(message)
            event_id = event.event_id
            self._carry_out(event)
        except RefusedEvent as refused:
            self._events.error(
                refused.code, refused.message, parameter=refused.parameter, event_id=refused.event_id or event_id
            )
        self._settle(now)

    def _carry_out(self, event: protocol.ClientEvent) -> None:
        match event:
            case protocol.AudioAppend():
                self._append(event)
            case protocol.SessionUpdate():
                self._update_session(event)
            case protocol.AudioCommit():
                self._commit()
            case protocol.AudioClear():
                self._clear()
            case protocol.OutputAudioClear():
                message = "output_audio_buffer.clear is only available on WebRTC and SIP connections."
                raise RefusedEvent("invalid_event", message, parameter="type")
            case protocol.ItemCreate():
                self._create_item(event)
            case protocol.ItemRetrieve():
                self._history.retrieve(event.item_id, self._input_format)
            case protocol.ItemTruncate():
                self._history.truncate(event)
            case protocol.ItemDelete():
                self._history.delete(event.item_id)
            case protocol.ResponseCreate():
                self._create_response(event.response or ResponseParameters())
            case protocol.ResponseCancel():
                self._responder.cancel(event.response_id)

    # Session

    def _session_wire(self) -> dict[str, object]:
        return self._config.to_wire(self._session_id, self._expires_at_unix)

    @property
    def _input_format(self) -> WireFormat:
        return WireFormat(self._config.audio.input.format.type)

    def _update_session(self, event: protocol.SessionUpdate) -> None:
        before, keywords = self._config, self._keywords
        config = updated_session(before, event.session, has_spoken=self._responder.has_made_audio)
        self._config = config
        self._configure_hearing()
        if config.functions != before.functions or self._keywords != keywords:
            self._tasks.append(Prepare(self._listening()))
        self._events.session_updated(self._session_wire())
        self._list_tools([server for server in config.tool_servers if server not in before.tool_servers])

    def _list_tools(self, servers: Iterable[McpTool]) -> None:
        """Tell of each tool server that it cannot be reached: this server has no network."""
        for _ in servers:
            item_id = self._identities.new("mcpl")
            self._events.tool_list_in_progress(item_id)
            self._events.tool_list_failed(item_id)

    # Responses

    def _create_response(self, parameters: ResponseParameters) -> None:
        if not isinstance(self._config, SessionConfig):
            message = "Responses are not available in a transcription session."
            raise RefusedEvent("bad_response_create", message, parameter="type")
        self._responder.create(parameters, self._config, words_are_known=self._words.are_known)
        self._list_tools(tool for tool in parameters.tools or () if isinstance(tool, McpTool))

    def _configure_hearing(self) -> None:
        settings = self._config.audio.input
        self._hearing.configure(self._input_format, turn_options(settings))
        self._words.are_transcribed = settings.transcription is not None
        self._words.have_logprobs = bool(self._config.include)

    def _listening(self) -> Listening:
        functions, expected = self._config.functions, self._dialogue.expected
        return self._phrasebook.phrases(functions, self._keywords, expected).listening

    @property
    def _keywords(self) -> tuple[str, ...]:
        """What the client expects the caller to say."""
        transcription = self._config.audio.input.transcription
        return tuple(transcription.keywords or ()) if transcription is not None else ()

    # Caller's turns

    def _append(self, event: protocol.AudioAppend) -> None:
        self._tasks.extend(self._hearing.append(protocol.decode_audio(event.audio)))
        self._follow_turns()

    def _follow_turns(self) -> None:
        while (event := self._hearing.next_turn_event()) is not None:
            match event:
                case SpeechStarted():
                    self._begin_turn(event)
                case SpeechPaused():
                    self._guess_words(event)
                case SpeechStopped():
                    self._end_turn(event)

    def _begin_turn(self, event: SpeechStarted) -> None:
        self._idle_at = None
        self._words.drop_guess()
        self._speech_item_id = self._identities.new("item")
        self._events.speech_started(audio_start_ms=event.audio_start_ms, item_id=self._speech_item_id)
        turn_detection = self._config.audio.input.turn_detection
        if turn_detection is not None and turn_detection.interrupt_response:
            self._is_response_due = False
            self._responder.interrupt()

    def _guess_words(self, event: SpeechPaused) -> None:
        by_words = isinstance(self._config.audio.input.turn_detection, SemanticVad)
        samples = self._hearing.turn_so_far(event.audio_end_ms)
        self._words.guess(samples, self._listening(), wants_beginning=by_words)

    def _weigh_pause(self, heard: Recognition) -> None:
        """Under `semantic_vad` the words before a pause say how long it must be to end the turn."""
        grammar = self._phrasebook.phrases(self._config.functions).grammar
        silence_ms = end_silence_ms(self._config.audio.input, heard, grammar)
        if silence_ms is not None:
            self._hearing.end_after(silence_ms)
            self._follow_turns()

    def _end_turn(self, event: SpeechStopped) -> None:
        item_id, self._speech_item_id = self._speech_item_id, ""
        self._events.speech_stopped(audio_end_ms=event.audio_end_ms, item_id=item_id)
        said = self._hearing.turn_so_far(event.audio_end_ms)
        message = self._history.put_turn(item_id, self._hearing.take_turn(event.audio_end_ms))
        self._words.hear_turn(message, said, self._listening())
        turn_detection = self._config.audio.input.turn_detection
        is_wanted = turn_detection is not None and turn_detection.create_response
        self._is_response_due = is_wanted and isinstance(self._config, SessionConfig)

    def _commit(self) -> None:
        duration_ms = self._hearing.buffered_ms
        if duration_ms < MIN_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {duration_ms:.2f}ms of audio."
            )
            raise RefusedEvent("input_audio_buffer_commit_empty", message)
        item_id, self._speech_item_id = self._speech_item_id or self._identities.new("item"), ""
        self._words.drop_guess()
        samples = self._hearing.commit()
        self._words.hear(self._history.put_turn(item_id, samples), samples, self._listening())

    def _clear(self) -> None:
        self._hearing.clear()
        self._words.drop_guess()
        self._speech_item_id = ""
        self._events.audio_cleared()

    def _create_item(self, event: protocol.ItemCreate) -> None:
        item = self._history.create(event, self._input_format)
        if isinstance(item, Message):
            for part in item.content:
                if isinstance(part, InputAudio) and part.audio and part.transcript is None:
                    self._words.hear(item, part.audio, self._listening())
                    return

    # Silent callers

    def _time_out_idle(self, config: SessionConfig) -> None:
        self._idle_at = None
        item_id = self._identities.new("item")
        start_ms, end_ms = self._idle_start_ms, self._hearing.position_ms
        self._events.idle_timeout(audio_start_ms=start_ms, audio_end_ms=end_ms, item_id=item_id)
        self._history.put_silence(item_id, end_ms - start_ms)
        self._responder.say(self._dialogue.idle(), config)

    def _settle(self, now: float) -> None:
        """Do what has become due: the response to a turn, and the watch for a caller who says nothing."""
        responder = self._responder
        if not isinstance(self._config, SessionConfig):
            return
        if self._dialogue.expected != self._expected:
            self._expected = self._dialogue.expected
            self._tasks.append(Prepare(self._listening()))
        if self._is_response_due and responder.default is None:
            self._is_response_due = False
            responder.create(ResponseParameters(), self._config, words_are_known=self._words.are_known)
        turn_detection = self._config.audio.input.turn_detection
        timeout_ms = turn_detection.idle_timeout_ms if isinstance(turn_detection, ServerVad) else None
        if timeout_ms is None or responder.default is not None or self._hearing.is_speaking:
            self._idle_at = None
        elif responder.audio_ms_to_play:
            # The caller's silence counts from when the reply would have been heard to its end.
            self._idle_at = now + (responder.take_audio_ms() + timeout_ms) / 1000
            self._idle_start_ms = self._hearing.position_ms
