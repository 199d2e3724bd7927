"""The canonical line of a call, and what it must not tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.calls.events import Outcome, RecordingConsent
from gateway.calls.logbook import CallLogbook, masked
from gateway.calls.record import CallRecord, RecordingSummary, Speaker, Speech
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.realtime.session import Usage


def record() -> CallRecord:
    done = CallRecord(
        call_id="c1",
        trunk="pbx",
        caller="+4930123456",
        called="7000",
        route="talk",
        started_at=datetime(2026, 11, 20, tzinfo=UTC),
        offered_s=1.0,
        answered_s=1.25,
        established_s=1.3,
        ended_s=11.3,
        outcome=Outcome.TRANSFERRED,
    )
    done.usage = Usage(input_tokens=17, cached_tokens=8, input_audio_tokens=11, output_tokens=5, output_audio_tokens=3)
    done.transcription = Usage(input_tokens=2, output_tokens=1, seconds=1.5)
    done.cost, done.currency = Decimal("0.0123456"), "USD"
    return done


@pytest.mark.parametrize(
    ("number", "shown"),
    [("+4930123456", "…456"), ("7000", "…000"), ("12", "…12"), ("anonymous", "anonymous"), ("", "")],
)
def test_numbers_are_masked_to_their_last_three_digits(number: str, shown: str) -> None:
    assert masked(number) == shown


def test_one_line_tells_how_a_call_went() -> None:
    with capture_logs() as lines:
        CallLogbook().call_ended(record())
    (line,) = lines
    assert (line["event"], line["log_level"], line["outcome"]) == ("call ended", "info", "transferred")
    assert (line["duration_s"], line["setup_ms"], line["input_tokens"], line["output_tokens"]) == (10.0, 250, 17, 5)
    assert line["cached_tokens"] == 8
    assert "4930123" not in str(line)


def test_the_line_tells_what_a_call_has_cost_and_for_what() -> None:
    with capture_logs() as lines:
        CallLogbook().call_ended(record())
    (line,) = lines
    assert (line["cost"], line["currency"]) == (0.012346, "USD")
    assert (line["cached_tokens"], line["input_audio_tokens"], line["output_audio_tokens"]) == (8, 11, 3)
    assert (line["transcription_tokens"], line["billed_s"]) == (3, 1.5)


def test_a_cost_that_nobody_knows_is_not_told_as_nothing() -> None:
    unknown = record()
    unknown.cost = None
    with capture_logs() as lines:
        CallLogbook().call_ended(unknown)
    assert lines[0]["cost"] is None


def test_the_line_tells_what_the_audio_was_like_at_both_ends() -> None:
    done = record()
    engine = MediaEngine(MediaOptions(max_legs=1))
    engine.open_leg(LegOptions(payload_type=0, format="PCMU"), 1.0)
    done.media = replace(
        engine.statistics(0),
        packets_received=500,
        packets_lost=3,
        jitter_ms=1.234,
        mos=4.31,
        reports_received=2,
        round_trip_ms=20.06,
        remote_lost=7,
        remote_jitter_ms=2.5,
        remote_mos=4.12,
    )
    done.one_way_audio = ("tx refused",)
    with capture_logs() as lines:
        CallLogbook().call_ended(done)
    line = lines[0]
    assert (line["rtp_received"], line["rtp_lost"], line["jitter_ms"], line["mos"]) == (500, 3, 1.2, 4.31)
    assert (line["rtcp_received"], line["rtt_ms"]) == (2, 20.1)
    assert (line["remote_lost"], line["remote_jitter_ms"], line["remote_mos"]) == (7, 2.5, 4.12)
    assert line["one_way_audio"] == ["tx refused"]


def test_the_line_of_a_call_without_audio_has_the_same_first_figures() -> None:
    with capture_logs() as lines:
        CallLogbook().call_ended(record())
    assert (lines[0]["rtp_received"], lines[0]["rtp_sent"], lines[0]["rtp_lost"]) == (0, 0, 0)
    assert lines[0]["one_way_audio"] == []


@pytest.mark.parametrize("srtp", [None, "AES_CM_128_HMAC_SHA1_80"])
def test_the_line_tells_whether_audio_was_encrypted(srtp: str | None) -> None:
    done = record()
    done.srtp = srtp
    with capture_logs() as lines:
        CallLogbook().call_ended(done)
    assert lines[0]["srtp"] == srtp


def test_operator_may_see_whole_numbers() -> None:
    with capture_logs() as lines:
        CallLogbook(masks_numbers=False).call_ended(record())
    assert lines[0]["from"] == "+4930123456"


def test_words_are_never_logged() -> None:
    with capture_logs() as lines:
        CallLogbook().spoken(record(), Speech(speaker=Speaker.CALLER, text="my secret", at_ms=1))
    assert "secret" not in str(lines)


@pytest.mark.parametrize("identity", [None, "unverified"])
def test_start_of_a_call_tells_what_identity_headers_are_worth(identity: str | None) -> None:
    started = record()
    started.identity = identity
    with capture_logs() as lines:
        CallLogbook().call_started(started)
    assert (lines[0]["event"], lines[0]["identity"]) == ("call started", identity)


@pytest.mark.parametrize(
    ("masks_numbers", "connected", "shown"),
    [
        (True, "+4930987654", "…654"),
        (False, "+4930987654", "+4930987654"),
        (True, "anonymous", "anonymous"),
        (True, "", ""),
        (True, None, None),
    ],
)
def test_who_is_connected_is_told_at_once_and_at_the_end_and_masked_like_other_numbers(
    masks_numbers: bool, connected: str | None, shown: str | None
) -> None:
    done, book = record(), CallLogbook(masks_numbers=masks_numbers)
    done.connected = connected
    with capture_logs() as lines:
        book.party_changed(done)
        book.call_ended(done)
    assert [(line["event"], line["connected"]) for line in lines] == [("connected line", shown), ("call ended", shown)]
    assert lines[0]["call_id"] == "c1"


def test_the_line_tells_where_the_recording_is_and_why_it_ended() -> None:
    done = record()
    done.consent = RecordingConsent.AGREED
    done.recording = RecordingSummary(file=Path("/kept/a.wav"), seconds=3.14159, ended_early="disk full")
    with capture_logs() as lines:
        CallLogbook().call_ended(record())
        CallLogbook().call_ended(done)
    told = [[line[f"recording{key}"] for key in ("", "_s", "_ended", "_consent")] for line in lines]
    assert told == [[None, None, None, None], ["/kept/a.wav", 3.1, "disk full", "agreed"]]
