"""Tools that are requests to a web service: one, or one more where that is safe, within a deadline.

What may be sent twice: anything that never left (no connection), and what the method or the plan says is idempotent
(RFC 9110 9.2.2). A POST that may have arrived is not repeated. A redirect is followed only to where the plan has sent
us, since an argument or an answer must not choose whom we talk to. Nothing of a URL, a header or a body is logged or
told to the model; of a failure only its kind is.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import NoReturn

import httpx2

import gateway
from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.dialplan.request_template import UnfitArgument
from gateway.dialplan.tools import HttpRequest

MAX_ANSWER_BYTES = 262_144
MAX_REDIRECTS = 3
RETRY_PAUSE_S = 0.1
WORTH_ANOTHER_TRY = (429, 502, 503, 504)
_LIMITS = httpx2.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=5.0)
_HEADERS = {
    "User-Agent": f"sip-voice-gateway/{gateway.__version__}",
    "Accept": "application/json, text/plain;q=0.9",
    # What is not compressed cannot unfold into more than was received.
    "Accept-Encoding": "identity",
}
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class HttpClients:
    """The clients of a process: one for each set of trusted certificates, made when it is first needed."""

    def __init__(self) -> None:
        self._clients: dict[Path | None, httpx2.AsyncClient] = {}

    async def client(self, ca_file: Path | None) -> httpx2.AsyncClient:
        """The client that trusts `ca_file`, or whom the system trusts. Raises: OSError, ssl.SSLError."""
        if ca_file not in self._clients:
            client = await asyncio.to_thread(_new_client, ca_file)
            self._clients.setdefault(ca_file, client)
        return self._clients[ca_file]

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()


def _new_client(ca_file: Path | None) -> httpx2.AsyncClient:
    """For a thread: certificates are read, and the first one imports its transport. Raises: as `tls_context`."""
    return httpx2.AsyncClient(
        verify=tls_context(ca_file),
        headers=_HEADERS,
        cookies=_no_cookies(),
        timeout=None,
        limits=_LIMITS,
        trust_env=False,
    )


def _no_cookies() -> CookieJar:
    """A jar that takes none: what a service gives one caller must not go along with the next one's request."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What trusts `ca_file`, or whom the system trusts; reads files. Raises: OSError, ssl.SSLError."""
    return ssl.create_default_context(cafile=ca_file)


class _Refused(Exception):
    """The answer cannot be used. ``is_retryable``: another one may be."""

    def __init__(self, reason: str, *, is_retryable: bool = False) -> None:
        self.is_retryable = is_retryable
        super().__init__(reason)


async def run_request(
    clients: HttpClients,
    request: HttpRequest,
    arguments: Mapping[str, object],
    facts: Mapping[str, str],
    *,
    reads_answer: bool = True,
) -> Outcome:
    """Send `request` with `arguments`, which fit their schema, and the call's `facts`.

    Without `reads_answer` any success will do, whatever is in it.
    """
    try:
        async with asyncio.timeout(request.timeout_s):
            return await _run(clients, request, arguments, facts, reads_answer=reads_answer)
    except TimeoutError:
        return Failure(f"the service did not answer within {request.timeout_s:g} s")
    except UnfitArgument as error:
        return Failure(str(error))
    except (OSError, ssl.SSLError):
        return Failure("the certificates of this tool cannot be read")


async def tell_service(
    clients: HttpClients, request: HttpRequest, news: Mapping[str, object], facts: Mapping[str, str]
) -> str:
    """Send `request` with `news` to a service that need not answer anything; why it has not taken it, or ""."""
    outcome = await run_request(clients, request, news, facts, reads_answer=False)
    return outcome.reason if isinstance(outcome, Failure) else ""


async def _run(
    clients: HttpClients,
    request: HttpRequest,
    arguments: Mapping[str, object],
    facts: Mapping[str, str],
    *,
    reads_answer: bool,
) -> Outcome:
    values = {**arguments, **facts}
    url = request.url.render(values, request.query)
    body: object = None
    if request.body is not None:
        body = request.body.render(values)
    elif request.method not in ("GET", "DELETE"):
        body = dict(arguments)
    content = None if body is None else json.dumps(body).encode()
    client = await clients.client(request.ca_file)
    for tries_left in range(request.retries, -1, -1):
        try:
            answer = await _exchange(client, request, url, content, reads_answer=reads_answer)
            return _selected(request, answer) if reads_answer else Result(None)
        except _Refused as error:
            if not (tries_left and error.is_retryable and request.is_idempotent):
                return Failure(str(error))
        except httpx2.TransportError as error:
            if not (tries_left and (request.is_idempotent or isinstance(error, _NOT_SENT))):
                return Failure(_described(error))
        except (httpx2.InvalidURL, httpx2.HTTPError):
            return Failure("the request failed")
        await asyncio.sleep(RETRY_PAUSE_S)
    return Failure("the service could not be reached")


async def _exchange(
    client: httpx2.AsyncClient, request: HttpRequest, url: str, content: bytes | None, *, reads_answer: bool
) -> object:
    """What the service answered. Raises: _Refused, httpx2.TransportError."""
    headers = list(request.headers)
    if content is not None:
        headers.append(("Content-Type", "application/json"))
    asked = client.build_request(request.method, url, headers=headers, content=content)
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(asked, stream=True, follow_redirects=False)
        try:
            if not response.is_redirect:
                return await _answer(response, reads_answer=reads_answer)
            asked = _redirected(client, request, response)
        finally:
            await response.aclose()
    raise _Refused("the service redirects without end")


def _redirected(client: httpx2.AsyncClient, request: HttpRequest, response: httpx2.Response) -> httpx2.Request:
    """The same question to the place the service names, where that is its own. Raises: _Refused."""
    here = response.request.url
    try:
        there = here.join(response.headers["Location"])
    except (httpx2.InvalidURL, ValueError, KeyError):
        raise _Refused("the service redirects to nowhere") from None
    if (there.scheme, there.host, there.port) != (here.scheme, here.host, here.port):
        raise _Refused("the service redirects to another host")
    if request.method != "GET":
        raise _Refused(f"the service redirects what {request.method} sent")
    return client.build_request("GET", there, headers=list(request.headers))


async def _answer(response: httpx2.Response, *, reads_answer: bool) -> object:
    """The body of a success, where it is of interest. Raises: _Refused."""
    if not response.is_success:
        _refuse_status(response.status_code)
    if not reads_answer:
        return None
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise _Refused("the answer is compressed, which was not asked for")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise _Refused(f"the answer has more than {MAX_ANSWER_BYTES // 1024} KB")
    if not body or response.status_code == HTTPStatus.NO_CONTENT:
        return None
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json" or kind.endswith("+json"):
            return json.loads(body, parse_constant=_refuse_constant)
        if kind == "text/plain":
            return body.decode()
    except (ValueError, RecursionError):
        raise _Refused(f"the answer is no {kind}") from None
    raise _Refused("the answer is neither JSON nor plain text")


def _refuse_status(status: int) -> NoReturn:
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    raise _Refused(f"the service answered {status}{phrase}", is_retryable=status in WORTH_ANOTHER_TRY)


def _refuse_constant(_text: str) -> NoReturn:
    raise ValueError


def _described(error: httpx2.TransportError) -> str:
    if isinstance(error, _NOT_SENT):
        return "the service could not be reached"
    return "the connection to the service broke"


def _selected(request: HttpRequest, answer: object) -> Outcome:
    """The part of the answer that the plan asks for, if it is as the plan says."""
    value = answer
    for step in request.select:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step[:6]) < len(value):
            value = value[int(step[:6])]
        else:
            return Failure("the answer lacks what was asked for")
    problem = request.result.problem(value) if request.result is not None else ""
    return Failure(f"the answer is not as expected: {problem}") if problem else Result(value)
