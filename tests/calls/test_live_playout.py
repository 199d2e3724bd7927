"""How far playout may fall behind a model that speaks at the pace of hearing."""

from __future__ import annotations

from gateway.calls.conversation.live_playout import LIMIT_MS, TARGET_MS, fitted
from gateway.realtime.session import AudioDelta

BYTES_PER_MS = 8


def delta(ms: int, *, is_silence: bool) -> AudioDelta:
    audio = bytes(range(200)) * (ms * BYTES_PER_MS // 200)
    return AudioDelta(response_id="r", item_id="r", content_index=0, audio=audio, is_silence=is_silence)


def test_what_comes_in_time_is_queued_whole() -> None:
    speech, pause = delta(100, is_silence=False), delta(100, is_silence=True)
    assert fitted(speech, 80.0, BYTES_PER_MS) == (speech.audio, False)
    assert fitted(pause, float(TARGET_MS), BYTES_PER_MS) == (pause.audio, False)


def test_a_pause_is_left_out_as_far_as_playout_is_behind() -> None:
    pause = delta(100, is_silence=True)
    assert fitted(pause, TARGET_MS + 40.0, BYTES_PER_MS) == (pause.audio[: 60 * BYTES_PER_MS], False)
    assert fitted(pause, TARGET_MS + 100.0, BYTES_PER_MS) == (b"", False)
    assert fitted(pause, TARGET_MS + 900.0, BYTES_PER_MS) == (b"", False)


def test_speech_is_late_before_it_is_dropped_and_then_the_oldest_goes() -> None:
    speech = delta(100, is_silence=False)
    assert fitted(speech, float(LIMIT_MS), BYTES_PER_MS) == (speech.audio, False)
    assert fitted(speech, LIMIT_MS + 1.0, BYTES_PER_MS) == (speech.audio, True)


def test_of_more_than_the_limit_at_once_the_newest_is_taken() -> None:
    speech = delta(2000, is_silence=False)
    assert fitted(speech, 0.0, BYTES_PER_MS) == (speech.audio[-LIMIT_MS * BYTES_PER_MS :], False)
