"""An MCP server on stdin and stdout that does what none should, which its argument says. Without the SDK, to start fast."""

from __future__ import annotations

import json
import sys

NO_METHOD = {"code": -32601, "message": "no such method"}


def hostile(mode: str) -> None:
    """Answer what comes on stdin."""
    schema: dict[str, object] = {"type": "object"}
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked or mode == "mute" or (mode == "half mute" and asked["method"] != "initialize"):
            continue
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                told: object = {
                    "protocolVersion": version,
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "x", "version": "1"},
                }
            case "tools/list" if mode == "many":
                tools = [{"name": f"t{n}", "inputSchema": schema} for n in range(10_000)]
                told = {"tools": tools}
            case "tools/list" if mode == "pages":
                told = {"tools": [], "nextCursor": "more"}
            case "tools/list":
                slow = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
                large = {"type": "object", "description": "x" * 20_000}
                told = {
                    "tools": [
                        {"name": "slow", "inputSchema": slow, "outputSchema": slow},
                        {"name": "large", "inputSchema": large},
                    ]
                }
            case "tools/call":
                structured = {"a": "a" * 60 + "!"}
                told = {"content": [{"type": "text", "text": "x"}], "structuredContent": structured}
            case _:
                sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": NO_METHOD}) + "\n")
                sys.stdout.flush()
                continue
        rubbish = "what a caller said\n{\n\x00\n" * (200 if mode == "rubbish" else 0)
        sys.stdout.write(rubbish + json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    hostile(sys.argv[1])
