"""Voices of other engines than eSpeak NG: `voices` in a brain file, by the names that sessions ask for.

An engine is a factory `(voice) -> Synthesizer`. Flite's voices are Debian's (`libflite1`), a Piper voice is a file that
the operator has; nothing is downloaded. Other packages bring engines by entry points (`gateway.embedded_voices`). Like
eSpeak they run in the voice's own process, a sentence at a time.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from gateway.embedded.plugins import find_engine, need
from gateway.embedded.sections import VoiceSection
from gateway.errors import ResourceError

GROUP = "gateway.embedded_voices"
FLITE_VOICES = ("rms", "slt", "awb", "kal", "kal16")

_SLOWEST, _FASTEST = 0.25, 4.0


class Synthesizer(Protocol):
    """Speaks one sentence at a time."""

    sample_rate_hz: int

    def synthesize(self, text: str, speed: float, sink: Callable[[bytes], None]) -> None:
        """Speak `text`; `sink` is called with little-endian int16 at the engine's rate while it is being made."""
        ...


@cache
def open_voice(engine: str, voice: str) -> Synthesizer:
    """A voice of this process, loaded on first use.

    Raises:
        ResourceError: there is no such engine or voice, or it does not load.
    """
    check_voice(VoiceSection(engine=engine, voice=voice))
    factory = find_engine(engine, ENGINES, group=GROUP, kind="voice engine")
    try:
        return factory(voice)
    except ResourceError:
        raise
    except Exception as error:
        message = f"the voice engine {engine} cannot use {voice}: {type(error).__name__}: {error}"
        raise ResourceError(message) from error


def check_voice(section: VoiceSection) -> None:
    """Find out before anybody calls whether a voice can be used, without loading it.

    Raises:
        ResourceError: there is no such engine or voice, or its library is missing.
    """
    find_engine(section.engine, ENGINES, group=GROUP, kind="voice engine")
    if section.engine == "flite":
        if section.voice not in FLITE_VOICES:
            raise ResourceError(f"flite has no voice {section.voice!r}: expected one of {', '.join(FLITE_VOICES)}")
        _flite_library(f"libflite_cmu_us_{section.voice}.so.1")
    elif section.engine == "piper":
        need("piper-tts", kind="voice engine piper", install="piper-tts")
        for file in (section.voice, f"{section.voice}.json"):
            if not Path(file).is_file():
                raise ResourceError(f"a Piper voice is a file and its settings beside it; not there: {file}")


# --- flite ------------------------------------------------------------------------------------------------------------


class _Wave(ctypes.Structure):
    """flite's `cst_wave`."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


_StreamCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(_Wave), ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p
)


class _Streaming(ctypes.Structure):
    """The head of flite's `cst_audio_streaming_info`."""

    _fields_ = (("min_buffer_samples", ctypes.c_int), ("callback", _StreamCallback))


class _VoiceHead(ctypes.Structure):
    """The head of flite's `cst_voice`."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class FliteVoice:
    """One voice of flite (CMU), streamed: its first audio comes after some 10 to 40 ms of a sentence's making."""

    def __init__(self, voice: str) -> None:
        self._sink: Callable[[bytes], None] | None = None
        self._library = _flite_library("libflite.so.1")
        for part in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
            _flite_library(part)
        register = getattr(_flite_library(f"libflite_cmu_us_{voice}.so.1"), f"register_cmu_us_{voice}")
        register.restype = ctypes.POINTER(_VoiceHead)
        self._library.flite_init()
        self._voice = register(None)
        # The voice keeps the addresses of both for as long as it is there.
        self._callback = _StreamCallback(self._receive)
        self._library.new_audio_streaming_info.restype = ctypes.POINTER(_Streaming)
        self._streaming = self._library.new_audio_streaming_info()
        self._streaming.contents.callback = self._callback
        self._library.audio_streaming_info_val.restype = ctypes.c_void_p
        value = self._library.audio_streaming_info_val(self._streaming)
        features = ctypes.c_void_p(self._voice.contents.features)
        self._library.flite_feat_set(features, b"streaming_info", ctypes.c_void_p(value))
        self._library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        self.sample_rate_hz = self._measured_rate_hz()

    def synthesize(self, text: str, speed: float, sink: Callable[[bytes], None]) -> None:
        """Speak `text`."""
        stretch = 1.0 / min(_FASTEST, max(_SLOWEST, speed))
        features = ctypes.c_void_p(self._voice.contents.features)
        self._library.flite_feat_set_float(features, b"duration_stretch", ctypes.c_float(stretch))
        self._sink = sink
        try:
            self._make(text)
        finally:
            self._sink = None

    def _make(self, text: str) -> int:
        wave = self._library.flite_text_to_wave(text.replace("\0", " ").encode(), self._voice)
        rate_hz = int(wave.contents.sample_rate) if wave else 0
        if wave:
            self._library.delete_wave(wave)
        return rate_hz

    def _measured_rate_hz(self) -> int:
        """The rate is told with the audio only; the word also warms the voice up."""
        rate_hz = self._make("yes")
        if rate_hz <= 0:
            raise ResourceError("flite makes no audio")
        return rate_hz

    def _receive(self, wave: Any, start: int, size: int, _is_last: int, _streaming: int | None) -> int:
        if self._sink is not None and size > 0:
            address = ctypes.addressof(wave.contents.samples.contents) + 2 * start
            self._sink(ctypes.string_at(address, 2 * size))
        return 0


@cache
def _flite_library(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise ResourceError(f"the voice engine flite needs {name} (Debian: apt install libflite1): {error}") from error


# --- Piper ------------------------------------------------------------------------------------------------------------


class PiperVoice:
    """A neural voice of Piper, a whole sentence at once."""

    def __init__(self, voice: str) -> None:
        self._library: Any = importlib.import_module("piper")
        self._voice = self._library.PiperVoice.load(voice)
        self.sample_rate_hz = int(self._voice.config.sample_rate)

    def synthesize(self, text: str, speed: float, sink: Callable[[bytes], None]) -> None:
        """Speak `text`."""
        scale = (self._voice.config.length_scale or 1.0) / min(_FASTEST, max(_SLOWEST, speed))
        settings = self._library.SynthesisConfig(length_scale=scale)
        for chunk in self._voice.synthesize(text, syn_config=settings):
            sink(chunk.audio_int16_bytes)


ENGINES: dict[str, Callable[[str], Synthesizer]] = {"flite": FliteVoice, "piper": PiperVoice}
