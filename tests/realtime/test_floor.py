"""Whose turn it is, and what is owed when a session is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.realtime.events import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    Interrupted,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionEvent,
    SpeechStarted,
    SpeechStopped,
)
from gateway.realtime.options import TurnDetection
from gateway.realtime.recovery.floor import UNTOLD_S, Debt, Floor

STARTED, STOPPED = SpeechStarted(item_id="u", audio_start_ms=0), SpeechStopped(item_id="u", audio_end_ms=0)
WRITTEN = InputTranscript(item_id="u", text="Hello.", is_final=True)
REPLY, SECOND_OF_AUDIO = (
    ResponseStarted(response_id="r"),
    AudioDelta(response_id="r", item_id="a", content_index=0, audio=bytes(8000)),
)
SPOKEN = AudioFinished(response_id="r", item_id="a", content_index=0)
DONE = ResponseFinished(response_id="r", status=ResponseStatus.COMPLETED)


def floor_after(*events: SessionEvent, turns: TurnDetection | None = None) -> Floor:
    """Ten seconds into a call; each event came a second after the one before."""
    floor = Floor(turns or TurnDetection(), input_bytes_per_ms=8, output_bytes_per_ms=8)
    for number, event in enumerate(events):
        floor.hear(event, 10.0 + number)
    return floor


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), None),
        ((STARTED,), Debt(audio_since=10 - UNTOLD_S, is_turn_repeated=True)),
        ((STARTED, STOPPED), Debt(audio_since=10 - UNTOLD_S, is_turn_repeated=True)),
        ((STARTED, STOPPED, WRITTEN), Debt(audio_since=12 - UNTOLD_S, is_reply_owed=True)),
        ((STARTED, STOPPED, REPLY), Debt(audio_since=9.4, silence=(11, 11.4), is_turn_repeated=True)),
        ((STARTED, STOPPED, REPLY, DONE), Debt(audio_since=9.4, silence=(11, 12.4), is_turn_repeated=True)),
        ((STARTED, STOPPED, WRITTEN, REPLY), Debt(audio_since=13 - UNTOLD_S, is_reply_owed=True)),
        ((REPLY, SECOND_OF_AUDIO), Debt(audio_since=11 - UNTOLD_S, is_reply_owed=True, cut_item="a")),
        ((REPLY, SECOND_OF_AUDIO, SPOKEN), Debt(audio_since=12 - UNTOLD_S, is_reply_owed=True, cut_item="a")),
        ((REPLY, SECOND_OF_AUDIO, SPOKEN, DONE), Debt(audio_since=13 - UNTOLD_S)),
        ((REPLY, SECOND_OF_AUDIO, Interrupted()), Debt(audio_since=12 - UNTOLD_S)),
        ((REPLY, SECOND_OF_AUDIO, STARTED), Debt(audio_since=12 - UNTOLD_S, is_turn_repeated=True)),
        ((STARTED, STOPPED, REPLY, SECOND_OF_AUDIO, SPOKEN, DONE), Debt(audio_since=15 - UNTOLD_S)),
    ],
    ids=lambda value: "-".join(type(event).__name__ for event in value) if isinstance(value, tuple) else "",
)
def test_what_a_lost_session_owes(events: tuple[SessionEvent, ...], expected: Debt | None) -> None:
    debt = floor_after(*events).default(20.0)
    if expected is None:
        assert (debt.is_reply_owed, debt.cut_item, debt.is_turn_repeated) == (False, "", False)
    else:
        assert debt == expected


def test_manual_turns_are_answered_when_that_was_asked_for() -> None:
    floor = floor_after(STARTED, STOPPED, turns=TurnDetection(creates_response=False))
    assert not floor.is_reply_owed
    floor.respond("Answer.")
    debt = floor.default(20.0)
    assert (debt.is_reply_owed, debt.instructions, debt.is_turn_repeated) == (True, "Answer.", True)


def test_silence_comes_when_what_was_said_has_been_heard() -> None:
    assert floor_after(REPLY, SECOND_OF_AUDIO, SECOND_OF_AUDIO).quiet_at(12.0) is None
    floor = floor_after(REPLY, SECOND_OF_AUDIO, SECOND_OF_AUDIO, SPOKEN, DONE)
    assert floor.quiet_at(12.5) == 13.0
    assert floor.quiet_at(20.0) == 20.0
    floor.cut(12.2)
    assert floor.quiet_at(12.5) == 12.5
    floor.respond(None)
    assert floor.quiet_at(20.0) is None


def test_a_reply_asked_for_during_another_is_owed_when_that_has_ended() -> None:
    floor = floor_after(REPLY)
    floor.respond("Then this.")
    assert not floor.is_reply_owed
    floor.hear(DONE, 12.0)
    assert floor.is_reply_owed
    assert floor.default(20.0).instructions == "Then this."


def test_a_model_without_turns_pauses_when_no_words_come() -> None:
    floor = floor_after(WRITTEN)
    floor.is_full_duplex = True
    floor.hear(SECOND_OF_AUDIO, 11.0)
    assert floor.quiet_at(11.0) == 11.5
    assert floor.default(12.0).cut_item == ""


def test_a_caller_who_has_broken_in_unannounced_is_waited_for_until_they_are_answered() -> None:
    """Their voice is told by newer models alone; a session replaced now would not hear the rest of what they say."""
    broken_in = (REPLY, SECOND_OF_AUDIO, Interrupted(), replace(DONE, status=ResponseStatus.CANCELLED))
    assert floor_after(*broken_in).quiet_at(20.0) is None
    assert (
        floor_after(*broken_in, ResponseStarted(response_id="s"), replace(DONE, response_id="s")).quiet_at(20.0) == 20
    )


def test_audio_of_a_turn_whose_words_are_known_is_not_sent_again() -> None:
    floor = floor_after(STARTED, STOPPED)
    floor.hear(WRITTEN, 11.1)
    assert floor.default(20.0).audio_since == 11.0


def test_a_caller_who_speaks_again_after_their_words_were_written_begins_another_turn() -> None:
    assert floor_after(STARTED, STOPPED, WRITTEN, STARTED).default(20.0).audio_since == 13 - UNTOLD_S


def test_a_turn_begins_where_the_provider_says_by_the_audio_of_its_own_session_and_within_reason() -> None:
    floor = floor_after()
    floor.append(8 * 60_000)
    floor.hear(STARTED, 100.0)
    assert floor.default(100.0).audio_since == 97.0
    floor.append(8 * 2000)
    floor.hear(STARTED, 110.0)
    assert floor.default(110.0).audio_since == 108.0
