"""Small MCP servers by the official SDK: one on stdin and stdout, one of streamable HTTP on loopback.

Run as a program this file is the stdio server; its argument is a file that counts its starts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError


def desk(heard: list[str]) -> MCPServer:
    """A server with a few tools."""
    server = MCPServer("desk")

    @server.tool(description="Adds two numbers")
    def add(a: int, b: int) -> int:
        heard.append("add")
        return a + b

    @server.tool(name="say.hello")
    def say_hello(name: str) -> str:
        return f"Hello {name}"

    @server.tool()
    def fail() -> str:
        raise ToolError("no such order")

    @server.tool()
    async def wait() -> str:
        await asyncio.sleep(3600)
        return "late"

    @server.tool()
    def die() -> str:
        os._exit(3)

    @server.tool()
    def leave() -> str:
        threading.Timer(0.05, os._exit, [0]).start()
        return "bye"

    @server.tool()
    def environment(name: str) -> str:
        return os.environ.get(name, "")

    @server.tool()
    def grow() -> str:
        def grown() -> str:
            return "new"

        server.add_tool(grown)
        return "grown"

    @server.tool(name="bell\u202e\x1b[2J", description="Rings\x1b[2J\u202e\nthe bell")
    def bell() -> str:
        return "rung"

    return server


@asynccontextmanager
async def http_desk(heard: list[str]) -> AsyncIterator[str]:
    """Its URL."""
    app = desk(heard).streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = True
        server.force_exit = True
        await running


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a") as starts:
        starts.write("x")
    desk([]).run("stdio")
