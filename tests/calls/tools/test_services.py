"""What the tools of all calls share, and the tools of MCP servers within a call."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog

from gateway.calls.tools import services
from gateway.calls.tools.mcp_server import McpTool
from gateway.calls.tools.outcome import Outcome, Result
from gateway.calls.tools.services import ToolServices
from gateway.dialplan.arguments import Checker
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan
from gateway.dialplan.tools import McpPlan, ToolDefinition
from tests.calls.test_task import ObedientPbx, talking
from tests.support.call_house import CallHouse, play_out

PLAN = """
version: 1
name: shop
timezone: UTC
tools:
  pin: {description: Checks the PIN, verify: {codes: ["1234"]}}
mcp:
  crm: {command: crm, tools: [find]}
  far: {url: "https://mcp.example/", after: verified}
sessions:
  reception: {use: default, tools: [pin, crm_find, far]}
routes: [{name: talk, do: [{session: reception}]}]
"""
SCHEMA: Mapping[str, object] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class CardboardServer:
    """Stands for a server that is there at once, with two tools."""

    made: list[CardboardServer]

    def __init__(self, plan: McpPlan) -> None:
        self.plan = plan
        self.is_running = False
        self.called: list[tuple[str, Mapping[str, object]]] = []
        self.tools = {
            f"{plan.name}_{name}": McpTool(
                name=name,
                definition=ToolDefinition(name=f"{plan.name}_{name}", description=name, parameters=SCHEMA),
                arguments=Checker(SCHEMA),
            )
            for name in ("find", "drop")
        }
        self.made.append(self)

    async def run(self) -> None:
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_running = False

    async def call(self, tool: McpTool, arguments: Mapping[str, object]) -> Outcome:
        self.called.append((tool.name, arguments))
        return Result(f"{self.plan.name} {tool.name}")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[CardboardServer]:
    CardboardServer.made = []
    monkeypatch.setattr(services, "McpServer", CardboardServer)
    return CardboardServer.made


def plan_of(folder: Path, text: str = PLAN) -> Dialplan:
    (folder / "plan.yaml").write_text(text)
    return load_dialplan(folder / "plan.yaml", {})


async def test_servers_are_shared_kept_over_a_reload_and_ended_when_no_plan_has_them(
    tmp_path: Path, made: list[CardboardServer]
) -> None:
    shared = ToolServices()
    shared.use([plan_of(tmp_path), plan_of(tmp_path, PLAN.replace("name: shop", "name: other"))])
    await asyncio.sleep(0)
    crm, far = sorted(made, key=lambda server: server.plan.name)
    assert (crm.is_running, far.is_running) == (True, True)
    shared.use([plan_of(tmp_path, PLAN.replace("https://mcp.example/", "https://new.example/"))])
    await asyncio.sleep(0)
    assert [server.plan.url for server in made[2:]] == ["https://new.example/"]
    assert (crm.is_running, far.is_running) == (True, False)
    assert (shared.server(crm.plan), shared.server(far.plan)) == (crm, None)
    await shared.close()
    assert [server.is_running for server in made] == [False] * 3


async def test_server_that_a_reload_has_ended_is_waited_for(
    tmp_path: Path, made: list[CardboardServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = asyncio.Event()
    ended: list[str] = []

    async def run(server: CardboardServer) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()  # a process that takes its time
            ended.append(server.plan.name)

    monkeypatch.setattr(CardboardServer, "run", run)
    shared = ToolServices()
    shared.use([plan_of(tmp_path)])
    await asyncio.sleep(0)
    shared.use([])
    closing = asyncio.create_task(shared.close())
    await asyncio.sleep(0)
    assert (closing.done(), ended) == (False, [])
    may_end.set()
    await closing
    assert sorted(ended) == ["crm", "far"]


async def test_without_the_sdk_the_log_says_what_to_install(
    tmp_path: Path, made: list[CardboardServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    shared = ToolServices()
    with structlog.testing.capture_logs() as logs:
        shared.use([plan_of(tmp_path)])
    assert [(line["servers"], line["remedy"]) for line in logs] == [
        (["crm", "far"], "pip install '.[mcp]' in the gateway's source folder")
    ]
    assert made == []
    await shared.close()


def test_tools_of_servers_are_offered_and_called_as_the_plan_says(tmp_path: Path, made: list[CardboardServer]) -> None:
    plan = plan_of(tmp_path)
    house = CallHouse(plan, ObedientPbx())

    async def script() -> None:
        house.services.tools.use([plan])
        call, _ = await talking(house)
        model = house.sessions[0]
        crm, far = sorted(made, key=lambda server: server.plan.name)
        assert [tool.name for tool in model.options.tools] == ["pin", "crm_find"]
        found, wrong = model.ask("crm_find", name="Bob"), model.ask("crm_find")
        dropped, early = model.ask("crm_drop", name="Bob"), model.ask("far_find", name="Bob")
        await house.live(0.1)
        assert model.results[found] == {"result": "crm find"}
        assert model.results[wrong] == {"error": "wrong arguments: 'name' is a required property"}
        assert model.results[dropped]["status"] == "refused"
        assert model.results[early] == {"error": "not before the caller is verified"}
        model.ask("pin", code="1234")
        await house.live(0.1)
        assert [tool.name for tool in model.changes[0].tools or ()] == ["pin", "crm_find", "far_find", "far_drop"]
        late = model.ask("far_drop", name="x")
        await house.live(0.1)
        assert model.results[late] == {"result": "far drop"}
        assert (crm.called, far.called) == ([("find", {"name": "Bob"})], [("drop", {"name": "x"})])
        call.hang_up()
        await house.live(40, step_s=1)
        await house.services.tools.close()
        house.assert_nothing_is_left()

    play_out(house, script)
