"""One of the sessions that a call has had: whose it is, what it knew at its opening, and how its ids are told apart.

Providers number items and replies anew in each session. Those of the second session and later ones get a prefix, so
that no item of a call is taken for another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import get_args

from gateway.realtime.events import SessionEvent, SessionReady, ToolCalled
from gateway.realtime.options import SessionOptions
from gateway.realtime.recovery.circuit import Circuit
from gateway.realtime.session import RealtimeSession

MAX_EARLY_EVENTS = 256

_NAMED: Mapping[type, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind) if f.name in ("item_id", "response_id")) for kind in get_args(SessionEvent)
}


class LinkState(Enum):
    """Whether what a session tells reaches the call."""

    EARLY = "early"
    LIVE = "live"
    GONE = "gone"


@dataclass(eq=False, slots=True, kw_only=True)
class Link:
    """A session, or the attempt at one. ``index`` is its provider's in the call's list."""

    number: int
    index: int
    options: SessionOptions
    circuit: Circuit
    history_mark: int
    tools_mark: int
    changes: int
    """How often the call had been changed when it was opened."""
    session: RealtimeSession
    state: LinkState = LinkState.EARLY
    early: list[SessionEvent] = field(default_factory=list)
    ready: SessionReady | None = None
    own_ids: set[str] = field(default_factory=set)
    """Of items that were named by us, and need no prefix."""

    def keep(self, event: SessionEvent) -> None:
        """What is told before anybody listens; the oldest counts."""
        if isinstance(event, SessionReady):
            self.ready = event
        elif len(self.early) < MAX_EARLY_EVENTS:
            self.early.append(event)

    def take_early(self, tell: Callable[[SessionEvent], None]) -> None:
        """Tell what was kept."""
        early, self.early = self.early, []
        for event in early:
            tell(event)

    @property
    def _prefix(self) -> str:
        return f"r{self.number}~" if self.number else ""

    def named(self, event: SessionEvent) -> SessionEvent:
        """`event` with ids that no other session of the call has."""
        if not self.number:
            return event
        if isinstance(event, ToolCalled):
            call = replace(event.call, response_id=self._prefix + event.call.response_id)
            return replace(event, call=call)
        names = _NAMED.get(type(event), ())
        told = {name: getattr(event, name) for name in names}
        ids = {name: self._prefix + value for name, value in told.items() if value and value not in self.own_ids}
        return replace(event, **ids) if ids else event

    def raw(self, item_id: str) -> str | None:
        """The provider's own id of an item; None where the item is not this session's."""
        if item_id in self.own_ids:
            return item_id
        if not self.number:
            return None if _is_prefixed(item_id) else item_id
        return item_id.removeprefix(self._prefix) if item_id.startswith(self._prefix) else None


def _is_prefixed(item_id: str) -> bool:
    head, tilde, _ = item_id.partition("~")
    return bool(tilde) and head[:1] == "r" and head[1:].isdigit()
