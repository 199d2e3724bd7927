"""What errors and close codes mean for a call."""

from __future__ import annotations

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.realtime.fields import Fields
from gateway.realtime.openai.errors import BENIGN, CLOSE_VERDICTS, FATAL, VERDICTS, ErrorDetail, Verdict, close_verdict
from gateway.realtime.session import ResponseFinished, SessionFailed
from tests.support.openai_peer import Peer


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


# --- the table --------------------------------------------------------------------------------------------------------

KNOWN = {
    "fatal": "invalid_api_key missing_model invalid_model model_not_found beta_api_shape_disabled insufficient_quota "
    "credit_balance_exhausted billing_hard_limit_reached account_deactivated",
    "renew": "session_expired",
    "retry": "rate_limit_exceeded server_error",
    "ignore": "conversation_already_has_active_response response_cancel_not_active input_audio_buffer_commit_empty "
    "item_truncate_invalid_item_id item_retrieve_invalid_item_id",
    "report": "invalid_event invalid_json invalid_value unknown_parameter missing_required_parameter "
    "cannot_update_voice bad_response_create item_create_duplicate_item_id",
}
"""The codes of the Realtime API, by what a call does about each."""


@pytest.mark.parametrize(("verdict", "codes"), KNOWN.items())
def test_each_code_of_the_protocol_has_its_verdict(verdict: str, codes: str) -> None:
    assert {code: VERDICTS[code].value for code in codes.split()} == dict.fromkeys(codes.split(), verdict)


@pytest.mark.parametrize("code", sorted(VERDICTS))
def test_session_does_as_the_table_says(code: str) -> None:
    peer = Peer()
    told = peer.error(code)
    match VERDICTS[code]:
        case Verdict.FATAL | Verdict.RENEW:
            (failed,) = told
            assert isinstance(failed, SessionFailed)
            assert failed.error.is_retryable == (VERDICTS[code] is Verdict.RENEW)
            assert peer.begin() == []
        case Verdict.IGNORE:
            assert told == []
            assert (peer.statistics.benign_errors, peer.statistics.errors) == (1, 0)
        case Verdict.REPORT | Verdict.RETRY:
            assert told == []
            assert (peer.statistics.benign_errors, peer.statistics.errors) == (0, 1)
            assert len(peer.begin()) == 1


@pytest.mark.parametrize("code", sorted(VERDICTS))
def test_error_while_opening_may_be_tried_again_as_the_table_says(code: str) -> None:
    peer = Peer(is_ready=False)
    peer.send("session.created")
    (failed,) = peer.error(code)
    assert isinstance(failed, SessionFailed)
    assert failed.error.is_retryable == (VERDICTS[code] in (Verdict.RENEW, Verdict.RETRY))


@pytest.mark.parametrize("code", sorted(VERDICTS))
def test_reply_that_fails_is_judged_by_the_table(code: str) -> None:
    peer = Peer()
    peer.begin()
    told = peer.end(status="failed", status_details={"type": "failed", "error": {"code": code, "message": "no"}})
    finished = told[0]
    assert isinstance(finished, ResponseFinished)
    assert finished.error is not None
    assert finished.error.is_retryable == (VERDICTS[code] in (Verdict.RENEW, Verdict.RETRY))
    assert [type(event) for event in told[1:]] == [SessionFailed] * (VERDICTS[code] in (Verdict.FATAL, Verdict.RENEW))


def test_sets_are_those_of_the_table() -> None:
    assert {code for code, verdict in VERDICTS.items() if verdict is Verdict.IGNORE} == BENIGN
    assert {code for code, verdict in VERDICTS.items() if verdict is Verdict.FATAL} == FATAL


def test_close_code_without_a_reason_may_be_tried_again_or_not() -> None:
    retryable = [code for code in range(1000, 5000) if close_verdict(code, "").is_retryable]
    assert retryable == [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015]
    assert retryable == sorted(code for code, verdict in CLOSE_VERDICTS.items() if verdict is Verdict.RENEW)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 1.5s. Visit ...", 1.5),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 2m.", 120),
        ("Please try again later.", None),
        ("try again in 9999999s", None),
    ],
)
def test_wait_that_a_message_asks_for_is_kept(message: str, seconds: float | None) -> None:
    error = detail(code="rate_limit_exceeded", message=message).verdict("x")
    assert error.retry_after_s == (None if seconds is None else pytest.approx(seconds))


def test_wait_of_a_limit_that_is_reached_stands_in_for_one_not_told() -> None:
    peer = Peer()
    limits = [{"name": "tokens", "limit": 5, "remaining": 0, "reset_seconds": 7}]
    limits.append({"name": "requests", "limit": 5, "remaining": 1, "reset_seconds": 90})
    peer.send("rate_limits.updated", rate_limits=limits)
    peer.begin()
    details = {"type": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow down"}}
    (finished,) = peer.end(status="failed", status_details=details)
    assert isinstance(finished, ResponseFinished)
    assert isinstance(finished.error, ProviderUnavailable)
    assert finished.error.retry_after_s == 7
