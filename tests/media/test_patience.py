"""Reads that wait for late packets: what a model is told is whole and soon, on lines of every kind.

The telephone's packets carry their numbers, so that every frame that reaches the model can be told from every other.
"""

from collections import Counter, defaultdict

import numpy as np
import pytest

from gateway.media.jitter import JitterOptions
from gateway.media.pacing import PHASE_GROUPS, TICK_MS, FramePacer
from tests.support.media_rig import SILENCE, MediaRig, numbered
from tests.support.rtp_packets import rtp_packet

PATIENCE_MS = JitterOptions().patience_ms


class Model:
    """Hears what the engine hands off, and when. Octets of packet i are i modulo 200."""

    def __init__(self, arrivals, seconds, *, leg_count=1, **options):
        self.rig = MediaRig(jitter=JitterOptions(**options), max_legs=max(leg_count, 8))
        self.told = defaultdict(list)  # by leg: tick and octets of every piece
        transcode = self.rig.engine.transcode

        def listen(now):
            events = transcode(now)
            for piece in events.uplink:
                self.told[piece.leg].append((self.rig.ticks, piece.audio))
            return events

        self.rig.engine.transcode = listen
        for leg in range(leg_count):
            assert self.rig.open_leg() == leg
            self.rig.arrive(arrivals, leg=leg)
        self.rig.run(seconds)

    @property
    def frames(self):
        """Of the first leg."""
        return [audio for _, audio in self.told[0]]

    def told_at_ms(self, number):
        """When the audio of a packet was handed off."""
        return next(tick * TICK_MS for tick, audio in self.told[0] if audio == octets(number))

    @property
    def statistics(self):
        return self.rig.engine.statistics(0)


def octets(number):
    return bytes([number % 200]) * 160


def sent(count, start_s=0.0):
    return [(start_s + 0.02 * i, rtp_packet(i, 160 * i, octets(i))) for i in range(count)]


def delayed(packets, delays_s):
    return [(at_s + late_s, datagram) for (at_s, datagram), late_s in zip(packets, delays_s, strict=True)]


@pytest.mark.parametrize("offset_ms", range(0, 20, 2))
def test_audio_on_time_is_handed_off_in_the_tick_that_brings_it(offset_ms):
    model = Model(sent(100, 0.1 + offset_ms / 1000), 3.0)
    waits_ms = [model.told_at_ms(i) - (100 + offset_ms + 20 * i) for i in range(100)]
    assert 0 <= min(waits_ms) <= max(waits_ms) < TICK_MS


@pytest.mark.parametrize("jitter_ms", [10, 20, 40, PATIENCE_MS - 2 * TICK_MS])
@pytest.mark.parametrize("seed", range(3))
def test_packets_that_are_late_within_reason_cost_nothing_at_all(jitter_ms, seed):
    rng = np.random.default_rng(seed)
    late_s = rng.uniform(0, jitter_ms / 1000, 500)
    late_s[0] = 0
    model = Model(delayed(sent(500), late_s), 10.5)
    said = [octets(i) for i in range(500)]
    begins = model.frames.index(said[0])
    assert model.frames[begins : begins + 500] == said
    assert model.statistics.concealed_ms <= 60, "other than the end of the call was made up"
    waits_ms = np.array([model.told_at_ms(i) - 20 * i - 1000 * late_s[i] for i in range(500)])
    assert np.median(waits_ms) < jitter_ms + TICK_MS


def test_swapped_and_doubled_packets_are_not_heard():
    packets = sent(300)
    for first in range(10, 280, 9):
        (a_s, a), (b_s, b) = packets[first : first + 2]
        packets[first : first + 2] = [(a_s, b), (b_s, a)]
    model = Model(sorted(packets + packets[20:250:7], key=lambda packet: packet[0]), 6.5)
    assert model.frames[model.frames.index(octets(0)) :][:300] == [octets(i) for i in range(300)]
    assert model.statistics.concealed_ms <= 60
    assert model.statistics.packets_lost == 0


def test_a_lost_packet_is_waited_for_and_made_up_and_those_behind_it_are_on_time():
    packets = sent(100)
    del packets[50]
    model = Model(packets, 2.5)
    begins = model.frames.index(octets(0))
    heard = model.frames[begins : begins + 100]
    assert [i for i in range(100) if heard[i] != octets(i)] in ([50], [50, 51])  # the next one fades in
    assert bytes([SILENCE]) * 160 != heard[50]
    assert model.told_at_ms(52) <= 50 * 20 + PATIENCE_MS
    assert model.told_at_ms(54) == 54 * 20
    assert model.statistics.packets_lost == 1


def test_a_telephone_that_falls_silent_is_missed_once_and_silence_is_on_time_from_then_on():
    model = Model(sent(50), 4.0)
    ticks = [tick for tick, _ in model.told[0]]
    stops = 50 * 20 // TICK_MS
    assert [tick for tick in ticks if stops <= tick < stops + PATIENCE_MS // TICK_MS] == []
    by_second = Counter(tick // (1000 // TICK_MS) for tick in ticks)
    assert [by_second[second] for second in (1, 2, 3)] == [50, 50, 50]
    assert abs(sum(len(audio) for audio in model.frames) - 4000 * 8) <= 160


def test_a_burst_after_a_stall_leaves_no_delay():
    packets = [(max(at_s, 2.0) if at_s >= 1.8 else at_s, datagram) for at_s, datagram in sent(500)]
    model = Model(packets, 10.5)
    assert model.told_at_ms(499) - 499 * 20 < 20 + TICK_MS
    assert model.statistics.concealed_ms <= 60 + 60


@pytest.mark.heavy
@pytest.mark.parametrize("drift_ppm", [2000, -2000])
def test_two_clocks_that_come_apart_by_as_much_as_in_half_an_hour_bring_no_delay_in(drift_ppm):
    count = 9000
    packets = [(i * 0.02 * (1 + drift_ppm * 1e-6), rtp_packet(i, 160 * i, octets(i))) for i in range(count)]
    model = Model(packets, 182.0)
    last = next(tick for tick, audio in reversed(model.told[0]) if audio == octets(count - 1))
    assert -TICK_MS <= last * TICK_MS - packets[-1][0] * 1000 <= 30
    assert abs(len(model.told[0]) - 182 * 50) <= 4
    assert model.statistics.packets_late == 0
    assert model.statistics.concealed_ms <= 60, "other than the end of the call was made up"


def test_calls_that_speak_in_step_are_read_in_different_ticks():
    model = Model(numbered(50, start_s=0.1), 1.2, leg_count=100)
    per_tick = Counter(tick for told in model.told.values() for tick, _ in told if 60 <= tick < 200)
    assert max(per_tick.values()) <= 100 / PHASE_GROUPS * 1.25 + 5


def test_a_leg_meets_the_tick_it_is_told_while_that_is_not_crowded():
    pacer = FramePacer(40, patience_ms=60)
    for leg in range(40):
        pacer.open(leg, tick=0, frame_ms=20)
    for leg in range(40):
        pacer.meet(leg, 100)
    first_ticks = Counter(
        int(leg) // leg * tick if leg else tick for tick in range(100, 104) for leg in pacer.due(tick)[0]
    )
    assert first_ticks[100] == max(first_ticks.values()) <= 17
    assert sum(first_ticks.values()) == 40


@pytest.mark.parametrize(("jitter_ms", "most"), [(80, 0.01), (150, 0.02)])
def test_jitter_beyond_all_patience_is_waited_for(jitter_ms, most):
    rng = np.random.default_rng(1)
    model = Model(delayed(sent(1500), rng.uniform(0, jitter_ms / 1000, 1500)), 31.0)
    assert model.statistics.concealed_ms - 60 <= most * 30_000
    assert len({audio[0] for audio in model.frames}) == 201


def test_a_stray_packet_of_another_sender_is_no_new_stream_while_a_read_waits():
    packets = delayed(sent(100), [0.03 if i == 50 else 0.0 for i in range(100)])
    stray = (50 * 0.02 - 0.004, rtp_packet(7, 9, octets(199), ssrc=5))
    model = Model(sorted([*packets, stray]), 1.9)
    begins = model.frames.index(octets(0))
    assert model.frames[begins : begins + 90] == [octets(i) for i in range(90)]
    assert model.statistics.concealed_ms == 0


def test_of_two_senders_at_once_the_first_is_heard_although_it_is_often_late():
    late_s = np.random.default_rng(1).uniform(0, 0.015, 100)
    late_s[0] = 0
    rival = [(0.517 + 0.02 * i, rtp_packet(i, 160 * i + 999, octets(199), ssrc=5)) for i in range(70)]
    model = Model(sorted(delayed(sent(100), late_s) + rival), 1.9)
    begins = model.frames.index(octets(0))
    assert model.frames[begins : begins + 90] == [octets(i) for i in range(90)]


@pytest.mark.parametrize("ptime_ms", [20, 40, 60])
@pytest.mark.parametrize("phase_ms", [-15, -5, 0, 4, 9, 13, 18])
def test_a_new_stream_is_heard_whole_and_within_60_ms_of_its_first_packet(ptime_ms, phase_ms):
    start_ms, frames = 600 + phase_ms, ptime_ms // 20
    payloads = [b"".join(octets(i + k) for k in range(frames)) for i in range(150, 180, frames)]
    new = [
        ((start_ms + i * ptime_ms) / 1000, rtp_packet(i, 8 * ptime_ms * i, payload, ssrc=9))
        for i, payload in enumerate(payloads)
    ]
    model = Model(sent(30) + new, 1.3)
    begins = model.frames.index(octets(150))
    assert model.frames[begins : begins + 30] == [octets(i) for i in range(150, 180)]
    assert 0 <= model.told_at_ms(150) - start_ms <= 60
    assert model.told_at_ms(179) - start_ms - 29 * 20 <= 20 + TICK_MS
