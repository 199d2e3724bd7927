"""What is sent to GPT-Live, as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live import codec
from gateway.realtime.session import HistoryItem, Message, Secret, SessionChange, SessionOptions, Tool, ToolExchange


def options(**changes: Any) -> SessionOptions:
    defaults: dict[str, Any] = {"url": "wss://host/v1", "model": "gpt-live-1"}
    return SessionOptions(**defaults | changes)


def started(**changes: Any) -> Any:
    return codec.session_start(options(**changes))["session"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://host/v1", "wss://host/v1/live/sessions"),
        ("https://host", "wss://host/v1/live/sessions"),
        ("http://host:8080/openai/v1/?key=a", "ws://host:8080/openai/v1/live/sessions?key=a"),
        (" ws://host/v1/live/sessions/ ", "ws://host/v1/live/sessions"),
        ("https://mine.openai.azure.com", "wss://mine.openai.azure.com/openai/v1/live/sessions"),
    ],
)
def test_url_names_the_sessions_and_no_model(url: str, expected: str) -> None:
    assert codec.live_url(options(url=url)) == expected


@pytest.mark.parametrize("url", ["ftp://host", "wss://", "wss://me:secret@host", "wss://host:0", "wss://[", "host"])
def test_an_unusable_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ProviderRefused) as caught:
        codec.live_url(options(url=url))
    assert caught.value.code == "url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "key", "expected"),
    [
        ("host", "sk-1\n", ("Authorization", "Bearer sk-1")),
        ("mine.openai.azure.com", "1a2b", ("api-key", "1a2b")),
        ("mine.services.ai.azure.com", "eyJ.eyJ.x", ("Authorization", "Bearer eyJ.eyJ.x")),
    ],
)
def test_key_goes_in_the_header_that_its_host_takes(host: str, key: str, expected: tuple[str, str]) -> None:
    assert codec.credentials(options(url=f"wss://{host}/v1", api_key=Secret(key))) == [expected]
    assert codec.credentials(options(url=f"wss://{host}/v1")) == []


def test_append_is_the_event_it_should_be() -> None:
    event = codec.append(b"\x00\xff\x80")
    assert json.loads(event) == {"type": "session.input_audio.append", "audio": "AP+A"}
    assert [codec.append_size(size) for size in (0, 1, 160, 961)] == [
        len(codec.append(bytes(size))) for size in (0, 1, 160, 961)
    ]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (AudioFormat.PCM16_24K, {"type": "audio/pcm", "rate": 24000}),
        (AudioFormat.PCM16_16K, {"type": "audio/pcm", "rate": 16000}),
        (AudioFormat.PCMU, {"type": "audio/pcmu", "rate": 8000}),
        (AudioFormat.PCMA, {"type": "audio/pcma", "rate": 8000}),
    ],
)
def test_start_has_one_format_for_both_directions_with_its_rate(form: AudioFormat, expected: object) -> None:
    assert started(output_format=form)["audio"] == {"format": expected}


def test_start_says_nothing_that_was_not_asked_for() -> None:
    assert started() == {
        "model": "gpt-live-1",
        "audio": {"format": {"type": "audio/pcm", "rate": 24000}},
        "delegation": {"type": "client"},
    }


def test_a_voice_is_a_name_or_one_of_ones_own() -> None:
    assert started(voice="marin")["audio"]["output"] == {"voice": "marin"}
    assert started(voice="voice_123")["audio"]["output"] == {"voice": {"id": "voice_123"}}


def test_tools_are_the_backends_and_the_voice_is_told_what_it_may_hand_on() -> None:
    tools = (Tool(name="transfer", description="Puts the caller through."), Tool(name="hang_up"))
    session = started(
        instructions="Be kind.",
        tools=tools,
        tool_choice="transfer",
        backend_model="gpt-big",
        max_output_tokens=5,
        reasoning_effort="low",
    )
    assert session["instructions"].startswith("Be kind.\n\n")
    assert session["instructions"].endswith("\n- transfer: Puts the caller through.\n- hang_up")
    backend = session["delegation"]["responses"]
    assert session["delegation"]["type"] == "responses"
    assert backend.pop("instructions").endswith("\n\nBe kind.")
    assert [tool["name"] for tool in backend.pop("tools")] == ["transfer", "hang_up"]
    assert backend == {
        "model": "gpt-big",
        "tool_choice": {"type": "function", "name": "transfer"},
        "max_output_tokens": 16,  # the least that is taken
        "reasoning": {"effort": "low"},
    }
    assert started(tools=tools)["delegation"]["responses"]["model"] == codec.BACKEND_MODEL


def test_history_becomes_messages_each_with_one_part() -> None:
    history: tuple[HistoryItem, ...] = (
        Message(role="system", text="The caller is known."),
        Message(role="user", text="Hello."),
        Message(role="assistant", text="Good morning."),
        ToolExchange(call_id="c", name="look", arguments='{"id": 1}', output='{"found": true}'),
    )
    assert [(item["role"], item["content"]) for item in started(history=history)["input"]] == [
        ("developer", [{"type": "input_text", "text": "The caller is known."}]),
        ("user", [{"type": "input_text", "text": "Hello."}]),
        ("assistant", [{"type": "output_text", "text": "Good morning."}]),
        (
            "developer",
            [
                {
                    "type": "input_text",
                    "text": 'The tool look was called with {"id": 1} and returned {"found": true}',
                }
            ],
        ),
    ]


def test_of_a_long_history_the_newest_is_kept() -> None:
    many = tuple(Message(role="user", text=f"{number}") for number in range(300))
    kept = [item["content"][0]["text"] for item in started(history=many)["input"]]
    assert kept == [f"{number}" for number in range(300 - codec.MAX_HISTORY_MESSAGES, 300)]
    long = tuple(Message(role="user", text=f"{number} " + "word " * 2000) for number in range(5))
    kept = [item["content"][0]["text"] for item in started(history=long)["input"]]
    assert [text.split()[0] for text in kept] == ["3", "4"]
    assert sum(codec.tokens(text) for text in kept) <= codec.MAX_HISTORY_TOKENS


def test_an_update_concerns_the_backend_alone() -> None:
    assert codec.session_update(SessionChange(instructions="New.")) is None
    change = codec.session_update(SessionChange(tools=(Tool(name="look"),), max_output_tokens=100))
    assert change == {
        "type": "session.update",
        "session": {
            "delegation": {
                "type": "responses",
                "responses": {
                    "tools": [
                        {
                            "type": "function",
                            "name": "look",
                            "description": "",
                            "parameters": {"type": "object", "properties": {}},
                        }
                    ],
                    "max_output_tokens": 100,
                },
            }
        },
    }


def test_an_append_names_its_delegation_even_where_there_is_none() -> None:
    assert list(codec.appends("thinking", "A fact.")) == [
        {"type": "session.thinking.append", "content": "A fact.", "delegation_id": None}
    ]
    assert list(codec.appends("commentary", "  ")) == []


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 9000, "日本語" * 500, "line\n" * 2000, "🙂 " * 700])
def test_a_long_text_is_cut_between_words_into_pieces_that_are_taken(text: str) -> None:
    pieces = codec.pieces(text, codec.MAX_APPEND_TOKENS)
    assert len(pieces) > 1
    assert all(0 < codec.tokens(piece) <= codec.MAX_APPEND_TOKENS for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    if "word" in text:
        assert {word for piece in pieces for word in piece.split()} == {"word"}
