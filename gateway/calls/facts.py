"""What the dialplan is told of a call, read from its INVITE: who calls, which number was dialled, by which trunk.

The number dialled is not always the request's target: a PBX calls a registered contact by the name that it registered
(``sip:gateway@…``) and tells the number in a header. The order is: a header the trunk names (``X-DID``), the request
URI unless it holds our own name, To, and at last our own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.dialplan.model import CallFacts
from gateway.errors import MessageError
from gateway.sip.events import CallOffered
from gateway.sip.message import NameAddr

ANONYMOUS = "anonymous"
WITHHELD = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPolicy:
    """How a trunk tells the numbers of a call."""

    contact_user: str = ""
    """The user part that the gateway registers; no number."""
    called_headers: tuple[str, ...] = ("X-DID", "P-Called-Party-ID")
    """Headers that tell the number dialled, the first that is there wins."""


def facts_of(offered: CallOffered, policy: NumberPolicy, at: datetime) -> CallFacts:
    """The facts of an INVITE that came `at` (aware wall-clock time). All of them are the caller's claims."""
    return CallFacts(
        to=_called(offered, policy),
        from_=_caller(offered),
        display_name=offered.from_.display_name,
        trunk=offered.trunk,
        headers=dict(reversed(list(offered.headers))),
        at=at,
    )


def _called(offered: CallOffered, policy: NumberPolicy) -> str:
    told = [_number(offered.headers.get(name)) for name in policy.called_headers]
    users: Sequence[str | None] = [*told, offered.request_uri.unescaped_user, offered.to.uri.unescaped_user]
    return next((user for user in users if user and user != policy.contact_user), policy.contact_user)


def _caller(offered: CallOffered) -> str:
    user, host = offered.from_.uri.unescaped_user, offered.from_.uri.host.lower()
    if host == "anonymous.invalid" or (user or "").lower() == ANONYMOUS:
        return WITHHELD
    return user or _number(offered.headers.get("P-Asserted-Identity")) or WITHHELD


def _number(value: str | None) -> str | None:
    """The number in a header that holds either a bare number or an address."""
    if value is None:
        return None
    try:
        return NameAddr.parse(value).uri.unescaped_user
    except MessageError:
        return value.strip() or None
