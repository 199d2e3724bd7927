"""What the errors of the OpenAI protocol family mean for a call: go on, try a new session, or give the provider up.

Source: error codes and close codes of the Realtime API as seen on the wire; the retryable close codes are those of the
official client's reconnect policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown
from gateway.realtime.fields import Fields

BUSY = "conversation_already_has_active_response"

BENIGN = frozenset(
    {
        BUSY,
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "item_truncate_invalid_item_id",
    }
)
"""Two honest sides that act at the same moment meet these; nothing is wrong."""

FATAL = frozenset(
    {
        "invalid_api_key",
        "missing_model",
        "invalid_model",
        "model_not_found",
        "beta_api_shape_disabled",
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "account_deactivated",
    }
)
"""Nothing but a change of key, account or configuration helps."""

EXPIRED = frozenset({"session_expired", "max_duration"})
"""This session is over; a new one may begin at once."""

_TRANSIENT = frozenset({"server_error", "rate_limit_exceeded", "rate_limit_error"})
_RETRYABLE_CLOSE_CODES = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """The ``error`` object of an event or of a failed reply."""

    kind: str
    code: str
    message: str
    parameter: str
    event_id: str
    """The event of ours that it answers; empty when it answers none, or does not say which."""

    @classmethod
    def of(cls, fields: Fields, scrub: Callable[[str], str]) -> ErrorDetail:
        """Read it; `scrub` takes our credentials out of the message."""
        return cls(
            kind=fields.text("type", ""),
            code=fields.text("code", "") or fields.text("type", ""),
            message=shown(scrub(fields.text("message", "")), 200),
            parameter=fields.text("param", ""),
            event_id=fields.text("event_id", ""),
        )

    @property
    def is_fatal(self) -> bool:
        """The session cannot go on."""
        return self.code in FATAL or self.code in EXPIRED

    @property
    def is_transient(self) -> bool:
        """The same may succeed later."""
        return self.code in _TRANSIENT or self.kind in _TRANSIENT or self.code in EXPIRED

    def verdict(self, context: str) -> ProviderError:
        """As an exception. A message about the key is left out: it repeats parts of it."""
        code = shown(self.code) or "error"
        text = f"{context}: {code}" if self.code == "invalid_api_key" else f"{context}: {code}: {self.message}"
        if self.is_transient:
            return ProviderUnavailable(text, code=code)
        return ProviderRefused(text, code=code)


def close_verdict(code: int, reason: str) -> ProviderError:
    """What the provider's end of a connection means. The reason is ``<error type>.<error code>`` if it is one."""
    kind, _, last = reason.rpartition(".")
    word = last if kind and last.isidentifier() else ""
    text = f"the provider closed the connection: {code} {shown(reason)}".rstrip()
    transient = code in _RETRYABLE_CLOSE_CODES or word in _TRANSIENT or word in EXPIRED
    if transient and word not in FATAL:
        return ProviderUnavailable(text, code=word or str(code))
    return ProviderRefused(text, code=word or str(code))
