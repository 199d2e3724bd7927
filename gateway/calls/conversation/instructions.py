"""What a session is asked to be, as it changes under way; pure."""

from __future__ import annotations

from dataclasses import replace

from gateway.realtime.session import SessionChange, SessionOptions

SHORT_ANSWERS = "From now on answer in one short sentence."
SHORT_ANSWER_TOKENS = 400
"""Some 20 s of speech: an answer that is short is never cut."""


class Instructions:
    """One session's, which began with `options`."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._text = options.instructions
        self._has_short_answers = False

    def shorten(self) -> SessionChange:
        """Short answers from now on, whatever else the session is asked to be."""
        self._has_short_answers = True
        most = min(self._options.max_output_tokens or SHORT_ANSWER_TOKENS, SHORT_ANSWER_TOKENS)
        return self.follow(SessionChange(instructions=self._text, max_output_tokens=most))

    def follow(self, change: SessionChange) -> SessionChange:
        """`change` as the session is to be told of it."""
        if change.instructions is None:
            return change
        self._text = change.instructions
        if not self._has_short_answers:
            return change
        return replace(change, instructions="\n\n".join(text for text in (self._text, SHORT_ANSWERS) if text))
