"""Ephemeral keys: what is asked for, what is answered, what is remembered."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from gateway.embedded import client_secrets
from gateway.embedded.client_secrets import ClientSecrets
from gateway.embedded.events import Identities
from gateway.embedded.protocol import RefusedEvent

NOW = 1_700_000_000.25


@pytest.fixture
def secrets() -> ClientSecrets:
    return ClientSecrets(Identities(random.Random(3)))


def test_key_is_answered_with_its_end_and_the_whole_session(secrets: ClientSecrets) -> None:
    session = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    answer = secrets.answer(json.dumps({"session": session}).encode(), NOW)
    assert answer["value"].startswith("ek_")
    assert answer["expires_at"] == int(NOW) + 600
    shown = answer["session"]
    assert (shown["object"], shown["expires_at"]) == ("realtime.session", 0)
    assert shown["audio"]["output"]["voice"] == "cedar"
    assert shown["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_nothing_need_be_said_of_the_session(secrets: ClientSecrets) -> None:
    assert secrets.answer(b"", NOW)["session"]["type"] == "realtime"


@pytest.mark.parametrize(
    ("body", "code", "parameter"),
    [
        (b"{", "invalid_json", None),
        (b"[]", "invalid_value", None),
        (b'{"ttl": 1}', "unknown_parameter", "ttl"),
        (b'{"expires_after": {"seconds": 9}}', "invalid_value", "expires_after.seconds"),
        (b'{"expires_after": {"seconds": 7201}}', "invalid_value", "expires_after.seconds"),
        (b'{"expires_after": {"anchor": "now"}}', "invalid_value", "expires_after.anchor"),
        (b'{"session": {"type": "live"}}', "invalid_value", "session.type"),
        (b'{"session": {"type": "realtime", "voice": "x"}}', "unknown_parameter", "session.voice"),
        (b'{"session": {"type": "transcription", "tools": []}}', "unknown_parameter", "session.tools"),
        (b'{"session": ' + b"[" * 70 + b"]" * 70 + b"}", "invalid_value", None),
    ],
)
def test_bad_request_is_refused_with_what_is_wrong(
    secrets: ClientSecrets, body: bytes, code: str, parameter: str | None
) -> None:
    with pytest.raises(RefusedEvent) as caught:
        secrets.answer(body, NOW)
    assert (caught.value.code, caught.value.parameter) == (code, parameter)


def test_no_more_keys_are_remembered_than_the_limit_and_the_newest_are(
    secrets: ClientSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_secrets, "MAX_SECRETS", 3)
    keys: list[Any] = [secrets.answer(b"", NOW)["value"] for _ in range(5)]
    assert [secrets.session_of(key, NOW) is not None for key in keys] == [False, False, True, True, True]
