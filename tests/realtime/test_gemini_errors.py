"""What Gemini's close codes and reasons mean."""

from __future__ import annotations

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.realtime.gemini.errors import close_verdict


@pytest.mark.parametrize(
    ("code", "reason", "error", "name"),
    [
        (1007, "API key not valid. Please pass a valid API key.", ProviderRefused, "invalid_api_key"),
        (1007, "Request contains an invalid argument.", ProviderRefused, "1007"),
        (1008, "models/x is not found for API version v1beta", ProviderRefused, "model_not_found"),
        (1008, "Operation is not implemented, or supported, or enabled", ProviderRefused, "1008"),
        (1008, "The service is currently unavailable.", ProviderUnavailable, "1008"),
        (1011, "Internal error encountered.", ProviderUnavailable, "1011"),
        (1011, "You exceeded your current quota, please check your plan", ProviderRefused, "insufficient_quota"),
        (1011, "Resource exhausted, please try again later", ProviderUnavailable, "1011"),
        (1006, "connection lost", ProviderUnavailable, "1006"),
        (1000, "", ProviderUnavailable, "1000"),
        (4000, "novelty", ProviderRefused, "4000"),
    ],
)
def test_verdict(code: int, reason: str, error: type[Exception], name: str) -> None:
    verdict = close_verdict(code, reason, is_expired=False)
    assert type(verdict) is error
    assert verdict.code == name
    assert reason in str(verdict)


def test_session_that_was_about_to_end_has_expired_whatever_the_code() -> None:
    verdict = close_verdict(1008, "", is_expired=True)
    assert (verdict.is_retryable, verdict.code) == (True, "session_expired")


def test_key_that_was_refused_stays_refused() -> None:
    assert not close_verdict(1007, "API key not valid.", is_expired=True).is_retryable
