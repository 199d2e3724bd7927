"""The section ``routes`` into routes, or into what is wrong with them: names, reach, circles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from gateway.dialplan.action_source import ActionSource
from gateway.dialplan.load_actions import ActionLoader
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.matching import HeaderCriterion, Match, Seen
from gateway.dialplan.model import ReferenceKind, Route
from gateway.dialplan.pattern import Pattern, parse_caller, parse_number, parse_text
from gateway.dialplan.reach import eclipsed
from gateway.dialplan.source import MatchSource, RouteSource
from gateway.dialplan.source_values import LIST_MARK, days
from gateway.errors import shown

NEEDS_CALLERS = "expected records.callers there"


def load_routes(loading: Loading) -> tuple[Route, ...]:
    """All routes of the plan."""
    _check_lists(loading)
    written = loading.plan.routes
    loading.note_repeated("route", "routes", (route.name for route in written))
    routes = tuple(
        Route(
            name=route.name,
            match=_match(loading, ("routes", index, "match"), route.match),
            actions=ActionLoader(loading=loading, hours=_only_hours(loading, route)).load(
                ("routes", index, "do"), route.do, is_answered=False
            ),
        )
        for index, route in enumerate(written)
    )
    for later, earlier in eclipsed(routes):
        if not _is_goal(loading, routes[later].name):
            message = f"route {routes[later].name!r} is never reached: {routes[earlier].name!r} takes all its calls"
            line = loading.document.locate(("routes", earlier)).line
            loading.note(("routes", later), message, f"move it above line {line}")
    _check_circles(loading)
    return routes


def _only_hours(loading: Loading, route: RouteSource) -> str:
    """The opening hours that a route's actions are done in; "" where that may be at any time."""
    return "" if _is_goal(loading, route.name) else route.match.hours


def load_patterns(
    loading: Loading, path: Way, texts: Sequence[str], parse: Callable[[str], Pattern]
) -> tuple[Pattern, ...]:
    """The patterns of ``to`` or ``from``, with those of the lists that they name."""
    found: list[Pattern] = []
    for index, text in enumerate(texts):
        if not text.startswith(LIST_MARK):
            found.append(parse(text))
        elif loading.refer("lists", text[1:], (*path, index)):
            found += [parse_caller(known) for known in loading.plan.lists.get(text[1:], ())]
    return tuple(found)


def _check_lists(loading: Loading) -> None:
    for name, texts in loading.plan.lists.items():
        for index, text in enumerate(texts):
            if text.startswith(LIST_MARK):
                message = f"list {name!r} holds {shown(text)!r}, a list within a list"
                loading.note(("lists", name, index), message, "expected its patterns")


def _match(loading: Loading, path: Way, match: MatchSource) -> Match:
    if match.hours:
        loading.refer("hours", match.hours, (*path, "hours"))
    for index, trunk in enumerate(match.trunk):
        loading.leave(ReferenceKind.TRUNK, trunk, (*path, "trunk", index))
    written = match.model_fields_set
    if "seen" in written:
        message = "the configuration does not keep who has called before"
        loading.need(ReferenceKind.CALLERS, (*path, "seen"), message, NEEDS_CALLERS)
    return Match(
        to=load_patterns(loading, (*path, "to"), match.to, parse_number),
        from_=load_patterns(loading, (*path, "from"), match.from_, parse_caller),
        names=tuple(parse_text(text) for text in match.name),
        hours=match.hours or None,
        trunks=match.trunk,
        headers=tuple(
            HeaderCriterion(name=name, patterns=tuple(parse_text(text) for text in texts))
            for name, texts in match.header.items()
        ),
        diversion=load_patterns(loading, (*path, "diversion"), match.diversion, parse_number),
        languages=match.language,
        seen=_seen(match.seen) if "seen" in written else None,
        split=match.split if "split" in written else None,
        is_outgoing=match.direction == "outgoing",
    )


def _seen(text: str) -> Seen:
    wanted = days(text)
    if isinstance(wanted, bool):
        return Seen(is_wanted=wanted)
    return Seen(within=timedelta(days=wanted))


# Circles -------------------------------------------------------------------------------------------------------------

_Leap = tuple[str, Way]
"""The route that a ``goto`` leads to, and its place."""


def _is_goal(loading: Loading, route: str) -> bool:
    """Whether a ``goto`` leads to the route, which then needs no call of its own."""
    return route in _goals(loading)


def _goals(loading: Loading) -> frozenset[str]:
    lists = [route.do for route in loading.plan.routes] + [escalation.do for escalation in loading.plan.escalations]
    return frozenset(name for actions in lists for name, _ in _leaps((), actions, is_everything=True))


def _leaps(path: Way, actions: Sequence[ActionSource], *, is_everything: bool = False) -> list[_Leap]:
    """The leaps that are made without the caller deciding; all of them where `is_everything`."""
    found: list[_Leap] = []
    for index, action in enumerate(actions):
        at = (*path, index, action.word)
        match action.word:
            case "goto":
                found.append((action.goto, at))
            case "menu":
                found += _leaps((*at, "other"), action.menu.other, is_everything=is_everything)
                found += _leaps((*at, "timeout"), action.menu.timeout, is_everything=is_everything)
                for key, chosen in action.menu.choices.items() if is_everything else ():
                    found += _leaps((*at, key), chosen, is_everything=is_everything)
            case "collect":
                found += _leaps((*at, "failed"), action.collect.failed, is_everything=is_everything)
            case "hook":
                found += _leaps((*at, "failed"), action.hook.failed, is_everything=is_everything)
            case _:
                pass
    return found


def _check_circles(loading: Loading) -> None:
    """Note each circle of routes that no caller ever leaves by doing something, once, where it closes."""
    leaps = {route.name: _leaps(("routes", index, "do"), route.do) for index, route in enumerate(loading.plan.routes)}
    reported: set[frozenset[str]] = set()
    for start in leaps:
        if (circle := _circle(leaps, start)) and frozenset(circle) not in reported:
            reported.add(frozenset(circle))
            way = " -> ".join([*circle, start])
            place = next(place for name, place in leaps[circle[-1]] if name == start)
            message = f"route {start!r} goes round in circles: {way}"
            loading.note(place, shown(message, 200), "expected a choice of the caller, or an end")


def _circle(leaps: dict[str, list[_Leap]], start: str) -> list[str]:
    """The shortest way from `start` back to it; empty where there is none."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for name, _ in leaps.get(way[-1], ()):
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []
