from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop

from tests.support.aio import BLOCKED_MS, watch_loop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this room on both loops: the one `gateway run` takes, and the one it falls back to."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _loop_stays_responsive() -> Iterator[None]:
    """Fail a test in which one callback held the event loop for more than 250 ms (BLOCKED_LOOP_MS, 0 for never)."""
    if not BLOCKED_MS:
        yield
        return
    with watch_loop() as blocked:
        yield
    assert blocked == []
