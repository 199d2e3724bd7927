"""The parts of a brain file that say what the server thinks, hears and speaks by, where that is not its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gateway.located import Section, WrongValue


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", text):
        raise WrongValue("is no address that can be called", expected="expected http://HOST/v1 or https://HOST/v1")
    return text.rstrip("/")


class ChatSection(Section):
    """`chat`: a language model answers in the place of the intents (`chat.py`)."""

    base_url: Annotated[str, AfterValidator(_url)]
    """What `/chat/completions` is put behind, as http://127.0.0.1:11434/v1."""
    model: str
    api_key: str = Field(default="", repr=False)
    """Bearer token, as ${env:NAME} or ${file:/path}; empty: none is sent."""
    instructions: str = ""
    """Put before the session's own."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further members of the request, as `reasoning_effort: none`."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=60)] = 3.0
    silence_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    """Longest wait for the beginning of the answer, and for each next piece of it."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Longest time for the whole answer."""


class RecognizerSection(Section):
    """`recognizer`: an engine that hears any words, with a model from the disk (`ears.py`)."""

    engine: str
    model: Path
    """File or folder, as the engine wants it; relative to the brain file."""
    language: str = "en"
    """What callers speak, for engines whose model knows several."""

    def beside(self, folder: Path) -> RecognizerSection:
        """As a file in `folder` means it."""
        return self.model_copy(update={"model": folder / self.model})


class VoiceSection(Section):
    """One of `voices`: another engine under a voice's name (`voices.py`)."""

    engine: str
    voice: str
    """The engine's own name of the voice, or the path of its file; relative to the brain file."""

    def beside(self, folder: Path) -> VoiceSection:
        """As a file in `folder` means it, where it is one."""
        file = folder / self.voice
        return self.model_copy(update={"voice": str(file)}) if file.is_file() else self
