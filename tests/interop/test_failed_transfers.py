"""Transfers that the PBX cannot carry out: each failure is told by its status, and every call ends with a reason.

What becomes of the caller is up to Asterisk: after 404 they are still with the gateway, after 486 and 503 Asterisk has
taken them away and sends no BYE, so that the gateway's part ends when it hears nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.interop import phone
from tests.interop.conftest import fail_if_complained, unavailable
from tests.interop.gateway_process import DIALPLAN, GatewayProcess, GatewaySetup, seconds_between
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import speech_server
from tests.support.listening import silence, write_wav

CONTACTS = """\
  congested: {dial: [sip:6004], description: a line that has no way}
  patient: {dial: [sip:6005], description: a line that rings for ever}
  absent: {dial: [sip:1002], description: a telephone that is not registered}
  nowhere: {dial: [sip:6999], description: a number that does not exist}
  impatient: {dial: [sip:6011], description: a human agent who has five seconds and lets it ring}
"""
ESCALATIONS = """\
  - {name: eight, when: {dtmf: "8"}, do: [{transfer: congested}]}
  - {name: seven, when: {dtmf: "7"}, do: [{transfer: patient}]}
  - {name: six, when: {dtmf: "6"}, do: [{transfer: absent}]}
  - {name: five, when: {dtmf: "5"}, do: [{transfer: nowhere}]}
  - {name: four, when: {dtmf: "4"}, do: [{transfer: impatient}]}
"""
PLAN = DIALPLAN.replace("sessions:\n", f"{CONTACTS}sessions:\n").replace(
    "escalations:\n", f"escalations:\n{ESCALATIONS}"
)
KEYS = "987654"
IMPATIENT = "4"
STAY_S = 4
STAY_IN_VAIN_S = 10
"""Of the caller who comes back after 5 s."""
GONE = ("failed", "no audio from the caller")
WITH_US = ("caller-hung-up", "remote_bye")


@dataclass(frozen=True)
class Transfers:
    """All calls of this module, made at once: each caller pressed another key, which named another target."""

    gateway: GatewayProcess
    pbx_log: str
    agent_rang: bool

    def ended(self, escalation: str) -> dict[str, Any]:
        return next(line for line in self.gateway.found("call ended") if line["escalations"] == [escalation])

    def why(self, escalation: str) -> str:
        """Why the transfer failed, as an operator reads it."""
        call_id = self.ended(escalation)["call_id"]
        [line] = self.gateway.found("transfer", call_id=call_id, state="failed")
        return str(line["why"])


@pytest.fixture(scope="module")
def transfers(module_pbx: Pbx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transfers]:
    if reason := phone.obstacle():
        unavailable(reason)
    pbx, folder = module_pbx, tmp_path_factory.mktemp("transfers")
    with ExitStack() as stack:
        server = stack.enter_context(speech_server([]))
        setup = GatewaySetup(registrar=pbx.address, realtime_url=server.url, media_timeout="5s", dialplan=PLAN)
        gateway = stack.enter_context(GatewayProcess.of(setup, folder / "gateway"))
        sound = write_wav(folder / "agent.wav", silence(60))
        agent = phone.Phone("agent", registrar=pbx.address, folder=folder / "agent", plays=sound)
        stack.enter_context(agent)
        gateway.wait_until_registered()
        pbx.trace_sip()
        mark = pbx.log_mark()
        for key in KEYS:
            pbx.originate("7000", keys=key, delay_s=1, stay_s=STAY_IN_VAIN_S if key == IMPATIENT else STAY_S)
        # Callers of busy and absent people are gone; one comes back, and would stay.
        wait_until(lambda: len(gateway.found("call ended")) == len(KEYS), "the end of all these calls", 30)
        wait_until(lambda: len(gateway.found("call started")) == len(KEYS) + 1, "one who comes back", 30)
        pbx.trace_sip(False)
        pbx.hang_up_all()
        wait_until(lambda: len(gateway.found("call ended")) == len(KEYS) + 1, "the end of all calls", 30)
        yield Transfers(gateway, pbx.log_since(mark), agent.has_seen("CALL_INCOMING"))
        figures = gateway.stop()
    fail_if_complained([gateway])
    assert (figures["legs_left"], figures["calls_left"], figures["rtp_ports_left"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("escalation", "why", "end"),
    [
        pytest.param("nine", "busy (486 Busy Here)", GONE, id="6003-busy"),
        pytest.param("eight", "unreachable (503 Service Unavailable)", GONE, id="6004-congestion"),
        pytest.param("six", "unreachable (503 Service Unavailable)", GONE, id="not-registered"),
        pytest.param("five", "not found (404 Not Found)", WITH_US, id="no-such-number"),
    ],
)
def test_a_failed_transfer_is_told_by_its_status_and_its_call_ends_with_a_reason(
    transfers: Transfers, escalation: str, why: str, end: tuple[str, str]
) -> None:
    assert transfers.why(escalation) == why
    ended = transfers.ended(escalation)
    assert (ended["outcome"], ended["cause"]) == end
    assert (ended["transfer"], ended["transfer_state"]) == (None, "failed")


@pytest.mark.parametrize("escalation", [pytest.param("seven", id="6005-rings"), pytest.param("four", id="6011-rings")])
def test_a_transfer_that_rings_is_the_pbx_s_affair(transfers: Transfers, escalation: str) -> None:
    ended = transfers.ended(escalation)
    assert (ended["outcome"], ended["transfer_state"]) == ("transferred", "handed-over")


def test_a_caller_whom_nobody_takes_is_back_with_the_reason(transfers: Transfers) -> None:
    """The agent's telephone is there and rings, for the 5 s that the PBX has for it; of one that is not there,
    test_transfer.py.
    """
    [back] = [line for line in transfers.gateway.found("call ended") if line["escalations"] == []]
    assert back["to"] == "7000"
    assert transfers.agent_rang
    assert re.findall(r"X-Transfer-Failed: (\w+)", transfers.pbx_log)[0] == "NOANSWER"
    call_id = transfers.ended("four")["call_id"]
    [gone] = transfers.gateway.found("transfer", call_id=call_id, state="handed-over")
    [started] = transfers.gateway.found("call started", call_id=back["call_id"])
    assert seconds_between(gone, started) > 4.5
