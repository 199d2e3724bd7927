"""Continuity, loss and jitter of received streams."""

import numpy as np
import pytest

from gateway.media.stream import Continuity, StreamStatistics

LEG = np.array([1])


class Listener:
    """One leg of a bank, fed packet by packet."""

    def __init__(self):
        self.bank = StreamStatistics(3)

    def hears(self, sequence, ssrc=7):
        """The continuity of one packet, which is then counted; a new stream is followed at once."""
        sequence, ssrc = np.array([sequence & 0xFFFF]), np.array([ssrc])
        kind = self.bank.classify(LEG, ssrc, sequence)
        if kind[0] in {Continuity.FOREIGN, Continuity.JUMPED}:
            self.bank.begin(LEG, ssrc, sequence)
            self.bank.count(LEG, sequence, np.array([Continuity.CONTINUES]))
        else:
            self.bank.count(LEG, sequence, kind)
        return int(kind[0])

    @property
    def lost(self):
        return int(self.bank.lost(LEG)[0])


@pytest.fixture
def listener():
    return Listener()


def test_the_first_packet_is_foreign_and_the_next_continues(listener):
    assert listener.hears(500) == Continuity.FOREIGN
    assert listener.hears(501) == Continuity.CONTINUES
    assert (listener.bank.ssrc(1), listener.bank.received(1), listener.lost) == (7, 2, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.2])
def test_loss_is_told_exactly_over_wraps_reordering_and_duplicates(listener, rate, seed):
    rng = np.random.default_rng(seed)
    sent = np.arange(65000, 65000 + 3000)
    keep = rng.random(sent.size) >= rate
    keep[[0, -1]] = True
    order = np.argsort(np.arange(sent.size) + rng.uniform(0, 5, sent.size), kind="stable")
    arrivals = [s for s in sent[order] if keep[s - 65000]]
    for sequence in arrivals:
        listener.hears(sequence)
        if rng.random() < 0.05:
            assert listener.hears(sequence) == Continuity.DUPLICATE
    assert int((~keep).sum()) == listener.lost


def test_a_late_packet_mends_the_loss_once(listener):
    for sequence in (10, 11, 14):
        listener.hears(sequence)
    assert listener.lost == 2
    assert listener.hears(12) == Continuity.REORDERED
    assert listener.hears(12) == Continuity.DUPLICATE
    assert listener.hears(14) == Continuity.DUPLICATE
    assert (listener.lost, listener.bank.reordered[1], listener.bank.duplicates[1]) == (1, 1, 2)


def test_packets_from_before_the_first_are_not_negative_loss(listener):
    for sequence in (2, 65535, 0, 1):
        listener.hears(sequence)
    assert (listener.lost, listener.bank.received(1)) == (0, 4)


@pytest.mark.parametrize("leap", [3000, 20000, -64, -5000])
def test_a_leap_is_a_new_sequence_and_no_loss(listener, leap):
    listener.hears(1000)
    listener.hears(1003)
    assert listener.hears(1003 + leap) == Continuity.JUMPED
    assert listener.hears(1004 + leap) == Continuity.CONTINUES
    assert listener.lost == 2


def test_another_ssrc_is_foreign_and_earlier_loss_stays_counted(listener):
    listener.hears(1)
    listener.hears(3)
    assert listener.hears(4, ssrc=8) == Continuity.FOREIGN
    listener.hears(6, ssrc=8)
    assert (listener.bank.ssrc(1), listener.lost) == (8, 2)


def test_jitter_is_the_smoothed_difference_of_spacing():
    bank = StreamStatistics(2)
    for i in range(400):
        bank.time(np.array([0, 1]), np.full(2, (2**32 - 3200 + 160 * i) % 2**32), i * 0.02 + (0.008 if i % 2 else 0))
    assert bank.jitter_ms(0) == pytest.approx(8.0, abs=0.1)
    bank.reset(0)
    assert (bank.jitter_ms(0), bank.ssrc(0)) == (0.0, None)


def test_a_steady_stream_has_no_jitter():
    bank = StreamStatistics(1)
    for i in range(200):
        bank.time(np.array([0]), np.array([160 * i]), i * 0.02)
    assert pytest.approx(bank.jitter_ms(0), abs=1e-6) == 0


def test_runs_of_missing_packets_are_counted_once_each(listener):
    for sequence in (1, 2, 5, 6, 10, 11, 12):
        listener.hears(sequence)
    assert (listener.lost, int(listener.bank.gaps[1])) == (5, 2)


def test_reports_tell_of_the_present_stream_alone(listener):
    assert listener.bank.reception(1) is None
    for sequence in (65534, 65535, 2, 3):
        listener.hears(sequence)
    told = listener.bank.reception(1)
    assert (told.ssrc, told.expected, told.received, told.highest_sequence) == (7, 6, 4, 0x10003)
    listener.hears(500, ssrc=8)
    told = listener.bank.reception(1)
    assert (told.ssrc, told.expected, told.received, told.highest_sequence) == (8, 1, 1, 500)
