"""What looks out, beside a call, for what its escalations wait for: silences, and web services that are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from gateway.calls.brief import CallBrief
from gateway.calls.escalation.events import AskVerdict, FactNoticed
from gateway.calls.escalation.facts import Fact
from gateway.calls.escalation.silence import SilenceWatch
from gateway.calls.escalation.verdicts import VerdictDesk
from gateway.calls.events import Event
from gateway.calls.record import CallRecord
from gateway.calls.services import CallServices
from gateway.dialplan.triggers import SilentFor


class EscalationDesk:
    """One call's. `silent_since` tells since when nobody has been heard (s); None where somebody is, or may be."""

    def __init__(
        self,
        services: CallServices,
        brief: CallBrief,
        record: CallRecord,
        *,
        silent_since: Callable[[], float | None],
        spawn: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]],
        dispatch: Callable[[Event], None],
    ) -> None:
        self._dispatch = dispatch
        self._verdicts = VerdictDesk(services.tools.http, brief.facts, record, spawn=spawn, tell=self._notice)
        triggers = [escalation.trigger for escalation in brief.plan.escalations]
        self._silence = SilenceWatch(
            (trigger.seconds for trigger in triggers if isinstance(trigger, SilentFor)),
            since=silent_since,
            clock=services.clock,
            tell=self._notice,
        )

    def begin(self) -> None:
        """Caller and gateway hear each other."""
        self._silence.begin()

    def ask(self, command: AskVerdict) -> None:
        """Let a web service judge a turn of the caller."""
        self._verdicts.ask(command)

    def release(self) -> None:
        """The call is over; safe to repeat."""
        self._verdicts.leave()
        self._silence.stop()

    def _notice(self, fact: Fact) -> None:
        self._dispatch(FactNoticed(fact=fact))
