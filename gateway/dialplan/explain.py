"""What a plan does with a call and why, as text and as JSON; and whether its own tests hold.

    route_report(plan, facts) -> RouteReport      .text()  .json()  .is_routed
    run_tests(plan) -> TestReport            .text()  .json()  .is_passed

Both are pure; printing them and turning them into an exit status is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from gateway.dialplan.actions import (
    WORDS,
    Action,
    AnswersAction,
    HangUpAction,
    PlayAction,
    RecordingAction,
    RejectAction,
    SessionAction,
    TransferAction,
)
from gateway.dialplan.model import CallFacts, Decision, Dialplan, ExampleCall, TransferGranted, TransferRefused
from gateway.dialplan.triggers import BudgetUsed, CostOver, DigitPressed, Trigger
from gateway.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReport:
    """An action as a plan writes it, and what comes of it at the time of the call.

    ``reason`` is the phrase of a rejection. ``dials`` are the targets of a transfer, ``contact`` whose they are;
    ``refused`` says why there are none. ``record`` is how callers of a session come to agree to be recorded; "" where
    they are not.
    """

    action: str
    argument: str | int | bool
    reason: str = ""
    contact: str = ""
    dials: tuple[str, ...] = ()
    refused: str = ""
    record: str = ""

    def text(self) -> str:
        """One line."""
        argument = "" if self.argument is True else f" {self.argument}"
        line = f"{self.action}{argument} {self.reason}".rstrip()
        if self.refused:
            return f"{line}: {self.refused}"
        if self.record:
            return f"{line}, recorded (consent: {self.record})"
        if not self.dials:
            return line
        stand_in = f" by {self.contact}" if self.contact != self.argument else ""
        return f"{line}{stand_in} -> {', '.join(self.dials)}"

    def document(self) -> Mapping[str, object]:
        """The same for JSON."""
        details: dict[str, Mapping[str, object]] = {
            "reject": {"reason": self.reason},
            "transfer": {"contact": self.contact, "dials": list(self.dials), "refused": self.refused},
        }
        recorded = {"record": self.record} if self.record else {}
        return {self.action: self.argument, **details.get(self.action, {}), **recorded}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReport:
    """What a plan does with one call."""

    plan: Dialplan
    facts: CallFacts
    decision: Decision
    actions: tuple[ActionReport, ...]

    @property
    def is_routed(self) -> bool:
        """Whether a route took the call; where not, it is rejected."""
        return self.decision.is_routed

    def text(self) -> str:
        """Lines for a terminal: the chosen route, its actions, and every route tried."""
        facts = self.facts
        caller = facts.from_ or "a withheld number"
        lines = [
            f"call    {shown(facts.to)} from {shown(caller)} at {facts.at.isoformat()}",
            f"route   {self.decision.route}",
            *(f"do      {action.text()}" for action in self.actions),
            *(f"{'match' if rule.matched else 'no':<8}{rule.route}: {rule.reason}" for rule in self.decision.trace),
        ]
        return "\n".join(lines)

    def json(self) -> str:
        """One JSON document."""
        facts, decision = self.facts, self.decision
        call = {
            "to": facts.to,
            "from": facts.from_,
            "name": facts.display_name,
            "trunk": facts.trunk,
            "headers": dict(facts.headers),
            "at": facts.at.isoformat(),
        }
        rules = [
            {
                "route": rule.route,
                "matched": rule.matched,
                "reason": rule.reason,
                "criteria": [
                    {"criterion": criterion.criterion, "matched": criterion.matched, "reason": criterion.reason}
                    for criterion in rule.criteria
                ],
            }
            for rule in decision.trace
        ]
        actions = [action.document() for action in self.actions]
        document = {"dialplan": self.plan.name, "file": str(self.plan.file), "call": call, "route": decision.route}
        return json.dumps({**document, "actions": actions, "rules": rules})


def route_report(plan: Dialplan, facts: CallFacts) -> RouteReport:
    """What `plan` does with the call, shown at the wall-clock time of its zone."""
    facts = replace(facts, at=facts.at.astimezone(plan.zone))
    decision = plan.decide(facts)
    actions = tuple(_report(plan, action, facts) for action in decision.actions)
    return RouteReport(plan=plan, facts=facts, decision=decision, actions=actions)


def _report(plan: Dialplan, action: Action, facts: CallFacts) -> ActionReport:
    match action:
        case SessionAction():
            record = plan.sessions[action.name].record
            return ActionReport(action="session", argument=action.name, record=record.consent.value if record else "")
        case PlayAction():
            return ActionReport(action="play", argument=str(action.file))
        case RejectAction():
            return ActionReport(action="reject", argument=action.status, reason=action.reason)
        case HangUpAction():
            return ActionReport(action="hang_up", argument=True)
        case RecordingAction():
            return ActionReport(action="recording", argument=action.change.value)
        case AnswersAction():
            return ActionReport(action="answers", argument=action.length.value)
        case TransferAction():
            resolved = plan.resolve_transfer(action.contact, facts.at)
            if isinstance(resolved, TransferRefused):
                return ActionReport(action="transfer", argument=action.contact, refused=resolved.message)
            dials = tuple(str(target) for target in resolved.targets)
            return ActionReport(action="transfer", argument=action.contact, contact=resolved.contact, dials=dials)
        case _:
            return ActionReport(action=WORDS[type(action)], argument=True)


# The plan's own tests ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """How one example call went. No failures: as expected."""

    __test__: ClassVar[bool] = False  # its name means the plan's tests, not pytest's

    example: ExampleCall
    failures: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether everything expected came to pass."""
        return not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """How all example calls of a plan went."""

    __test__: ClassVar[bool] = False

    plan: Dialplan
    results: tuple[TestResult, ...]

    @property
    def is_passed(self) -> bool:
        """Whether all passed; a plan without tests passes."""
        return all(result.is_passed for result in self.results)

    def text(self) -> str:
        """A line for each case, with its place in the file and what was wrong."""
        return "\n".join(self._line(result) for result in self.results) or f"{self.plan.file}: no tests"

    def json(self) -> str:
        """One JSON document."""
        cases = [
            {
                "name": result.example.name,
                "line": result.example.line,
                "passed": result.is_passed,
                "failures": list(result.failures),
            }
            for result in self.results
        ]
        document = {"dialplan": self.plan.name, "file": str(self.plan.file), "passed": self.is_passed, "cases": cases}
        return json.dumps(document)

    def _line(self, result: TestResult) -> str:
        verdict = "pass" if result.is_passed else "FAIL"
        failures = ": " + "; ".join(result.failures) if result.failures else ""
        return f"{verdict}  {self.plan.file}:{result.example.line}  {shown(result.example.name)}{failures}"


def run_tests(plan: Dialplan) -> TestReport:
    """Decide each of the plan's ``tests``, let its events happen, and compare with what it expects."""
    return TestReport(plan=plan, results=tuple(_run(plan, example) for example in plan.examples))


def _run(plan: Dialplan, example: ExampleCall) -> TestResult:
    decision = plan.decide(example.facts)
    actions: Sequence[Action] = decision.actions
    failures = []
    is_talking = False
    for event in example.events:
        is_talking = _is_session_on(actions, is_talking=is_talking)
        if not is_talking:
            failures.append(f"{_event_text(event)} happens outside a session, where nothing reacts")
            break
        if escalation := plan.react(event):
            actions = escalation.actions
    failures += _differences(plan, example, decision.route, actions)
    return TestResult(example=example, failures=tuple(failures))


def _is_session_on(actions: Sequence[Action], *, is_talking: bool) -> bool:
    """Whether a session runs once `actions` are done; those that change its recording or answers leave it on."""
    if any(isinstance(action, SessionAction) for action in actions):
        return True
    return is_talking and all(isinstance(action, RecordingAction | AnswersAction) for action in actions)


def _differences(plan: Dialplan, example: ExampleCall, route: str, actions: Sequence[Action]) -> list[str]:
    expected = example.expected
    wanted = [
        ("session", expected.session),
        ("transfer", expected.transfer),
        ("reject", expected.reject),
        ("play", expected.play),
        ("hang_up", expected.hang_up),
        ("recording", expected.recording.value if expected.recording else None),
        ("answers", expected.answers.value if expected.answers else None),
    ]
    outcomes = {_outcome(plan, action, example.facts) for action in actions}
    came = "; ".join(_report(plan, action, example.facts).text() for action in actions)
    differences = [
        f"expected {word}{'' if value is True else f' {value}'}, but it is: {came}"
        for word, value in wanted
        if value is not None and (word, value) not in outcomes
    ]
    if expected.route is not None and expected.route != route:
        differences.insert(0, f"expected route {expected.route}, but it is {route}")
    return differences


def _outcome(plan: Dialplan, action: Action, facts: CallFacts) -> tuple[str, str | int | Path | None]:
    """What an action comes to, in the words of ``expect``; a transfer comes to whoever is called in the end."""
    match action:
        case SessionAction():
            return "session", action.name
        case TransferAction():
            resolved = plan.resolve_transfer(action.contact, facts.at)
            return "transfer", resolved.contact if isinstance(resolved, TransferGranted) else None
        case RejectAction():
            return "reject", action.status
        case PlayAction():
            return "play", action.file
        case HangUpAction():
            return "hang_up", True
        case RecordingAction():
            return "recording", action.change.value
        case AnswersAction():
            return "answers", action.length.value
        case _:
            return WORDS[type(action)], None


def _event_text(event: Trigger) -> str:
    match event:
        case DigitPressed():
            return f"dtmf {event.digit}"
        case BudgetUsed():
            return f"budget {event.share * 100:g}%"
        case CostOver():
            return f"cost_over {event.usd}"
        case _:
            return "provider_down"
