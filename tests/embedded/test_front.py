"""HTTP in front of the WebSocket: ephemeral keys by POST, whole and in pieces, and what is no request of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.embedded.cardboard import cardboard_server
from tests.embedded.telephone import PATIENCE_S, telephone

SECRETS = "/v1/realtime/client_secrets"


def request(body: bytes, *headers: str, target: str = SECRETS, method: str = "POST") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def answer(url: str, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """Status and content of what the server answers to a request that comes in `pieces`."""
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_S):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/json" in head
    return int(head.split()[1]), json.loads(body)


async def test_key_made_for_a_browser_opens_a_session_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"session": {"type": "realtime", "model": "m", "instructions": "Sing."}}).encode()
    async with cardboard_server(monkeypatch, api_key="secret") as (server, _):
        status, secret = await answer(server.url, request(body, "Authorization: Bearer secret"))
        assert status == 200
        assert secret["session"]["instructions"] == "Sing."
        protocols = ["realtime", f"openai-insecure-api-key.{secret['value']}"]
        async with telephone(f"{server.url}?intent=realtime", subprotocols=protocols) as client:
            created = client.events[0]["session"]
            assert (created["model"], created["instructions"]) == ("m", "Sing.")


async def test_request_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = request(b'{"session": {"type": "transcription"}}')
    async with cardboard_server(monkeypatch) as (server, _):
        pieces = [whole[:7], *(whole[i : i + 1] for i in range(7, len(whole)))]
        status, secret = await answer(server.url, *pieces)
        assert (status, secret["session"]["type"]) == (200, "transcription")


async def test_keys_are_made_for_who_shows_the_servers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch, api_key="secret") as (server, _):
        _, secret = await answer(server.url, request(b"", "Authorization: Bearer secret"))
        for shown in ("wrong", secret["value"]):
            status, content = await answer(server.url, request(b"", f"Authorization: Bearer {shown}"))
            assert (status, content["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (request(b"{"), 400, "invalid_json"),
        (request(b'{"session": {"voice": "x"}}'), 400, "unknown_parameter"),
        (request(b"{}", target="/v1/realtime/calls"), 404, None),
        (request(b"{}", target="/v1/realtime?model=x"), 404, None),
        (request(b"", method="GET").replace(b"Content-Length: 0\r\n", b""), 405, None),
        (request(b"{}", "Transfer-Encoding: chunked"), 411, None),
        (request(b"").replace(b"Length: 0", b"Length: 1048577"), 413, None),
        (request(b"").replace(b"Length: 0", b"Length: -1"), 400, None),
        (request(b"", "Content-Length: 5"), 400, None),
    ],
)
async def test_what_cannot_be_answered_is_told_why(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, status: int, code: str | None
) -> None:
    async with cardboard_server(monkeypatch) as (server, _):
        given, content = await answer(server.url, sent)
        assert (given, content["error"]["code"]) == (status, code)
        assert content["error"]["type"] == "invalid_request_error"


async def test_head_without_an_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cardboard_server(monkeypatch) as (server, _):
        host, port = server.url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST " + SECRETS.encode() + b" HTTP/1.1\r\nX: " + b"x" * 20_000)
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()
        writer.close()
        async with telephone(server.url):
            pass
