"""What a route asks of a call, and each of its criteria tried on one, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from zoneinfo import ZoneInfo

from gateway.dialplan.facts import CallFacts
from gateway.dialplan.hours import OpeningHours
from gateway.dialplan.pattern import Pattern, normal_caller, normal_number, normal_text
from gateway.errors import counted, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCriterion:
    """A SIP header that has to be there with a value that one of ``patterns`` takes. ``name`` is as written."""

    name: str
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Whether the number has to have called before; ``within`` None: whenever that was."""

    is_wanted: bool = True
    within: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a route asks of a call: all of it. An empty criterion asks nothing."""

    to: tuple[Pattern, ...] = ()
    from_: tuple[Pattern, ...] = ()
    names: tuple[Pattern, ...] = ()
    hours: str | None = None
    trunks: tuple[str, ...] = ()
    headers: tuple[HeaderCriterion, ...] = ()
    diversion: tuple[Pattern, ...] = ()
    languages: tuple[str, ...] = ()
    seen: Seen | None = None
    split: float | None = None
    """The share of the callers that it takes; each is always on the same side."""
    is_outgoing: bool = False
    """It takes the calls that we place, and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionTrace:
    """One criterion of a route (``to``, ``from``, ``hours``, ``trunk``, ``header NAME``), tried."""

    criterion: str
    matched: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrace:
    """One route, tried. ``reason`` is what failed, or all that held."""

    route: str
    matched: bool
    reason: str
    criteria: tuple[CriterionTrace, ...] = ()


def tried(
    match: Match, route: str, facts: CallFacts, *, plan: str, hours: Mapping[str, OpeningHours], zone: ZoneInfo
) -> tuple[CriterionTrace, ...]:
    """Each criterion of a `route` of the `plan`, tried on a call."""
    criteria = []
    if match.is_outgoing or facts.is_outgoing:
        reason = "the call is placed by us" if facts.is_outgoing else "the call comes in"
        is_same = match.is_outgoing == facts.is_outgoing
        criteria.append(CriterionTrace(criterion="direction", matched=is_same, reason=reason))
    if match.to:
        criteria.append(_tried("to", match.to, facts.to, normal_number(facts.to)))
    if match.from_:
        criteria.append(_tried("from", match.from_, facts.from_, normal_caller(facts.from_)))
    if match.names:
        what = f"name {shown(facts.display_name)!r}"
        criteria.append(_tried_patterns("name", match.names, normal_text(facts.display_name), what))
    if match.trunks:
        criteria.append(_tried_trunk(match.trunks, facts.trunk))
    criteria += [_tried_header(header, facts.header(header.name)) for header in match.headers]
    if match.diversion:
        criteria.append(_tried_diversion(match.diversion, facts.diversion))
    if match.languages:
        criteria.append(_tried_languages(match.languages, facts.languages))
    if match.seen is not None:
        criteria.append(_tried_seen(match.seen, facts))
    if match.split is not None:
        criteria.append(_tried_split(match.split, plan, route, facts))
    if match.hours is not None:
        opening, local = hours[match.hours], facts.at.astimezone(zone)
        trace = CriterionTrace(criterion="hours", matched=opening.is_open(local), reason=opening.explain(local))
        criteria.append(trace)
    return tuple(criteria)


def _tried(criterion: str, patterns: tuple[Pattern, ...], text: str, normal: str) -> CriterionTrace:
    what = f"{criterion} {shown(text)}" if normal else f"{criterion} is withheld and"
    return _tried_patterns(criterion, patterns, normal, what)


def _tried_patterns(criterion: str, patterns: tuple[Pattern, ...], normal: str, what: str) -> CriterionTrace:
    found = next((pattern for pattern in patterns if pattern.matches(normal)), None)
    if found is not None:
        return CriterionTrace(criterion=criterion, matched=True, reason=f"{what} matches {shown(found.text)}")
    listed = shown(", ".join(pattern.text for pattern in patterns))
    reason = f"{what} matches none of {listed}" if len(patterns) > 1 else f"{what} does not match {listed}"
    return CriterionTrace(criterion=criterion, matched=False, reason=reason)


def _tried_trunk(trunks: tuple[str, ...], trunk: str) -> CriterionTrace:
    matched = trunk in trunks
    what = f"trunk {shown(trunk)} {'is' if matched else 'is not'}" if trunk else "the trunk is not known; it has to be"
    reason = f"{what} {' or '.join(trunks)}"
    return CriterionTrace(criterion="trunk", matched=matched, reason=reason)


def _tried_header(header: HeaderCriterion, value: str | None) -> CriterionTrace:
    criterion = f"header {header.name}"
    if value is None:
        return CriterionTrace(criterion=criterion, matched=False, reason=f"{criterion} is missing")
    what = f"{criterion} {shown(value)!r}"
    return _tried_patterns(criterion, header.patterns, normal_text(value), what)


def _tried_diversion(patterns: tuple[Pattern, ...], diversion: str) -> CriterionTrace:
    if not diversion:
        return CriterionTrace(criterion="diversion", matched=False, reason="the call was not diverted")
    return _tried("diversion", patterns, diversion, normal_number(diversion))


def _tried_languages(wanted: tuple[str, ...], told: tuple[str, ...]) -> CriterionTrace:
    found = next((language for language in told if language in wanted), None)
    what = f"languages {shown(', '.join(told))}" if told else "no language is told; it"
    reason = f"language {found} is asked for" if found else f"{what} would have to be {' or '.join(wanted)}"
    return CriterionTrace(criterion="language", matched=found is not None, reason=reason)


def _tried_seen(seen: Seen, facts: CallFacts) -> CriterionTrace:
    last, is_known = facts.last_seen, is_seen(seen, facts)
    span = f" within {counted(seen.within.days, 'day')}" if seen.within else ""
    has = "has not called before" if last is None else f"called last on {last:%Y-%m-%d}"
    wanted = f"has to have called{span}" if seen.is_wanted else "may not have called before"
    reason = f"the caller {has}" if is_known == seen.is_wanted else f"the caller {has}, and {wanted}"
    return CriterionTrace(criterion="seen", matched=is_known == seen.is_wanted, reason=reason)


def _tried_split(share: float, plan: str, route: str, facts: CallFacts) -> CriterionTrace:
    place = place_in_split(plan, route, normal_caller(facts.from_) or facts.call_id)
    matched = place < share
    reason = f"the caller stands at {place * 100:.1f}% of all, {'within' if matched else 'beyond'} {share * 100:g}%"
    return CriterionTrace(criterion="split", matched=matched, reason=reason)


def is_seen(seen: Seen, facts: CallFacts) -> bool:
    """Whether the number has called before, as long ago as it may be."""
    return facts.last_seen is not None and (seen.within is None or facts.at - facts.last_seen <= seen.within)


def place_in_split(plan: str, route: str, who: str) -> float:
    """Where among all callers `who` stands, 0 to below 1: always the same of one route of one plan."""
    digest = sha256("\n".join((plan, route, who)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48
