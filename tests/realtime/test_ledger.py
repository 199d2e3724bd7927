"""The account of received and interrupted audio."""

from __future__ import annotations

from gateway.realtime.ledger import MAX_ENTRIES, AudioLedger

PART = ("item", 0)


def test_received_audio_adds_up_in_whole_milliseconds() -> None:
    ledger = AudioLedger(48)
    assert ledger.received_ms(PART) is None
    assert ledger.take("resp", PART, 47)
    assert ledger.received_ms(PART) == 0
    assert ledger.take("resp", PART, 49)
    assert ledger.received_ms(PART) == 2
    assert ledger.received_ms(("item", 1)) is None


def test_interrupted_item_takes_no_more() -> None:
    ledger = AudioLedger(8)
    ledger.take("resp", PART, 80)
    ledger.interrupt("item")
    assert not ledger.take("resp", PART, 80)
    assert not ledger.take("resp", ("item", 1), 80)
    assert ledger.received_ms(PART) == 10
    assert ledger.take("resp", ("other", 0), 80)


def test_interrupted_reply_takes_no_more_of_any_item() -> None:
    ledger = AudioLedger(8)
    ledger.interrupt("resp")
    assert not ledger.take("resp", PART, 8)
    assert ledger.take("resp_2", PART, 8)


def test_end_of_an_item_is_told_once() -> None:
    ledger = AudioLedger(8)
    assert not ledger.finish(PART)
    ledger.take("resp", PART, 8)
    assert ledger.finish(PART)
    assert not ledger.finish(PART)


def test_end_of_interrupted_audio_is_not_told() -> None:
    ledger = AudioLedger(8)
    ledger.take("resp", PART, 8)
    ledger.take("resp_2", ("item_2", 0), 8)
    ledger.interrupt("item")
    ledger.interrupt("resp_2")
    assert not ledger.finish(PART)
    assert not ledger.finish(("item_2", 0))


def test_unfinished_items_of_a_reply() -> None:
    ledger = AudioLedger(8)
    for response_id, item_id in (("r1", "a"), ("r1", "b"), ("r2", "c")):
        ledger.take(response_id, (item_id, 0), 8)
    ledger.finish(("a", 0))
    assert ledger.unfinished("r1") == [("b", 0)]


def test_only_the_newest_are_remembered() -> None:
    ledger = AudioLedger(8)
    for number in range(MAX_ENTRIES + 1):
        ledger.take("resp", (str(number), 0), 8)
    assert ledger.received_ms(("0", 0)) is None
    assert ledger.received_ms((str(MAX_ENTRIES), 0)) == 1
