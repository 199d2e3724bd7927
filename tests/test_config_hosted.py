"""Keys of realtime sessions that a hosted model alone can use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.config import Configuration, load_configuration
from gateway.errors import ConfigurationError
from gateway.realtime.session import ContextTruncation, HostedServer, Secret, SessionOptions

GOOD = """\
sip:
  listen: 127.0.0.1:5060
  trunks: {pbx: {peer: 127.0.0.1}}
dialplans: [plan.yaml]
realtime:
  default:
    provider: openai
    url: wss://h/v1
"""
SERVER = """\
    mcp:
      - label: crm
        url: https://crm.example/mcp
        authorization: ${env:TOKEN}
        headers: {X-Key: "${env:KEY}"}
"""

Load = Callable[..., Configuration]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str, environment: Mapping[str, str] | None = None) -> Configuration:
        file = tmp_path / "gateway.yaml"
        file.write_text(text)
        return load_configuration(file, {"TOKEN": "t0ken", "KEY": "k3y", **(environment or {})})

    return from_text


def session(load: Load, *keys: str) -> SessionOptions:
    text = GOOD + "".join(f"    {key}\n" for key in keys)
    return load(text).session_options({})["default"]


def test_session_asks_for_what_its_keys_say(load: Load) -> None:
    options = session(
        load,
        "transcription: gpt-transcribe",
        "languages: [de, en]",
        "keywords: [Xylocain, Özdemir]",
        "transcription_prompt: A practice.",
        "transcription_delay: low",
        "noise_reduction: far_field",
        "noise_reduction_strength: 0.5",
        "speed: 1.2",
        "reasoning: low",
        "max_output_tokens: 900",
        "parallel_tool_calls: false",
        "identify_callers: true",
        "turn_detection: {idle_timeout_ms: 8000}",
    )
    assert options.transcription_languages == ("de", "en")
    assert options.transcription_keywords == ("Xylocain", "Özdemir")
    assert (options.transcription_prompt, options.transcription_delay) == ("A practice.", "low")
    assert (options.noise_reduction_strength, options.output_speed, options.reasoning_effort) == (0.5, 1.2, "low")
    assert (options.max_output_tokens, options.parallel_tool_calls, options.identifies_callers) == (900, False, True)
    assert options.turn_detection.idle_timeout_ms == 8000


def test_nothing_is_asked_for_that_is_not_said(load: Load) -> None:
    options = session(load)
    bare = SessionOptions(url="wss://h/v1")
    for name in ("output_speed", "truncation", "hosted_servers", "parallel_tool_calls", "identifies_callers"):
        assert getattr(options, name) == getattr(bare, name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", ContextTruncation(policy="auto")),
        ("disabled", ContextTruncation(policy="disabled")),
        ("80%", ContextTruncation(policy="retention_ratio", retention_ratio=0.8)),
        ("null", None),
    ],
)
def test_truncation_is_a_word_or_a_share(load: Load, text: str, expected: ContextTruncation | None) -> None:
    assert session(load, f"truncation: {text}").truncation == expected


def test_server_is_passed_on_with_its_secrets_from_the_environment(load: Load) -> None:
    configuration = load(GOOD + SERVER)
    (server,) = configuration.session_options({})["default"].hosted_servers
    assert server == HostedServer(
        label="crm", url="https://crm.example/mcp", authorization=Secret("t0ken"), headers=(("X-Key", "k3y"),)
    )
    assert (server.require_approval, server.approves) == ("always", "never")
    for shown in (repr(configuration), repr(server)):
        assert "t0ken" not in shown
        assert "k3y" not in shown


def test_connector_tools_and_approvals_are_the_operators(load: Load) -> None:
    (server,) = session(
        load,
        "mcp: [{label: mail, connector: connector_gmail, tools: [search], description: Mail, require_approval: never,"
        " approve: [search, send]}]",
    ).hosted_servers
    assert (server.connector_id, server.url, server.allowed_tools) == ("connector_gmail", "", ("search",))
    assert (server.description, server.require_approval, server.approves) == ("Mail", "never", ("search", "send"))


@pytest.mark.parametrize("word", ["always", "never"])
def test_approval_may_be_a_word(load: Load, word: str) -> None:
    (server,) = session(load, f"mcp: [{{label: crm, url: 'https://h/', approve: {word}}}]").hosted_servers
    assert server.approves == word


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("truncation: most", "expected auto, disabled, or the share that is kept, as 80%"),
        ("truncation: 0.8", "expected auto, disabled, or the share that is kept, as 80%"),
        ("truncation: 120%", "expected auto, disabled, or the share that is kept, as 80%"),
        ("speed: 2", "speed"),
        ("noise_reduction_strength: 0.5", "expected it with noise_reduction only"),
        ("turn_detection: {kind: semantic_vad, idle_timeout_ms: 8000}", "expected it with kind server_vad only"),
        ("turn_detection: {idle_timeout_ms: 800}", "idle_timeout_ms"),
        ("mcp: [{label: crm}]", "expected url: https://HOST/…, or connector"),
        ("mcp: [{label: crm, url: 'https://h/', connector: c}]", "expected url: https://HOST/…, or connector"),
        ("mcp: [{label: crm, url: crm.example}]", "expected url: https://HOST/…"),
        ("mcp: [{label: c, url: 'https://h/'}, {label: c, url: 'https://i/'}]", "expected each label once"),
        ("mcp: [{label: 'a b', url: 'https://h/'}]", "label"),
        ("mcp: [{label: crm, url: 'https://h/', approve: sometimes}]", "approve"),
        ("mcp: [{label: crm, url: 'https://h/', require_approval: maybe}]", "require_approval"),
    ],
)
def test_what_cannot_be_meant_is_told_at_its_place(load: Load, key: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        session(load, key)
    (problem,) = caught.value.problems
    assert told in str(problem)
    assert problem.line >= 7


def test_embedded_model_calls_no_servers(load: Load) -> None:
    with pytest.raises(ConfigurationError, match="with a provider that calls them itself"):
        load(GOOD.replace("provider: openai", "provider: embedded") + SERVER)
