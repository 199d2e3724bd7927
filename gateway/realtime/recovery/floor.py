"""Whose turn it is in a conversation, and what a session that is lost at this moment leaves owing.

::

    SpeechStarted ─> caller speaks ─SpeechStopped─> reply owed ─ResponseStarted─> model speaks ─ResponseFinished─> quiet
         └────────────── the audio of the turn is said again ─────────┘                 └── goes on where it was cut

A turn whose words are not known yet, and of whose answer nothing was heard, is given to the next session as audio, and
that session answers it by itself. Everything else it knows in words (`history`), and has to be asked to speak.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.realtime.events import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    Interrupted,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionEvent,
    SpeechStarted,
    SpeechStopped,
)
from gateway.realtime.options import TurnDetection

UNTOLD_S = 0.6
"""Speech may have begun so long before its event comes."""
LONGEST_ONSET_MS = 3000.0
PAUSE_S = 1.5
"""Without words of either side, of a model that has no turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """What the next session is to be given besides the history."""

    audio_since: float
    """The caller's audio from this moment on, monotonic seconds."""
    silence: tuple[float, float] | None = None
    """... but for this time, in which nothing was said."""
    is_reply_owed: bool = False
    instructions: str | None = None
    cut_item: str = ""
    """The item in which the model's reply broke off."""
    is_turn_repeated: bool = False
    """The audio holds the caller's whole turn, whose words are not known."""


@dataclass(slots=True)
class Reply:
    """A reply under way."""

    audio_ms: float = 0.0
    parts: dict[tuple[str, int], bool] = field(default_factory=dict)
    """Items with audio, and whether more of it is to come."""
    is_unwanted: bool = False


@dataclass(slots=True)
class _Turn:
    item_id: str
    since: float
    ended: float | None = None
    is_written: bool = False


class Floor:
    """One call's, over all its sessions. `bytes_per_ms` are those of the formats."""

    def __init__(self, turns: TurnDetection, *, input_bytes_per_ms: int, output_bytes_per_ms: int) -> None:
        self._has_automatic_replies = turns.kind != "none" and turns.creates_response
        self._is_interruptible = turns.kind != "none" and turns.interrupts_response
        self._input_bytes_per_ms = input_bytes_per_ms
        self._output_bytes_per_ms = output_bytes_per_ms
        self.is_full_duplex = False
        self.replies: dict[str, Reply] = {}
        self.is_caller_speaking = False
        self._turn: _Turn | None = None
        self._appended_ms = 0.0
        self._heard_s = float("-inf")
        self._words_s = float("-inf")
        self._playout_s = float("-inf")
        self._is_owed = False
        self._is_queued = False
        self.instructions: str | None = None
        """Those of the reply that is owed, or that failed."""
        self._has_restarted = False
        self._has_broken_in = False  # the caller, and nothing was told of their voice

    # --- what happens -------------------------------------------------------------------------------------------------

    def append(self, size: int) -> None:
        """So many bytes of the caller's audio went to the session."""
        self._appended_ms += size / self._input_bytes_per_ms

    def respond(self, instructions: str | None) -> None:
        """The gateway asked for a reply."""
        if self.replies or self.is_caller_speaking:
            self._is_queued = True
        else:
            self._is_owed = True
        self.instructions = instructions

    def cut(self, now: float) -> None:
        """What was queued for the caller is not played any more."""
        self._playout_s = now

    def cancel(self) -> None:
        """The replies under way are not wanted any more, nor those asked for."""
        for reply in self.replies.values():
            reply.is_unwanted = True
        self._is_owed = self._is_queued = False

    def hear(self, event: SessionEvent, now: float) -> None:
        """Follow what the session tells."""
        self._heard_s = now
        match event:
            case SpeechStarted():
                self._begin_turn(event, now)
            case SpeechStopped():
                self._end_turn(now)
            case InputTranscript() | OutputTranscript():
                self._words_s = now
                is_final = isinstance(event, InputTranscript) and event.is_final
                if is_final and self._turn is not None and self._turn.item_id == event.item_id:
                    self._turn.is_written = True
            case ResponseStarted():
                self.replies[event.response_id] = Reply()
                self._has_broken_in = False
                self._is_owed = False
            case AudioDelta():
                self.play(event, now)
            case AudioFinished():
                reply = self.replies.get(event.response_id)
                if reply is not None:
                    reply.parts[event.item_id, event.content_index] = False
            case Interrupted():
                self.cancel()
                self._has_broken_in = True
                self._playout_s = now
            case ResponseFinished():
                self._end_reply(event)
            case _:
                pass

    def _begin_turn(self, event: SpeechStarted, now: float) -> None:
        self.is_caller_speaking = True
        onset_ms = min(max(self._appended_ms - event.audio_start_ms, UNTOLD_S * 1000), LONGEST_ONSET_MS)
        before = self._turn
        is_same = before is not None and before.ended is not None and not before.is_written and not self.replies
        since = before.since if before is not None and is_same else now - onset_ms / 1000
        self._turn = _Turn(item_id=event.item_id, since=since)
        self._is_owed = False
        if not self._is_queued:
            self.instructions = None
        if self._is_interruptible:
            for reply in self.replies.values():
                reply.is_unwanted = True

    def _end_turn(self, now: float) -> None:
        self.is_caller_speaking = False
        if self._turn is not None:
            self._turn.ended = now
        self._is_owed = self._has_automatic_replies

    def play(self, event: AudioDelta, now: float) -> None:
        """The next audio of a reply."""
        self._heard_s = now
        audio_ms = len(event.audio) / self._output_bytes_per_ms
        if not self.is_full_duplex:
            self._playout_s = max(self._playout_s, now) + audio_ms / 1000
        self._is_owed = False
        reply = self.replies.get(event.response_id)
        if reply is not None:
            reply.audio_ms += audio_ms
            reply.parts[event.item_id, event.content_index] = True

    def _end_reply(self, event: ResponseFinished) -> None:
        is_answer = self.is_answered_by(event)
        self.replies.pop(event.response_id, None)
        if event.status is not ResponseStatus.FAILED and not self._is_queued:
            self.instructions = None
        if event.status is ResponseStatus.COMPLETED:
            self._has_restarted = False
            if is_answer:
                self._turn = None
        if not self.replies and self._is_queued and not self.is_caller_speaking:
            self._is_queued, self._is_owed = False, True

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def turn_item(self) -> str:
        """The caller's turn that is not settled yet; empty where there is none."""
        return "" if self._turn is None else self._turn.item_id

    @property
    def is_turn_open(self) -> bool:
        """A turn of the caller may have to be said again."""
        return self._turn is not None and not self._turn.is_written

    @property
    def is_reply_owed(self) -> bool:
        """The model is to speak and has not begun."""
        return self._is_owed

    def is_answered_by(self, event: ResponseFinished) -> bool:
        """Whether the caller's turn has its answer with the end of this reply; one that only asks a tool is none."""
        reply = self.replies.get(event.response_id)
        is_spoken = reply is not None and bool(reply.parts)
        return event.status is ResponseStatus.COMPLETED and is_spoken and not self.is_caller_speaking

    def quiet_at(self, now: float) -> float | None:
        """When nobody will be speaking if nothing new happens; None where that is open."""
        if self.is_full_duplex:
            return max(self._words_s + PAUSE_S, now)
        if self.is_caller_speaking or self.replies or self._is_owed or self._is_queued or self.is_turn_open:
            return None
        if self._has_broken_in:  # they may be speaking still, and are to be answered
            return None
        return max(self._playout_s, now)

    def default(self, now: float) -> Debt:
        """The session is gone, or about to be: what the next one owes. The floor is free from here on."""
        debt = self._debt()
        self.replies.clear()
        self.is_caller_speaking = False
        self._turn = None
        self._has_broken_in = False
        self._appended_ms = 0.0
        self._is_queued = False
        self._is_owed = debt.is_reply_owed
        self.instructions = debt.instructions
        self._has_restarted |= bool(debt.cut_item)
        self._heard_s = now
        return debt

    def _debt(self) -> Debt:
        wanted = [reply for reply in self.replies.values() if not reply.is_unwanted]
        spoken = next((reply for reply in wanted if reply.parts), None)
        turn = self._turn
        is_unheard_turn = turn is not None and not turn.is_written and spoken is None
        if turn is not None and (self.is_caller_speaking or is_unheard_turn):
            is_manual = not self._has_automatic_replies
            is_asked = is_manual and (self._is_owed or self._is_queued)
            return Debt(
                audio_since=turn.since,
                is_reply_owed=is_asked,
                silence=self._silence_after(turn),
                instructions=self.instructions,
                is_turn_repeated=True,
            )
        since = self._heard_s - UNTOLD_S
        if turn is not None and turn.ended is not None:
            since = max(since, turn.ended)
        is_cut = spoken is not None and not self._has_restarted
        is_owed = self._is_owed or self._is_queued or is_cut or (bool(wanted) and spoken is None)
        cut_item = next(reversed(spoken.parts))[0] if spoken is not None and is_cut else ""
        instructions = None if cut_item else self.instructions
        return Debt(audio_since=since, is_reply_owed=is_owed, instructions=instructions, cut_item=cut_item)

    def _silence_after(self, turn: _Turn) -> tuple[float, float] | None:
        since = self._heard_s - UNTOLD_S
        return (turn.ended, since) if turn.ended is not None and since > turn.ended else None
