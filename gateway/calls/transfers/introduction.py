"""How a contact learns of the call that is put through: by whisper, by a header of our INVITE, by a webhook.

One `Introduction` is made for each transfer, when it is asked for: the model writes its summary while its last sentence
is being heard and the contact's telephone rings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gateway.calls.record import CallRecord
from gateway.calls.tools.services import ToolServices
from gateway.calls.transfers.report import TransferReport
from gateway.calls.transfers.summary import (
    HEADER,
    PATIENCE_S,
    REFERENCE_HEADER,
    CallSummary,
    header_value,
    instructions,
    own_summary,
    reference_value,
)
from gateway.calls.transfers.transfer import TransferAttempt
from gateway.calls.transfers.whisper import Speak, Spoken, Whisper, caller_in_words
from gateway.dialplan.contacts import Acceptance, Contact, SummaryWay, TransferMode
from gateway.dialplan.model import CallFacts, Dialplan


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroductionLinks:
    """What an introduction needs of its call."""

    services: ToolServices
    plan: Dialplan
    facts: CallFacts
    record: CallRecord
    clock: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
    """Makes a task that the call waits for."""
    ask: Callable[[str, Callable[[str], None]], None]
    """Lets the session write about the conversation."""
    speak: Speak


class Introduction:
    """What `contact`, who is called by `mode`, gets to know of one call."""

    def __init__(self, contact: Contact, mode: TransferMode, links: IntroductionLinks) -> None:
        self._contact = contact
        self._links = links
        phrases = links.plan.phrases
        self._summary: CallSummary | None = None
        if contact.ways:
            self._summary = CallSummary(links.clock, lambda: own_summary(links.record, phrases))
            links.ask(instructions(links.plan.language), self._summary.answer)
        self._whisper: Whisper | None = None
        if mode is TransferMode.WARM:
            self._whisper = Whisper(
                links.speak,
                links.spawn,
                phrases=phrases,
                caller=caller_in_words(links.facts, phrases),
                summary=self._of(SummaryWay.WHISPER),
            )
            self._whisper.prepare(contact.acceptance or Acceptance())
        self._report: TransferReport | None = None
        if contact.webhook is not None:
            self._report = TransferReport(
                links.services,
                contact.webhook,
                contact=contact.name,
                is_blind=mode is TransferMode.BLIND,
                record=links.record,
                facts=links.facts,
                summary=self._of(SummaryWay.WEBHOOK),
            )

    def _of(self, way: SummaryWay) -> CallSummary | None:
        return self._summary if way in self._contact.ways else None

    async def headers(self) -> tuple[tuple[str, str], ...]:
        """Those of our INVITE, once what they tell is there or has been waited for long enough."""
        summary = self._of(SummaryWay.HEADER)
        if summary is None:
            return ()
        value, call_id = header_value(await summary.text(PATIENCE_S)), self._links.record.call_id
        fields = ((REFERENCE_HEADER, reference_value(call_id)), (HEADER, value))
        return tuple((name, text) for name, text in fields if text)

    def sentences(self, acceptance: Acceptance) -> AsyncGenerator[Spoken, None]:
        """What whoever picks up hears, each sentence as soon as it is there."""
        if self._whisper is None:
            raise AssertionError("only warm transfers whisper")
        return self._whisper.sentences(acceptance)

    def note(self, attempt: TransferAttempt) -> None:
        """An attempt has come so far."""
        if self._report is not None:
            self._report.note(attempt)

    def close(self) -> None:
        """Nobody picks up any more; what is being reported goes on. Safe to repeat."""
        if self._whisper is not None:
            self._whisper.close()
