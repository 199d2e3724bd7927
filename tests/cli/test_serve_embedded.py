"""`gateway serve-embedded`: what its options ask of the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.embedded import __main__ as module
from gateway.embedded.server import EmbeddedOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[EmbeddedOptions]:
    """What the server would have been started with."""
    found: list[EmbeddedOptions] = []

    async def run(options: EmbeddedOptions, _watches_parent: bool) -> None:
        found.append(options)

    monkeypatch.setattr(module, "_run", run)
    monkeypatch.delenv("GATEWAY_EMBEDDED_API_KEY", raising=False)
    return found


def test_server_is_started_as_it_is_by_itself(asked: list[EmbeddedOptions]) -> None:
    assert CliRunner().invoke(app, ["serve-embedded"]).exit_code == 0
    assert asked == [EmbeddedOptions()]


def test_every_option_reaches_the_server(asked: list[EmbeddedOptions]) -> None:
    options = {"host": "::1", "port": "9", "brain": "x.yaml", "api-key": "k", "audio-speed": "1", "max-age": "60"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert CliRunner().invoke(app, ["serve-embedded", *arguments]).exit_code == 0
    expected = EmbeddedOptions(host="::1", port=9, brain=Path("x.yaml"), api_key="k", audio_speed=1.0, max_age_s=60.0)
    assert asked == [expected]


def test_key_may_come_from_the_environment_and_is_in_no_picture_of_the_options(asked: list[EmbeddedOptions]) -> None:
    environment = {"GATEWAY_EMBEDDED_API_KEY": "secret"}
    assert CliRunner().invoke(app, ["serve-embedded"], env=environment).exit_code == 0
    assert asked[0].api_key == "secret"
    assert "secret" not in repr(asked[0])


def test_child_of_a_gateway_asks_for_no_key_whatever_the_environment(
    asked: list[EmbeddedOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_EMBEDDED_API_KEY", "secret")
    assert module.main(["--port", "0", "--parent-watch"]) == 0
    assert asked[0].api_key is None
