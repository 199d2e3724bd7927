"""Playout queues: every octet in order, frames always whole, rows always given back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media import codec
from gateway.media.codec import PAYLOAD_FORMATS, PCMA, PCMU
from gateway.media.playout import PlayoutQueues

LEG = np.array([1])


@pytest.fixture
def queues():
    made = PlayoutQueues(3, queue_ms=2000)
    made.open(1, payload=PCMU, frame_ms=20)
    return made


def octets(count, first=0):
    return ((np.arange(count) + first) % 100).astype(np.uint8)


def taken(queues, frames=1, leg=LEG):
    """What so many frames bring, and which of them had audio."""
    parts = [queues.take(leg) for _ in range(frames)]
    audio = np.concatenate([payload[0, : int(length[0])] for payload, length, _ in parts])
    return audio, [bool(is_voiced[0]) for _, _, is_voiced in parts]


def test_silence_of_the_legs_law_is_sent_while_there_is_nothing(queues):
    queues.open(2, payload=PCMA, frame_ms=30)
    payloads, lengths, is_voiced = queues.take(np.array([1, 2]))
    assert lengths.tolist() == [160, 240]
    assert (payloads[0, :160] == 0xFF).all()
    assert (payloads[1, :240] == 0xD5).all()
    assert not is_voiced.any()


@pytest.mark.parametrize("frame_ms", [10, 20, 30, 40, 60])
def test_octets_come_out_in_order_however_they_went_in(queues, frame_ms):
    queues.open(1, payload=PCMU, frame_ms=frame_ms)
    total = 0
    for size in (1, 79, 80, 81, 160, 500, 3, 0, 480, 1000, 16):
        assert queues.append(1, octets(size, total)) == total
        total += size
    audio, voiced = taken(queues, total // (8 * frame_ms))
    assert all(voiced)
    assert (audio == octets(audio.size)).all()


def test_a_begun_frame_waits_three_frames_for_its_rest(queues):
    queues.append(1, octets(100))
    assert taken(queues, 3)[1] == [False] * 3
    queues.append(1, octets(60, 100))
    audio, voiced = taken(queues)
    assert voiced == [True]
    assert (audio == octets(160)).all()


def test_a_begun_frame_that_nothing_follows_leaves_filled_up_with_silence(queues):
    queues.append(1, octets(100))
    audio, voiced = taken(queues, 5)
    assert voiced == [False, False, False, True, False]
    assert (audio[480:580] == octets(100)).all()
    assert (audio[580:] == 0xFF).all()


def test_the_end_of_an_item_leaves_at_once(queues):
    queues.append(1, octets(170))
    queues.complete(1)
    audio, voiced = taken(queues, 3)
    assert voiced == [True, True, False]
    assert (audio[:170] == octets(170)).all()
    assert (audio[170:] == 0xFF).all()


def test_what_comes_after_a_filled_up_frame_begins_with_the_next(queues):
    queues.append(1, octets(100))
    queues.complete(1)
    taken(queues)
    assert queues.append(1, octets(160, 50)) == 160
    assert (taken(queues)[0] == octets(160, 50)).all()


def test_clear_drops_what_is_queued_and_the_next_frame_is_silence(queues):
    queues.append(1, octets(1000))
    taken(queues)
    queues.clear(1)
    assert queues.queued_samples(LEG).tolist() == [0]
    assert taken(queues)[1] == [False]
    queues.append(1, octets(160, 7))
    assert (taken(queues)[0] == octets(160, 7)).all()


def test_positions_tell_what_has_been_taken(queues):
    queues.append(1, octets(400))
    assert (queues.sent(1), queues.queued_samples(LEG).tolist()) == (0, [400])
    taken(queues, 2)
    assert (queues.sent(1), queues.queued_samples(LEG).tolist()) == (320, [80])
    assert queues.positions.tolist() == [0, 320, 0]


def test_the_other_law_and_another_length_take_over_what_is_queued(queues):
    queues.append(1, octets(480))
    taken(queues)
    queues.change(1, payload=PCMA, frame_ms=30)
    audio, _ = taken(queues)
    expected = codec.translate(octets(320, 160), PCMU, PCMA)
    assert (audio[:240] == expected[:240]).all()
    queues.complete(1)
    audio, _ = taken(queues)
    assert (audio[:80] == expected[240:]).all()
    assert (audio[80:] == codec.translate(np.array([0xFF], np.uint8), PCMU, PCMA)[0]).all()


def test_a_queue_runs_for_hours_through_its_ring(queues):
    position = 0
    for _ in range(400):
        queues.append(1, octets(1234, position))
        audio, _ = taken(queues, 7)
        assert (audio == octets(1120, queues.sent(1) - 1120)).all()
        position += 1234
        if queues.queued_samples(LEG)[0] > 10_000:
            taken(queues, 60)


def test_the_pool_grows_and_rows_come_back():
    queues = PlayoutQueues(8, queue_ms=120_000)
    for leg in range(8):
        queues.open(leg, payload=PCMU, frame_ms=20)
        queues.append(leg, octets(960_000, leg))
    grown = len(queues._pool)
    for leg in range(8):
        assert (taken(queues, leg=np.array([leg]))[0] == octets(160, leg)).all()
        queues.clear(leg)
    for leg in range(8):
        queues.append(leg, octets(960_000))
    assert len(queues._pool) == grown


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 400)),
            st.tuples(st.just("take"), st.integers(1, 4)),
            st.tuples(st.sampled_from(["complete", "clear"]), st.just(0)),
        ),
        max_size=40,
    )
)
def test_any_history_keeps_every_octet_in_order_and_loses_no_row(history):
    queues = PlayoutQueues(2, queue_ms=1000)
    queues.open(1, payload=PCMU, frame_ms=20)
    queued, number = [], 0
    for action, count in history:
        if action == "append" and len(queued) + count < 7000:
            queues.append(1, octets(count, number))
            queued += octets(count, number).tolist()
            number += count
        elif action == "take":
            audio, voiced = taken(queues, count)
            for frame, is_voiced in zip(audio.reshape(-1, 160).tolist(), voiced, strict=True):
                spoken, queued = (queued[:160], queued[160:]) if is_voiced else ([], queued)
                assert frame == spoken + [0xFF] * (160 - len(spoken))
        elif action == "complete":
            queues.complete(1)
        elif action == "clear":
            queues.clear(1)
            queued = []
        assert queues.queued_samples(LEG)[0] == len(queued)
    queues.clear(1)
    assert queues._free_count == len(queues._pool) - len(PAYLOAD_FORMATS)
    assert len(set(queues._free[: queues._free_count].tolist())) == queues._free_count
