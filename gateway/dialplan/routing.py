"""Which route takes a call, found without trying all of them.

::

    routes ──filed by the numbers they ask for──> exact: {7000: [3, 7]}   prefixes: {5: {+4930: [1]}}   rest: [0, 9]
    call ──its numbers──> the few that may take it, in the order of the plan ──each criterion──> the first that does

A route is filed by its ``to``, or else its ``from``, where those are numbers and beginnings alone; or else by what few
calls have: a header, a diversion. All others are tried for every call. What is found here is what
`gateway.dialplan.matching.tried` explains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from zoneinfo import ZoneInfo

from gateway.dialplan.facts import CallFacts
from gateway.dialplan.hours import OpeningHours
from gateway.dialplan.matching import Match, is_seen, place_in_split
from gateway.dialplan.pattern import Pattern, PatternKind, normal_caller, normal_number, normal_text


class CallView:
    """The facts of a call as they are compared, each worked out when it is asked for."""

    def __init__(self, facts: CallFacts, plan: str, zone: ZoneInfo, hours: Mapping[str, OpeningHours]) -> None:
        self.facts = facts
        self.to = normal_number(facts.to)
        self.from_ = normal_caller(facts.from_)
        self._plan = plan
        self._zone = zone
        self._hours = hours
        self._open: dict[str, bool] = {}

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Values by the name in lower case."""
        # The first of those whose names differ in case alone, as `CallFacts.header` has it.
        return {name.casefold(): value for name, value in reversed(list(self.facts.headers.items()))}

    def is_open(self, hours: str) -> bool:
        """Whether opening hours are open at the time of the call."""
        if hours not in self._open:
            self._open[hours] = self._hours[hours].is_open(self.facts.at.astimezone(self._zone))
        return self._open[hours]

    def suits(self, match: Match, route: str) -> bool:
        """Whether all that a route asks holds; what costs least is looked at first."""
        facts = self.facts
        return (
            match.is_outgoing == facts.is_outgoing
            and (not match.to or _any(match.to, self.to))
            and (not match.from_ or _any(match.from_, self.from_))
            and (not match.trunks or facts.trunk in match.trunks)
            and (not match.languages or any(language in match.languages for language in facts.languages))
            and (match.seen is None or is_seen(match.seen, facts) == match.seen.is_wanted)
            and (match.hours is None or self.is_open(match.hours))
            and (not match.names or _any(match.names, normal_text(facts.display_name)))
            and all(self._has(header.name, header.patterns) for header in match.headers)
            and (
                not match.diversion or (bool(facts.diversion) and _any(match.diversion, normal_number(facts.diversion)))
            )
            and (match.split is None or place_in_split(self._plan, route, self.from_ or facts.call_id) < match.split)
        )

    def _has(self, name: str, patterns: Sequence[Pattern]) -> bool:
        value = self.headers.get(name.casefold())
        return value is not None and _any(patterns, normal_text(value))


def _any(patterns: Iterable[Pattern], normal: str) -> bool:
    return any(pattern.matches(normal) for pattern in patterns)


class _Shelf:
    """Routes by one kind of number."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._prefixes: dict[int, dict[str, list[int]]] = {}

    def add(self, index: int, patterns: Sequence[Pattern]) -> None:
        for pattern in patterns:
            if pattern.kind is PatternKind.PREFIX:
                by_text = self._prefixes.setdefault(len(pattern.normal), {})
                by_text.setdefault(pattern.normal, []).append(index)
            else:
                self._exact[pattern.normal].append(index)

    def find(self, normal: str) -> Iterable[int]:
        yield from self._exact.get(normal, ())
        for length, by_text in self._prefixes.items():
            yield from by_text.get(normal[:length], ()) if len(normal) >= length else ()


class RouteIndex:
    """The routes of a plan, by the numbers they ask for."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._to, self._from, self._rest = _Shelf(), _Shelf(), list[int]()
        self._diverted = list[int]()
        self._by_header: dict[str, list[int]] = defaultdict(list)
        for index, match in enumerate(matches):
            if _is_filed(match.to):
                self._to.add(index, match.to)
            elif _is_filed(match.from_):
                self._from.add(index, match.from_)
            elif match.headers:
                self._by_header[match.headers[0].name.casefold()].append(index)
            elif match.diversion:
                self._diverted.append(index)
            else:
                self._rest.append(index)

    def candidates(self, view: CallView) -> list[int]:
        """Indices of the routes that may take the call, in their order: every one that does is among them."""
        found = {*self._rest, *self._to.find(view.to), *self._from.find(view.from_)}
        if view.facts.diversion:
            found.update(self._diverted)
        if self._by_header:
            for name in self._by_header.keys() & view.headers.keys():
                found.update(self._by_header[name])
        return sorted(found)


def _is_filed(patterns: Sequence[Pattern]) -> bool:
    kinds = (PatternKind.EXACT, PatternKind.PREFIX, PatternKind.ANONYMOUS)
    return bool(patterns) and all(pattern.kind in kinds for pattern in patterns)
