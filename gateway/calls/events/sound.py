"""What the caller hears of files, and the end of whatever they hear."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutEnded:
    """All audio of the model (or of the file) has left for the telephone, and no more is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Play a sound file to the caller."""

    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPlaying:
    """Drop the rest of what `Play` plays; no `PlayoutEnded` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitPlayout:
    """Answer with `PlayoutEnded` as soon as nothing is left to be said."""


SoundCommand: TypeAlias = Play | StopPlaying | AwaitPlayout
