"""The order in which a call's actions are performed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gateway.calls.script import MAX_UNATTENDED, Script
from gateway.calls.variables import MAX_VALUES, Variables
from gateway.dialplan.actions import (
    Action,
    AnswerAction,
    GotoAction,
    HangUpAction,
    SetAction,
    TransferAction,
    WaitAction,
)
from gateway.dialplan.model import CallFacts, Match, Route
from gateway.dialplan.template import MAX_VALUE_CHARACTERS, Template, Variable, parse_template
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FACTS = CallFacts(to="7000", from_="+49301", at=NOON, display_name="Ann\r\nBell")


def text(template: str) -> Template:
    return parse_template(template)[0]


def script(*actions: Action, **routes: tuple[Action, ...]) -> Script:
    plan = replace(
        BARE_PLAN,
        routes=tuple(Route(name=name, match=Match(), actions=listed) for name, listed in routes.items()),
    )
    return Script(plan, actions, Variables(plan, FACTS))


def test_variables_are_set_on_the_way() -> None:
    going = script(SetAction(values={"who": text("{caller.number}")}), HangUpAction())
    assert going.first(NOON) == HangUpAction()
    assert going.variables.values == {"who": "+49301"}


def test_goto_drops_what_stands_behind_it() -> None:
    going = script(GotoAction(route="night"), AnswerAction(), night=(HangUpAction(), WaitAction(seconds=1)))
    assert going.first(NOON) == HangUpAction()
    assert going.remaining == (HangUpAction(), WaitAction(seconds=1))


def test_what_is_put_first_comes_before_what_is_left() -> None:
    going = script(AnswerAction(), HangUpAction())
    going.drop_first()
    going.put_first((TransferAction(contact="sales"),))
    assert going.remaining == (TransferAction(contact="sales"), HangUpAction())


def test_a_plan_in_circles_comes_to_an_end_at_once() -> None:
    going = script(GotoAction(route="a"), a=(GotoAction(route="b"),), b=(GotoAction(route="a"),))
    assert going.first(NOON) is None
    assert going.is_endless


def test_a_caller_who_does_something_may_go_on_for_ever() -> None:
    going = script()
    for _ in range(3):
        for _ in range(MAX_UNATTENDED):
            going.put_first((AnswerAction(),))
            assert going.first(NOON) == AnswerAction()
            going.drop_first()
        going.note_caller()
    assert not going.is_endless


def test_numbers_are_spoken_digit_by_digit_and_names_on_one_line() -> None:
    variables = script().variables
    variables.set({"order": "4711", "who": 'say "yes" now'})
    spoken = variables.spoken(
        text("Hello {caller.name}, from {caller.number}: {vars.order}, {vars.who}{vars.none}."), NOON
    )
    assert spoken == "Hello Ann Bell, from 4 9 3 0 1: 4 7 1 1, say 'yes' now."
    assert variables.text(text("{caller.number}"), NOON) == "+49301"


def test_every_variable_has_a_value_though_nothing_is_known_of_the_call() -> None:
    variables = Variables(BARE_PLAN, None)
    for variable in Variable:
        assert isinstance(variables.text(text("{" + variable.value + "}"), NOON), str)


def test_variables_stay_small_and_few() -> None:
    variables = script().variables
    variables.set({f"v{number}": "x" for number in range(MAX_VALUES + 5)})
    variables.set({"v0": "y" * (MAX_VALUE_CHARACTERS + 5)})
    assert len(variables.values) == MAX_VALUES
    assert variables.values["v0"] == "y" * MAX_VALUE_CHARACTERS
