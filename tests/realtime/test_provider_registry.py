"""Who provides sessions: by name, by entry point of a package that is really there, and by none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.config import load_configuration
from gateway.errors import ConfigurationError, ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime import provider_registry
from gateway.realtime.profile import profile_of
from gateway.realtime.session import (
    RealtimeSession,
    SessionOptions,
    open_session,
    providers,
    register_provider,
)

GOOD = """
from dataclasses import dataclass
from typing import ClassVar

from gateway.media.codec import AudioFormat
from gateway.realtime.profile import ProviderProfile
from gateway.realtime.session import Capabilities

CAPABILITIES = Capabilities(
    input_formats=(AudioFormat.PCM16_16K,), output_formats=(AudioFormat.PCM16_8K,), turn_detections=("server_vad",),
    has_truncate=False, has_cancel=False, has_tools=False, usage_unit="none", max_session_s=None,
)

@dataclass
class Session:
    options: object
    profile: ClassVar = ProviderProfile(capabilities=CAPABILITIES, url="wss://acme.example")

NOTHING = 5
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package on the path as an installer would: its module, and a dist-info that names its entry points."""
    monkeypatch.setattr(provider_registry, "_factories", dict(provider_registry._factories))
    monkeypatch.setattr(provider_registry, "_found", {})
    for name in ("acme_voice", "zeta_voice"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def put(
        package: str = "acme_voice", value: str = "acme_voice:Session", *, name: str = "acme", code: str = GOOD
    ) -> None:
        folder = tmp_path / package
        info = folder / f"{package}-1.2.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[gateway.realtime_providers]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(folder)

    return put


def session(provider: str) -> RealtimeSession:
    return open_session(SessionOptions(provider=provider, url="ws://h", model="m", input_format=AudioFormat.PCM16_16K))


def test_our_own_are_there_and_imported_only_when_they_are_wanted() -> None:
    assert {"openai", "gemini"} <= set(providers())
    code = "import sys, gateway.realtime; sys.exit('gateway.realtime.gemini.session' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_provider_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ProviderRefused, match=r"no realtime provider is called nobody \(registered: .*gemini.*openai"):
        session("nobody")


def test_registered_provider_makes_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_registry, "_factories", {})
    made: list[SessionOptions] = []

    def factory(options: SessionOptions) -> RealtimeSession:
        made.append(options)
        return SimpleNamespace()  # type: ignore[return-value]

    register_provider("mine", factory)
    session("mine")
    assert [options.provider for options in made] == ["mine"]


def test_our_own_that_is_not_installed_says_so(install: Install) -> None:
    del install
    register_provider("mine", "gateway.realtime.nowhere:Session")
    with pytest.raises(ProviderRefused, match=r"mine is not installed: .*nowhere"):
        session("mine")


def test_package_of_others_provides_by_its_entry_point(install: Install) -> None:
    install()
    assert "acme" in providers()
    assert type(session("acme")).__module__ == "acme_voice"
    profile = profile_of("acme")
    assert profile is not None
    assert profile.linear_formats == (AudioFormat.PCM16_16K, AudioFormat.PCM16_8K)


def test_entry_points_are_looked_for_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    session("acme")
    monkeypatch.setattr(provider_registry, "entry_points", None)
    assert type(session("acme")).__module__ == "acme_voice"


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("import nowhere_to_be_found", "acme_voice:Session", "cannot be imported .*: ModuleNotFoundError: No module"),
        ("1 / 0", "acme_voice:Session", "cannot be imported .*: ZeroDivisionError"),
        (GOOD, "acme_voice:Missing", "cannot be imported .*: AttributeError"),
        (GOOD, "acme_voice:NOTHING", "is no factory of sessions: acme_voice:NOTHING"),
    ],
)
def test_package_that_is_broken_is_refused_by_its_name(install: Install, code: str, value: str, expected: str) -> None:
    install(code=code, value=value)
    with pytest.raises(ProviderRefused, match=f"realtime provider acme of package acme_voice 1.2 {expected}"):
        session("acme")
    assert profile_of("acme") is None
    assert session("gemini").capabilities.has_tools


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise KeyError('x')", "realtime provider acme of package acme_voice 1.2 makes no session: KeyError: 'x'"),
        ("from gateway.errors import ProviderRefused; raise ProviderRefused('no g711')", "^no g711$"),
    ],
)
def test_factory_that_fails_is_refused_by_its_name_unless_it_refuses_itself(
    install: Install, body: str, expected: str
) -> None:
    install(code=f"def make(options):\n    {body}\n", value="acme_voice:make")
    with pytest.raises(ProviderRefused, match=expected):
        session("acme")


def test_two_packages_with_one_name_are_refused_by_their_names(install: Install) -> None:
    install()
    install("zeta_voice", "zeta_voice:Session")
    with pytest.raises(ProviderRefused, match=r"acme is claimed by acme_voice 1\.2 and zeta_voice 1\.2"):
        session("acme")


def test_package_takes_no_name_of_ours(install: Install) -> None:
    install(name="gemini")
    assert type(session("gemini")).__module__ == "gateway.realtime.gemini.session"


# --- in the configuration ---------------------------------------------------------------------------------------------


def configured(folder: Path, provider: str) -> SessionOptions:
    file = folder / "gateway.yaml"
    file.write_text(f"realtime:\n  default:\n    provider: {provider}\n    model: m\n")
    return load_configuration(file, {}).session_options({})["default"]


def test_configuration_knows_providers_of_other_packages(install: Install, tmp_path: Path) -> None:
    install()
    options = configured(tmp_path, "acme")
    assert (options.provider, options.url) == ("acme", "wss://acme.example")
    assert (options.input_format, options.output_format) == (AudioFormat.PCM16_16K, AudioFormat.PCM16_8K)


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("acne", r"gateway.yaml:3:15: .*expected one of acme, .*gemini"),
        ("acme", r"gateway.yaml:3:15: .*package acme_voice 1.2 cannot be imported .*expected its package mended"),
    ],
)
def test_configuration_says_what_is_wrong_with_a_provider(
    install: Install, tmp_path: Path, provider: str, expected: str
) -> None:
    install(code="import nowhere_to_be_found")
    with pytest.raises(ConfigurationError, match=expected):
        configured(tmp_path, provider)


def test_configuration_of_gemini(tmp_path: Path) -> None:
    options = configured(tmp_path, "gemini")
    assert options.url == "wss://generativelanguage.googleapis.com"
    assert (options.input_format, options.output_format) == (AudioFormat.PCM16_16K, AudioFormat.PCM16_24K)
    assert open_session(options).capabilities.has_resumption


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("url: ''", "has no model, which gemini needs"),
        ("model: m\n    audio: g711", "'audio' is g711, which gemini does not take"),
        ("model: m\n    language: en", "'language' is nothing that gemini has"),
        ("model: m\n    turn_detection: {kind: semantic_vad}", "'kind' is semantic_vad, which gemini does not have"),
    ],
)
def test_configuration_that_gemini_could_not_follow_is_refused(tmp_path: Path, keys: str, expected: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"realtime:\n  default:\n    provider: gemini\n    {keys}\n")
    with pytest.raises(ConfigurationError, match=expected):
        load_configuration(file, {})
