"""What was heard of what: against a ledger that keeps every single sample."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.media.ledger import MAX_ITEMS, HeardAudio, Ledger


def written(ledger, name, samples, start, sent=0, *, per_ms=8):
    """Put samples of an item at a position, received in mu-law; the position behind them."""
    item = ledger.item(name, 0, per_ms, sent)
    item.received_bytes += samples * per_ms // 8
    ledger.wrote(item, start, samples, sent)
    return start + samples


def heard(ledger, sent):
    return [(audio.item_id, audio.heard_ms, audio.received_ms) for audio in ledger.interrupt(sent)]


def test_of_two_items_in_one_packet_each_has_its_samples():
    ledger = Ledger()
    end = written(ledger, "a", 1000, 0)
    written(ledger, "b", 1000, end)
    assert heard(ledger, 1120) == [("a", 125, 125), ("b", 15, 125)]


def test_nothing_sent_is_nothing_heard():
    ledger = Ledger()
    written(ledger, "a", 800, 160)
    assert heard(ledger, 160) == [("a", 0, 100)]
    assert heard(ledger, 160) == []


def test_padding_between_stretches_of_an_item_is_not_heard():
    ledger = Ledger()
    written(ledger, "a", 200, 0)
    written(ledger, "a", 800, 320, sent=320)
    assert heard(ledger, 480) == [("a", 45, 125)]


def test_an_item_that_was_wholly_heard_but_not_ended_is_told():
    ledger = Ledger()
    written(ledger, "a", 160, 0)
    assert heard(ledger, 1600) == [("a", 20, 20)]


def test_an_item_that_is_over_is_not_told_and_still_finishes():
    ledger = Ledger()
    end = written(ledger, "a", 160, 0)
    ledger.parts("a")[0].is_ended = True
    written(ledger, "b", 160, end)
    assert ledger.next_end() == 160
    assert heard(ledger, 160) == [("b", 0, 20)]
    assert [item.item_id for item in ledger.take_finished(160)] == ["a"]
    assert ledger.next_end() is None


def test_an_item_with_audio_still_on_its_way_is_not_over():
    ledger = Ledger()
    written(ledger, "a", 160, 0)
    item = ledger.parts("a")[0]
    item.is_ended, item.pending_chunks = True, 1
    assert ledger.next_end() is None
    assert ledger.take_finished(1000) == []


def test_contents_of_one_item_are_told_apart_and_ended_together():
    ledger = Ledger()
    first, second = ledger.item("a", 0, 48, 0), ledger.item("a", 1, 48, 0)
    first.received_bytes, second.received_bytes = 4800, 4800
    ledger.wrote(first, 0, 800, 0)
    ledger.wrote(second, 800, 800, 0)
    assert ledger.parts("a") == [first, second]
    assert ledger.interrupt(880) == (
        HeardAudio(item_id="a", content_index=0, heard_ms=100, received_ms=100),
        HeardAudio(item_id="a", content_index=1, heard_ms=10, received_ms=100),
    )


def test_interleaved_items_are_summed_up():
    ledger = Ledger()
    end = written(ledger, "a", 100, 0)
    end = written(ledger, "b", 100, end)
    end = written(ledger, "a", 100, end)
    assert heard(ledger, 260) == [("a", 20, 25), ("b", 12, 12)]


def test_heard_never_exceeds_received_although_the_filter_rounds_up():
    ledger = Ledger()
    item = ledger.item("a", 0, 48, 0)
    item.received_bytes = 47
    ledger.wrote(item, 0, 8, 0)
    assert heard(ledger, 160) == [("a", 0, 0)]


def test_items_that_no_one_ends_do_not_pile_up():
    ledger = Ledger()
    position = 0
    for index in range(5 * MAX_ITEMS):
        position = written(ledger, f"item {index}", 160, position, sent=position)
    assert len(ledger.interrupt(position)) <= MAX_ITEMS


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 700), st.integers(0, 300), st.integers(0, 900)), max_size=25
    )
)
def test_every_history_agrees_with_a_count_of_single_samples(history):
    ledger, owners, sent = Ledger(), [], 0
    for name, samples, hole, step in history:
        owners += [None] * hole
        written(ledger, name, samples, len(owners), sent)
        owners += [name] * samples
        sent = min(sent + step, len(owners))
    expected = {name: owners[:sent].count(name) // 8 for name in dict.fromkeys(n for n in owners if n)}
    assert {name: heard_ms for name, heard_ms, _ in heard(ledger, sent)} == expected
