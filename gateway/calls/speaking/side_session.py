"""Sessions beside the one that a caller talks with: they speak a text of the plan, or listen for it, and no more.

They are of the plan's kind ``use``, with whoever takes over from it, and are paid for by the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.calls.brief import CallBrief
from gateway.calls.lines.line import Line
from gateway.calls.services import CallServices
from gateway.calls.spending import CallSpending
from gateway.errors import ProviderRefused
from gateway.realtime import session as realtime


@dataclass(frozen=True, slots=True)
class SideSessions:
    """Opens such sessions for one call. `line` gives the one to the caller, at present."""

    services: CallServices
    brief: CallBrief
    line: Callable[[], Line]
    spending: CallSpending
    use: str = ""
    """Whose kind they are of, where not the plan's."""

    def chain(
        self, change: Callable[[realtime.SessionOptions], realtime.SessionOptions]
    ) -> list[realtime.SessionOptions]:
        """What they are asked to be, as `change` has it, by whom they may be served; without tools and memory."""
        offered = self.brief.offered
        law = self.line().law(None if offered is None else offered.offer)
        return [
            change(
                replace(
                    self.services.sessions[use].in_law(law),
                    tools=(),
                    hosted_servers=(),
                    tool_choice="auto",
                    history=(),
                    turn_detection=replace(self.services.sessions[use].turn_detection, idle_timeout_ms=None),
                )
            )
            for use in self._uses
        ]

    def open(self, chain: Sequence[realtime.SessionOptions]) -> realtime.RealtimeSession:
        """One that is not connected. Raises: `ProviderError`, also where nobody may pay for it."""
        if (limit := self.spending.refusal()) is not None:
            raise ProviderRefused(f"{limit} is used up", code="budget")
        return self.services.open_session(self._uses, chain)

    def count(self, chain: Sequence[realtime.SessionOptions]) -> Callable[[realtime.SessionEvent], None]:
        """What has to be told all that such a session tells, so that it is paid for."""
        return self.spending.aside(chain, self._uses).hear

    @property
    def _uses(self) -> tuple[str, ...]:
        return self.services.chain(self.use or self.brief.plan.use)
