"""Arrays of which most is never written.

From 4 MiB on numpy asks the system for huge pages, and one number written makes 2 MiB of memory. Where a leg uses the
beginning of a long row, that is the whole array, for all legs.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def sparse_zeros(shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Zeros like `numpy.zeros`, of which only the pages that were written, 4 KiB as a rule, are in memory."""
    size = math.prod(shape)
    memory = mmap.mmap(-1, max(size * np.dtype(dtype).itemsize, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype, count=size).reshape(shape)
