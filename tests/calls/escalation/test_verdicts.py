"""The web service that judges turns: what it is told, one turn at a time, and what its failures cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from gateway.calls.escalation.events import AskVerdict
from gateway.calls.escalation.facts import VerdictReached
from gateway.calls.escalation.verdicts import VerdictDesk
from gateway.calls.record import CallRecord
from gateway.calls.tools.http_tool import HttpClients
from gateway.dialplan.model import CallFacts
from gateway.dialplan.request_template import parse_json_template, parse_url_template
from gateway.dialplan.tools import HttpRequest
from tests.support.aio import eventually
from tests.support.http_server import RESET, HttpServer, answer

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIRE = VerdictReached(escalation="judge")


class Scene:
    """A desk with its service."""

    def __init__(self, server: HttpServer, tasks: asyncio.TaskGroup, clients: HttpClients) -> None:
        self.server = server
        self.told: list[VerdictReached] = []
        self.record = CallRecord(
            call_id="c1", trunk="pbx", caller="4930", called="7000", route="r", started_at=NOW, offered_s=0
        )
        self.desk = VerdictDesk(
            clients,
            CallFacts(to="7000", from_="4930", at=NOW),
            self.record,
            spawn=lambda work, name: tasks.create_task(work, name=name),
            tell=self.told.append,
        )
        self.request = HttpRequest(method="POST", url=parse_url_template(f"{server.url}/turns"), timeout_s=5)

    def say(self, turn: int, text: str = "Hello", escalation: str = "judge", **request: object) -> None:
        asked = replace(self.request, **request)  # type: ignore[arg-type]
        self.desk.ask(AskVerdict(escalation=escalation, request=asked, turn=turn, text=text, values={"name": "Ann"}))

    @property
    def turns(self) -> list[object]:
        return [asked.json()["turn"] for asked in self.server.asked]  # type: ignore[index]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clients = HttpClients()
    await clients.client(None)  # reads the system's certificates, which takes its time
    async with HttpServer() as server, asyncio.TaskGroup() as tasks:
        scene = Scene(server, tasks, clients)
        yield scene
        scene.desk.leave()
    await clients.close()


async def test_the_service_is_told_the_turn_and_who_is_on_the_line(scene: Scene) -> None:
    scene.server.answers = [answer({"escalate": True})]
    scene.say(3, "I am furious")
    await eventually(lambda: scene.told)
    assert scene.told == [FIRE]
    assert scene.server.asked[0].json() == {"call": "c1", "turn": 3, "text": "I am furious", "vars": {"name": "Ann"}}
    assert scene.record.failed_verdicts == 0


async def test_the_plan_may_say_what_the_service_is_told(scene: Scene) -> None:
    body = parse_json_template({"who": "{caller.number}", "said": "{text}", "count": "{turn}"})
    scene.say(1, body=body)
    await eventually(lambda: scene.server.asked)
    assert scene.server.asked[0].json() == {"who": "4930", "said": "Hello", "count": 1}


@pytest.mark.parametrize(
    "given", [{"escalate": False}, {}, {"escalate": "true"}, {"escalate": 1}, {"verdict": {"escalate": True}}]
)
async def test_nothing_but_a_plain_yes_sets_anything_off(scene: Scene, given: object) -> None:
    scene.server.answers = [answer(given), answer({"escalate": True})]
    scene.say(1)
    await eventually(lambda: len(scene.server.asked) == 1)
    scene.say(2)
    await eventually(lambda: scene.told)
    assert (scene.turns, len(scene.told), scene.record.failed_verdicts) == ([1, 2], 1, 0)


@pytest.mark.parametrize(
    "given", [RESET, answer({"escalate": True}, status=500), answer(b"{", status=200), answer([True]), answer(None)]
)
async def test_a_failure_is_counted_and_logged_without_what_was_said_and_never_fires(
    scene: Scene, given: bytes | None
) -> None:
    scene.server.answers = [given]
    with capture_logs() as logs:
        scene.say(1, "my secret is 1234", retries=0)
        await eventually(lambda: scene.record.failed_verdicts)
    assert scene.told == []
    assert [(line["event"], line["escalation"]) for line in logs] == [("verdict failed", "judge")]
    assert "1234" not in str(logs)


async def test_while_one_turn_is_judged_the_latest_waits_and_those_between_are_left_out(scene: Scene) -> None:
    scene.server.is_silent = True
    for turn in (1, 2, 3, 4):
        scene.say(turn, timeout_s=0.2)
    await eventually(lambda: scene.turns == [1])
    scene.server.is_silent = False
    scene.request = replace(scene.request, timeout_s=5)
    await eventually(lambda: scene.turns == [1, 4])
    assert scene.record.failed_verdicts == 1  # the first, which took longer than it may
    scene.say(5)
    await eventually(lambda: scene.turns == [1, 4, 5])


async def test_when_the_call_is_over_nobody_is_asked_any_more(scene: Scene) -> None:
    scene.server.is_silent = True
    scene.say(1)
    scene.say(2)
    await eventually(lambda: scene.server.asked)
    scene.desk.leave()
    scene.server.is_silent = False
    scene.say(3)
    scene.say(4, escalation="other")
    await asyncio.sleep(0.1)
    assert (scene.turns, scene.told) == ([1], [])
