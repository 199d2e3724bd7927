"""Sessions that outlive their connections, on virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from tests.support.session_house import CAPABILITIES, CONNECT_S, PIECE, SessionHouse

GONE = ProviderUnavailable("gone", code="unreachable")
FATAL = ProviderRefused("no such key", code="invalid_api_key")


# --- reconnecting ----------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_replaced_at_once() -> None:
    house = SessionHouse()
    with house.running():
        first = house.link
        first.drop()
        house.live(1.0)
        assert house.link is not first
        assert first.ending == "aborted"
        kinds = [type(event) for event in house.told]
        assert kinds == [realtime.SessionReady, realtime.SessionSuspended, realtime.SessionResumed]
        (resumed,) = house.of(realtime.SessionResumed)
        assert (resumed.session_id, resumed.is_planned) == ("scripted-first-1", False)
        assert 180 <= resumed.gap_ms <= 260


def test_tries_are_spread_and_counted() -> None:
    house = SessionHouse()
    with house.running():
        provider = house.providers[0]
        provider.usual = GONE
        lost_at = house.now
        house.link.drop()
        house.live(15.0)
        tries = [at - lost_at for at in provider.attempts[1:]]
        assert len(tries) == 5
        assert tries[0] < 0.05
        assert tries[-1] < 4.0
        assert isinstance(house.told[-2], realtime.SessionFailed)
        assert isinstance(house.told[-1], realtime.SessionClosed)


def test_no_try_begins_after_the_window() -> None:
    house = SessionHouse(window_s=1.0, attempts=50)
    with house.running():
        house.providers[0].usual = GONE
        lost_at = house.now
        house.link.drop()
        house.live(30.0)
        assert len(house.of(realtime.SessionFailed)) == 1
        assert max(house.providers[0].attempts) - lost_at <= 1.2


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([FATAL], (1, 1)),
        ([GONE] * 5, (5, 1)),
        ([GONE, FATAL], (2, 1)),
        ([ProviderUnavailable("busy", code="http_429", retry_after_s=60)], (1, 1)),
        ([ProviderUnavailable("busy", code="http_429", retry_after_s=2)], (2, 0)),
    ],
)
def test_the_fallback_takes_over_when_it_must(errors: list[ProviderError], expected: tuple[int, int]) -> None:
    house = SessionHouse("first", "second")
    with house.running():
        first, second = house.providers
        first.plan.extend(errors)
        house.link.drop()
        house.live(15.0)
        assert (len(first.attempts) - 1, len(second.attempts)) == expected
        assert house.link.provider is (second if expected[1] else first)


def test_a_session_that_fails_for_good_is_not_tried_again() -> None:
    house = SessionHouse("first", "second")
    with house.running():
        house.link.drop(FATAL)
        house.live(1.0)
        assert len(house.providers[0].attempts) == 1
        house.link.drop()
        house.live(1.0)
        assert len(house.providers[0].attempts) == 1
        assert [event.provider for event in house.of(realtime.SessionResumed)] == ["scripted-second"] * 2


def test_closing_while_suspended_ends_the_search() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.providers[0].usual = 30.0
        house.link.drop()
        house.live(0.5)
        house.run(session.close())
        assert isinstance(house.told[-1], realtime.SessionClosed)
        assert len(house.of(realtime.SessionClosed)) == 1
        assert house.of(realtime.SessionFailed) == []


def test_a_new_call_goes_to_the_fallback_when_the_first_is_not_there() -> None:
    house = SessionHouse("first", "second")
    house.providers[0].usual = GONE
    with house.running():
        assert house.link.provider is house.providers[1]
        assert isinstance(house.told[0], realtime.SessionReady)


def test_a_fallback_speaks_in_the_formats_of_the_call_and_is_interrupted_like_the_first() -> None:
    house = SessionHouse("first", "second")
    house.providers[0].usual = GONE
    own = realtime.SessionOptions(
        provider=house.names[1], url="ws://x", turn_detection=realtime.TurnDetection(interrupts_response=False)
    )
    first = realtime.SessionOptions(
        provider=house.names[0], url="ws://y", input_format=AudioFormat.PCMU, output_format=AudioFormat.PCMA
    )
    session = house.endpoints.session(house.names, [first, own])
    house.run(session.connect(house.told.append))
    options = house.link.options
    assert (options.input_format, options.output_format) == (AudioFormat.PCMU, AudioFormat.PCMA)
    assert options.turn_detection.interrupts_response
    house.run(session.close())
    house.loop.close()


# --- what the next session knows -------------------------------------------------------------------------------------


def test_the_next_session_knows_what_was_said_and_heard() -> None:
    house = SessionHouse()
    with house.running() as session:
        link = house.link
        session.send_text("system", "The caller pressed 4.")
        link.begin_turn("u")
        link.end_turn("u", "When are you open?")
        link.begin("r")
        link.call("c", "hours", day="monday")
        link.finish("r")
        session.send_tool_result("c", '{"open": 9}')
        link.answer("r2", "a", 2000, "We open at nine, and we close at five in the evening.")
        session.truncate("a", 0, 1000)
        link.drop()
        house.live(1.0)
        system, user, tool, agent = house.link.options.history
        assert system == realtime.Message(role="system", text="The caller pressed 4.")
        assert user == realtime.Message(role="user", text="When are you open?")
        assert tool == realtime.ToolExchange(
            call_id="c", name="hours", arguments='{"day": "monday"}', output='{"open": 9}'
        )
        assert agent == realtime.Message(role="assistant", text="We open at nine, and we close …")
        assert house.link.commands("respond") == []


def test_a_reply_that_broke_off_goes_on_once() -> None:
    house = SessionHouse()
    with house.running():
        words = "We are open from nine to five on every day of the week but on Sunday, when nobody is here at all."
        house.link.begin("r")
        house.link.say("r", "a", 2000, words)
        house.link.drop()
        finished = house.of(realtime.ResponseFinished)
        assert [(event.response_id, event.status.value, event.reason) for event in finished] == [
            ("r", "incomplete", "connection_lost")
        ]
        assert [event.item_id for event in house.of(realtime.AudioFinished)] == ["a"]
        house.live(1.0)
        second = house.link
        (told,) = second.commands("send_text")
        assert told[0] == "system"
        assert 'after the words "We are open from nine to five' in told[1]
        assert "Sunday" not in told[1]  # 2 s are some 30 characters
        assert second.commands("respond") == [(None,)]
        second.begin("r")
        second.say("r", "a", 500, "on every day of the week")
        second.drop()
        house.live(1.0)
        assert house.link.commands("respond") == []


def test_a_reply_that_was_spoken_and_not_ended_goes_on_after_its_last_words() -> None:
    house = SessionHouse()
    with house.running():
        house.link.begin("r")
        house.link.say("r", "a", 2000, "One moment, I shall look.", is_whole=True)  # and then it wanted a tool
        house.link.drop()
        house.live(1.0)
        (told,) = house.link.commands("send_text")
        assert 'after the words "One moment, I shall look."' in told[1]
        assert house.link.commands("respond") == [(None,)]


def test_a_reply_of_which_nothing_was_heard_is_asked_for_again_in_its_words() -> None:
    house = SessionHouse()
    with house.running() as session:
        session.respond("Greet the caller.")
        house.link.begin("r")
        house.link.drop()
        house.live(1.0)
        assert house.link.commands("respond") == [("Greet the caller.",)]


def test_a_turn_that_was_written_down_is_answered_by_the_next_session() -> None:
    house = SessionHouse()
    with house.running():
        house.link.begin_turn("u")
        house.link.end_turn("u", "Hello?")
        house.link.drop()
        house.live(1.0)
        assert house.link.options.history == (realtime.Message(role="user", text="Hello?"),)
        assert house.link.commands("respond") == [(None,)]


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_turn_that_was_not_written_down_is_said_again(has_ended: bool) -> None:
    house = SessionHouse()
    with house.running() as session:
        number = iter(range(100_000))

        def speak() -> None:
            session.append_audio(next(number).to_bytes(4, "big") * 40)

        house.live(2.0, speak)
        link = house.link
        link.begin_turn("u")
        house.live(1.0, speak)
        if has_ended:
            link.end_turn("u")
        link.drop()
        house.live(1.0, speak)
        house.live(1.0, speak)
        pieces = [int.from_bytes(piece[:4], "big") for piece in house.link.heard]
        assert pieces == list(range(pieces[0], pieces[0] + len(pieces)))  # nothing is missing, nothing comes twice
        assert 60 <= pieces[0] <= 90  # the turn began at piece 100; its onset is kept
        assert house.link.commands("respond") == []
        assert house.link.options.history == ()


def test_audio_of_a_gap_is_bounded_and_the_oldest_goes() -> None:
    house = SessionHouse(keep_audio_s=1.0)
    with house.running() as session:
        house.providers[0].plan.extend([3.0])
        house.link.drop()
        house.live(2.9, lambda: session.append_audio(PIECE))
        house.live(0.4)
        assert house.link.heard == []
        house.live(1.0, lambda: session.append_audio(PIECE))
        assert len(house.link.heard) == 50 + 50
        assert session.statistics.dropped_uplink_ms == pytest.approx(1900, abs=40)


def test_a_caller_is_not_flooded_with_old_audio_faster_than_the_link_takes_it() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.live(4.0, lambda: session.append_audio(PIECE))
        house.link.begin_turn("u")
        house.live(2.0, lambda: session.append_audio(PIECE))
        house.link.drop()
        house.live(0.5, lambda: session.append_audio(PIECE))
        before = len(house.link.heard)
        session.append_audio(PIECE)
        assert len(house.link.heard) - before <= 8


def test_a_provider_that_remembers_is_given_its_handle_and_no_history() -> None:
    house = SessionHouse()
    house.providers[0].capabilities = replace(CAPABILITIES, has_resumption=True)
    with house.running() as session:
        house.link.answer("r", "a", 100, "Hello.")
        house.link.emit(realtime.ResumptionOffered(handle="h1"))
        session.send_text("system", "Later.")
        house.link.drop()
        house.live(1.0)
        assert (house.link.options.resume_handle, house.link.options.history) == ("h1", ())
        assert house.link.commands("send_text") == [("system", "Later.")]


def test_a_handle_that_is_refused_costs_one_try_and_not_the_provider() -> None:
    house = SessionHouse()
    with house.running():
        house.link.answer("r", "a", 100, "Hello.")
        house.link.emit(realtime.ResumptionOffered(handle="h1"))
        house.providers[0].plan.append(ProviderRefused("unknown handle", code="handle"))
        house.link.drop()
        house.live(2.0)
        assert house.link.options.resume_handle == ""
        assert house.link.options.history == (realtime.Message(role="assistant", text="Hello."),)


def test_what_is_asked_in_the_gap_is_not_forgotten() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.drop()
        session.send_text("system", "The transfer failed.")
        session.respond()
        session.update(realtime.SessionChange(instructions="Be brief."))
        house.live(1.0)
        link = house.link
        assert link.commands("respond") == [(None,)]
        said = [*link.options.history, *(realtime.Message(role=r, text=t) for r, t in link.commands("send_text"))]
        assert said == [realtime.Message(role="system", text="The transfer failed.")]
        assert "Be brief." in (link.options.instructions, *(c[0].instructions for c in link.commands("update")))


def test_a_question_that_a_lost_session_did_not_answer_is_answered_with_an_error() -> None:
    house = SessionHouse()
    with house.running() as session:
        session.ask("q", "Sum up.")
        house.link.drop()
        session.ask("p", "Sum up.")
        answers = house.of(realtime.Answered)
        assert [(event.question_id, event.error is not None) for event in answers] == [("q", True), ("p", True)]
        house.live(1.0)
        assert house.link.commands("ask") == []


def test_a_summary_takes_the_place_of_what_it_stands_for() -> None:
    house = SessionHouse()
    with house.running() as session:
        session.send_text("system", "A fact.")
        house.link.answer("r1", "a", 100, "One.")
        house.link.answer("r2", "b", 100, "Two.")
        session.replace_items(["a"], "s1", "They said one.")
        assert house.link.commands("replace_items") == [(["a"], "s1", "They said one.")]
        house.link.drop()
        house.live(1.0)
        texts = [item.text for item in house.link.options.history if isinstance(item, realtime.Message)]
        assert texts == ["They said one.", "Two."]


def test_items_of_different_sessions_have_different_ids() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.answer("r", "a", 1000, "The first answer of all.")
        house.link.drop()
        house.live(1.0)
        house.link.answer("r", "a", 1000, "Another one.")
        first, second = (event.item_id for event in house.of(realtime.AudioDelta))
        assert first != second
        session.truncate(second, 0, 500)
        assert house.link.commands("truncate") == [("a", 0, 500)]
        session.truncate(first, 0, 500)
        assert len(house.link.commands("truncate")) == 1
        assert "heard no more than" in house.link.commands("send_text")[-1][1]


# --- tools -----------------------------------------------------------------------------------------------------------


def test_a_tool_that_runs_over_a_reconnect_gives_its_result_to_the_next_session() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin("r")
        house.link.call("c", "look", what="x")
        house.link.finish("r")
        house.link.drop()
        house.live(1.0)
        (item,) = house.link.options.history
        assert isinstance(item, realtime.ToolExchange)
        assert "running" in item.output
        house.link.call("other", "look", what="x")  # the new session asks for it anew
        assert [event.call.call_id for event in house.of(realtime.ToolCalled)] == ["c"]
        session.send_tool_result("c", "42")
        assert house.link.commands("send_tool_result") == [("other", "42", True)]
        session.send_tool_result("c", "43")
        assert len(house.link.done) == 1
        assert session.statistics.stale_results == 1


def test_a_result_nobody_asks_for_again_is_told_in_words_and_answered() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin("r")
        house.link.call("c")
        house.link.finish("r")
        house.link.drop()
        house.live(1.0)
        session.send_tool_result("c", "42")
        assert house.link.commands("send_text") == [
            ("user", "The tool look that was running has finished. Its result, which is data: 42")
        ]
        assert house.link.commands("respond") == [(None,)]


@pytest.mark.parametrize("after_s", [0.0, 0.1])
def test_a_result_in_the_gap_reaches_the_next_session(after_s: float) -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin("r")
        house.link.call("c")
        house.link.finish("r")
        house.link.drop()
        house.live(after_s)
        session.send_tool_result("c", "42")
        house.live(1.0)
        outputs = [item.output for item in house.link.options.history if isinstance(item, realtime.ToolExchange)]
        assert "42" in "".join([*outputs, *(text for _, text in house.link.commands("send_text"))])
        assert house.link.commands("respond") == [(None,)]


def test_a_call_repeated_with_its_old_id_gets_the_old_result() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.call("c", "look", what="x")
        session.send_tool_result("c", "42")
        house.link.drop()
        house.live(1.0)
        house.link.call("c", "look", what="x")
        assert len(house.of(realtime.ToolCalled)) == 1
        assert house.link.commands("send_tool_result") == [("c", "42")]


def test_another_call_with_a_used_id_is_run_and_answered_under_that_id() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.call("c", "look", what="x")
        session.send_tool_result("c", "42")
        house.link.drop()
        house.live(1.0)
        house.link.call("c", "look", what="y")
        told = house.of(realtime.ToolCalled)[-1].call.call_id
        assert told != "c"
        session.send_tool_result(told, "43")
        assert house.link.commands("send_tool_result") == [("c", "43", True)]


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_silent_model_is_prompted_for_replaced_and_left() -> None:
    house = SessionHouse("first", "second")
    with house.running():
        house.link.begin_turn("u")
        house.link.end_turn("u", "Hello?")
        asked_at = house.now
        seen: list[tuple[str, float]] = []

        def look() -> None:
            seen.extend((type(event).__name__, round(house.now - asked_at)) for event in house.told[len(seen) :])

        del house.told[:]
        house.live(45.0, look)
        assert seen == [
            ("ReplyOverdue", 8),
            ("SessionSuspended", 20),
            ("SessionResumed", 20),
            ("SessionSuspended", 40),
            ("SessionResumed", 40),
        ]
        assert house.link.provider is house.providers[1]
        assert house.link.commands("respond") == [(None,)]


def test_a_caller_who_goes_on_speaking_is_not_taken_for_a_silent_model() -> None:
    house = SessionHouse()
    with house.running():
        house.link.begin_turn("u")
        house.link.end_turn("u", "I would like")
        house.live(1.0)
        house.link.begin_turn("v")
        house.live(60.0)
        assert house.of(realtime.ReplyOverdue) == []


def test_a_connection_that_answers_a_request_with_nothing_is_dead() -> None:
    house = SessionHouse(prompt_after_s=30.0, reconnect_after_s=40.0)
    with house.running() as session:
        first = house.link
        session.respond("Greet.")
        house.live(7.9)
        assert house.link is first
        house.live(1.0)
        assert first.ending == "aborted"
        assert "half-open" in house.of(realtime.SessionSuspended)[0].reason
        assert house.link.commands("respond") == [("Greet.",)]


def test_an_endless_reply_is_ended_once() -> None:
    house = SessionHouse(longest_reply_s=2.0)
    with house.running():
        house.link.begin("r")
        for _ in range(5):
            house.link.say("r", "a", 500)
        assert len(house.link.commands("cancel_response")) == 1
        assert sum(len(event.audio) for event in house.of(realtime.AudioDelta)) == 2000 * 8


# --- replies that fail -----------------------------------------------------------------------------------------------


def test_a_reply_that_fails_for_a_passing_reason_is_asked_for_three_times_then_the_provider_is_left() -> None:
    house = SessionHouse("first", "second")
    error = ProviderUnavailable("slow down", code="rate_limit_exceeded")
    with house.running() as session:
        first = house.link
        session.respond("Greet.")
        for _ in range(4):
            first.begin("r")
            first.finish("r", error)
            house.live(5.0)
        assert first.commands("respond") == [("Greet.",)] * 4
        assert house.link.provider is house.providers[1]
        assert house.link.commands("respond") == [("Greet.",)]
        assert all(event.error is None or event.error.is_retryable for event in house.of(realtime.ResponseFinished))
        assert len(house.of(realtime.ReplyOverdue)) == 3


def test_a_retry_gives_way_to_the_caller() -> None:
    house = SessionHouse()
    with house.running() as session:
        session.respond()
        house.link.begin("r")
        house.link.finish("r", ProviderUnavailable("trouble", code="server_error"))
        house.link.begin_turn("u")
        house.live(5.0)
        assert house.link.commands("respond") == [(None,)]


def test_a_reply_refused_for_good_leaves_the_provider_at_once() -> None:
    house = SessionHouse("first", "second")
    with house.running() as session:
        session.respond()
        house.link.begin("r")
        house.link.finish("r", ProviderRefused("no money", code="insufficient_quota"))
        house.live(1.0)
        assert house.link.provider is house.providers[1]
        assert house.link.commands("respond") == [(None,)]
        assert house.endpoints.status()["scripted-first"]["state"] == "open"


# --- roll-over -------------------------------------------------------------------------------------------------------


def test_a_session_is_replaced_before_it_expires_in_a_pause_and_without_a_gap() -> None:
    house = SessionHouse()
    with house.running() as session:
        provider = house.providers[0]
        house.link.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(1.0, lambda: session.append_audio(PIECE))
        (resumed,) = house.of(realtime.SessionResumed)
        assert (resumed.gap_ms, resumed.is_planned) == (0, True)
        assert house.of(realtime.SessionSuspended) == []
        assert [link.ending for link in provider.links] == ["closed", ""]


def test_a_roll_over_waits_until_nobody_speaks_and_no_tool_runs() -> None:
    house = SessionHouse()
    with house.running() as session:
        first = house.link
        first.begin("r")
        first.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(2.0)
        assert house.live_links == [first]
        first.say("r", "a", 3000, "A long answer.", is_whole=True)
        first.call("c")
        first.finish("r")
        house.live(4.0)
        assert house.live_links == [first]
        session.send_tool_result("c", "42", respond=False)
        house.live(1.0)
        assert house.link is not first
        assert house.link.commands("respond") == []


def test_a_roll_over_that_finds_no_pause_is_forced_before_the_end() -> None:
    house = SessionHouse()
    with house.running():
        first = house.link
        first.begin_turn("u")
        first.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(44.0)
        assert house.live_links == [first]
        house.live(2.0)
        assert house.link is not first
        assert first.ending == "closed"


def test_a_forced_roll_over_tells_what_has_happened_since_the_next_session_was_opened() -> None:
    house = SessionHouse()
    with house.running() as session:
        first = house.link
        house.providers[0].plan.append(10.0)
        first.emit(realtime.SessionExpiring(in_s=9.0))
        house.live(1.0)
        first.begin_turn("u")
        first.end_turn("u", "Is it open?")
        first.begin("r")
        first.call("c", "look", "r", what="x")
        first.finish("r")
        house.live(12.0)
        second = house.link
        assert second is not first
        assert second.options.history == ()
        assert second.commands("send_text") == [
            ("user", "Is it open?"),
            ("user", 'You asked for the tool look with {"what": "x"}. It still runs; its result follows.'),
        ]
        session.send_tool_result("c", "42")
        assert second.commands("respond") == [(None,)]


def test_short_sessions_are_renewed_again_and_again() -> None:
    house = SessionHouse()
    provider = house.providers[0]
    provider.expires_at = lambda: int(house.now + 1e9) + 60
    with house.running() as session:
        ups: list[int] = []

        def tick() -> None:
            ups.append(len(house.live_links))
            session.append_audio(PIECE)

        house.live(400.0, tick)
        assert 7 <= len(house.of(realtime.SessionResumed)) <= 9
        assert house.of(realtime.SessionSuspended) == []
        assert set(ups) <= {1, 2}
        assert sum(len(link.heard) for link in provider.links) >= 400 * 50


def test_a_session_that_expires_unannounced_is_replaced_like_a_lost_one() -> None:
    house = SessionHouse()
    with house.running():
        house.link.drop(ProviderUnavailable("60 minutes", code="session_expired"))
        house.live(1.0)
        assert len(house.of(realtime.SessionResumed)) == 1


def test_a_loss_while_the_next_session_is_being_opened_does_not_end_renewals() -> None:
    house = SessionHouse()
    with house.running():
        house.providers[0].plan.extend([30.0, 0.1])
        house.link.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(0.5)
        house.link.drop()
        house.live(1.0)
        house.link.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(1.0)
        assert [event.is_planned for event in house.of(realtime.SessionResumed)] == [False, True]


def test_a_session_that_cannot_be_renewed_yet_is_tried_again() -> None:
    house = SessionHouse()
    with house.running():
        house.providers[0].plan.extend([GONE, GONE])
        house.link.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(30.0)
        assert [event.is_planned for event in house.of(realtime.SessionResumed)] == [True]
        assert len(house.providers[0].attempts) == 4


def test_a_loss_while_the_next_session_stands_ready_costs_nothing() -> None:
    house = SessionHouse()
    with house.running():
        first = house.link
        first.emit(realtime.SessionExpiring(in_s=60.0))
        house.live(0.1)
        first.begin_turn("u")  # the next one is being opened, and may not be taken now
        house.live(0.5)
        assert len(house.live_links) == 2
        first.drop()
        assert len(house.of(realtime.SessionResumed)) == 1
        assert house.of(realtime.SessionSuspended) == []
        assert len(house.live_links) == 1


def test_what_was_counted_is_summed_up_over_all_connections() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.statistics.messages_received = 3
        house.link.drop()
        house.live(1.0)
        house.link.statistics.messages_received = 4
        assert session.statistics.messages_received == 7
        assert session.statistics.messages_received == 7


# --- all calls of a process ------------------------------------------------------------------------------------------


def test_fifty_calls_cut_off_at_once_come_back_at_ten_a_second_before_new_calls() -> None:
    house = SessionHouse()
    provider = house.providers[0]
    sessions = [house.make() for _ in range(50)]
    for session in sessions:
        house.run(session.connect(lambda _event: None))
    del provider.attempts[:]
    for link in house.live_links:
        link.drop()
    house.live(0.02)
    with pytest.raises(ProviderUnavailable, match="reconnecting first"):
        house.run(house.make().connect(lambda _event: None))
    house.live(10.0)
    assert len(house.live_links) == 50
    tries = sorted(provider.attempts)
    assert all(later - earlier >= 1.0 - 0.021 for earlier, later in zip(tries, tries[10:], strict=False))
    for session in sessions:
        house.run(session.close())
    house.loop.close()


def test_a_circuit_turns_new_calls_away_at_once_and_lets_one_probe() -> None:
    house = SessionHouse()
    provider = house.providers[0]
    provider.usual = ProviderUnavailable("limit", code="http_429", retry_after_s=30)

    def connect() -> ProviderError | None:
        try:
            session = house.make()
            house.run(session.connect(lambda _event: None))
        except ProviderError as error:
            return error
        house.run(session.close())
        return None

    assert connect() is not None
    refused = connect()
    assert (refused.code, refused.sip_status) == ("circuit_open", 503) if refused else False
    assert len(provider.attempts) == 1
    house.live(31.0)
    assert connect() is not None  # the probe
    assert connect() is not None
    assert len(provider.attempts) == 2
    house.live(61.0)  # twice as long now
    provider.usual = 0.1
    assert connect() is None
    assert connect() is None
    house.loop.close()


def test_sessions_beyond_the_account_s_limit_go_to_the_fallback_and_reconnects_do_not_count() -> None:
    house = SessionHouse("first", "second", max_sessions=2)
    sessions = [house.make() for _ in range(4)]
    for session in sessions:
        house.run(session.connect(lambda _event: None))
    assert [len([link for link in p.links if link.is_up]) for p in house.providers] == [2, 2]
    with pytest.raises(ProviderUnavailable, match="max_sessions"):
        house.run(house.make().connect(lambda _event: None))
    house.providers[0].links[0].drop()
    house.live(1.0)
    assert len(house.live_links) == 4
    for session in sessions:
        house.run(session.close())
    house.loop.close()


# --- what a gap must not do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_session_that_is_ended_while_it_is_opened_leaves_nothing_open(end: str) -> None:
    house = SessionHouse("first", "second")
    session = house.make()
    opening = house.loop.create_task(session.connect(house.told.append))
    house.live(CONNECT_S / 2)
    if end == "close":
        house.run(session.close())
    else:
        session.abort()
    house.live(2.0)
    assert isinstance(opening.exception(), ProviderUnavailable)
    assert house.live_links == []
    assert house.of(realtime.SessionReady) == []
    assert all(entry["sessions"] == 0 for entry in house.endpoints.status().values())
    house.loop.close()


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.2, 0.21, 0.5])
def test_a_session_that_is_aborted_in_any_state_leaves_nothing(seconds: float) -> None:
    house = SessionHouse("first", "second")
    provider = house.providers[0]
    provider.expires_at = lambda: int(house.now + 1e9 + 40)
    with house.running() as session:
        house.live(30.0 + seconds)  # a roll-over begins at 30 s
        house.link.drop() if house.live_links else None
        house.live(seconds)
        session.abort()
        house.live(3.0)
        assert house.live_links == []


def test_a_refusal_for_good_is_met_once_also_when_a_session_is_to_be_replaced() -> None:
    house = SessionHouse("first", "second")
    first, second = house.providers
    first.expires_at = lambda: int(house.now + 1e9 + 400)
    with house.running():
        first.usual = FATAL
        house.live(390.0)
        assert len(first.attempts) == 2
        assert len(second.attempts) == 1
        assert house.link.provider is second
        assert house.of(realtime.SessionResumed)[0].is_planned


def test_a_session_that_nobody_can_replace_goes_on_to_its_end() -> None:
    house = SessionHouse()
    provider = house.providers[0]
    provider.expires_at = lambda: int(house.now + 1e9 + 400)
    with house.running():
        provider.usual = FATAL
        house.live(390.0)
        assert len(provider.attempts) == 2
        assert house.link.number == 0


def test_a_reply_is_not_asked_for_again_when_nobody_would_wait_that_long() -> None:
    house = SessionHouse("first", "second")
    with house.running():
        house.link.begin("r")
        house.link.finish("r", ProviderUnavailable("busy", code="rate_limit_exceeded", retry_after_s=120))
        house.live(1.0)
        assert house.link.provider is house.providers[1]
        assert house.link.commands("respond") == [(None,)]


def test_a_cancelled_tool_is_no_more_told_of_nor_waited_for() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.call("a")
        house.link.emit(realtime.ToolCancelled(call_id="a"))
        house.link.drop()
        house.live(0.1)
        session.send_tool_result("a", "42")
        house.live(1.0)
        assert house.link.options.history == ()
        assert house.link.done == []


def test_a_cancelled_tool_keeps_no_session_from_being_replaced_in_a_pause() -> None:
    house = SessionHouse()
    house.providers[0].expires_at = lambda: int(house.now + 1e9 + 400)
    with house.running():
        house.link.call("a")
        house.link.emit(realtime.ToolCancelled(call_id="a"))
        house.live(310.0)
        assert len(house.of(realtime.SessionResumed)) == 1


def test_what_is_cut_while_another_session_is_opened_is_told_to_it() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.answer("r", "i", 4000, "We are open from nine to five on every day of the week but Sundays.")
        house.link.drop()
        house.live(0.1)
        session.truncate("i", 0, 1000)
        house.live(1.0)
        (told,) = house.link.commands("send_text")
        assert told[0] == "system"
        assert "We are open" in told[1]
        assert "Sundays" not in told[1]
        assert house.link.commands("truncate") == []


def test_a_reply_that_the_caller_interrupts_in_the_gap_does_not_go_on() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin("r")
        house.link.say("r", "i", 3000, "We are open from nine to five")
        house.link.drop()
        house.live(0.1)
        session.truncate("i", 0, 1000)
        house.live(1.0)
        assert house.link.commands("respond") == []


def test_a_reply_waits_for_all_tools_also_over_a_gap() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.call("a", n=1)
        house.link.call("b", n=2)
        house.link.drop()
        house.live(0.1)
        session.send_tool_result("a", "1")
        house.live(1.0)
        assert house.link.commands("respond") == []
        session.send_tool_result("b", "2")
        assert house.link.commands("respond") == [(None,)]


def test_a_request_to_a_lost_session_is_not_held_against_the_next_one() -> None:
    house = SessionHouse(prompt_after_s=1.0, reconnect_after_s=3.0)
    with house.running() as session:
        provider = house.providers[0]
        provider.usual = 4.0
        link = house.link
        link.begin_turn("u")
        link.end_turn("u", "Hello?")
        house.live(2.5)
        session.commit_audio()
        house.live(6.0)
        assert len(provider.attempts) == 2
        assert house.link is not link
        house.live(3.0)
        assert len(provider.attempts) == 2


def test_notes_stand_for_what_was_told_to_the_session_anew() -> None:
    house = SessionHouse()
    with house.running() as session:
        for turn in range(3):
            house.link.begin_turn(f"u{turn}")
            house.link.end_turn(f"u{turn}", f"question {turn}")
            house.link.answer(f"r{turn}", f"i{turn}", 100, f"answer {turn}")
        house.link.drop()
        house.live(1.0)
        names = [f"x{number}" for number in range(6)]
        for name in names:
            house.link.emit(realtime.ItemAdded(item_id=name, kind="user"))
        ids = [event.item_id for event in house.of(realtime.ItemAdded)]
        session.replace_items(ids[:4], "gateway_summary_1", "notes")
        house.link.emit(realtime.ItemAdded(item_id="gateway_summary_1", kind="assistant"))
        assert house.told[-1] == realtime.ItemAdded(item_id="gateway_summary_1", kind="assistant")
        house.link.drop()
        house.live(1.0)
        told = [item.text for item in house.link.options.history if isinstance(item, realtime.Message)]
        assert told == ["notes", "question 2", "answer 2"]


def test_a_session_that_stands_by_is_not_taken_when_its_provider_has_refused_for_good() -> None:
    house = SessionHouse("first", "second")
    house.providers[0].expires_at = lambda: int(house.now + 1e9 + 400)
    with house.running():
        old = house.link
        house.live(295.0)
        while len(house.providers[0].attempts) < 2:
            house.live(0.02)
        old.begin_turn("u")
        house.live(1.0)
        assert len(house.live_links) == 2
        old.drop(FATAL)
        house.live(1.0)
        assert house.link.provider is house.providers[1]


def test_a_reply_that_is_not_played_any_more_holds_no_pause_up() -> None:
    house = SessionHouse()
    house.providers[0].expires_at = lambda: int(house.now + 1e9 + 400)
    with house.running() as session:
        house.live(299.0)
        house.link.answer("r", "i", 50_000, "There is much to tell.")
        house.live(5.0)
        assert house.of(realtime.SessionResumed) == []
        session.truncate("i", 0, 5000)
        house.live(1.0)
        assert len(house.of(realtime.SessionResumed)) == 1


def test_a_reply_that_failed_and_is_cancelled_is_not_asked_for_again() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin("r")
        house.link.finish("r", ProviderUnavailable("busy", code="server_error"))
        session.cancel_response()
        house.live(5.0)
        assert house.link.commands("respond") == []


def test_an_end_that_our_clock_has_passed_already_is_not_believed() -> None:
    house = SessionHouse()
    provider = house.providers[0]
    provider.capabilities = replace(CAPABILITIES, max_session_s=400)
    provider.expires_at = lambda: int(house.now + 1e9 - 60)
    with house.running():
        house.live(290.0)
        assert len(provider.attempts) == 1
        house.live(12.0)
        assert len(provider.attempts) == 2


def test_what_a_session_can_do_is_what_its_present_provider_can() -> None:
    house = SessionHouse("first", "second")
    house.providers[1].capabilities = replace(CAPABILITIES, has_truncate=False)
    with house.running() as session:
        assert session.capabilities.has_truncate
        house.link.drop(FATAL)
        house.live(1.0)
        assert not session.capabilities.has_truncate


def test_a_change_that_comes_while_another_session_is_opened_reaches_it() -> None:
    house = SessionHouse()
    change = realtime.SessionChange(instructions="Be brief.")
    with house.running() as session:
        house.link.drop()
        house.live(0.1)
        session.update(change)
        house.live(1.0)
        assert house.link.commands("update") == [(change,)]
        house.link.drop()
        house.live(1.0)
        assert house.link.commands("update") == []
        assert house.link.options.instructions == "Be brief."


def test_what_was_to_be_said_after_a_gap_and_is_cancelled_is_not_said() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.drop()
        house.live(0.1)
        session.say("Please wait.")
        session.cancel_response()
        house.live(1.0)
        assert house.link.done == []


def test_a_reply_that_nobody_wanted_any_more_ends_as_cancelled() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin("r")
        session.cancel_response()
        house.link.drop()
        (finished,) = house.of(realtime.ResponseFinished)
        assert (finished.status, finished.reason) == (realtime.ResponseStatus.CANCELLED, "connection_lost")


def test_a_turn_that_is_said_again_comes_without_the_silence_that_followed_it() -> None:
    house = SessionHouse()
    with house.running() as session:
        house.link.begin_turn("u")
        house.live(1.0, lambda: session.append_audio(PIECE))
        house.link.end_turn("u")
        house.live(5.0, lambda: session.append_audio(PIECE))
        house.link.begin("r")
        house.link.drop()
        house.live(2.0, lambda: session.append_audio(PIECE))
        assert 3.5 <= len(b"".join(house.link.heard)) / 8000 <= 4.5


def test_who_refused_for_good_before_the_answer_is_not_tried_during_the_call() -> None:
    house = SessionHouse("first", "second", attempts=2)
    first, second = house.providers
    first.plan.append(FATAL)
    with house.running():
        second.usual = GONE
        house.link.drop()
        house.live(10.0)
        assert (len(first.attempts), len(second.attempts)) == (1, 3)
        assert isinstance(house.told[-1], realtime.SessionClosed)
