"""What a provider brings to have its sessions on a WebSocket: its protocol, without input or output.

`gateway.realtime.socket_session` does what takes time; a protocol decides, and is tested without a socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.errors import ProviderError
from gateway.realtime.session import Role, SessionChange, SessionEvent, SessionStatistics


class SpeechProtocol(Protocol):
    """The client side of one provider's protocol, for one session, without input or output.

    What commands and messages lead to waits in `messages_to_send`; what is there from the beginning is sent as soon as
    the socket is open. The commands mean what `RealtimeSession` says; none of them comes after the end.
    """

    @property
    def statistics(self) -> SessionStatistics:
        """Live counters."""
        ...

    @property
    def awaited(self) -> str:
        """The provider's word for what it must send next, for the error of an opening that takes too long."""
        ...

    def receive(self, document: str | bytes) -> list[SessionEvent]:
        """One text or binary message of the provider; what it means to the call, in order. Never raises."""
        ...

    def messages_to_send(self) -> list[str]:
        """What is to be sent now, in order; each is given out once."""
        ...

    def audio_message(self, audio: bytes) -> bytes:
        """The message that carries `audio` of the caller. What it puts into `messages_to_send` goes before it."""
        ...

    def audio_message_size(self, audio_bytes: int) -> int:
        """Bytes of the message that carries so many bytes of audio."""
        ...

    def opening_verdict(self, error: ProviderError) -> ProviderError:
        """What an error of the opening means, where this provider's codes say more than the HTTP status."""
        ...

    def close_verdict(self, code: int, reason: str) -> ProviderError:
        """What the provider's end of the connection means."""
        ...

    def commit_audio(self) -> None:
        """End the caller's turn."""
        ...

    def send_text(self, role: Role, text: str) -> None:
        """Put a message into the conversation."""
        ...

    def say(self, text: str) -> None:
        """Let the model speak these words."""
        ...

    def ask(self, question_id: str, instructions: str) -> list[SessionEvent]:
        """Let the model write beside the conversation; what is to be told at once."""
        ...

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the conversation."""
        ...

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """Put a summary at the beginning of the conversation, and take out what it stands for."""
        ...

    def update(self, change: SessionChange) -> None:
        """Change what the session is asked to be."""
        ...

    def respond(self, instructions: str | None) -> None:
        """Let the model speak."""
        ...

    def cancel_response(self) -> None:
        """End the reply under way."""
        ...

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Tell how much of an item was heard."""
        ...

    def send_tool_result(self, call_id: str, output: str, *, respond: bool) -> None:
        """Answer a tool call."""
        ...
