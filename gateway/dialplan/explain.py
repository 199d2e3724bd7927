"""What a plan does with a call and why, as text and as JSON.

    route_report(plan, facts) -> RouteReport      .text()  .json()  .is_routed

It is pure; printing it and turning it into an exit status is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.dialplan.actions import WORDS, Action, RejectAction, SessionAction, TransferAction, is_protected
from gateway.dialplan.model import CallFacts, Decision, Dialplan, TransferRefused
from gateway.dialplan.narration import argument_of
from gateway.dialplan.story import Step, Story
from gateway.errors import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReport:
    """An action as a plan writes it, and what comes of it at the time of the call.

    ``reason`` is the phrase of a rejection. ``dials`` are the targets of a transfer, ``contact`` whose they are;
    ``refused`` says why there are none. ``record`` is how callers of a session come to agree to be recorded; "" where
    they are not. ``is_protected``: the caller hears it to its end.
    """

    action: str
    argument: str | int | bool
    reason: str = ""
    contact: str = ""
    dials: tuple[str, ...] = ()
    refused: str = ""
    record: str = ""
    is_protected: bool = False

    def text(self) -> str:
        """One line."""
        argument = "" if self.argument is True else f" {self.argument}"
        line = f"{self.action}{argument} {self.reason}".rstrip()
        if self.refused:
            return f"{line}: {self.refused}"
        if self.record:
            return f"{line}, recorded (consent: {self.record})"
        if self.is_protected:
            return f"{line}, to its end"
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
        protected = {"protect": True} if self.is_protected else {}
        return {self.action: self.argument, **details.get(self.action, {}), **recorded, **protected}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReport:
    """What a plan does with one call."""

    plan: Dialplan
    facts: CallFacts
    decision: Decision
    actions: tuple[ActionReport, ...]
    story: tuple[Step, ...]
    """What may follow, action by action."""

    @property
    def is_routed(self) -> bool:
        """Whether a route took the call; where not, it is rejected."""
        return self.decision.is_routed

    def text(self) -> str:
        """Lines for a terminal: the chosen route, its actions, every route tried, and all that may follow."""
        facts = self.facts
        caller = facts.from_ or "a withheld number"
        lines = [
            f"call    {shown(facts.to)} from {shown(caller)} at {facts.at.isoformat()}",
            f"route   {self.decision.route}",
            *(f"do      {action.text()}" for action in self.actions),
            *(f"{'match' if rule.matched else 'no':<8}{rule.route}: {rule.reason}" for rule in self.decision.trace),
            "then",
            *(line for step in self.story for line in step.lines(depth=1)),
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
            "diversion": facts.diversion,
            "languages": list(facts.languages),
            "last_seen": facts.last_seen.isoformat() if facts.last_seen else None,
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
        then = [step.document() for step in self.story]
        return json.dumps({**document, "actions": actions, "rules": rules, "then": then})


def route_report(plan: Dialplan, facts: CallFacts) -> RouteReport:
    """What `plan` does with the call, shown at the wall-clock time of its zone."""
    facts = replace(facts, at=facts.at.astimezone(plan.zone))
    decision = plan.decide(facts)
    actions = tuple(action_report(plan, action, facts) for action in decision.actions)
    story = Story(plan, facts, {decision.route}).tell(decision.actions)
    return RouteReport(plan=plan, facts=facts, decision=decision, actions=actions, story=story)


def action_report(plan: Dialplan, action: Action, facts: CallFacts) -> ActionReport:
    """What one action comes to at the time of the call; variables that nobody has set yet are gaps."""
    word = WORDS[type(action)]
    match action:
        case SessionAction():
            record = plan.sessions[action.name].record
            return ActionReport(action=word, argument=action.name, record=record.consent.value if record else "")
        case RejectAction():
            return ActionReport(action=word, argument=action.status, reason=action.reason)
        case TransferAction():
            resolved = plan.resolve_transfer(action.contact, facts.at)
            if isinstance(resolved, TransferRefused):
                return ActionReport(action=word, argument=action.contact, refused=resolved.message)
            dials = tuple(str(target) for target in resolved.targets)
            return ActionReport(action=word, argument=action.contact, contact=resolved.contact, dials=dials)
        case _:
            argument = argument_of(plan, action, facts) or True
            return ActionReport(action=word, argument=argument, is_protected=is_protected(action))
