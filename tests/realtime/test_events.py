from __future__ import annotations

from gateway.realtime.events import RateLimit, SessionStatistics


def test_counts_of_two_connections_are_added_and_of_all_else_the_last_holds() -> None:
    limits = {"tokens": RateLimit(limit=10, remaining=1, reset_s=2.0)}
    total = SessionStatistics(messages_received=3, dropped_uplink_ms=20.0, context_usage_ratio=0.6, rate_limits=limits)
    total.add(SessionStatistics(messages_received=4, dropped_uplink_ms=0.5, context_usage_ratio=0.5))
    assert (total.messages_received, total.dropped_uplink_ms) == (7, 20.5)
    assert (total.context_usage_ratio, total.rate_limits) == (0.5, limits)
