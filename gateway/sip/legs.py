"""The call legs of a user agent: found by their id, by their dialog, and by the INVITE that offered them."""

from __future__ import annotations

from collections import deque

from gateway.errors import ResourceError, StateError
from gateway.sip.core import Core
from gateway.sip.hop import Hop
from gateway.sip.invite_usage import InviteUsage, LegState
from gateway.sip.leg import Leg
from gateway.sip.message import Request
from gateway.sip.replaces import Replaces
from gateway.sip.transaction import Transaction
from gateway.sip.trunk import Trunk

REMEMBERED = 256
"""How many legs that have ended are still known by name."""


class Legs:
    """All legs. They leave by themselves when they have ended."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_id: dict[str, Leg] = {}
        self._by_dialog: dict[tuple[str, str], Leg] = {}
        self._by_invite: dict[Transaction, Leg] = {}
        self._ended: deque[str] = deque(maxlen=REMEMBERED)

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def ids(self) -> list[str]:
        """Of all legs, those that are ending included."""
        return list(self._by_id)

    @property
    def is_full(self) -> bool:
        """Whether there may be no more."""
        return len(self._by_id) >= self._core.options.max_legs

    def new_usage(self, trunk: Trunk, call_id: str, state: LegState, peer: Hop) -> InviteUsage:
        """The shared part of a new leg, with names of its own. Raises: `ResourceError` where there are too many."""
        if self.is_full:
            raise ResourceError(f"{len(self)} call legs are open")
        leg_id, local_tag = self._core.new_token(), self._core.new_token()

        def forget() -> None:
            self._by_id.pop(leg_id, None)
            self._ended.append(leg_id)
            self._by_dialog.pop((call_id, local_tag), None)

        return InviteUsage(
            self._core,
            trunk,
            leg_id=leg_id,
            call_id=call_id,
            local_tag=local_tag,
            state=state,
            peer=peer,
            forget=forget,
        )

    def add(self, leg: Leg, invite: Transaction | None = None) -> None:
        """Keep a leg; `invite` is the transaction that offered it, if the peer called."""
        usage = leg.usage
        self._by_id[usage.leg_id] = leg
        self._by_dialog[usage.call_id, usage.local_tag] = leg
        if invite is not None:
            self._by_invite[invite] = leg
            usage.on_end.append(lambda now: self._drop_invite(invite))

    def get(self, leg_id: str) -> Leg:
        """The leg of that id. Raises: `StateError`."""
        leg = self._by_id.get(leg_id)
        if leg is None:
            raise StateError(f"no such leg: {leg_id}")
        return leg

    def has_ended(self, leg_id: str) -> bool:
        """Whether a leg of that id was here not long ago."""
        return leg_id in self._ended

    def find(self, request: Request, source: Hop) -> Leg | None:
        """The leg whose dialog `request` claims to be in, if its trunk lets `source` speak for it."""
        leg = self._by_dialog.get((request.call_id, request.to.tag or ""))
        return leg if leg is not None and _hears(leg, source) else None

    def find_replaced(self, wanted: Replaces, source: Hop) -> Leg | None:
        """The leg that `wanted` names, if its trunk lets `source` speak for it (RFC 3891 3)."""
        leg = self._by_dialog.get((wanted.call_id, wanted.to_tag))
        if leg is None or not _hears(leg, source) or not leg.usage.is_with(wanted.from_tag):
            return None
        return leg

    def find_offered(self, invite: Transaction) -> Leg | None:
        """The leg that `invite` offered, as long as it lives."""
        return self._by_invite.get(invite)

    def _drop_invite(self, invite: Transaction) -> None:
        self._by_invite.pop(invite, None)


def _hears(leg: Leg, source: Hop) -> bool:
    """Whether `source` may speak for `leg`: what began on TLS stays there, whatever its trunk is on (RFC 3261 26.2.2).

    The answer to an offer in plain text would tell the keys of the call's audio.
    """
    is_secure = source.transport.is_secure or not leg.usage.peer.transport.is_secure
    return is_secure and leg.usage.trunk.hears(source)
