"""All fuzz targets: every module here that has a ``fuzz(data)`` and ``SEEDS``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

_TOOLS = ("__main__", "mutation", "targets")


class Target(Protocol):
    """One parser. Whatever `fuzz` raises is a finding."""

    SEEDS: Sequence[bytes]

    def fuzz(self, data: bytes) -> None: ...


NAMES = sorted(
    file.stem
    for file in Path(__file__).parent.glob("*.py")
    if file.stem not in _TOOLS and not file.stem.startswith("test_")
)


def load(name: str) -> Target:
    """The target's module. An import here is what a coverage-guided fuzzer instruments."""
    return cast("Target", import_module(f"tests.fuzz.{name}"))
