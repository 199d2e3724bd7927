"""docs/recovery.md tells the truth: its fragment loads, its table names every key with its default."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import load_configuration
from gateway.config.sections import RecoverySection

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = (REPOSITORY / "docs" / "recovery.md").read_text("utf-8")


def test_the_fragment_of_a_configuration_loads(tmp_path: Path) -> None:
    (fragment,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "gateway.yaml").write_text(fragment)
    configuration = load_configuration(tmp_path / "gateway.yaml", {"FIRST_KEY": "a", "SECOND_KEY": "b"})
    first = configuration.endurances()["default"]
    assert (first.fallbacks, first.max_sessions, first.recovery.attempts) == (("second",), 100, 3)


def test_the_table_names_every_key_with_its_default(tmp_path: Path) -> None:
    told = dict(re.findall(r"^\| `recovery\.(\w+)` \| (\w+) \|", DOCS, re.MULTILINE))
    assert set(told) == set(RecoverySection.model_fields)
    text = "realtime: {default: {recovery: {" + ", ".join(f"{key}: {value}" for key, value in told.items()) + "}}}"
    (tmp_path / "gateway.yaml").write_text(text)
    written = load_configuration(tmp_path / "gateway.yaml", {})
    assert written.realtime["default"].recovery == RecoverySection()
