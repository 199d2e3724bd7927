"""A dialplan that has been checked, and its three questions: where does a call go, what follows an event, may it be
transferred there.

::

    CallFacts --decide--> Decision(route, actions, trace)      first match wins; the trace says why
    Trigger --react---> Escalation | None                    while a session runs
    contact name, time --resolve_transfer--> TransferGranted | TransferRefused

Everything here is frozen and pure. `gateway.dialplan.load` makes it and guarantees that every name leads somewhere, so
nothing below fails for a plan that was loaded. A model can name a contact, and a number only where that contact
has a pattern that takes it (`Contact.target_of`): what is not exactly the name of a contact of the plan is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.dialplan import tools as tool_model
from gateway.dialplan.actions import Action, Prompt, RejectAction
from gateway.dialplan.contacts import Contact, TransferMode
from gateway.dialplan.examples import ExampleCall, Expectation
from gateway.dialplan.facts import EMPTY, CallFacts
from gateway.dialplan.hours import WEEKDAY_NAMES, OpeningHours
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.matching import CriterionTrace, HeaderCriterion, Match, RuleTrace, Seen, tried
from gateway.dialplan.own_phrases import ENGLISH, OwnPhrases
from gateway.dialplan.pattern import normal_caller, normal_number
from gateway.dialplan.routing import CallView, RouteIndex
from gateway.dialplan.targets import DialTarget
from gateway.dialplan.template import MAX_VALUE_CHARACTERS, Template, Variable, quoted
from gateway.dialplan.tools import McpPlan, SessionTool, ToolDefinition, ToolPlan
from gateway.dialplan.triggers import Circumstances, Escalation, SentimentReported, Trigger
from gateway.errors import Problem, shown
from gateway.located import hint, in_order

__all__ = [
    "AGREE_KEY",
    "CONSENT_WAIT_S",
    "DECLINE_KEY",
    "EMPTY",
    "NO_ROUTE",
    "NO_ROUTE_STATUS",
    "CallFacts",
    "Consent",
    "Contact",
    "CriterionTrace",
    "Decision",
    "Dialplan",
    "Escalation",
    "ExampleCall",
    "Expectation",
    "HeaderCriterion",
    "Match",
    "RecordPlan",
    "Reference",
    "ReferenceKind",
    "RefusalReason",
    "Route",
    "RuleTrace",
    "Seen",
    "SessionLimits",
    "SessionPlan",
    "TransferGranted",
    "TransferRefused",
]

NO_ROUTE = "(no route)"
"""The route of a call that nothing matched. No route can have this name."""
NO_ROUTE_STATUS = 404
AGREE_KEY, DECLINE_KEY = "1", "2"
CONSENT_WAIT_S = 10.0


# What a plan says ----------------------------------------------------------------------------------------------------


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

    ``protected`` is heard before all else, each to its end and once in a call. ``greeting`` is spoken first of what the
    model says, as it stands; without one the model begins. ``instructions`` None leaves them to the
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
    mailbox: str | None = None
    """Where a message goes that the model takes (the tool ``take_message``), besides the call's record."""
    protected: tuple[Prompt, ...] = ()


# What it is asked and answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a call goes: `NO_ROUTE` and a rejection where no route matched."""

    route: str
    actions: tuple[Action, ...]
    explain: Callable[[], tuple[RuleTrace, ...]] = field(repr=False, compare=False)

    @property
    def trace(self) -> tuple[RuleTrace, ...]:
        """Every route tried, in order, with the reason; the chosen one is the last. Worked out when it is asked for."""
        return self.explain()

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
    """Nobody is to be dialled. ``message`` may be told to the model; ``mailbox`` takes a message instead."""

    asked: str
    reason: RefusalReason
    message: str
    mailbox: str | None = None


# Beside the plan -----------------------------------------------------------------------------------------------------


class ReferenceKind(Enum):
    """What a plan may name that only the configuration has."""

    REALTIME_SESSION = "realtime session"
    TRUNK = "trunk"
    RECORDINGS = "folder of recordings"
    PRICE = "price of a realtime session's model"
    TRANSCRIPT = "transcript of what callers say"
    CALLERS = "file of callers"
    VOICEMAIL = "folder of messages"
    MAIL = "mail server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name that the configuration has to know; ``problem`` is the report for the case that it does not."""

    kind: ReferenceKind
    name: str
    problem: Problem


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
    phrases: OwnPhrases = ENGLISH
    """What the gateway itself says."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those that every call begins with."""
    settable: frozenset[str] = frozenset()
    """The names of all variables of the plan, those that only its hooks set among them."""
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict)
    tool_plans: Mapping[str, ToolPlan] = field(default_factory=dict)
    mcp: Mapping[str, McpPlan] = field(default_factory=dict)
    examples: tuple[ExampleCall, ...] = ()
    references: tuple[Reference, ...] = ()
    _index: RouteIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", RouteIndex([route.match for route in self.routes]))

    def decide(self, facts: CallFacts) -> Decision:
        """The first route that matches, or the rejection of a call that none does."""
        view = CallView(facts, self.name, self.zone, self.hours)
        routes = self.routes
        chosen = next((i for i in self._index.candidates(view) if view.suits(routes[i].match, routes[i].name)), None)
        explain = partial(self._explain, facts, chosen)
        if chosen is None:
            return Decision(route=NO_ROUTE, actions=(RejectAction(status=NO_ROUTE_STATUS),), explain=explain)
        return Decision(route=routes[chosen].name, actions=routes[chosen].actions, explain=explain)

    def _explain(self, facts: CallFacts, chosen: int | None) -> tuple[RuleTrace, ...]:
        tried = self.routes if chosen is None else self.routes[: chosen + 1]
        return tuple(self._try(route, facts) for route in tried)

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
                return TransferRefused(
                    asked=contact_name, reason=RefusalReason.CLOSED, message=message, mailbox=contact.mailbox
                )
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
        if numbered := [name for name, known in self.contacts.items() if known.pattern is not None]:
            description = f"For {', '.join(numbered)} only: the number to call, without spaces."
            properties["number"] = {"type": "string", "pattern": "^[+]?[0-9]{1,20}$", "description": description}
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

    def instructions(self, session: str, facts: CallFacts, variables: Mapping[str, str] = EMPTY) -> str | None:
        """The session's instructions for this call; None where the plan leaves them to the configuration.

        `variables` are those of the call. They and what the caller's telephone sent go in as quotations.
        """
        template = self.sessions[session].instructions
        return None if template is None else self.told(template, facts, variables)

    def told(self, template: Template, facts: CallFacts, variables: Mapping[str, str] = EMPTY) -> str:
        """A text of the plan for a model, filled in at the time of `facts`; what comes from outside is a quotation."""
        told = {name: quoted(text, "unknown", MAX_VALUE_CHARACTERS) for name, text in variables.items()}
        return template.render(self._values(facts), self.hours_states(facts.at), told)

    def text(self, template: Template, facts: CallFacts, variables: Mapping[str, str] = EMPTY) -> str:
        """A text of the plan, filled in at the time of `facts`, for machines: what comes from outside is unchanged."""
        local = facts.at.astimezone(self.zone)
        values = {
            Variable.CALLER_NUMBER: facts.from_,
            Variable.CALLER_NAME: facts.display_name,
            Variable.CALLED_NUMBER: facts.to,
            Variable.NOW: f"{local:%Y-%m-%d %H:%M}",
            Variable.DIALPLAN_NAME: self.name,
            Variable.CONTACTS: ", ".join(self.contacts),
        }
        return template.render(values, self.hours_states(facts.at), variables)

    def hours_states(self, at: datetime) -> Mapping[str, str]:
        """What ``{hours.NAME}`` becomes at `at` (aware)."""
        return {name: hours.state(at.astimezone(self.zone)) for name, hours in self.hours.items()}

    def check_references(
        self,
        realtime_sessions: Collection[str],
        trunks: Collection[str],
        *,
        keeps_recordings: bool = True,
        keeps_callers: bool = True,
        keeps_messages: bool = True,
        sends_mail: bool = True,
        unpriced: Collection[str] = (),
        untranscribed: Collection[str] = (),
    ) -> tuple[Problem, ...]:
        """A problem for each name of this plan that the configuration lacks, with its place in the plan's file.

        `keeps_recordings` and `keeps_messages`: whether the configuration has a folder for them; `keeps_callers`:
        whether it has a file of them; `sends_mail`: whether it has a mail server. `unpriced` are the realtime sessions
        whose price nobody knows, `untranscribed` those that do not write down what callers say.
        """
        known = {ReferenceKind.REALTIME_SESSION: realtime_sessions, ReferenceKind.TRUNK: trunks}
        problems = [
            replace(reference.problem, expected=hint(reference.name, known[reference.kind]))
            for reference in self.references
            if reference.kind in known and reference.name not in known[reference.kind]
        ]
        parts = {
            ReferenceKind.RECORDINGS: keeps_recordings,
            ReferenceKind.CALLERS: keeps_callers,
            ReferenceKind.VOICEMAIL: keeps_messages,
            ReferenceKind.MAIL: sends_mail,
        }
        problems += [r.problem for r in self.references if not parts.get(r.kind, True)]
        lacking = {ReferenceKind.PRICE: unpriced, ReferenceKind.TRANSCRIPT: untranscribed}
        problems += [r.problem for r in self.references if r.name in lacking.get(r.kind, ())]
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
        criteria = tried(route.match, route.name, facts, plan=self.name, hours=self.hours, zone=self.zone)
        failed = [criterion.reason for criterion in criteria if not criterion.matched]
        reasons = failed or [criterion.reason for criterion in criteria] or ["it takes every call"]
        return RuleTrace(route=route.name, matched=not failed, reason="; ".join(reasons), criteria=criteria)
