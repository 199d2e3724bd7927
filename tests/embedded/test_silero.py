"""The network that hears speech: what its makers' own evaluation says, for one stream and for many at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.embedded.silero import SpeechModel
from gateway.embedded.vad import CHUNK_SAMPLES
from tests.embedded.silero_reference import REFERENCE
from tests.embedded.telephone import said

Samples = NDArray[np.int16]

with np.load(REFERENCE) as _stored:
    NAMES = [str(name) for name in _stored["names"]]
    SOUNDS: Samples = _stored["samples"].reshape(len(NAMES), -1, CHUNK_SAMPLES)
    ANSWERS: NDArray[np.float32] = _stored["probabilities"]

HOW_NEAR = 2e-5


def probabilities(model: SpeechModel, stream: int, chunks: Samples) -> NDArray[np.float64]:
    """What is said to the chunks of one stream, one after the other."""
    return np.array([model.probabilities({stream: chunk})[stream] for chunk in chunks])


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_published_network(name: str) -> None:
    number = NAMES.index(name)
    assert probabilities(SpeechModel(), 1, SOUNDS[number]) == pytest.approx(ANSWERS[number], abs=HOW_NEAR)


def test_reference_tells_speech_from_all_else() -> None:
    means = dict(zip(NAMES, ANSWERS.mean(axis=1), strict=True))
    assert min(means["speech"], means["noisy speech"]) > 0.8
    assert max(means["noise"], means["hum"], means["silence"]) < 0.05


def test_streams_judged_at_once_hear_nothing_of_each_other() -> None:
    model = SpeechModel()
    for index in range(SOUNDS.shape[1]):
        found = model.probabilities({stream: sound[index] for stream, sound in enumerate(SOUNDS)})
        assert [found[stream] for stream in range(len(NAMES))] == pytest.approx(list(ANSWERS[:, index]), abs=HOW_NEAR)


@given(st.lists(st.sets(st.integers(0, len(NAMES) - 1), min_size=1), max_size=40))
def test_streams_come_in_any_company_and_order(batches: list[set[int]]) -> None:
    model, heard = SpeechModel(), [0] * len(NAMES)
    for batch in batches:
        found = model.probabilities({stream: SOUNDS[stream][heard[stream]] for stream in sorted(batch, reverse=True)})
        for stream, probability in found.items():
            assert probability == pytest.approx(ANSWERS[stream][heard[stream]], abs=HOW_NEAR)
            heard[stream] += 1


def test_more_streams_than_there_are_rows_keep_what_they_heard() -> None:
    model = SpeechModel()
    speech = SOUNDS[NAMES.index("speech")]
    for index in range(10):
        model.probabilities({1: speech[index]})
    for stream in range(2, 50):
        model.probabilities({stream: SOUNDS[NAMES.index("noise")][0]})
    assert len(model) == 49
    assert probabilities(model, 1, speech[10:]) == pytest.approx(ANSWERS[NAMES.index("speech")][10:], abs=HOW_NEAR)


def test_stream_that_ends_leaves_its_row_and_nothing_in_it() -> None:
    model = SpeechModel()
    speech, silence = SOUNDS[NAMES.index("speech")], SOUNDS[NAMES.index("silence")]
    for stream in range(1000):
        probabilities(model, stream, speech[10:12])
        model.forget(stream)
        model.forget(stream + 5000)
    assert len(model) == 0
    assert len(model._tails) == 8
    answers = ANSWERS[NAMES.index("silence")][:3]
    assert probabilities(model, 1, silence[:3]) == pytest.approx(answers, abs=HOW_NEAR)
    assert probabilities(model, 2, silence[:3]) == pytest.approx(answers, abs=HOW_NEAR)


def test_loudest_samples_are_judged_as_any_other() -> None:
    loud = np.resize(np.array([-32768, 32767], np.int16), (20, CHUNK_SAMPLES))
    found = probabilities(SpeechModel(), 1, loud)
    assert ((found >= 0) & (found <= 1)).all()


def test_telephone_speech_is_told_from_the_silence_behind_it() -> None:
    speech = said("Could you connect me to the billing department?", "coral")
    samples = np.concatenate((speech, np.zeros(8000, np.int16)))
    found = probabilities(SpeechModel(), 1, samples[: len(samples) // 256 * 256].reshape(-1, 256))
    assert found[: len(speech) // 256].mean() > 0.7
    assert found[-20:].max() < 0.1
