"""Reports of two engines to each other over a wire that loses and delays, on a virtual clock; and of peers that lie."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.reports import MINIMUM_INTERVAL_S, interval_s
from gateway.media.rtcp import Goodbye, Report, ReportBlock, SenderInfo, SourceDescription, build, parse
from tests.support.media_rig import TICK_S, MediaRig, leg_options, numbered
from tests.support.rtp_packets import rtp_packet

OFFSET_S = 1_700_000_000.25
PEER_SSRC = 0x1234
ANY_PORT_SSRC = 0xBAD


class Side(MediaRig):
    """One leg that reports, and what it has sent as RTCP: (time, packets)."""

    def __init__(self, seed: int = 1, tick_s: float = TICK_S) -> None:
        super().__init__(seed=seed, tick_s=tick_s)
        self.leg = self.open_leg()
        self.engine.reports.open(self.leg, self.now)
        self.reported: list[tuple[float, tuple[object, ...]]] = []
        self.mail: list[tuple[float, bytes]] = []
        self.on_report: Callable[[bytes], None] = lambda _datagram: None

    def tick(self) -> None:
        now, elapsed_s = self.now, self.elapsed_s
        super().tick()
        for at_s, datagram in [mail for mail in self.mail if mail[0] <= elapsed_s]:
            self.mail.remove((at_s, datagram))
            self.engine.reports.receive(self.leg, datagram, now, OFFSET_S)
        for report in self.engine.reports.due(now, OFFSET_S):
            self.reported.append((elapsed_s, parse(report.datagram)))
            self.on_report(report.datagram)

    @property
    def statistics(self):
        return self.engine.statistics(self.leg)

    @property
    def last(self) -> Report:
        report = self.reported[-1][1][0]
        assert isinstance(report, Report)
        return report

    def hears(self, *blocks: ReportBlock, ssrc: int = PEER_SSRC, sender: SenderInfo | None = None) -> None:
        """Deliver a report of the peer now."""
        datagram = build([Report(ssrc=ssrc, sender=sender, blocks=blocks)])
        self.engine.reports.receive(self.leg, datagram, self.now, OFFSET_S)


@pytest.fixture
def side() -> Side:
    return Side()


class Pair:
    """Two sides and the wire between them."""

    def __init__(self, *, loss: float = 0.0, delay_s: float = 0.0, seed: int = 0, tick_s: float = 0.02) -> None:
        self.random = Random(seed)
        self.loss, self.delay_s, self.tick_s = loss, delay_s, tick_s
        self.cut_side: int | None = None  # whose audio is lost altogether
        self.sides = (Side(1, tick_s), Side(2, tick_s))
        self.lost = [0, 0]
        for index, side in enumerate(self.sides):
            side.on_report = lambda datagram, to=index ^ 1: self.sides[to].mail.append(
                (self.sides[to].elapsed_s + self.delay_s, datagram)
            )

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / self.tick_s)):
            for index, side in enumerate(self.sides):
                before = len(side.sent)
                side.tick()
                for packet in side.sent[before:]:
                    if index == self.cut_side or self.random.random() < self.loss:
                        self.lost[index ^ 1] += 1
                        continue
                    header = bytes((0x80, packet.payload_type | packet.marked << 7))
                    header += packet.sequence.to_bytes(2, "big") + packet.timestamp.to_bytes(4, "big")
                    datagram = header + packet.ssrc.to_bytes(4, "big") + packet.payload
                    other = self.sides[index ^ 1]
                    other.arrive([(other.elapsed_s + self.delay_s, datagram)])


def test_reports_come_2_to_6_s_apart_and_spread() -> None:
    draws = [interval_s(draw / 1000, is_first=False, average_bytes=120) for draw in range(1001)]
    assert min(draws) == pytest.approx(0.5 * MINIMUM_INTERVAL_S / 1.21828, abs=1e-4)
    assert max(draws) == pytest.approx(1.5 * MINIMUM_INTERVAL_S / 1.21828, abs=1e-4)
    assert interval_s(0.5, is_first=True, average_bytes=120) == pytest.approx(2.5 / 1.21828, abs=1e-4)


def test_interval_grows_with_packets_that_would_take_more_than_their_share() -> None:
    assert interval_s(0.5, is_first=False, average_bytes=2500) == pytest.approx(10 / 1.21828, abs=1e-4)


def test_a_minute_has_a_dozen_reports_and_no_two_legs_the_same_times(side: Side) -> None:
    other = side.open_leg()
    side.engine.reports.open(other, side.now)
    side.run(60)
    times = [at_s for at_s, _ in side.reported]
    assert 18 <= len(times) <= 44
    assert len(set(times)) > len(times) * 0.9


def test_a_sender_report_ties_ntp_to_the_rtp_clock_and_counts_what_was_sent(side: Side) -> None:
    side.run(20)
    moments = []
    for at_s, (report, description) in side.reported:
        assert isinstance(report, Report)
        assert isinstance(description, SourceDescription)
        assert report.sender is not None
        before = [packet for packet in side.sent if packet.at_s <= at_s]
        assert report.ssrc == before[0].ssrc
        assert report.sender.packets == len(before)
        assert report.sender.octets == 160 * len(before)
        newest = before[-1]
        expected = newest.timestamp + round((at_s - newest.at_s) * 8000)
        assert (report.sender.rtp_timestamp - expected) % 2**32 in (0, 1, 2**32 - 1)
        unix_s = report.sender.ntp / 2**32 - 2_208_988_800
        moments.append(unix_s - (1000.0 + at_s))
    assert np.allclose(moments, OFFSET_S, atol=1e-3)


def test_names_are_random_and_constant_within_a_leg(side: Side) -> None:
    side.run(30)
    names = {packets[1].names for _, packets in side.reported}  # type: ignore[attr-defined]
    assert len(names) == 1
    other = Side(2)
    other.run(10)
    assert other.reported[0][1][1] != side.reported[0][1][1]


def test_loss_is_reported_as_it_was(side: Side) -> None:
    side.arrive([packet for index, packet in enumerate(numbered(3000)) if index % 10 != 7])
    side.run(60)
    blocks = [packets[0].blocks[0] for _, packets in side.reported if packets[0].blocks]  # type: ignore[attr-defined]
    assert side.statistics.packets_lost == pytest.approx(300, abs=1)
    assert blocks[-1].lost == pytest.approx(round(0.1 * (blocks[-1].highest_sequence + 1)), abs=1)
    assert all(block.fraction_lost == pytest.approx(25.6, abs=2) for block in blocks)
    assert {block.ssrc for block in blocks} == {PEER_SSRC}


def test_highest_sequence_counts_its_wraps(side: Side) -> None:
    side.arrive(numbered(300, sequence=65500))
    side.run(7)
    assert side.last.blocks[0].highest_sequence >> 16 == 1


def test_a_source_that_fell_silent_is_left_out_of_the_reports(side: Side) -> None:
    side.arrive(numbered(200))
    side.run(30)
    assert side.reported[0][1][0].blocks  # type: ignore[attr-defined]
    assert side.last.blocks == ()


def test_who_does_not_send_reports_as_a_receiver(side: Side) -> None:
    side.engine.set_direction(side.leg, send=False, receive=True)
    side.arrive(numbered(1500))
    side.run(30)
    assert all(packets[0].sender is None for _, packets in side.reported)  # type: ignore[attr-defined]
    side.engine.set_direction(side.leg, send=True, receive=True)
    side.run(10)
    assert side.last.sender is not None
    side.engine.set_direction(side.leg, send=False, receive=True)
    side.run(30)
    assert side.last.sender is None


@pytest.mark.parametrize("delay_s", [0.0, 0.04, 0.25])
def test_round_trip_is_that_of_the_wire(delay_s: float) -> None:
    pair = Pair(delay_s=delay_s, tick_s=TICK_S)
    pair.run(15)
    for side in pair.sides:
        assert side.statistics.round_trip_ms == pytest.approx(2000 * delay_s, abs=11)


@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_the_peer_tells_the_loss_of_what_we_sent(loss: float) -> None:
    pair = Pair(loss=loss, seed=3)
    pair.run(30)
    ours, theirs = pair.sides
    told = ours.statistics.remote_lost
    assert told is not None
    assert 0.7 * pair.lost[1] <= told <= pair.lost[1]
    assert theirs.statistics.packets_lost == pytest.approx(pair.lost[1], abs=1)


def test_opinion_falls_with_loss_at_either_end() -> None:
    scores = []
    for loss in (0.0, 0.05, 0.3):
        pair = Pair(loss=loss, seed=5)
        pair.run(15)
        statistics = pair.sides[0].statistics
        assert statistics.remote_mos == pytest.approx(statistics.mos, abs=0.6)
        scores.append(statistics.mos)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 4.3
    assert scores[-1] < 2.6


def test_who_is_not_heard_learns_it_from_reports_that_do_not_know_them() -> None:
    pair = Pair()
    pair.run(10)
    assert [side.engine.signs(side.leg).unheard_reports for side in pair.sides] == [0, 0]
    pair.cut_side = 0
    pair.run(20)
    unheard, heard = (side.engine.signs(side.leg).unheard_reports for side in pair.sides)
    assert unheard >= 2
    assert heard == 0
    pair.cut_side = None
    pair.run(10)
    assert [side.engine.signs(side.leg).unheard_reports for side in pair.sides] == [0, 0]


def test_there_is_no_opinion_of_a_peer_who_was_never_heard(side: Side) -> None:
    side.run(1)
    assert (side.statistics.mos, side.statistics.remote_mos, side.statistics.round_trip_ms) == (None, None, None)


def test_farewell_is_a_report_with_a_bye(side: Side) -> None:
    side.run(1)
    datagram = side.engine.reports.farewell(side.leg, side.now, OFFSET_S)
    assert datagram is not None
    report, _, goodbye = parse(datagram)
    assert isinstance(report, Report)
    assert goodbye == Goodbye(ssrcs=(side.sent[0].ssrc,))


def test_a_leg_that_never_sent_leaves_without_a_word(side: Side) -> None:
    assert side.engine.reports.farewell(side.leg, side.now, OFFSET_S) is None


def test_closed_and_reopened_legs_report_once_an_interval(side: Side) -> None:
    for _ in range(20):
        side.engine.close_leg(side.leg)
        side.leg = side.engine.open_leg(leg_options(), side.now)
        side.engine.reports.open(side.leg, side.now)
        side.engine.reports.open(side.leg, side.now)
    side.run(30)
    assert len(side.reported) <= 16


class TestLies:
    def own_ssrc(self, side: Side) -> int:
        return side.sent[0].ssrc

    def block(self, side: Side, **fields: int) -> ReportBlock:
        plain = {"ssrc": self.own_ssrc(side), "fraction_lost": 0, "lost": 0, "highest_sequence": 9, "jitter": 0}
        return ReportBlock(**plain | fields)

    def test_report_about_another_stream_says_nothing_of_ours(self, side: Side) -> None:
        side.run(8)
        side.hears(self.block(side, ssrc=ANY_PORT_SSRC, lost=99))
        assert side.statistics.remote_lost is None
        assert side.engine.signs(side.leg).unheard_reports == 1
        side.hears(self.block(side, lost=3))
        assert (side.statistics.remote_lost, side.engine.signs(side.leg).unheard_reports) == (3, 0)

    def test_round_trip_is_not_reckoned_from_a_moment_that_was_never_told(self, side: Side) -> None:
        side.run(8)
        told = side.last.sender
        assert told is not None
        side.hears(self.block(side, last_report=told.middle_ntp ^ 1))
        assert side.statistics.round_trip_ms is None

    def test_a_delay_beyond_belief_is_not_believed(self, side: Side) -> None:
        side.run(8)
        told = side.last.sender
        assert told is not None
        side.hears(self.block(side, last_report=told.middle_ntp, delay=0))
        honest = side.statistics.round_trip_ms
        assert honest is not None
        side.run(12)  # a moment of before, as if it came back at once
        side.hears(self.block(side, last_report=told.middle_ntp, delay=0))
        assert side.statistics.round_trip_ms == honest
        for delay in (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 20 << 16):
            side.hears(self.block(side, last_report=told.middle_ntp, delay=delay))
            assert side.statistics.round_trip_ms == honest

    def test_more_loss_than_packets_is_all_of_them(self, side: Side) -> None:
        side.run(3)
        side.hears(self.block(side, lost=2**23 - 1))
        assert side.statistics.remote_mos < 1.2
        side.hears(self.block(side, lost=-5))
        assert side.statistics.remote_lost == 0

    def test_our_own_report_come_back_is_not_the_peers(self, side: Side) -> None:
        side.on_report = lambda datagram: side.mail.append((side.elapsed_s, datagram))
        side.run(20)
        assert side.statistics.reports_received == 0
        assert side.engine.signs(side.leg).last_report_s is None

    def test_goodbye_ends_nothing(self, side: Side) -> None:
        side.arrive(numbered(500))
        side.run(2)
        datagram = build([Report(ssrc=PEER_SSRC), Goodbye(ssrcs=(PEER_SSRC,), reason=b"over")])
        side.engine.reports.receive(side.leg, datagram, side.now, OFFSET_S)
        before = side.statistics.packets_received
        side.run(5)
        assert side.statistics.packets_received - before == pytest.approx(250, abs=2)

    def test_garbage_is_counted_and_no_sign_of_life(self, side: Side) -> None:
        side.run(1)
        side.engine.reports.receive(side.leg, b"\x80\xc8garbage", side.now, OFFSET_S)
        assert side.engine.reports.view(side.leg).refused == 1
        assert side.engine.signs(side.leg).last_report_s is None

    def test_report_for_a_leg_that_is_not_there_is_nobodys(self, side: Side) -> None:
        side.engine.reports.receive(7, build([Report(ssrc=1)]), side.now, OFFSET_S)


u32 = st.integers(0, 2**32 - 1)


@settings(max_examples=10)
@given(st.lists(st.tuples(st.booleans(), u32, u32, st.integers(-(2**23), 2**23 - 1), u32, u32), max_size=8))
def test_whatever_a_peer_reports_figures_stay_within_reason(told: list[tuple[bool, int, int, int, int, int]]) -> None:
    side = Side()
    side.run(6)
    own = side.sent[0].ssrc
    known = [packets[0].sender.middle_ntp for _, packets in side.reported]  # type: ignore[attr-defined]
    for is_ours, ssrc, jitter, lost, last_report, delay in told:
        block = ReportBlock(
            ssrc=own if is_ours else ssrc,
            fraction_lost=0,
            lost=lost,
            highest_sequence=jitter,
            jitter=jitter,
            last_report=known[-1] if known and last_report % 2 else last_report,
            delay=delay,
        )
        side.hears(block, ssrc=ssrc, sender=SenderInfo(ntp=delay, rtp_timestamp=0, packets=0, octets=0))
        side.run(0.1)
    statistics = side.statistics
    assert statistics.round_trip_ms is None or 0 <= statistics.round_trip_ms <= 10_000
    assert statistics.remote_mos is None or 1 <= statistics.remote_mos <= 4.5


class TestSound:
    """Whether anything but digital silence came: what one-way audio is told by."""

    @pytest.mark.parametrize(
        ("payload_type", "octets", "has_sound"),
        [
            (0, b"\xff" * 160, False),
            (0, b"\x7f\xff\xfe\x7e" * 40, False),
            (0, b"\xff" * 159 + b"\xf0", True),
            (8, b"\xd5" * 160, False),
            (8, b"\x55\xd5" * 80, False),
            (8, b"\xd5" * 159 + b"\xc5", True),
            (77, b"\x00" * 160, False),
        ],
    )
    def test_sound_is_what_is_not_digital_silence(
        self, side: Side, payload_type: int, octets: bytes, *, has_sound: bool
    ) -> None:
        packets = [
            (0.02 * index, rtp_packet(index, 160 * index, octets, payload_type=payload_type)) for index in range(50)
        ]
        side.arrive(packets)
        side.run(1)
        assert side.engine.signs(side.leg).has_sound is has_sound

    def test_next_call_on_the_leg_begins_without_sound(self, side: Side) -> None:
        side.arrive(numbered(10))
        side.run(0.5)
        assert side.engine.signs(side.leg).has_sound
        side.engine.close_leg(side.leg)
        for _ in range(8):
            side.leg = side.engine.open_leg(leg_options(), side.now)
        assert not side.engine.signs(side.leg).has_sound
