"""What is asked of the recording, which tells a call nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecording:
    """Record the call from now on, unless that is done already, or was ended before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRecording:
    """Record silence, or no longer."""

    is_paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecording:
    """End the recording for good; `why` is for the record."""

    why: str


RecordingCommand: TypeAlias = StartRecording | PauseRecording | StopRecording
