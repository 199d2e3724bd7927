"""What a conversation was about, in its own words: what a dialogue answers who asks for a summary beside it.

A menu understands phrases and writes none, so the account quotes: what the caller said, which tools were called with
what result, and the answer that was given last. Notes of an earlier part, which a client puts before the conversation,
stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.embedded.brain import is_failure, spoken_name
from gateway.embedded.items import FunctionCall, FunctionCallOutput, InputAudio, Item, Message, OutputText

MAX_CHARACTERS = 1200
"""About 200 words; of more, the caller's oldest sentences are left out."""
_MAX_QUOTE_CHARACTERS = 160
_REASONS = ("reason", "error", "message")


@dataclass(slots=True)
class _Told:
    """What is worth telling, oldest first."""

    notes: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    unclear: int = 0
    """Turns of the caller's whose words were not understood."""
    calls: dict[str, str] = field(default_factory=dict)
    """By call id."""
    answer: str = ""

    def take(self, item: Item) -> None:
        match item:
            case FunctionCall():
                self.calls[item.call_id] = f"called {_with_arguments(item)}, with no result yet"
            case FunctionCallOutput() if item.call_id in self.calls:
                called, _, _ = self.calls[item.call_id].rpartition(", ")
                self.calls[item.call_id] = f"{called}, which {_outcome(item.output)}"
            case Message(role="user"):
                if item.text:
                    self.said.append(_quoted(item.text))
                elif any(isinstance(part, InputAudio) and part.transcript is not None for part in item.content):
                    self.unclear += 1
            case Message(role="assistant") if item.text:
                is_written = all(isinstance(part, OutputText) for part in item.content)
                if is_written and not (self.said or self.unclear or self.answer):
                    self.notes.append(item.text)
                else:
                    self.answer = _quoted(item.text)
            case _:
                pass


def account(items: Iterable[Item]) -> str:
    """One or two sentences about `items`, after the notes that stand before them."""
    told = _Told()
    for item in items:
        told.take(item)
    rest = " ".join((_of_caller(told), *_of_assistant(told)))
    while len(rest) > MAX_CHARACTERS and len(told.said) > 1:
        del told.said[0]
        rest = " ".join((_of_caller(told), *_of_assistant(told)))
    notes = " ".join(told.notes)[: max(0, MAX_CHARACTERS - len(rest))]
    return f"{notes} {rest}".strip()


def _of_caller(told: _Told) -> str:
    if not told.said:
        return "The caller said nothing that was understood." if told.unclear else "The caller has said nothing yet."
    unclear = f", and what was not understood in {told.unclear} more turns" if told.unclear > 1 else ""
    unclear = ", and once what was not understood" if told.unclear == 1 else unclear
    return f"The caller said {', then '.join(told.said)}{unclear}."


def _of_assistant(told: _Told) -> tuple[str, ...]:
    deeds = [*told.calls.values(), *([f"last said {told.answer}"] if told.answer else ())]
    return (f"The assistant {'; then it '.join(deeds)}.",) if deeds else ()


def _quoted(text: str) -> str:
    words = " ".join(text.replace('"', "'").split())
    cut = words if len(words) <= _MAX_QUOTE_CHARACTERS else words[:_MAX_QUOTE_CHARACTERS].rpartition(" ")[0] + " …"
    return f'"{cut}"'


def _with_arguments(call: FunctionCall) -> str:
    given = _members(call.arguments)
    told = ", ".join(f"{name}: {spoken_name(value)}" for name, value in given.items() if isinstance(value, str))
    return f"{call.name} ({told})" if told else call.name


def _outcome(output: str) -> str:
    if not is_failure(output):
        return "succeeded"
    given = _members(output)
    reason = next((value for name in _REASONS if isinstance(value := given.get(name), str) and value), "")
    return f"failed: {reason}" if reason else "failed"


def _members(text: str) -> dict[str, object]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
