"""`OpenAIProtocol` for a provider that speaks a dialect: the same decisions, with an `Edge` around them.

What the provider lacks is not sent: a truncation becomes the end of the reply under way, a question is answered with an
error at once, an item stays in the conversation.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from gateway.errors import ProviderRefused
from gateway.realtime.fields import MalformedEventError
from gateway.realtime.openai.dialects import Dialect
from gateway.realtime.openai.edge import Edge
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.session import Answered, SessionEvent, SessionOptions

_log = logging.getLogger(__name__)


class DialectProtocol(OpenAIProtocol):
    """One session with a provider of `dialect`.

    Raises:
        ProviderRefused: the options ask for turn detection that the dialect has not.
    """

    def __init__(self, options: SessionOptions, dialect: Dialect) -> None:
        if options.turn_detection.kind not in dialect.turn_detections:
            known = ", ".join(dialect.turn_detections)
            text = f"{dialect.name} has no turn detection {options.turn_detection.kind} (it has {known})"
            raise ProviderRefused(text, code="turn_detection")
        if dialect.transcription == "language":
            options = replace(options, transcription_model=options.transcription_model or dialect.name)
        super().__init__(options)
        self._dialect = dialect
        self._edge = Edge(dialect, options)

    def receive(self, document: str | bytes) -> list[SessionEvent]:
        """See `OpenAIProtocol.receive`."""
        if isinstance(document, bytes):
            return super().receive(document)
        try:
            translated = self._edge.inbound(document)
        except MalformedEventError as error:
            self.statistics.messages_received += 1
            self.statistics.malformed_events += 1
            _log.debug("! malformed event skipped: %s", error)
            return []
        if translated is None:
            self.statistics.messages_received += 1
            return []
        return super().receive(translated)

    def messages_to_send(self) -> list[str]:
        """See `OpenAIProtocol.messages_to_send`."""
        return [self._edge.outbound(message) for message in super().messages_to_send()]

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """See `OpenAIProtocol.truncate`; without truncation the reply under way ends, and its late audio is dropped."""
        if self._dialect.has_truncate:
            super().truncate(item_id, content_index, audio_end_ms)
            return
        self._ledger.interrupt(item_id)
        if self._queue.active is not None:
            self.cancel_response()

    def say(self, text: str) -> None:
        """See `OpenAIProtocol.say`; word for word where the provider can, and nothing is being said."""
        is_busy = self._queue.active is not None or self._queue.is_requested
        if not self._dialect.has_verbatim_speech or is_busy:
            super().say(text)
            return
        part = {"type": "output_text", "text": text}
        item = {"type": "force_message", "role": "assistant", "content": [part]}
        self._outbox.put({"type": "conversation.item.create", "item": item})

    def ask(self, question_id: str, instructions: str) -> list[SessionEvent]:
        """See `OpenAIProtocol.ask`."""
        if self._dialect.has_questions:
            return super().ask(question_id, instructions)
        error = ProviderRefused(f"{self._dialect.name} does not write beside the conversation", code="no_questions")
        return [Answered(question_id=question_id, text="", error=error)]

    def delete_item(self, item_id: str) -> None:
        """See `OpenAIProtocol.delete_item`; the item stays where the provider cannot."""
        if self._dialect.has_deletion:
            super().delete_item(item_id)
