"""A server of the Model Context Protocol, by the official SDK: started, listed, watched, and started again.

One for all calls of a process, in a task of its own: the SDK wants to be left by the task that entered it. Calls use
the list of tools that is here already, and never wait for a server to come up. What a server says of itself is bounded
and printable, and is read beside the event loop, since calls' audio waits for nobody.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx2
import structlog

import gateway
from gateway.calls.tools.http_tool import tls_context
from gateway.calls.tools.mcp_process import mcp_process
from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.dialplan.arguments import Checker
from gateway.dialplan.tools import McpPlan, ToolDefinition, function_name
from gateway.errors import shown

if TYPE_CHECKING:
    from mcp import Client

REMEDY = "pip install '.[mcp]' in the gateway's source folder"
CONNECT_LIMIT_S = 10.0
REFRESH_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
"""Between two starts: doubled each time, and short again for a server that has lived for the longest of them."""
MAX_TOOLS = 128
MAX_NAME_CHARACTERS = 64
MAX_DESCRIPTION_CHARACTERS = 1000
MAX_SCHEMA_CHARACTERS = 16_384
MAX_PAGES = 32
NOT_THERE = "the service is not there at present"

_log = structlog.stdlib.get_logger("gateway.calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTool:
    """A tool of a server: its own ``name``, and what models are told of it."""

    name: str
    definition: ToolDefinition
    arguments: Checker = field(repr=False)


class McpServer:
    """Owns the connection to one server. `run` has to run."""

    def __init__(self, plan: McpPlan, *, first_pause_s: float = FIRST_PAUSE_S, refresh_s: float = REFRESH_S) -> None:
        self.plan = plan
        self.tools: Mapping[str, McpTool] = {}
        """By the name that models know. Those of a server that is gone stay, and answer with an error."""
        self._first_pause_s = first_pause_s
        self._refresh_s = refresh_s
        self._client: Client | None = None
        self._listed = asyncio.Event()
        self._attention = asyncio.Event()
        self._is_lost = False
        self._told: frozenset[tuple[str, str]] = frozenset()  # tools that are left out, and why

    async def wait_until_listed(self) -> None:
        """Wait until the server has told its tools for the first time."""
        await self._listed.wait()

    @property
    def is_there(self) -> bool:
        """Whether it can be called."""
        return self._client is not None

    async def run(self) -> None:
        """Keep the server; runs until it is cancelled."""
        pause_s, clock = self._first_pause_s, asyncio.get_running_loop().time
        while True:
            started_s = clock()
            try:
                await self._live()
                reason = "it has ended"
            except Exception as error:  # noqa: BLE001 - whatever a strange process does, it is started again
                reason = type(_innermost(error)).__name__
            finally:
                self._client = None
            if clock() - started_s > LONGEST_PAUSE_S:
                pause_s = self._first_pause_s
            _log.warning("mcp server lost", server=self.plan.name, reason=reason, retry_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def call(self, tool: McpTool, arguments: Mapping[str, object]) -> Outcome:
        """Call `tool` with arguments that fit its schema."""
        client = self._client
        if client is None:
            return Failure(NOT_THERE)
        try:
            async with asyncio.timeout(self.plan.timeout_s):
                answer = await client.call_tool(tool.name, dict(arguments))
        except TimeoutError:
            return Failure(f"the service did not answer within {self.plan.timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - the SDK's, the transport's, and what a strange answer leads to
            _log.warning("mcp call failed", server=self.plan.name, tool=tool.name, error=type(error).__name__)
            self._attention.set()
            return Failure("the service could not do it")
        return _outcome(answer)

    async def _live(self) -> None:
        """Connect, list the tools, and list them again now and then; returns when the server is gone."""
        self._is_lost = False
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                client = await stack.enter_async_context(await self._connect(stack))
                await self._take(await self._list(client))
            self._client = client
            _log.info("mcp server ready", server=self.plan.name, tools=len(self.tools))
            self._listed.set()
            while not self._is_lost:
                self._attention.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._attention.wait(), self._refresh_s)
                if not self._is_lost:
                    async with asyncio.timeout(CONNECT_LIMIT_S):
                        await self._take(await self._list(client))

    async def _connect(self, stack: AsyncExitStack) -> AbstractAsyncContextManager[Client]:
        await asyncio.to_thread(_load_sdk)
        from mcp import Client  # noqa: PLC0415 - an extra
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415
        from mcp_types import Implementation  # noqa: PLC0415

        plan = self.plan
        transport: AbstractAsyncContextManager[Any]
        if plan.command:
            transport = mcp_process(plan)
        else:
            context = await asyncio.to_thread(tls_context, plan.ca_file)
            timeout = httpx2.Timeout(CONNECT_LIMIT_S, read=None)
            http = httpx2.AsyncClient(headers=list(plan.headers), verify=context, timeout=timeout, trust_env=False)
            transport = streamable_http_client(plan.url, http_client=await stack.enter_async_context(http))
        return Client(
            self._watched(transport),
            client_info=Implementation(name="sip-voice-gateway", version=gateway.__version__),
            cache=None,
        )

    @asynccontextmanager
    async def _watched(self, transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        async with transport as (incoming, outgoing):
            yield _Watched(self.plan, incoming, self._on_end), outgoing

    def _on_end(self) -> None:
        self._client, self._is_lost = None, True
        self._attention.set()

    async def _list(self, client: Client) -> list[Any]:
        tools: list[Any] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None or len(tools) >= MAX_TOOLS:
                break
        return tools[:MAX_TOOLS]

    async def _take(self, listed: list[Any]) -> None:
        """Offer those of the tools that the plan allows and that can be offered."""
        taken, left_out = await asyncio.to_thread(_read, self.plan, listed, self.tools)
        left_out |= {(missing, "missing") for missing in set(self.plan.tools or ()) - {tool.name for tool in listed}}
        for name, reason in sorted(left_out - self._told):
            _log.warning("mcp tool left out", server=self.plan.name, tool=shown(name), reason=reason)
        self._told = frozenset(left_out)
        self.tools = taken


def _load_sdk() -> None:
    """Half a second, the first time."""
    for module in ("mcp", "mcp.client.stdio", "mcp.client.streamable_http", "mcp_types"):
        importlib.import_module(module)


def _read(
    plan: McpPlan, listed: list[Any], known: Mapping[str, McpTool]
) -> tuple[dict[str, McpTool], set[tuple[str, str]]]:
    """The tools that can be offered, and those that cannot, each with the reason."""
    taken: dict[str, McpTool] = {}
    left_out: set[tuple[str, str]] = set()
    for tool in listed:
        if plan.tools is not None and tool.name not in plan.tools:
            continue
        try:
            read = _tool(plan, tool, known)
            if read.definition.name in taken:
                raise ValueError("its name is another one's")
            taken[read.definition.name] = read
        except ValueError as error:
            left_out.add((shown(tool.name), str(error)))
    return taken, left_out


def _tool(plan: McpPlan, tool: Any, known: Mapping[str, McpTool]) -> McpTool:
    """Raises: ValueError, with the reason why it is not offered."""
    name = function_name(plan.name, tool.name)
    if len(name) > MAX_NAME_CHARACTERS:
        raise ValueError("its name is too long")
    try:
        size = len(json.dumps(tool.input_schema, allow_nan=False))
    except RecursionError:
        raise ValueError("its schema is nested too deeply") from None
    if size > MAX_SCHEMA_CHARACTERS:
        raise ValueError(f"its schema has more than {MAX_SCHEMA_CHARACTERS} characters")
    description = _printable((tool.description or "")[:MAX_DESCRIPTION_CHARACTERS])
    definition = ToolDefinition(name=name, description=description, parameters=tool.input_schema)
    before = known.get(name)
    if before is not None and before.name == tool.name and before.definition.parameters == definition.parameters:
        return McpTool(name=tool.name, definition=definition, arguments=before.arguments)
    return McpTool(name=tool.name, definition=definition, arguments=Checker(tool.input_schema, drops_patterns=True))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


class _Watched:
    """A stream of messages that tells its end."""

    def __init__(self, plan: McpPlan, stream: Any, on_end: Any) -> None:
        self._plan = plan
        self._stream = stream
        self._on_end = on_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._stream.__aexit__(*error)

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._stream.__anext__()
        except StopAsyncIteration:
            self._on_end()
            raise
        _trim(self._plan, item)
        return item


def _trim(plan: McpPlan, item: Any) -> None:
    """Take out of a list of tools what nobody will use, before the SDK makes objects of it.

    Schemas of results are among it: the SDK would hold results against them, whatever patterns a server puts there.
    """
    result = getattr(getattr(item, "message", None), "result", None)
    tools = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(tools, list):
        return
    known = [tool for tool in tools if isinstance(tool, dict)]
    wanted = [tool for tool in known if plan.tools is None or tool.get("name") in plan.tools][:MAX_TOOLS]
    for tool in wanted:
        tool.pop("outputSchema", None)
    result["tools"] = wanted


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _outcome(answer: Any) -> Outcome:
    """What the server answered: its structured content, else its text."""
    texts = [block.text for block in answer.content if block.type == "text"]
    if answer.is_error:
        return Failure(" ".join(texts) or "the service reports an error")
    structured = answer.structured_content
    if isinstance(structured, dict) and set(structured) == {"result"}:
        structured = structured["result"]  # so servers tell what is no object
    if structured is not None:
        return Result(structured)
    if not texts and answer.content:
        return Failure("the result holds no text")
    return Result("\n".join(texts))
