"""Turns out of a stream that has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest

from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.turns import GAP_MS, LEAD_MS, CallerTurns, ModelTurns
from gateway.realtime.session import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionEvent,
    SpeechStarted,
    SpeechStopped,
)

FORM = AudioFormat.PCMU
SOUND, SILENCE = b"\x10" * 8, b"\xff" * 8  # a millisecond


def model() -> ModelTurns:
    turns = ModelTurns(FORM)
    turns.name = "live_1"
    return turns


def kinds(events: Iterable[SessionEvent]) -> list[str]:
    """Their types; a row of the same kind once."""
    names = [type(event).__name__ for event in events]
    return names[:1] + [name for before, name in pairwise(names) if name != before]


def heard(turns: ModelTurns, audio: bytes, piece_ms: int) -> Iterator[SessionEvent]:
    size = piece_ms * FORM.bytes_per_ms
    for start in range(0, len(audio), size):
        yield from turns.hear(audio[start : start + size])


def sound_of(events: Iterable[SessionEvent]) -> bytes:
    return b"".join(event.audio for event in events if isinstance(event, AudioDelta))


@pytest.mark.parametrize("piece_ms", [20, 100, 250])
def test_a_turn_begins_with_its_first_sound_and_ends_after_the_gap(piece_ms: int) -> None:
    turns = model()
    assert list(heard(turns, SILENCE * 2000, piece_ms)) == []
    events = list(heard(turns, SOUND * 500 + SILENCE * 1000, piece_ms))
    assert kinds(events) == ["ResponseStarted", "AudioDelta", "AudioFinished", "ResponseFinished"]
    assert {getattr(event, "response_id", "") for event in events} == {"live_1.out1"}
    assert SOUND * 500 in sound_of(events)
    assert not turns.is_speaking


def test_a_pause_within_a_turn_is_kept_and_marked() -> None:
    turns = model()
    events = turns.hear(SOUND * 100 + SILENCE * (GAP_MS - 20) + SOUND * 100)
    assert [(event.is_silence, len(event.audio) // 8) for event in events if isinstance(event, AudioDelta)] == [
        (False, 100),
        (True, GAP_MS - 20),
        (False, 100),
    ]
    assert turns.is_speaking


def test_a_turn_has_a_little_silence_in_front_and_no_more() -> None:
    turns = model()
    events = [*turns.hear(SILENCE * 3000), *turns.hear(SOUND * 20)]
    lead = next(event for event in events if isinstance(event, AudioDelta))
    assert (lead.is_silence, lead.audio) == (True, SILENCE * LEAD_MS)


def test_words_begin_a_turn_that_its_sound_goes_on_with() -> None:
    turns = model()
    events = turns.read("Good ", 0, 300) + turns.hear(SILENCE * 300 + SOUND * 300) + turns.read("morning. ", 300, 600)
    events += turns.hear(SILENCE * 1000)
    finals = [event.text for event in events if isinstance(event, OutputTranscript) and event.is_final]
    assert finals == ["Good morning."]
    assert kinds(events) == [
        "ResponseStarted",
        "OutputTranscript",
        "AudioDelta",
        "OutputTranscript",
        "AudioFinished",
        "OutputTranscript",
        "ResponseFinished",
    ]


def test_words_alone_are_a_turn_without_audio() -> None:
    turns = model()
    events = turns.read("Hm.", None, None) + turns.hear(SILENCE * 1000)
    assert kinds(events) == ["ResponseStarted", "OutputTranscript", "ResponseFinished"]


def test_words_after_a_pause_on_the_providers_clock_are_another_turn_although_they_came_together() -> None:
    turns = model()
    events = turns.read("One.", 0, 500) + turns.read("Two.", 500 + GAP_MS + 1, 2000)
    assert [event.response_id for event in events if isinstance(event, ResponseStarted)] == [
        "live_1.out1",
        "live_1.out2",
    ]


def test_a_stalled_stream_ends_no_turn_and_a_stopped_one_does() -> None:
    turns = model()
    turns.hear(SOUND * 100)
    assert turns.is_speaking
    events = turns.finish(ResponseStatus.INCOMPLETE)
    assert isinstance(events[0], AudioFinished)
    assert events[-1] == ResponseFinished(response_id="live_1.out1", status=ResponseStatus.INCOMPLETE)
    assert turns.finish(ResponseStatus.INCOMPLETE) == []


def caller(*, has_words: bool = True) -> CallerTurns:
    turns = CallerTurns(has_words=has_words)
    turns.name = "live_1"
    return turns


def test_a_callers_words_make_a_turn_that_ends_after_the_gap() -> None:
    turns = caller()
    events = turns.read("I need ", 1000, 1300) + turns.pass_time(500) + turns.read("help. ", 1300, 1700)
    assert [event for event in events if isinstance(event, InputTranscript) and event.is_final] == []
    events += turns.pass_time(GAP_MS)
    assert events[0] == SpeechStarted(item_id="live_1.in1", audio_start_ms=1000)
    assert events[-2:] == [
        InputTranscript(item_id="live_1.in1", text="I need help.", is_final=True),
        SpeechStopped(item_id="live_1.in1", audio_end_ms=1700),
    ]
    assert turns.pass_time(5000) == []


def test_two_turns_of_a_caller_in_one_burst_are_told_apart() -> None:
    turns = caller()
    events = turns.read("One.", 0, 500) + turns.read("Two.", 2000, 2500) + turns.finish()
    assert [event.text for event in events if isinstance(event, InputTranscript) and event.is_final] == ["One.", "Two."]


def test_without_words_the_turns_alone_are_told() -> None:
    turns = caller(has_words=False)
    assert kinds(turns.read("Secret.", 0, 500) + turns.pass_time(GAP_MS)) == ["SpeechStarted", "SpeechStopped"]
