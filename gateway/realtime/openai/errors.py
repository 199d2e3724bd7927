"""What the errors of the OpenAI protocol family mean for a call: go on, try a new session, or give the provider up.

Source: error codes and close codes of the Realtime API as seen on the wire; the retryable close codes are those of the
official client's reconnect policy, and 1000: a provider that hangs up in the middle of a call may be called again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown
from gateway.realtime.fields import Fields


class Verdict(Enum):
    """What follows from an error code. While a session opens, all but RENEW and RETRY refuse it for good."""

    FATAL = "fatal"
    """The session ends. Nothing but a change of key, account or configuration helps."""
    RENEW = "renew"
    """The session ends; a new one may begin at once."""
    RETRY = "retry"
    """The session goes on; the same may succeed later, and so may a new session."""
    REPORT = "report"
    """The session goes on without what was asked for, and the log tells."""
    IGNORE = "ignore"
    """Two honest sides that act at the same moment meet it; nothing is wrong."""


BUSY = "conversation_already_has_active_response"

VERDICTS: Mapping[str, Verdict] = {
    "invalid_api_key": Verdict.FATAL,
    "missing_model": Verdict.FATAL,
    "invalid_model": Verdict.FATAL,
    "model_not_found": Verdict.FATAL,
    "beta_api_shape_disabled": Verdict.FATAL,
    "insufficient_quota": Verdict.FATAL,
    "credit_balance_exhausted": Verdict.FATAL,
    "billing_hard_limit_reached": Verdict.FATAL,
    "account_deactivated": Verdict.FATAL,
    "session_expired": Verdict.RENEW,
    "max_duration": Verdict.RENEW,
    "server_error": Verdict.RETRY,
    "rate_limit_exceeded": Verdict.RETRY,
    "rate_limit_error": Verdict.RETRY,
    BUSY: Verdict.IGNORE,
    "response_cancel_not_active": Verdict.IGNORE,
    "input_audio_buffer_commit_empty": Verdict.IGNORE,
    "item_truncate_invalid_item_id": Verdict.IGNORE,
    "item_delete_invalid_item_id": Verdict.IGNORE,
    "item_retrieve_invalid_item_id": Verdict.IGNORE,
    "invalid_event": Verdict.REPORT,
    "invalid_json": Verdict.REPORT,
    "invalid_value": Verdict.REPORT,
    "unknown_parameter": Verdict.REPORT,
    "missing_required_parameter": Verdict.REPORT,
    "cannot_update_voice": Verdict.REPORT,
    "bad_response_create": Verdict.REPORT,
    "item_create_duplicate_item_id": Verdict.REPORT,
}
"""By code; where there is none, by the error's type. What stands in neither is reported."""

CLOSE_VERDICTS: Mapping[int, Verdict] = {
    **dict.fromkeys((1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015), Verdict.RENEW),
    # 3000: bad key. 4000 and 4004: what was asked for when connecting.
    **dict.fromkeys((1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4004), Verdict.FATAL),
}
"""By WebSocket close code (RFC 6455 7.4); the reason's code goes before it, and others are final."""


def _with(*verdicts: Verdict) -> frozenset[str]:
    return frozenset(code for code, verdict in VERDICTS.items() if verdict in verdicts)


BENIGN: Final = _with(Verdict.IGNORE)
FATAL: Final = _with(Verdict.FATAL)
_ENDING: Final = _with(Verdict.FATAL, Verdict.RENEW)
_PASSING: Final = _with(Verdict.RENEW, Verdict.RETRY)

_RETRY_AFTER: Final = re.compile(r"\btry again in (\d{1,6}(?:\.\d{1,6})?) ?(ms|s|m)\b")
_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """The ``error`` object of an event or of a failed reply."""

    kind: str
    code: str
    message: str
    parameter: str
    event_id: str
    """The event of ours that it answers; empty when it answers none, or does not say which."""
    retry_after_s: float | None = None
    """The wait that the message asks for."""

    @classmethod
    def of(cls, fields: Fields, scrub: Callable[[str], str]) -> ErrorDetail:
        """Read it; `scrub` takes our credentials out of the message."""
        message = fields.text("message", "")
        wait = _RETRY_AFTER.search(message)
        return cls(
            kind=fields.text("type", ""),
            code=fields.text("code", "") or fields.text("type", ""),
            message=shown(scrub(message), 200),
            parameter=fields.text("param", ""),
            event_id=fields.text("event_id", ""),
            retry_after_s=float(wait[1]) * _SECONDS[wait[2]] if wait else None,
        )

    @property
    def is_fatal(self) -> bool:
        """The session cannot go on."""
        return self.code in _ENDING

    @property
    def is_transient(self) -> bool:
        """The same may succeed later. Some peers have it in the error's type alone."""
        return self.code in _PASSING or (self.kind in _PASSING and self.code not in FATAL)

    def verdict(self, context: str) -> ProviderError:
        """As an exception. A message about the key is left out: it repeats parts of it."""
        code = shown(self.code) or "error"
        text = f"{context}: {code}" if self.code == "invalid_api_key" else f"{context}: {code}: {self.message}"
        if self.is_transient:
            return ProviderUnavailable(text, code=code, retry_after_s=self.retry_after_s)
        return ProviderRefused(text, code=code)


def close_verdict(code: int, reason: str) -> ProviderError:
    """What the provider's end of a connection means. The reason is ``<error type>.<error code>`` if it is one."""
    kind, _, last = reason.rpartition(".")
    word = last if kind and last.isidentifier() else ""
    text = f"the provider closed the connection: {code} {shown(reason)}".rstrip()
    is_passing = word in _PASSING or CLOSE_VERDICTS.get(code) is Verdict.RENEW
    if is_passing and word not in FATAL:
        return ProviderUnavailable(text, code=word or str(code))
    return ProviderRefused(text, code=word or str(code))
