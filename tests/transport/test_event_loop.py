"""The loop that the service runs on."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop
from structlog.testing import capture_logs

from gateway.transport import event_loop


async def kind() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


def test_the_service_runs_on_uvloop() -> None:
    assert event_loop.run(kind()) is uvloop.Loop


def test_without_uvloop_asyncio_does_and_the_log_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with capture_logs() as logs:
        assert issubclass(event_loop.run(kind()), asyncio.BaseEventLoop)
    assert [line["event"] for line in logs] == ["asyncio's event loop is used, at some more processor time"]
