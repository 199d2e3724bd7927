"""The number that was dialled is what the dialplan sees, however the PBX tells it; and nobody calls in vain."""

from __future__ import annotations

import pytest

from tests.interop.conftest import GatewayMaker, SpeechServerMaker
from tests.interop.pbx import Pbx
from tests.interop.phone import Phone


@pytest.mark.parametrize(
    ("dialled", "seen"),
    [
        pytest.param("7000", "7000", id="extension-in-X-DID"),
        pytest.param("491234567", "491234567", id="DID-in-the-request-URI"),
        pytest.param("+491234567", "491234567", id="DID-with-plus"),
    ],
)
def test_the_dialplan_sees_the_number_dialled(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, dialled: str, seen: str
) -> None:
    gateway = make_gateway(realtime_url=make_speech_server([]).url)
    gateway.wait_until_registered()
    pbx.originate(dialled, delay_s=1, stay_s=0)
    started = gateway.wait_for("call started")
    assert (started["to"], started["route"]) == (seen, "reception")
    gateway.wait_for("call ended")


def test_without_a_gateway_callers_reach_a_person(pbx: Pbx, agent_phone: Phone) -> None:
    """As `deploy/asterisk/extensions.conf` has it."""
    assert pbx.contact_status("gateway") == ""
    pbx.originate("7000", delay_s=1, stay_s=0)
    agent_phone.wait_for("CALL_ESTABLISHED", timeout_s=5)
