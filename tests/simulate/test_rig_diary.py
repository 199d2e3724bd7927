"""What a scripted session notes of a caller that it knows by a mark."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, AudioFormat
from gateway.simulate.load import words
from gateway.simulate.marks import mark
from gateway.simulate.rig.diary import SessionDiary


def append_of(sound: np.ndarray, form: AudioFormat) -> bytes:
    law = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}.get(form)
    return bytes(sound.astype("<i2").tobytes() if law is None else codec.encode(sound, law).tobytes())


@pytest.mark.parametrize("form", [AudioFormat.PCM16_8K, AudioFormat.PCMU, AudioFormat.PCMA])
def test_a_caller_is_known_from_its_mark_on_and_greetings_are_no_replies(form: AudioFormat) -> None:
    diary, said = SessionDiary(), words(5, 321)
    diary.note_reply(1)
    diary.hear(append_of(said[2400:2880], form), form)
    assert diary.number is None
    diary.note_turn(2)
    diary.hear(append_of(said[480:960], form), form)
    diary.note_reply(3)
    assert diary.told() == {"number": 321, "appended_ns": [2], "replied_ns": [3]}


def test_a_caller_without_a_mark_is_not_listened_to_for_ever() -> None:
    diary, form = SessionDiary(), AudioFormat.PCM16_8K
    for _ in range(50):
        diary.hear(append_of(words(5)[2400:2880], form), form)
    diary.hear(append_of(mark(7)[:480], form), form)
    assert diary.number is None
