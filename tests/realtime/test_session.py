"""The vocabulary that calls share with every provider."""

from __future__ import annotations

import pickle

import pytest

from gateway.media.codec import AudioFormat
from gateway.realtime.scrub import scrubber
from gateway.realtime.session import (
    Capabilities,
    HostedServer,
    Secret,
    SessionOptions,
    SpeechStarted,
    TurnDetection,
    TurnDetectionKind,
)

KEY = "sk-never-shown"


def test_secret_is_shown_by_nothing_but_reveal() -> None:
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{[secret]}"):
        assert KEY not in text


def test_secret_is_scrubbed_from_foreign_text() -> None:
    assert Secret(KEY).scrub(f"bad key {KEY}!") == "bad key ***!"
    assert Secret("").scrub("nothing to scrub") == "nothing to scrub"
    assert Secret(f"{KEY}\n").scrub(f"bad key {KEY}!") == "bad key ***!"
    assert Secret(" \n").scrub("nothing to scrub") == "nothing to scrub"


def test_credentials_in_headers_are_scrubbed_and_short_words_are_not() -> None:
    server = HostedServer(label="crm", authorization=Secret("t0ken-of-the-server"), headers=(("X-Tenant", "7"),))
    options = SessionOptions(
        url="ws://h",
        api_key=Secret(KEY),
        headers=(("Authorization", "Bearer portkey-secret"), ("X-Trace", "on")),
        hosted_servers=(server,),
    )
    told = f"on 7: {KEY}, Bearer portkey-secret, then portkey-secret and t0ken-of-the-server"
    assert scrubber(options)(told) == "on 7: ***, Bearer ***, then *** and ***"


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")


def test_options_show_neither_key_nor_headers() -> None:
    options = SessionOptions(url="wss://h/v1", api_key=Secret(KEY), headers=(("api-key", KEY),))
    assert KEY not in repr(options)


def test_events_cannot_be_changed() -> None:
    event = SpeechStarted(item_id="item_1", audio_start_ms=10)
    with pytest.raises(AttributeError):
        event.item_id = "item_2"  # type: ignore[misc]


def test_events_survive_a_copy() -> None:
    event = SpeechStarted(item_id="item_1", audio_start_ms=10)
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301


@pytest.mark.parametrize(
    ("kinds", "server", "manual"),
    [
        (("server_vad", "none"), True, True),
        (("none",), False, True),
        (("semantic_vad",), True, False),
        ((), False, False),
    ],
)
def test_capabilities_tell_who_finds_the_turns(
    kinds: tuple[TurnDetectionKind, ...], server: bool, manual: bool
) -> None:
    capabilities = Capabilities(
        input_formats=(AudioFormat.PCMU,),
        output_formats=(AudioFormat.PCMU,),
        turn_detections=kinds,
        has_truncate=True,
        has_cancel=True,
        has_tools=True,
        usage_unit="tokens",
        max_session_s=None,
    )
    assert (capabilities.has_server_turns, capabilities.has_manual_turns) == (server, manual)


def test_default_turn_detection_says_its_silence() -> None:
    assert TurnDetection().silence_duration_ms == 500
