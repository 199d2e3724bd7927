"""Sound files for callers: WAV, 16 bit, mono, 8 kHz, read once and kept.

Files are read when a dialplan is loaded (`load_sounds`), so that playing one later finds it in memory.
"""

from __future__ import annotations

import functools
import wave
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.dialplan.actions import PlayAction, walk
from gateway.dialplan.model import Dialplan
from gateway.errors import ConfigurationError, Problem

Samples: TypeAlias = NDArray[np.int16]
MAX_SOUND_S = 600
RATE_HZ = 8000


def _ringing() -> Samples:
    """Five seconds of the ring-back tone that most of Europe knows: 425 Hz, 1 s on, 4 s off (ETSI TR 101 041-2)."""
    samples = np.zeros(5 * RATE_HZ, np.int16)
    samples[:RATE_HZ] = 3000 * np.sin(2 * np.pi * 425 * np.arange(RATE_HZ) / RATE_HZ)
    samples.setflags(write=False)
    return samples


RINGING = _ringing()


def load_sounds(plan: Dialplan) -> None:
    """Read every file that `plan` may play, anew. For a thread that may block.

    Raises:
        ConfigurationError: as `load_sound`.
    """
    load_sound.cache_clear()
    for session in plan.sessions.values():
        if session.record is not None and session.record.play is not None:
            load_sound(session.record.play)
    for contact in plan.contacts.values():
        if contact.music is not None:
            load_sound(contact.music)
    lists = [route.actions for route in plan.routes] + [escalation.actions for escalation in plan.escalations]
    for actions in (*lists, *(session.protected for session in plan.sessions.values())):
        for action in walk(actions):
            if isinstance(action, PlayAction):
                load_sound(action.file)


@functools.lru_cache(maxsize=128)
def load_sound(file: Path) -> Samples:
    """The samples of `file` at 8 kHz, int16[samples], read-only.

    Raises:
        ConfigurationError: the file is missing, or not a WAV the telephone can play.
    """
    expected = "WAV, 16 bit, mono, 8 kHz; `sox IN -b 16 -c 1 -r 8000 OUT.wav` makes one"
    try:
        with wave.open(str(file), "rb") as sound:
            if (sound.getsampwidth(), sound.getnchannels(), sound.getframerate()) != (2, 1, 8000):
                shape = f"{sound.getsampwidth() * 8} bit, {sound.getnchannels()} channels, {sound.getframerate()} Hz"
                raise ConfigurationError([Problem(file=str(file), message=f"is {shape}", expected=expected)])
            frames = sound.readframes(min(sound.getnframes(), MAX_SOUND_S * 8000))
    except (OSError, EOFError, wave.Error) as error:
        problem = Problem(file=str(file), message=f"cannot be played: {error}", expected=expected)
        raise ConfigurationError([problem]) from error
    samples = np.frombuffer(frames, dtype="<i2").astype(np.int16)
    samples.setflags(write=False)
    return samples
