"""Opens a call's sessions: with which provider, after which pause, knowing what, and counted by its circuit."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

from gateway.errors import ProviderError, ProviderUnavailable
from gateway.realtime.events import SessionEvent
from gateway.realtime.options import SessionChange, SessionOptions
from gateway.realtime.recovery.attempts import Attempts
from gateway.realtime.recovery.circuit import PATIENCE_S, Circuit, CircuitOpened, ReconnectPace
from gateway.realtime.recovery.history import History
from gateway.realtime.recovery.link import Link
from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.recovery.tool_calls import ToolCalls
from gateway.realtime.session import RealtimeSession, open_session

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all recovering sessions of a process share."""

    pace: ReconnectPace
    rng: random.Random
    wall_clock: Callable[[], float]
    """Unix time, for the ends that providers name."""
    on_circuit: Callable[[Circuit, CircuitOpened], None] = field(default=lambda _circuit, _news: None)


class LinkMaker:
    """One call's. `hear` is told what a link tells, from its opening on."""

    def __init__(
        self,
        chain: Sequence[SessionOptions],
        circuits: Sequence[Circuit],
        options: RecoveryOptions,
        surroundings: Surroundings,
        *,
        history: History,
        tools: ToolCalls,
        hear: Callable[[Link, SessionEvent], None],
    ) -> None:
        self._chain = list(chain)
        self._circuits = circuits
        self._options = options
        self._around = surroundings
        self._history = history
        self._tools = tools
        self._hear = hear
        self._first: RealtimeSession | None = open_session(chain[0])
        self.capabilities = self._first.capabilities
        """Those of the first provider."""
        self._count = 0
        self._excluded: set[int] = set()
        self._handle: tuple[int, str, int] | None = None  # provider, resumption handle, mark of the history
        self.change = SessionChange()
        """All that was changed since the beginning."""
        self.changes = 0

    # --- what it is told ----------------------------------------------------------------------------------------------

    def apply(self, change: SessionChange) -> None:
        """Open sessions with this change from now on."""
        changed = {f.name: value for f in fields(change) if (value := getattr(change, f.name)) is not None}
        self.change = replace(self.change, **changed)
        self._chain = [replace(options, **changed) for options in self._chain]
        self.changes += 1

    def note_handle(self, link: Link, handle: str) -> None:
        """The provider of `link` remembers the conversation up to now under `handle`."""
        self._handle = (link.index, handle, self._history.mark)

    def exclude(self, index: int) -> None:
        """Provider number `index` is of no use to this call any more."""
        self._excluded.add(index)

    @property
    def count(self) -> int:
        """Of the sessions made so far."""
        return self._count

    def usable(self, first: int) -> int | None:
        """Provider number `first`, or the one that comes in its place; None where there is none."""
        order = (first, *range(len(self._chain)))
        return next((index for index in order if index not in self._excluded), None)

    def is_usable(self, link: Link) -> bool:
        """Whether the provider of `link` is not excluded."""
        return link.index not in self._excluded

    def note_refused(self, link: Link, error: ProviderError, now: float) -> None:
        """The session of `link` was ended, or refused a reply, for `error`."""
        self._tell(link.circuit, link.circuit.note_refused(error, now))

    def _tell(self, circuit: Circuit, news: CircuitOpened | None) -> None:
        if news is not None:
            self._around.on_circuit(circuit, news)

    # --- opening ------------------------------------------------------------------------------------------------------

    async def first(self) -> Link:
        """A new call's session: each provider is tried once. Raises: `ProviderError`."""
        failure: ProviderError | None = None
        for index, options in enumerate(self._chain):
            try:
                return await self.open(index, is_new=True)
            except ProviderError as error:
                _log.info("session not opened with %s: %s", options.provider, error)
                failure = error
                if not error.is_retryable:
                    self.exclude(index)
        assert failure is not None  # noqa: S101 - a chain has a link
        raise failure

    async def another(self, index: int, error: ProviderError) -> Link:
        """One in the place of a session of provider number `index` that was lost for `error`.

        Raises:
            ProviderError: nobody is left to be tried.
        """
        attempts = Attempts(
            providers=len(self._chain),
            first=index,
            excluded=self._excluded,
            options=self._options,
            rng=self._around.rng,
            now=_now(),
        )
        while (attempt := attempts.next()) is not None:
            await asyncio.sleep(attempt.delay_s)
            await asyncio.sleep(self._around.pace.book(_now()))
            try:
                return await self.open(attempt.index)
            except ProviderError as failure:
                error = failure
                _log.info("not reconnected to %s: %s", self._chain[attempt.index].provider, failure)
                if not failure.is_retryable:
                    self.exclude(attempt.index)
                attempts.note_failed(failure, _now())
        raise error

    async def open(self, index: int, *, is_new: bool = False) -> Link:
        """A confirmed session of provider number `index`; a new call's stands behind those of calls in progress.

        Raises:
            ProviderError: it was not opened, or must not be tried.
        """
        circuit = self._circuits[index]
        queue_s = self._around.pace.queue_s(_now()) if is_new else 0.0
        if queue_s > PATIENCE_S:
            raise ProviderUnavailable("calls in progress are reconnecting first", code="busy")
        if is_new:
            circuit.enter(_now())
        else:
            circuit.reenter()
        has_handle, link = False, None
        try:
            await asyncio.sleep(queue_s)
            link = self._make(index)
            has_handle = bool(link.options.resume_handle)
            await link.session.connect(partial(self._hear, link))
        except ProviderError as error:
            circuit.leave()
            if has_handle:
                self._handle = None
                raise ProviderUnavailable(f"not resumed: {error}", code=error.code) from error
            self._tell(circuit, circuit.note_failed(error, _now()))
            raise
        except BaseException:
            circuit.leave()
            circuit.note_abandoned()
            if link is not None:
                link.session.abort()
            raise
        circuit.note_opened()
        return link

    def _make(self, index: int) -> Link:
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
            changes=self.changes,
            session=session or open_session(options),
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
