"""The bench of the embedded server: what it counts, and the report that it makes of that."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from gateway.embedded.recognizer import NOTHING, Recognition
from gateway.simulate import bench_embedded, bench_hearing
from gateway.simulate.bench_embedded import EmbeddedBench, LatencyRow, VoiceRow, question_frames, sums
from gateway.simulate.bench_hearing import (
    ANSWERS,
    DEPARTMENTS,
    OFF_TOPIC,
    REQUESTS,
    HearingRow,
    PlainRecognizer,
    answers,
    departments,
    measure_hearing,
    reception,
    told,
    turn,
)

pytestmark = pytest.mark.heavy


def row(voice: str, right: int, baseline_right: int) -> HearingRow:
    return HearingRow(
        sentences="requests",
        voice=voice,
        line="clean",
        total=10,
        right=right,
        unsure=1,
        baseline_right=baseline_right,
    )


class Parrot:
    """Hears the same words in everything."""

    def __init__(self, heard: Recognition) -> None:
        self.heard = heard

    def recognize(self, *_: object) -> Recognition:
        return self.heard


@pytest.mark.parametrize("texts", [ANSWERS, REQUESTS])
def test_dialogue_means_what_the_table_says(texts: dict[str, str]) -> None:
    meanings = {text: told(reception().grammar.interpret(text)) for text in texts}
    assert meanings == {text: meant.replace("_", " ") for text, meant in texts.items()}


def test_tables_have_the_length_that_the_targets_speak_of() -> None:
    assert (len(DEPARTMENTS), len(ANSWERS), len(REQUESTS), len(OFF_TOPIC)) == (15, 10, 10, 20)
    assert set(departments().grammar.words) == set(" ".join(DEPARTMENTS).split())
    assert {intent for intent, _ in answers().grammar.phrases} == {"confirm", "deny"}


def test_off_topic_counts_as_right_when_it_is_asked_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_hearing, "PlainRecognizer", lambda: Parrot(Recognition(text="yes", fit=9)))
    rows = measure_hearing(voices=["caller"], lines=["clean"], recognizer=Parrot(NOTHING))  # type: ignore[arg-type]
    found = {row.sentences: (row.right, row.baseline_right) for row in rows}
    closed = {"departments": (0, 0), "yes/no alone": (0, 5)}
    assert found == {**closed, "yes and no": (0, 5), "requests": (0, 0), "off topic": (20, 0)}


def test_ratio_is_of_mistakes() -> None:
    assert row("a", right=8, baseline_right=4).ratio == 3.0
    assert row("a", right=10, baseline_right=4).ratio is None


def test_sum_is_over_the_voices() -> None:
    (total,) = sums((row("a", 8, 4), row("b", 9, 5)))
    assert (total.voice, total.total, total.right, total.baseline_right) == ("all", 20, 17, 9)


def test_report_tells_what_was_measured() -> None:
    latency = LatencyRow(
        calls=8,
        turns=32,
        median_ms=380,
        p95_ms=450,
        turn_detection_ms=300,
        cpu_percent_per_call=4.0,
        memory_mb=200,
    )
    voice = VoiceRow(voice="marin", first_audio_ms=0.4, times_real=400)
    result = EmbeddedBench(hearing=(row("a", 8, 4),), voices=(voice,), latency=(latency,))
    document = json.loads(json.dumps(result.as_json()))
    assert document["bench"] == "embedded"
    assert document["latency"][0]["median_ms"] == 380
    assert [told["voice"] for told in document["hearing"]] == ["a", "all"]
    text = result.as_text()
    assert all(part.as_text() in text for part in (latency, voice, row("a", 8, 4)))


def test_calls_that_are_named_are_all_that_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[tuple[int, ...], int]] = []

    async def measured(calls: tuple[int, ...], turns: int) -> tuple[LatencyRow, ...]:
        asked.append((calls, turns))
        return ()

    monkeypatch.setattr(bench_embedded, "measure_latency", measured)
    bench_embedded.run(calls=(20, 1), turns=2)
    assert asked == [((20, 1), 2)]
    assert "end of speech to first audio" in capsys.readouterr().out


def test_question_ends_at_its_last_sound() -> None:
    samples = np.zeros(160 * 10 + 7, dtype=np.int16)
    samples[160 * 2 : 160 * 5] = 3000
    samples[160 * 7] = 20
    frames, last = question_frames(samples)
    assert (len(frames), last) == (10, 4)
    assert {len(frame) for frame in frames} == {160}


LEAST_PYTHON_MB = 3.0
"""No interpreter has less."""


def test_cost_is_that_of_the_whole_family() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert len(bench_embedded.family(process.pid)) == 2
        assert bench_embedded.cpu_seconds(process.pid) > 0
        assert bench_embedded.memory_mb(process.pid) > 2 * LEAST_PYTHON_MB
        process.communicate("\n")


def test_plain_recogniser_hears_a_department() -> None:
    samples = turn("connect me with support", "caller", "clean", np.random.default_rng(1))
    assert PlainRecognizer().recognize(samples, departments().listening).text == "connect me with support"


@pytest.mark.heavy
async def test_callers_are_answered_and_what_they_cost_is_told() -> None:
    (latency,) = await bench_embedded.measure_latency(calls=(2,), turns=1)
    assert (latency.calls, latency.turns) == (2, 2)
    assert bench_embedded.SILENCE_MS < latency.turn_detection_ms <= latency.median_ms <= latency.p95_ms
    assert latency.cpu_percent_per_call > 0
