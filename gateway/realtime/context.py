"""Long calls keep their beginning: old turns give way to a summary before the model's window is full.

A provider reads the whole conversation again for every reply, and drops its oldest part without a word when it does not
fit any more: the caller's name, what they called for. Long before that the model is asked, beside the conversation and
unheard, to write down what has been said; what it writes takes the place of all but the last turns::

    turns ─────────────────────────> │ limit: ask                 Answered: replace
    [u a u a u a u a u a u a u a u a] ──> what was said so far ──> [summary  u a u a u a]
                                                                            └─ kept as they are

Instructions and tools are no items: they are never cut. A question and its answer stay together: the cut lies before a
turn of the caller. So do a call of a tool and its result: a call that has none yet, or one behind the cut, stays.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.realtime.events import (
    Answered,
    ItemAdded,
    ItemKind,
    ResponseFinished,
    SessionEvent,
    SessionResumed,
)
from gateway.realtime.options import ContextOptions
from gateway.realtime.session import RealtimeSession

SUMMARY = "gateway_summary_"
"""How the ids of our questions and summaries begin."""
INSTRUCTIONS = (
    "Write down for yourself what has been said in this telephone call so far, to go on from there: who the caller is, "
    "what they want, every name, number, date and promise, what tools were called and what came of it, and what is "
    "still open. Facts only, 200 words at most. If there are notes of an earlier part, keep what they say."
)
PREFACE = "My notes of the earlier part of this call: "
PAUSE_REPLIES = 4
"""After a question: one that was not answered, or whose notes have not helped, is not asked again at once. Replies that
were under way when the notes took effect have still read all that was there before."""


@dataclass(frozen=True, slots=True)
class _Item:
    item_id: str
    kind: ItemKind
    call_id: str


class ContextKeeper:
    """Watches one session's conversation, by the events that it is given, and shortens it."""

    def __init__(self, options: ContextOptions, session: RealtimeSession) -> None:
        self._options = options
        self._session = session
        self._items: list[_Item] = []
        self._asked: str | None = None
        self._leaving: tuple[str, ...] = ()  # the items that the summary asked for will stand for
        self._summaries = 0
        self._pause = 0  # replies to let pass before another question

    @property
    def summaries(self) -> int:
        """How often the conversation was shortened."""
        return self._summaries

    def hear(self, event: SessionEvent) -> None:
        """Take note of what the session tells, and act on it."""
        match event:
            case ItemAdded():
                self._add(_Item(event.item_id, event.kind, event.call_id))
            case ResponseFinished(usage=usage) if usage is not None:
                self._look(usage.input_tokens + usage.output_tokens)
            case Answered(question_id=question_id) if question_id == self._asked:
                self._take(event)
            case SessionResumed():  # its items are new ones, and told anew
                self._items.clear()
                self._asked, self._leaving = None, ()
            case _:
                pass

    def _add(self, item: _Item) -> None:
        if any(item.item_id == known.item_id for known in self._items):
            return
        if item.item_id.startswith(SUMMARY):
            self._items.insert(0, item)
        else:
            self._items.append(item)

    def _look(self, tokens: int) -> None:
        """After a reply that read and wrote so many tokens."""
        if self._pause:
            self._pause -= 1
            return
        if self._asked is not None or tokens < self._options.limit_tokens:
            return
        capabilities = self._session.capabilities
        leaving = self._old_items()
        if leaving and capabilities.has_questions and capabilities.has_deletion:
            self._leaving = leaving
            self._asked = f"{SUMMARY}{self._summaries + 1}"
            self._session.ask(self._asked, INSTRUCTIONS)

    def _old_items(self) -> tuple[str, ...]:
        """All before the last turns, which begin with words of the caller, but for calls whose results are not old."""
        turns = [index for index, item in enumerate(self._items) if item.kind == "user"]
        if len(turns) <= self._options.keep_turns:
            return ()
        old = self._items[: turns[-self._options.keep_turns]]
        answered = {item.call_id for item in old if item.kind == "tool_result"}
        return tuple(item.item_id for item in old if item.kind != "tool_call" or item.call_id in answered | {""})

    def _take(self, answer: Answered) -> None:
        self._asked, self._pause = None, PAUSE_REPLIES
        text = answer.text.strip()
        if answer.error is not None or not text:
            self._leaving = ()
            return
        self._summaries += 1
        leaving, self._leaving = self._leaving, ()
        self._items = [item for item in self._items if item.item_id not in leaving]
        self._session.replace_items(leaving, f"{SUMMARY}{self._summaries}", PREFACE + text)
