"""An MCP server on stdin and stdout that does what none should, as its argument says. It starts fast: no SDK."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

ANY = {"type": "object"}
SLOW = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
LARGE = {"type": "object", "description": "x" * 20_000}


def listed(mode: str) -> object:
    """The result of tools/list."""
    if mode == "many":
        return {"tools": [{"name": f"t{number}", "inputSchema": ANY} for number in range(10_000)]}
    if mode == "pages":
        return {"tools": [], "nextCursor": "more"}
    slow = {"name": "slow", "inputSchema": SLOW, "outputSchema": SLOW}
    return {"tools": [slow, {"name": "large", "inputSchema": LARGE}]}


def called(mode: str) -> object:
    """The result of tools/call."""
    while mode == "endless":
        sys.stdout.write("x" * 65536)
    while mode == "flood":
        sys.stdout.write("rubbish\n" * 8192)
    if mode == "parent":
        child = subprocess.Popen(["sleep", "300"])
        return {"content": [{"type": "text", "text": str(child.pid)}]}
    return {"content": [{"type": "text", "text": "x"}], "structuredContent": {"a": "a" * 60 + "!"}}


def answer(mode: str, asked: Mapping[str, object]) -> dict[str, object]:
    """The answer to a request."""
    match asked["method"]:
        case "initialize":
            about = {"serverInfo": {"name": "x", "version": "1"}, "capabilities": {"tools": {}}}
            parameters = asked["params"]
            assert isinstance(parameters, dict)
            return {"result": {"protocolVersion": parameters["protocolVersion"], **about}}
        case "tools/list":
            return {"result": listed(mode)}
        case "tools/call":
            return {"result": called(mode)}
    return {"error": {"code": -32601, "message": "no such method"}}


def main(mode: str) -> None:
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked or mode == "mute" or (mode == "half mute" and asked["method"] != "initialize"):
            continue
        rubbish = "what a caller said\n{\n\x00\n" * (200 if mode == "rubbish" else 0)
        sys.stdout.write(rubbish + json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer(mode, asked)}) + "\n")
        sys.stdout.flush()
    while mode == "deaf":
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
