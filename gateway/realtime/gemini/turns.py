"""Who has the word in a Gemini session, and when the model may be given text.

Gemini names no replies, no items and no requests; it tells audio, words and the end of a turn. And text that is to be
answered breaks off what the model is saying, so that text waits here until the turn is over::

    idle ──text to be answered──> REQUESTED ──first audio or tool call──> OPEN ──turnComplete──> idle
      └──end of the caller's turn (ours to find)──> REQUESTED         tool calls and their results within one turn
"""

from __future__ import annotations

from enum import Enum

from gateway.realtime.gemini import codec


class Turn(Enum):
    """Of the model."""

    IDLE = "idle"
    REQUESTED = "requested"
    OPEN = "open"


class TextQueue:
    """Text on its way into the conversation. `turn` is whose turn it is, set by the protocol."""

    def __init__(self) -> None:
        self.turn = Turn.IDLE
        self._held: list[codec.JsonObject] = []
        self._instructions: list[codec.JsonObject] = []
        self._wants_reply = False
        self._has_unanswered = False

    def add(self, turn: codec.JsonObject) -> None:
        """A turn of text that wants no answer by itself."""
        self._held.append(turn)

    def want_reply(self, instructions: str | None) -> None:
        """Let the model follow `instructions`, or answer what it was told, or go on by itself."""
        self._wants_reply = True
        if instructions is not None:
            self._instructions.append(codec.turn("user", instructions))

    def note_answered(self) -> None:
        """The model speaks: what it was told so far it has taken note of."""
        self._has_unanswered = False

    def drop_request(self) -> None:
        """Forget the reply that is wanted and was not asked for yet."""
        self._wants_reply = False
        self._instructions.clear()

    def due(self) -> codec.JsonObject | None:
        """The message to be sent now, None while there is none or the model has the word."""
        if self.turn is not Turn.IDLE or not (self._held or self._wants_reply):
            return None
        turns = self._held + self._instructions
        self._held, self._instructions = [], []
        is_complete, self._wants_reply = self._wants_reply, False
        if is_complete and not turns and not self._has_unanswered:
            turns = [codec.turn("user", codec.GO_ON)]
        self._has_unanswered = not is_complete
        if is_complete:
            self.turn = Turn.REQUESTED
        return codec.client_content(turns, is_complete=is_complete)


class CallerWords:
    """The caller's words, piece by piece, told whole once a turn.

    Their order against the model's turn is not promised: words that come while the model speaks are late ones of the
    turn it answers, or, when it is interrupted, the first ones of the next.
    """

    def __init__(self) -> None:
        self._number = 1
        self._words: list[str] = []
        self._answered = 0

    @property
    def item_id(self) -> str:
        """Of the turn under way."""
        return f"caller_{self._number}"

    def add(self, text: str) -> None:
        """The next piece."""
        self._words.append(text)

    def note_reply(self) -> None:
        """The model begins to answer what was said so far."""
        self._answered = len(self._words)

    def finish(self, *, is_interrupted: bool = False) -> tuple[str, str] | None:
        """Item and words of the turn that ended; None when nothing was said. Interrupted, the newest words stay."""
        count = self._answered if is_interrupted else len(self._words)
        text, self._words, self._answered = "".join(self._words[:count]), self._words[count:], 0
        if not text.strip():
            return None
        item_id = self.item_id
        self._number += 1
        return item_id, text.strip()
