"""A web service that says what is to be done, as far as the call itself goes."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.calls.events import PlayoutEnded
from gateway.calls.events.steps import AskHook, DropHook, HookAnswered, HookFailed
from gateway.calls.steps.hook import Hook
from gateway.calls.variables import Variables
from gateway.dialplan.actions import HangUpAction, HookAction, TransferAction
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.tools import HttpRequest
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
REQUEST = HttpRequest(method="POST", url=parse_url_template("https://hook.example/"))


def hook(variables: Variables) -> Hook:
    return Hook(HookAction(request=REQUEST, failed=(HangUpAction(),)), variables)


def test_it_is_asked_with_what_is_known_and_its_answer_comes_first() -> None:
    variables = Variables(BARE_PLAN, None)
    variables.set({"pin": "12"})
    variables.keys = "3"
    step = hook(variables)
    assert not step.needs_answer
    assert step.begin(NOON) == [AskHook(request=REQUEST, values={"pin": "12"}, keys="3")]
    assert step.on(PlayoutEnded(), NOON) == []
    assert step.follows is None
    sales = TransferAction(contact="sales")
    step.on(HookAnswered(actions=(sales,), values={"name": "Ann"}), NOON)
    assert step.follows == (sales,)
    assert variables.values == {"pin": "12", "name": "Ann"}


def test_what_cannot_be_followed_has_actions_of_its_own() -> None:
    step = hook(Variables(BARE_PLAN, None))
    step.begin(NOON)
    step.on(HookFailed(), NOON)
    assert step.follows == (HangUpAction(),)


def test_who_leaves_wants_no_answer() -> None:
    assert hook(Variables(BARE_PLAN, None)).leave() == [DropHook()]
