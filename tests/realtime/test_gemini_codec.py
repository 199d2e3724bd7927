"""Addresses, the setup and the pieces of messages."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.errors import ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime.gemini import codec
from gateway.realtime.session import Secret, SessionOptions, Tool, TurnDetection
from tests.support.gemini_server import _CLIENT, PATH, check

VERTEX = "wss://europe-west4-aiplatform.googleapis.com/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"
TOKEN = "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained"


def options(**changes: Any) -> SessionOptions:
    return SessionOptions(**{"url": "wss://h", "model": "gemini-x"} | changes)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://h", f"wss://h{PATH}?key=k"),
        ("https://h/", f"wss://h{PATH}?key=k"),
        ("http://h:8080/own", "ws://h:8080/own?key=k"),
        ("wss://h/own?a=b", "wss://h/own?a=b&key=k"),
        ("wss://h/own?key=other", "wss://h/own?key=other"),
        (f"wss://h{TOKEN}", f"wss://h{TOKEN}?access_token=k"),
        (VERTEX, VERTEX),
    ],
)
def test_address_and_key(url: str, expected: str) -> None:
    assert codec.live_url(options(url=url, api_key=Secret(" k\n"))) == expected


def test_address_without_a_key() -> None:
    assert codec.live_url(options()) == f"wss://h{PATH}"


@pytest.mark.parametrize(
    "url", ["", "h", "ftp://h", "wss://", "wss://me:secret@h", "wss://h:0", "wss://[", "wss://h:x"]
)
def test_unusable_address_is_refused_unseen(url: str) -> None:
    with pytest.raises(ProviderRefused) as caught:
        codec.live_url(options(url=url))
    assert "secret" not in str(caught.value)


def test_vertex_is_shown_a_token() -> None:
    assert codec.authorization(options(url=VERTEX, api_key=Secret("t\n"))) == [("Authorization", "Bearer t")]
    assert codec.authorization(options(url=VERTEX)) == []
    assert codec.authorization(options(api_key=Secret("k"))) == []


def test_setup_says_what_was_asked_and_leaves_the_rest_to_the_provider() -> None:
    setup = codec.setup(options())
    check(setup, _CLIENT)
    assert setup["setup"] == {
        "model": "models/gemini-x",
        "generationConfig": {"responseModalities": ["AUDIO"]},
        "realtimeInputConfig": {
            "automaticActivityDetection": {"prefixPaddingMs": 300, "silenceDurationMs": 500},
            "activityHandling": "START_OF_ACTIVITY_INTERRUPTS",
        },
        "outputAudioTranscription": {},
        "contextWindowCompression": {"slidingWindow": {}},
        "sessionResumption": {},
    }


def test_setup_of_everything() -> None:
    setup = codec.setup(
        options(
            model="projects/p/models/m",
            voice="Kore",
            instructions="Be kind.",
            transcription_model="own",
            tools=(Tool(name="look", description="Looks."),),
            max_output_tokens=100,
            reasoning_effort="low",
            resume_handle="h",
            turn_detection=TurnDetection(interrupts_response=False),
        )
    )
    check(setup, _CLIENT)
    content: Any = setup["setup"]
    assert content["model"] == "projects/p/models/m"
    assert content["generationConfig"]["speechConfig"] == {
        "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}
    }
    assert content["generationConfig"]["maxOutputTokens"] == 100
    assert content["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW"}
    assert content["systemInstruction"] == {"parts": [{"text": "Be kind."}]}
    assert content["inputAudioTranscription"] == {}
    assert content["tools"] == [{"functionDeclarations": [{"name": "look", "description": "Looks."}]}]
    assert content["sessionResumption"] == {"handle": "h"}
    assert content["realtimeInputConfig"]["activityHandling"] == "NO_INTERRUPTION"


def test_tools_that_must_not_be_chosen_are_not_declared() -> None:
    assert "tools" not in codec.setup(options(tools=(Tool(name="look"),), tool_choice="none"))["setup"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("threshold", "start", "end"),
    [
        (0.3, "START_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW"),
        (0.5, None, None),
        (0.7, "START_SENSITIVITY_LOW", "END_SENSITIVITY_HIGH"),
    ],
)
def test_threshold_is_a_sensitivity(threshold: float, start: str | None, end: str | None) -> None:
    setup: Any = codec.setup(options(turn_detection=TurnDetection(threshold=threshold)))["setup"]
    detection = setup["realtimeInputConfig"]["automaticActivityDetection"]
    assert (detection.get("startOfSpeechSensitivity"), detection.get("endOfSpeechSensitivity")) == (start, end)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 640])
def test_audio_message_and_its_size(size: int) -> None:
    head = codec.audio_head(AudioFormat.PCM16_16K)
    message = codec.audio(head, b"\x01" * size)
    data = base64.b64encode(b"\x01" * size).decode()
    assert json.loads(message) == {"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": data}}}
    assert codec.audio_size(head, size) == len(message)
