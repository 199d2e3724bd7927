"""A caller is handed to a human who has really answered; whoever cannot be reached brings the caller back, at once."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import AGENT_TONE_HZ, GatewayMaker, PhoneMaker
from tests.interop.gateway_process import DIALPLAN, GatewayProcess
from tests.interop.pbx import Pbx, wait_until
from tests.support.listening import read_wav, tone, tone_seconds, write_wav

CALLER_TONE_HZ = 620.0
RING_BACK_HZ = 425.0
CONTACTS = """\
contacts:
  desk: {dial: [sip:6001], mode: attended}
  engaged: {dial: [sip:6003], mode: attended}
  jammed: {dial: [sip:6004], mode: attended}
  endless: {dial: [sip:6005], mode: attended, ring: 3s}
  nowhere: {dial: [sip:6999], mode: attended}
  next: {dial: [sip:6003, sip:6001], mode: attended}
"""
KEYS = {"1": "desk", "3": "engaged", "4": "jammed", "5": "endless", "7": "nowhere", "8": "next"}
PLAN = DIALPLAN.replace("contacts:\n", CONTACTS) + "".join(
    f'  - {{name: {name}, when: {{dtmf: "{key}"}}, do: [{{transfer: {name}}}]}}\n' for key, name in KEYS.items()
)


@pytest.fixture
def gateway(make_gateway: GatewayMaker) -> GatewayProcess:
    process = make_gateway(dialplan=PLAN)
    process.wait_until_registered()
    return process


def caller_tone(pbx: Pbx, folder: Path) -> str:
    return pbx.add_prompt(write_wav(folder / "caller-tone.wav", tone(CALLER_TONE_HZ, 5)))


def at(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def test_human_who_answers_late_is_answered_late_and_both_hear_each_other(
    pbx: Pbx, gateway: GatewayProcess, make_phone: PhoneMaker, tmp_path: Path
) -> None:
    agent = make_phone("agent", plays=tone(AGENT_TONE_HZ, 60))
    pbx.originate("7000", keys="1", after=caller_tone(pbx, tmp_path), delay_s=3, stay_s=6, record="late")
    gateway.wait_for("transfer", state="ringing")
    agent.wait_for("CALL_INCOMING")
    time.sleep(3)  # nobody is in a hurry
    assert not gateway.found("transfer", state="answered")
    agent.answer()
    gateway.wait_for("transfer", state="answered", timeout_s=2)
    gateway.wait_for("transfer", state="handed-over", timeout_s=2)
    ended = gateway.wait_for("call ended")
    assert (ended["outcome"], ended["transfer"], ended["transfer_state"]) == ("transferred", "desk", "handed-over")
    agent.wait_for("CALL_CLOSED", timeout_s=25)
    pbx.wait_until_idle()
    heard = read_wav(pbx.heard("late"))[0]
    assert tone_seconds(heard, RING_BACK_HZ) > 0.8
    assert tone_seconds(heard, AGENT_TONE_HZ) > 2.0
    wait_until(lambda: tone_seconds(agent.heard(), CALLER_TONE_HZ) > 1.0, "the caller in the agent's own recording", 5)


@pytest.mark.parametrize(
    ("key", "why", "patience_s"),
    [("3", "busy", 0), ("4", "unreachable", 0), ("5", "no answer", 3), ("7", "not found", 0)],
)
def test_caller_whose_contact_cannot_be_reached_is_back_with_the_model_within_a_second(
    pbx: Pbx, gateway: GatewayProcess, key: str, why: str, patience_s: float
) -> None:
    channel = pbx.originate("7000", keys=key, delay_s=3, stay_s=20)
    gateway.wait_for("= state", new="transferring")
    state = "timed-out" if key == "5" else "failed"
    failed = gateway.wait_for("transfer", state=state, timeout_s=patience_s + 5)
    assert failed["why"].startswith(why)
    back = gateway.wait_for("= state", old="transferring", new="talking", timeout_s=2)
    assert at(back) - at(failed) < 1.0
    pbx.hang_up(channel)
    ended = gateway.wait_for("call ended")
    assert (ended["outcome"], ended["transfer_state"]) == ("caller-hung-up", state)
    pbx.wait_until_idle()


def test_busy_contact_is_passed_over_for_the_next_who_answers(
    pbx: Pbx, gateway: GatewayProcess, make_phone: PhoneMaker, tmp_path: Path
) -> None:
    agent = make_phone("agent", plays=tone(AGENT_TONE_HZ, 60), answers=True)
    pbx.originate("7000", keys="8", after=caller_tone(pbx, tmp_path), delay_s=3, stay_s=4, record="next")
    ended = gateway.wait_for("call ended", timeout_s=15)
    assert (ended["outcome"], ended["transfer_state"]) == ("transferred", "handed-over")
    agent.wait_for("CALL_CLOSED", timeout_s=25)
    pbx.wait_until_idle()
    assert tone_seconds(read_wav(pbx.heard("next"))[0], AGENT_TONE_HZ) > 2.0


def test_contacts_telephone_stops_ringing_when_the_caller_hangs_up(
    pbx: Pbx, gateway: GatewayProcess, make_phone: PhoneMaker
) -> None:
    agent = make_phone("agent")
    channel = pbx.originate("7000", keys="1", delay_s=3, stay_s=20)
    agent.wait_for("CALL_INCOMING")
    pbx.hang_up(channel)
    ended = gateway.wait_for("call ended")
    assert (ended["outcome"], ended["transfer_state"]) == ("caller-hung-up", "caller-gone")
    agent.wait_for("CALL_CLOSED", timeout_s=2)
    pbx.wait_until_idle()
