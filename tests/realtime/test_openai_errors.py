"""What errors and close codes mean for a call."""

from __future__ import annotations

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.realtime.fields import Fields
from gateway.realtime.openai_errors import ErrorDetail, close_verdict


def detail(**members: object) -> ErrorDetail:
    return ErrorDetail.of(Fields(members), lambda text: text.replace("sk-x", "***"))


@pytest.mark.parametrize(
    ("code", "reason", "error", "word"),
    [
        (1006, "", ProviderUnavailable, "1006"),
        (1001, "Your session hit the maximum duration of 60 minutes.", ProviderUnavailable, "1001"),
        (1000, "", ProviderUnavailable, "1000"),
        (1011, "server_error.server_error", ProviderUnavailable, "server_error"),
        (3000, "invalid_request_error.invalid_api_key", ProviderRefused, "invalid_api_key"),
        (4000, "invalid_request_error.missing_model", ProviderRefused, "missing_model"),
        (4000, "invalid_request_error.session_expired", ProviderUnavailable, "session_expired"),
        (1011, "invalid_request_error.insufficient_quota", ProviderRefused, "insufficient_quota"),
        (1008, "policy", ProviderRefused, "1008"),
        (1002, "", ProviderRefused, "1002"),
    ],
)
def test_close_verdict(code: int, reason: str, error: type[Exception], word: str) -> None:
    verdict = close_verdict(code, reason)
    assert type(verdict) is error
    assert verdict.code == word
    assert str(code) in str(verdict)


def test_long_reason_is_cut() -> None:
    assert len(str(close_verdict(1011, "x" * 1000))) < 200


def test_message_is_scrubbed_and_cut() -> None:
    error = detail(code="invalid_value", message="sk-x " + "y" * 1000).verdict("why")
    assert "sk-x" not in str(error)
    assert len(str(error)) < 300


def test_message_about_the_key_is_left_out() -> None:
    error = detail(code="invalid_api_key", message="Incorrect API key provided: sk-***abcd").verdict("refused")
    assert str(error) == "refused: invalid_api_key"
    assert isinstance(error, ProviderRefused)


@pytest.mark.parametrize(
    "members", [{"type": "server_error"}, {"code": "rate_limit_exceeded"}, {"code": "session_expired"}]
)
def test_what_may_pass_is_unavailable(members: dict[str, object]) -> None:
    assert isinstance(detail(**members).verdict("x"), ProviderUnavailable)


def test_error_without_members_is_still_an_error() -> None:
    assert str(detail().verdict("refused")).startswith("refused: error")
