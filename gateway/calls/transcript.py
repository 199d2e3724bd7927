"""Both sides of a call in words, with times on the call's clock, and marks where the caller stopped hearing.

A provider tells words, audio and turns apart from each other and in its own order; the telephone tells when an item was
heard to its end, or how far, when it was cut off. `Transcript` brings them together, and tells each sentence once, when
it is over::

    caller   turn begins (time) ──> words                                                    ──> Speech
    agent    audio is queued (time, behind what is queued already), words  ──heard or cut──> ──> Speech
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.calls.record import Speaker, Speech
from gateway.realtime.heard import heard_words

MAX_OPEN_ITEMS = 64


@dataclass(slots=True)
class _Item:
    """A sentence of the agent that is not over yet."""

    at_ms: int
    words: str = ""
    has_all_words: bool = False
    has_audio: bool = False
    has_all_audio: bool = False
    is_heard: bool = False
    heard_ms: int | None = None  # it was cut off
    received_ms: int = 0


class Transcript:
    """Of one session. `now_ms` is the call's clock, `tell` gets each sentence."""

    def __init__(self, now_ms: Callable[[], int], tell: Callable[[Speech], None]) -> None:
        self._now_ms = now_ms
        self._tell = tell
        self._turns: dict[str, int] = {}
        self._items: dict[str, _Item] = {}
        self._over: dict[str, None] = {}  # what was told; its late words and audio are nobody's news

    # The caller.

    def begin_turn(self, item_id: str) -> None:
        """The caller began to speak."""
        self._turns[item_id] = self._now_ms()
        if len(self._turns) > MAX_OPEN_ITEMS:
            del self._turns[next(iter(self._turns))]

    def caller_said(self, item_id: str, text: str) -> None:
        """A whole turn of the caller in words."""
        at_ms = self._turns.pop(item_id, None)
        if text.strip():
            self._tell(
                Speech(
                    speaker=Speaker.CALLER,
                    text=text,
                    at_ms=self._now_ms() if at_ms is None else at_ms,
                    item_id=item_id,
                )
            )

    # The agent.

    def agent_audio(self, item_id: str, queued_ms: float) -> None:
        """Audio of an item is queued, behind `queued_ms` of other audio."""
        item = self._open(item_id)
        if item is not None and not item.has_audio:
            item.at_ms, item.has_audio = self._now_ms() + round(queued_ms), True

    def agent_audio_ended(self, item_id: str) -> None:
        """No more audio will come for an item."""
        item = self._items.get(item_id)
        if item is not None:
            item.has_all_audio = True

    def agent_words(self, item_id: str, text: str, *, is_final: bool) -> None:
        """The next words of an item, or, final, all of them. Those of an item that was cut off are too late."""
        item = self._open(item_id)
        if item is None:
            return
        if item.heard_ms is None or not item.words:
            item.words = text if is_final else item.words + text
        item.has_all_words |= is_final
        self._settle(item_id, item)

    def agent_heard(self, item_id: str) -> None:
        """An item was heard to its end."""
        item = self._items.get(item_id)
        if item is not None:
            item.is_heard = True
            self._settle(item_id, item)

    def agent_cut(self, item_id: str, heard_ms: int, received_ms: int) -> None:
        """The caller broke in: so much of an item was heard."""
        item = self._items.get(item_id)
        if item is not None:
            item.heard_ms, item.received_ms = heard_ms, received_ms
            self._settle(item_id, item)

    def reply_ended(self) -> None:
        """No more words will come: what is only written, or was cut off in silence, is over."""
        for item_id, item in list(self._items.items()):
            item.has_all_words = True
            item.is_heard |= not item.has_audio
            self._settle(item_id, item)

    def close(self) -> None:
        """The session is over; what is open is told as it stands."""
        for item_id in list(self._items):
            self._finish(item_id, self._items[item_id])

    def _open(self, item_id: str) -> _Item | None:
        """The item of that id, new or not; None once it is over."""
        item = self._items.get(item_id)
        if item is None and item_id not in self._over:
            item = self._items[item_id] = _Item(at_ms=self._now_ms())
            if len(self._items) > MAX_OPEN_ITEMS:
                oldest = next(iter(self._items))
                self._finish(oldest, self._items[oldest])
        return item

    def _settle(self, item_id: str, item: _Item) -> None:
        """Tell an item that is over: heard to its end and with all its words, or cut off with as many as there are."""
        is_cut = item.heard_ms is not None and (item.words or item.has_all_words)
        if is_cut or (item.is_heard and item.has_all_words):
            self._finish(item_id, item)

    def _finish(self, item_id: str, item: _Item) -> None:
        del self._items[item_id]
        self._over[item_id] = None
        if len(self._over) > MAX_OPEN_ITEMS:
            del self._over[next(iter(self._over))]
        if not item.words.strip():
            return
        heard_text = None
        if item.heard_ms is not None:
            heard_text = heard_words(item.words, item.heard_ms, item.received_ms, is_complete=item.has_all_audio)
        self._tell(
            Speech(
                speaker=Speaker.AGENT,
                text=item.words,
                at_ms=item.at_ms,
                item_id=item_id,
                heard_ms=item.heard_ms,
                heard_text=heard_text,
            )
        )
