"""A caller is handed to a human who has really answered; whoever cannot be reached brings the caller back, at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.conftest import AGENT_TONE_HZ, PhoneMaker, fail_if_complained
from tests.interop.failed_calls import FailedCalls, call_in_vain
from tests.interop.gateway_process import DIALPLAN, GatewayProcess, GatewaySetup, seconds_between
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import speech_server
from tests.support.listening import read_wav, tone, tone_seconds, write_wav

CALLER_TONE_HZ = 620.0
RING_BACK_HZ = 425.0
LATE_S = 3.0
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
FAILURES = {"engaged": "busy", "jammed": "unreachable", "endless": "no answer", "nowhere": "not found"}


@pytest.fixture(scope="module")
def gateway(module_pbx: Pbx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for all, and a model that says nothing."""
    with speech_server([]) as server:
        setup = GatewaySetup(registrar=module_pbx.address, realtime_url=server.url, dialplan=PLAN)
        with GatewayProcess.of(setup, tmp_path_factory.mktemp("attended") / "gateway") as process:
            process.wait_until_registered()
            yield process
            figures = process.stop()
    fail_if_complained([process])
    assert (figures["legs_left"], figures["calls_left"], figures["rtp_ports_left"]) == (0, 0, 0)


def caller_tone(pbx: Pbx, folder: Path) -> str:
    return pbx.add_prompt(write_wav(folder / "caller-tone.wav", tone(CALLER_TONE_HZ, 5)))


@pytest.fixture(scope="module")
def failed(module_pbx: Pbx, gateway: GatewayProcess) -> FailedCalls:
    return call_in_vain(module_pbx, gateway, [key for key, name in KEYS.items() if name in FAILURES])


@pytest.mark.parametrize(("contact", "why"), FAILURES.items())
def test_caller_whose_contact_cannot_be_reached_is_back_with_the_model_within_a_second(
    failed: FailedCalls, contact: str, why: str
) -> None:
    state = "timed-out" if contact == "endless" else "failed"
    last = failed.line(contact, "transfer", state=state)
    assert last["why"].startswith(why)
    assert seconds_between(last, failed.line(contact, "= state", old="transferring", new="talking")) < 1.0
    ended = failed.line(contact, "call ended")
    assert (ended["outcome"], ended["transfer_state"]) == ("caller-hung-up", state)


def test_human_who_answers_late_is_answered_late_and_both_hear_each_other(
    pbx: Pbx, gateway: GatewayProcess, make_phone: PhoneMaker, tmp_path: Path
) -> None:
    mark = gateway.mark()
    agent = make_phone("agent", plays=tone(AGENT_TONE_HZ, 60))
    pbx.originate("7000", keys="1", after=caller_tone(pbx, tmp_path), delay_s=1, stay_s=1, record="late")
    ringing = gateway.wait_for("transfer", since=mark, state="ringing")
    agent.wait_for("CALL_INCOMING")
    time.sleep(LATE_S)  # nobody is in a hurry
    agent.answer()
    answered = gateway.wait_for("transfer", since=mark, state="answered")
    assert seconds_between(ringing, answered) >= LATE_S
    gateway.wait_for("transfer", since=mark, state="handed-over")
    ended = gateway.wait_for("call ended", since=mark)
    assert (ended["outcome"], ended["transfer"], ended["transfer_state"]) == ("transferred", "desk", "handed-over")
    agent.wait_for("CALL_CLOSED", timeout_s=25)
    pbx.wait_until_idle()
    heard = read_wav(pbx.heard("late"))[0]
    assert tone_seconds(heard, RING_BACK_HZ) > 0.8
    assert tone_seconds(heard, AGENT_TONE_HZ) > 2.0
    wait_until(lambda: tone_seconds(agent.heard(), CALLER_TONE_HZ) > 1.0, "the caller in the agent's own recording", 5)


def test_busy_contact_is_passed_over_for_the_next_who_answers(
    pbx: Pbx, gateway: GatewayProcess, make_phone: PhoneMaker
) -> None:
    mark = gateway.mark()
    agent = make_phone("agent", plays=tone(AGENT_TONE_HZ, 60), answers=True)
    pbx.originate("7000", keys="8", delay_s=1, stay_s=4, record="next")
    ended = gateway.wait_for("call ended", since=mark, timeout_s=15)
    assert (ended["outcome"], ended["transfer_state"]) == ("transferred", "handed-over")
    agent.wait_for("CALL_CLOSED", timeout_s=25)
    pbx.wait_until_idle()
    assert tone_seconds(read_wav(pbx.heard("next"))[0], AGENT_TONE_HZ) > 2.0


def test_contacts_telephone_stops_ringing_within_200_ms_when_the_caller_hangs_up(
    pbx: Pbx, gateway: GatewayProcess, make_phone: PhoneMaker
) -> None:
    agent = make_phone("agent")
    channel = pbx.originate("7000", keys="1", delay_s=1, stay_s=20)
    agent.wait_for("CALL_INCOMING")
    mark = gateway.mark()
    pbx.hang_up(channel)
    ended = gateway.wait_for("call ended", since=mark)
    assert (ended["outcome"], ended["transfer_state"]) == ("caller-hung-up", "caller-gone")
    assert gateway.release_s(since=mark) < 0.2
    agent.wait_for("CALL_CLOSED")
    pbx.wait_until_idle()
