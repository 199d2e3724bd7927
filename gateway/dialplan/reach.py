"""Which routes no call reaches. Only the certain is reported: a route all of whose calls one earlier route takes."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dialplan.matching import HeaderCriterion, Match, Seen
from gateway.dialplan.model import Route
from gateway.dialplan.pattern import Pattern


def eclipsed(routes: Sequence[Route]) -> list[tuple[int, int]]:
    """(index of a route that no call reaches, index of the earlier route that takes them all)."""
    found = []
    for later, route in enumerate(routes):
        earlier = next((index for index in range(later) if _covers(routes[index].match, route.match)), None)
        if earlier is not None:
            found.append((later, earlier))
    return found


def _covers(wider: Match, narrower: Match) -> bool:
    """Whether `wider` surely takes every call that `narrower` takes: each of its criteria follows from the other's."""
    return (
        wider.is_outgoing == narrower.is_outgoing
        and _cover(wider.to, narrower.to)
        and _cover(wider.from_, narrower.from_)
        and _cover(wider.names, narrower.names)
        and wider.hours in (None, narrower.hours)
        and _holds_all(wider.trunks, narrower.trunks)
        and all(any(_covers_header(header, other) for other in narrower.headers) for header in wider.headers)
        and (not wider.diversion or (bool(narrower.diversion) and _cover(wider.diversion, narrower.diversion)))
        and _holds_all(wider.languages, narrower.languages)
        and _covers_seen(wider.seen, narrower.seen)
        # Who stands where in one split says nothing of another.
        and wider.split is None
    )


def _holds_all(wider: Sequence[str], narrower: Sequence[str]) -> bool:
    return not wider or (bool(narrower) and set(narrower) <= set(wider))


def _covers_seen(wider: Seen | None, narrower: Seen | None) -> bool:
    if wider is None or narrower is None:
        return wider is None
    if wider.is_wanted != narrower.is_wanted:
        return False
    return wider.within is None or (narrower.within is not None and narrower.within <= wider.within)


def _cover(wider: Sequence[Pattern], narrower: Sequence[Pattern]) -> bool:
    if not narrower:
        return not wider or any(pattern.is_any for pattern in wider)
    return not wider or all(any(pattern.covers(other) for pattern in wider) for other in narrower)


def _covers_header(wider: HeaderCriterion, narrower: HeaderCriterion) -> bool:
    return wider.name.casefold() == narrower.name.casefold() and _cover(wider.patterns, narrower.patterns)
