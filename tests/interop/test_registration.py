"""The gateway registers, answers OPTIONS, says plainly why it cannot, leaves in order, and comes back."""

from __future__ import annotations

import re
import time

from tests.interop.conftest import GatewayMaker
from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import Pbx, wait_until


def test_the_pbx_reaches_the_registered_gateway(pbx: Pbx, gateway_process: GatewayProcess) -> None:
    wait_until(lambda: pbx.contact_status("gateway") == "Avail", "the gateway answers OPTIONS", 5)


def test_the_registration_is_refreshed_before_it_runs_out(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    mark = pbx.log_mark()
    make_gateway(expires="10s").wait_until_registered()
    pbx.wait_for_log(r"Added contact 'sip:gateway@.* expiration of (9|10) seconds", since=mark)
    time.sleep(12)
    assert pbx.contact_status("gateway") == "Avail"
    assert not re.search(r"(Removed|Deleted) contact 'sip:gateway@|gateway.* has been deleted", pbx.log_since(mark))


def test_a_wrong_password_is_told_plainly_and_not_hammered(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    mark = pbx.log_mark()
    gateway = make_gateway(password="wrong")
    line = gateway.wait_for("registration failed", timeout_s=40)
    assert line["trunk"] == "pbx"
    assert line["status"] in {401, 403}
    assert line["reason"]
    assert line["retry_in_s"] > 0
    time.sleep(2)
    assert (
        1 <= len(re.findall(r"SecurityEvent=\"(?:InvalidPassword|ChallengeResponseFailed)\"", pbx.log_since(mark))) <= 4
    )
    assert "wrong" not in str(gateway.lines)
    assert not gateway.found("registered")


def test_sigterm_takes_the_gateway_off_the_pbx(pbx: Pbx, gateway_process: GatewayProcess) -> None:
    mark = pbx.log_mark()
    gateway_process.terminate()
    assert gateway_process.wait_for_exit() == 0
    pbx.wait_for_log(r"Removed contact 'sip:gateway@.* due to request", since=mark)
    assert pbx.contact_status("gateway") == ""
    assert gateway_process.found("unregistered")


def test_the_gateway_comes_back_after_a_restart_of_the_pbx(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    """A restarted PBX has forgotten every registration; refreshing is what tells it again."""
    gateway = make_gateway(expires="10s")
    gateway.wait_until_registered()
    pbx.stop()
    pbx.start()
    assert pbx.contact_status("gateway") == ""
    wait_until(lambda: pbx.contact_status("gateway") == "Avail", "the gateway is back", 31)
    pbx.originate("7000", stay_s=2)
    gateway.wait_for("call ended", timeout_s=15)
    assert gateway.process.poll() is None
