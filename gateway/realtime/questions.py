"""Questions to the model beside the conversation: which are out, and which replies are theirs.

A question is a ``response.create`` of no conversation. Any number may run beside the conversation's own reply, so none
of this touches the queue of replies. A question is known by its metadata, which the provider repeats in each response
object; one that does not repeat it is known, while a question has not begun, by a response of no conversation.
Each question ends once: answered, refused, failed or cancelled; what ends with the session is the session's to tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import ProviderError
from gateway.realtime.fields import Fields
from gateway.realtime.session import Answered

QUESTION = "gateway_question"
"""The metadata by which a question's reply is known."""


@dataclass(slots=True, kw_only=True)
class _Question:
    question_id: str
    event_id: str
    response_id: str = ""


class Questions:
    """The questions of one session that have no answer yet, by the key in their metadata."""

    def __init__(self) -> None:
        self._open: dict[str, _Question] = {}
        self._count = 0

    def next_key(self) -> str:
        """The metadata of the next question. Our own: what the call names a question by may be too long for it."""
        self._count += 1
        return f"q{self._count}"

    def ask(self, key: str, question_id: str, event_id: str) -> None:
        """A question was sent as `event_id`."""
        self._open[key] = _Question(question_id=question_id, event_id=event_id)

    def refuse(self, event_id: str, error: ProviderError) -> Answered | None:
        """The event of a question was refused. An empty `event_id` means the oldest question that has not begun."""
        for key, question in self._open.items():
            if (question.event_id == event_id) if event_id else not question.response_id:
                del self._open[key]
                return Answered(question_id=question.question_id, text="", error=error)
        return None

    def begin(self, response: Fields) -> bool:
        """Whether a response that began is the reply to a question."""
        key = self._key(response)
        if key in self._open:
            self._open[key].response_id = response.text("id", "")
        return bool(key)

    def owns(self, response_id: str) -> bool:
        """Whether a reply under way belongs to a question."""
        if not self._open or not response_id:  # nearly always, and asked of every piece of audio
            return False
        return any(question.response_id == response_id for question in self._open.values())

    def take(self, response: Fields) -> tuple[bool, str | None]:
        """Whether a response that ended is a question's, and the question, if it is still open."""
        key = self._key(response)
        question = self._open.pop(key, None)
        return bool(key), None if question is None else question.question_id

    def _key(self, response: Fields) -> str:
        """Key of the question that a response belongs to; empty for one of the conversation."""
        key = response.fields("metadata").text(QUESTION, "")
        if key:
            return key
        response_id = response.text("id", "")
        for open_key, question in self._open.items():
            if question.response_id and question.response_id == response_id:
                return open_key
        if response.members.get("conversation_id", "") is None:
            return next((key for key, question in self._open.items() if not question.response_id), "")
        return ""
