"""SIGTERM: off the PBX, no new calls, the others may end by themselves, and who is left gets a BYE."""

from __future__ import annotations

import re
import socket
import time

from tests.interop.conftest import GatewayMaker
from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import HOST, Pbx, wait_until

INVITE = """\
INVITE sip:7000@{host}:{gateway} SIP/2.0
Via: SIP/2.0/UDP {host}:{own};branch=z9hG4bK-late;rport
Max-Forwards: 70
From: <sip:late@{host}>;tag=late
To: <sip:7000@{host}>
Call-ID: late-{own}@{host}
CSeq: 1 INVITE
Contact: <sip:late@{host}:{own}>
Content-Length: 0

"""


def final_answer(gateway: GatewayProcess) -> str:
    """What a new INVITE sent straight to the gateway is answered with, all of it; ACKed as it must be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((HOST, 0))
        peer.settimeout(3)
        invite = INVITE.format(host=HOST, gateway=gateway.sip_port, own=peer.getsockname()[1]).replace("\n", "\r\n")
        peer.sendto(invite.encode(), (HOST, gateway.sip_port))
        while (answer := peer.recv(65536).decode()).startswith("SIP/2.0 1"):
            pass
        to = next(line for line in answer.splitlines() if line.startswith("To:"))
        ack = re.sub(r"^To:.*$", to, invite.replace("INVITE", "ACK"), flags=re.MULTILINE)
        peer.sendto(ack.encode(), (HOST, gateway.sip_port))
        return answer


def test_a_draining_gateway_refuses_new_calls_and_lets_running_ones_end(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(drain="20s")
    gateway.wait_until_registered()
    pbx.originate("7000", delay_s=6, stay_s=0)
    gateway.wait_for("call started")
    time.sleep(2)
    gateway.terminate()
    gateway.wait_for("draining", calls=1)
    wait_until(lambda: pbx.contact_status("gateway") == "", "unregistered", 5)
    answer = final_answer(gateway)
    assert answer.startswith("SIP/2.0 503 ")
    assert re.search(r"^Retry-After: \d+", answer, re.MULTILINE)
    assert gateway.wait_for("call ended", timeout_s=10)["outcome"] == "caller-hung-up"
    assert gateway.wait_for_exit() == 0


def test_who_stays_beyond_the_drain_gets_a_bye(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(drain="2s")
    gateway.wait_until_registered()
    pbx.trace_sip()
    mark = pbx.log_mark()
    for _ in range(3):
        pbx.originate("7000", delay_s=60)
    wait_until(lambda: len(gateway.found("call started")) == 3, "three calls", 10)
    time.sleep(1)
    gateway.terminate()
    assert gateway.wait_for_exit() == 0
    pbx.wait_until_idle(5)
    assert len(set(re.findall(r"BYE sip:asterisk@[\s\S]*?Call-ID: (\S+)", pbx.log_since(mark)))) == 3
    assert [line["outcome"] for line in gateway.found("call ended")] == ["gateway-hung-up"] * 3


def test_a_second_sigterm_ends_at_once(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    gateway = make_gateway(drain="60s")
    gateway.wait_until_registered()
    pbx.originate("7000", delay_s=60)
    gateway.wait_for("call started")
    time.sleep(1)
    gateway.terminate()
    gateway.wait_for("draining")
    gateway.terminate()
    started_s = time.monotonic()
    gateway.wait_for_exit()
    assert time.monotonic() - started_s < 5
    pbx.wait_until_idle(5)
