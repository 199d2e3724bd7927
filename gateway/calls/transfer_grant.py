"""Which transfers a caller is granted, and whether they have to confirm one first; part of `Call`.

Only what the dialplan names is ever dialled, not in a loop, and not without end: there are limits for a call and for a
caller, and none is begun while the gateway is shut down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.calls.events import NoteRefusedTransfer, ToolAsked
from gateway.dialplan.model import Dialplan, TransferGranted, TransferRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How often the caller may be transferred. `take` asks, and counts, across all calls of the caller."""

    per_call: int = 3
    take: Callable[[], bool] = lambda: True


class TransferGrants:
    """The transfers of one call. Targets that are `own_numbers` of ours would make a loop and are not dialled."""

    def __init__(self, plan: Dialplan, limits: TransferLimits, own_numbers: Collection[str]) -> None:
        self._plan = plan
        self._limits = limits
        self._own_numbers = own_numbers
        self._granted = 0
        self._is_draining = False
        self._keys = 0  # pressed by the caller
        self._asked_at: dict[str, int] = {}  # in which turn the model was told to ask, by contact

    def grant(self, contact: str, at: datetime) -> TransferGranted | str:
        """Who is to be dialled; or why nobody is, in words for the model."""
        if self._is_draining:
            return "this gateway is being shut down"
        resolved = self._plan.resolve_transfer(contact, at)
        if isinstance(resolved, TransferRefused):
            return resolved.message
        targets = tuple(target for target in resolved.targets if target.host or target.user not in self._own_numbers)
        if not targets:
            return f"{contact} leads back to the number that the caller has dialled"
        if self._granted >= self._limits.per_call:
            return f"no more than {self._limits.per_call} transfers in one call (limits.transfers_per_call)"
        if not self._limits.take():
            return "this caller was transferred too often lately (limits.transfers_per_hour)"
        self._granted += 1
        return replace(resolved, targets=targets)

    def leads_to(self, contact: str, at: datetime) -> str | None:
        """Who takes the call if the contact of that name is asked for now; None: nobody."""
        resolved = self._plan.resolve_transfer(contact, at)
        return None if isinstance(resolved, TransferRefused) else resolved.contact

    def note(self, contact: str, why: str) -> NoteRefusedTransfer:
        """A refusal for the log. What else a model says may be a caller's words, and does not go there."""
        if contact in self._plan.contacts:
            return NoteRefusedTransfer(contact=contact, reason=why)
        return NoteRefusedTransfer(contact="", reason="there is no such contact")

    def has_to_ask(self, contact: str, event: ToolAsked, at: datetime) -> bool:
        """Whether the caller must say yes before the model's `event` is followed.

        A yes counts only if the caller has spoken or pressed a key since the model was told to ask.
        """
        if not self._needs_confirmation(contact, at):
            return False
        turn, is_confirmed = event.turn + self._keys, event.arguments.get("confirmed") is True
        asked_at = self._asked_at.setdefault(contact, turn)
        if not is_confirmed or turn <= asked_at:
            self._asked_at[contact] = turn if not is_confirmed else asked_at
            return True
        del self._asked_at[contact]
        return False

    def note_key(self) -> None:
        """The caller pressed a key, which may be their answer."""
        self._keys += 1

    def forget_caller(self) -> None:
        """Somebody else is on the line: what the other one has said yes to does not bind them."""
        self._asked_at.clear()

    def drain(self) -> None:
        """A transfer that is under way goes on; there will be no other."""
        self._is_draining = True

    def _needs_confirmation(self, contact: str, at: datetime) -> bool:
        resolved = self._plan.resolve_transfer(contact, at)
        if isinstance(resolved, TransferRefused):
            return False
        return any(self._plan.contacts[name].confirm for name in (contact, resolved.contact))
