"""Counts the lines of this package that a call runs, to tell linear work from quadratic without a clock."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def count_lines(function: Callable[[], object], *expected: type[Exception]) -> int:
    """How many lines under ``gateway/`` run while `function` does; the `expected` exceptions are its normal end."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if "/gateway/" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(*expected):
            function()
    finally:
        sys.settrace(before)
    return lines
