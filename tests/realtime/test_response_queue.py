"""When the model may be asked to speak. What its users see is in test_openai_protocol; here are the corners."""

from __future__ import annotations

from gateway.realtime.openai.response_queue import ResponseQueue, WantedResponse


def queue() -> ResponseQueue:
    return ResponseQueue(has_automatic_responses=True)


def test_latest_instructions_win_and_none_does_not_erase_them() -> None:
    replies = queue()
    replies.want("first")
    replies.want("second")
    replies.want(None)
    assert replies.due() == WantedResponse(instructions="second")


def test_nothing_is_due_while_a_request_is_out() -> None:
    replies = queue()
    replies.want(None)
    wanted = replies.due()
    assert wanted is not None
    replies.request("c1", wanted)
    assert replies.is_requested
    replies.want("again")
    assert replies.due() is None
    replies.begin("r1")
    assert replies.active == "r1"
    assert replies.due() is None
    replies.end("r1")
    assert replies.due() == WantedResponse(instructions="again")


def test_end_of_another_reply_does_not_free_the_active_one() -> None:
    replies = queue()
    replies.begin("r1")
    replies.want(None)
    replies.end("r0")
    assert replies.due() is None


def test_refusal_of_an_event_that_was_no_request_is_none_of_ours() -> None:
    replies = queue()
    assert not replies.refuse("", is_busy=True)
    replies.want(None)
    replies.request("c1", WantedResponse())
    assert not replies.refuse("c2", is_busy=True)
    assert replies.refuse("c1", is_busy=False)
    assert not replies.refuse("c1", is_busy=False)


def test_results_asked_for_by_the_call_and_by_tools_are_one_reply() -> None:
    replies = queue()
    replies.begin("r1")
    replies.tell("call", "r1")
    replies.want("Say it.")
    replies.answer("call", respond=True)
    replies.end("r1")
    wanted = replies.due()
    assert wanted == WantedResponse(instructions="Say it.")
    assert wanted is not None
    replies.request("c1", wanted)
    replies.begin("r2")
    replies.end("r2")
    assert replies.due() is None


def test_cancel_keeps_the_reply_to_tools() -> None:
    replies = queue()
    replies.begin("r1")
    replies.tell("call", "r1")
    replies.answer("call", respond=True)
    replies.end("r1")
    replies.cancel()
    assert replies.due() == WantedResponse(is_for_tools=True)


def test_calls_of_two_replies_are_counted_apart() -> None:
    replies = queue()
    replies.begin("r1")
    replies.tell("slow", "r1")
    replies.end("r1")
    replies.begin("r2")
    replies.tell("fast", "r2")
    replies.end("r2")
    replies.answer("fast", respond=True)
    wanted = replies.due()
    assert wanted is not None
    replies.request("c1", wanted)
    replies.begin("r3")
    replies.answer("slow", respond=True)
    assert replies.due() is None
    replies.end("r3")
    assert replies.due() == WantedResponse(is_for_tools=True)
