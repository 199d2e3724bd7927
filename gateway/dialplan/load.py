"""A dialplan file into a `Dialplan`, or into every problem it has.

::

    file -> load_yaml -> Document -> examine(PlanSource) -> what is usable -> _Builder -> Dialplan
                                         └ wrong types        names, files, hours, reach ┘

The types are checked first, then what they mean: names that lead nowhere, files that are not there, hours that overlap,
routes no call reaches. An entry with a wrong type is left out of the second part, but its name counts as known, so one
mistake is reported once. A plan that is returned has no loose end; nobody has to look again during a call.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gateway.dialplan import source
from gateway.dialplan.actions import (
    Action,
    AnswersAction,
    HangUpAction,
    PlayAction,
    RecordingAction,
    RejectAction,
    SessionAction,
    TransferAction,
)
from gateway.dialplan.contacts import Contact
from gateway.dialplan.hours import (
    WEEKDAYS,
    OpeningHours,
    TimeRange,
    overlap,
    parse_date_range,
    parse_instant,
    parse_time_range,
    parse_weekdays,
    parse_zone,
)
from gateway.dialplan.model import (
    NO_ROUTE,
    CallFacts,
    Consent,
    Dialplan,
    ExampleCall,
    Expectation,
    HeaderCriterion,
    Match,
    RecordPlan,
    Reference,
    ReferenceKind,
    Route,
    SessionLimits,
    SessionPlan,
)
from gateway.dialplan.pattern import parse_caller, parse_number, parse_text
from gateway.dialplan.reach import eclipsed
from gateway.dialplan.targets import parse_target
from gateway.dialplan.template import Template, Variable, parse_template
from gateway.dialplan.tool_load import ToolLoader
from gateway.dialplan.tools import SessionTool
from gateway.dialplan.triggers import BudgetUsed, CostOver, DigitPressed, Escalation, ProviderDown, Trigger
from gateway.errors import ConfigurationError, Problem, shown
from gateway.located import (
    Document,
    Key,
    Substitution,
    WrongValue,
    examine,
    hint,
    in_order,
    load_yaml,
    place_behind,
    read_text,
)

SECTIONS_WITH_SECRETS = ("tools", "mcp")
PROMPT_SUFFIXES = (".md", ".txt")
UTC = ZoneInfo("UTC")
DEFAULT_INSTANT = datetime(2000, 1, 3, 12, 0)  # noqa: DTZ001 - the plan's zone is put in; only plans without hours use it
SOUND_FORMAT = "expected WAV, 16 bit, mono, 8 kHz; sox IN -b 16 -c 1 -r 8000 OUT.wav makes one"

NEEDS_PRICE = "expected realtime.{}.prices there, see docs/budget.md"
NEEDS_FOLDER = "expected records.recordings.folder there"
_OF_ANNOUNCEMENTS = {"play"}
_OF_QUESTIONS = {"agree", "decline", "wait"}
_NONE_OF = {"hours": "are no opening hours", "contacts": "is no contact", "sessions": "is no session"}


def load_dialplan(path: Path, environment: Mapping[str, str] | None = None) -> Dialplan:
    """Read and check the plan at `path`; what it names is relative to its folder, secrets are in `environment`.

    Raises:
        ConfigurationError: with every problem of the file and of the prompts it names, each at its place.
    """
    return build_dialplan(load_yaml(path), path, environment)


def build_dialplan(document: Document, path: Path, environment: Mapping[str, str] | None = None) -> Dialplan:
    """Like `load_dialplan`, from a document already read; `path` is where it lies."""
    secrets = Substitution(os.environ if environment is None else environment)
    document = document.with_texts(secrets, below=SECTIONS_WITH_SECRETS)
    examined = examine(source.PlanSource, document)
    if examined.value is None:
        raise ConfigurationError(examined.problems)
    builder = _Builder(plan=examined.value, document=examined.document, whole=document, folder=path.absolute().parent)
    dialplan = builder.build(path)
    problems = (*examined.problems, *builder.problems)
    if problems:
        raise ConfigurationError(in_order(problems, document.file))
    return dialplan


@dataclass(slots=True, kw_only=True)
class _Builder:
    """Source models into the model, one section after the other. ``whole`` has the names of entries left out, too."""

    plan: source.PlanSource
    document: Document
    whole: Document
    folder: Path
    problems: list[Problem] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    zone: ZoneInfo = UTC

    def build(self, path: Path) -> Dialplan:
        """The plan; it may be used only where `problems` stayed empty."""
        self.zone = self._zone()
        routes = self._routes()
        tools = self._tool_loader()
        return Dialplan(
            file=path,
            name=self.plan.name,
            zone=self.zone,
            hours=MappingProxyType({name: self._opening_hours(name, hours) for name, hours in self.plan.hours.items()}),
            contacts=MappingProxyType(self._contacts()),
            sessions=MappingProxyType({name: self._session(name, s) for name, s in self.plan.sessions.items()}),
            tool_plans=MappingProxyType(tools.tools(self.plan.tools, self.plan.mcp)),
            mcp=MappingProxyType(tools.servers(self.plan.mcp)),
            routes=routes,
            escalations=self._escalations(),
            examples=tuple(self._example(number, case) for number, case in enumerate(self.plan.tests)),
            references=tuple(self.references),
        )

    # Problems.

    def _note(self, path: Sequence[Key], message: str, expected: str = "", *, at_key: bool = False) -> None:
        self.problems.append(self.document.problem(path, message, expected, at_key=at_key))

    def _note_wrong(self, path: Sequence[Key], error: WrongValue, value: str, *, at_key: bool = False) -> None:
        self._note(path, f"{path[-1]!r} {str(error) or f'is {shown(value)!r}'}", error.expected, at_key=at_key)

    def _refer(self, section: str, name: str, path: Sequence[Key]) -> None:
        """Note a name that `section` does not have."""
        known = self.whole.keys((section,))
        if name not in known:
            self._note(path, f"there {_NONE_OF[section]} {shown(name)!r}", hint(name, known))

    def _note_repeated(self, kind: str, section: str, names: Iterable[str]) -> None:
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            if name in seen:
                first = self.document.locate((section, seen[name], "name")).line
                message = f"{kind} {shown(name)!r} appears twice"
                self._note((section, index, "name"), message, f"the first is in line {first}")
            seen.setdefault(name, index)

    def _await(self, kind: ReferenceKind, name: str, path: Sequence[Key]) -> None:
        """Leave a name to the configuration."""
        problem = self.document.problem(path, f"the configuration has no {kind.value} {shown(name)!r}")
        self.references.append(Reference(kind=kind, name=name, problem=problem))

    # Hours.

    def _zone(self) -> ZoneInfo:
        try:
            return parse_zone(self.plan.timezone)
        except WrongValue as error:
            self._note_wrong(("timezone",), error, self.plan.timezone)
            return UTC

    def _opening_hours(self, name: str, hours: source.HoursSource) -> OpeningHours:
        path: tuple[Key, ...] = ("hours", name)
        spans = self._spans(path, hours)
        if not hours.week:
            self._note(path, f"{name!r} never opens", 'expected times, such as mon-fri: "09:00-17:00"', at_key=True)
        if pair := overlap([(day, span) for day, span, _ in spans]):
            (day, span, _), (other_day, other, place) = spans[pair[0]], spans[pair[1]]
            message = f"{WEEKDAYS[other_day]} {other} overlaps {WEEKDAYS[day]} {span}"
            self._note(place, message, "expected each minute once")
        week = tuple(tuple(span for day, span, _ in spans if day == wanted) for wanted in range(len(WEEKDAYS)))
        return OpeningHours(name=name, week=week, closed=tuple(parse_date_range(text) for text in hours.except_))

    def _spans(self, path: tuple[Key, ...], hours: source.HoursSource) -> list[tuple[int, TimeRange, tuple[Key, ...]]]:
        """(weekday, range, path of the range) of all that the hours say."""
        spans = []
        for key, texts in hours.week.items():
            try:
                days = parse_weekdays(key)
            except WrongValue as error:
                self._note_wrong((*path, key), error, key, at_key=True)
                continue
            for index, text in enumerate(texts):
                spans += [(day, parse_time_range(text), (*path, key, index)) for day in days]
        return spans

    # Contacts and sessions.

    def _contacts(self) -> dict[str, Contact]:
        for name, contact in self.plan.contacts.items():
            self._check_stand_in(("contacts", name), contact)
        self._check_loops()
        return {
            name: Contact(
                name=name,
                description=contact.description,
                targets=tuple(parse_target(text) for text in contact.dial),
                ring_s=contact.ring,
                mode=contact.mode,
                confirm=contact.confirm,
                hours=contact.when or None,
                otherwise=contact.else_ or None,
            )
            for name, contact in self.plan.contacts.items()
        }

    def _check_stand_in(self, path: tuple[Key, ...], contact: source.ContactSource) -> None:
        if contact.when:
            self._refer("hours", contact.when, (*path, "when"))
        if contact.else_:
            self._refer("contacts", contact.else_, (*path, "else"))
            if not contact.when:
                message = "'else' has no effect without 'when'"
                self._note((*path, "else"), message, "expected when: HOURS beside it", at_key=True)

    def _check_loops(self) -> None:
        """Note each ring of stand-ins once, at its first contact."""
        reported: set[str] = set()
        for name in self.plan.contacts:
            chain = [name]
            while (after := self.plan.contacts.get(chain[-1])) and after.else_ and after.else_ not in chain:
                chain.append(after.else_)
            closes = after is not None and after.else_ == name
            if closes and name not in reported:
                reported.update(chain)
                message = f"contact {name!r} stands in for itself: {' -> '.join([*chain, name])}"
                self._note(("contacts", name, "else"), shown(message, 200), "expected a chain that ends")

    def _session(self, name: str, session: source.SessionSource) -> SessionPlan:
        path: tuple[Key, ...] = ("sessions", name)
        self._await(ReferenceKind.REALTIME_SESSION, session.use, (*path, "use"))
        greeting, unknown = parse_template(session.greeting)
        if unknown or any(isinstance(part, Variable) for part in greeting.parts):
            self._note((*path, "greeting"), "'greeting' holds a variable", "a greeting is the same for every caller")
        self._check_tools(path, session)
        if SessionTool.TRANSFER in session.tools and not self.whole.keys(("contacts",)):
            index = session.tools.index(SessionTool.TRANSFER)
            self._note((*path, "tools", index), "'transfer' has nobody to call", "expected contacts in this plan")
        return SessionPlan(
            name=name,
            use=session.use,
            greeting=session.greeting or None,
            instructions=self._instructions((*path, "instructions"), session.instructions),
            tools=tuple(dict.fromkeys(session.tools)),
            languages=tuple(dict.fromkeys(session.languages)),
            record=self._record((*path, "record"), session.record) if session.record else None,
            limits=self._limits((*path, "limits", "money"), session),
        )

    def _tool_loader(self) -> ToolLoader:
        is_whole = len(self.plan.tools) == len(self.whole.keys(("tools",)))
        return ToolLoader(note=self._note, folder=self.folder, is_whole=is_whole)

    def _check_tools(self, path: tuple[Key, ...], session: source.SessionSource) -> None:
        servers = {name: self.plan.mcp.get(name) for name in self.whole.keys(("mcp",))}
        self._tool_loader().check_session((*path, "tools"), session.tools, self.whole.keys(("tools",)), servers)
        if SessionTool.SWITCH_LANGUAGE in session.tools and len(set(session.languages)) < 2:
            index = session.tools.index(SessionTool.SWITCH_LANGUAGE)
            self._note((*path, "tools", index), "'switch_language' has no choice", "expected languages: [de, en]")
        if session.languages and SessionTool.SWITCH_LANGUAGE not in session.tools:
            message = "'languages' has no effect without the tool switch_language"
            self._note((*path, "languages"), message, "expected it in tools", at_key=True)

    def _limits(self, path: tuple[Key, ...], session: source.SessionSource) -> SessionLimits:
        if session.limits.money is not None:
            self._need_price(session.use, path)
        return SessionLimits(minutes=session.limits.minutes, money=session.limits.money)

    def _need_price(self, session: str, path: tuple[Key, ...]) -> None:
        """Whoever counts money has to know what the model of a realtime `session` costs."""
        message = f"the configuration does not know what the model of realtime session {session!r} costs"
        problem = self.document.problem(path, message, NEEDS_PRICE.format(session))
        self.references.append(Reference(kind=ReferenceKind.PRICE, name=session, problem=problem))

    def _record(self, path: tuple[Key, ...], record: source.RecordSource) -> RecordPlan:
        problem = self.document.problem(path, "the configuration keeps no recordings", NEEDS_FOLDER, at_key=True)
        self.references.append(Reference(kind=ReferenceKind.RECORDINGS, name="", problem=problem))
        consent, given = record.consent, record.model_fields_set
        if consent is not Consent.GIVEN and not record.play:
            what = "announcement" if consent is Consent.ANNOUNCE else "question"
            self._note((*path, "consent"), f"consent by {consent.value} without 'play'", f"expected play: {what}.wav")
        useless = {
            Consent.GIVEN: _OF_ANNOUNCEMENTS | _OF_QUESTIONS,
            Consent.ANNOUNCE: _OF_QUESTIONS,
            Consent.ASK: set(),
        }
        for key in sorted(useless[consent] & given):
            self._note((*path, key), f"{key!r} has no effect with consent: {consent.value}", at_key=True)
        if consent is Consent.ASK and record.agree == record.decline:
            place = "decline" if "decline" in given else "agree"
            self._note((*path, place), f"{record.agree!r} both agrees and declines", "expected two different keys")
        return RecordPlan(
            consent=consent,
            play=self._sound((*path, "play"), record.play) if record.play else None,
            agree=record.agree,
            decline=record.decline,
            wait_s=record.wait,
            has_contacts=record.contacts,
        )

    def _instructions(self, path: tuple[Key, ...], text: str) -> Template | None:
        is_file = text.endswith(PROMPT_SUFFIXES) and len(text.split()) == 1
        if is_file:
            return self._prompt_file(path, text)
        template, unknown = parse_template(text)
        for variable in unknown:
            self._note(path, f"unknown variable {{{shown(variable.name)}}}", _variable_hint(variable.name))
        return template if text.strip() else None

    def _prompt_file(self, path: tuple[Key, ...], name: str) -> Template | None:
        file = self.folder / name
        try:
            text = read_text(file, str(file))
        except ConfigurationError as error:
            trouble = error.problems[0]
            self._note(path, f"{shown(name)!r}: {trouble.message}", trouble.expected)
            return None
        template, unknown = parse_template(text)
        for variable in unknown:
            place = place_behind(text[: variable.offset])
            self.problems.append(
                Problem(
                    file=str(file),
                    line=place.line,
                    column=place.column,
                    message=f"unknown variable {{{shown(variable.name)}}}",
                    expected=_variable_hint(variable.name),
                )
            )
        return template

    # Routes and escalations.

    def _routes(self) -> tuple[Route, ...]:
        self._note_repeated("route", "routes", (route.name for route in self.plan.routes))
        routes = tuple(
            Route(
                name=route.name,
                match=self._match(("routes", index, "match"), route.match),
                actions=self._actions(("routes", index, "do"), route.do),
            )
            for index, route in enumerate(self.plan.routes)
        )
        for later, earlier in eclipsed(routes):
            message = f"route {routes[later].name!r} is never reached: {routes[earlier].name!r} takes all its calls"
            self._note(
                ("routes", later), message, f"move it above line {self.document.locate(('routes', earlier)).line}"
            )
        return routes

    def _match(self, path: tuple[Key, ...], match: source.MatchSource) -> Match:
        if match.hours:
            self._refer("hours", match.hours, (*path, "hours"))
        for index, trunk in enumerate(match.trunk):
            self._await(ReferenceKind.TRUNK, trunk, (*path, "trunk", index))
        return Match(
            to=tuple(parse_number(text) for text in match.to),
            from_=tuple(parse_caller(text) for text in match.from_),
            hours=match.hours or None,
            trunks=match.trunk,
            headers=tuple(
                HeaderCriterion(name=name, patterns=tuple(parse_text(text) for text in texts))
                for name, texts in match.header.items()
            ),
        )

    def _escalations(self) -> tuple[Escalation, ...]:
        self._note_repeated("escalation", "escalations", (escalation.name for escalation in self.plan.escalations))
        escalations: list[Escalation] = []
        for index, written in enumerate(self.plan.escalations):
            path: tuple[Key, ...] = ("escalations", index)
            event = _event(written.when)
            if taken := next((known for known in escalations if known.trigger == event), None):
                message = f"escalation {written.name!r} never fires: {taken.name!r} answers the same event"
                self._note((*path, "when"), message, "expected each event once")
            may_reject = isinstance(event, ProviderDown) or event == BudgetUsed(1.0)
            actions = self._actions((*path, "do"), written.do, may_reject=may_reject)
            self._check_money(path, event, actions)
            escalations.append(Escalation(name=written.name, trigger=event, actions=actions))
        if escalations and not self.whole.keys(("sessions",)):
            self._note(("escalations",), "'escalations' never fire without a session", "expected sessions", at_key=True)
        return tuple(escalations)

    def _check_money(self, path: tuple[Key, ...], event: Trigger, actions: Sequence[Action]) -> None:
        """Note what cannot be counted, and what nothing is left for."""
        if isinstance(event, CostOver):
            for name in dict.fromkeys(session.use for session in self.plan.sessions.values()):
                self._need_price(name, (*path, "when", "cost_over"))
        if event != BudgetUsed(1.0):
            return
        for index, action in enumerate(actions):
            if isinstance(action, SessionAction | AnswersAction):
                word = "session" if isinstance(action, SessionAction) else "answers"
                message = f"{word!r} comes too late: the budget is used up"
                self._note((*path, "do", index), message, "expected it at a smaller share, such as budget: 80%")

    def _actions(
        self, path: tuple[Key, ...], written: Sequence[source.ActionSource], *, may_reject: bool = True
    ) -> tuple[Action, ...]:
        actions = tuple(self._action((*path, index), action) for index, action in enumerate(written))
        for index, action in enumerate(actions):
            if isinstance(action, RejectAction) and (index or not may_reject):
                message = "'reject' comes too late: the call has been answered"
                self._note((*path, index), message, "expected hang_up: true")
            if index and isinstance(actions[index - 1], SessionAction | RejectAction | HangUpAction):
                message = "an action that is never reached: the one before it is the last"
                self._note((*path, index), message, "expected it further up, or not at all")
        return actions

    def _action(self, path: tuple[Key, ...], action: source.ActionSource) -> Action:
        match next(iter(action.model_fields_set)):
            case "session":
                self._refer("sessions", action.session, (*path, "session"))
                return SessionAction(name=action.session)
            case "play":
                return PlayAction(file=self._sound((*path, "play"), action.play))
            case "transfer":
                self._refer("contacts", action.transfer, (*path, "transfer"))
                return TransferAction(contact=action.transfer)
            case "recording":
                if not any(session.record for session in self.plan.sessions.values()):
                    self._note(
                        (*path, "recording"), "'recording' has nothing to change", "expected a session with record"
                    )
                return RecordingAction(change=action.recording)
            case "answers":
                return AnswersAction(length=action.answers)
            case "reject":
                return RejectAction(status=action.reject.code, reason=action.reject.reason)
            case _:
                return HangUpAction()

    def _sound(self, path: tuple[Key, ...], name: str) -> Path:
        file = self.folder / name
        if trouble := _sound_problem(file):
            self._note(path, f"{shown(name)!r} {trouble}", SOUND_FORMAT)
        return file

    # Tests.

    def _example(self, number: int, case: source.CaseSource) -> ExampleCall:
        path: tuple[Key, ...] = ("tests", number)
        facts = CallFacts(
            to=case.call.to,
            from_=case.call.from_,
            at=self._instant((*path, "call"), case.call.at),
            display_name=case.call.name,
            trunk=case.call.trunk,
            headers=MappingProxyType(case.call.header),
        )
        return ExampleCall(
            name=case.name or f"{case.call.to or 'nobody'} called by {case.call.from_ or 'anonymous'}",
            line=self.document.locate(path).line,
            facts=facts,
            events=tuple(_event(event) for event in case.then),
            expected=self._expectation((*path, "expect"), case.expect),
        )

    def _instant(self, path: tuple[Key, ...], text: str) -> datetime:
        if not text:
            if self.whole.keys(("hours",)):
                self._note(path, "key 'at' is missing", "expected it in every test of a plan with hours")
            return DEFAULT_INSTANT.replace(tzinfo=self.zone)
        try:
            return parse_instant(text, self.zone)
        except WrongValue as error:
            self._note_wrong((*path, "at"), error, text)
            return DEFAULT_INSTANT.replace(tzinfo=self.zone)

    def _expectation(self, path: tuple[Key, ...], expect: source.ExpectSource) -> Expectation:
        routes = self._route_names()
        if expect.route and expect.route not in routes:
            self._note((*path, "route"), f"there is no route {shown(expect.route)!r}", hint(expect.route, routes))
        if expect.session:
            self._refer("sessions", expect.session, (*path, "session"))
        if expect.transfer:
            self._refer("contacts", expect.transfer, (*path, "transfer"))
        return Expectation(
            route=expect.route or None,
            session=expect.session or None,
            transfer=expect.transfer or None,
            reject=expect.reject or None,
            play=self._sound((*path, "play"), expect.play) if expect.play else None,
            hang_up=expect.hang_up or None,
            recording=expect.recording,
            answers=expect.answers,
        )

    def _route_names(self) -> Collection[str]:
        """The names of all routes of the file, left out or not."""
        return (*self.whole.texts(("routes",), "name"), NO_ROUTE)


def _event(written: source.EventSource) -> Trigger:
    match next(iter(written.model_fields_set)):
        case "dtmf":
            return DigitPressed(written.dtmf)
        case "budget":
            return BudgetUsed(written.budget)
        case "cost_over":
            return CostOver(written.cost_over)
        case _:
            return ProviderDown()


def _variable_hint(name: str) -> str:
    return hint(name, (variable.value for variable in Variable))


def _sound_problem(file: Path) -> str:
    """Why `file` cannot be played to a caller; "" where it can."""
    try:
        if not file.is_file():
            return "is not a file"
        with wave.open(str(file), "rb") as sound:
            shape = sound.getsampwidth() * 8, sound.getnchannels(), sound.getframerate()
    except (OSError, EOFError, ValueError, wave.Error) as error:
        return f"cannot be played: {shown(str(error) or 'it ends early')}"
    return "" if shape == (16, 1, 8000) else f"has {shape[0]} bit, {shape[1]} channels, {shape[2]} Hz"
