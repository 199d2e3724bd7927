"""Voices of other engines: found by name, held against what is there, and streamed like eSpeak's."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gateway.embedded.audio import WireFormat
from gateway.embedded.brain import load_script
from gateway.embedded.engines import EngineOptions, Engines
from gateway.embedded.grammar import normalize
from gateway.embedded.recognizer import recognize
from gateway.embedded.sections import VoiceSection
from gateway.embedded.voice import stream
from gateway.embedded.voices import FLITE_VOICES, check_voice, open_voice
from gateway.embedded.worker import make_voice
from gateway.errors import ResourceError
from tests.embedded.telephone import decoded

SENTENCES = ("We are open from Monday to Friday.", "You find us right next to the station.")


def has_flite() -> bool:
    try:
        check_voice(VoiceSection(engine="flite", voice="slt"))
    except ResourceError:
        return False
    return True


needs_flite = pytest.mark.skipif(not has_flite(), reason="flite is not on this machine (Debian: libflite1)")


class Whistle:
    """An engine with one note, longer for a longer text."""

    sample_rate_hz = 16000

    def __init__(self, voice: str) -> None:
        self.voice = voice

    def synthesize(self, text: str, speed: float, sink: Callable[[bytes], None]) -> None:
        for _ in range(round(len(text) / speed)):
            sink(np.full(160, 4000 if self.voice == "low" else 8000, dtype="<i2").tobytes())


@pytest.fixture
def _whistle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entry = SimpleNamespace(name="whistle", load=lambda: Whistle)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group: [entry] if group == "gateway.embedded_voices" else []
    )
    open_voice.cache_clear()
    yield
    open_voice.cache_clear()


@pytest.mark.usefixtures("_whistle")
@pytest.mark.parametrize("form", list(WireFormat))
def test_voice_of_another_package_is_streamed_in_every_format(form: WireFormat) -> None:
    blocks: list[bytes] = []
    stream("x" * 100, open_voice("whistle", "high"), 1.0, form, blocks.append)
    assert sum(map(len, blocks)) / form.bytes_per_ms == pytest.approx(1000, abs=5)
    assert len(blocks[0]) / form.bytes_per_ms == pytest.approx(60, abs=11)


@pytest.mark.usefixtures("_whistle")
def test_worker_speaks_by_the_engine_that_a_sentence_names() -> None:
    role = make_voice()
    lengths = []
    for other in (["whistle", "low"], None):
        blocks: list[bytes] = []
        request = {"text": "x" * 50, "voice": "marin", "other": other, "speed": 1.0, "format": "audio/pcmu"}
        role(json.dumps(request).encode(), blocks.append)
        lengths.append(len(b"".join(blocks)))
    assert lengths[0] == pytest.approx(4000, abs=40)
    assert lengths[1] != lengths[0]


@pytest.mark.parametrize(
    ("engine", "voice", "told"),
    [
        ("nobody", "x", "no voice engine 'nobody': expected one of flite, piper"),
        ("flite", "elvis", "flite has no voice 'elvis': expected one of rms, slt"),
        ("piper", "/nowhere/voice.onnx", "piper-tts"),
    ],
)
def test_voice_that_cannot_be_used_is_told(engine: str, voice: str, told: str) -> None:
    with pytest.raises(ResourceError, match=told):
        check_voice(VoiceSection(engine=engine, voice=voice))


async def test_server_does_not_start_without_a_voice_that_is_named() -> None:
    engines = Engines(EngineOptions(voices={"marin": VoiceSection(engine="flite", voice="elvis")}))
    with pytest.raises(ResourceError, match="elvis"):
        await engines.start()


def test_file_of_a_voice_or_model_lies_beside_the_brain(tmp_path: Path) -> None:
    (tmp_path / "anna.onnx").touch()
    brain = tmp_path / "brain.yaml"
    brain.write_text(
        "name: x\ngreeting: Hi.\nfallback: [What]\nintents: {a: {phrases: [yes], reply: No.}}\n"
        "recognizer: {engine: vosk, model: ears}\n"
        "voices: {marin: {engine: piper, voice: anna.onnx}, cedar: {engine: flite, voice: slt}}\n",
        encoding="utf-8",
    )
    script = load_script(brain)
    assert script.recognizer is not None
    assert script.recognizer.model == tmp_path / "ears"
    assert {name: voice.voice for name, voice in script.voices.items()} == {
        "marin": str(tmp_path / "anna.onnx"),
        "cedar": "slt",
    }


def test_piper_voice_is_a_file_with_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spoken: dict[str, Any] = {}

    class PiperVoice:
        config = SimpleNamespace(sample_rate=22050, length_scale=1.2)

        @staticmethod
        def load(path: str) -> PiperVoice:
            spoken["path"] = path
            return PiperVoice()

        def synthesize(self, text: str, syn_config: Any) -> Iterator[Any]:
            spoken.update(text=text, scale=syn_config.length_scale)
            yield SimpleNamespace(audio_int16_bytes=bytes(200))

    library = SimpleNamespace(PiperVoice=PiperVoice, SynthesisConfig=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "piper", library)  # type: ignore[arg-type]
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.8.0")
    voice = str(tmp_path / "anna.onnx")
    with pytest.raises(ResourceError, match=r"not there: .*/anna\.onnx"):
        open_voice("piper", voice)
    (tmp_path / "anna.onnx").touch()
    with pytest.raises(ResourceError, match=r"not there: .*/anna\.onnx\.json"):
        open_voice("piper", voice)
    (tmp_path / "anna.onnx.json").touch()
    blocks: list[bytes] = []
    synthesizer = open_voice("piper", voice)
    synthesizer.synthesize("Hello.", 1.5, blocks.append)
    assert (synthesizer.sample_rate_hz, blocks) == (22050, [bytes(200)])
    assert spoken == {"path": voice, "text": "Hello.", "scale": pytest.approx(0.8)}
    open_voice.cache_clear()


@needs_flite
@pytest.mark.parametrize("voice", FLITE_VOICES)
def test_flite_says_the_words_in_pieces(voice: str) -> None:
    synthesizer = open_voice("flite", voice)
    blocks: list[bytes] = []
    stream(SENTENCES[1], synthesizer, 1.0, WireFormat.PCMU, blocks.append)
    assert len(blocks) > 8
    assert recognize(decoded(b"".join(blocks), "audio/pcmu"), SENTENCES) == normalize(SENTENCES[1])


@needs_flite
def test_flite_speaks_as_fast_as_it_is_asked_to() -> None:
    lengths = []
    for speed in (0.7, 1.0, 1.4):
        blocks: list[bytes] = []
        open_voice("flite", "slt").synthesize(SENTENCES[0], speed, blocks.append)
        lengths.append(len(b"".join(blocks)))
    assert lengths[0] > 1.2 * lengths[1] > 1.2 * 1.2 * lengths[2]
