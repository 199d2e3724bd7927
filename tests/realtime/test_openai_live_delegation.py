"""When the backend gets a tool's result, and when it is asked to go on."""

from __future__ import annotations

from gateway.realtime.openai_live.delegation import Delegations, Taken


def at_work(*call_ids: str) -> Delegations:
    work = Delegations()
    work.begin("d")
    for call_id in call_ids:
        assert work.tell(call_id, "d")
    return work


def test_the_backend_goes_on_once_when_the_last_of_its_calls_is_answered() -> None:
    work = at_work("a", "b")
    work.complete("d")
    assert work.answer("a", respond=True) is Taken.RESULT
    assert not work.take_request()
    assert work.answer("b", respond=True) is Taken.RESULT
    assert work.take_request()
    assert not work.take_request()


def test_a_result_before_the_replys_end_waits_for_it() -> None:
    work = at_work("a")
    assert work.answer("a", respond=True) is Taken.RESULT
    assert not work.take_request()
    work.complete("d")
    assert work.take_request()


def test_an_open_call_of_another_piece_of_work_holds_everything() -> None:
    work = at_work("a")
    work.complete("d")
    work.begin("e")
    work.tell("b", "e")
    work.answer("a", respond=True)
    work.complete("e")
    assert not work.take_request()
    work.answer("b", respond=False)
    assert work.take_request()


def test_a_call_is_told_once_and_answered_once() -> None:
    work = at_work("a")
    assert not work.tell("a", "d")
    assert work.answer("a", respond=True) is Taken.RESULT
    assert work.answer("a", respond=True) is Taken.NOTHING
    assert work.answer("unknown", respond=True) is Taken.NOTHING


def test_a_result_that_wants_no_reply_asks_for_none() -> None:
    work = at_work("a")
    work.complete("d")
    work.answer("a", respond=False)
    assert not work.take_request()


def test_the_calls_of_a_failed_reply_are_dropped_and_their_results_are_news() -> None:
    work = at_work("a", "b")
    work.answer("a", respond=True)
    assert work.fail("d") == ["b"]
    assert work.answer("b", respond=True) is Taken.NEWS
    assert work.answer("b", respond=True) is Taken.NOTHING


def test_a_reply_that_follows_another_without_an_end_between_leaves_its_calls_open() -> None:
    work = at_work("a")
    work.begin("d")
    work.complete("d")
    assert work.answer("a", respond=True) is Taken.RESULT
    assert work.take_request()


def test_a_call_of_work_that_was_never_begun_is_open() -> None:
    work = Delegations()
    assert work.tell("a", "")
    work.answer("a", respond=True)
    assert work.take_request()
