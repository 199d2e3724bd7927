"""Both sides of a call in words, with times on the call's clock, and marks where the caller stopped hearing.

A provider tells words, audio and turns apart from each other and in its own order; the telephone tells when an item was
heard to its end, or how far, when it was cut off. `Transcript` brings them together, and tells each sentence once, when
it is over::

    caller   turn begins, or its first words come (time) ──> all its words                       ──> Speech
    agent    audio is queued (time, behind what is queued already), words  ──heard or cut or lost──> Speech

A turn of the caller, one that gave no words too, is also told as a fact for escalations, with what in it is the
agent's own voice come back.

What a session that ends leaves open is told as it stands: the caller's words so far, and of the agent's what was never
played as not heard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.calls.escalation.echo import AgentVoice
from gateway.calls.escalation.facts import CallerSaid
from gateway.calls.record import Speaker, Speech
from gateway.realtime.heard import heard_words

MAX_OPEN_ITEMS = 64


@dataclass(slots=True)
class _Turn:
    """A turn of the caller that is not over yet."""

    at_ms: int
    words: str = ""
    is_doubtful: bool = False  # another session may be told all of it again


@dataclass(slots=True)
class _Item:
    """A sentence of the agent that is not over yet."""

    at_ms: int
    words: str = ""
    has_all_words: bool = False
    is_waiting: bool = False  # its audio is kept until the caller can hear
    queued_ms: float = 0.0
    lost_ms: float = 0.0  # of its audio that was not queued, as nobody was to hear it
    has_audio: bool = False
    is_lost: bool = False
    has_all_audio: bool = False
    is_heard: bool = False
    heard_ms: int | None = None  # it was cut off
    received_ms: int = 0

    @property
    def is_unheard(self) -> bool:
        """Whether it was to be heard, and nothing of it has been played."""
        return not self.has_audio and (self.is_lost or self.is_waiting)

    def cut(self, heard_ms: int, received_ms: int) -> None:
        """So much of it was heard, and no more will be."""
        self.heard_ms, self.received_ms = heard_ms, received_ms


class Transcript:
    """Of one session. `now_ms` is the call's clock, `tell` gets each sentence, `notice` each turn of the caller."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        tell: Callable[[Speech], None],
        notice: Callable[[CallerSaid], None] = lambda _said: None,
    ) -> None:
        self._now_ms = now_ms
        self._tell = tell
        self._notice = notice
        self._voice = AgentVoice()
        self._turns: dict[str, _Turn] = {}
        self._items: dict[str, _Item] = {}
        self._over: dict[str, None] = {}  # what was told; its late words and audio are nobody's news

    # The caller.

    def begin_turn(self, item_id: str) -> None:
        """The caller began to speak."""
        self._turn(item_id)

    def caller_words(self, item_id: str, text: str) -> None:
        """The next words of a turn of the caller."""
        self._turn(item_id).words += text

    def caller_said(self, item_id: str, text: str, confidence: float | None = None) -> None:
        """A whole turn of the caller in words; blank where there were none."""
        turn = self._end_turn(item_id, text)
        echoed = self._voice.echoed(text, turn.at_ms, self._now_ms())
        self._notice(CallerSaid(text=text, echoed=echoed, confidence=confidence))

    def caller_answered(self) -> None:
        """The agent answers: what has been written down of the caller's turn so far counts already."""
        for turn in self._turns.values():
            if turn.words.strip() and not turn.is_doubtful:
                echoed = self._voice.echoed(turn.words, turn.at_ms, self._now_ms())
                self._notice(CallerSaid(text=turn.words, echoed=echoed, is_whole=False))

    def session_changed(self) -> None:
        """Another session hears the caller, perhaps from the beginning of the turn that is open."""
        for turn in self._turns.values():
            turn.is_doubtful = True

    def caller_words_lost(self, item_id: str) -> None:
        """No more words of a turn will come."""
        turn = self._turns.get(item_id)
        self.caller_said(item_id, "" if turn is None else turn.words)

    def _turn(self, item_id: str) -> _Turn:
        turn = self._turns.get(item_id)
        if turn is None:
            turn = self._turns[item_id] = _Turn(self._now_ms())
            if len(self._turns) > MAX_OPEN_ITEMS:
                oldest = next(iter(self._turns))
                self._end_turn(oldest, self._turns[oldest].words)
        return turn

    def _end_turn(self, item_id: str, text: str) -> _Turn:
        """Write a turn down, if it has words."""
        turn = self._turns.pop(item_id, None) or _Turn(self._now_ms())
        if not turn.is_doubtful:
            self._turns = {name: other for name, other in self._turns.items() if not other.is_doubtful}
        if text.strip():
            self._tell(Speech(speaker=Speaker.CALLER, text=text, at_ms=turn.at_ms, item_id=item_id))
        return turn

    # The agent.

    def prompt_heard(self, text: str) -> None:
        """The caller has heard a text of the plan, and what they said meanwhile is still to come."""
        self._voice.hear_prompt(text)

    def caller_heard_again(self) -> None:
        """Now it comes."""
        self._voice.hear_caller(self._now_ms())

    def agent_audio(self, item_id: str, behind_ms: float, audio_ms: float = 0.0) -> None:
        """`audio_ms` of an item are queued, behind `behind_ms` of other audio."""
        item = self._open(item_id)
        if item is None:
            return
        if not item.has_audio:
            item.at_ms, item.has_audio = self._now_ms() + round(behind_ms), True
        item.queued_ms += audio_ms
        self._voice.hear_audio(item_id, self._now_ms() + behind_ms, audio_ms)

    def agent_audio_waits(self, item_id: str) -> None:
        """Audio of an item is kept until the caller can hear."""
        item = self._open(item_id)
        if item is not None:
            item.is_waiting = True

    def agent_lost(self, item_id: str, audio_ms: float = 0.0) -> None:
        """So much audio of an item, or all that words were for, came when nobody was to hear it."""
        item = self._open(item_id)
        if item is not None:
            item.is_lost = True
            item.lost_ms += audio_ms

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
            self._voice.hear_words(item_id, text, is_final=is_final)
        item.has_all_words |= is_final
        self._settle(item_id, item)

    def agent_heard(self, item_id: str) -> None:
        """An item was heard to its end."""
        item = self._items.get(item_id)
        if item is not None:
            if item.lost_ms and item.heard_ms is None:
                item.cut(round(item.queued_ms), round(item.queued_ms + item.lost_ms))
            item.is_heard = True
            self._settle(item_id, item)

    def agent_cut(self, item_id: str, heard_ms: int, received_ms: int) -> None:
        """The caller broke in: so much of an item was heard."""
        self._voice.cut(self._now_ms())
        item = self._items.get(item_id)
        if item is not None:
            item.cut(heard_ms, received_ms)
            self._settle(item_id, item)

    def agent_flushed(self, item_id: str, heard_ms: int, received_ms: int) -> None:
        """What was queued of an item was dropped; only where its audio has all come is it cut off by that."""
        self._voice.cut(self._now_ms())
        item = self._items.get(item_id)
        if item is not None and item.has_all_audio:
            self.agent_cut(item_id, heard_ms, received_ms)

    def reply_ended(self) -> None:
        """No more words will come: what is only written, was cut off in silence or not to be heard is over."""
        for item_id, item in list(self._items.items()):
            item.has_all_words = True
            if item.is_unheard and not item.is_waiting:
                item.cut(0, 0)
            item.is_heard |= not item.has_audio and not item.is_waiting
            self._settle(item_id, item)

    def close(self) -> None:
        """The session is over; what is open is told as it stands."""
        for item_id, turn in list(self._turns.items()):
            self._end_turn(item_id, turn.words)
        for item_id, item in list(self._items.items()):
            if item.is_unheard and item.heard_ms is None:
                item.cut(0, 0)
            self._finish(item_id, item)

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
