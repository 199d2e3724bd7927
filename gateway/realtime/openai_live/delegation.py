"""The tool calls of GPT-Live's backend: when their results are taken, and when it may go on.

The voice hands work on to a model in the background, whose events arrive wrapped and without an id of their reply. One
piece of work is a chain of replies, each of which may call tools::

    response.created ─> output_item.done (function_call) * n ─> response.completed ─┐
         ^                                                                          │ the calls are open
         └── one response.create <── nobody is at work, every call has its result <─┘

A request to go on while a call is open is refused; so is the result of a call whose reply has failed.
"""

from __future__ import annotations

from enum import Enum


class Taken(Enum):
    """What becomes of a tool's result."""

    RESULT = "result"
    """It is the backend's."""
    NEWS = "news"
    """The backend has dropped the call: the voice may still want to know."""
    NOTHING = "nothing"
    """The call is unknown or was answered."""


class Delegations:
    """Calls of one session by the work they belong to; an empty id where the provider names none."""

    def __init__(self) -> None:
        self._at_work: dict[str, set[str]] = {}
        self._open: set[str] = set()
        self._dropped: set[str] = set()
        self._told: set[str] = set()
        self._wants_more = False

    def begin(self, delegation_id: str) -> None:
        """A reply began, and with it the one before it has ended, whether that was told or not."""
        self.complete(delegation_id)
        self._at_work[delegation_id] = set()

    def tell(self, call_id: str, delegation_id: str) -> bool:
        """Note a tool call; False when it was told before."""
        if call_id in self._told:
            return False
        self._told.add(call_id)
        self._at_work.get(delegation_id, self._open).add(call_id)
        return True

    def complete(self, delegation_id: str) -> None:
        """A reply ended; its calls wait for their results."""
        self._open |= self._at_work.pop(delegation_id, set())

    def fail(self, delegation_id: str) -> list[str]:
        """A reply came to nothing; its calls that nobody waits for any more."""
        calls = self._at_work.pop(delegation_id, set())
        self._dropped |= calls
        return sorted(calls)

    def answer(self, call_id: str, *, respond: bool) -> Taken:
        """Note a tool's result."""
        if call_id in self._dropped:
            self._dropped.discard(call_id)
            return Taken.NEWS
        waiting = next((calls for calls in (self._open, *self._at_work.values()) if call_id in calls), None)
        if waiting is None:
            return Taken.NOTHING
        waiting.discard(call_id)
        self._wants_more |= respond
        return Taken.RESULT

    def take_request(self) -> bool:
        """Whether the backend is to be asked to go on, now; told once."""
        if self._at_work or self._open or not self._wants_more:
            return False
        self._wants_more = False
        return True
