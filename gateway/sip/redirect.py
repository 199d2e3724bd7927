"""Where a call of ours is sent by a 3xx, and whether we go there (RFC 3261 8.1.3.4).

A redirect comes from whoever answers the call, so that it may not spend our money: only hosts of the same trunk are
followed, always through that trunk, never one place twice, and `MAXIMUM_TARGETS` in all.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.sip.message import NameAddr, Response, Uri
from gateway.sip.trunk import Trunk

MAXIMUM_TARGETS = 5
"""Places that one call is sent on to, however it gets there."""
FOLLOWED = frozenset({300, 301, 302})
"""305 would make us use a proxy of the peer's choice, 380 another service; neither is a place to call."""


class Redirection:
    """The places that one call has tried and may try yet."""

    def __init__(self, trunk: Trunk, target: Uri) -> None:
        self._trunk = trunk
        self._target = target
        self._tried = [target]
        self._waiting: list[Uri] = []

    def take(self, contacts: Iterable[NameAddr]) -> None:
        """Try these, best first, before those that wait already."""
        targets = [cleaned(contact.uri) for contact in contacts if self._is_ours(contact.uri)]
        self._waiting = targets + self._waiting

    def next(self) -> Uri | None:
        """The next place to try; None where there is none."""
        while self._waiting and len(self._tried) <= MAXIMUM_TARGETS:
            target = self._waiting.pop(0)
            if not any(target.matches(other) for other in self._tried):
                self._tried.append(target)
                return target
        return None

    def _is_ours(self, uri: Uri) -> bool:
        """Whether `uri` is a user at our PBX: at one of its addresses, or at a name that it goes by."""
        if uri.scheme != "sip" or not uri.user:
            return False
        registrar = self._trunk.options.registrar
        names = {self._target.host.lower(), registrar.host.lower() if registrar is not None else ""}
        return uri.host.lower() in names or self._trunk.allows(uri.host)


def cleaned(uri: Uri) -> Uri:
    """A Contact as Request-URI: without headers and method, which are not for others to choose (RFC 3261 19.1.1)."""
    return uri.without_headers().without_parameters("method", "maddr")


def by_preference(response: Response) -> tuple[NameAddr, ...]:
    """The Contacts of a 3xx by falling q (RFC 3261 20.10)."""
    return tuple(sorted(response.contacts, key=_preference, reverse=True))


def _preference(contact: NameAddr) -> float:
    text = contact.parameter("q") or "1"
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0.0 <= value <= 1.0 else 0.0
