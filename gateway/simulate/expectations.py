"""What a call has come to, beside what a dialogue expects of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.dialplan.dialogue import Expected
from gateway.dialplan.phrases import words_of
from gateway.simulate.spoken_words import find_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What has been decided by now."""

    route: str | None = None
    session: str | None = None
    tools: Sequence[str] = ()
    escalations: Sequence[str] = ()
    transfer: str | None = None
    """The contact that the caller is connected with."""
    reached_for: str | None = None
    """The contact that was called last, where the caller is not connected."""
    is_calling: bool = False
    """Whether that contact is being called: what becomes of the transfer is open."""
    messages: Sequence[str] = ()
    voicemails: Sequence[str] = ()
    """Mailboxes in which something was left, in the order of the call."""
    callbacks: Sequence[str] = ()
    vars: Mapping[str, str] = field(default_factory=dict)
    reject: int | None = None
    outcome: str | None = None


def missing(expected: Expected, facts: Facts) -> list[str]:
    """What is not as expected, in words; nothing where all of it is."""
    return list(_differences(expected, facts))


def _differences(expected: Expected, facts: Facts) -> Iterator[str]:
    for word in ("route", "session", "reject", "outcome"):
        wanted, found = getattr(expected, word), getattr(facts, word)
        if wanted is not None and wanted != found:
            yield f"expected {word} {wanted}, but {_said(word, found)}"
    if not _is_within(expected.tools, facts.tools):
        yield f"expected tools {', '.join(expected.tools)}, but the model used {', '.join(facts.tools) or 'none'}"
    if expected.escalation is not None and expected.escalation not in facts.escalations:
        fired = ", ".join(facts.escalations) or "none"
        yield f"expected escalation {expected.escalation}, but {fired} has fired"
    if expected.transfer is not None and expected.transfer != facts.transfer:
        yield f"expected transfer {expected.transfer}, but {_connection(facts)}"
    if expected.message is not None and not any(_holds(text, expected.message) for text in facts.messages):
        left = "; ".join(f"'{text}'" for text in facts.messages) or "none"
        yield f"expected message '{expected.message}', but there is {left}"
    for word, wanted, found in (
        ("voicemail", expected.voicemail, facts.voicemails),
        ("callback", expected.callback, facts.callbacks),
    ):
        if wanted is not None and wanted not in found:
            yield f"expected {word} {wanted}, but {', '.join(found) or 'no mailbox'} has one"
    for name, wanted in expected.vars.items():
        if facts.vars.get(name) != wanted:
            found = f"it is '{facts.vars[name]}'" if name in facts.vars else "it is not set"
            yield f"expected vars.{name} '{wanted}', but {found}"


def _said(word: str, found: object) -> str:
    if found is not None:
        return f"it is {found}"
    return {"outcome": "the call goes on", "reject": "it was not refused"}.get(word, "there is none")


def _connection(facts: Facts) -> str:
    if facts.transfer is not None:
        return f"it is {facts.transfer}"
    return "the caller was not connected" + (_attempt(facts))


def _attempt(facts: Facts) -> str:
    if not facts.reached_for:
        return ""
    return f", {facts.reached_for} {'is being' if facts.is_calling else 'was'} called"


def _holds(text: str, words: str) -> bool:
    return find_words(words, words_of(text)) is not None


def _is_within(wanted: Sequence[str], found: Sequence[str]) -> bool:
    rest = iter(found)
    return all(name in rest for name in wanted)


def asked_for(expected: Expected) -> str:
    """What is expected, as the plan has it, on one line."""
    parts = [
        f"{word}: {value}"
        for word in (
            "route",
            "session",
            "escalation",
            "transfer",
            "message",
            "voicemail",
            "callback",
            "reject",
            "outcome",
        )
        if (value := getattr(expected, word)) is not None
    ]
    if expected.tools:
        parts.append(f"tools: [{', '.join(expected.tools)}]")
    parts += [f"vars.{name}: {value}" for name, value in expected.vars.items()]
    return ", ".join(parts)
