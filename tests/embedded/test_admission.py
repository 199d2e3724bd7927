"""Who may open a session, and which, decided from a request alone."""

from __future__ import annotations

import json
import random

import pytest

from gateway.embedded.admission import Admission, Credentials, NotAdmitted
from gateway.embedded.client_secrets import ClientSecrets
from gateway.embedded.events import Identities
from gateway.embedded.session import AnyConfig, SessionConfig, TranscriptionConfig

NOW = 1_700_000_000.0
TARGET = "/v1/realtime?model=gpt-realtime-2.1"


@pytest.fixture
def secrets() -> ClientSecrets:
    return ClientSecrets(Identities(random.Random(3)))


def admitted(
    secrets: ClientSecrets,
    target: str = TARGET,
    *,
    api_key: str | None = None,
    shown: str = "",
    beta: str = "",
    now: float = NOW,
) -> AnyConfig:
    credentials = Credentials.of([f"Bearer {shown}"] if shown else [], [])
    return Admission(api_key, secrets).admit(target, credentials, beta=beta, now=now)


def refused(secrets: ClientSecrets, target: str = TARGET, **given: str | float | None) -> tuple[str, str, int]:
    with pytest.raises(NotAdmitted) as caught:
        admitted(secrets, target, **given)  # type: ignore[arg-type]
    return caught.value.code, caught.value.close_reason, caught.value.close_code


def test_session_is_of_the_model_and_kind_that_the_query_names(secrets: ClientSecrets) -> None:
    assert admitted(secrets) == SessionConfig(model="gpt-realtime-2.1")
    assert admitted(secrets, "/v1/realtime?intent=realtime&model=x") == SessionConfig(model="x")
    assert isinstance(admitted(secrets, "/v1/realtime?intent=transcription"), TranscriptionConfig)


@pytest.mark.parametrize("query", ["", "?", "?model=", "?intent=realtime"])
def test_query_without_a_model_is_told_what_is_missing(secrets: ClientSecrets, query: str) -> None:
    expected = ("missing_model", "invalid_request_error.missing_model", 4000)
    assert refused(secrets, "/v1/realtime" + query) == expected


def test_call_of_another_connection_cannot_be_joined(secrets: ClientSecrets) -> None:
    assert refused(secrets, "/v1/realtime?call_id=rtc_1")[0] == "invalid_call_id"


def test_beta_protocol_is_refused_before_all_else(secrets: ClientSecrets) -> None:
    expected = ("beta_api_shape_disabled", "invalid_request_error.beta_api_shape_disabled", 4000)
    assert refused(secrets, "/v1/realtime", api_key="right", beta="realtime=v1") == expected


@pytest.mark.parametrize("shown", ["", "wrong", "rightright", "ek_right"])
def test_wrong_key_is_refused(secrets: ClientSecrets, shown: str) -> None:
    expected = ("invalid_api_key", "invalid_request_error.invalid_api_key", 3000)
    assert refused(secrets, api_key="right", shown=shown) == expected


def test_refusal_shows_the_beginning_of_a_long_key_and_nothing_of_a_short_one(secrets: ClientSecrets) -> None:
    with pytest.raises(NotAdmitted, match=r"provided: sk-a\*\*\*$"):
        admitted(secrets, api_key="right", shown="sk-abcdefghijk")
    with pytest.raises(NotAdmitted, match=r"provided: \*\*\*$"):
        admitted(secrets, api_key="right", shown="secret")


@pytest.mark.parametrize("authorization", ["Bearer right", "bearer  right ", "Basic x"])
def test_key_is_read_from_either_place(authorization: str) -> None:
    by_protocol = Credentials.of([authorization], ["realtime, openai-insecure-api-key.other", "x"])
    assert by_protocol.show("other")
    assert by_protocol.show("right") == ("right" in authorization)
    assert not by_protocol.show("")


def test_without_a_key_of_its_own_a_server_takes_any_but_an_outdated_one(secrets: ClientSecrets) -> None:
    assert admitted(secrets, shown="anything")
    assert refused(secrets, shown="ek_unknown")[0] == "invalid_api_key"


def test_ephemeral_key_opens_sessions_of_its_settings_until_it_expires(secrets: ClientSecrets) -> None:
    session = {"type": "realtime", "model": "m", "instructions": "Sing."}
    body = {"expires_after": {"anchor": "created_at", "seconds": 10}, "session": session}
    key = secrets.answer(json.dumps(body).encode(), NOW)["value"]
    for _ in range(2):
        opened = admitted(secrets, "/v1/realtime", api_key="right", shown=key, now=NOW + 9)
        assert opened == SessionConfig(model="m", instructions="Sing.")
    assert admitted(secrets, api_key="right", shown=key) == SessionConfig(
        model="gpt-realtime-2.1", instructions="Sing."
    )
    assert refused(secrets, api_key="right", shown=key, now=NOW + 10)[0] == "invalid_api_key"


def test_ephemeral_key_decides_the_kind_of_its_sessions(secrets: ClientSecrets) -> None:
    key = secrets.answer(b'{"session": {"type": "transcription"}}', NOW)["value"]
    assert isinstance(admitted(secrets, "/v1/realtime?model=x", shown=key), TranscriptionConfig)
