"""What every provider must do, whoever it is: one set of tests over any provider's scripted peer.

A provider's tests bring a `FakeProvider`, a server of its protocol that says what is scripted, and inherit the rest::

    class TestMine(ProviderConformance):
        def provider(self) -> AbstractAsyncContextManager[FakeProvider]:
            return my_scripted_server()

Each test ends with `assert_grammar`: the order of events and what may come once only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Protocol

import pytest

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    AudioFinished,
    InputTranscript,
    OutputTranscript,
    RealtimeSession,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionChange,
    SessionClosed,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    ToolCalled,
    ToolCancelled,
    open_session,
)
from tests.support.realtime_events import EventLog
from tests.support.realtime_server import Call, Speech, ToolCalls

VOICE = bytes(range(1, 241)) * 40
"""9600 bytes of whole samples in any format, none of them silence."""


class FakePeer(Protocol):
    """The provider's side of one session."""

    async def wait_for_audio(self, size: int) -> bytes:
        """Wait until so much of the caller's audio came, decoded; all of it."""
        ...

    async def end_turn(self, text: str) -> None:
        """The caller has said this, it is written down, and the next scripted reply follows."""
        ...

    async def break_in(self) -> None:
        """The caller speaks while the model does: the provider ends its reply by itself."""
        ...

    async def send_late_audio(self, audio: bytes) -> None:
        """Send audio of the reply under way, as one that was on its way when the caller broke in."""
        ...

    async def send_raw(self, data: str | bytes) -> None:
        """Send anything at all."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close politely."""
        ...

    def drop(self) -> None:
        """Cut the connection."""
        ...

    async def wait_closed(self) -> object:
        """Wait until the client is gone."""
        ...

    def message_count(self) -> int:
        """How many messages came, audio left out."""
        ...


class FakeProvider(Protocol):
    """A scripted server of the provider's protocol, and the options by which it is reached."""

    options: SessionOptions

    def script(self, *replies: Speech | ToolCalls) -> None:
        """The next replies, in order: to `respond`, to a caller's turn, to the results of all calls of a reply."""
        ...

    async def peer(self) -> FakePeer:
        """The provider's side of the session that was opened next."""
        ...

    def refuse(self) -> None:
        """Refuse the credentials of the next session."""
        ...


class ProviderConformance:
    """Tests for every provider."""

    def provider(self) -> AbstractAsyncContextManager[FakeProvider]:
        """A server, running."""
        raise NotImplementedError

    # --- opening ------------------------------------------------------------------------------------------------------

    async def test_session_is_ready_when_connect_returns(self) -> None:
        async with self.provider() as provider:
            session = open_session(provider.options)
            log = EventLog()
            await session.connect(log)
            assert [type(event) for event in log.events] == [SessionReady]
            session.abort()

    async def test_refused_credentials_are_an_error_of_connect_and_nothing_is_told(self) -> None:
        async with self.provider() as provider:
            provider.refuse()
            log = EventLog()
            with pytest.raises(ProviderRefused):
                await open_session(provider.options).connect(log)
            assert log.events == []

    async def test_nobody_there_is_unavailable(self) -> None:
        async with self.provider() as provider:
            options = replace(provider.options, url="ws://127.0.0.1:1")
            with pytest.raises(ProviderUnavailable):
                await open_session(options).connect(EventLog())

    async def test_every_format_it_claims_is_taken_and_no_other(self) -> None:
        async with self.provider() as provider:
            capabilities = open_session(provider.options).capabilities
            for form in AudioFormat:
                for name, known in (
                    ("input_format", capabilities.input_formats),
                    ("output_format", capabilities.output_formats),
                ):
                    options = replace(provider.options, **{name: form})
                    if form in known:
                        open_session(options)
                    else:
                        with pytest.raises(ProviderRefused):
                            open_session(options)

    # --- the conversation ---------------------------------------------------------------------------------------------

    async def test_caller_is_heard_to_the_byte(self) -> None:
        async with self._connected() as (session, _, peer, _):
            session.append_audio(VOICE[:960])
            session.append_audio(VOICE[960:])
            assert await peer.wait_for_audio(len(VOICE)) == VOICE

    async def test_reply_that_was_asked_for_is_heard_to_the_byte_and_written_down_once(self) -> None:
        async with self._connected(Speech(audio=VOICE, text="Good day.")) as (session, _, _, log):
            session.respond("Greet the caller.")
            finished = await log.next(ResponseFinished)
            assert log.audio() == VOICE
            assert finished.status is ResponseStatus.COMPLETED
            assert [event.response_id for event in log.of(ResponseStarted)] == [finished.response_id]
            assert len(log.of(AudioFinished)) == 1
            assert [event.text for event in log.of(OutputTranscript) if event.is_final] == ["Good day."]
            if session.capabilities.usage_unit == "tokens":
                assert finished.usage is not None
                assert finished.usage.input_tokens > 0

    async def test_words_can_be_said(self) -> None:
        async with self._connected(Speech(audio=VOICE)) as (session, _, _, log):
            session.say("One moment.")
            await log.next(ResponseFinished)
            assert log.audio() == VOICE

    async def test_turn_of_the_caller_is_written_down_and_answered(self) -> None:
        async with self._connected(Speech(audio=VOICE)) as (_, _, peer, log):
            await peer.end_turn("Who are you?")
            await log.next(ResponseFinished)
            assert [event.text for event in log.of(InputTranscript) if event.is_final] == ["Who are you?"]
            assert log.audio() == VOICE

    async def test_reply_that_is_asked_for_while_the_model_speaks_comes_behind_the_other(self) -> None:
        async with self._connected(Speech(audio=VOICE), Speech(audio=VOICE[::-1])) as (session, _, _, log):
            session.respond("First.")
            session.respond("Second.")
            await log.next(ResponseFinished)
            await log.next(ResponseFinished)
            assert log.audio() == VOICE + VOICE[::-1]

    async def test_text_reaches_the_provider(self) -> None:
        async with self._connected(Speech(audio=VOICE)) as (session, _, peer, log):
            count = peer.message_count()
            session.send_text("system", "the caller pressed 5")
            session.respond()
            await log.next(ResponseFinished)
            assert peer.message_count() > count

    async def test_barge_in_ends_the_reply_once_and_its_late_audio_is_not_heard(self) -> None:
        replies = Speech(audio=VOICE, is_finished=False), Speech(audio=VOICE[::-1])
        async with self._connected(*replies) as (session, _, peer, log):
            session.respond()
            first = await log.next(AudioDelta)
            while len(log.audio()) < len(VOICE):
                await log.next(AudioDelta)
            await peer.break_in()
            ended = await log.next(ResponseFinished)
            assert (ended.response_id, ended.status) == (first.response_id, ResponseStatus.CANCELLED)
            session.truncate(first.item_id, first.content_index, 10)
            await peer.send_late_audio(VOICE)
            await peer.end_turn("Stop.")
            await log.next(ResponseFinished)
            assert log.audio() == VOICE + VOICE[::-1]

    async def test_reply_that_is_cancelled_is_heard_no_further(self) -> None:
        async with self._connected(Speech(audio=VOICE, is_finished=False)) as (session, _, peer, log):
            session.respond()
            while len(log.audio()) < len(VOICE):
                await log.next(AudioDelta)
            session.cancel_response()
            await peer.send_late_audio(VOICE)
            await peer.close(1011, "enough")
            await log.next(SessionClosed)
            assert log.audio() == VOICE

    async def test_tools_are_told_once_and_the_model_goes_on_once_all_are_answered(self) -> None:
        calls = ToolCalls(calls=[Call(name="look", arguments='{"room":5}'), Call(name="ring")], times=2)
        async with self._connected(calls, Speech(audio=VOICE)) as (session, _, _, log):
            session.respond()
            called = [(await log.next(ToolCalled)).call for _ in range(2)]
            assert [(call.name, dict(call.arguments)) for call in called] == [("look", {"room": 5}), ("ring", {})]
            session.send_tool_result(called[0].call_id, '{"guest":"Ann"}')
            assert log.audio() == b""
            session.send_tool_result(called[1].call_id, "rung")
            await log.next(AudioFinished)
            assert log.audio() == VOICE
            assert len(log.of(ToolCalled)) == 2

    async def test_results_that_nobody_waits_for_are_counted_and_not_sent(self) -> None:
        async with self._connected() as (session, _, peer, _):
            count = peer.message_count()
            session.send_tool_result("unknown", "{}")
            session.append_audio(VOICE)
            await peer.wait_for_audio(len(VOICE))
            assert peer.message_count() == count
            assert session.statistics.stale_results == 1

    async def test_question_is_asked_or_answered_with_an_error_at_once(self) -> None:
        async with self._connected() as (session, _, peer, log):
            count = peer.message_count()
            session.ask("q1", "Is the caller angry?")
            session.append_audio(VOICE)
            if session.capabilities.has_questions:
                await peer.wait_for_audio(len(VOICE))
                assert peer.message_count() > count
            else:
                answer = await log.next(Answered)
                assert (answer.question_id, answer.text) == ("q1", "")
                assert answer.error is not None

    async def test_garbage_costs_nothing_but_itself(self) -> None:
        async with self._connected(Speech(audio=VOICE)) as (session, _, peer, log):
            for garbage in ("", "{", "null", "[" * 5000, '{"novelty":{"a":[1,{}]}}', b"\xff\xfe", "x" * 2_000_000):
                await peer.send_raw(garbage)
            session.respond()
            await log.next(ResponseFinished)
            assert log.audio() == VOICE
            assert session.statistics.malformed_events + session.statistics.unknown_events >= 6

    # --- the end ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("code", [1011, 1008])
    async def test_provider_that_closes_is_a_failure_and_then_the_end(self, code: int) -> None:
        async with self._connected() as (_, _, peer, log):
            await peer.close(code, "enough")
            await log.next(SessionClosed)
            failed, closed = log.events[-2:]
            assert isinstance(failed, SessionFailed)
            assert failed.error.is_retryable is (code == 1011)
            assert isinstance(closed, SessionClosed)
            assert closed.code == code

    async def test_connection_that_is_lost_is_a_failure_that_another_try_may_mend(self) -> None:
        async with self._connected() as (_, _, peer, log):
            peer.drop()
            await log.next(SessionClosed)
            failed = log.events[-2]
            assert isinstance(failed, SessionFailed)
            assert failed.error.is_retryable

    @pytest.mark.parametrize("is_polite", [True, False])
    async def test_end_of_our_own_is_no_failure(self, *, is_polite: bool) -> None:
        async with self._connected() as (session, _, peer, log):
            if is_polite:
                await session.close()
            else:
                session.abort()
            await log.next(SessionClosed)
            await peer.wait_closed()
            assert log.of(SessionFailed) == []
            await session.close()
            session.abort()

    async def test_commands_after_the_end_do_nothing(self) -> None:
        async with self._connected() as (session, _, peer, log):
            await session.close()
            await log.next(SessionClosed)
            await peer.wait_closed()
            count, told = peer.message_count(), list(log.events)
            for command in _commands(session):
                command()
            await asyncio.sleep(0)
            assert (peer.message_count(), log.events) == (count, told)

    @asynccontextmanager
    async def _connected(
        self, *replies: Speech | ToolCalls
    ) -> AsyncIterator[tuple[RealtimeSession, FakeProvider, FakePeer, EventLog]]:
        async with self.provider() as provider:
            provider.script(*replies)
            session = open_session(provider.options)
            log = EventLog()
            await session.connect(log)
            try:
                yield session, provider, await provider.peer(), log
            finally:
                session.abort()
            assert_grammar(log.events)


def _commands(session: RealtimeSession) -> Iterable[Callable[[], None]]:
    return (
        lambda: session.append_audio(VOICE),
        session.commit_audio,
        lambda: session.send_text("user", "a"),
        lambda: session.say("a"),
        lambda: session.ask("q", "a"),
        lambda: session.delete_item("a"),
        lambda: session.replace_items(["a"], "b", "c"),
        lambda: session.update(SessionChange(instructions="a")),
        session.respond,
        session.cancel_response,
        lambda: session.truncate("a", 0, 1),
        lambda: session.send_tool_result("a", "{}"),
    )


def assert_grammar(events: list[SessionEvent]) -> None:
    """The order that every provider keeps, and what is told once only."""
    grammar = _Grammar()
    for event in events:
        grammar.take(event)


class _Grammar:
    def __init__(self) -> None:
        self.once: set[tuple[str, object]] = set()
        self.active: set[str] = set()
        self.has_failed = self.is_closed = False

    def take(self, event: SessionEvent) -> None:
        """One event more."""
        assert not self.is_closed, f"{event} behind the end"
        assert not self.has_failed or isinstance(event, SessionClosed), f"{event} behind SessionFailed"
        match event:
            case SessionReady():
                assert not self.once, "SessionReady is the first event"
                self._first("ready", "")
            case ResponseStarted():
                self._first("started", event.response_id)
                self.active.add(event.response_id)
            case AudioDelta() | AudioFinished() | OutputTranscript():
                self._take_part(event)
            case InputTranscript():
                assert ("heard", event.item_id) not in self.once, f"{event} behind the final one"
                if event.is_final:
                    self._first("heard", event.item_id)
            case ToolCalled():
                self._first("called", event.call.call_id)
            case ToolCancelled():
                assert ("called", event.call_id) in self.once, f"{event} of a call that was not told"
                self._first("cancelled", event.call_id)
            case ResponseFinished() if event.response_id:
                assert event.response_id in self.active, f"{event} without ResponseStarted"
                self.active.remove(event.response_id)
            case Answered():
                self._first("answered", event.question_id)
            case SessionFailed():
                assert isinstance(event.error, ProviderError)
                self.has_failed = True
            case SessionClosed():
                self.is_closed = True

    def _take_part(self, event: AudioDelta | AudioFinished | OutputTranscript) -> None:
        assert event.response_id in self.active, f"{event} outside of its reply"
        part = (event.item_id, event.content_index)
        match event:
            case AudioDelta():
                assert event.audio
                assert ("audio", part) not in self.once, f"{event.item_id}: audio behind AudioFinished"
            case AudioFinished():
                self._first("audio", part)
            case OutputTranscript():
                assert ("words", part) not in self.once, f"{event} behind the final one"
                if event.is_final:
                    self._first("words", part)

    def _first(self, kind: str, key: object) -> None:
        assert (kind, key) not in self.once, f"{kind} {key}: told twice"
        self.once.add((kind, key))
