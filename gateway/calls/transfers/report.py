"""Tells a contact's web service of a transfer: once when it rings, and once how it ended.

::

    POST {"call", "caller", "called", "contact", "target", "state", "why", "summary", "notes"}
    state    ringing (of a blind transfer: referred) ──> joined | failed

The requests run beside the call and outlive it; what goes wrong is logged, and changes nothing.
"""

from __future__ import annotations

import asyncio

import structlog

from gateway.calls.record import CallRecord
from gateway.calls.tools.http_tool import run_request
from gateway.calls.tools.outcome import Failure
from gateway.calls.tools.services import ToolServices
from gateway.calls.transfers.state import TransferState
from gateway.calls.transfers.summary import CallSummary
from gateway.calls.transfers.transfer import UNDONE, TransferAttempt
from gateway.dialplan.model import CallFacts
from gateway.dialplan.tools import HttpRequest

_S = TransferState

_log = structlog.stdlib.get_logger("gateway.calls")


class TransferReport:
    """What is told of one transfer to `contact`."""

    def __init__(
        self,
        services: ToolServices,
        request: HttpRequest,
        *,
        contact: str,
        is_blind: bool,
        record: CallRecord,
        facts: CallFacts,
        summary: CallSummary | None,
    ) -> None:
        self._services = services
        self._request = request
        self._contact = contact
        self._begins = (_S.REQUESTED,) if is_blind else (_S.RINGING, _S.WHISPERING, _S.ANSWERED)  # some never ring
        self._record = record
        self._facts = {
            "caller.number": facts.from_,
            "caller.name": facts.display_name,
            "called.number": facts.to,
            "call.id": record.call_id,
        }
        self._summary = summary
        self._told: list[str] = []
        self._last: asyncio.Task[None] | None = None

    def note(self, attempt: TransferAttempt) -> None:
        """An attempt has come so far."""
        if attempt.state in self._begins and not self._told:
            self._tell("referred" if attempt.state is _S.REQUESTED else "ringing", attempt)
        elif attempt.state in (_S.HANDED_OVER, _S.BRIDGED):
            self._tell("joined", attempt)
        elif attempt.state in UNDONE and (attempt.is_last or attempt.state in (_S.CALLER_GONE, _S.CALL_ENDED)):
            self._tell("failed", attempt, attempt.why)

    def _tell(self, state: str, attempt: TransferAttempt, why: str = "") -> None:
        self._told.append(state)
        told = self._post(state, str(attempt.target), why, self._last)
        self._last = self._services.deliver(told, f"transfer report {self._record.call_id}")

    async def _post(self, state: str, target: str, why: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        values = {
            "call": self._record.call_id,
            "caller": self._facts["caller.number"],
            "called": self._facts["called.number"],
            "contact": self._contact,
            "target": target,
            "state": state,
            "why": why,
            "summary": "" if self._summary is None else await self._summary.text(),
            "notes": list(self._record.notes),
        }
        outcome = await run_request(self._services.http, self._request, values, self._facts)
        if isinstance(outcome, Failure):
            _log.warning(
                "transfer report not delivered",
                call_id=self._record.call_id,
                contact=self._contact,
                state=state,
                reason=outcome.reason,
            )
