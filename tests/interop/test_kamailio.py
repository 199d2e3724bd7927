"""Kamailio in front: two gateways behind one proxy, which stays in every call's path and notices who is gone."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.interop import kamailio_proxy, sipp
from tests.interop.conftest import fail_if_complained, unavailable
from tests.interop.gateway_process import GatewayProcess, GatewaySetup
from tests.interop.kamailio_proxy import KamailioProxy
from tests.interop.pbx import HOST, free_port, wait_until
from tests.interop.sipp import Run, Sipp, action, be_hung_up_on, call, hang_up, pause, reoffer, routed, sdp
from tests.interop.speech_server import speech_server

PROXY_HOST = "127.0.0.8"
FRIENDS = "127.0.0.16/30"
MEDIA_TIMEOUT_S = 5


@dataclass(frozen=True)
class Site:
    """Two gateways that know their proxy by its address alone."""

    setups: list[GatewaySetup]
    gateways: list[GatewayProcess]
    proxy: KamailioProxy
    folder: Path
    numbers: count[int]

    def play(self, steps: list[str], **choices: object) -> Sipp:
        """SIPp calls the proxy; the scenario must go as it is written."""
        options: dict[str, object] = {"host": PROXY_HOST, "port": self.proxy.port} | choices
        run = Run(scenario=routed(steps), **options)  # type: ignore[arg-type]
        return Sipp(run, self.folder / f"sipp-{next(self.numbers)}")

    def calls_of(self, index: int, mark: int = 0) -> int:
        return len(self.gateways[index].found("call started", since=mark))

    def start(self, index: int) -> None:
        """Start a gateway in place of one that has ended."""
        self.gateways[index].close()
        self.gateways[index] = GatewayProcess.of(self.setups[index], self.folder / f"gateway-{next(self.numbers)}")
        self.gateways[index].wait_until_ready()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if reason := kamailio_proxy.obstacle() or sipp.obstacle():
        unavailable(reason)
    folder, ports = tmp_path_factory.mktemp("kamailio"), [free_port(), free_port()]
    with speech_server([]) as server, KamailioProxy(PROXY_HOST, ports, folder / "proxy") as proxy:
        trunk = {"peer": f"{PROXY_HOST}:{proxy.port}", "acl": [FRIENDS]}
        timeout = f"{MEDIA_TIMEOUT_S}s"
        setups = [
            GatewaySetup(
                sip_port=port, trunks={"proxy": trunk}, realtime_url=server.url, media_timeout=timeout, drain="3s"
            )
            for port in ports
        ]
        site = Site(setups, [], proxy, folder, count())
        try:
            site.gateways.extend(GatewayProcess.of(setup, folder / f"gateway-{setup.sip_port}") for setup in setups)
            for gateway in site.gateways:
                gateway.wait_until_ready()
            wait_until(lambda: all(proxy.gateways().values()), "OPTIONS, answered by both gateways", 10)
            yield site
        finally:
            for gateway in site.gateways:
                gateway.close()
    fail_if_complained(site.gateways)


def test_calls_are_spread_and_stay_on_their_route(site: Site) -> None:
    """Re-INVITE and BYE of the caller, and our own BYE, go by the recorded route."""
    with site.play([*call(), *reoffer(2, sdp("sendonly", version=2), "a=recvonly"), *hang_up(3)], calls=6) as callers:
        callers.wait()
    with site.play([*call(), *be_hung_up_on()], number="7097", calls=2) as callers:
        callers.wait()
    assert [site.calls_of(0), site.calls_of(1)] == [4, 4]
    for gateway in site.gateways:
        wait_until(lambda gateway=gateway: len(gateway.found("call ended")) == 4, "the end of the calls", 5)
        outcomes = [line["outcome"] for line in gateway.found("call ended")]
        assert sorted(outcomes) == ["caller-hung-up"] * 3 + ["gateway-hung-up"]


def test_strangers_hear_nothing_and_the_listed_network_is_served(site: Site) -> None:
    gateway = site.gateways[0]
    assert first_answer("127.0.0.9", gateway) == ""
    assert first_answer("127.0.0.18", gateway).startswith("SIP/2.0 200 ")


def first_answer(host: str, gateway: GatewayProcess) -> str:
    """What OPTIONS from `host` is answered with."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.settimeout(0.5)
        own = f"{host}:{peer.getsockname()[1]}"
        lines = (
            f"OPTIONS sip:{HOST}:{gateway.sip_port} SIP/2.0",
            f"Via: SIP/2.0/UDP {own};branch=z9hG4bK-{own}",
            f"From: <sip:somebody@{own}>;tag=1",
            f"To: <sip:{HOST}:{gateway.sip_port}>",
            f"Call-ID: {own}",
            "CSeq: 1 OPTIONS",
            "Max-Forwards: 70",
            "Content-Length: 0",
        )
        peer.sendto("\r\n".join((*lines, "", "")).encode(), (HOST, gateway.sip_port))
        try:
            return peer.recv(65536).decode()
        except TimeoutError:
            return ""


def test_when_one_gateway_dies_every_call_goes_to_the_other(site: Site) -> None:
    """At first by trying, for OPTIONS take their time; then at once; and to both when it is back."""
    dead, port = site.gateways[1], site.setups[1].sip_port
    dead.process.kill()
    mark = site.gateways[0].mark()
    with site.play([*call(), *hang_up(2)], calls=4, rate_cps=20) as callers:
        callers.wait()
    assert site.calls_of(0, mark) == 4
    wait_until(lambda: not site.proxy.gateways()[port], "the proxy to notice", 5)
    site.start(1)
    wait_until(lambda: site.proxy.gateways()[port], "the gateway, alive for the proxy again", 5)
    with site.play([*call(), *hang_up(2)], calls=4) as callers:
        callers.wait()
    assert site.calls_of(1) == 2


def test_a_draining_gateway_sends_new_calls_on_to_the_other(site: Site) -> None:
    """Its 503 makes the proxy turn to the next one; its own call goes on."""

    def started() -> list[int]:
        return [site.calls_of(0), site.calls_of(1)]

    wait_until(lambda: all(site.proxy.gateways().values()), "both gateways, alive for the proxy", 5)
    before = started()
    with site.play([*call(), pause(2500), *hang_up(2)]) as talking:
        wait_until(lambda: sum(started()) == sum(before) + 1, "the call", 5)
        busy = 0 if site.calls_of(0) > before[0] else 1
        site.gateways[busy].terminate()
        site.gateways[busy].wait_for("draining", calls=1)
        with site.play([*call(), *hang_up(2)], calls=3, rate_cps=20) as callers:
            callers.wait()
        talking.wait()
    assert started()[1 - busy] == before[1 - busy] + 3
    assert site.gateways[busy].wait_for_exit() == 0
    site.start(busy)


def test_audio_goes_on_when_the_proxy_dies(site: Site) -> None:
    (speech := site.folder / "speech").write_bytes(b"\x10" * 8000)
    marks = [gateway.mark() for gateway in site.gateways]

    def lines(event: str) -> list[dict[str, object]]:
        found = zip(site.gateways, marks, strict=True)
        return [line for gateway, mark in found for line in gateway.found(event, since=mark)]

    wait_until(lambda: any(site.proxy.gateways().values()), "a gateway, alive for the proxy", 5)
    with site.play([*call(), action(f'<exec rtp_stream="{speech},-1,0"/>'), pause(60_000)], within_s=90) as caller:
        wait_until(lambda: lines("call started"), "the call", 5)
        time.sleep(0.5)
        site.proxy.kill()
        time.sleep(MEDIA_TIMEOUT_S + 1)
        assert not lines("call ended")
        caller.kill()
        wait_until(lambda: lines("call ended"), "the end of the call", MEDIA_TIMEOUT_S + 1)
