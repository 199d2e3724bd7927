"""Which transfers a caller is granted, and whether they have to confirm one first; part of `Call`.

Only what the dialplan names is ever dialled, not in a loop, and not without end: there are limits for a call and for a
caller, and none is begun while the gateway is shut down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.calls.events import NoteRefusedTransfer, ToolAsked
from gateway.dialplan.contacts import Contact, TransferMode
from gateway.dialplan.model import Dialplan, TransferGranted, TransferRefused
from gateway.dialplan.targets import DialTarget

MIN_SUBSCRIBER_DIGITS = 7
"""From here on a number that another one ends with is taken for the same one, written with less before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How often the caller may be transferred. `take` asks, and counts, across all calls of the caller.

    `has_room` asks whether a contact may be called once more within so many calls an hour, of all callers together;
    `count` counts that it is.
    """

    per_call: int = 3
    take: Callable[[], bool] = lambda: True
    has_room: Callable[[str, int], bool] = lambda _contact, _per_hour: True
    count: Callable[[str], None] = lambda _contact: None


class TransferGrants:
    """The transfers of one call, which came by `trunk`.

    Targets that are `own_numbers` of ours would make a loop and are not dialled.
    """

    def __init__(self, plan: Dialplan, limits: TransferLimits, own_numbers: Collection[str], trunk: str = "") -> None:
        self._plan = plan
        self._limits = limits
        self._own_numbers = frozenset(own_numbers)
        self._trunk = trunk
        self._granted = 0
        self._granted_of: Counter[str] = Counter()  # by contact
        self._is_draining = False
        self._keys = 0  # pressed by the caller
        self._asked_at: dict[str, int] = {}  # in which turn the model was told to ask, by contact and number

    def grant(self, contact: str, at: datetime, number: str = "", *, is_queue: bool = False) -> TransferGranted | str:
        """Who is to be dialled, at `number` where a pattern takes it; or why nobody is, in words for the model.

        `is_queue`: by the PBX, whatever the contact's mode.
        """
        if self._is_draining:
            return "this gateway is being shut down"
        resolved = self._plan.resolve_transfer(contact, at)
        if isinstance(resolved, TransferRefused):
            return resolved.message
        mode = TransferMode.BLIND if is_queue else resolved.mode
        known = self._plan.contacts[resolved.contact]
        targets = resolved.targets if known.pattern is None else _numbered(known, number)
        if not targets:
            return f"{resolved.contact} takes other numbers: digits only, as its description says"
        targets = tuple(target for target in targets if target.host or not self._is_ours(target.user))
        if not targets:
            return f"{contact} leads back to the number that the caller has dialled"
        if mode is TransferMode.BLIND and known.trunk not in (None, self._trunk):
            return f"{resolved.contact} is behind another trunk, which takes mode attended or warm"
        if why := self._limit_reached(known):
            return why
        self._granted += 1
        self._granted_of[known.name] += 1
        self._limits.count(known.name)
        return replace(resolved, targets=targets, mode=mode)

    def _is_ours(self, number: str) -> bool:
        return any(_is_same(number, own) for own in self._own_numbers)

    def _limit_reached(self, contact: Contact) -> str:
        """Why there is no transfer to `contact` any more, or at present; "" where there is one, which counts."""
        per_call, per_hour = contact.quota.per_call, contact.quota.per_hour
        if self._granted >= self._limits.per_call:
            return f"no more than {self._limits.per_call} transfers in one call (limits.transfers_per_call)"
        if per_call is not None and self._granted_of[contact.name] >= per_call:
            return f"no more than {per_call} transfers to {contact.name} in one call (quota.per_call)"
        if per_hour is not None and not self._limits.has_room(contact.name, per_hour):
            return f"{contact.name} was called too often lately (quota.per_hour)"
        if not self._limits.take():
            return "this caller was transferred too often lately (limits.transfers_per_hour)"
        return ""

    def take_back(self, contact: str) -> None:
        """A transfer that was granted has not been begun, and does not count in this call."""
        self._granted -= 1
        self._granted_of[contact] -= 1

    def leads_to(self, contact: str, at: datetime) -> str | None:
        """Who takes the call if the contact of that name is asked for now; None: nobody."""
        resolved = self._plan.resolve_transfer(contact, at)
        return None if isinstance(resolved, TransferRefused) else resolved.contact

    def mailbox(self, contact: str, at: datetime) -> str | None:
        """Where a caller leaves a message who cannot be transferred to `contact` now, outside the hours."""
        resolved = self._plan.resolve_transfer(contact, at)
        return resolved.mailbox if isinstance(resolved, TransferRefused) else None

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
        asked_for = f"{contact} {event.arguments.get('number', '')}"  # a yes to one number is none to another
        asked_at = self._asked_at.setdefault(asked_for, turn)
        if not is_confirmed or turn <= asked_at:
            self._asked_at[asked_for] = turn if not is_confirmed else asked_at
            return True
        del self._asked_at[asked_for]
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


def _numbered(contact: Contact, number: str) -> tuple[DialTarget, ...]:
    target = contact.target_of(number)
    return () if target is None else (target,)


def _is_same(number: str, other: str) -> bool:
    """Whether both ring at one telephone: +49301234567, 0049301234567, 49301234567, and within the country 0301234567.

    What comes before a subscriber's number differs from network to network, so that long numbers are one where one ends
    with the other.
    """
    if _bare(number) == _bare(other):
        return True
    digits = [text.removeprefix("+").lstrip("0") for text in (number, other)]
    shorter, longer = sorted(digits, key=len)
    return len(shorter) >= MIN_SUBSCRIBER_DIGITS and shorter.isdecimal() and longer.endswith(shorter)


def _bare(number: str) -> str:
    """A number without what says that the country code follows."""
    return number.removeprefix("+").removeprefix("00")
