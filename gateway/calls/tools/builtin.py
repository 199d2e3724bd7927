"""The tools that need nothing from outside: keys, messages, notes, the language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from gateway.calls.record import CallRecord, TakenMessage
from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.dialplan.arguments import Checker
from gateway.dialplan.tools import (
    MAX_DIGITS,
    NOTE,
    SEND_DTMF,
    TAKE_MESSAGE,
    SessionTool,
    report_sentiment,
    switch_language,
)
from gateway.realtime.session import SessionChange

KEYS = frozenset("0123456789*#ABCD")
KEY_MS = 80
MAX_NOTES = 20
"""Notes, and messages, in one call."""

CHECKERS: Mapping[str, Checker] = {tool.name: Checker(tool.parameters) for tool in (SEND_DTMF, TAKE_MESSAGE, NOTE)}

_log = structlog.stdlib.get_logger("gateway.calls")


class Changeable(Protocol):
    """A session that can become different."""

    @property
    def has_update(self) -> bool:
        """Whether it can."""
        ...

    def update(self, change: SessionChange) -> None:
        """Change it."""
        ...


class BuiltInTools:
    """Those of one call. `press` presses a key of so many milliseconds towards the caller, or tells that it cannot."""

    def __init__(self, record: CallRecord, press: Callable[[str, int], bool], clock: Callable[[], float]) -> None:
        self._record = record
        self._press = press
        self._clock = clock
        self.instructions = ""
        """Of the session that is open, in its first language."""
        self.language: str | None = None

    def check(self, name: str, languages: tuple[str, ...], sentiments: tuple[str, ...]) -> Checker:
        """What holds arguments against the tool's schema."""
        if name == SessionTool.REPORT_SENTIMENT:
            return Checker(report_sentiment(sentiments).parameters)
        if name == SessionTool.SWITCH_LANGUAGE:
            return Checker(switch_language(languages).parameters)
        return CHECKERS[name]

    def run(self, name: str, arguments: Mapping[str, object], session: Changeable) -> Outcome:
        """Do it; `arguments` fit the schema."""
        text = str(arguments.get("text", ""))
        match name:
            case SessionTool.SEND_DTMF:
                return self._send(str(arguments["digits"]))
            case SessionTool.TAKE_MESSAGE:
                return self._take_message(text, str(arguments.get("callback") or self._record.caller))
            case SessionTool.NOTE:
                return self._note(text)
            case SessionTool.REPORT_SENTIMENT:
                return Result("reported")
            case _:
                return self._switch(str(arguments["language"]), session)

    def _send(self, digits: str) -> Outcome:
        if not set(digits) <= KEYS or len(digits) > MAX_DIGITS:  # the schema's $ lets a line feed pass
            return Failure("digits are 0 to 9, *, # and A to D")
        for count, digit in enumerate(digits):
            if not self._press(digit, KEY_MS):
                return Failure(f"only {count} of {len(digits)} keys were pressed; wait, and press the others")
        return Result("sent")

    def _take_message(self, text: str, callback: str) -> Outcome:
        if len(self._record.messages) >= MAX_NOTES:
            return Failure("no more messages are taken in this call")
        since = self._record.established_s
        at_ms = 0 if since is None else round((self._clock() - since) * 1000)
        self._record.messages = (*self._record.messages, TakenMessage(text=text, callback=callback, at_ms=at_ms))
        # The one place where words get into the log: this is how they reach whom they are for.
        _log.info("message taken", call_id=self._record.call_id, text=text, callback=callback)
        return Result("taken")

    def _note(self, text: str) -> Outcome:
        if len(self._record.notes) >= MAX_NOTES:
            return Failure("no more notes are taken in this call")
        self._record.notes = (*self._record.notes, text)
        return Result("noted")

    def _switch(self, language: str, session: Changeable) -> Outcome:
        if not session.has_update:
            return Failure("this session cannot change its language")
        self.language = language
        instructions = f"{self.instructions}\n\n{language_instructions(language)}".strip()
        session.update(SessionChange(instructions=instructions, transcription_language=language))
        return Result(f"the language is {language} now")


def language_instructions(language: str) -> str:
    """What a model is told of the language it goes on in."""
    return f"From now on speak the language with the ISO 639-1 code {language}, and no other."
