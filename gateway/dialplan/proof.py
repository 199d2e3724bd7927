"""Whether a plan's own ``tests`` hold: each is gone through as a `Rehearsal`, and compared with what it expects."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gateway.dialplan.actions import (
    Action,
    AnswersAction,
    CallbackAction,
    HangUpAction,
    PlayAction,
    QueueAction,
    RecordingAction,
    RejectAction,
    SayAction,
    SessionAction,
    VoicemailAction,
)
from gateway.dialplan.examples import ExampleCall, Expectation
from gateway.dialplan.explain import action_report
from gateway.dialplan.model import Dialplan
from gateway.dialplan.rehearsal import Rehearsal
from gateway.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """How one example call went. No failures: as expected. ``is_skipped``: its dialogue was not held.

    One that is proved by its dialogue alone has neither passed nor failed (``is_live_only``).
    """

    __test__: ClassVar[bool] = False  # its name means the plan's tests, not pytest's

    example: ExampleCall
    failures: tuple[str, ...]
    is_skipped: bool = False

    @property
    def is_passed(self) -> bool:
        """Whether everything expected came to pass; of one with nothing but a dialogue, nothing was."""
        return not self.failures and not self.is_live_only

    @property
    def is_live_only(self) -> bool:
        """Whether there was nothing to be compared."""
        return self.example.expected is None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """How the example calls of a plan went, or those that were chosen."""

    __test__: ClassVar[bool] = False

    plan: Dialplan
    results: tuple[TestResult, ...]

    @property
    def is_passed(self) -> bool:
        """Whether none failed; a plan without tests passes."""
        return not any(result.failures for result in self.results)

    @property
    def live_only(self) -> int:
        """How many cases are dialogues and nothing else."""
        return sum(result.is_live_only for result in self.results)

    def text(self, *, has_live: bool = True) -> str:
        """A line for each case, with its place in the file and what was wrong. `has_live`: those that are live only."""
        lines = [self._line(result) for result in self.results if has_live or not result.is_live_only]
        return "\n".join(lines) or ("" if self.plan.examples else f"{self.plan.file}: no tests")

    def json(self) -> str:
        """One JSON document."""
        return json.dumps(self.document())

    def document(self) -> dict[str, object]:
        """The same before it is text."""
        cases = [
            {
                "name": result.example.name,
                "line": result.example.line,
                "passed": None if result.is_live_only else result.is_passed,
                "failures": list(result.failures),
                **({"skipped": "dialogue"} if result.is_skipped else {}),
            }
            for result in self.results
        ]
        plan = {"dialplan": self.plan.name, "file": str(self.plan.file)}
        return {**plan, "passed": self.is_passed, "live_only": self.live_only, "cases": cases}

    def _line(self, result: TestResult) -> str:
        verdict = "FAIL" if result.failures else "live" if result.is_live_only else "pass"
        notes = ": " + "; ".join(result.failures) if result.failures else ""
        notes += " (its dialogue is held by --live)" if result.is_skipped else ""
        return f"{verdict}  {self.plan.file}:{result.example.line}  {shown(result.example.name)}{notes}"


def run_tests(plan: Dialplan, only: Collection[str] = ()) -> TestReport:
    """Decide each of the plan's ``tests``, let its events happen, and compare with what it expects.

    `only`: the names of those that are run; all where none is given.
    """
    chosen = [example for example in plan.examples if not only or example.name in only]
    return TestReport(plan=plan, results=tuple(_run(plan, example) for example in chosen))


def _run(plan: Dialplan, example: ExampleCall) -> TestResult:
    if example.expected is None:
        return TestResult(example=example, failures=(), is_skipped=True)
    decision = plan.decide(example.facts)
    rehearsal = Rehearsal(plan, example.facts, decision.actions)
    rehearsal.run(example.events)
    failures = [rehearsal.problem] if rehearsal.problem else []
    failures += _differences(plan, example, example.expected, decision.route, rehearsal)
    return TestResult(example=example, failures=tuple(failures), is_skipped=bool(example.dialogue))


def _differences(
    plan: Dialplan, example: ExampleCall, expected: Expectation, route: str, rehearsal: Rehearsal
) -> list[str]:
    wanted = [
        ("session", expected.session),
        ("transfer", expected.transfer),
        ("reject", expected.reject),
        ("play", expected.play),
        ("say", expected.say),
        ("hang_up", expected.hang_up),
        ("queue", expected.queue),
        ("voicemail", expected.voicemail),
        ("callback", expected.callback),
        ("recording", expected.recording.value if expected.recording else None),
        ("answers", expected.answers.value if expected.answers else None),
    ]
    outcomes = {_outcome(action, rehearsal) for action in rehearsal.done}
    outcomes |= {("transfer", contact) for contact in rehearsal.called}
    came = "; ".join(action_report(plan, action, example.facts).text() for action in rehearsal.done) or "nothing"
    differences = [
        f"expected {word}{'' if value is True else f' {value}'}, but it is: {came}"
        for word, value in wanted
        if value is not None and (word, value) not in outcomes
    ]
    if expected.route is not None and expected.route != route:
        differences.insert(0, f"expected route {expected.route}, but it is {route}")
    for name, text in expected.variables.items():
        if (has := rehearsal.variables.get(name)) != text:
            differences.append(f"expected vars.{name} {text!r}, but it is {'not set' if has is None else repr(has)}")
    return differences


def _outcome(action: Action, rehearsal: Rehearsal) -> tuple[str, str | int | Path | None]:
    """What an action comes to, in the words of ``expect``; a transfer, by whoever is called."""
    match action:
        case SessionAction():
            return "session", action.name
        case QueueAction():
            return "queue", action.contact
        case VoicemailAction() | CallbackAction():
            return "voicemail" if isinstance(action, VoicemailAction) else "callback", action.mailbox
        case RejectAction():
            return "reject", action.status
        case PlayAction():
            return "play", action.file
        case SayAction():
            return "say", rehearsal.text(action.text)
        case HangUpAction():
            return "hang_up", True
        case RecordingAction():
            return "recording", action.change.value
        case AnswersAction():
            return "answers", action.length.value
        case _:
            return "", None
