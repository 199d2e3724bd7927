"""What became of a plan's dialogues: each turn with its time, and the first that went wrong, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

from gateway.calls.record import Speaker, Speech
from gateway.errors import shown

NOT_UNDERSTOOD = "(not understood)"
LEAD_MS = 600
"""The telephone's time line may be so far behind the call's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReport:
    """One turn: ``asked`` as the plan has it, ``came`` what was heard or said; ``failure`` "" where it held."""

    number: int
    line: int
    asked: str
    at_s: float
    """Seconds since the call was placed, when the turn began."""
    came: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueReport:
    """One dialogue. The turns behind a failed one were not played."""

    name: str
    line: int
    turns: tuple[TurnReport, ...]
    total: int
    """Turns that the plan has."""
    seconds: float
    transcript: tuple[tuple[float, str, str], ...] = ()
    """Seconds since the ACK, speaker, words; as far as they were heard."""
    attempts: tuple[tuple[str, str, str], ...] = ()
    """Whom the gateway wanted to reach: the contacts of the number, the number, what came of it."""
    failure: str = ""
    """Of the dialogue as a whole: nothing that a turn did."""
    held: int = 1
    """How often; more than once where the machine was too busy."""
    at_once: int = 1
    """How many dialogues shared the machine, at most."""
    wav: Path | None = None

    @property
    def failed_turn(self) -> TurnReport | None:
        """The first turn that went wrong."""
        return next((turn for turn in self.turns if turn.failure), None)

    @property
    def is_passed(self) -> bool:
        """Whether everything came as expected."""
        return not self.failure and self.failed_turn is None

    def headline(self, file: Path) -> str:
        """One line, for whoever waits for the others."""
        verdict = "passed" if self.is_passed else "failed"
        return f"held  {file}:{self.line}  {shown(self.name)}: {verdict}, {self.seconds:.1f} s"

    def text(self, file: Path) -> str:
        """The verdict, what was played, and for a failure what was said and who was called."""
        turn = self.failed_turn
        verdict = f"pass  {file}:{self.line}  {shown(self.name)} ({self.total} turns, {self.seconds:.1f} s)"
        if turn is not None:
            verdict = f"FAIL  {file}:{turn.line}  {shown(self.name)}, turn {turn.number} {turn.asked}: {turn.failure}"
        elif self.failure:
            verdict = f"FAIL  {file}:{self.line}  {shown(self.name)}: {self.failure}"
        if self.held > 1:
            remedy = "; try --at-once 1" if self.at_once > 1 else ""
            verdict += f" (held {self.held} times: other programs kept this machine busy{remedy})"
        lines = [verdict, *(f"      {played.at_s:6.1f} s  {self._line(played)}" for played in self.turns)]
        lines += [
            f"      called {number} ({contacts or 'no contact'}): {outcome or 'no answer yet'}"
            for contacts, number, outcome in self.attempts
        ]
        if not self.is_passed:
            lines += [f"      {at_s:6.1f} s   {who}: {shown(words, 200)}" for at_s, who, words in self.transcript]
        return "\n".join(lines)

    @staticmethod
    def _line(turn: TurnReport) -> str:
        mark = "!" if turn.failure else " "
        return f"{mark} {turn.number}. {turn.asked}" + (f" -> {shown(turn.came, 120)}" if turn.came else "")

    def document(self) -> dict[str, object]:
        """The same for JSON."""
        turn = self.failed_turn
        return {
            "name": self.name,
            "line": self.line,
            "passed": self.is_passed,
            "failed_turn": turn.number if turn else None,
            "failed_line": turn.line if turn else None,
            "failure": turn.failure if turn else self.failure,
            "seconds": round(self.seconds, 1),
            "held": self.held,
            "turns": [
                {
                    "turn": played.number,
                    "line": played.line,
                    "asked": played.asked,
                    "at_s": round(played.at_s, 2),
                    "came": played.came,
                    "failure": played.failure,
                }
                for played in self.turns
            ],
            "transcript": [{"at_s": at_s, "who": who, "text": words} for at_s, who, words in self.transcript],
            "called": [
                {"number": number, "contacts": contacts, "outcome": outcome}
                for contacts, number, outcome in self.attempts
            ],
            "wav": str(self.wav) if self.wav else None,
        }


def transcript_of(speeches: Sequence[Speech], said_ms: Sequence[int]) -> tuple[tuple[float, str, str], ...]:
    """What both have said, in its order. `said_ms`: when the caller spoke; of what gave no words it is said, too."""
    lines = [(speech.at_ms, speech.speaker, speech.heard_text or speech.text) for speech in speeches]
    heard_ms = [at_ms for at_ms, speaker, _ in lines if speaker is Speaker.CALLER]
    for start_ms, next_ms in pairwise([*said_ms, inf]):
        if not any(start_ms - LEAD_MS <= at_ms < next_ms - LEAD_MS for at_ms in heard_ms):
            lines.append((round(start_ms), Speaker.CALLER, NOT_UNDERSTOOD))
    lines.sort(key=lambda line: line[0])
    return tuple((round(at_ms / 1000, 1), speaker.value, words) for at_ms, speaker, words in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialoguesReport:
    """All dialogues of a plan that were played."""

    file: Path
    plan: str
    dialogues: tuple[DialogueReport, ...]

    @property
    def is_passed(self) -> bool:
        """Whether all of them passed."""
        return all(dialogue.is_passed for dialogue in self.dialogues)

    def text(self) -> str:
        """For a terminal."""
        return "\n".join(dialogue.text(self.file) for dialogue in self.dialogues) or f"{self.file}: no dialogue held"

    def documents(self) -> Sequence[dict[str, object]]:
        """For the plan's JSON document."""
        return [dialogue.document() for dialogue in self.dialogues]

    def json(self) -> str:
        """One JSON document."""
        return json.dumps({"dialplan": self.plan, "file": str(self.file), "passed": self.is_passed,
                           "dialogues": self.documents()})  # fmt: skip
