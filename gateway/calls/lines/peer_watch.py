"""Looks at a call's peers once a second, and the moment one is missed: is there audio both ways, are they there at all?

What `MediaWatch` finds goes to the log; a peer who has sent nothing for too long is told to the call, which ends it. On
hold nobody need send, nor while the PBX may have moved the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.stdlib import BoundLogger

from gateway.calls.lines.line import Line
from gateway.calls.lines.media_watch import LOOK_EVERY_S, Flaw, MediaWatch, facts
from gateway.calls.services import CallServices

MEDIA_WATCH_LEAST_S = 0.1


class PeerWatch:
    """Watches the peers of one call, from `begin` to `close`.

    `line` is the line to the caller at present, `others_left_s` how long whom they talk to may still be silent;
    `is_expected`: whether they are to be heard in the state in which the call is. `lose` is called when one is missed.
    """

    def __init__(
        self,
        services: CallServices,
        *,
        line: Callable[[], Line],
        others_left_s: Callable[[], float],
        is_expected: Callable[[], bool],
        lose: Callable[[], None],
        log: BoundLogger,
    ) -> None:
        self._clock = services.clock
        self._line = line
        self._others_left_s = others_left_s
        self._is_expected = is_expected
        self._lose = lose
        self._log = log
        self._watch = MediaWatch(services.one_way_audio)
        self._next_look: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def found(self) -> tuple[str, ...]:
        """What was wrong with one direction, for a while at least; for people."""
        return tuple(flaw.value for flaw in self._watch.found)

    def begin(self) -> None:
        """Look for the first time, and again until `close`."""
        is_expected = self._is_expected()
        self._look_for_one_way_audio(self._clock(), is_expected=is_expected)
        left_s = min(self._line().patience_left_s(self._watch.expected_since_s), self._others_left_s())
        if is_expected and left_s <= 0:
            self._lose()
        if not self._is_closed:
            delay_s = min(max(left_s, MEDIA_WATCH_LEAST_S), LOOK_EVERY_S)
            self._next_look = asyncio.get_running_loop().call_later(delay_s, self.begin)

    def close(self) -> None:
        """The call is over; safe to repeat."""
        self._is_closed = True
        if self._next_look is not None:
            self._next_look.cancel()
        self._watch.close()

    def _look_for_one_way_audio(self, now: float, *, is_expected: bool) -> None:
        seen, before = self._line().observe() if is_expected else None, self._watch.flaws
        if not self._watch.look(seen, now) or seen is None:
            return
        flaws = [flaw.value for flaw in Flaw if flaw in self._watch.flaws]
        if not flaws:
            self._log.info("audio both ways again", was=[flaw.value for flaw in Flaw if flaw in before])
            return
        # A telephone that is muted sends digital silence, too.
        tell = self._log.info if self._watch.flaws == {Flaw.ONLY_SILENCE} else self._log.warning
        tell("one-way audio", flaws=flaws, **facts(seen, now))
