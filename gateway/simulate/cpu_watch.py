"""Who used the processor, and who was kept waiting for it: looked at each second while a load runs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PERIOD_S: Final = 1.0
WINDOW: Final = 3
"""Looks between whose first and last a share is taken: a moment's peak says nothing."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuShare:
    """Of one core, in percent, in the busiest seconds of a run."""

    used: float
    waited: float
    """time in which it was ready to run, and others had the processor"""


_Look = tuple[float, dict[str, tuple[float, float]]]
"""When, and what each group had used and waited by then; seconds."""


class CpuWatch:
    """Watches groups of processes, each named and given as a function that tells its process ids."""

    def __init__(self, groups: Mapping[str, Callable[[], Sequence[int]]]) -> None:
        self._groups = groups
        self._looks: list[_Look] = []

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(PERIOD_S)

    def look(self) -> None:
        """Note what each group has had by now."""
        had = {name: _sum(pids()) for name, pids in self._groups.items()}
        self._looks.append((time.monotonic(), had))

    def cpu_s(self, name: str) -> float:
        """What a group had from the first look to the last."""
        return self._looks[-1][1][name][0] - self._looks[0][1][name][0] if self._looks else 0.0

    def overall(self, name: str) -> CpuShare:
        """The share of a group from the first look to the last."""
        if len(self._looks) < 2:
            return CpuShare(used=0.0, waited=0.0)
        return _share(self._looks[0], self._looks[-1], name)

    def busiest(self, name: str) -> CpuShare:
        """The share of a group when it had most."""
        shares = [CpuShare(used=0.0, waited=0.0)]
        pairs = zip(self._looks, self._looks[WINDOW - 1 :], strict=False)
        shares += [_share(first, last, name) for first, last in pairs]
        return max(shares, key=lambda share: share.used)


def _share(first: _Look, last: _Look, name: str) -> CpuShare:
    (used_s, waited_s), (used_then_s, waited_then_s) = first[1][name], last[1][name]
    span_s = max(last[0] - first[0], 1e-9)
    return CpuShare(
        used=100 * (used_then_s - used_s) / span_s, waited=100 * max(waited_then_s - waited_s, 0.0) / span_s
    )


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, at any depth."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def _sum(pids: Sequence[int]) -> tuple[float, float]:
    used_s = waited_s = 0.0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            used_s += (int(words[11]) + int(words[12])) / _TICKS_PER_S  # utime and stime, proc(5)
            waited_s += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, IndexError):  # it has ended
            continue
    return used_s, waited_s
