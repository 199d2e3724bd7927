"""A session that outlives its connections: a `RealtimeSession` that replaces the one it works with.

::

    connect ──> LIVE ──lost──────────────────> SUSPENDED ──another confirmed──> LIVE
                 │  └──about to expire: another is opened beside it, and taken in a pause ──> LIVE
                 │                                 └── no provider left ──> SessionFailed, SessionClosed
                 └──close──> SessionClosed

What decides is without input or output and has a module of its own: the order of tries (`attempts`), what outlives a
connection (`memory`: `history`, `kept_audio`, `floor`, `tool_calls`), silence (`vigil`), replies that failed
(`retries`), the end of a session's life (`roll_over`), what all calls know of a provider (`circuit`). This module holds
the connections, and one timer (`alarm`).

The call is told `SessionReady` once, then `SessionSuspended` and `SessionResumed`. What a lost connection left open is
closed for it: audio and replies end with ``connection_lost``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial

from gateway.errors import ProviderError, ProviderUnavailable
from gateway.realtime.events import (
    Answered,
    AudioDelta,
    AudioFinished,
    EventCallback,
    InputTranscript,
    ItemAdded,
    OutputTranscript,
    ReplyOverdue,
    ResponseFinished,
    ResponseStarted,
    ResumptionOffered,
    SessionClosed,
    SessionEvent,
    SessionExpiring,
    SessionFailed,
    SessionReady,
    SessionResumed,
    SessionStatistics,
    SessionSuspended,
    SpeechStarted,
    ToolCalled,
    ToolCancelled,
)
from gateway.realtime.options import Capabilities, Role, SessionChange, SessionOptions
from gateway.realtime.recovery.alarm import Alarm
from gateway.realtime.recovery.circuit import Circuit
from gateway.realtime.recovery.link import Link, LinkState
from gateway.realtime.recovery.link_maker import LinkMaker, Surroundings
from gateway.realtime.recovery.memory import CONNECTION_LOST, OUTSIDE, Memory, in_words
from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.recovery.retries import Retries
from gateway.realtime.recovery.roll_over import RollOver
from gateway.realtime.recovery.tool_calls import NewCall
from gateway.realtime.recovery.vigil import Verdict, Vigil

_PASSED_ON = (OutputTranscript, InputTranscript, ItemAdded, AudioFinished)
"""Words and the like: after them nothing is due earlier than before."""

_log = logging.getLogger(__name__)


class RecoveringSession:
    """`gateway.realtime.session.RealtimeSession` over a chain of providers, each with its circuit.

    All of `chain` must have the same audio formats.
    """

    def __init__(
        self,
        chain: Sequence[SessionOptions],
        circuits: Sequence[Circuit],
        options: RecoveryOptions,
        surroundings: Surroundings,
    ) -> None:
        self._options = options
        self._around = surroundings
        self._memory = Memory(chain[0], keep_audio_s=options.keep_audio_s)
        self._floor, self._history = self._memory.floor, self._memory.history
        self._kept, self._tools = self._memory.kept, self._memory.tools
        self._maker = LinkMaker(
            chain, circuits, options, surroundings, history=self._history, tools=self._tools, hear=self._hear
        )
        self._capabilities = self._maker.capabilities
        self._vigil = Vigil(options)
        self._roll = RollOver(options.roll_over_before_s)
        self._before = SessionStatistics()  # of the links that are gone
        self._stale_results = 0
        self._dropped_ms = 0.0
        self._on_event: EventCallback | None = None
        self._link: Link | None = None
        self._standby: Link | None = None
        self._lost_s = 0.0
        self._retries = Retries(options, surroundings.rng)
        self._opening: asyncio.Task[Link] | None = None
        self._search: asyncio.Task[None] | None = None
        self._rolling: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._alarm = Alarm(self._on_alarm)
        self._is_closing = False
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop

    @property
    def capabilities(self) -> Capabilities:
        """What the present provider can do; while there is none, the last one."""
        return self._capabilities

    @property
    def statistics(self) -> SessionStatistics:
        """Sums over all connections."""
        total = replace(self._before)
        if self._link is not None:
            total.add(self._link.session.statistics)
        total.stale_results += self._stale_results
        total.dropped_uplink_ms += self._dropped_ms
        return total

    # --- opening and ending -------------------------------------------------------------------------------------------

    async def connect(self, on_event: EventCallback) -> None:
        """See `RealtimeSession.connect`; each provider is tried once."""
        self._loop = asyncio.get_running_loop()
        link = await self._first()
        self._on_event = on_event
        self._adopt(link)
        if link.ready is not None:
            self._tell(replace(link.ready, place=link.index))
        link.take_early(self._hear_live)
        self._arm()

    async def _first(self) -> Link:
        """A link, unless the session is ended meanwhile."""
        self._opening = opening = self._loop.create_task(self._maker.first(), name="recovering session")
        try:
            await opening
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._is_closing or task is None or task.cancelling():
                self._is_closing = True
                raise
        finally:
            if self._is_closing and opening.done() and not opening.cancelled() and opening.exception() is None:
                self._discard(opening.result())
                opening.result().session.abort()
        if self._is_closing:
            raise ProviderUnavailable("the session was closed while it was opened", code="closed")
        return opening.result()

    def _adopt(self, link: Link) -> None:
        """Work with `link` from now on."""
        now = self._now()
        self._link = link
        link.state = LinkState.LIVE
        self._capabilities = link.session.capabilities
        self._floor.is_full_duplex = self._capabilities.is_full_duplex
        life_s = self._capabilities.max_session_s
        if link.ready is not None and link.ready.expires_at_s is not None:
            told_s = link.ready.expires_at_s - self._around.wall_clock()
            life_s = told_s if told_s > 0 else life_s
        self._roll.expect(life_s, now)

    async def close(self) -> None:
        """See `RealtimeSession.close`."""
        tasks = self._stop()
        links = [link for link in (self._link, self._standby) if link is not None]
        await asyncio.gather(*tasks, *(self._part(link) for link in links), return_exceptions=True)
        self._end(1000, "")

    def abort(self) -> None:
        """See `RealtimeSession.abort`."""
        self._stop()
        for link in (self._link, self._standby):
            if link is not None:
                self._discard(link)
                link.session.abort()
        self._end(1006, "aborted")

    def _stop(self) -> list[asyncio.Task[None] | asyncio.Task[Link]]:
        """No more connections; what is left to be waited for."""
        self._is_closing = True
        self._alarm.cancel()
        tasks = [task for task in (self._opening, self._search, self._rolling) if task is not None]
        for task in tasks:
            task.cancel()
        return [*tasks, *self._leaving]

    async def _part(self, link: Link) -> None:
        """End a session politely."""
        try:
            await link.session.close()
        finally:
            self._discard(link)

    def _discard(self, link: Link) -> None:
        """A link is of no use any more; safe to repeat."""
        if link.state is LinkState.GONE:
            return
        link.state = LinkState.GONE
        link.circuit.leave()
        self._before.add(link.session.statistics)
        if link is self._link:
            self._link = None
        if link is self._standby:
            self._standby = None

    def _end(self, code: int, reason: str) -> None:
        """Tell the end, once."""
        if not self._is_over:
            self._is_over = True
            if self._on_event is not None:
                self._on_event(SessionClosed(code=code, reason=reason))

    def _tell(self, event: SessionEvent) -> None:
        if self._on_event is not None and not self._is_over:
            self._on_event(event)

    def _now(self) -> float:
        return self._loop.time()

    # --- commands -----------------------------------------------------------------------------------------------------

    def append_audio(self, audio: bytes) -> None:
        """See `RealtimeSession.append_audio`."""
        if self._is_over or self._is_closing:
            return
        link, is_turn = self._link, self._floor.is_turn_open
        if link is None:
            self._dropped_ms += self._kept.hold(audio)
            return
        now = self._now()
        self._kept.release(now, partial(self._send_audio, link), is_turn=is_turn)
        if self._kept.is_behind:
            self._dropped_ms += self._kept.hold(audio)
        else:
            self._kept.note(audio, now, is_turn=is_turn)
            self._send_audio(link, audio)

    def _send_audio(self, link: Link, audio: bytes | None) -> None:
        if audio is None:
            self._commit(link)
        else:
            self._floor.append(len(audio))
            link.session.append_audio(audio)

    def commit_audio(self) -> None:
        """See `RealtimeSession.commit_audio`."""
        if self._link is None or self._kept.is_behind:
            self._kept.hold_commit()
        else:
            self._commit(self._link)

    def _commit(self, link: Link) -> None:
        link.session.commit_audio()
        self._expect_an_event()
        self._arm()

    def send_text(self, role: Role, text: str) -> None:
        """See `RealtimeSession.send_text`."""
        self._history.tell(role, text)
        if self._link is not None:
            self._link.session.send_text(role, text)

    def say(self, text: str) -> None:
        """See `RealtimeSession.say`."""
        if self._link is None:
            self._memory.defer(lambda session: session.say(text))
            return
        self._link.session.say(text)
        self._expect_reply(None)

    def ask(self, question_id: str, instructions: str) -> None:
        """See `RealtimeSession.ask`."""
        if self._link is None:
            error = ProviderUnavailable("there is no connection at the moment", code=CONNECTION_LOST)
            self._tell(Answered(question_id=question_id, text="", error=error))
            return
        self._memory.questions[question_id] = None
        self._link.session.ask(question_id, instructions)

    def delete_item(self, item_id: str) -> None:
        """See `RealtimeSession.delete_item`."""
        self._history.forget(item_id)
        raw = None if self._link is None else self._link.raw(item_id)
        if self._link is not None and raw is not None:
            self._link.session.delete_item(raw)

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """See `RealtimeSession.replace_items`."""
        self._history.summarise(item_ids, summary_id, summary)
        if self._link is not None:
            raw = [known for item_id in item_ids if (known := self._link.raw(item_id)) is not None]
            self._link.own_ids.add(summary_id)
            self._link.session.replace_items(raw, summary_id, summary)

    def update(self, change: SessionChange) -> None:
        """See `RealtimeSession.update`; sessions to come are opened with it."""
        self._maker.apply(change)
        if self._link is not None:
            self._link.session.update(change)

    def respond(self, instructions: str | None = None) -> None:
        """See `RealtimeSession.respond`."""
        if self._link is None:
            self._memory.owe(instructions)
            return
        self._link.session.respond(instructions)
        self._expect_reply(instructions)

    def _expect_reply(self, instructions: str | None) -> None:
        self._floor.respond(instructions)
        if self._floor.is_reply_owed:
            self._expect_an_event()
        self._tend()

    def _expect_an_event(self) -> None:
        """Of a model that is full duplex none has to come: it may choose to listen."""
        if not self._floor.is_full_duplex:
            self._vigil.ask(self._now())

    def cancel_response(self) -> None:
        """See `RealtimeSession.cancel_response`."""
        self._floor.cancel()
        self._retries.drop()
        self._memory.waive()
        if self._link is not None:
            self._link.session.cancel_response()
            self._tend()

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """See `RealtimeSession.truncate`; of an item of a session that is gone the present one is told in words."""
        self._history.cut(item_id, audio_end_ms)
        self._floor.cut(self._now())
        if self._link is None:
            self._memory.cut(item_id, self._maker.count)
            return
        raw = self._link.raw(item_id)
        if raw is not None:
            self._link.session.truncate(raw, content_index, audio_end_ms)
        elif note := self._memory.note_of_cut(item_id):
            self._link.session.send_text("system", note)
        self._tend()

    def send_tool_result(self, call_id: str, output: str, respond: bool = True) -> None:
        """See `RealtimeSession.send_tool_result`."""
        link = self._link
        result = self._tools.answer(call_id, output, -1 if link is None else link.number)
        if result is None:
            self._stale_results += 1
            return
        self._history.answer(call_id, output)
        wants_reply = respond and not self._tools.open_count
        if link is None:
            if wants_reply:
                self._memory.owe()
            return
        for asked in result.call_ids:
            link.session.send_tool_result(asked, output, respond=respond)
        if not result.call_ids:
            link.session.send_text(OUTSIDE, in_words(result))
            if wants_reply:
                link.session.respond(None)
        if wants_reply:
            self._floor.respond(None)
        self._tend()

    # --- what the session tells ---------------------------------------------------------------------------------------

    def _hear(self, link: Link, event: SessionEvent) -> None:
        if link.state is LinkState.LIVE:
            self._hear_live(event)
        elif link.state is LinkState.EARLY:
            link.keep(event)
            if link is self._standby and isinstance(event, SessionFailed | SessionClosed):
                self._drop_standby()
                self._arm()

    def _hear_live(self, event: SessionEvent) -> None:
        link = self._link
        if link is None or self._is_over:
            return
        self._vigil.hear()
        if type(event) is AudioDelta:  # nearly all that comes
            self._hear_audio(link, event)
            return
        match event:
            case SessionClosed():
                self._on_closed(event)
            case SessionFailed() if not self._is_closing:
                self._lose(event.error)
            case SessionReady() | SessionFailed():
                pass
            case SessionExpiring():
                self._roll.warn(event.in_s, self._now())
                self._tend()
            case ResumptionOffered():
                self._maker.note_handle(link, event.handle)
            case ToolCalled():
                self._on_tool(link, event)
            case ToolCancelled():
                if call_id := self._tools.cancel(event.call_id, link.number):
                    self._history.cancel(call_id)
                    self._tell(replace(event, call_id=call_id))
                self._tend()
            case _:
                self._on_conversation(link, link.named(event))

    def _hear_audio(self, link: Link, event: AudioDelta) -> None:
        if link.number:
            named = link.named(event)
            assert isinstance(named, AudioDelta)  # noqa: S101 - other ids make no other event
            event = named
        self._history.hear_audio(event)
        self._floor.play(event, self._now())
        self._vigil.reset()
        if not self._is_too_long(link, event) and self._on_event is not None:
            self._on_event(event)

    def _on_closed(self, event: SessionClosed) -> None:
        if self._is_closing:
            self._end(event.code, event.reason)
        else:
            self._lose(ProviderUnavailable(f"connection closed: {event.reason or event.code}", code=str(event.code)))

    def _on_conversation(self, link: Link, event: SessionEvent) -> None:
        now = self._now()
        if isinstance(event, ResponseFinished) and self._floor.is_answered_by(event):
            self._history.close_turn(self._floor.turn_item)
        self._history.hear(event)
        self._floor.hear(event, now)
        if isinstance(event, _PASSED_ON):
            self._tell(event)
            return
        if isinstance(event, ResponseStarted):
            self._vigil.reset()
        if isinstance(event, ResponseStarted | SpeechStarted):
            self._retries.drop()
        if isinstance(event, Answered):
            self._memory.questions.pop(event.question_id, None)
        if isinstance(event, ResponseFinished) and event.error is not None:
            self._on_failed_reply(event, event.error, now)
        else:
            self._tell(event)
        self._tend()

    def _is_too_long(self, link: Link, event: AudioDelta) -> bool:
        """Whether a reply has gone on for longer than anybody listens; it is ended then, once."""
        reply = self._floor.replies.get(event.response_id)
        if reply is None or reply.audio_ms <= self._options.longest_reply_s * 1000:
            return False
        if not reply.is_unwanted:
            reply.is_unwanted = True
            _log.warning("reply ended after %g s of speech", self._options.longest_reply_s)
            link.session.cancel_response()
        return True

    def _on_failed_reply(self, event: ResponseFinished, error: ProviderError, now: float) -> None:
        """Ask again after a pause, if that may help; else leave this provider."""
        self._tell(replace(event, error=ProviderUnavailable(str(error), code=error.code)))
        if self._retries.plan(error, now):
            self._tell(ReplyOverdue(waited_s=0.0))
        elif self._link is not None:
            self._lose(error, is_left=True, is_reply_owed=True)

    def _on_tool(self, link: Link, event: ToolCalled) -> None:
        asked = self._tools.ask(event.call, link.number)
        if isinstance(asked, NewCall):
            self._history.call(asked.call, asked.arguments)
            call = replace(event, call=asked.call)
            self._tell(link.named(call))
        elif asked.output is not None:
            link.session.send_tool_result(event.call.call_id, asked.output)
        self._tend()

    # --- loss ---------------------------------------------------------------------------------------------------------

    def _lose(self, error: ProviderError, *, is_left: bool = False, is_reply_owed: bool = False) -> None:
        """The session is of no use any more; with `is_left` its provider is not, either."""
        link = self._link
        if link is None or self._is_closing:
            return
        now = self._now()
        if is_left or not error.is_retryable:
            self._maker.exclude(link.index)
        self._maker.note_refused(link, error, now)
        self._discard(link)
        link.session.abort()
        self._memory.break_off(now, self._tell)
        self._vigil.leave(now)
        if is_reply_owed:
            self._memory.owe()
        self._retries.drop()
        self._lost_s = now
        standby = self._standby
        if standby is not None and self._maker.is_usable(standby):
            self._standby = None
            self._resume(standby)
            return
        self._tell(SessionSuspended(reason=str(error)))
        if self._is_over or self._is_closing:
            return
        if self._rolling is not None:
            self._rolling.cancel()
        self._drop_standby()
        self._arm()
        self._search = self._start(self._reconnect(link.index, error))

    async def _reconnect(self, index: int, error: ProviderError) -> None:
        """Try until a session stands or nobody is left to be tried."""
        try:
            link = await self._maker.another(index, error)
        except ProviderError as failure:
            self._search = None
            self._tell(SessionFailed(error=failure))
            self._end(1006, str(failure))
            return
        self._search = None
        self._resume(link)

    def _resume(self, link: Link, *, is_planned: bool = False) -> None:
        """Go on with `link`."""
        gap_ms = 0 if is_planned else round((self._now() - self._lost_s) * 1000)
        self._adopt(link)
        ready = link.ready
        self._tell(
            SessionResumed(
                provider=link.options.provider,
                model=ready.model if ready is not None else link.options.model,
                session_id=ready.session_id if ready is not None else "",
                gap_ms=gap_ms,
                is_planned=is_planned,
                place=link.index,
            )
        )
        if self._link is link:
            self._memory.bring_up_to_date(link, self._maker.change, self._maker.changes)
            debt = self._memory.pay(link)
            if debt.is_reply_owed:
                link.session.respond(debt.instructions)
                self._expect_reply(debt.instructions)
        link.take_early(self._hear_live)
        self._tend()

    # --- roll-over ----------------------------------------------------------------------------------------------------

    async def _prepare(self, index: int) -> None:
        """Open the session that is to take the present one's place."""
        try:
            self._standby = await self._maker.open(index)
        except ProviderError as error:
            _log.info("no session to take the place of one that expires: %s", error)
            if not error.is_retryable:
                self._maker.exclude(index)
            self._roll.put_off(self._now())
        finally:
            self._rolling = None
        standby = self._standby
        if standby is not None and any(isinstance(event, SessionFailed | SessionClosed) for event in standby.early):
            self._drop_standby()
        self._tend()

    def _drop_standby(self) -> None:
        link = self._standby
        if link is not None:
            self._discard(link)
            link.session.abort()
            self._roll.put_off(self._now())

    def _switch(self, standby: Link) -> None:
        """Take the prepared session; the one before it is closed behind it."""
        old = self._link
        if old is None:
            return
        self._standby = self._link = None
        old.state = LinkState.GONE
        self._before.add(old.session.statistics)
        self._leaving.add(task := self._start(self._leave(old)))
        task.add_done_callback(self._leaving.discard)
        now = self._now()
        self._memory.break_off(now, self._tell)
        self._vigil.leave(now)
        self._resume(standby, is_planned=True)

    async def _leave(self, link: Link) -> None:
        try:
            await link.session.close()
        finally:
            link.circuit.leave()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._loop.create_task(work, name="recovering session")

    # --- time ---------------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Follow up on what has just changed."""
        link = self._link
        if link is None or self._is_closing:
            return
        now = self._now()
        if self._floor.is_reply_owed and not self._floor.is_full_duplex:
            self._vigil.wait(now)
        else:
            self._vigil.pause(now)
        self._roll_over(now)
        self._arm()

    def _roll_over(self, now: float) -> None:
        if not self._roll.is_ripe(now, self._quiet_at(now)):
            return
        standby = self._standby
        if standby is not None:
            self._switch(standby)
        elif self._rolling is None and self._link is not None:
            index = self._maker.usable(self._link.index)
            if index is None:
                self._roll.expect(None, now)
            else:
                self._rolling = self._start(self._prepare(index))

    def _quiet_at(self, now: float) -> float | None:
        return None if self._tools.open_count else self._floor.quiet_at(now)

    def _next_s(self, now: float) -> float | None:
        """When something is to be looked at."""
        times = [self._vigil.due, self._retries.due]
        if self._rolling is None:
            times.append(self._roll.ripe_at(self._quiet_at(now)))
        return min((at for at in times if at is not None), default=None)

    def _arm(self) -> None:
        at = None if self._link is None or self._is_closing else self._next_s(self._now())
        self._alarm.set(at, self._loop)

    def _on_alarm(self) -> None:
        now, link = self._now(), self._link
        if link is None:
            return
        if self._retries.take(now):
            self.respond(self._floor.instructions)
        match self._vigil.check(now):
            case Verdict.PROMPT:
                self._tell(ReplyOverdue(waited_s=self._vigil.waited_s(now)))
            case Verdict.DEAD:
                text = f"half-open: no event for {self._options.no_event_s:g} s after a request"
                self._lose(ProviderUnavailable(text, code="half-open"))
            case Verdict.RECONNECT:
                self._lose(self._silence(now))
            case Verdict.GIVE_UP:
                error = self._silence(now)
                self._vigil.reset()
                self._lose(error, is_left=True)
            case None:
                pass
        self._tend()

    def _silence(self, now: float) -> ProviderUnavailable:
        waited_s = self._vigil.waited_s(now)
        return ProviderUnavailable(f"the model has been silent for {waited_s:.0f} s", code="silent")
