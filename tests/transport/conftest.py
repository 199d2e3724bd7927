from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aio import BLOCKED_MS, watch_loop


@pytest.fixture(autouse=True)
def _loop_stays_responsive() -> Iterator[None]:
    """Fail a test in which one callback held the event loop for more than 250 ms (BLOCKED_LOOP_MS, 0 for never)."""
    if not BLOCKED_MS:
        yield
        return
    with watch_loop() as blocked:
        yield
    assert blocked == []
