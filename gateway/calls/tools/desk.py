"""Runs the tools of one call beside it: each call once, within its deadline, and its result as data.

::

    RunTool ─> offered? ─> mark? ─> schema ─> task ──────────────> {"result": …} ─> session
                 └─────────┴──────────┴──────────────────────────> {"error": …}  ─> session, ToolFailed ─> Call
                                               └ longer than filler.after_s, and nobody speaks: the filler, once a reply

What the model has cancelled, and what comes when the session or the call is gone, is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from gateway.calls.escalation.events import FactNoticed
from gateway.calls.escalation.facts import LanguageChanged, SentimentShown
from gateway.calls.events import Event, RunTool, ToolFailed
from gateway.calls.record import CallRecord
from gateway.calls.tools.builtin import BuiltInTools, Changeable
from gateway.calls.tools.http_tool import run_request
from gateway.calls.tools.outcome import Failure, Outcome, Result, limited, output_of
from gateway.calls.tools.services import ToolServices
from gateway.calls.tools.verify import CodeTries
from gateway.dialplan.arguments import Checker
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.tools import CodeCheck, Filler, McpPlan, SessionTool, ToolDefinition, ToolPlan
from gateway.realtime.session import SessionChange, Tool

MAX_RUNNING = 8
MAX_ASKED = 300
"""In one call. A model that asks for a tool because of its last result would never end, and would cost."""
LOOK_AGAIN_S = 0.2
"""How long a filler waits for whoever is speaking, before it looks again."""

_log = structlog.stdlib.get_logger("gateway.calls")


class Attended(Changeable, Protocol):
    """The session that asks for tools."""

    def reply_to_tool(self, call_id: str, output: Mapping[str, object], *, respond: bool) -> None:
        """Give it a result."""
        ...

    def say(self, text: str) -> None:
        """Let it speak these words."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskLinks:
    """What the desk needs of its call. `spawn` makes a task that the call waits for."""

    spawn: Callable[[Coroutine[object, object, None], str], asyncio.Task[None]]
    dispatch: Callable[[Event], None]
    press: Callable[[str, int], bool]
    is_silent: Callable[[], bool]
    """Nothing is being said to the caller."""
    may_speak: Callable[[], bool]
    """Caller and model talk."""
    clock: Callable[[], float]
    leave: Callable[[str, str, str], None] = lambda mailbox, text, callback: None
    """Leave a message in a mailbox: its text, and a number to call back or ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a name stands for now."""

    arguments: Checker
    run: Callable[[Mapping[str, object]], Awaitable[Outcome]]
    filler: Filler | None = None
    after: str | None = None
    grants: str | None = None


@dataclass(slots=True)
class _Running:
    """A tool call under way."""

    name: str
    response_id: str
    may_grant: bool = True
    """Whoever asked for it is still on the line."""
    filler: asyncio.TimerHandle | None = field(default=None)
    task: asyncio.Task[None] | None = field(default=None)


def tool_facts(facts: CallFacts, call_id: str) -> Mapping[str, str]:
    """What a request to a web service may hold of a call (`gateway.dialplan.request_template.FACTS`)."""
    return {
        "caller.number": facts.from_,
        "caller.name": facts.display_name,
        "called.number": facts.to,
        "call.id": call_id,
    }


class ToolDesk:
    """The tools of one call."""

    def __init__(
        self, services: ToolServices, plan: Dialplan, facts: CallFacts, record: CallRecord, links: DeskLinks
    ) -> None:
        self._services = services
        self._plan = plan
        self._record = record
        self._links = links
        self._facts = tool_facts(facts, record.call_id)
        self._built_in = BuiltInTools(record, links.press, links.clock)
        self._tries = CodeTries()
        self._marks: set[str] = set()
        self._session_name = ""
        self._session: Attended | None = None
        self._running: dict[str, _Running] = {}
        self._asked = 0
        self._filled: str | None = None  # the reply in whose calls' stead the filler was said
        self._log = _log.bind(call_id=record.call_id)

    # The session.

    def attend(self, name: str, session: Attended, instructions: str) -> None:
        """Work for this session of the plan from now on; what another one waited for is dropped."""
        self.leave()
        self._session_name, self._session = name, session
        self._built_in.instructions = instructions

    def leave(self) -> None:
        """Drop everything under way; safe to repeat."""
        self._session = None
        for call_id in list(self._running):
            self.cancel(call_id)

    def forget_caller(self, at: datetime) -> None:
        """Somebody else is on the line, `at` (aware): they have none of the marks, and tools under way grant none."""
        for running in self._running.values():
            running.may_grant = False
        if self._marks:
            self._marks.clear()
            self._log.info("caller's marks forgotten")
            self._offer_again(at)

    def offered(self, session: str, at: datetime) -> tuple[Tool, ...]:
        """The tools that the session of this name has at `at` (aware)."""
        definitions = [*self._plan.tools(session, at, self._marks), *self._mcp_definitions(session)]
        return tuple(
            Tool(name=tool.name, description=tool.description, parameters=tool.parameters) for tool in definitions
        )

    def _mcp_definitions(self, session: str) -> list[ToolDefinition]:
        listed = self._plan.sessions[session].tools
        found: list[ToolDefinition] = []
        for plan in self._plan.mcp.values():
            server = self._services.server(plan)
            if server is not None and self._has(plan.after):
                tools = server.tools.items()
                found += [tool.definition for name, tool in tools if plan.name in listed or name in listed]
        return found

    def _has(self, mark: str | None) -> bool:
        return mark is None or mark in self._marks

    # Calls of tools.

    def run(self, asked: RunTool, at: datetime) -> None:
        """Begin with a tool, or tell the model what is wrong with it. `at` is aware."""
        session = self._session
        if session is None or asked.call_id in self._running:
            return
        self._asked += 1
        job = self._job(asked.name, session)
        if self._asked > MAX_ASKED:
            self._answer(asked.call_id, asked.name, Failure("no more tools are run in this call"), respond=False)
        elif job is None:
            self._answer(asked.call_id, asked.name, Failure("there is no such tool"))
        elif not self._has(job.after):
            self._answer(asked.call_id, asked.name, Failure(f"not before the caller is {job.after}"))
        elif problem := job.arguments.problem(dict(asked.arguments)):
            self._answer(asked.call_id, asked.name, Failure(f"wrong arguments: {problem}"))
        elif len(self._running) >= MAX_RUNNING:
            self._answer(asked.call_id, asked.name, Failure("too many tools at once; wait for the others"))
        else:
            running = self._running[asked.call_id] = _Running(asked.name, asked.response_id)
            if job.filler is not None:
                self._await_filler(asked.call_id, job.filler, job.filler.after_s)
            work = self._work(asked, job, at)
            running.task = self._links.spawn(work, f"tool {asked.name} {self._record.call_id}")

    def cancel(self, call_id: str) -> None:
        """The model does not wait for it any more."""
        running = self._running.pop(call_id, None)
        if running is None:
            return
        self._log.info("tool dropped", tool=running.name)
        if running.filler is not None:
            running.filler.cancel()
        if running.task is not None:
            running.task.cancel()

    async def _work(self, asked: RunTool, job: _Job, at: datetime) -> None:
        started_s = self._links.clock()
        try:
            outcome = limited(await job.run(asked.arguments))
        except Exception:  # noqa: BLE001 - a tool's fault must not end the call
            self._log.exception("tool failed", tool=asked.name)
            outcome = Failure("internal error")
        try:
            self._conclude(asked, job, outcome, at, started_s)
        except Exception:  # noqa: BLE001 - nor must a provider's that does not take the result
            self._log.exception("tool result not told", tool=asked.name)

    def _conclude(self, asked: RunTool, job: _Job, outcome: Outcome, at: datetime, started_s: float) -> None:
        """Tell the model, if it still waits."""
        running = self._running.pop(asked.call_id, None)
        if running is None or self._session is None:
            return
        if running.filler is not None:
            running.filler.cancel()
        took_ms = round((self._links.clock() - started_s) * 1000)
        is_granted = job.grants is not None and isinstance(outcome, Result) and running.may_grant
        if is_granted and job.grants not in self._marks:
            self._grant(str(job.grants), at)
        self._answer(asked.call_id, asked.name, outcome, took_ms=took_ms)

    def _grant(self, mark: str, at: datetime) -> None:
        """The caller is that from now on, and the model has the tools that this opens."""
        self._marks.add(mark)
        self._log.info("caller has mark", mark=mark)
        self._offer_again(at)

    def _offer_again(self, at: datetime) -> None:
        if self._session is not None and self._session.has_update:
            self._session.update(SessionChange(tools=self.offered(self._session_name, at)))

    def _answer(self, call_id: str, name: str, outcome: Outcome, *, took_ms: int = 0, respond: bool = True) -> None:
        is_failed = isinstance(outcome, Failure)
        # Reasons may hold a caller's words; the log has kinds and times.
        self._log.info("tool", tool=name if self._is_known(name) else "", is_failed=is_failed, took_ms=took_ms)
        if self._session is not None:
            self._session.reply_to_tool(call_id, output_of(outcome), respond=respond and self._links.may_speak())
        if is_failed:
            self._links.dispatch(ToolFailed(name=name))

    def _is_known(self, name: str) -> bool:
        """Whether a name is the plan's or a server's, and no words of a model's."""
        if name in self._plan.sessions[self._session_name].tools or name in set(SessionTool):
            return True
        servers = (self._services.server(plan) for plan in self._plan.mcp.values())
        return any(server is not None and name in server.tools for server in servers)

    def _await_filler(self, call_id: str, filler: Filler, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._running[call_id].filler = loop.call_later(delay_s, self._fill, call_id, filler)

    def _fill(self, call_id: str, filler: Filler) -> None:
        """Say that it takes a while; once for all calls of a reply, and not while anybody is heard."""
        running, session = self._running.get(call_id), self._session
        if running is None or session is None or self._filled == running.response_id:
            return
        if not self._links.may_speak() or not self._links.is_silent():
            self._await_filler(call_id, filler, LOOK_AGAIN_S)
            return
        self._filled = running.response_id
        session.say(filler.text)

    # What names stand for.

    def _job(self, name: str, session: Attended) -> _Job | None:
        listed = self._plan.sessions[self._session_name]
        sentiments = self._plan.sentiments(self._session_name)
        is_listed = bool(sentiments) if name == SessionTool.REPORT_SENTIMENT else name in listed.tools
        if is_listed and name in set(SessionTool):
            checker = self._built_in.check(name, listed.languages, sentiments)
            return _Job(arguments=checker, run=lambda arguments: self._run_built_in(name, arguments, session))
        if name in listed.tools and name in self._plan.tool_plans:
            return self._planned(self._plan.tool_plans[name])
        return next((job for plan in self._plan.mcp.values() if (job := self._mcp_job(plan, name)) is not None), None)

    async def _run_built_in(self, name: str, arguments: Mapping[str, object], session: Attended) -> Outcome:
        outcome = self._built_in.run(name, arguments, session)
        mailbox = self._plan.sessions[self._session_name].mailbox
        if name == SessionTool.TAKE_MESSAGE and mailbox and isinstance(outcome, Result):
            taken = self._record.messages[-1]
            self._links.leave(mailbox, taken.text, taken.callback)
        if isinstance(outcome, Result) and name == SessionTool.SWITCH_LANGUAGE:
            self._links.dispatch(FactNoticed(fact=LanguageChanged(language=str(arguments["language"]))))
        if isinstance(outcome, Result) and name == SessionTool.REPORT_SENTIMENT:
            self._links.dispatch(FactNoticed(fact=SentimentShown(kind=str(arguments["sentiment"]))))
        return outcome

    def _planned(self, tool: ToolPlan) -> _Job:
        async def run(arguments: Mapping[str, object]) -> Outcome:
            if isinstance(tool.run, CodeCheck):
                return self._tries.check(tool.definition.name, tool.run, str(arguments.get("code", "")))
            return await run_request(self._services.http, tool.run, arguments, self._facts)

        return _Job(arguments=tool.arguments, run=run, filler=tool.filler, after=tool.after, grants=tool.grants)

    def _mcp_job(self, plan: McpPlan, name: str) -> _Job | None:
        server = self._services.server(plan)
        tool = server.tools.get(name) if server is not None else None
        listed = self._plan.sessions[self._session_name].tools
        if server is None or tool is None or not (plan.name in listed or name in listed):
            return None

        async def run(arguments: Mapping[str, object]) -> Outcome:
            return await server.call(tool, arguments)

        return _Job(arguments=tool.arguments, run=run, filler=plan.filler, after=plan.after)
