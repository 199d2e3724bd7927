"""How far playout may fall behind a model that speaks at the pace of hearing.

Such a provider sends a second of audio in a second. What is queued for the caller is delay, therefore, and it stays:
after a stall of the network, or where two clocks differ, every later word would come as late. So the queue is bounded
here, by leaving out what is missed least: pauses first, then what has waited longest.

A queue of some size is wanted all the same: a network's jitter is heard as gaps where there is none.
"""

from __future__ import annotations

from typing import Final

from gateway.realtime.session import AudioDelta

TARGET_MS: Final = 120
"""Where more than this is queued when audio comes, pauses are shortened by as much as it is too much."""
LIMIT_MS: Final = 600
"""Where more than this is queued, it is dropped: whom the model heard interrupting would be talked over for so long."""


def fitted(delta: AudioDelta, queued_ms: float, bytes_per_ms: int) -> tuple[bytes, bool]:
    """What of `delta` is to be queued, and whether the `queued_ms` before it are to be dropped."""
    audio = delta.audio
    if delta.is_silence:
        excess_ms = max(round(queued_ms) - TARGET_MS, 0)
        return audio[: max(len(audio) - excess_ms * bytes_per_ms, 0)], False
    return audio[-LIMIT_MS * bytes_per_ms :], queued_ms > LIMIT_MS
