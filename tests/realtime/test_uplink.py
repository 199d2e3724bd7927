"""The caller's audio on its way to a slow link."""

from __future__ import annotations

from gateway.realtime.uplink import UplinkBacklog


def test_nothing_is_dropped_within_the_limit() -> None:
    backlog = UplinkBacklog(limit_ms=100, bytes_per_ms=8)
    assert [backlog.hold(bytes(160)) for _ in range(5)] == [0, 0, 0, 0, 0]
    assert backlog.held_ms == 100


def test_oldest_goes_first() -> None:
    backlog = UplinkBacklog(limit_ms=60, bytes_per_ms=8)
    dropped = [backlog.hold(bytes([number]) * 160) for number in range(5)]
    assert dropped == [0, 0, 0, 20, 20]
    sent: list[bytes] = []
    backlog.release(sent.append, lambda: True)
    assert [piece[0] for piece in sent] == [2, 3, 4]
    assert backlog.held_ms == 0


def test_release_stops_when_the_link_is_full_again() -> None:
    backlog = UplinkBacklog(limit_ms=1000, bytes_per_ms=8)
    for number in range(3):
        backlog.hold(bytes([number]) * 80)
    sent: list[bytes] = []
    backlog.release(sent.append, lambda: len(sent) < 2)
    assert [piece[0] for piece in sent] == [0, 1]
    assert backlog.held_ms == 10


def test_piece_beyond_the_limit_is_itself_dropped() -> None:
    backlog = UplinkBacklog(limit_ms=10, bytes_per_ms=8)
    assert backlog.hold(bytes(800)) == 100
    assert backlog.held_ms == 0
