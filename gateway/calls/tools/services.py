"""What the tools of all calls share: connections to web services, and the MCP servers of the plans in use."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine, Iterable

import structlog

from gateway.calls.tools.http_tool import HttpClients
from gateway.calls.tools.mcp_server import REMEDY, McpServer
from gateway.dialplan.model import Dialplan
from gateway.dialplan.tools import McpPlan

DELIVERY_LIMIT_S = 5.0
"""How long what is being delivered may take when the gateway ends."""

_log = structlog.stdlib.get_logger("gateway.calls")


def servers_left_out(plans: Iterable[Dialplan]) -> tuple[str, ...]:
    """Names of the MCP servers of `plans` that nobody can speak with here, because the SDK is not installed."""
    if importlib.util.find_spec("mcp") is not None:
        return ()
    return tuple(sorted({server.name for plan in plans for server in plan.mcp.values()}))


class ToolServices:
    """One for a process, and of one event loop."""

    def __init__(self) -> None:
        self.http = HttpClients()
        self._servers: dict[McpPlan, McpServer] = {}
        self._tasks: dict[McpPlan, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()

    def use(self, plans: Iterable[Dialplan]) -> None:
        """Keep the MCP servers of `plans`: start those that are new, end those that no plan has any more.

        A server that two plans describe alike is one. Calls under way are told that an ended one is not there.
        """
        plans = list(plans)
        wanted = {server for plan in plans for server in plan.mcp.values()}
        if left_out := servers_left_out(plans):
            _log.error("mcp servers left out", servers=list(left_out), remedy=REMEDY)
            wanted = set()
        for gone in set(self._servers) - wanted:
            del self._servers[gone]
            self._end(self._tasks.pop(gone))
        for new in wanted - set(self._servers):
            server = self._servers[new] = McpServer(new)
            self._tasks[new] = asyncio.get_running_loop().create_task(server.run(), name=f"mcp {new.name}")

    def server(self, plan: McpPlan) -> McpServer | None:
        """The server that `plan` describes; None where it is not kept."""
        return self._servers.get(plan)

    def deliver(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Do `work`, which has its own deadline, beside all calls: no call waits for it, and it outlives its own."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)
        return task

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery failed", delivery=task.get_name(), exc_info=error)

    async def close(self) -> None:
        """End servers and connections, and what is being delivered a little later."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=DELIVERY_LIMIT_S)
        for delivery in list(self._deliveries):
            self._end(delivery)
        for task in self._tasks.values():
            self._end(task)
        self._servers.clear()
        self._tasks.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self.http.close()

    def _end(self, task: asyncio.Task[None]) -> None:
        """A process needs a while to end, and is waited for."""
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.cancel()
