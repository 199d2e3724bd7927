"""Dialogues of plans with everything real: the shipped ones pass, and one that goes wrong is told by its turn."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = sorted((REPOSITORY / "dialplans").glob("*.yaml"))
LIMIT_S = 200

PLAN = """\
version: 1
name: acme
timezone: UTC
contacts:
  sales: {dial: ["sip:6001"]}
sessions:
  reception: {use: default, greeting: "Good day, you have reached the orders desk.", tools: [transfer]}
routes:
  - {name: all, do: [{session: reception}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
tests:
  - name: good
    call: {to: "7000", from: "+49301"}
    contacts: {sales: declines}
    dialogue:
      - dtmf: "0"
      - expect: {escalation: zero, outcome: caller-hung-up}
  - name: bad
    call: {to: "7000", from: "+49301"}
    dialogue:
      - hear: you have reached
      - hear: the complaints office
      - hang_up: true
"""


def gateway(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=REPOSITORY)


@pytest.mark.heavy
def test_the_dialogues_of_the_shipped_plans_come_about() -> None:
    done = gateway("dialplan", "test", "--live", "--json", *SHIPPED)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in done.stdout.splitlines():
        document = json.loads(line)
        assert document["passed"]
        assert document["dialogues"], "a shipped plan has dialogues"
        assert all(dialogue["passed"] and dialogue["turns"] for dialogue in document["dialogues"])
        assert len(document["dialogues"]) == document["live_only"]


def test_the_turn_that_went_wrong_is_named_by_its_line(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    done = gateway("dialplan", "test", "--live", "--only", "bad", "--wav", tmp_path / "sounds", plan)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = next(line for line in done.stdout.splitlines() if line.startswith("FAIL"))
    assert verdict.startswith(
        f"FAIL  {plan}:23  bad, turn 2 hear 'the complaints office': the agent said 'the orders desk'"
    )
    assert "agent: Good day, you have reached the orders desk." in done.stdout
    assert "good" not in done.stdout.replace("Good", "")
    with wave.open(str(tmp_path / "sounds" / "acme-bad.wav")) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        assert sound.getnframes() > 8000


def test_a_name_that_no_dialogue_has_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    done = gateway("dialplan", "test", "--live", "--only", "god", plan)
    assert done.returncode == 2
    assert done.stderr.strip() == "--only: there is no dialogue 'god' (did you mean 'good'?)"
    assert gateway("dialplan", "test", "--wav", tmp_path, plan).returncode == 2


def test_a_session_that_the_configuration_lacks_is_told_before_anybody_calls(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.replace("use: default", "use: german"))
    config = tmp_path / "gateway.yaml"
    config.write_text("realtime: {default: {provider: embedded}}\n")
    done = gateway("dialplan", "test", "--live", "-c", config, plan)
    assert done.returncode == 2
    assert "plan.yaml:7:20: the configuration has no realtime session 'german'" in done.stderr
