"""What callers have to hear of a session before it begins, each prompt once in a call; pure, part of `Call`."""

from __future__ import annotations

from gateway.dialplan.actions import Prompt
from gateway.dialplan.model import Dialplan


class ProtectedPrompts:
    """One caller's. `session` is everywhere the name of one of the plan's, or None: no session, and nothing to hear."""

    def __init__(self, plan: Dialplan) -> None:
        self._plan = plan
        self._taken: list[Prompt] = []

    def of(self, session: str | None) -> tuple[Prompt, ...]:
        """All of them, heard or not."""
        return () if session is None else self._plan.sessions[session].protected

    def waiting(self, session: str | None) -> tuple[Prompt, ...]:
        """Those that the caller has not heard."""
        return tuple(prompt for prompt in self.of(session) if prompt not in self._taken)

    def take(self, session: str | None) -> tuple[Prompt, ...]:
        """Those that the caller has not heard, and is about to hear."""
        prompts = self.waiting(session)
        self._taken += prompts
        return prompts

    def forget_caller(self) -> None:
        """Somebody else is on the line, who has heard nothing."""
        self._taken.clear()
