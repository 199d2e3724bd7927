"""Asks web services after each turn of the caller whether an escalation is to fire; beside the call.

::

    AskVerdict ──> POST {call, turn, text, vars} ──> {"escalate": true} ──> VerdictReached
                   one at a time for each escalation: the latest turn waits, those before it are left out

Words of callers go to the address that the dialplan names, and nowhere else: redirects to other hosts are not followed.
An answer that is late, broken or anything else is counted and logged, without what was said, and sets nothing off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

import structlog

from gateway.calls.escalation.events import AskVerdict
from gateway.calls.escalation.facts import VerdictReached
from gateway.calls.record import CallRecord
from gateway.calls.tools.desk import tool_facts
from gateway.calls.tools.http_tool import HttpClients, run_request
from gateway.calls.tools.outcome import Failure
from gateway.dialplan.model import CallFacts

_log = structlog.stdlib.get_logger("gateway.calls")


@dataclass(slots=True)
class _Service:
    """One escalation's: what is being asked, and what comes next."""

    task: asyncio.Task[None] | None = field(default=None)
    waiting: AskVerdict | None = None


class VerdictDesk:
    """Of one call. `spawn` makes a task that the call waits for; failures are counted in `record`."""

    def __init__(
        self,
        clients: HttpClients,
        facts: CallFacts,
        record: CallRecord,
        *,
        spawn: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]],
        tell: Callable[[VerdictReached], None],
    ) -> None:
        self._clients = clients
        self._facts = tool_facts(facts, record.call_id)
        self._record = record
        self._spawn = spawn
        self._tell = tell
        self._services: dict[str, _Service] = {}
        self._is_over = False
        self._log = _log.bind(call_id=record.call_id)

    def ask(self, asked: AskVerdict) -> None:
        """Tell the service of a turn, now or when it has answered the one before."""
        service = self._services.setdefault(asked.escalation, _Service())
        if self._is_over:
            return
        if service.task is not None:
            service.waiting = asked
            return
        service.task = self._spawn(self._run(asked, service), f"verdict {asked.escalation} {self._record.call_id}")

    def leave(self) -> None:
        """The call is over; safe to repeat."""
        self._is_over = True
        for service in self._services.values():
            service.waiting = None
            if service.task is not None:
                service.task.cancel()

    async def _run(self, asked: AskVerdict, service: _Service) -> None:
        following: AskVerdict | None = asked
        while following is not None:
            await self._put(following)
            following, service.waiting = service.waiting, None
        service.task = None

    async def _put(self, asked: AskVerdict) -> None:
        arguments = {"call": self._record.call_id, "turn": asked.turn, "text": asked.text, "vars": dict(asked.values)}
        try:
            outcome = await run_request(self._clients, asked.request, arguments, self._facts)
        except Exception:  # noqa: BLE001 - a fault of the service's must not end the call
            self._log.exception("verdict failed", escalation=asked.escalation)
            self._record.failed_verdicts += 1
            return
        if isinstance(outcome, Failure) or not isinstance(outcome.value, Mapping):
            reason = outcome.reason if isinstance(outcome, Failure) else "the answer is no JSON object"
            self._log.warning("verdict failed", escalation=asked.escalation, reason=reason)
            self._record.failed_verdicts += 1
        elif outcome.value.get("escalate") is True:
            self._tell(VerdictReached(escalation=asked.escalation))
