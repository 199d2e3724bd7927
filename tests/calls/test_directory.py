"""Who hears the news of which leg."""

from __future__ import annotations

from gateway.calls.lines.directory import LegDirectory
from gateway.sip.events import CallCancelled, Event


def test_news_of_a_leg_reach_its_listener_alone_until_it_is_struck_out() -> None:
    legs, ours, theirs = LegDirectory(), list[Event](), list[Event]()
    legs.enter("a", ours.append)
    legs.enter("b", theirs.append)
    news = CallCancelled(leg_id="a")
    assert legs.tell("a", news)
    assert (ours, theirs) == ([news], [])
    legs.strike("a")
    legs.strike("a")
    assert not legs.tell("a", news)
    assert len(legs) == 1
