"""Recognisers that hear any words, with models that the operator has: `recognizer` in a brain file.

None is brought along and nothing is downloaded: the engine's package is installed by the operator, its model is a path.
Without a grammar nothing is forced onto a phrase; a dialogue looks for its phrases in the words, and a language model
takes them as they are. An engine is a factory `(RecognizerSection) -> Ear`; other packages bring theirs by the entry
point group `gateway.embedded_recognizers`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ, resample
from gateway.embedded.confidence import CERTAIN_FROM
from gateway.embedded.plugins import find_engine, need
from gateway.embedded.recognizer import NOTHING, Listening, Recognition, Recognizer
from gateway.embedded.sections import RecognizerSection
from gateway.errors import ResourceError

GROUP = "gateway.embedded_recognizers"
_WIDEBAND_HZ = 16000


class Ear(Protocol):
    """Turns one turn into words."""

    def hear(self, samples: NDArray[np.int16]) -> str:
        """The words in `int16[n]` at 8 kHz; empty where there are none."""
        ...


class OpenRecognizer:
    """An `Ear` in the place of the grammar's recogniser: what it hears is certain."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def prepare(self, listening: Listening) -> None:
        """Nothing: there is no grammar."""

    def recognize(
        self, samples: NDArray[np.int16], _listening: Listening, *, wants_beginning: bool = False
    ) -> Recognition:
        """Decode one turn, `int16[n]` at 8 kHz; without a grammar there are no unfinished phrases."""
        text = " ".join(self._ear.hear(samples).split())
        return Recognition(text=text, fit=CERTAIN_FROM, is_measured=False) if text else NOTHING


def open_recognizer(section: RecognizerSection | None) -> Recognizer | OpenRecognizer:
    """The recogniser of a brain file; PocketSphinx with its grammar where none is named.

    Raises:
        ResourceError: there is no such engine, its package or model is missing, or it does not load.
    """
    if section is None:
        return Recognizer()
    check_recognizer(section)
    factory = find_engine(section.engine, ENGINES, group=GROUP, kind="recogniser")
    try:
        return OpenRecognizer(factory(section))
    except ResourceError:
        raise
    except Exception as error:
        message = f"the recogniser {section.engine} cannot use {section.model}: {type(error).__name__}: {error}"
        raise ResourceError(message) from error


def check_recognizer(section: RecognizerSection) -> None:
    """Find out before anybody calls whether a recogniser can be used, without loading it.

    Raises:
        ResourceError: there is no such engine, or its package or model is missing.
    """
    find_engine(section.engine, ENGINES, group=GROUP, kind="recogniser")
    if section.engine in ENGINES:
        need(section.engine, kind=f"recogniser {section.engine}", install=section.engine)
    if not section.model.exists():
        raise ResourceError(f"the model of the recogniser {section.engine} is not there: {section.model}")


class VoskEar:
    """Vosk (Kaldi), a folder as its site offers them; takes telephone audio as it comes."""

    def __init__(self, section: RecognizerSection) -> None:
        self._library: Any = importlib.import_module("vosk")
        self._library.SetLogLevel(-1)
        self._model = self._library.Model(str(section.model))

    def hear(self, samples: NDArray[np.int16]) -> str:
        """Vosk's final result."""
        recognizer = self._library.KaldiRecognizer(self._model, LINE_RATE_HZ)
        recognizer.AcceptWaveform(samples.astype("<i2").tobytes())
        return str(json.loads(recognizer.FinalResult()).get("text", ""))


class SherpaEar:
    """sherpa-onnx, a folder with a streaming transducer: tokens.txt, and encoder, decoder and joiner in ONNX."""

    def __init__(self, section: RecognizerSection) -> None:
        library: Any = importlib.import_module("sherpa_onnx")
        parts = {name: str(_only_file(section.model, f"*{name}*.onnx")) for name in ("encoder", "decoder", "joiner")}
        tokens = str(_only_file(section.model, "tokens.txt"))
        self._recognizer = library.OnlineRecognizer.from_transducer(tokens=tokens, num_threads=1, **parts)

    def hear(self, samples: NDArray[np.int16]) -> str:
        """The whole turn at once; sherpa-onnx resamples it, and wants half a second of silence behind it."""
        stream = self._recognizer.create_stream()
        padded = np.concatenate((samples, np.zeros(LINE_RATE_HZ // 2, np.int16)))
        stream.accept_waveform(LINE_RATE_HZ, padded.astype(np.float32) / 32768)
        stream.input_finished()
        while self._recognizer.is_ready(stream):
            self._recognizer.decode_stream(stream)
        return str(self._recognizer.get_result(stream)).lower()


class WhisperEar:
    """faster-whisper (CTranslate2), a folder with a converted model; turns in which it hears no speech are silence."""

    def __init__(self, section: RecognizerSection) -> None:
        library: Any = importlib.import_module("faster_whisper")
        self._language = section.language
        self._model = library.WhisperModel(
            str(section.model), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True
        )

    def hear(self, samples: NDArray[np.int16]) -> str:
        """Greedy decoding of the turn, without the memory of an earlier one."""
        audio = resample(samples, LINE_RATE_HZ, _WIDEBAND_HZ).astype(np.float32) / 32768
        segments, _ = self._model.transcribe(
            audio,
            language=self._language,
            beam_size=1,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(str(segment.text).strip() for segment in segments)


def _only_file(folder: Path, pattern: str) -> Path:
    """The file that `pattern` names; of several the smallest, which is the quantised one."""
    found = sorted(folder.glob(pattern), key=lambda file: file.stat().st_size)
    if not found:
        raise ResourceError(f"the model folder {folder} has no {pattern}")
    return found[0]


ENGINES: dict[str, Callable[[RecognizerSection], Ear]] = {
    "vosk": VoskEar,
    "sherpa-onnx": SherpaEar,
    "faster-whisper": WhisperEar,
}
"""By the name of the package that pip installs."""
