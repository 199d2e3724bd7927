"""Requests to web services that are slow, broken, huge, or send us elsewhere."""

from __future__ import annotations

import asyncio
import io
import logging
import ssl
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from gateway.calls.tools import http_tool
from gateway.calls.tools.http_tool import HttpClients, run_request
from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.cli.logs import configure_logs
from gateway.dialplan.arguments import Checker
from gateway.dialplan.request_template import parse_json_template, parse_text_template, parse_url_template
from gateway.dialplan.tools import IDEMPOTENT_METHODS, HttpRequest
from tests.support.certificates import Authority
from tests.support.http_server import RESET, HttpServer, answer

CHUNKED = b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
FACTS = {"caller.number": "+49301", "call.id": "c1"}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_tool, "RETRY_PAUSE_S", 0)


@pytest.fixture
async def clients() -> AsyncIterator[HttpClients]:
    made = HttpClients()
    await made.client(None)  # its certificates are read now, and not within a test's deadline
    yield made
    await made.close()


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with HttpServer() as running:
        yield running


def request_to(url: str, method: str = "GET", **changes: Any) -> HttpRequest:
    request = HttpRequest(method=method, url=parse_url_template(url), is_idempotent=method in IDEMPOTENT_METHODS)
    return replace(request, **changes)


async def ask(clients: HttpClients, request: HttpRequest, **arguments: object) -> Outcome:
    return await run_request(clients, request, arguments, FACTS)


async def test_arguments_and_facts_go_into_path_query_and_headers_stay_as_they_are(
    clients: HttpClients, server: HttpServer
) -> None:
    server.answers = [answer({"status": "sent"})]
    request = request_to(
        f"{server.url}/orders/{{number}}",
        query={"from": parse_text_template("{caller.number}"), "q": parse_text_template("{text}")},
        headers=(("Authorization", "Bearer {number}"),),
    )
    assert await ask(clients, request, number="a?b#c&d", text="ü&=") == Result({"status": "sent"})
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("GET", "/orders/a%3Fb%23c%26d?from=%2B49301&q=%C3%BC%26%3D")
    assert asked.headers["authorization"] == "Bearer {number}"
    assert asked.headers["host"] == f"127.0.0.1:{server.port}"


async def test_body_is_the_arguments_or_the_plans_template(clients: HttpClients, server: HttpServer) -> None:
    await ask(clients, request_to(server.url, "POST"), a=1, b='"}')
    body = parse_json_template({"order": "{a}", "who": "{caller.number}"})
    await ask(clients, request_to(server.url, "POST", body=body), a=1)
    assert [asked.json() for asked in server.asked] == [{"a": 1, "b": '"}'}, {"order": 1, "who": "+49301"}]
    assert server.asked[0].headers["content-type"] == "application/json"


async def test_unfit_argument_is_refused_before_anything_is_sent(clients: HttpClients, server: HttpServer) -> None:
    outcome = await ask(clients, request_to(f"{server.url}/orders/{{number}}"), number="../admin")
    assert outcome == Failure("number may hold no slash, backslash or control character")
    assert server.asked == []


async def test_service_that_is_slow_costs_its_timeout_and_no_more(clients: HttpClients, server: HttpServer) -> None:
    server.is_silent = True
    outcome = await ask(clients, request_to(server.url, timeout_s=0.2, retries=3))
    assert outcome == Failure("the service did not answer within 0.2 s")
    assert len(server.asked) <= 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("fault", [RESET, answer(status=503), answer(status=502)])
async def test_what_is_idempotent_is_sent_again(
    clients: HttpClients, server: HttpServer, method: str, fault: bytes | None
) -> None:
    server.answers = [fault, answer("ok")]
    assert await ask(clients, request_to(server.url, method)) == Result("ok")
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (RESET, "the connection to the service broke"),
        (answer(status=503), "the service answered 503 Service Unavailable"),
    ],
)
async def test_post_that_may_have_arrived_is_not_sent_again(
    clients: HttpClients, server: HttpServer, fault: bytes | None, reason: str
) -> None:
    server.answers = [fault, answer("ok")]
    assert await ask(clients, request_to(server.url, "POST", retries=3)) == Failure(reason)
    assert len(server.asked) == 1


async def test_post_that_the_plan_calls_idempotent_is_sent_again(clients: HttpClients, server: HttpServer) -> None:
    server.answers = [RESET, answer("ok")]
    assert await ask(clients, request_to(server.url, "POST", is_idempotent=True)) == Result("ok")


async def test_service_that_is_not_there_is_a_failure(clients: HttpClients, server: HttpServer) -> None:
    request = request_to(server.url, "POST")
    await server.__aexit__(None, None, None)
    assert await ask(clients, request) == Failure("the service could not be reached")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer(status=500), "the service answered 500 Internal Server Error"),
        (answer(status=404), "the service answered 404 Not Found"),
        (answer(b"<p>", kind="text/html"), "the answer is neither JSON nor plain text"),
        (answer(b"{", kind="application/json"), "the answer is no application/json"),
        (answer(b'{"a": NaN}'), "the answer is no application/json"),
        (answer(b"[" * 100_000), "the answer is no application/json"),
        (answer(b"\xff", kind="text/plain"), "the answer is no text/plain"),
        (answer(b"x" * 300_000), "the answer has more than 256 KB"),
        (answer(b"x", Content_Encoding="gzip"), "the answer is compressed, which was not asked for"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nhalf", "the service did not answer within 0.2 s"),
        (b"what?\r\n\r\n", "the connection to the service broke"),
        (CHUNKED + b"10000\r\n" + b"x" * 0x10000 + b"\r\n", "the service did not answer within 0.2 s"),
        (CHUNKED + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 6, "the answer has more than 256 KB"),
        (CHUNKED + b"f" * 10_000, "the service did not answer within 0.2 s"),
        (b"HTTP/1.1 200 X\r\nA: " + b"x" * 500_000 + b"\r\n\r\n", "the connection to the service broke"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "the connection to the service broke"),
        (b"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n", "the connection to the service broke"),
        (b"HTTP/1.1 100 X\r\n\r\n" * 100, "the service did not answer within 0.2 s"),
        (answer(b"9" * 5000), "the answer is no application/json"),
        (answer(status=302, Location="http://127.0.0.2:1/"), "the service redirects to another host"),
        (answer(status=302, Location="https://127.0.0.1/"), "the service redirects to another host"),
        (answer(status=302, Location="//evil.example/"), "the service redirects to another host"),
        (answer(status=302, Location="http://h:port/"), "the service redirects to nowhere"),
        (answer(status=302, Location="/again"), "the service redirects without end"),
    ],
)
async def test_answer_that_cannot_be_used_is_a_failure(
    clients: HttpClients, server: HttpServer, given: bytes, reason: str
) -> None:
    server.answers = [given]
    timeout_s = 0.2 if "0.2 s" in reason else 10
    assert await ask(clients, request_to(server.url, retries=0, timeout_s=timeout_s)) == Failure(reason)


async def test_redirect_within_the_service_is_followed(clients: HttpClients, server: HttpServer) -> None:
    server.answers = [answer(status=301, Location="/new?x=1"), answer("ok")]
    assert await ask(clients, request_to(server.url, headers=(("Authorization", "s"),))) == Result("ok")
    assert server.asked[1].target == "/new?x=1"
    assert server.asked[1].headers["authorization"] == "s"


async def test_redirected_post_is_not_repeated(clients: HttpClients, server: HttpServer) -> None:
    server.answers = [answer(status=307, Location="/new")]
    assert await ask(clients, request_to(server.url, "POST")) == Failure("the service redirects what POST sent")


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (answer(b"", status=204), Result(None)),
        (answer(b"plain", kind="text/plain; charset=utf-8"), Result("plain")),
        (answer({"a": 1}, kind="application/problem+json"), Result({"a": 1})),
    ],
)
async def test_answers_are_json_text_or_nothing(
    clients: HttpClients, server: HttpServer, given: bytes, result: Outcome
) -> None:
    server.answers = [given]
    assert await ask(clients, request_to(server.url)) == result


async def test_result_is_the_part_that_is_asked_for_and_as_the_schema_says(
    clients: HttpClients, server: HttpServer
) -> None:
    server.answers = [
        answer({"orders": [{"status": "sent"}]}),
        answer({"orders": [{"status": 7}]}),
        answer({"orders": []}),
    ]
    request = request_to(server.url, select=("orders", "0", "status"), result=Checker({"type": "string"}))
    assert await ask(clients, request) == Result("sent")
    assert await ask(clients, request) == Failure("the answer is not as expected: 7 is not of type 'string'")
    assert await ask(clients, request) == Failure("the answer lacks what was asked for")


async def test_certificate_is_verified_by_the_tools_own_authority(clients: HttpClients, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("service", ips=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    async with HttpServer([answer("ok")], tls=context) as server:
        assert await ask(clients, request_to(server.url)) == Failure("the service could not be reached")
        assert await ask(clients, request_to(server.url, ca_file=authority.ca)) == Result("ok")
        missing = request_to(server.url, ca_file=tmp_path / "missing.pem")
        assert await ask(clients, missing) == Failure("the certificates of this tool cannot be read")


async def test_cookie_of_one_request_does_not_go_along_with_another(clients: HttpClients, server: HttpServer) -> None:
    server.answers = [answer("ok", Set_Cookie="session=of-another-caller; Path=/")]
    for _ in range(2):
        assert await ask(clients, request_to(server.url)) == Result("ok")
    assert ["cookie" in asked.headers for asked in server.asked] == [False, False]


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_no_log_of_any_library_holds_an_address_a_header_or_an_answer(
    clients: HttpClients, server: HttpServer, level: str
) -> None:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, before = root.handlers[:], root.level
    server.answers = [answer("secret-answer", X_Token="secret-token"), RESET, answer(b"secret-rubbish", status=500)]
    request = request_to(f"{server.url}/secret-path/{{number}}?key=secret-key", headers=(("A", "secret-header"),))
    try:
        configure_logs(level, stream)
        for _ in range(3):
            await ask(clients, request, number="secret-number")
        logging.getLogger("gateway.calls").warning("seen")
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
        structlog.reset_defaults()
    assert len(server.asked) == 4
    assert "seen" in stream.getvalue()
    assert "secret" not in stream.getvalue()


async def test_proxy_of_the_environment_hears_nothing(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers = [answer("ok")]
    made = HttpClients()
    assert await ask(made, request_to(server.url)) == Result("ok")
    await made.close()


async def test_request_that_is_dropped_leaves_no_connection(clients: HttpClients, server: HttpServer) -> None:
    server.is_silent = True
    asking = asyncio.create_task(ask(clients, request_to(server.url)))
    async with asyncio.timeout(30):
        while not server.asked:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    client = await clients.client(None)
    assert client._transport._pool.connections == []  # type: ignore[attr-defined]


async def test_a_client_is_made_in_a_thread_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one reads certificates and imports its transport: 100 ms in which no call would have audio."""
    made: list[threading.Thread] = []
    make = http_tool._new_client

    def note(ca_file: Path | None) -> httpx2.AsyncClient:
        made.append(threading.current_thread())
        return make(ca_file)

    monkeypatch.setattr(http_tool, "_new_client", note)
    clients = HttpClients()
    assert await clients.client(None) is await clients.client(None)
    await clients.close()
    assert len(made) == 1
    assert made[0] is not threading.main_thread()
