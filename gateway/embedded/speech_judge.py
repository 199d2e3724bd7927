"""Which chunks are speech, for all sessions at once: what arrives within a moment goes through the network together.

::

    sessions ──chunk──> a queue a stream ──first of each, every 4 ms──> SpeechModel ──probability──> sessions

The network runs in the loop that serves the sockets: twenty chunks take half a millisecond, less than carrying them to
another process and back. A client that sends an hour at once is judged a chunk a turn, beside the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from gateway.embedded.silero import SpeechModel

WINDOW_S = 0.004
"""How long the first chunk waits for those of other sessions."""
MAX_BATCH = 64
"""Streams judged in one go: 1.5 ms in which the loop does nothing else."""

log = logging.getLogger(__name__)

OnProbability = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A chunk, `int16[256]` at 8 kHz, and who wants to know."""

    chunk: bytes
    on_probability: OnProbability


class SpeechJudge:
    """One network and the chunks that wait for it."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model
        self._queues: dict[int, deque[_Asked]] = {}
        self._timer: asyncio.Handle | None = None

    @property
    def streams(self) -> int:
        """Streams that are remembered."""
        return len(self._model)

    def listen(self, stream: int, chunk: bytes, on_probability: OnProbability) -> None:
        """Judge the next chunk of a stream; each is answered in the order asked, never before this returns."""
        self._queues.setdefault(stream, deque()).append(_Asked(chunk, on_probability))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_S, self._run)

    def forget(self, stream: int) -> None:
        """A stream has ended: what of it waits is not answered."""
        self._queues.pop(stream, None)
        self._model.forget(stream)

    def close(self) -> None:
        """Answer nobody any more."""
        self._queues.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        """Judge the first chunk of each stream, and let the loop do other things before those behind them."""
        self._timer = None
        if not self._queues:
            return
        batch = {stream: self._take(stream) for stream in list(islice(self._queues, MAX_BATCH))}
        if self._queues:
            self._timer = asyncio.get_running_loop().call_soon(self._run)
        found = self._model.probabilities(
            {stream: np.frombuffer(asked.chunk, dtype="<i2") for stream, asked in batch.items()}
        )
        for stream, asked in batch.items():
            try:
                asked.on_probability(found[stream])
            except Exception:
                log.exception("! what was heard of stream %d could not be used", stream)

    def _take(self, stream: int) -> _Asked:
        """The first of a stream, which goes to the end of the row if it has more."""
        queue = self._queues.pop(stream)
        asked = queue.popleft()
        if queue:
            self._queues[stream] = queue
        return asked
