"""RTCP with a real Asterisk: each believes the other's reports, of loss too; and a PBX that freezes is found."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass

import pytest

from tests.interop.conftest import GatewayMaker
from tests.interop.pbx import Pbx, wait_until

ASTERISK_REPORTS_EVERY_S = 5.0
OUR_DELAY = r"DLSR: (?!0\.0000)[\d.]+ \(sec\)"
"""As Asterisk prints what a report of ours says about one of its own."""
SOUND_S = 60
FROZEN_S = 9.0
"""Longer than a socket's receive buffer lasts (208 KiB, 0.75 KiB a packet: 5.5 s)."""
FOUND_IN_S = 5.0


@dataclass(frozen=True)
class Way:
    """An account of Asterisk and the number that leads to the gateway as it."""

    account: str
    number: str
    is_muxed: bool = False


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way("gateway", "7000"), id="port-above"),
        pytest.param(Way("gateway-mux", "7015", is_muxed=True), id="shared-port"),
        pytest.param(Way("gateway-srtp", "7005"), id="SRTCP"),
    ],
)
def test_asterisk_and_gateway_believe_each_others_reports(pbx: Pbx, make_gateway: GatewayMaker, way: Way) -> None:
    gateway = make_gateway(account=way.account, srtp_over_plain=True)
    gateway.wait_until_registered()
    pbx.console("rtcp set debug on")
    mark = pbx.log_mark()
    channel = pbx.originate(way.number, prompt="demo-congrats", stay_s=SOUND_S)
    pbx.wait_for_log(OUR_DELAY, since=mark, timeout_s=30)
    stats = pbx.console("pjsip show channelstats")
    time.sleep(ASTERISK_REPORTS_EVERY_S)
    pbx.hang_up(channel)
    pbx.wait_until_idle()
    told = pbx.log_since(mark)
    pbx.console("rtcp set debug off")

    ports = {int(port) for port in re.findall(r"RTCP from 127\.0\.0\.1:(\d+)", told)}
    assert {port % 2 for port in ports} == {int(not way.is_muxed)}
    # Receive: count, lost, percent, jitter; transmit: the same, and the round trip, by our reports.
    row = re.search(rf"{way.account}-\S+ +\S+ +ulaw +(\d+) +(\d+) +\d+ +\S+ +(\d+) +(\d+) +\d+ +\S+ +(\S+)", stats)
    assert row is not None, stats
    assert (int(row[1]) > 100, row[2], int(row[3]) > 100, row[4]) == (True, "0", True, "0")
    assert float(row[5]) < 0.1
    ended = gateway.wait_for("call ended")
    assert ended["rtcp_received"] >= 2
    assert ended["rtt_ms"] < 100
    assert ended["remote_lost"] == 0
    assert ended["mos"] > 4.2
    assert ended["remote_mos"] > 4.2
    assert ended["one_way_audio"] == []


def test_loss_that_asterisk_reports_and_a_pbx_that_freezes_are_told(pbx: Pbx, make_gateway: GatewayMaker) -> None:
    """While it stands still its socket overflows; audio is lost towards it, and none comes from it."""
    gateway = make_gateway()
    gateway.wait_until_registered()
    pbx.console("rtcp set debug on")
    mark = pbx.log_mark()
    channel = pbx.originate("7000", prompt="demo-congrats", stay_s=SOUND_S)
    pbx.wait_for_log(OUR_DELAY, since=mark, timeout_s=30)
    pid, lines = pbx.pid(), gateway.mark()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(FROZEN_S)
        flagged = gateway.found("one-way audio", since=lines)
    finally:
        os.kill(pid, signal.SIGCONT)
    gateway.wait_for("audio both ways again", since=lines)
    mark = pbx.log_mark()
    lost = int(pbx.wait_for_log(r"Cumulative loss: ([1-9]\d*)", since=mark, timeout_s=15)[1])
    wait_until(lambda: len(re.findall("Sent RTCP", pbx.log_since(mark))) >= 2, "another report of Asterisk", 15)
    pbx.hang_up(channel)
    pbx.wait_until_idle()
    pbx.console("rtcp set debug off")

    assert [line["flaws"] for line in flagged] == [["rx=0"]]
    assert flagged[0]["rx_ago_s"] < FOUND_IN_S
    ended = gateway.wait_for("call ended")
    assert ended["remote_lost"] >= lost > 0
    assert ended["remote_mos"] < ended["mos"]
    assert ended["one_way_audio"] == ["rx=0"]
