"""The gateway asks a real PBX who it is: Asterisk answers one of two challenges, and calls, holds on and hangs up."""

from __future__ import annotations

import re
import time

import pytest

from tests.interop.conftest import GatewayMaker
from tests.interop.pbx import Pbx

ACCOUNT = {"username": "asterisk", "password": "lab-calls"}


@pytest.mark.parametrize("algorithms", ["", "MD5 alone"])
def test_a_pbx_with_the_right_password_calls(pbx: Pbx, make_gateway: GatewayMaker, algorithms: str) -> None:
    auth = ACCOUNT | ({"algorithms": ["MD5"]} if algorithms else {})
    gateway = make_gateway(account="gateway-auth", inbound_auth=auth)
    gateway.wait_until_registered()
    pbx.trace_sip()
    mark = pbx.log_mark()
    caller = pbx.originate("7007", delay_s=0, stay_s=20)
    gateway.wait_for("call started")
    time.sleep(1)
    pbx.hang_up(caller)
    assert gateway.wait_for("call ended")["outcome"] == "caller-hung-up"
    log = pbx.log_since(mark)
    assert len(re.findall(r"^INVITE sip:gateway-auth@", log, re.MULTILINE)) == 2
    assert re.search(r"^SIP/2.0 401 ", log, re.MULTILINE)


def test_a_pbx_with_a_wrong_password_does_not(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(account="gateway-auth", inbound_auth={"username": "asterisk", "password": "other"})
    gateway.wait_until_registered()
    pbx.originate("7007", delay_s=0, stay_s=5)
    line = gateway.wait_for("source refused", timeout_s=10)
    assert line["wrong_credentials"] >= 1
    assert not gateway.found("call started")
