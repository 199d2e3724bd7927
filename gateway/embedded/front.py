"""HTTP in front of the WebSocket: which paths there are, and requests with a body, which the WebSocket library refuses.

A POST is taken whole, then handed on to the library without its body as the GET that it understands; what is answered
is decided where every request is, in `process_request`.
"""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response

PATH_SUFFIX = "/realtime"
SECRETS_SUFFIX = "/realtime/client_secrets"

MAX_HEAD_BYTES = 16 << 10
MAX_BODY_BYTES = 1 << 20

_END_OF_HEAD = b"\r\n\r\n"
_BODY_HEADERS = (b"content-length", b"transfer-encoding", b"expect")


class FrontConnection(ServerConnection):
    """A connection that also takes a POST. `posted` is its body; `problem` what is wrong with its form."""

    posted: bytes | None = None
    problem: http.HTTPStatus | None = None
    _head: bytearray | None = None
    _is_undecided = True

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._is_undecided:
            self._is_undecided = False
            # Nobody sends a method in pieces; whoever does gets no key.
            if data.startswith(b"POST "):
                self._head = bytearray()
        if self._head is None:
            super().data_received(data)
            return
        self._head += data
        request = posted_request(bytes(self._head))
        if request is not None:
            self._head = None
            self.posted, self.problem = request.body, request.problem
            super().data_received(request.head)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedRequest:
    """A POST: its head as that of a GET without a body, and its body, or what is wrong with how that comes."""

    head: bytes
    body: bytes | None = None
    problem: http.HTTPStatus | None = None


def posted_request(received: bytes) -> PostedRequest | None:
    """The POST that begins `received`, once all of it is there. What goes beyond the limits is not waited for."""
    head, end, body = received.partition(_END_OF_HEAD)
    if not end:
        return PostedRequest(head=received) if len(received) > MAX_HEAD_BYTES else None
    line, *fields = head.split(b"\r\n")
    kept = [field for field in fields if field.partition(b":")[0].strip().lower() not in _BODY_HEADERS]
    shown = b"\r\n".join([line.replace(b"POST", b"GET", 1), *kept]) + _END_OF_HEAD
    length = _content_length(fields)
    if isinstance(length, http.HTTPStatus):
        return PostedRequest(head=shown, problem=length)
    return PostedRequest(head=shown, body=body[:length]) if len(body) >= length else None


def _content_length(fields: list[bytes]) -> int | http.HTTPStatus:
    named = [(name.strip().lower(), value.strip()) for name, _, value in (field.partition(b":") for field in fields)]
    if any(name == b"transfer-encoding" for name, _ in named):
        return http.HTTPStatus.LENGTH_REQUIRED
    values = {value for name, value in named if name == b"content-length"}
    if len(values) > 1 or not all(value.isdigit() for value in values):
        return http.HTTPStatus.BAD_REQUEST
    length = int(next(iter(values), b"0")[:20])
    return length if length <= MAX_BODY_BYTES else http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def is_session_path(target: str) -> bool:
    """Whether a WebSocket is served at the path of `target`."""
    return urlsplit(target).path.rstrip("/").endswith(PATH_SUFFIX)


def is_secrets_path(target: str) -> bool:
    """Whether ephemeral keys are made at the path of `target`."""
    return urlsplit(target).path.rstrip("/").endswith(SECRETS_SUFFIX)


def json_response(connection: ServerConnection, status: http.HTTPStatus, content: Mapping[str, Any]) -> Response:
    """An HTTP answer; the connection is closed behind it."""
    response = connection.respond(status, json.dumps(content))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response


def error_response(
    connection: ServerConnection,
    status: http.HTTPStatus,
    message: str,
    *,
    code: str | None = None,
    parameter: str | None = None,
) -> Response:
    """An HTTP refusal, in the shape that clients of the API read."""
    error = {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}
    return json_response(connection, status, {"error": error})
