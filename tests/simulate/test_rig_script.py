"""What the scripted speech model says: events of the published schema, in the real order, with whole audio."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.media.codec import AudioFormat
from gateway.simulate.rig import script
from tests.support.realtime_schema import assert_valid


def events(data: bytes) -> list[dict[str, Any]]:
    """The events of unmasked text frames."""
    found = []
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        found.append(json.loads(data[start : start + size]))
        data = data[start + size :]
    return found


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_of_every_length_are_read_back(size: int) -> None:
    assert script.frame(b"x" * size).endswith(b"x" * size)
    assert events(script.frame(b'"' + b"x" * size + b'"')) == ["x" * size]


@pytest.mark.parametrize("piece_ms", [20, 60, 100, 300])
@pytest.mark.parametrize("output", [AudioFormat.PCM16_24K, AudioFormat.PCMU])
def test_a_reply_is_three_seconds_of_speech_with_words_all_along(output: AudioFormat, piece_ms: int) -> None:
    told = events(b"".join(script.reply(1, output, piece_ms)))
    for event in told:
        assert_valid(event, "server")
    kinds = [event["type"] for event in told]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.done"
    assert kinds.index("response.output_audio_transcript.delta") < kinds.index("response.output_audio.delta")
    audio = [base64.b64decode(event["delta"]) for event in told if event["type"] == "response.output_audio.delta"]
    assert {len(piece) for piece in audio} == {piece_ms * output.bytes_per_ms}
    assert sum(map(len, audio)) == script.REPLY_MS * output.bytes_per_ms
    words = [event["delta"] for event in told if event["type"] == "response.output_audio_transcript.delta"]
    (done,) = [event for event in told if event["type"] == "response.output_audio_transcript.done"]
    assert "".join(words) == done["transcript"]


def test_opening_and_turns_are_of_the_published_schema() -> None:
    session = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    turn = script.turn_began("turn_1", 300) + script.turn_ended("turn_1", 900)
    told = events(script.created() + script.updated(session) + turn)
    for event in told:
        assert_valid(event, "server")
    assert [event["type"] for event in told[:3]] == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
    ]
