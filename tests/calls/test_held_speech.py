"""What a caller says while they are not heard: no word is lost, long pauses are, and no more is held than that."""

from __future__ import annotations

from itertools import chain, repeat

import numpy as np
import pytest

from gateway.calls.conversation.held_speech import BEFORE_MS, CATCH_UP, HELD_MS, PAUSE_MS, HeldSpeech
from gateway.media.codec import AudioFormat

PIECE_MS = 20
QUIET, NEW = b"\0" * 320, b"\1" * 320
FORMAT = AudioFormat.PCM16_8K


def voice(seed: int, piece_bytes: int = 320) -> bytes:
    """20 ms of somebody who speaks, other ones for each seed."""
    return np.random.default_rng(seed).integers(-8000, 8000, piece_bytes // 2).astype("<i2").tobytes()


def sentence(ms: int, first: int = 1) -> list[bytes]:
    return [voice(seed) for seed in range(first, first + ms // PIECE_MS)]


def pause(ms: int) -> list[bytes]:
    return list(repeat(QUIET, ms // PIECE_MS))


def held(*said: list[bytes], audio_format: AudioFormat = FORMAT) -> HeldSpeech:
    speech = HeldSpeech(audio_format)
    for piece in chain.from_iterable(said):
        speech.hear(piece)
    return speech


def given(speech: HeldSpeech) -> list[bytes]:
    """All that the model hears of it, up to the first new piece."""
    pieces: list[bytes] = []
    while NEW not in pieces:
        pieces += speech.next(NEW)
    return pieces[: pieces.index(NEW)]


def test_a_sentence_is_given_whole_with_what_surrounds_it() -> None:
    said = sentence(1000)
    pieces = given(held(pause(2000), said, pause(4000)))
    assert [piece for piece in pieces if piece != QUIET] == said
    assert len(pieces) * PIECE_MS <= 1000 + PAUSE_MS + 2 * BEFORE_MS + 2 * PIECE_MS
    assert QUIET in pieces[: pieces.index(said[0])]
    assert pieces[::-1].index(said[-1]) * PIECE_MS >= PAUSE_MS


def test_of_silence_only_the_last_moments_are_given() -> None:
    assert given(held(pause(5000))) == pause(BEFORE_MS)


def test_somebody_who_begins_in_the_last_moment_loses_no_syllable() -> None:
    said = sentence(40)
    assert given(held(pause(2000), said))[-2:] == said


def test_somebody_who_speaks_on_is_given_to_the_last_piece() -> None:
    said = sentence(2000)
    assert given(held(pause(1000), said))[-len(said) :] == said


def test_the_pause_between_two_sentences_is_shortened() -> None:
    first, second = sentence(600), sentence(600, first=100)
    pieces = given(held(pause(1000), first, pause(9000), second))
    assert [piece for piece in pieces if piece != QUIET] == first + second
    between = pieces.index(second[0]) - pieces.index(first[-1]) - 1
    assert PAUSE_MS <= between * PIECE_MS <= PAUSE_MS + BEFORE_MS + PIECE_MS


def test_of_a_long_speech_the_newest_is_given() -> None:
    words = [piece for start in range(40) for piece in (*sentence(800, first=100 * start + 1), *pause(200))]
    pieces = given(held(pause(1000), words))
    assert len(pieces) * PIECE_MS == HELD_MS - PIECE_MS
    assert pieces == words[-len(pieces) :]


def test_it_is_given_faster_than_it_was_said_and_the_link_is_not_flooded() -> None:
    speech = held(pause(1000), sentence(1000))
    sizes = [len(speech.next(NEW)) for _ in range(20)]
    assert max(sizes) == CATCH_UP
    assert sizes[-1] == 1


def test_nothing_is_held_of_somebody_who_is_heard() -> None:
    assert list(HeldSpeech(FORMAT).next(NEW)) == [NEW]


def test_of_silence_behind_what_was_given_only_the_last_moments_are_given() -> None:
    speech = held(pause(1000), sentence(1000))
    while list(speech.next(NEW)) != [NEW]:
        pass
    for piece in pause(800):
        speech.hear(piece)
    assert given(speech) == pause(BEFORE_MS)


def test_what_is_forgotten_is_not_given() -> None:
    speech = held(pause(1000), sentence(1000))
    speech.forget()
    assert given(speech) == []


@pytest.mark.parametrize("audio_format", [AudioFormat.PCM16_24K, AudioFormat.PCM16_16K])
def test_other_formats_are_held_as_they_are(audio_format: AudioFormat) -> None:
    size = PIECE_MS * audio_format.bytes_per_ms
    said = [voice(seed, size) for seed in range(50)]
    pieces = given(held([b"\0" * size] * 50, said, [b"\0" * size] * 100, audio_format=audio_format))
    assert [piece for piece in pieces if any(piece)] == said
