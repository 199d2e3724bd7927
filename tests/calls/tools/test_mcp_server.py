"""Tools of other processes, by the official SDK on both sides."""

from __future__ import annotations

import asyncio
import io
import logging
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.calls.tools import mcp_process, mcp_server
from gateway.calls.tools.mcp_server import NOT_THERE, McpServer
from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.cli.logs import configure_logs
from gateway.dialplan.tools import McpPlan

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "tests" / "support" / "mcp_servers.py"


@asynccontextmanager
async def kept(plan: McpPlan) -> AsyncIterator[McpServer]:
    """The server of `plan` while it runs."""
    server = McpServer(plan, first_pause_s=0.01, refresh_s=0.05)
    running = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(60):
            await server.wait_until_listed()
        yield server
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def stdio(starts: Path, **changes: Any) -> McpPlan:
    command = (sys.executable, str(SCRIPT), str(starts))
    return replace(McpPlan(name="desk", command=command, folder=REPOSITORY, timeout_s=10), **changes)


async def call(server: McpServer, tool: str, **arguments: object) -> Outcome:
    return await server.call(server.tools[tool], arguments)


async def until(is_met: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_met():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)


async def test_tools_of_a_command_are_listed_and_called_and_it_is_started_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with structlog.testing.capture_logs() as logs:
        async with kept(stdio(starts, environment=(("DESK_KEY", "k1"),))) as server:
            assert set(server.tools) == {
                f"desk_{name}"
                for name in ("add", "say_hello", "fail", "wait", "die", "leave", "environment", "grow", "bell___2J")
            }
            assert server.tools["desk_bell___2J"].definition.description == "Rings [2J \nthe bell"
            assert await call(server, "desk_bell___2J") == Result("rung")
            add = server.tools["desk_add"]
            assert add.definition.description == "Adds two numbers"
            assert add.arguments.problem({"a": 1}) == "'b' is a required property"
            assert await call(server, "desk_add", a=1, b=2) == Result(3)
            assert await call(server, "desk_environment", name="DESK_KEY") == Result("k1")
            await call(server, "desk_grow")
            await until(lambda: "desk_grown" in server.tools)
            assert await call(server, "desk_grown") == Result("new")
            failed = await call(server, "desk_fail")
            assert isinstance(failed, Failure)
            assert "no such order" in failed.reason
            server._refresh_s = 600  # nobody asks it anything now
            assert await call(server, "desk_leave") == Result("bye")
            await until(lambda: starts.read_text() == "xx" and server.is_there)
            assert await call(server, "desk_say_hello", name="Bob") == Result("Hello Bob")
            assert await call(server, "desk_die") == Failure("the service could not do it")
    lost = [line for line in logs if line["event"] == "mcp server lost"]
    assert lost[0]["server"] == "desk"
    assert server.is_there is False


async def test_server_that_cannot_be_started_answers_with_an_error_and_is_tried_again() -> None:
    server = McpServer(McpPlan(name="desk", command=("/nonexistent/program",)), first_pause_s=0.01)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(server.run())
        await until(lambda: len(logs) >= 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [line["retry_in_s"] for line in logs[:3]] == [0.01, 0.02, 0.04]
    assert {line["reason"] for line in logs} == {"FileNotFoundError"}
    assert server.tools == {}


async def test_streamable_http_with_allowed_tools_and_a_deadline() -> None:
    pytest.importorskip("uvicorn")
    from tests.support.mcp_servers import http_desk

    heard: list[str] = []
    async with http_desk(heard) as url:
        plan = McpPlan(name="erp", url=url, tools=("add", "wait"), timeout_s=0.3, headers=(("X-Key", "secret"),))
        async with kept(plan) as server:
            assert set(server.tools) == {"erp_add", "erp_wait"}
            adding = replace(server.plan, timeout_s=10)
            server.plan = adding
            assert await call(server, "erp_add", a=1, b=2) == Result(3)
            server.plan = plan
            assert await call(server, "erp_wait") == Failure("the service did not answer within 0.3 s")
    assert heard == ["add"]
    assert await server.call(next(iter(server.tools.values())), {}) == Failure(NOT_THERE)


def bad(mode: str) -> McpPlan:
    command = (sys.executable, "-S", str(SCRIPT.with_name("hostile_mcp_server.py")), mode)
    return McpPlan(name="desk", command=command, folder=REPOSITORY, timeout_s=10)


async def test_of_ten_thousand_tools_as_many_are_taken_as_a_model_can_have() -> None:
    async with kept(bad("many")) as server:
        assert len(server.tools) == 128


async def test_list_without_end_is_not_followed() -> None:
    async with kept(bad("pages")) as server:
        assert server.tools == {}


async def test_rubbish_on_stdout_is_passed_over_and_told_to_no_log() -> None:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, before = root.handlers[:], root.level
    try:
        configure_logs("info", stream)
        async with kept(bad("rubbish")) as server:
            assert await call(server, "desk_slow", a="b") == Result({"a": "a" * 60 + "!"})
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
        structlog.reset_defaults()
    assert "mcp server ready" in stream.getvalue()
    assert "caller said" not in stream.getvalue()


async def test_no_schema_of_a_server_takes_long_and_none_is_long() -> None:
    with structlog.testing.capture_logs() as logs:
        async with kept(bad("slow")) as server:
            assert set(server.tools) == {"desk_slow"}
            assert server.tools["desk_slow"].arguments.problem({"a": "a" * 60 + "!"}) == ""
            assert await call(server, "desk_slow") == Result({"a": "a" * 60 + "!"})
            first = server.tools
            await until(lambda: server.tools is not first)  # it has been listed again
            assert server.tools["desk_slow"].arguments is first["desk_slow"].arguments
            assert server._told
    left_out = [line for line in logs if line["event"] == "mcp tool left out"]
    assert [(line["tool"], line["reason"]) for line in left_out] == [
        ("large", "its schema has more than 16384 characters")
    ]


def children() -> set[str]:
    """Processes of this one's."""
    return {
        child for thread in Path("/proc/self/task").iterdir() for child in (thread / "children").read_text().split()
    }


def is_gone(process: Path) -> bool:
    """Whether nothing runs there any more; whoever has inherited it may not have looked yet."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("mode", ["mute", "half mute"])
async def test_server_that_does_not_answer_is_ended_and_started_again(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(mcp_server, "CONNECT_LIMIT_S", 0.6)
    before = children()
    server = McpServer(bad(mode), first_pause_s=0.01)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(server.run())
        await until(lambda: len(logs) >= 2)
        assert {line["reason"] for line in logs} == {"TimeoutError"}
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert children() <= before


@pytest.mark.parametrize("mode", ["endless", "flood"])
async def test_server_that_says_too_much_is_ended_before_memory_and_time_are(mode: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with kept(bad(mode)) as server:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert isinstance(await call(server, "desk_slow"), Failure)
            await until(lambda: any(line["event"] == "mcp server lost" for line in logs))
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
    assert "mcp server says too much" in [line["event"] for line in logs]


async def test_nothing_is_left_of_what_a_server_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_process, "GRACE_S", 0.1)
    async with kept(bad("parent")) as server:
        started = await call(server, "desk_slow")
        assert isinstance(started, Result)
        process = Path(f"/proc/{started.value}")
        await until(lambda: "sleep" in (process / "cmdline").read_text())
    await until(lambda: is_gone(process))


async def test_server_that_does_not_want_to_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_process, "GRACE_S", 0.1)
    before = children()
    async with kept(bad("deaf")):
        assert children() > before
    assert children() <= before
