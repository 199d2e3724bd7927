"""Where turns begin and end: by probabilities, and by what the detectors make of speech, silence and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedded.vad import (
    CHUNK_MS,
    CHUNK_SAMPLES,
    PAUSE_MS,
    SpeechGate,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
    TurnOptions,
)
from tests.bench import turns as bench
from tests.embedded.telephone import said

Found = list[SpeechStarted | SpeechStopped]


def events(probabilities: list[float], **options: float) -> list[TurnEvent]:
    """What a detector says to chunk after chunk."""
    detector = TurnDetector(TurnOptions(**options))  # type: ignore[arg-type]
    found = (detector.feed((n + 1) * CHUNK_MS, probability) for n, probability in enumerate(probabilities))
    return [event for event in found if event is not None]


def turns(probabilities: list[float], **options: float) -> Found:
    """The same without the pauses."""
    return [event for event in events(probabilities, **options) if not isinstance(event, SpeechPaused)]


def test_turn_is_timed_with_padding_before_and_silence_behind() -> None:
    found = turns([0.0] * 20 + [1.0] * 10 + [0.0] * 20, prefix_padding_ms=300, silence_duration_ms=320)
    assert found == [SpeechStarted(20 * CHUNK_MS - 300), SpeechStopped(30 * CHUNK_MS + 320)]


def test_padding_ends_where_the_audio_begins() -> None:
    assert turns([1.0, 1.0], prefix_padding_ms=300) == [SpeechStarted(0)]


def test_one_chunk_is_a_click() -> None:
    assert turns([0.0, 1.0] * 20) == []


def test_pause_shorter_than_the_silence_does_not_end_the_turn() -> None:
    pause = [0.0] * 9
    assert turns([1.0] * 5 + pause + [1.0] * 5 + pause, silence_duration_ms=320) == [SpeechStarted(0)]


def test_weak_syllable_does_not_end_the_turn() -> None:
    assert turns([0.9] * 5 + [0.4] * 50, threshold=0.5) == [SpeechStarted(0)]
    assert turns([0.4] * 50, threshold=0.5) == []


@pytest.mark.parametrize(("threshold", "begins"), [(0.5, True), (0.6, True), (0.7, False)])
def test_threshold_is_what_counts_as_speech(threshold: float, *, begins: bool) -> None:
    assert bool(turns([0.6] * 10, threshold=threshold)) is begins


def test_second_turn_cannot_begin_within_the_first() -> None:
    first = [1.0] * 5 + [0.0] * 2
    found = turns([*first, 1.0, 1.0], prefix_padding_ms=5000, silence_duration_ms=64)
    assert found == [SpeechStarted(0), SpeechStopped(7 * CHUNK_MS), SpeechStarted(7 * CHUNK_MS)]


def test_reset_forgets_the_running_turn() -> None:
    detector = TurnDetector(TurnOptions())
    detector.feed(32, 1.0)
    detector.feed(64, 1.0)
    assert detector.is_speaking
    detector.reset(64)
    assert not detector.is_speaking
    assert detector.feed(96, 1.0) is None
    assert detector.feed(128, 1.0) == SpeechStarted(64)


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(0, 1000), st.integers(0, 1000))
def test_turns_alternate_and_do_not_overlap(probabilities: list[float], padding_ms: int, silence_ms: int) -> None:
    found = turns(probabilities, prefix_padding_ms=padding_ms, silence_duration_ms=silence_ms)
    assert [type(event) for event in found] == ([SpeechStarted, SpeechStopped] * len(found))[: len(found)]
    times = [event.audio_start_ms if isinstance(event, SpeechStarted) else event.audio_end_ms for event in found]
    assert times == sorted(times)


def test_every_pause_is_told_before_it_is_known_to_be_the_end() -> None:
    pause = [0.0] * 6
    found = events([1.0] * 5 + pause + [1.0] * 5 + [0.0] * 20, silence_duration_ms=320)
    assert found == [
        SpeechStarted(0),
        SpeechPaused(5 * CHUNK_MS + PAUSE_MS),
        SpeechPaused(16 * CHUNK_MS + PAUSE_MS),
        SpeechStopped(16 * CHUNK_MS + 320),
    ]


@pytest.mark.parametrize(("silence_ms", "is_told"), [(PAUSE_MS, False), (PAUSE_MS + 1, True)])
def test_end_that_comes_with_the_pause_is_told_alone(silence_ms: int, *, is_told: bool) -> None:
    found = events([1.0] * 5 + [0.0] * 20, silence_duration_ms=silence_ms)
    assert any(isinstance(event, SpeechPaused) for event in found) is is_told


def test_what_is_far_quieter_than_the_turn_is_silence_whatever_the_network_still_believes() -> None:
    detector = TurnDetector(TurnOptions(silence_duration_ms=320))
    levels = [1000.0] * 5 + [17.0] * 10
    found = [detector.feed((n + 1) * CHUNK_MS, 1.0, level) for n, level in enumerate(levels)]
    assert [event for event in found if event is not None][-1] == SpeechStopped(5 * CHUNK_MS + 320)


def test_quiet_voice_after_a_loud_word_still_speaks() -> None:
    detector = TurnDetector(TurnOptions(silence_duration_ms=320))
    levels = [1000.0] * 5 + [19.0] * 50
    found = [detector.feed((n + 1) * CHUNK_MS, 1.0, level) for n, level in enumerate(levels)]
    assert [event for event in found if event is not None] == [SpeechStarted(0)]


def test_loud_turn_does_not_make_the_next_one_silent() -> None:
    detector = TurnDetector(TurnOptions(silence_duration_ms=64))
    for n, level in enumerate([30000.0] * 5 + [0.0] * 5, 1):
        detector.feed(n * CHUNK_MS, float(level > 0), level)
    found = [detector.feed(n * CHUNK_MS, 1.0, 100.0) for n in range(11, 60)]
    assert [event for event in found if event is not None] == [SpeechStarted(224)]


def chunks(samples: np.ndarray[tuple[int], np.dtype[np.int16]]) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    return samples[: len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)


def test_gate_opens_for_speech_and_stays_open_a_moment() -> None:
    gate = SpeechGate()
    silent = np.zeros(CHUNK_SAMPLES, np.int16)
    assert not gate.is_open(silent)
    speech = [gate.is_open(chunk) for chunk in chunks(said("I would like to speak to sales."))]
    assert sum(speech) > 0.8 * len(speech)
    after = [gate.is_open(silent) for _ in range(40)]
    assert after == sorted(after, reverse=True)
    assert 200 <= sum(after) * CHUNK_MS <= 640
    assert not after[-1]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("line", "cuts", "onset_ms", "end_ms"),
    # eSpeak says nothing twice in the same way: there is room above what `tests.bench.turns` shows.
    [("clean", 0, (110, 170), (285, 320)), ("20 dB", 3, (110, 170), (400, 470)), ("10 dB", 4, (130, 190), (420, 530))],
)
def test_turns_of_speech_on_the_telephone_are_found(
    line: str, cuts: int, onset_ms: tuple[int, int], end_ms: tuple[int, int]
) -> None:
    found = bench.measure(line, count=32)
    assert (found.missed, found.false) == (0, 0)
    assert found.cuts <= cuts
    assert (np.percentile(found.onsets_ms, [50, 95]) <= onset_ms).all()
    assert (np.percentile(found.ends_ms, [50, 95]) <= end_ms).all()
