"""What a session has been about, in words: what the one after it is told so that it can go on.

Audio is not kept; a model is given what was written down. Of a reply that was cut off counts what the caller heard of
it, so far as the length of its audio tells. A tool that still runs is told as running, so that it is not asked for
again, and its result follows when it is there.

The record is bounded: the oldest turns go first, facts that the gateway told (``system``) last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.realtime.events import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    OutputTranscript,
    SessionEvent,
    SpeechStarted,
    ToolCall,
)
from gateway.realtime.heard import CUT, heard_words
from gateway.realtime.options import HistoryItem, Message, Role, ToolExchange

MAX_ITEMS = 64
MAX_CHARACTERS = 16_000
MAX_ITEM_CHARACTERS = 4_000
UNWRITTEN = "[The caller said something that was not written down.]"
RUNNING = '{"status":"running","note":"The result follows as a message. Do not call this again."}'


@dataclass(slots=True, kw_only=True)
class _Said:
    """Something one side said. ``heard_ms`` None: as much as was received."""

    role: Role
    item_id: str = ""
    text: str = ""
    is_whole: bool = False
    received_ms: float = 0.0
    is_spoken: bool = False
    is_audio_whole: bool = False
    heard_ms: float | None = None
    is_missing: bool = False
    """It was answered before anybody had written it down."""


@dataclass(slots=True, kw_only=True)
class _Tool:
    """A tool call; ``output`` None while it runs."""

    call: ToolCall
    arguments: str
    output: str | None = None
    is_cancelled: bool = False


class History:
    """The conversation of one call, over all its sessions. ``bytes_per_ms`` is the output format's."""

    def __init__(self, bytes_per_ms: int, before: tuple[HistoryItem, ...] = ()) -> None:
        self._bytes_per_ms = bytes_per_ms
        self._before = before
        self._entries: list[_Said | _Tool] = []
        self._dropped = 0
        self._replayed: list[_Said | _Tool | None] = []  # what the latest session was given; None: from before all

    @property
    def mark(self) -> int:
        """The place behind everything that is known now."""
        return self._dropped + len(self._entries)

    # --- what happens -------------------------------------------------------------------------------------------------

    def hear(self, event: SessionEvent) -> None:
        """Take what belongs into the record from an event."""
        match event:
            case AudioDelta():
                self.hear_audio(event)
            case AudioFinished():
                said = self._said("assistant", event.item_id)
                said.is_spoken = said.is_audio_whole = True
            case OutputTranscript():
                self._write(self._said("assistant", event.item_id), event.text, is_final=event.is_final)
            case InputTranscript():
                self._write(self._said("user", event.item_id), event.text, is_final=event.is_final)
            case SpeechStarted() if event.item_id:
                self._said("user", event.item_id)
            case _:
                pass

    def hear_audio(self, event: AudioDelta) -> None:
        """The next audio of an item."""
        said = self._said("assistant", event.item_id)
        said.is_spoken = True
        said.received_ms += len(event.audio) / self._bytes_per_ms

    def tell(self, role: Role, text: str) -> None:
        """The gateway put a message into the conversation."""
        self._add(_Said(role=role, text=text[:MAX_ITEM_CHARACTERS], is_whole=True))

    def call(self, call: ToolCall, arguments: str) -> None:
        """The model asked for a tool."""
        self._add(_Tool(call=call, arguments=arguments))

    def answer(self, call_id: str, output: str) -> None:
        """A tool's result is there."""
        for entry in reversed(self._entries):
            if isinstance(entry, _Tool) and entry.call.call_id == call_id:
                entry.output = output[:MAX_ITEM_CHARACTERS]
                return

    def cancel(self, call_id: str) -> None:
        """The model wants to know nothing more of a tool call."""
        for entry in self._entries:
            if isinstance(entry, _Tool) and entry.call.call_id == call_id:
                entry.is_cancelled = True

    def cut(self, item_id: str, heard_ms: float) -> None:
        """The caller heard no more than this of an item."""
        said = self._find(item_id)
        if said is not None and said.role == "assistant":
            said.heard_ms = min(heard_ms, said.received_ms)

    def close_turn(self, item_id: str) -> None:
        """A turn of the caller was answered; where its words are not here, that much is said of it."""
        said = self._find(item_id)
        if said is not None and not said.text:
            said.is_missing = True

    def is_written(self, item_id: str) -> bool:
        """Whether the words of a turn are known to the end."""
        said = self._find(item_id)
        return said is not None and said.is_whole

    def forget(self, item_id: str) -> None:
        """An item was taken out of the conversation."""
        said = self._find(item_id)
        if said is not None:
            said.text, said.received_ms, said.is_missing = "", 0.0, False

    def summarise(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """The oldest items have given way to a summary, and with them everything before the last of them.

        Where none of them has its id here, they are those that a session was given at its opening, in that order.
        """
        places = [index for index, entry in enumerate(self._entries) if _id(entry) in item_ids]
        end = max(places) + 1 if places else self._behind_replayed(len(item_ids))
        running = [entry for entry in self._entries[:end] if _is_running(entry)]
        text = summary[:MAX_ITEM_CHARACTERS]
        noted = _Said(role="assistant", item_id=summary_id, text=text, is_whole=True)
        self._dropped += end - len(running) - 1
        self._entries[:end] = [noted, *running]
        self._before = ()

    def heard_of(self, item_id: str) -> str:
        """The words of an item that the caller has heard."""
        said = self._find(item_id)
        if said is None or said.role != "assistant":
            return ""
        return said.text if _is_all_heard(said) else _heard(said).removesuffix(CUT).rstrip()

    def is_cut(self, item_id: str) -> bool:
        """Whether the caller has not heard an item to its end."""
        said = self._find(item_id)
        return said is not None and said.role == "assistant" and not _is_all_heard(said)

    # --- what a session is told ---------------------------------------------------------------------------------------

    def items(self, since: int | None = None) -> tuple[HistoryItem, ...]:
        """The record, or what came after a `mark`: oldest first, within its bounds."""
        first = max((since or 0) - self._dropped, 0)
        pairs: list[_Told]
        pairs = [(item, entry) for entry in self._entries[first:] if (item := _item(entry)) is not None]
        if since is not None:
            return tuple(item for item, _ in _bounded(pairs))
        kept = _bounded([*((item, None) for item in self._before), *pairs])
        self._replayed = [entry for _, entry in kept]
        return tuple(item for item, _ in kept)

    def _behind_replayed(self, count: int) -> int:
        """The place behind the entries that the first `count` items of the latest session were made of."""
        end = 0
        for entry in self._replayed:
            count -= 2 if isinstance(entry, _Tool) else 1  # a call and its result
            if count < 0:
                break
            place = next((place for place, known in enumerate(self._entries) if known is entry), -1)
            end = max(end, place + 1)
        return end

    def _said(self, role: Role, item_id: str) -> _Said:
        said = self._find(item_id)
        if said is None:
            said = _Said(role=role, item_id=item_id)
            self._add(said)
        return said

    def _find(self, item_id: str) -> _Said | None:
        for entry in reversed(self._entries):
            if isinstance(entry, _Said) and item_id and entry.item_id == item_id:
                return entry
        return None

    def _write(self, said: _Said, text: str, *, is_final: bool) -> None:
        if said.is_whole and not is_final:
            return
        said.text = (text if is_final else said.text + text)[:MAX_ITEM_CHARACTERS]
        said.is_whole |= is_final
        said.is_missing = False

    def _add(self, entry: _Said | _Tool) -> None:
        self._entries.append(entry)
        surplus = len(self._entries) - 4 * MAX_ITEMS
        if surplus > 0:
            kept = [old for old in self._entries[:surplus] if _is_running(old)]
            self._entries[:surplus] = kept
            self._dropped += surplus - len(kept)


_Told: TypeAlias = tuple[HistoryItem, _Said | _Tool | None]


def _bounded(told: Sequence[_Told]) -> list[_Told]:
    """As much of it as a session is given, the latest first of all."""
    kept: list[_Told] = []
    left, facts = MAX_CHARACTERS, MAX_CHARACTERS // 4
    for item, entry in reversed(told):
        size = _size(item)
        if left >= size and len(kept) < MAX_ITEMS:
            left -= size
            kept.append((item, entry))
            continue
        left = 0  # a conversation with holes would be another one
        if isinstance(item, Message) and item.role == "system" and facts >= size:
            facts -= size
            kept.append((item, entry))
    return kept[::-1]


def _is_running(entry: _Said | _Tool) -> bool:
    return isinstance(entry, _Tool) and entry.output is None and not entry.is_cancelled


def _id(entry: _Said | _Tool) -> str:
    return entry.item_id if isinstance(entry, _Said) else ""


def _is_all_heard(said: _Said) -> bool:
    if not said.is_spoken:
        return said.is_whole
    is_complete = said.is_whole and said.is_audio_whole
    return is_complete and (said.heard_ms is None or said.heard_ms >= said.received_ms)


def _heard(said: _Said) -> str:
    """The words that were heard, with the mark of a cut behind them."""
    heard_ms = said.received_ms if said.heard_ms is None else said.heard_ms
    is_complete = said.is_whole and said.is_audio_whole
    return heard_words(said.text, round(heard_ms), round(said.received_ms), is_complete=is_complete)


def _item(entry: _Said | _Tool) -> HistoryItem | None:
    if isinstance(entry, _Tool):
        if entry.is_cancelled:
            return None
        call = entry.call
        output = RUNNING if entry.output is None else entry.output
        return ToolExchange(call_id=call.call_id, name=call.name, arguments=entry.arguments, output=output)
    if entry.role != "assistant" or not entry.is_spoken:
        text = entry.text or (UNWRITTEN if entry.is_missing else "")
        return Message(role=entry.role, text=text) if text else None
    text = entry.text if _is_all_heard(entry) else _heard(entry)
    return Message(role="assistant", text=text) if text.removesuffix(CUT) else None


def _size(item: HistoryItem) -> int:
    return len(item.text) if isinstance(item, Message) else len(item.arguments) + len(item.output)
