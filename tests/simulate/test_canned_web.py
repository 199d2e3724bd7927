"""Web services of a test: each request of a plan comes here, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls.tools.http_tool import HttpClients, run_request
from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.dialplan.actions import HookAction, MenuAction
from gateway.dialplan.dialogue import WebAnswer
from gateway.dialplan.model import Dialplan
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.tools import HttpRequest
from gateway.dialplan.triggers import Escalation, VerdictGiven
from gateway.simulate.canned_web import CannedWeb
from tests.support.plans import TOOLS_PLAN, load_plan

FACTS = {"caller.number": "+49301", "caller.name": "", "called.number": "7000", "call.id": "x"}
FAR = HttpRequest(method="POST", url=parse_url_template("https://far.example/hook"), retries=2)


@pytest.fixture
async def clients() -> AsyncIterator[HttpClients]:
    clients = HttpClients()
    yield clients
    await clients.close()


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return load_plan(tmp_path, TOOLS_PLAN)


async def ask(clients: HttpClients, plan: Dialplan, tool: str, **arguments: object) -> Outcome:
    request = plan.tool_plans[tool].run
    assert isinstance(request, HttpRequest)
    return await run_request(clients, request, arguments, FACTS)


async def test_a_tool_gets_what_the_test_says_through_its_own_request(clients: HttpClients, plan: Dialplan) -> None:
    answer = WebAnswer(content={"order": ["shipped"]})
    async with CannedWeb({"lookup": answer}, []) as web:
        assert await ask(clients, web.divert(plan), "lookup", number="42", deep=True) == Result("shipped")
        assert [(asked.method, asked.target) for asked in web.asked] == [("GET", "/tools/lookup?deep=true")]


async def test_an_answer_that_the_plan_cannot_use_is_a_failure(clients: HttpClients, plan: Dialplan) -> None:
    async with CannedWeb({"lookup": WebAnswer(content={"other": 1})}, []) as web:
        assert isinstance(await ask(clients, web.divert(plan), "lookup", number="42"), Failure)


@pytest.mark.parametrize("tools", [{}, {"lookup": WebAnswer(is_failure=True)}])
async def test_what_the_test_does_not_answer_fails(
    clients: HttpClients, plan: Dialplan, tools: dict[str, WebAnswer]
) -> None:
    async with CannedWeb(tools, []) as web:
        assert await ask(clients, web.divert(plan), "lookup", number="42") == Failure(
            "the service answered 503 Service Unavailable"
        )
        assert len(web.asked) == 1


async def test_hooks_are_answered_in_turn_wherever_they_stand(clients: HttpClients, plan: Dialplan) -> None:
    hook = HookAction(request=FAR)
    menu = MenuAction(prompt=None, choices={"1": (hook,)}, words={})
    plan = replace(plan, routes=(replace(plan.routes[0], actions=(menu,)),))
    async with CannedWeb({}, [WebAnswer(content={"do": []}), WebAnswer(content={"set": {}})]) as web:
        diverted = web.divert(plan)
        action = diverted.routes[0].actions[0]
        assert isinstance(action, MenuAction)
        inner = action.choices["1"][0]
        assert isinstance(inner, HookAction)
        came = [await run_request(clients, inner.request, {}, FACTS) for _ in range(3)]
        assert came == [Result({"do": []}), Result({"set": {}}), Result({"set": {}})]
        assert web.asked[0].target == "/hooks"


async def test_no_request_of_a_plan_leads_anywhere_else(plan: Dialplan) -> None:
    escalation = Escalation(name="judge", trigger=VerdictGiven(FAR), actions=())
    plan = replace(plan, escalations=(escalation,))
    async with CannedWeb({}, []) as web:
        diverted = web.divert(plan)
        assert "erp.example" not in shown_whole(diverted)
        assert "far.example" not in shown_whole(diverted)
        assert "far.example" in shown_whole(plan)
        assert diverted.sessions is plan.sessions or diverted.sessions == plan.sessions


def shown_whole(plan: Dialplan) -> str:
    """Every URL of a plan: they are left out of its repr."""
    requests = [tool.run for tool in plan.tool_plans.values()]
    requests += [one.trigger.request for one in plan.escalations if isinstance(one.trigger, VerdictGiven)]
    return " ".join(request.url.origin for request in requests if isinstance(request, HttpRequest))
