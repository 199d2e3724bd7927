"""Client events that wait to be sent, each with an id by which an error names it; for all of OpenAI's protocols."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gateway.realtime.openai.codec import encode

_log = logging.getLogger(__name__)

MAX_COMMANDS = 64
"""Commands whose refusal is still told apart."""


class Outbox:
    """What goes to the provider, in order."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._count = 0
        self._kinds: dict[str, str] = {}

    def put(self, event: Mapping[str, object]) -> str:
        """Queue a client event; its id."""
        self._count += 1
        event_id, kind = f"c{self._count}", str(event["type"])
        self._kinds[event_id] = kind
        if len(self._kinds) > MAX_COMMANDS:
            del self._kinds[next(iter(self._kinds))]
        self._waiting.append(encode({"type": kind, "event_id": event_id} | dict(event)))
        _log.debug("> %s", kind)
        return event_id

    def take(self) -> list[str]:
        """What is to be sent now; each is given out once."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def kind_of(self, event_id: str) -> str:
        """The type of the event of that id; empty where it is none of the last ones of ours."""
        return self._kinds.get(event_id, "")

    def __len__(self) -> int:
        """Events that are still told apart."""
        return len(self._kinds)
