"""A dialplan that has been checked, and its three questions: where does a call go, what follows an event, may it be
transferred there.

::

    CallFacts --decide--> Decision(route, actions, trace)      first match wins; the trace says why
    Trigger --react---> Escalation | None                    while a session runs
    contact name, time --resolve_transfer--> TransferGranted | TransferRefused

Everything here is frozen and pure. `gateway.dialplan.load` makes it and guarantees that every name leads somewhere, so
nothing below fails for a plan that was loaded. A model can name a contact, never a number: what is not exactly the name
of a contact of the plan is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gateway.dialplan import tools as tool_model
from gateway.dialplan.actions import Action, AnswerLength, RecordingChange, RejectAction
from gateway.dialplan.contacts import Contact, TransferMode
from gateway.dialplan.hours import WEEKDAY_NAMES, OpeningHours
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.pattern import Pattern, normal_caller, normal_number, normal_text
from gateway.dialplan.targets import DialTarget
from gateway.dialplan.template import Template, Variable, quoted
from gateway.dialplan.tools import McpPlan, SessionTool, ToolDefinition, ToolPlan
from gateway.dialplan.triggers import Circumstances, Escalation, SentimentReported, Trigger
from gateway.errors import Problem, shown
from gateway.located import hint, in_order

NO_ROUTE = "(no route)"
"""The route of a call that nothing matched. No route can have this name."""
NO_ROUTE_STATUS = 404
AGREE_KEY, DECLINE_KEY = "1", "2"
CONSENT_WAIT_S = 10.0

EMPTY: Mapping[str, str] = MappingProxyType({})


# What a plan says ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCriterion:
    """A SIP header that has to be there with a value that one of ``patterns`` takes. ``name`` is as written."""

    name: str
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a route asks of a call: all of it. An empty criterion asks nothing."""

    to: tuple[Pattern, ...] = ()
    from_: tuple[Pattern, ...] = ()
    hours: str | None = None
    trunks: tuple[str, ...] = ()
    headers: tuple[HeaderCriterion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A rule: calls that ``match`` get ``actions``, in order."""

    name: str
    match: Match
    actions: tuple[Action, ...]


class Consent(Enum):
    """How callers come to agree that they are recorded."""

    GIVEN = "given"
    """They have agreed elsewhere: nothing is said or asked."""
    ANNOUNCE = "announce"
    """They are told, and agree by staying."""
    ASK = "ask"
    """They are asked, and agree by a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlan:
    """That a session's callers are recorded once they agree.

    ``play`` announces or asks: WAV, 16-bit PCM, mono, 8000 Hz; None with `Consent.GIVEN` alone. Of `Consent.ASK`:
    ``agree`` and ``decline`` are keys, ``wait_s`` how long one is waited for when the question has been played; who
    presses none is not recorded. ``has_contacts``: whether a contact whose audio we carry is recorded, too.
    """

    consent: Consent
    play: Path | None = None
    agree: str = AGREE_KEY
    decline: str = DECLINE_KEY
    wait_s: float = CONSENT_WAIT_S
    has_contacts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What one call may spend in a session; None: as much as the configuration lets it. ``money`` is USD."""

    minutes: float | None = None
    money: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """Whom the caller talks to. ``use`` names a realtime session of the configuration.

    ``greeting`` is spoken first, as it stands; without one the model begins. ``instructions`` None leaves them to the
    configuration. ``record`` None: the caller is not recorded.
    """

    name: str
    use: str
    greeting: str | None
    instructions: Template | None
    tools: tuple[str, ...]
    """Names of `SessionTool`, of the plan's tools and MCP servers, and of single tools of those servers."""
    languages: tuple[str, ...] = ()
    record: RecordPlan | None = None
    limits: SessionLimits = SessionLimits()


# What it is asked and answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What is known of a call when it comes in.

    ``to`` and ``from_`` are the user parts (or telephone numbers) of the request's To and From; ``from_`` "" where the
    number is withheld. ``at`` is an aware time. Header names are compared without regard to case.

    Raises:
        ValueError: ``at`` has no time zone.
    """

    to: str
    from_: str
    at: datetime
    display_name: str = ""
    trunk: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    diversion: str = ""
    """The number that was called first, of a call that was diverted (RFC 5806, RFC 7044); "" for none."""
    languages: tuple[str, ...] = ()
    """Those of Accept-Language, ISO 639-1, the best first."""
    last_seen: datetime | None = None
    """When this number called before, where that is kept; aware."""
    call_id: str = ""

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None:
            raise ValueError("at needs a time zone")

    def header(self, name: str) -> str | None:
        """The value of a header, its name in any case."""
        wanted = name.casefold()
        return next((value for key, value in self.headers.items() if key.casefold() == wanted), None)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a call goes: `NO_ROUTE` and a rejection where no route matched. ``trace`` ends with the chosen route."""

    route: str
    actions: tuple[Action, ...]
    trace: tuple[RuleTrace, ...]

    @property
    def is_routed(self) -> bool:
        """Whether a route matched."""
        return self.route != NO_ROUTE


class RefusalReason(Enum):
    """Why a transfer does not happen."""

    UNKNOWN_CONTACT = "unknown_contact"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferGranted:
    """Who is to be dialled: ``contact`` is ``asked`` or who stands in outside its hours."""

    asked: str
    contact: str
    targets: tuple[DialTarget, ...]
    ring_s: float
    mode: TransferMode = TransferMode.BLIND


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRefused:
    """Nobody is to be dialled. ``message`` may be told to the model."""

    asked: str
    reason: RefusalReason
    message: str


# Beside the plan -----------------------------------------------------------------------------------------------------


class ReferenceKind(Enum):
    """What a plan may name that only the configuration has."""

    REALTIME_SESSION = "realtime session"
    TRUNK = "trunk"
    RECORDINGS = "folder of recordings"
    PRICE = "price of a realtime session's model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name that the configuration has to know; ``problem`` is the report for the case that it does not."""

    kind: ReferenceKind
    name: str
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What an example call has to come to. None where the example does not say."""

    route: str | None = None
    session: str | None = None
    transfer: str | None = None
    reject: int | None = None
    play: Path | None = None
    hang_up: bool | None = None
    recording: RecordingChange | None = None
    answers: AnswerLength | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCall:
    """One case of the plan's ``tests``: a call, what happens during it, what is expected. ``line`` is in the file."""

    name: str
    line: int
    facts: CallFacts
    events: tuple[Trigger, ...]
    expected: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialplan:
    """A whole plan. Mappings are by name, in the order of the file."""

    file: Path
    name: str
    zone: ZoneInfo
    hours: Mapping[str, OpeningHours]
    contacts: Mapping[str, Contact]
    sessions: Mapping[str, SessionPlan]
    routes: tuple[Route, ...]
    escalations: tuple[Escalation, ...]
    use: str = "default"
    """The realtime session of the configuration that speaks and listens where no session of the plan is open."""
    language: str = "en"
    """ISO 639-1, of what the plan itself says and listens for."""
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict)
    tool_plans: Mapping[str, ToolPlan] = field(default_factory=dict)
    mcp: Mapping[str, McpPlan] = field(default_factory=dict)
    examples: tuple[ExampleCall, ...] = ()
    references: tuple[Reference, ...] = ()

    def decide(self, facts: CallFacts) -> Decision:
        """The first route that matches, or the rejection of a call that none does."""
        trace = []
        for route in self.routes:
            rule = self._try(route, facts)
            trace.append(rule)
            if rule.matched:
                return Decision(route=route.name, actions=route.actions, trace=tuple(trace))
        return Decision(route=NO_ROUTE, actions=(RejectAction(status=NO_ROUTE_STATUS),), trace=tuple(trace))

    def react(self, event: Trigger, facts: CallFacts | None = None, session: str | None = None) -> Escalation | None:
        """The first escalation that answers `event`; with `facts` of a call in `session`, whose circumstances hold."""
        answering = (escalation for escalation in self.escalations if escalation.trigger == event)
        if facts is None:
            return next(answering, None)
        return next((e for e in answering if self.holds(e.circumstances, facts, facts.at, session)), None)

    def holds(self, circumstances: Circumstances, facts: CallFacts | None, at: datetime, session: str | None) -> bool:
        """Whether they are those of a call at `at` (aware), in the session of that name; `facts` None: of nobody."""
        if circumstances.sessions and session not in circumstances.sessions:
            return False
        if circumstances.hours is not None and not self.hours[circumstances.hours].is_open(at.astimezone(self.zone)):
            return False
        caller, called = ("", "") if facts is None else (normal_caller(facts.from_), normal_number(facts.to))
        asked = ((circumstances.from_, caller), (circumstances.to, called))
        return all(any(pattern.matches(number) for pattern in patterns) for patterns, number in asked if patterns)

    def resolve_transfer(self, contact_name: str, at: datetime) -> TransferGranted | TransferRefused:
        """Who is dialled when the contact of exactly that name is asked for at `at` (aware)."""
        contact = self.contacts.get(contact_name)
        if contact is None:
            message = f"There is no contact {shown(contact_name)!r}. The contacts are: {', '.join(self.contacts)}."
            return TransferRefused(asked=contact_name, reason=RefusalReason.UNKNOWN_CONTACT, message=message)
        while not self.is_reachable(contact, at):
            if contact.otherwise is None:
                message = f"{contact_name} cannot be reached now: outside opening hours."
                return TransferRefused(asked=contact_name, reason=RefusalReason.CLOSED, message=message)
            contact = self.contacts[contact.otherwise]
        return TransferGranted(
            asked=contact_name,
            contact=contact.name,
            targets=contact.targets,
            ring_s=contact.ring_s,
            mode=contact.mode,
        )

    def is_reachable(self, contact: Contact, at: datetime) -> bool:
        """Whether `at` (aware) lies in the contact's hours; one without hours is always reachable."""
        return contact.hours is None or self.hours[contact.hours].is_open(at.astimezone(self.zone))

    def tools(self, session: str, at: datetime, marks: Collection[str] = ()) -> tuple[ToolDefinition, ...]:
        """The tools of a session of this plan, as they stand at `at` (aware) for a caller with `marks`.

        Those of MCP servers are not among them: which there are, the servers say.
        """
        known = [
            self.transfer_tool(session, at),
            *(tool for name, tool in self._built_in(session).items() if name in self.sessions[session].tools),
        ]
        if sentiments := self.sentiments(session):
            known.append(tool_model.report_sentiment(sentiments))
        plans = [self.tool_plans[name] for name in self.sessions[session].tools if name in self.tool_plans]
        known += [tool.definition for tool in plans if tool.after is None or tool.after in marks]
        return tuple(tool for tool in known if tool is not None)

    def offers(self, session: str, name: str) -> bool:
        """Whether the tool of that name may be among the session's; of those of an MCP server the server knows."""
        listed = self.sessions[session].tools
        if name == SessionTool.REPORT_SENTIMENT:
            return bool(self.sentiments(session))
        return name in listed or any(server in listed and name.startswith(f"{server}_") for server in self.mcp)

    def _built_in(self, session: str) -> Mapping[str, ToolDefinition]:
        switch = tool_model.switch_language(self.sessions[session].languages)
        known = (tool_model.HANG_UP, tool_model.SEND_DTMF, tool_model.TAKE_MESSAGE, tool_model.NOTE, switch)
        return {tool.name: tool for tool in known}

    def sentiments(self, session: str) -> tuple[str, ...]:
        """What the model of a session of this plan is to report of callers, as escalations ask for it."""
        asking = (e for e in self.escalations if not e.circumstances.sessions or session in e.circumstances.sessions)
        triggers = (escalation.trigger for escalation in asking)
        return tuple(dict.fromkeys(kind for t in triggers if isinstance(t, SentimentReported) for kind in t.kinds))

    def transfer_tool(self, session: str, at: datetime) -> ToolDefinition | None:
        """The tool whose ``contact`` is one of the plan's contacts; None where the session may not transfer."""
        if SessionTool.TRANSFER not in self.sessions[session].tools:
            return None
        contact = {"type": "string", "enum": list(self.contacts), "description": self._directory(at)}
        properties: dict[str, object] = {"contact": contact}
        if asking := [name for name, known in self.contacts.items() if known.confirm]:
            description = f"For {', '.join(asking)}: true once you have asked the caller, and the caller has said yes."
            properties["confirmed"] = {"type": "boolean", "description": description}
        return ToolDefinition(
            name=SessionTool.TRANSFER.value,
            description="Connect the caller with a person. Tell the caller before you do it.",
            parameters={
                "type": "object",
                "properties": properties,
                "required": ["contact"],
                "additionalProperties": False,
            },
        )

    def instructions(self, session: str, facts: CallFacts) -> str | None:
        """The session's instructions for this call; None where the plan leaves them to the configuration."""
        template = self.sessions[session].instructions
        return None if template is None else template.render(self._values(facts))

    def check_references(
        self,
        realtime_sessions: Collection[str],
        trunks: Collection[str],
        *,
        keeps_recordings: bool = True,
        unpriced: Collection[str] = (),
    ) -> tuple[Problem, ...]:
        """A problem for each name of this plan that the configuration lacks, with its place in the plan's file.

        `keeps_recordings`: whether the configuration has a folder for them. `unpriced` are the realtime sessions whose
        price nobody knows.
        """
        known = {ReferenceKind.REALTIME_SESSION: realtime_sessions, ReferenceKind.TRUNK: trunks}
        problems = [
            replace(reference.problem, expected=hint(reference.name, known[reference.kind]))
            for reference in self.references
            if reference.kind in known and reference.name not in known[reference.kind]
        ]
        if not keeps_recordings:
            problems += [r.problem for r in self.references if r.kind is ReferenceKind.RECORDINGS]
        problems += [r.problem for r in self.references if r.kind is ReferenceKind.PRICE and r.name in unpriced]
        return in_order(problems, str(self.file))

    def _values(self, facts: CallFacts) -> Mapping[Variable, str]:
        local = facts.at.astimezone(self.zone)
        return {
            Variable.CALLER_NUMBER: quoted(facts.from_ if normal_caller(facts.from_) else "", "withheld"),
            Variable.CALLER_NAME: quoted(facts.display_name, "unknown"),
            Variable.CALLED_NUMBER: quoted(facts.to, "unknown"),
            Variable.NOW: f"{WEEKDAY_NAMES[local.weekday()]} {local:%Y-%m-%d %H:%M} ({self.zone.key})",
            Variable.DIALPLAN_NAME: self.name,
            Variable.CONTACTS: self._directory(facts.at),
        }

    def _directory(self, at: datetime) -> str:
        return "\n".join(f"- {self._entry(contact, at)}" for contact in self.contacts.values()) or "- nobody"

    def _entry(self, contact: Contact, at: datetime) -> str:
        text = f"{contact.name}: {contact.description}" if contact.description else contact.name
        if self.is_reachable(contact, at):
            return text
        stand_in = self.resolve_transfer(contact.name, at)
        who = f"{stand_in.contact} takes the call" if isinstance(stand_in, TransferGranted) else "cannot be reached"
        return f"{text} (closed now, {who})"

    def _try(self, route: Route, facts: CallFacts) -> RuleTrace:
        criteria = tuple(self._criteria(route.match, facts))
        failed = [criterion.reason for criterion in criteria if not criterion.matched]
        reasons = failed or [criterion.reason for criterion in criteria] or ["it takes every call"]
        return RuleTrace(route=route.name, matched=not failed, reason="; ".join(reasons), criteria=criteria)

    def _criteria(self, match: Match, facts: CallFacts) -> list[CriterionTrace]:
        criteria = []
        if match.to:
            criteria.append(_tried("to", match.to, facts.to, normal_number(facts.to)))
        if match.from_:
            criteria.append(_tried("from", match.from_, facts.from_, normal_caller(facts.from_)))
        if match.trunks:
            criteria.append(_tried_trunk(match.trunks, facts.trunk))
        criteria += [_tried_header(header, facts.header(header.name)) for header in match.headers]
        if match.hours is not None:
            hours, local = self.hours[match.hours], facts.at.astimezone(self.zone)
            trace = CriterionTrace(criterion="hours", matched=hours.is_open(local), reason=hours.explain(local))
            criteria.append(trace)
        return criteria


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
