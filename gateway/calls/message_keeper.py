"""Who keeps messages that callers leave, as calls see it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from gateway.dialplan.messages import Message
from gateway.media.codec import Samples


class MessageDraft(Protocol):
    """A message that is being left. Nothing blocks or raises."""

    def write(self, samples: Samples, /) -> None:
        """Append what the caller said: int16[n] at 8 kHz."""

    def keep(self, text: str | None = None, /) -> Future[Message]:
        """It is one; done when it is on the disk, or given up. `text` None: nobody wrote down what was said."""
        ...

    def discard(self) -> None:
        """It is none. Safe to repeat, and after `keep`."""


class MessageKeeper(Protocol):
    """Who keeps messages."""

    def open(self, message: Message, /) -> MessageDraft:
        """Begin one, of which this is known."""
        ...
