"""Each tool call runs once."""

from __future__ import annotations

from gateway.realtime.events import ToolCall
from gateway.realtime.recovery.tool_calls import MAX_REMEMBERED, KnownCall, NewCall, Result, ToolCalls


def call(call_id: str, name: str = "look", **arguments: object) -> ToolCall:
    return ToolCall(call_id=call_id, name=name, arguments=arguments, response_id="r")


def asked(tools: ToolCalls, one: ToolCall, link: int = 0) -> str | None:
    """The id under which a call is to be run; None when it is not."""
    answer = tools.ask(one, link)
    return answer.call.call_id if isinstance(answer, NewCall) else None


def test_a_repeated_call_is_known_and_another_one_is_not() -> None:
    tools = ToolCalls()
    assert asked(tools, call("a", x=1)) == "a"
    assert asked(tools, call("a", x=1)) is None
    assert asked(tools, call("b", x=1)) == "b"  # the same session wants it twice
    assert tools.open_count == 2


def test_a_later_session_that_asks_for_what_runs_waits_for_it() -> None:
    tools = ToolCalls()
    asked(tools, call("a", x=1, y=2))
    assert tools.ask(call("z", y=2, x=1), 1) == KnownCall(output=None)
    assert asked(tools, call("y", x=2), 1) == "y"
    assert tools.answer("a", "42", 1) == Result(name="look", output="42", call_ids=("z",))
    assert asked(tools, call("w", x=1, y=2), 1) == "w"  # what has ended may be wanted again


def test_a_result_is_taken_once_and_only_of_a_call() -> None:
    tools = ToolCalls()
    asked(tools, call("a"))
    assert tools.answer("b", "42", 0) is None
    assert tools.answer("a", "42", 0) == Result(name="look", output="42", call_ids=("a",))
    assert tools.answer("a", "43", 0) is None
    assert tools.ask(call("a"), 1) == KnownCall(output="42")


def test_a_result_for_a_session_that_is_gone_waits_for_nobody() -> None:
    tools = ToolCalls()
    asked(tools, call("a"))
    mark = tools.mark
    assert tools.answer("a", "42", 1) == Result(name="look", output="42", call_ids=())
    assert tools.since(mark) == (Result(name="look", output="42", call_ids=()),)
    assert tools.since(tools.mark) == ()


def test_a_cancelled_call_s_result_is_not_taken() -> None:
    tools = ToolCalls()
    asked(tools, call("a"))
    assert tools.cancel("a", 0) == "a"
    assert tools.cancel("b", 0) == ""
    assert tools.answer("a", "42", 0) is None
    assert tools.open_count == 0


def test_memory_is_bounded_and_what_runs_stays() -> None:
    tools = ToolCalls()
    asked(tools, call("first"))
    for number in range(3 * MAX_REMEMBERED):
        asked(tools, call(f"c{number}", n=number))
        tools.answer(f"c{number}", "ok", 0)
    assert len(tools._runs) <= MAX_REMEMBERED + 1
    assert tools.answer("first", "42", 0) is not None
