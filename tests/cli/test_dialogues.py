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
tests:
  - name: good
    call: {to: "7000", from: "+49301"}
    dialogue: [{hang_up: true}]
  - name: bad
    call: {to: "7000", from: "+49301"}
    dialogue:
      - hear: you have reached
      - hear: the complaints office
      - hang_up: true
"""

EVERYTHING = """\
version: 1
name: orders
timezone: Europe/Berlin
hours: {office: {mon-fri: "09:00-17:00"}}
contacts:
  sales: {dial: ["sip:6001"], accept: {key: "1", refuse: "2"}}
  boss: {dial: ["sip:6008", "sip:6009"], mode: attended, when: office}
tools:
  lookup: {description: Orders, http: {url: "https://erp.example/orders", result: order}, parameters: {}}
sessions:
  desk: {use: default, greeting: The orders desk., tools: [transfer, lookup]}
routes:
  - name: menu
    match: {to: "8000", diversion: "4711", language: fr, name: Bob}
    do:
      - collect: {say: Your number please., into: number, digits: "4"}
      - hook: {url: "https://hook.example/{vars.number}", sets: [who]}
      - say: "Hello {vars.who}."
      - menu: {say: Press one for sales., 1: [{transfer: sales}, {say: Nobody is there.}]}
  - {name: all, match: {to: "7000", trunk: carrier, header: {X-Queue: gold}, hours: office}, do: [{session: desk}]}
escalations:
  - {name: nine, when: {dtmf: "9"}, do: [{transfer: boss}]}
tests:
  - name: a tool of the web and an attended transfer
    call: {to: "7000", from: "+49301", at: "2026-11-20T16:58", trunk: carrier, header: {X-Queue: gold}}
    tools: {lookup: {order: {status: shipped}}}
    contacts: {boss: [declines, answers]}
    dialogue:
      - hear: the orders desk
      - say: Where is my order?
      - hear: [let me look, your order is shipped]
      - dtmf: "9"
      - expect: {session: desk, tools: [lookup], escalation: nine, transfer: boss, outcome: transferred}
  - name: a contact that refuses by a key
    call: {to: "8000", from: anonymous, at: "2026-11-20T10:00", diversion: "4711", language: [fr], name: Bob}
    contacts: {sales: refuses}
    hooks: [{set: {who: Bob}}]
    dialogue:
      - hear: your number please
      - dtmf: "1234"
      - hear: [hello Bob, press one for sales]
      - dtmf: "1"
      - hear: nobody is there
      - expect: {route: menu, vars: {number: "1234", who: Bob}, outcome: gateway-hung-up}
"""
BRAIN = """\
name: orders
greeting: Good day.
fallback: [I am sorry.]
intents:
  order:
    phrases: [where is my order]
    reply: Let me look.
    call: {tool: lookup}
    succeeded: "Your order is {status}."
"""
CONFIGURATION = """\
realtime: {default: {provider: embedded, brain: brain.yaml, turn_detection: {silence_duration_ms: 300}}}
"""
HUMAN = """\
version: 1
name: front
timezone: UTC
contacts:
  desk: {dial: ["sip:6002"]}
sessions:
  reception: {use: default, greeting: Good day., tools: [transfer]}
routes:
  - {name: all, do: [{session: reception}]}
escalations:
  - {name: human, when: {said: [a human, speak to a person]}, do: [{transfer: desk}]}
tests:
  - name: phrase
    call: {to: "7000", from: "+49301"}
    dialogue:
      - hear: good day
      - say: A human.
      - expect: {escalation: human, tools: [], transfer: desk, outcome: transferred}
  - name: sentence
    call: {to: "7000", from: "+49301"}
    dialogue:
      - hear: good day
      - say: I want to talk to a human.
      - expect: {escalation: human, tools: [], transfer: desk, outcome: transferred}
  - name: request
    call: {to: "7000", from: "+49301"}
    dialogue:
      - hear: good day
      - say: Before I pay I have to speak to a person in charge.
      - expect: {escalation: human, tools: [], transfer: desk, outcome: transferred}
"""


def gateway(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=REPOSITORY)


@pytest.mark.heavy
def test_the_dialogues_of_the_shipped_plans_come_about() -> None:
    done = gateway("dialplan", "test", "--live", "--json", *SHIPPED)
    assert done.returncode == 0, done.stdout + done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(document["file"]) for document in documents] == SHIPPED
    held = {document["dialplan"]: document["dialogues"] for document in documents}
    assert len(held["reception"]) == len(held["after-hours"]) == 3
    assert len(held["clinic"]) == len(held["outbound-reminder"]) == 1
    assert all(dialogue["passed"] and dialogue["turns"] for dialogues in held.values() for dialogue in dialogues)


@pytest.mark.heavy
def test_the_turn_that_went_wrong_is_named_by_its_line(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    done = gateway("dialplan", "test", "--live", "--only", "bad", "--wav", tmp_path / "sounds", plan)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = next(line for line in done.stdout.splitlines() if line.startswith("FAIL"))
    assert verdict.startswith(
        f"FAIL  {plan}:18  bad, turn 2 hear 'the complaints office': the agent said 'the orders desk'"
    )
    assert "agent: Good day, you have reached the orders desk." in done.stdout
    assert "good" not in done.stdout.replace("Good", "")
    with wave.open(str(tmp_path / "sounds" / "acme-bad.wav")) as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        assert sound.getnframes() > 8000


@pytest.mark.heavy
def test_web_services_keys_and_contacts_do_what_the_test_says(tmp_path: Path) -> None:
    for name, text in {"plan.yaml": EVERYTHING, "brain.yaml": BRAIN, "gateway.yaml": CONFIGURATION}.items():
        (tmp_path / name).write_text(text)
    done = gateway("dialplan", "test", "--live", "--json", "-c", tmp_path / "gateway.yaml", tmp_path / "plan.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    transfer, refusal = json.loads(done.stdout)["dialogues"]
    assert [called["outcome"] for called in transfer["called"]] == ["603 Decline", "joined with the caller"]
    assert [called["outcome"] for called in refusal["called"]] == ["answered"]
    spoken = [line["text"] for line in transfer["transcript"] if line["who"] == "caller"]
    assert spoken == ["where is my order"]


@pytest.mark.heavy
def test_a_phrase_that_no_brain_has_is_heard_where_an_escalation_waits_for_it(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(HUMAN)
    done = gateway("dialplan", "test", "--live", plan)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("held  ")]
    assert sorted(line[: line.index(",")] for line in told) == [
        f"held  {plan}:13  phrase: passed",
        f"held  {plan}:19  sentence: passed",
        f"held  {plan}:25  request: passed",
    ]


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
