"""A web service that answers what a test says, in the place of all those that a plan would ask.

::

    plan ──divert(plan, origin)──> the same plan, each of its requests led to  http://127.0.0.1:PORT/…
                                       tools.lookup_order   what the test has under tools
                                       routes…, escalations…'s hooks   what it has under hooks, in turn
                                       everything else      503: a test sends nothing to anybody

The request is made and read as ever (arguments, query, body, result), only its address is another one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from http import HTTPStatus
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from gateway.dialplan.actions import HookAction
from gateway.dialplan.dialogue import WebAnswer
from gateway.dialplan.model import Dialplan
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.tools import HttpRequest, ToolPlan

HOST = "127.0.0.1"
READ_LIMIT_S = 5.0
MAX_BODY_BYTES = 1_000_000
FAILURE = WebAnswer(is_failure=True)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that came: method, path and query, body."""

    method: str
    target: str
    body: str


class CannedWeb:
    """``async with CannedWeb(tools, hooks) as web: plan = web.divert(plan)``."""

    def __init__(self, tools: Mapping[str, WebAnswer], hooks: Sequence[WebAnswer]) -> None:
        self._tools = tools
        self._hooks = list(hooks)
        self._server: asyncio.Server
        self.asked: list[Asked] = []
        """In their order."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def divert(self, plan: Dialplan) -> Dialplan:
        """`plan` with every request of it led here."""
        return _diverted(plan, self.origin, "other")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                asked = await _read(reader)
            self.asked.append(asked)
            writer.write(_response(self._answer_to(asked)))
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass  # whoever asked has gone, or does not speak HTTP
        finally:
            writer.close()

    def _answer_to(self, asked: Asked) -> WebAnswer:
        kind, _, name = asked.target.partition("?")[0].strip("/").partition("/")
        if kind == "tools":
            return self._tools.get(name, FAILURE)
        if kind == "hooks" and self._hooks:
            return self._hooks.pop(0) if len(self._hooks) > 1 else self._hooks[0]
        return FAILURE


def _diverted(value: T, origin: str, path: str) -> T:
    """`value` with each `HttpRequest` in it led to `origin`; `path` tells who asks there."""
    match value:
        case HttpRequest():
            return replace(value, url=parse_url_template(f"{origin}/{path}"), ca_file=None, retries=0)
        case tuple():
            return tuple(_diverted(item, origin, path) for item in value)  # type: ignore[return-value]
        case Mapping():
            return MappingProxyType({key: _diverted(item, origin, path) for key, item in value.items()})  # type: ignore[return-value]
        case ToolPlan():
            path = f"tools/{value.definition.name}"
        case HookAction():
            path = "hooks"
    if not is_dataclass(value) or isinstance(value, type) or not _has_request(value):
        return value
    changed = {one.name: _diverted(getattr(value, one.name), origin, path) for one in fields(value) if one.init}
    return replace(value, **changed)


def _has_request(value: object) -> bool:
    """Whether an `HttpRequest` is anywhere in `value`; what has none stays the object that it is."""
    match value:
        case HttpRequest():
            return True
        case tuple():
            return any(map(_has_request, value))
        case Mapping():
            return any(map(_has_request, value.values()))
    if not is_dataclass(value) or isinstance(value, type):
        return False
    return any(_has_request(getattr(value, field.name)) for field in fields(value))


async def _read(reader: asyncio.StreamReader) -> Asked:
    """A request with a body of known length. Raises: ValueError, IncompleteReadError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.casefold(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY_BYTES:
        raise ValueError(length)
    return Asked(method=method, target=target, body=(await reader.readexactly(length)).decode("utf-8", "replace"))


def _response(answer: WebAnswer) -> bytes:
    status = HTTPStatus.SERVICE_UNAVAILABLE if answer.is_failure else HTTPStatus.OK
    body = b"" if answer.is_failure else json.dumps(answer.content).encode()
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
