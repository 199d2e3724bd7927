"""docs/recording.md tells the truth: its fragments load, its tables name every key."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import load_configuration
from gateway.config.sections import RecordingsSection
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Consent
from gateway.dialplan.source import RecordSource
from tests.support.plans import write_sound

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "recording.md").read_text("utf-8")
CONFIGURATION, PLAN = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
IN_CONFIGURATION, IN_DIALPLAN = DOCS.split("## In the dialplan")


def keys_of(text: str) -> set[str]:
    """What the first column of the tables names."""
    return {key for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}


def test_the_fragment_of_a_configuration_loads(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    options = load_configuration(tmp_path / "gateway.yaml", {}).recording_options()
    assert options is not None
    assert (options.format, options.min_free_bytes, options.keep_days) == ("opus", 2_000_000_000, 90)


def test_the_fragment_of_a_dialplan_loads(tmp_path: Path) -> None:
    write_sound(tmp_path / "may-we-record.wav")
    head = "version: 1\nname: docs\ntimezone: UTC\nroutes: [{name: all, do: [{session: reception}]}]\n"
    (tmp_path / "plan.yaml").write_text(head + PLAN)
    record = load_dialplan(tmp_path / "plan.yaml").sessions["reception"].record
    assert record is not None
    assert (record.consent, record.wait_s) == (Consent.ASK, 8)


def test_every_key_is_in_the_tables() -> None:
    assert keys_of(IN_CONFIGURATION) == set(RecordingsSection.model_fields)
    assert keys_of(IN_DIALPLAN) >= set(RecordSource.model_fields)
