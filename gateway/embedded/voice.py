"""Text to speech by eSpeak NG, through ctypes on the library that the `espeakng-loader` wheel carries.

The library is one global machine: one voice, one callback, not thread-safe. `Espeak` guards it with a lock; the server
keeps it in a child process of its own (`worker.py`) and asks for one sentence at a time, so that several calls share it
fairly and a call that is interrupted wastes a few milliseconds. A sentence costs about 2 ms, its first 60 ms of audio
less than one.
"""

from __future__ import annotations

import ctypes
import re
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import Resampler, WireFormat, encode, resample
from gateway.embedded.extras import import_engine
from gateway.embedded.voices import Synthesizer
from gateway.errors import ResourceError

_SYNCHRONOUS_OUTPUT = 2
_CHUNK_MS = 60
_BLOCK_MS = 180
_UTF8 = 1
_IPA_PHONEMES = 0x02
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_SLOWEST_WPM, _FASTEST_WPM = 80, 450


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceStyle:
    """How one named voice sounds: eSpeak's voice and variant, pitch 0-100 (50 is the variant's own), words a minute."""

    espeak: str
    pitch: int = 50
    rate_wpm: int = 160


DEFAULT_VOICE = "marin"
CALLER_VOICE = "caller"

VOICES: dict[str, VoiceStyle] = {
    "marin": VoiceStyle(espeak="en-us+f3"),
    "cedar": VoiceStyle(espeak="en-us+m3"),
    "alloy": VoiceStyle(espeak="en-us+f3", pitch=40),
    "ash": VoiceStyle(espeak="en-us+m3", pitch=40),
    "ballad": VoiceStyle(espeak="en-us+m3", pitch=60),
    "coral": VoiceStyle(espeak="en-us+f2"),
    "echo": VoiceStyle(espeak="en-us+m7"),
    "sage": VoiceStyle(espeak="en-us+f4"),
    "shimmer": VoiceStyle(espeak="en-us+f3", pitch=65),
    "verse": VoiceStyle(espeak="en-us+m1"),
    # The telephone at the other end of a demo or a test: eSpeak's plain voice, never the agent's.
    CALLER_VOICE: VoiceStyle(espeak="en-us", rate_wpm=150),
}
"""The protocol's voice names (realtime `audio.output.voice`), each with a timbre of its own, and the test caller."""

LONGEST_SENTENCE = 300
"""Characters spoken at once; a longer sentence would keep the voice from other calls."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")

_AudioCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The synthesiser of this process. Audio is `int16` at `sample_rate_hz` (22.05 kHz).

    Raises:
        ResourceError: the `local` extra is not installed, or the library does not start.
    """

    def __init__(self) -> None:
        loader = import_engine("espeakng_loader")
        self._lock = threading.Lock()
        self._sink: Callable[[bytes], None] | None = None
        self._library = ctypes.CDLL(loader.get_library_path())
        data_path = loader.get_data_path().encode()
        self.sample_rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS_OUTPUT, _CHUNK_MS, data_path, 0))
        if self.sample_rate_hz <= 0:
            raise ResourceError("eSpeak NG does not start: its data files cannot be read")
        # Held for as long as the library: it keeps only the address.
        self._callback = _AudioCallback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if self._sink is not None and samples and count > 0:
            self._sink(ctypes.string_at(samples, count * 2))
        return 0

    def synthesize(self, text: str, style: VoiceStyle, speed: float, sink: Callable[[bytes], None]) -> None:
        """Speak `text`; `sink` is called with blocks of little-endian int16 while the sentence is being made."""
        words_per_minute = min(_FASTEST_WPM, max(_SLOWEST_WPM, round(style.rate_wpm * speed)))
        utterance = text.replace("\0", " ").encode()
        with self._lock:
            self._sink = sink
            try:
                self._library.espeak_SetVoiceByName(style.espeak.encode())
                self._library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
                self._library.espeak_SetParameter(_PARAMETER_PITCH, style.pitch, 0)
                self._library.espeak_Synth(utterance, len(utterance) + 1, 0, 1, 0, _UTF8, None, None)
                self._library.espeak_Synchronize()
            finally:
                self._sink = None

    def phonemes(self, text: str) -> str:
        """How American English says `text`, in IPA."""
        with self._lock:
            self._library.espeak_SetVoiceByName(b"en-us")
            rest = ctypes.c_char_p(text.encode())
            self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            found: bytes = self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA_PHONEMES) or b""
        return found.decode().strip()


_starting = threading.Lock()


def engine() -> Espeak:
    """This process's synthesiser, started on first use (about 10 ms); any thread may ask."""
    with _starting:  # two at once would both start the library, which has one state
        return _engine()


@cache
def _engine() -> Espeak:
    return Espeak()


def voice_style(name: str) -> VoiceStyle:
    """The style of a voice by its protocol name; a custom voice's id sounds like the default."""
    return VOICES.get(name, VOICES[DEFAULT_VOICE])


def sentences(text: str) -> list[str]:
    """Split a reply where a speaker draws breath: one synthesis request each, none longer than 300 characters."""
    parts = (part.strip() for part in _SENTENCE_END.split(text.strip()))
    return [line for part in parts if part for line in textwrap.wrap(part, LONGEST_SENTENCE) or [part]]


class EspeakVoice:
    """One of `VOICES`, as an engine of its own (`voices.py`)."""

    def __init__(self, name: str) -> None:
        self._style = voice_style(name)
        self.sample_rate_hz = engine().sample_rate_hz

    def synthesize(self, text: str, speed: float, sink: Callable[[bytes], None]) -> None:
        """Speak `text`."""
        engine().synthesize(text, self._style, speed, sink)


def stream(text: str, voice: Synthesizer, speed: float, wire_format: WireFormat, sink: Callable[[bytes], None]) -> None:
    """Speak `text` into `sink` in blocks of `wire_format`: 60 ms at once, then 180 ms each."""
    resampler = Resampler(voice.sample_rate_hz, wire_format.sample_rate_hz)
    waiting = bytearray()
    wanted_ms = _CHUNK_MS

    def convert(block: bytes) -> None:
        nonlocal wanted_ms
        waiting.extend(encode(resampler.process(np.frombuffer(block, dtype="<i2")), wire_format))
        if len(waiting) >= wanted_ms * wire_format.bytes_per_ms:
            sink(bytes(waiting))
            waiting.clear()
            wanted_ms = _BLOCK_MS

    voice.synthesize(text, speed, convert)
    waiting.extend(encode(resampler.flush(), wire_format))
    sink(bytes(waiting))


def speak(text: str, *, voice: str = CALLER_VOICE, sample_rate_hz: int = 8000, speed: float = 1.0) -> NDArray[np.int16]:
    """Speak `text` at once, in this process: `int16[n]` at `sample_rate_hz` (any integer rate, telephones have 8000).

    For callers that are made, not answered: the demo's telephone and tests. The default voice differs from the agent's.

    Raises:
        ResourceError: the `local` extra is not installed.
    """
    synthesizer = engine()
    blocks: list[bytes] = []
    synthesizer.synthesize(text, voice_style(voice), speed, blocks.append)
    return resample(np.frombuffer(b"".join(blocks), dtype="<i2"), synthesizer.sample_rate_hz, sample_rate_hz)
