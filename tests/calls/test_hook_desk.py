"""A web service is asked what to do, in a running call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from gateway.calls.events import Event
from gateway.calls.events.steps import AskHook, HookAnswered, HookFailed
from gateway.calls.hook_desk import HookDesk
from gateway.calls.tools.http_tool import HttpClients
from gateway.dialplan.actions import HangUpAction
from gateway.dialplan.model import CallFacts, Match, Route
from gateway.dialplan.request_template import parse_json_template, parse_url_template
from gateway.dialplan.tools import HttpRequest
from tests.support.bare_plan import BARE_PLAN
from tests.support.http_server import Asked, HttpServer, answer

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = replace(BARE_PLAN, routes=(Route(name="day", match=Match(), actions=()),), settable=frozenset({"name"}))
FACTS = CallFacts(to="7000", from_="+49301", at=NOON, display_name="Ann", trunk="pbx")


@dataclass
class Rig:
    """A desk, the service that it asks, and what the call is told."""

    server: HttpServer
    told: list[Event] = field(default_factory=list)
    desk: Any = None

    def request(self, **changes: Any) -> HttpRequest:
        request = HttpRequest(method="POST", url=parse_url_template(f"{self.server.url}/ask"), is_idempotent=False)
        return replace(request, **changes)

    async def ask(self, request: HttpRequest | None = None, *, keys: str = "") -> list[Event]:
        async with asyncio.TaskGroup() as tasks:
            brief: Any = SimpleNamespace(plan=PLAN, facts=FACTS, route="day", start=SimpleNamespace(call_id="c1"))
            clients = HttpClients()
            self.desk = HookDesk(brief, clients, lambda: tasks, self.told.append)
            self.desk.ask(AskHook(request=request or self.request(), values={"pin": "12"}, keys=keys))
        await clients.close()
        return self.told


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with HttpServer() as server:
        yield Rig(server)


async def test_the_service_is_told_of_the_call_and_says_what_to_do(rig: Rig) -> None:
    rig.server.answers = [answer({"do": [{"hang_up": True}], "set": {"name": "Ann"}})]
    assert await rig.ask(keys="1") == [HookAnswered(actions=(HangUpAction(),), values={"name": "Ann"})]
    (asked,) = rig.server.asked
    assert asked.json() == {
        "call": {"id": "c1", "trunk": "pbx", "route": "day"},
        "caller": {"number": "+49301", "name": "Ann"},
        "called": {"number": "7000"},
        "vars": {"pin": "12"},
        "keys": "1",
    }


async def test_the_plan_may_say_what_is_sent(rig: Rig) -> None:
    body = parse_json_template({"who": "{caller.number}", "pin": "{vars.pin}", "none": "{vars.none}"})
    await rig.ask(rig.request(body=body))
    assert rig.server.asked[0].json() == {"who": "+49301", "pin": "12"}


async def test_a_get_has_no_body_and_its_address_is_filled_in(rig: Rig) -> None:
    url = parse_url_template(f"{rig.server.url}/pins/{{vars.pin}}?by={{caller.number}}")
    await rig.ask(rig.request(method="GET", url=url))
    (asked,) = rig.server.asked
    assert (asked.target, asked.body) == ("/pins/12?by=%2B49301", b"")


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([answer({"do": [{"transfer": "boss"}]})], "there is no contact 'boss'"),
        ([answer(b"yes", kind="text/plain")], 'the answer is not {"do": [...], "set": {...}}'),
        ([answer({}, status=404)], "the service answered 404 Not Found"),
        ([answer(b"<x/>", kind="text/xml")], "the answer is neither JSON nor plain text"),
    ],
)
async def test_what_cannot_be_followed_fails_and_the_log_says_why(rig: Rig, answers: list[Any], why: str) -> None:
    rig.server.answers = answers
    with structlog.testing.capture_logs() as logs:
        assert await rig.ask() == [HookFailed()]
    (line,) = [line for line in logs if line["event"] == "hook failed"]
    assert why in line["reason"]
    assert rig.server.url not in str(logs)


async def test_a_service_that_is_silent_fails_in_time(rig: Rig) -> None:
    rig.server.is_silent = True
    assert await rig.ask(rig.request(timeout_s=0.05)) == [HookFailed()]


async def test_nobody_hears_of_an_answer_that_was_given_up(rig: Rig) -> None:
    def give_up(_asked: Asked) -> bytes:
        rig.desk.drop()
        return answer({})

    rig.server.answers = [give_up]
    assert await rig.ask() == []


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"do": ' * 30_000, b'{"do": [' + b'{"menu": {"1": [' * 10_000])
async def test_an_answer_that_is_endlessly_deep_fails(rig: Rig, body: bytes) -> None:
    rig.server.answers = [answer(body)]
    assert await rig.ask() == [HookFailed()]


async def test_a_fault_while_the_answer_is_read_does_not_end_the_call(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_plan: object, _value: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.calls.hook_desk.read_hook_answer", break_down)
    rig.server.answers = [answer({})]
    assert await rig.ask() == [HookFailed()]
