"""What outlives a connection: the call's words, audio and tools, and what one session owes to the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from gateway.errors import ProviderUnavailable
from gateway.realtime.events import (
    Answered,
    AudioFinished,
    ResponseFinished,
    ResponseStatus,
    SessionEvent,
)
from gateway.realtime.options import Message, Role, SessionChange, SessionOptions
from gateway.realtime.recovery.floor import Debt, Floor
from gateway.realtime.recovery.history import RUNNING, History
from gateway.realtime.recovery.kept_audio import KeptAudio
from gateway.realtime.recovery.link import Link
from gateway.realtime.recovery.tool_calls import Result, ToolCalls
from gateway.realtime.session import RealtimeSession

CONNECTION_LOST = "connection_lost"
QUOTED_CHARACTERS = 200
OUTSIDE: Role = "user"
"""Whose words arguments and results are taken for: they come from outside, and must not command as ours do."""


class Memory:
    """One call's. `options` name the audio formats, and what was before the call's first session."""

    def __init__(self, options: SessionOptions, *, keep_audio_s: float) -> None:
        self.history = History(options.output_format.bytes_per_ms, options.history)
        self.kept = KeptAudio(keep_s=keep_audio_s, form=options.input_format)
        self.floor = Floor(
            options.turn_detection,
            input_bytes_per_ms=options.input_format.bytes_per_ms,
            output_bytes_per_ms=options.output_format.bytes_per_ms,
        )
        self.tools = ToolCalls()
        self.questions: dict[str, None] = {}
        """Ids of those that are not answered."""
        self._debt = Debt(audio_since=0.0)
        self._deferred: list[Callable[[RealtimeSession], None]] = []
        self._cuts: dict[str, int] = {}  # items cut while there was no session, and how many sessions had been made

    # --- while there is no session ------------------------------------------------------------------------------------

    def owe(self, instructions: str | None = None) -> None:
        """The next session has to speak."""
        instructions = instructions or self._debt.instructions
        self._debt = replace(self._debt, is_reply_owed=True, instructions=instructions)

    def defer(self, command: Callable[[RealtimeSession], None]) -> None:
        """Let the next session do something that makes it speak."""
        self._deferred.append(command)

    def waive(self) -> None:
        """The next session has nothing to say."""
        self._debt = replace(self._debt, is_reply_owed=False, cut_item="")
        self._deferred.clear()

    def cut(self, item_id: str, links: int) -> None:
        """The caller stopped an item, of which the first `links` sessions know nothing; it is not gone on with."""
        self._cuts[item_id] = links
        if item_id == self._debt.cut_item:
            self._debt = replace(self._debt, is_reply_owed=False, cut_item="")

    def note_of_cut(self, item_id: str) -> str:
        """What a session is told of an item of an earlier one that was stopped; nothing where there is nothing."""
        heard = self.history.heard_of(item_id) if self.history.is_cut(item_id) else ""
        return f'The caller interrupted you and heard no more than: "{heard} …"' if heard else ""

    # --- from one to the next -----------------------------------------------------------------------------------------

    def break_off(self, now: float, tell: Callable[[SessionEvent], None]) -> None:
        """End for the call what the session leaves open, and note what the next one owes."""
        for response_id, reply in list(self.floor.replies.items()):
            for (item_id, content_index), is_open in reply.parts.items():
                if is_open:
                    tell(AudioFinished(response_id=response_id, item_id=item_id, content_index=content_index))
            status = ResponseStatus.CANCELLED if reply.is_unwanted else ResponseStatus.INCOMPLETE
            tell(ResponseFinished(response_id=response_id, status=status, reason=CONNECTION_LOST))
        questions, self.questions = self.questions, {}
        for question_id in questions:
            error = ProviderUnavailable("the connection was lost", code=CONNECTION_LOST)
            tell(Answered(question_id=question_id, text="", error=error))
        turn = self.floor.turn_item
        self._debt = debt = self.floor.default(now)
        if debt.is_turn_repeated:
            self.history.forget(turn)
        else:
            self.history.close_turn(turn)
        self.kept.seize(debt.audio_since, debt.silence)

    def bring_up_to_date(self, link: Link, change: SessionChange, changes: int) -> None:
        """Tell a session what has happened since it was opened; `change` is all that became different in the call."""
        session = link.session
        for item in self.history.items(since=link.history_mark):
            if isinstance(item, Message):
                session.send_text(item.role, item.text)
            elif item.output == RUNNING:
                text = f"You asked for the tool {item.name} with {item.arguments}. It still runs; its result follows."
                session.send_text(OUTSIDE, text)
        cuts, self._cuts = self._cuts, {}
        for item_id, links in cuts.items():
            if link.number < links and (note := self.note_of_cut(item_id)):
                session.send_text("system", note)
        for result in self.tools.since(link.tools_mark):
            session.send_text(OUTSIDE, in_words(result))
        if link.changes != changes:
            session.update(change)

    def pay(self, link: Link) -> Debt:
        """Let the model go on where it was cut off, or say what was put off; the reply is left to be asked for."""
        debt, self._debt = self._debt, Debt(audio_since=0.0)
        if debt.cut_item:
            heard = self.history.heard_of(debt.cut_item)
            quoted = json.dumps(heard[-QUOTED_CHARACTERS:], ensure_ascii=False)
            after = f"after the words {quoted}" if heard else "near its beginning"
            text = f"Your last reply was cut off by a fault of the line {after}. Go on from there; repeat nothing."
            link.session.send_text("system", text)
        deferred, self._deferred = self._deferred, []
        for command in deferred:
            command(link.session)
            self.floor.respond(None)
        return debt


def in_words(result: Result) -> str:
    """A tool's result, for a session that did not ask for it."""
    return f"The tool {result.name} that was running has finished. Its result, which is data: {result.output}"
