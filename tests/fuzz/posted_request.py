"""Requests with a body at the embedded server: waited for, refused, or handed on without their body."""

from __future__ import annotations

import http

from gateway.embedded.front import MAX_BODY_BYTES, MAX_HEAD_BYTES, posted_request

_HEAD = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n"
SEEDS = [
    _HEAD + b"Content-Length: 2\r\n\r\n{}",
    _HEAD + b"content-length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    _HEAD + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    _HEAD + b"Content-Length: 99999999\r\n\r\n",
    _HEAD + b"X" * 300,
]


def fuzz(data: bytes) -> None:
    request = posted_request(data)
    if request is None:
        assert len(data) <= MAX_HEAD_BYTES + MAX_BODY_BYTES or b"\r\n\r\n" in data
        return
    if request.body is None:
        assert request.problem in (None, *http.HTTPStatus)
        return
    assert request.problem is None
    assert len(request.body) <= MAX_BODY_BYTES
    fields = request.head.lower().split(b"\r\n")[1:]
    assert not any(field.startswith((b"content-length:", b"transfer-encoding:")) for field in fields)
    assert posted_request(data + b"more") == request
