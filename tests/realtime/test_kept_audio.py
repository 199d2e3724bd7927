"""What is kept of the caller's audio for the next session."""

from __future__ import annotations

from gateway.media.codec import AudioFormat
from gateway.realtime.recovery.kept_audio import CATCH_UP, TURN_S, KeptAudio


def piece(number: int) -> bytes:
    return number.to_bytes(4, "big") * 40


def kept(seconds: float = 1.0) -> KeptAudio:
    return KeptAudio(keep_s=seconds, form=AudioFormat.PCMU)


def drained(audio: KeptAudio) -> list[int | None]:
    out: list[int | None] = []
    while audio.is_behind:
        audio.release(
            99.0, lambda one: out.append(None if one is None else int.from_bytes(one[:4], "big")), is_turn=False
        )
    return out


def test_what_came_after_a_moment_is_sent_again_then_what_came_in_the_gap() -> None:
    audio = kept()
    for number in range(100):
        audio.note(piece(number), number * 0.02, is_turn=False)
    audio.seize(1.8)
    audio.hold(piece(100))
    audio.hold_commit()
    audio.hold(piece(101))
    assert audio.pending_ms == 9 * 20 + 40
    assert drained(audio) == [*range(91, 101), None, 101]


def test_silence_behind_a_turn_is_not_said_again() -> None:
    audio = kept()
    for number in range(50):
        audio.note(piece(number), float(number), is_turn=False)
    audio.seize(9.0, (20.0, 45.0))
    assert drained(audio) == [*range(10, 21), *range(46, 50)]


def test_no_more_than_a_second_is_kept_but_of_a_turn() -> None:
    audio = kept()
    for number in range(200):
        audio.note(piece(number), number * 0.02, is_turn=False)
    audio.seize(-1.0)
    assert drained(audio) == list(range(150, 200))
    long = kept()
    for number in range(2000):
        long.note(piece(number), number * 0.02, is_turn=True)
    long.seize(-1.0)
    assert len(drained(long)) == TURN_S * 50


def test_the_oldest_of_a_long_gap_goes_and_is_counted() -> None:
    audio = kept()
    dropped_ms = sum(audio.hold(piece(number)) for number in range(80))
    assert dropped_ms == 30 * 20
    assert drained(audio) == list(range(30, 80))


def test_a_second_loss_while_the_session_catches_up_loses_nothing() -> None:
    audio = kept(5.0)
    for number in range(30):
        audio.hold(piece(number))
    sent: list[bytes | None] = []
    audio.release(10.0, sent.append, is_turn=False)
    assert len(sent) == CATCH_UP
    audio.seize(9.0)
    assert drained(audio) == list(range(30))
