"""The event loop of the service: uvloop where it can be had, asyncio's own everywhere else.

libuv beneath it takes a quarter off the processor time of each message received (`gateway bench provider`). Nothing in
here depends on it: the tests of this package run on both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


def run(main: Coroutine[object, object, Result]) -> Result:
    """Run `main` to its end on the fastest loop there is, like `asyncio.run`."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes that loop; where it is asyncio's, the log says so."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError as error:
        _log.info("asyncio's event loop is used, at some more processor time: %s", error)
        return asyncio.new_event_loop
    return uvloop.new_event_loop
