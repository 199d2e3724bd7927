"""What the model says in a Gemini session, as replies with names, each part of which is told once.

A reply begins with the first audio or with a tool call, and ends with a tool call or with the turn; a turn may hold
several. Words may come before their audio, and behind the tool call that ended their reply.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import ProviderUnavailable, shown
from gateway.realtime.fields import Fields, MalformedEventError
from gateway.realtime.gemini import codec
from gateway.realtime.ledger import AudioLedger
from gateway.realtime.session import (
    AudioDelta,
    AudioFinished,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionEvent,
    SessionStatistics,
    Usage,
)

_log = logging.getLogger(__name__)

_GOOD_REASONS = frozenset({"", "TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT"})


@dataclass(slots=True, kw_only=True)
class _Reply:
    response_id: str
    item_id: str = ""
    """Of the speech that is under way; empty before it and behind its end."""
    spoken_item_id: str = ""
    """Of the speech that `words` are of; stays when its audio has ended."""
    words: list[str] = field(default_factory=list)
    status: ResponseStatus = ResponseStatus.COMPLETED
    reason: str = ""


class Replies:
    """Of one session. `tell` gets the events, `on_begin` is called when a reply begins, before it is told."""

    def __init__(
        self, statistics: SessionStatistics, tell: Callable[[SessionEvent], None], on_begin: Callable[[], None]
    ) -> None:
        self._statistics = statistics
        self._tell = tell
        self._on_begin = on_begin
        self._ledger = AudioLedger(codec.OUTPUT_FORMAT.bytes_per_ms)
        self._reply: _Reply | None = None
        self._early_words: list[str] = []
        self._is_discarding = False
        self._is_next_unwanted = False
        self._replies = self._items = 0

    @property
    def is_active(self) -> bool:
        """Whether a reply is under way."""
        return self._reply is not None

    @property
    def is_discarding(self) -> bool:
        """Whether what still comes of this turn is late."""
        return self._is_discarding

    def begin(self) -> str:
        """Begin a reply unless one is under way; its id."""
        return self._current().response_id

    def _current(self) -> _Reply:
        if self._reply is None:
            self._replies += 1
            self._reply = _Reply(response_id=f"response_{self._replies}")
            self._on_begin()
            self._tell(ResponseStarted(response_id=self._reply.response_id))
            if self._is_next_unwanted:
                self.end_early("client_cancelled")
        return self._reply

    # --- parts --------------------------------------------------------------------------------------------------------

    def take_audio(self, blob: Fields) -> None:
        """Audio of the turn, as an ``inlineData``."""
        try:
            audio = codec.read_audio(blob)
        except MalformedEventError:
            raise
        except ValueError as error:
            self._statistics.skipped_audio += 1
            _log.debug("! audio skipped: %s", error)
            return
        if self._is_discarding:
            self._statistics.late_audio += 1
            return
        reply = self._current()
        item_id = reply.item_id or f"speech_{self._items + 1}"
        if not self._ledger.take(reply.response_id, (item_id, 0), len(audio)):
            self._statistics.late_audio += 1
            return
        if not reply.item_id:
            self._finish_words(reply)
            self._items += 1
            reply.item_id = reply.spoken_item_id = item_id
        self._tell(AudioDelta(response_id=reply.response_id, item_id=item_id, content_index=0, audio=audio))
        early, self._early_words = self._early_words, []
        for text in early:
            self.add_words(text)

    def finish_audio(self) -> None:
        """No more audio comes of what is being said."""
        reply = self._reply
        if reply is None:
            return
        item_id, reply.item_id = reply.item_id, ""
        if item_id and self._ledger.finish((item_id, 0)):
            self._tell(AudioFinished(response_id=reply.response_id, item_id=item_id, content_index=0))

    def add_words(self, text: str) -> None:
        """The next words of the model."""
        if not text or self._is_discarding:
            return
        reply = self._reply
        if reply is None or not reply.spoken_item_id:
            self._early_words.append(text)
            return
        reply.words.append(text)
        self._tell_words(reply, text, is_final=False)

    def _finish_words(self, reply: _Reply) -> None:
        if reply.words:
            text, reply.words = "".join(reply.words).strip(), []
            self._tell_words(reply, text, is_final=True)

    def _tell_words(self, reply: _Reply, text: str, *, is_final: bool) -> None:
        self._tell(
            OutputTranscript(
                response_id=reply.response_id,
                item_id=reply.spoken_item_id,
                content_index=0,
                text=text,
                is_final=is_final,
            )
        )

    # --- ends ---------------------------------------------------------------------------------------------------------

    def truncate(self, item_id: str) -> None:
        """What still comes of an item is late."""
        self._ledger.interrupt(item_id)

    def end_early(self, reason: str) -> None:
        """What still comes of the turn under way is late; its end follows."""
        self._is_next_unwanted = False
        self._is_discarding = True
        if self._reply is not None and self._reply.status is ResponseStatus.COMPLETED:
            self._ledger.interrupt(self._reply.response_id)
            self._reply.status, self._reply.reason = ResponseStatus.CANCELLED, reason

    def drop_next(self) -> None:
        """The reply that was asked for and has not begun is not to be heard."""
        self._is_next_unwanted = True

    def finish(self, usage: Usage | None, turn_reason: str = "") -> bool:
        """End the reply under way; False where there is none, and the usage is still to be told.

        `turn_reason` is why the turn ended; a bad one where there is no reply is a reply that the model refused.
        """
        reply = self._reply
        is_refused = turn_reason not in _GOOD_REASONS
        if reply is None:
            if is_refused:
                self._tell(_refused(turn_reason))
            return False
        self.finish_audio()
        self._finish_words(reply)
        if is_refused and reply.status is ResponseStatus.COMPLETED:
            reply.status, reply.reason = ResponseStatus.INCOMPLETE, shown(turn_reason.casefold())
        self._reply = None
        self._tell(
            ResponseFinished(response_id=reply.response_id, status=reply.status, usage=usage, reason=reply.reason)
        )
        return True

    def end_turn(self) -> None:
        """Nothing more comes of this turn."""
        self._early_words.clear()
        self._is_discarding = self._is_next_unwanted = False


def _refused(turn_reason: str) -> ResponseFinished:
    text = f"the model gave no reply: {shown(turn_reason)}"
    error = ProviderUnavailable(text, code=shown(turn_reason.casefold()))
    return ResponseFinished(response_id="", status=ResponseStatus.FAILED, error=error)
