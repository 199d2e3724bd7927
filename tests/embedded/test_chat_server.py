"""The embedded server with a language model behind it: brain file, chat endpoint and client, over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.embedded.brain import load_script
from gateway.embedded.server import EmbeddedOptions, serve
from gateway.errors import ConfigurationError
from tests.embedded.telephone import Event, telephone
from tests.support.chat_server import Answer, chat_server, words

BRAIN = """\
name: model
greeting: Good day.
fallback: ["Pardon me?"]
chat:
  base_url: {url}
  model: small
"""


def brain(folder: Path, url: str, more: str = "") -> Path:
    file = folder / "brain.yaml"
    file.write_text(BRAIN.format(url=url) + more, encoding="utf-8")
    return file


def transcript(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_audio_transcript.delta")


@pytest.mark.heavy
async def test_client_hears_what_the_model_writes_until_it_cancels_the_reply(tmp_path: Path) -> None:
    async with chat_server() as model:
        model.answers += [
            Answer(words("I am a model. ", "And you?")),
            Answer(words("Let me think. ", "Well"), waits=True),
            Answer(status=500),
        ]
        options = EmbeddedOptions(port=0, brain=brain(tmp_path, model.url))
        async with serve(options) as server, telephone(server.url) as client:
            await client.write("Who are you?")
            assert transcript(await client.respond()) == "I am a model. And you?"
            await client.write("And why?")
            await client.send("response.create")
            begun = await client.until("response.output_audio.delta")
            assert transcript(begun) == "Let me think."
            await client.send("response.cancel")
            cancelled = (await client.until("response.done"))[-1]["response"]
            assert cancelled["status"] == "cancelled"
            await model.client_left.wait()
            await client.write("Are you there?")
            assert transcript(await client.respond()) == "Pardon me?"
    assert [message["content"] for message in model.requests[1]["messages"][1:]] == [
        "Who are you?",
        "I am a model. And you?",
        "And why?",
    ]


def test_key_comes_from_the_environment_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = brain(tmp_path, "http://127.0.0.1:1/v1", "  api_key: ${env:CHAT_KEY}\n")
    with pytest.raises(ConfigurationError, match=r"brain\.yaml:7.*CHAT_KEY is not set"):
        load_script(file)
    monkeypatch.setenv("CHAT_KEY", "secret")
    chat = load_script(file).chat
    assert chat is not None
    assert chat.api_key == "secret"
    assert "secret" not in repr(chat)


@pytest.mark.parametrize(
    "more", ["intents: {}\n", "recognizer: {engine: vosk}\n", "voices: {marin: {engine: flite}}\n"]
)
def test_brain_with_half_of_what_it_needs_is_refused(tmp_path: Path, more: str) -> None:
    file = tmp_path / "brain.yaml"
    file.write_text(BRAIN.partition("chat:")[0] + more, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"brain\.yaml"):
        load_script(file)


@pytest.mark.parametrize("url", ["127.0.0.1:11434", "ftp://host/v1", "http:///v1"])
def test_address_that_cannot_be_called_is_told_with_its_place(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"brain\.yaml:5:13: .base_url. is no address"):
        load_script(brain(tmp_path, url))
