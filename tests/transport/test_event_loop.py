"""The loop that the service runs on."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest
import uvloop

from gateway.transport import event_loop


async def kind() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


def test_the_service_runs_on_uvloop() -> None:
    assert event_loop.run(kind()) is uvloop.Loop


def test_without_uvloop_asyncio_does_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert issubclass(event_loop.run(kind()), asyncio.BaseEventLoop)
    assert [message.partition(",")[0] for message in caplog.messages] == ["asyncio's event loop is used"]
