"""A session that outlives its connections: a `RealtimeSession` that replaces the one it works with.

::

    connect ──> LIVE ──lost──────────────────> SUSPENDED ──another confirmed──> LIVE
                 │  └──about to expire: another is opened beside it, and taken in a pause ──> LIVE
                 │                                 └── no provider left ──> SessionFailed, SessionClosed
                 └──close──> SessionClosed

What decides is without input or output and has a module of its own: the order of tries (`attempts`), the call's words
(`history`), its audio (`kept_audio`), whose turn it is and what is owed (`floor`), tools (`tool_calls`), silence
(`vigil`), the end of a session's life (`roll_over`), what all calls know of a provider (`circuit`). This module holds
the connections and one timer.

The call is told `SessionReady` once, then `SessionSuspended` and `SessionResumed`. What a lost connection left open is
closed for it: audio and replies end with ``connection_lost``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

from gateway.errors import ProviderError, ProviderUnavailable, shown
from gateway.realtime.attempts import Attempts
from gateway.realtime.circuit import PATIENCE_S, Circuit, CircuitOpened, ReconnectPace
from gateway.realtime.events import (
    Answered,
    AudioDelta,
    AudioFinished,
    EventCallback,
    ReplyOverdue,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
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
from gateway.realtime.floor import Debt, Floor
from gateway.realtime.history import History
from gateway.realtime.kept_audio import KeptAudio
from gateway.realtime.link import Link, LinkState
from gateway.realtime.options import Capabilities, Message, Role, SessionChange, SessionOptions
from gateway.realtime.recovery_options import RecoveryOptions
from gateway.realtime.roll_over import RollOver
from gateway.realtime.session import RealtimeSession, open_session
from gateway.realtime.tool_calls import NewCall, Result, ToolCalls
from gateway.realtime.vigil import Verdict, Vigil

CONNECTION_LOST = "connection_lost"
RETRY_PAUSES_S = (1.0, 2.0, 4.0)
"""Before a reply that failed is asked for again, unless the provider says how long."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all recovering sessions of a process share."""

    pace: ReconnectPace
    rng: random.Random
    wall_clock: Callable[[], float]
    """Unix time, for the ends that providers name."""
    on_circuit: Callable[[Circuit, CircuitOpened], None] = field(default=lambda _circuit, _news: None)


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
        first = chain[0]
        self._chain = list(chain)
        self._circuits = circuits
        self._options = options
        self._around = surroundings
        self._first: RealtimeSession | None = open_session(first)
        self._capabilities = self._first.capabilities
        self._history = History(first.output_format.bytes_per_ms, first.history)
        self._kept = KeptAudio(keep_s=options.keep_audio_s, bytes_per_ms=first.input_format.bytes_per_ms)
        self._floor = Floor(
            first.turn_detection,
            input_bytes_per_ms=first.input_format.bytes_per_ms,
            output_bytes_per_ms=first.output_format.bytes_per_ms,
        )
        self._tools = ToolCalls()
        self._vigil = Vigil(options)
        self._roll = RollOver(options.roll_over_before_s)
        self._before = SessionStatistics()  # of the links that are gone
        self._stale_results = 0
        self._dropped_ms = 0.0
        self._on_event: EventCallback | None = None
        self._link: Link | None = None
        self._standby: Link | None = None
        self._count = 0
        self._index = 0
        self._excluded: set[int] = set()
        self._handle: tuple[int, str, int] | None = None  # provider, resumption handle, mark of the history
        self._lost_s = 0.0
        self._debt = Debt(audio_since=0.0)
        self._questions: dict[str, str] = {}
        self._deferred: list[Callable[[RealtimeSession], None]] = []
        self._change = SessionChange()
        self._changes = 0
        self._retries = 0
        self._retry_s: float | None = None
        self._search: asyncio.Task[None] | None = None
        self._rolling: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
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
            _add(total, self._link.session.statistics)
        total.stale_results += self._stale_results
        total.dropped_uplink_ms += self._dropped_ms
        return total

    # --- opening and ending -------------------------------------------------------------------------------------------

    async def connect(self, on_event: EventCallback) -> None:
        """See `RealtimeSession.connect`; each provider is tried once."""
        self._loop = asyncio.get_running_loop()
        failure: ProviderError | None = None
        for index in range(len(self._chain)):
            try:
                link = await self._open(index, is_new=True)
            except ProviderError as error:
                _log.info("session not opened with %s: %s", self._chain[index].provider, error)
                failure = error
                if not error.is_retryable:
                    self._excluded.add(index)
                continue
            self._on_event = on_event
            self._adopt(link)
            if link.ready is not None:
                self._tell(link.ready)
            link.take_early(self._hear_live)
            self._arm()
            return
        assert failure is not None  # noqa: S101 - a chain has a link
        raise failure

    async def _open(self, index: int, *, is_new: bool) -> Link:
        """A confirmed session of provider number `index`. Raises: `ProviderError`."""
        circuit, now = self._circuits[index], self._now()
        queue_s = self._around.pace.queue_s(now) if is_new else 0.0
        if queue_s > PATIENCE_S:
            raise ProviderUnavailable("calls in progress are reconnecting first", code="busy")
        if is_new:
            circuit.enter(now)
        else:
            circuit.reenter()
        has_handle = False
        try:
            await asyncio.sleep(queue_s)
            link = self._make_link(index)
            has_handle = bool(link.options.resume_handle)
            await link.session.connect(partial(self._hear, link))
        except ProviderError as error:
            circuit.leave()
            if has_handle:
                self._handle = None
                raise ProviderUnavailable(f"not resumed: {error}", code=error.code) from error
            self._note_failure(circuit, error)
            raise
        except BaseException:
            circuit.leave()
            circuit.note_abandoned()
            raise
        circuit.note_opened()
        return link

    def _make_link(self, index: int) -> Link:
        number, options, mark = self._count, self._chain[index], self._history.mark
        session, self._first = (self._first if index == 0 and not number else None), None
        self._count += 1
        if self._handle is not None and self._handle[0] == index:
            _, handle, mark = self._handle
            options = replace(options, history=(), resume_handle=handle)
        elif number:
            options = replace(options, history=self._history.items(), resume_handle="")
        return Link(
            number=number,
            index=index,
            options=options,
            circuit=self._circuits[index],
            history_mark=mark,
            tools_mark=self._tools.mark,
            changes=self._changes,
            session=session or open_session(options),
        )

    def _note_failure(self, circuit: Circuit, error: ProviderError) -> None:
        news = circuit.note_failed(error, self._now())
        if news is not None:
            self._around.on_circuit(circuit, news)

    def _adopt(self, link: Link) -> None:
        """Work with `link` from now on."""
        now = self._now()
        self._link, self._index = link, link.index
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
                link.session.abort()
        if self._link is None:
            self._end(1006, "aborted")

    def _stop(self) -> list[asyncio.Task[None]]:
        """No more connections; what is left to be waited for."""
        self._is_closing = True
        self._cancel_timer()
        tasks = [task for task in (self._search, self._rolling) if task is not None]
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
        _add(self._before, link.session.statistics)
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
        self._vigil.ask(self._now())
        self._arm()

    def send_text(self, role: Role, text: str) -> None:
        """See `RealtimeSession.send_text`."""
        self._history.tell(role, text)
        if self._link is not None:
            self._link.session.send_text(role, text)

    def say(self, text: str) -> None:
        """See `RealtimeSession.say`."""
        if self._link is None:
            self._deferred.append(lambda session: session.say(text))
            return
        self._link.session.say(text)
        self._expect_reply(None)

    def ask(self, question_id: str, instructions: str) -> None:
        """See `RealtimeSession.ask`."""
        self._questions[question_id] = instructions
        if self._link is not None:
            self._link.session.ask(question_id, instructions)

    def delete_item(self, item_id: str) -> None:
        """See `RealtimeSession.delete_item`."""
        self._history.forget(item_id)
        raw = None if self._link is None else self._link.raw(item_id)
        if self._link is not None and raw is not None:
            self._link.session.delete_item(raw)

    def update(self, change: SessionChange) -> None:
        """See `RealtimeSession.update`; sessions to come are opened with it."""
        changed = {f.name: value for f in fields(change) if (value := getattr(change, f.name)) is not None}
        self._change = replace(self._change, **changed)
        self._chain = [replace(options, **changed) for options in self._chain]
        self._changes += 1
        if self._link is not None:
            self._link.session.update(change)

    def respond(self, instructions: str | None = None) -> None:
        """See `RealtimeSession.respond`."""
        if self._link is None:
            self._debt = replace(self._debt, is_reply_owed=True, instructions=instructions or self._debt.instructions)
            return
        self._link.session.respond(instructions)
        self._expect_reply(instructions)

    def _expect_reply(self, instructions: str | None) -> None:
        self._floor.respond(instructions)
        if self._floor.is_reply_owed:
            self._vigil.ask(self._now())
        self._tend()

    def cancel_response(self) -> None:
        """See `RealtimeSession.cancel_response`."""
        self._floor.cancel()
        self._retry_s = None
        self._debt = replace(self._debt, is_reply_owed=False, cut_item="")
        if self._link is not None:
            self._link.session.cancel_response()
            self._tend()

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """See `RealtimeSession.truncate`; of an item of a session that is gone the present one is told in words."""
        self._history.cut(item_id, audio_end_ms)
        self._floor.cut(self._now())
        if self._link is None:
            return
        raw = self._link.raw(item_id)
        if raw is not None:
            self._link.session.truncate(raw, content_index, audio_end_ms)
        elif heard := self._history.heard_of(item_id):
            self._link.session.send_text("system", f'The caller interrupted you and heard no more than: "{heard} …"')

    def send_tool_result(self, call_id: str, output: str, respond: bool = True) -> None:
        """See `RealtimeSession.send_tool_result`."""
        link = self._link
        result = self._tools.answer(call_id, output, -1 if link is None else link.number)
        if result is None:
            self._stale_results += 1
            return
        self._history.answer(call_id, output)
        if link is None:
            self._debt = replace(self._debt, is_reply_owed=self._debt.is_reply_owed or respond)
            return
        wants_reply = respond and not self._tools.open_count
        for asked in result.call_ids:
            link.session.send_tool_result(asked, output, respond=respond)
        if not result.call_ids:
            link.session.send_text("system", _in_words(result))
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

    def _hear_live(self, event: SessionEvent) -> None:
        link = self._link
        if link is None or self._is_over:
            return
        self._vigil.hear()
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
                self._handle = (link.index, event.handle, self._history.mark)
            case ToolCalled():
                self._on_tool(link, event)
            case ToolCancelled():
                if call_id := self._tools.cancel(event.call_id, link.number):
                    self._tell(replace(event, call_id=call_id))
            case _:
                self._on_conversation(link, link.named(event))

    def _on_closed(self, event: SessionClosed) -> None:
        if self._is_closing:
            self._end(event.code, event.reason)
        else:
            self._lose(ProviderUnavailable(f"connection closed: {event.reason or event.code}", code=str(event.code)))

    def _on_conversation(self, link: Link, event: SessionEvent) -> None:
        now = self._now()
        if isinstance(event, ResponseFinished) and event.status is ResponseStatus.COMPLETED:
            self._history.close_turn(self._floor.turn_item)
        self._history.hear(event)
        self._floor.hear(event, now)
        if isinstance(event, AudioDelta):
            self._vigil.reset()
            if not self._is_too_long(link, event):
                self._tell(event)
            return
        if isinstance(event, ResponseStarted):
            self._vigil.reset()
        if isinstance(event, ResponseStarted | SpeechStarted):
            self._retry_s = None
        if isinstance(event, Answered):
            self._questions.pop(event.question_id, None)
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
        if error.is_retryable and self._retries < self._options.reply_retries:
            pause_s = RETRY_PAUSES_S[min(self._retries, len(RETRY_PAUSES_S) - 1)] * self._around.rng.uniform(0.5, 1)
            self._retries += 1
            self._retry_s = now + (pause_s if error.retry_after_s is None else error.retry_after_s)
            self._tell(ReplyOverdue(waited_s=0.0))
        elif self._link is not None:
            self._note_failure(self._link.circuit, error)
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
            self._excluded.add(link.index)
            if not is_left:
                self._note_failure(link.circuit, error)
        self._discard(link)
        link.session.abort()
        self._break_off(now)
        if is_reply_owed:
            self._debt = replace(self._debt, is_reply_owed=True)
        self._retry_s = None
        self._lost_s = now
        standby = self._standby
        if standby is not None and standby.index not in self._excluded:
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
        self._search = self._start(self._reconnect(error))

    def _break_off(self, now: float) -> None:
        """End for the call what the session left open, and note what the next one owes."""
        for response_id, reply in list(self._floor.replies.items()):
            for (item_id, content_index), is_open in reply.parts.items():
                if is_open:
                    self._tell(AudioFinished(response_id=response_id, item_id=item_id, content_index=content_index))
            status = ResponseStatus.CANCELLED if reply.is_unwanted else ResponseStatus.INCOMPLETE
            self._tell(ResponseFinished(response_id=response_id, status=status, reason=CONNECTION_LOST))
        turn = self._floor.turn_item
        self._debt = debt = self._floor.default(now)
        if debt.is_turn_repeated:
            self._history.forget(turn)
        else:
            self._history.close_turn(turn)
        self._kept.seize(debt.audio_since)
        self._vigil.pause(now)

    async def _reconnect(self, error: ProviderError) -> None:
        """Try until a session stands or nobody is left to be tried."""
        attempts = Attempts(
            providers=len(self._chain),
            first=self._index,
            excluded=self._excluded,
            options=self._options,
            rng=self._around.rng,
            now=self._now(),
        )
        while (attempt := attempts.next()) is not None:
            await asyncio.sleep(attempt.delay_s)
            await asyncio.sleep(self._around.pace.book(self._now()))
            try:
                link = await self._open(attempt.index, is_new=False)
            except ProviderError as failure:
                error = failure
                _log.info("not reconnected to %s: %s", self._chain[attempt.index].provider, failure)
                if not failure.is_retryable:
                    self._excluded.add(attempt.index)
                attempts.note_failed(failure, self._now())
                continue
            self._search = None
            self._resume(link)
            return
        self._search = None
        self._cancel_timer()
        self._tell(SessionFailed(error=error))
        self._end(1006, str(error))

    def _resume(self, link: Link, *, is_planned: bool = False) -> None:
        """Go on with `link`."""
        gap_ms = 0 if is_planned else round((self._now() - self._lost_s) * 1000)
        self._adopt(link)
        debt, self._debt = self._debt, Debt(audio_since=0.0)
        ready = link.ready
        self._tell(
            SessionResumed(
                provider=link.options.provider,
                model=ready.model if ready is not None else link.options.model,
                session_id=ready.session_id if ready is not None else "",
                gap_ms=gap_ms,
                is_planned=is_planned,
            )
        )
        if self._link is link:
            self._bring_up_to_date(link)
            self._pay(link, debt)
        link.take_early(self._hear_live)
        self._tend()

    def _bring_up_to_date(self, link: Link) -> None:
        """Tell a session what has happened since it was opened."""
        session = link.session
        for item in self._history.items(since=link.history_mark):
            if isinstance(item, Message):
                session.send_text(item.role, item.text)
        for result in self._tools.since(link.tools_mark):
            session.send_text("system", _in_words(result))
        if link.changes != self._changes:
            session.update(self._change)
        for question_id, instructions in self._questions.items():
            session.ask(question_id, instructions)
        deferred, self._deferred = self._deferred, []
        for command in deferred:
            command(session)
            self._floor.respond(None)

    def _pay(self, link: Link, debt: Debt) -> None:
        """Let the model go on where the caller stopped hearing, or say what it owes."""
        if debt.cut_item:
            heard = self._history.heard_of(debt.cut_item)
            after = f'after the words "{heard[-200:]}"' if heard else "near its beginning"
            text = f"Your last reply was cut off by a fault of the line {after}. Go on from there; repeat nothing else."
            link.session.send_text("system", text)
        if debt.is_reply_owed:
            link.session.respond(debt.instructions)
            self._expect_reply(debt.instructions)

    # --- roll-over ----------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """Open the session that is to take the present one's place."""
        try:
            link = await self._open(self._index, is_new=False)
        except ProviderError as error:
            _log.info("no session to take the place of one that expires: %s", error)
            self._roll.put_off(self._now())
        else:
            if any(isinstance(event, SessionFailed | SessionClosed) for event in link.early):
                self._standby = link
                self._drop_standby()
            else:
                self._standby = link
        self._rolling = None
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
        _add(self._before, old.session.statistics)
        self._leaving.add(task := self._start(self._leave(old)))
        task.add_done_callback(self._leaving.discard)
        self._break_off(self._now())
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
        due, forced, standby = self._roll.due, self._roll.forced, self._standby
        if due is None or forced is None or now < due:
            return
        quiet_at = self._quiet_at(now)
        if now < forced and (quiet_at is None or now < quiet_at):
            return
        if standby is not None:
            self._switch(standby)
        elif self._rolling is None:
            self._rolling = self._start(self._prepare())

    def _quiet_at(self, now: float) -> float | None:
        return None if self._tools.open_count else self._floor.quiet_at(now)

    def _next_s(self, now: float) -> float | None:
        """When something is to be looked at."""
        times = [self._vigil.due, self._retry_s]
        due, quiet_at = self._roll.due, self._quiet_at(now)
        if due is not None and self._rolling is None:
            times.append(max(due, self._roll.forced or due if quiet_at is None else quiet_at))
        return min((at for at in times if at is not None), default=None)

    def _arm(self) -> None:
        at = None if self._link is None or self._is_closing else self._next_s(self._now())
        if at is None or (self._timer is not None and self._timer.when() != at):
            self._cancel_timer()
        if at is not None and self._timer is None:
            self._timer = self._loop.call_at(at, self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now, link = self._now(), self._link
        if link is None:
            return
        if self._retry_s is not None and now >= self._retry_s:
            self._retry_s = None
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
        waited = shown(f"{self._vigil.waited_s(now):.0f} s")
        return ProviderUnavailable(f"the model has been silent for {waited}", code="silent")


def _in_words(result: Result) -> str:
    return f"The tool {result.name} that was running has finished. Its result: {result.output}"


def _add(total: SessionStatistics, more: SessionStatistics) -> None:
    for figure in fields(SessionStatistics):
        setattr(total, figure.name, getattr(total, figure.name) + getattr(more, figure.name))
