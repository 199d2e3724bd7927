"""Watching the peer of a trunk that does not register: which of its servers answer OPTIONS.

::

    UNKNOWN --answer--> REACHABLE --no server answers in time--> UNREACHABLE --answer--> REACHABLE

Every server is asked at an interval; calls of ours go to the first that answers. A peer that never answered is left in
peace and stays UNKNOWN: some drop OPTIONS, and their silence means nothing. A trunk with a registrar has a `Probe`
instead, since the registration tells the same sooner.
"""

from __future__ import annotations

import logging

from gateway.sip.core import Core
from gateway.sip.events import PeerChanged, PeerState
from gateway.sip.hop import Hop
from gateway.sip.probe import Probe
from gateway.sip.timers import Alarm
from gateway.sip.trunk import Trunk

_log = logging.getLogger(__name__)


class PeerWatch:
    """The watch over one trunk's servers."""

    def __init__(self, core: Core, trunk: Trunk) -> None:
        self._core = core
        self._trunk = trunk
        self._probe = Probe(core, trunk, on_loss=lambda now: None)
        self._state = PeerState.UNKNOWN
        self._answered: set[Hop] = set()
        self._next: Alarm | None = None
        self._limit: Alarm | None = None

    @property
    def status(self) -> PeerChanged:
        """How it stands."""
        return PeerChanged(trunk=self._trunk.name, state=self._state, server=self._trunk.hop)

    def start(self, now: float) -> None:
        """Ask from now on, unless that is so already or not wanted."""
        if self._next is None and self._core.options.probe_interval_s:
            self._ask(now)

    def _ask(self, now: float) -> None:
        options = self._core.options
        self._next = self._core.timers.start(now + options.probe_interval_s, self._ask)
        self._answered = set()
        for hop in self._trunk.hops:
            if not self._core.is_own(hop.address):
                self._probe.ask(hop, lambda now, hop=hop: self._note_answer(hop), now)  # type: ignore[misc]
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self._core.timers.start(now + min(options.probe_timeout_s, options.probe_interval_s), self._judge)

    def _note_answer(self, hop: Hop) -> None:
        self._answered.add(hop)
        best = next((one for one in self._trunk.hops if one in self._answered), None)
        if best is not None:
            self._trunk.hop = best
        self._enter(PeerState.REACHABLE)

    def _judge(self, now: float) -> None:
        self._limit = None
        if not self._answered and self._state is PeerState.REACHABLE:
            self._enter(PeerState.UNREACHABLE)

    def _enter(self, state: PeerState) -> None:
        if state is self._state:
            return
        _log.debug("= peer of %s: %s -> %s", self._trunk.name, self._state.value, state.value)
        self._state = state
        self._core.emit(self.status)
