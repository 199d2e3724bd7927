"""The variables of one call, and texts of the dialplan with them filled in; pure, part of `Call`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.pattern import normal_caller
from gateway.dialplan.template import MAX_VALUE_CHARACTERS, CallVariable, Template, Variable, spoken

MAX_VALUES = 200
_OF_THE_CALLER = (Variable.CALLER_NUMBER, Variable.CALLER_NAME)


class Variables:
    """What ``set``, ``collect`` and ``hook`` have noted of a call, and what is known of it from the beginning."""

    def __init__(self, plan: Dialplan, facts: CallFacts | None) -> None:
        """`facts` None: nothing is known of who calls whom."""
        self.plan = plan
        self._facts = facts
        given = {} if facts is None else facts.given
        self._values = {name: text[:MAX_VALUE_CHARACTERS] for name, text in {**plan.variables, **given}.items()}
        self.keys = ""
        """What was pressed in menus."""

    @property
    def caller(self) -> str:
        """The number that calls; "" where it is withheld."""
        return "" if self._facts is None or not normal_caller(self._facts.from_) else self._facts.from_

    @property
    def values(self) -> Mapping[str, str]:
        """Those there are, by name."""
        return dict(self._values)

    def set(self, values: Mapping[str, str]) -> None:
        """Note `values`; what is very long is cut, and of very many the rest is lost."""
        for name, text in values.items():
            if name in self._values or len(self._values) < MAX_VALUES:
                self._values[name] = text[:MAX_VALUE_CHARACTERS]

    def text(self, template: Template, at: datetime) -> str:
        """`template` filled in, for machines."""
        return template.render(self._known(at), self.plan.hours_states(at), self._values)

    def told(self, template: Template, at: datetime) -> str:
        """`template` filled in, for a model: what comes from outside is a quotation."""
        facts = self._facts or CallFacts(to="", from_="", at=at)
        return self.plan.told(template, replace(facts, at=at), self._values)

    def spoken(self, template: Template, at: datetime) -> str:
        """`template` filled in, for the ear: the digits of a number one by one, everything on one line."""
        known = {variable: _for_the_ear(text) for variable, text in self._known(at).items()}
        told = {name: _for_the_ear(text) for name, text in self._values.items()}
        return " ".join(template.render(known, self.plan.hours_states(at), told).split())

    def _known(self, at: datetime) -> dict[Variable, str]:
        facts = self._facts
        return {
            Variable.CALLER_NUMBER: "" if facts is None else facts.from_,
            Variable.CALLER_NAME: "" if facts is None else facts.display_name,
            Variable.CALLED_NUMBER: "" if facts is None else facts.to,
            Variable.NOW: f"{at.astimezone(self.plan.zone):%Y-%m-%d %H:%M}",
            Variable.DIALPLAN_NAME: self.plan.name,
            Variable.CONTACTS: ", ".join(self.plan.contacts),
        }


def is_personal(template: Template) -> bool:
    """Whether `template` holds something of one caller."""
    return any(isinstance(part, CallVariable) or part in _OF_THE_CALLER for part in template.parts)


def _for_the_ear(text: str) -> str:
    """`text` as it is said; what a model is asked to say stands in quotation marks, which it must not close."""
    return spoken(text.removeprefix("+")).replace('"', "'")
