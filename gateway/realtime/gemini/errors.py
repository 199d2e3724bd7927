"""What the end of a Gemini Live connection means for a call. Gemini says what is wrong by a close frame alone.

Source: close codes and reasons of the Live API as seen on the wire: 1007 an argument or the key, 1008 a model or what
it cannot do, 1011 trouble of the server, and the end of a quota. The reason is a sentence; its words decide where the
code does not.
"""

from __future__ import annotations

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown

_RETRYABLE_CLOSE_CODES = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015})

_CODES = (
    ("api key", "invalid_api_key"),
    ("api_key", "invalid_api_key"),
    ("authentication credential", "invalid_api_key"),
    ("current quota", "insufficient_quota"),
    ("billing", "insufficient_quota"),
    ("is not found", "model_not_found"),
    ("not supported for bidigeneratecontent", "model_not_found"),
    ("permission", "permission_denied"),
)
"""Words of a reason, and what they mean; nothing but a change of key, account or configuration helps."""

_TRANSIENT = ("unavailable", "overloaded", "try again", "resource exhausted", "deadline", "aborted", "goaway")


def close_verdict(code: int, reason: str, *, is_expired: bool) -> ProviderError:
    """What Gemini's end of a connection means; `is_expired` after a ``goAway``: a new session may begin at once."""
    words = reason.casefold()
    text = f"the provider closed the connection: {code} {shown(reason, 200)}".rstrip()
    name = next((name for word, name in _CODES if word in words), "")
    if name:
        return ProviderRefused(text, code=name)
    if is_expired:
        return ProviderUnavailable(text, code="session_expired")
    if code in _RETRYABLE_CLOSE_CODES or any(word in words for word in _TRANSIENT):
        return ProviderUnavailable(text, code=str(code))
    return ProviderRefused(text, code=str(code))
