"""Recognisers of other engines: found by name, held against what is there, and fed a turn as each of them wants it."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.embedded import ears
from gateway.embedded.automaton import Automaton
from gateway.embedded.ears import check_recognizer, open_recognizer
from gateway.embedded.engines import EngineOptions, Engines
from gateway.embedded.recognizer import NOTHING, Listening, Recognizer
from gateway.embedded.sections import RecognizerSection
from gateway.embedded.worker import make_recognizer
from gateway.errors import ResourceError

TURN = (np.arange(8000) % 200 - 100).astype(np.int16)
ANYTHING = Listening(automaton=Automaton(arcs=((0, 1, "yes", 1.0),), final=1), words=("yes",))


class Stub:
    """An engine that says how loud the turn was."""

    def __init__(self, section: RecognizerSection) -> None:
        self.section = section

    def hear(self, samples: NDArray[np.int16]) -> str:
        return f"{self.section.model.name}  hears {np.abs(samples).max()} " if samples.any() else ""


class Broken:
    """An engine that does not take the model."""

    def __init__(self, _section: RecognizerSection) -> None:
        raise ValueError("bad magic")


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages that bring recognisers, and one that cannot be imported."""

    def missing() -> object:
        raise ImportError("no module named theirs")

    entries = [
        SimpleNamespace(name="stub", load=lambda: Stub),
        SimpleNamespace(name="broken", load=lambda: Broken),
        SimpleNamespace(name="theirs", load=missing),
    ]
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group: entries if group == "gateway.embedded_recognizers" else []
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, object], None]:
    """Puts a module in the place of an engine's package."""
    versions: set[str] = set()
    real = importlib.metadata.version

    def version(name: str) -> str:
        return "1.0" if name in versions else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)

    def install(package: str, module: str, content: object) -> None:
        versions.add(package)
        monkeypatch.setitem(sys.modules, module, content)  # type: ignore[arg-type]

    return install


def section(engine: str, model: Path) -> RecognizerSection:
    return RecognizerSection(engine=engine, model=model, language="de")


def test_grammar_is_the_default() -> None:
    assert isinstance(open_recognizer(None), Recognizer)


@pytest.mark.usefixtures("stubs")
def test_engine_of_another_package_hears_the_turn_and_is_certain(tmp_path: Path) -> None:
    recognizer = open_recognizer(section("stub", tmp_path))
    recognizer.prepare(ANYTHING)
    heard = recognizer.recognize(TURN, ANYTHING)
    assert heard.text == f"{tmp_path.name} hears 100"
    assert heard.is_certain
    assert heard.log_probability is None
    assert recognizer.recognize(np.zeros(800, np.int16), ANYTHING) == NOTHING


@pytest.mark.usefixtures("stubs")
def test_worker_runs_the_engine_that_it_is_given(tmp_path: Path) -> None:
    role = make_recognizer(section("stub", tmp_path).model_dump_json())
    answers: list[bytes] = []
    request = {"arcs": ANYTHING.automaton.arcs, "final": 1, "words": ["yes"]}
    request |= {"keywords": [], "wants_beginning": False}
    head = json.dumps(request).encode() + b"\n"
    role(head, answers.append)
    assert answers == []
    role(head + TURN.tobytes(), answers.append)
    assert json.loads(answers[0])["text"] == f"{tmp_path.name} hears 100"


@pytest.mark.usefixtures("stubs")
@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("nobody", "no recogniser 'nobody': expected one of broken, faster-whisper, sherpa-onnx, stub, theirs, vosk"),
        ("theirs", "'theirs' cannot be used: ImportError: no module named theirs"),
        ("broken", "broken cannot use .*: ValueError: bad magic"),
        ("vosk", "needs the package vosk: pip install vosk"),
    ],
)
def test_engine_that_cannot_be_used_is_told(engine: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=told):
        open_recognizer(section(engine, tmp_path))


@pytest.mark.usefixtures("stubs")
def test_model_that_is_not_there_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"model of the recogniser stub is not there: .*/nothing"):
        check_recognizer(section("stub", tmp_path / "nothing"))


async def test_server_does_not_start_without_the_model(tmp_path: Path) -> None:
    engines = Engines(EngineOptions(recognizer=section("vosk", tmp_path / "nothing")))
    with pytest.raises(ResourceError, match="vosk"):
        await engines.start()


# ---- the engines that are named here -------------------------------------------------------------------------------


def test_vosk_is_given_telephone_audio_as_it_is(installed: Any, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    class KaldiRecognizer:
        def __init__(self, model: str, rate_hz: int) -> None:
            seen.update(model=model, rate_hz=rate_hz)

        def AcceptWaveform(self, data: bytes) -> int:  # noqa: N802
            seen["data"] = data
            return 1

        def FinalResult(self) -> str:  # noqa: N802
            return '{"text": "two beers please"}'

    library = SimpleNamespace(SetLogLevel=lambda _: None, Model=lambda path: path, KaldiRecognizer=KaldiRecognizer)
    installed("vosk", "vosk", library)
    assert open_recognizer(section("vosk", tmp_path)).recognize(TURN, ANYTHING).text == "two beers please"
    assert seen == {"model": str(tmp_path), "rate_hz": 8000, "data": TURN.tobytes()}


def test_sherpa_is_given_the_files_of_the_folder_and_the_whole_turn(installed: Any, tmp_path: Path) -> None:
    for name, size in (("encoder-1.onnx", 9), ("encoder-1.int8.onnx", 3), ("decoder.onnx", 3), ("joiner.onnx", 3)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "tokens.txt").touch()
    seen: dict[str, Any] = {"steps": 0}

    class Stream:
        def accept_waveform(self, rate_hz: int, samples: NDArray[np.float32]) -> None:
            seen.update(rate_hz=rate_hz, samples=samples)

        def input_finished(self) -> None:
            seen["is_finished"] = True

    def decode(_: object) -> None:
        seen["steps"] += 1

    def from_transducer(**files: Any) -> SimpleNamespace:
        seen["files"] = {name: Path(str(file)).name for name, file in files.items()}
        return SimpleNamespace(
            create_stream=Stream,
            is_ready=lambda _: seen["steps"] < 3,
            decode_stream=decode,
            get_result=lambda _: "TWO BEERS",
        )

    installed(
        "sherpa-onnx",
        "sherpa_onnx",
        SimpleNamespace(OnlineRecognizer=SimpleNamespace(from_transducer=from_transducer)),
    )
    assert open_recognizer(section("sherpa-onnx", tmp_path)).recognize(TURN, ANYTHING).text == "two beers"
    assert seen["files"]["encoder"] == "encoder-1.int8.onnx"
    assert (seen["rate_hz"], seen["is_finished"], seen["steps"]) == (8000, True, 3)
    assert len(seen["samples"]) == len(TURN) + 4000
    assert np.abs(seen["samples"]).max() == pytest.approx(100 / 32768)


def test_sherpa_folder_without_a_part_is_told(installed: Any, tmp_path: Path) -> None:
    installed("sherpa-onnx", "sherpa_onnx", SimpleNamespace())
    with pytest.raises(ResourceError, match="encoder"):
        open_recognizer(section("sherpa-onnx", tmp_path))


def test_whisper_is_given_16_khz_and_never_the_network(installed: Any, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    class WhisperModel:
        def __init__(self, path: str, **options: Any) -> None:
            seen.update(path=path, **options)

        def transcribe(self, audio: NDArray[np.float32], **options: Any) -> tuple[list[Any], None]:
            seen.update(samples=len(audio), **options)
            return [SimpleNamespace(text=" Two beers,"), SimpleNamespace(text=" please. ")], None

    installed("faster-whisper", "faster_whisper", SimpleNamespace(WhisperModel=WhisperModel))
    assert open_recognizer(section("faster-whisper", tmp_path)).recognize(TURN, ANYTHING).text == "Two beers, please."
    assert (seen["path"], seen["samples"], seen["language"]) == (str(tmp_path), 16000, "de")
    assert seen["local_files_only"] is True


def test_every_engine_is_named_as_pip_knows_it() -> None:
    assert set(ears.ENGINES) == {"vosk", "sherpa-onnx", "faster-whisper"}
