"""What the dialplan is told of a call, read from its INVITE: who calls, which number was dialled, by which trunk.

The number dialled is not always the request's target: a PBX calls a registered contact by the name that it registered
(``sip:gateway@…``) and tells the number in a header. The order is: a header the trunk names (``X-DID``), the request
URI unless it holds our own name, To, and at last our own name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.dialplan.model import CallFacts
from gateway.errors import MessageError
from gateway.sip.events import CallOffered
from gateway.sip.message import NameAddr

ANONYMOUS = "anonymous"
WITHHELD = ""
MAX_LANGUAGES = 16
_LANGUAGE = re.compile(r"([A-Za-z]{2})(?:-[A-Za-z0-9-]{1,32})?")
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


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
        display_name=_legible(offered.from_.display_name),
        trunk=offered.trunk,
        headers=dict(reversed(list(offered.headers))),
        at=at,
        diversion=_diversion(offered),
        languages=_languages(offered),
        call_id=offered.call_id,
    )


def _legible(name: str) -> str:
    """A display name in characters: one that is no UTF-8 (RFC 3261 25.1) is of an old PBX, and in ISO 8859-1."""
    octets = name.encode("utf-8", "surrogateescape")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _called(offered: CallOffered, policy: NumberPolicy) -> str:
    told = [_number(offered.headers.get(name)) for name in policy.called_headers]
    users: Sequence[str | None] = [*told, offered.request_uri.unescaped_user, offered.to.uri.unescaped_user]
    return next((user for user in users if user and user != policy.contact_user), policy.contact_user)


def _caller(offered: CallOffered) -> str:
    user, host = offered.from_.uri.unescaped_user, offered.from_.uri.host.lower()
    if host == "anonymous.invalid" or (user or "").lower() == ANONYMOUS:
        return WITHHELD
    return user or _number(offered.headers.get("P-Asserted-Identity")) or WITHHELD


def _diversion(offered: CallOffered) -> str:
    """The number that was called first; "" where the call was not sent on, or nobody says so.

    RFC 5806 4.1: each who diverts puts a Diversion on top, so the first is the last. RFC 7044 10.3: the target of the
    first request has the index 1, and is the same as ours where the call was not sent on.
    """
    if diversions := _listed(offered, "Diversion"):
        return _number(diversions[-1]) or ""
    history = sorted((index, value) for value in _listed(offered, "History-Info") if (index := _history_index(value)))
    if len(history) < 2:
        return ""
    first, last = _number(history[0][1]), _number(history[-1][1])
    return first if first and first != last else ""


def _history_index(value: str) -> tuple[int, ...]:
    """Where in the history of a request a target stands: (1, 2) for ``index=1.2``; () where it is not told."""
    try:
        index = NameAddr.parse(value).parameter("index") or ""
    except MessageError:
        return ()
    return tuple(map(int, index.split("."))) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){0,15}", index) else ()


def _languages(offered: CallOffered) -> tuple[str, ...]:
    """Those of Accept-Language (RFC 3261 20.3), the best first; ones of the same quality as they stand."""
    told: list[tuple[float, str]] = []
    for value in _listed(offered, "Accept-Language"):
        tag, *parameters = (part.strip() for part in value.split(";"))
        quality = next((p.partition("=")[2].strip() for p in parameters if p.lower().startswith("q")), "1")
        if (match := _LANGUAGE.fullmatch(tag)) and _QUALITY.fullmatch(quality) and float(quality):
            told.append((-float(quality), match[1].lower()))
    return tuple(dict.fromkeys(language for _, language in sorted(told, key=lambda each: each[0])))[:MAX_LANGUAGES]


def _listed(offered: CallOffered, name: str) -> list[str]:
    try:
        return offered.headers.get_list(name)
    except MessageError:
        return []


def _number(value: str | None) -> str | None:
    """The number in a header that holds either a bare number or an address."""
    if value is None:
        return None
    try:
        return NameAddr.parse(value).uri.unescaped_user
    except MessageError:
        return value.strip() or None
