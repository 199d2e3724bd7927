"""docs/providers.md says of every provider what the gateway does, and its examples are good configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import load_configuration
from gateway.realtime.openai.dialects import DIALECTS
from gateway.realtime.profile import profile_of
from gateway.realtime.session import open_session

DOCUMENT = Path(__file__).parents[1] / "docs" / "providers.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^## (\w+)\n\n```yaml\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)


NAMES = {*DIALECTS, "gemini", "openai_live"}


def row(name: str) -> str:
    """The table's line for one provider."""
    profile = profile_of(name)
    assert profile is not None
    able = profile.capabilities
    assert profile.linear_formats is not None
    heard, spoken = (form.sample_rate_hz // 1000 for form in profile.linear_formats)
    audio = f"{heard} kHz" if heard == spoken else f"{heard} kHz in, {spoken} kHz out"
    cells = [
        f"`{name}`",
        audio + (", G.711" if profile.has_g711 else ""),
        ", ".join(f"`{kind}`" for kind in able.turn_detections if kind != "none"),
        *("yes" if has else "no" for has in (able.has_truncate, able.has_questions, able.has_deletion)),
        able.usage_unit,
        "no end" if able.max_session_s is None else f"{able.max_session_s / 60:g} min",
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_table_has_what_the_provider_can_do(name: str) -> None:
    assert row(name) in TEXT.splitlines()


def test_every_provider_has_a_chapter() -> None:
    assert set(re.findall(r"^## ([a-z_]+)$", TEXT, re.MULTILINE)) == NAMES
    assert {name for name, _ in EXAMPLES} == NAMES - {"embedded"}


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_example_is_a_good_configuration_of_its_provider(name: str, example: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(example, encoding="utf-8")
    options = load_configuration(path, dict.fromkeys(re.findall(r"env:(\w+)", example), "key")).session_options({})[
        "default"
    ]
    assert options.provider == name
    profile = profile_of(name)
    assert profile is not None
    assert open_session(options).capabilities == profile.capabilities


@pytest.mark.parametrize("name", sorted(NAMES))
def test_chapter_names_what_cannot_be_configured(name: str) -> None:
    chapter = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    text = next(part for part in chapter if part.startswith(f"{name}\n"))
    profile = profile_of(name)
    assert profile is not None
    if name != "embedded":
        assert ("No `noise_reduction`" in text) == ("noise_reduction" in profile.lacks)
