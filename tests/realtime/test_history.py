"""What the next session is told of a conversation."""

from __future__ import annotations

from gateway.realtime.events import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    OutputTranscript,
    SpeechStarted,
    ToolCall,
)
from gateway.realtime.options import Message, ToolExchange
from gateway.realtime.recovery.history import MAX_CHARACTERS, MAX_ITEMS, RUNNING, UNWRITTEN, History


def texts(history: History) -> list[str]:
    return [item.text for item in history.items() if isinstance(item, Message)]


def say(history: History, item: str, words: str, audio_ms: int, *, is_whole: bool = True) -> None:
    part = {"response_id": "r", "item_id": item, "content_index": 0}
    history.hear(OutputTranscript(**part, text=words, is_final=True))  # type: ignore[arg-type]
    history.hear(AudioDelta(**part, audio=bytes(8 * audio_ms)))  # type: ignore[arg-type]
    if is_whole:
        history.hear(AudioFinished(**part))  # type: ignore[arg-type]


def test_turns_stand_in_the_order_in_which_they_began() -> None:
    history = History(8)
    history.hear(SpeechStarted(item_id="u", audio_start_ms=0))
    say(history, "a", "Nine to five.", 1000)
    history.hear(InputTranscript(item_id="u", text="When are ", is_final=False))
    history.hear(InputTranscript(item_id="u", text="you open?", is_final=False))
    assert texts(history) == ["When are you open?", "Nine to five."]
    history.hear(InputTranscript(item_id="u", text="When are you open?", is_final=True))
    history.hear(InputTranscript(item_id="u", text="late", is_final=False))
    assert texts(history)[0] == "When are you open?"


def test_of_words_ahead_of_their_audio_only_what_fits_is_heard() -> None:
    history = History(8)
    say(history, "a", "one two three four five six seven eight nine ten", 1000, is_whole=False)
    (heard,) = texts(history)
    assert heard.startswith("one two")
    assert heard.endswith("…")
    assert "seven" not in heard


def test_an_item_that_was_cut_at_its_start_was_never_said() -> None:
    history = History(8)
    say(history, "a", "Hello there.", 1000)
    history.cut("a", 0)
    assert history.items() == ()


def test_a_turn_that_was_answered_and_never_written_down_is_not_passed_over() -> None:
    history = History(8)
    history.hear(SpeechStarted(item_id="u", audio_start_ms=0))
    assert history.items() == ()
    history.close_turn("u")
    assert texts(history) == [UNWRITTEN]
    history.hear(InputTranscript(item_id="u", text="Late words.", is_final=True))
    assert texts(history) == ["Late words."]


def test_a_tool_is_told_as_running_until_its_result_is_there() -> None:
    history = History(8)
    history.call(ToolCall(call_id="c", name="look", arguments={}, response_id="r"), "{}")
    (running,) = history.items()
    assert running == ToolExchange(call_id="c", name="look", arguments="{}", output=RUNNING)
    history.answer("c", "42")
    assert history.items() == (ToolExchange(call_id="c", name="look", arguments="{}", output="42"),)


def test_the_record_is_bounded_and_keeps_the_newest_and_some_facts() -> None:
    history = History(8, (Message(role="system", text="Before."),))
    history.tell("system", "A fact of old.")
    for number in range(5000):
        history.tell("user", f"{number} " + "x" * 300)
    items = history.items()
    assert len(items) <= MAX_ITEMS + 2
    assert sum(len(item.text) for item in items if isinstance(item, Message)) <= MAX_CHARACTERS * 1.25
    assert texts(history)[-1].startswith("4999 ")
    assert len(history._entries) <= 4 * MAX_ITEMS


def test_a_tool_that_runs_is_never_forgotten() -> None:
    history = History(8)
    history.call(ToolCall(call_id="c", name="look", arguments={}, response_id="r"), "{}")
    for number in range(1000):
        history.tell("system", str(number))
    history.answer("c", "42")
    assert [entry for entry in history._entries if getattr(entry, "output", "") == "42"]


def test_only_what_came_after_a_mark_is_told() -> None:
    history = History(8)
    history.tell("system", "one")
    mark = history.mark
    history.tell("system", "two")
    assert [item.text for item in history.items(since=mark) if isinstance(item, Message)] == ["two"]
    for number in range(1000):
        history.tell("system", str(number))
    mark = history.mark
    assert history.items(since=mark) == ()
