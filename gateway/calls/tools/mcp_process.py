"""A process that speaks MCP on stdin and stdout (the specification's stdio transport), as streams for the SDK's client.

What it writes is bounded: a line that does not end would fill our memory, and ends the process instead. It has a
process group of its own, of which nothing is left when the connection ends: stdin is closed, and who does not go is
sent SIGTERM and then SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import structlog

from gateway.dialplan.tools import McpPlan

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A message is one line."""
MAX_RUBBISH_LINES = 10_000
"""Of lines that are no messages, in the life of a process."""
GRACE_S = 2.0
"""Between the closing of stdin, SIGTERM and SIGKILL."""

_log = structlog.stdlib.get_logger("gateway.calls")


@asynccontextmanager
async def mcp_process(plan: McpPlan) -> AsyncIterator[tuple[Any, Any]]:
    """Run the command of `plan`; gives the streams of what it says and of what it is told. Raises: OSError."""
    from mcp.client.stdio import get_default_environment  # noqa: PLC0415 - an extra

    process = await asyncio.create_subprocess_exec(
        *plan.command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=sys.__stderr__,
        env={**get_default_environment(), **dict(plan.environment)},
        cwd=plan.folder,
        start_new_session=True,
        limit=MAX_LINE_BYTES,
    )
    said, incoming = anyio.create_memory_object_stream[Any](0)
    outgoing, told = anyio.create_memory_object_stream[Any](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hear, process, said)
        tasks.start_soon(_tell, process, told)
        try:
            yield incoming, outgoing
        finally:
            with anyio.CancelScope(shield=True):
                incoming.close()
                outgoing.close()
                await _end(process)
            tasks.cancel_scope.cancel()


async def _hear(process: Process, said: Any) -> None:
    """Pass on what it says, until its stdout ends; who says too much is ended."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with said:
            if not await _pass_on(process.stdout, said):
                _log.warning("mcp server says too much", pid=process.pid)
                _send(process, signal.SIGKILL)
    while await process.stdout.read(65536):  # what it still writes must not keep it from ending
        pass


async def _pass_on(stdout: asyncio.StreamReader, said: Any) -> bool:
    """Until the end; False where a line was too long, or too many were none."""
    import mcp_types  # noqa: PLC0415 - an extra
    from mcp.shared.message import SessionMessage  # noqa: PLC0415

    rubbish = 0
    while rubbish <= MAX_RUBBISH_LINES:
        try:
            line = await stdout.readline()
        except ValueError:  # longer than the limit
            return False
        if not line:
            return True
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            rubbish += 1
            await asyncio.sleep(0)  # a flood must not keep calls from their turn
        else:
            await said.send(SessionMessage(message))
    return False


async def _tell(process: Process, told: Any) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    with suppress(OSError):
        async with told:
            async for item in told:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(f"{text}\n".encode())
                await process.stdin.drain()


async def _end(process: Process) -> None:
    """End it, and whatever it has started."""
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
                break
        _send(process, number)
    _send(process, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await process.wait()


def _send(process: Process, number: signal.Signals) -> None:
    """To its group: the group's number is free once nobody is in it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
