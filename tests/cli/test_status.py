"""What operators are told of strangers: soon, by source, and not more often than they can read."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, MutableMapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gateway.calls.logbook import CallLogbook
from gateway.cli.service import Service, load_plans
from gateway.cli.status import log_status, report_sources, watch_signalling
from gateway.config import Configuration, load_configuration
from gateway.simulate.phone import free_sip_port
from gateway.sip.auth import DigestCredentials, parse_challenges
from gateway.sip.auth_server import InboundAuth
from gateway.sip.guard import REPORTED_SOURCES
from gateway.sip.hop import Hop
from gateway.sip.message import Request, make_response, parse_message
from gateway.sip.reject_reason import RejectReason
from gateway.sip.user_agent import UserAgent, UserAgentOptions
from gateway.transport.sip_endpoint import EndpointCounters
from tests.support.aio import eventually
from tests.support.wire import (
    PBX,
    STRANGER,
    ScriptedPeer,
    Wire,
    description,
    gateway_on,
    gateway_options,
    scripted_on,
    trunk_options,
)


def user_agent() -> UserAgent:
    return UserAgent(gateway_options(), Random(1))


def test_each_source_is_one_line_and_the_rest_is_summed_up() -> None:
    agent = user_agent()
    for number in range(50):
        for _ in range(2 if number < REPORTED_SOURCES else 1):
            agent.receive_datagram(b"x", Hop(f"10.7.0.{number}", 5060), time.monotonic())
    with capture_logs() as lines:
        assert report_sources(agent)
        assert not report_sources(agent)
    assert len(lines) == REPORTED_SOURCES + 1
    assert {(line["dropped"], line["banned"]) for line in lines[:-1]} == {(2, False)}
    assert (lines[-1]["sources"], lines[-1]["dropped"]) == (40, 40)


def test_the_line_of_a_trunks_own_server_names_the_trunk_and_the_setting() -> None:
    account = InboundAuth(username="office", password="correct horse")
    wire = Wire(now=time.monotonic())
    gateway, pbx = gateway_on(wire, trunk_options(inbound_auth=account)), scripted_on(wire)
    pbx.send(pbx.request("OPTIONS"))
    wire.run(0.1)
    (challenge, *_) = parse_challenges(pbx.responses(401)[0].headers.get_all("WWW-Authenticate"))
    again = pbx.request("OPTIONS", cseq=2)
    guess = DigestCredentials(challenge, account.username, "wrong")
    again.headers.set("Authorization", guess.authorization("OPTIONS", str(again.uri)))
    pbx.send(again)
    wire.run(0.1)
    with capture_logs() as lines:
        assert report_sources(gateway.user_agent)
    (line,) = lines
    assert (line["event"], line["source"], line["banned"]) == ("source refused", PBX.host, False)
    assert (line["trunk"], line["setting"], line["wrong_credentials"]) == ("pbx", "inbound_auth", 1)


async def test_a_first_stranger_is_told_soon_and_then_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.status.WATCH_PERIOD_S", 0.01)
    agent = user_agent()
    with capture_logs() as lines:
        watch = asyncio.create_task(watch_signalling(agent, EndpointCounters().as_dict))
        await asyncio.sleep(0)  # it has looked at the counts
        agent.receive_datagram(b"x", STRANGER, time.monotonic())
        await eventually(lambda: lines, 2)
        agent.receive_datagram(b"x", STRANGER, time.monotonic())
        agent.receive_datagram(b"garbage", PBX, time.monotonic())
        await eventually(lambda: len(lines) > 1, 2)
        monkeypatch.setattr("gateway.cli.status.REPORT_PERIOD_S", 0.0)
        await eventually(lambda: len(lines) > 2, 2)
        watch.cancel()
    assert [line["event"] for line in lines] == ["source refused", "sip messages refused", "source refused"]
    assert lines[1]["malformed"] == 1
    assert PBX.host in lines[1]["last_malformed"]


@pytest.mark.parametrize(("masks_numbers", "number"), [(True, "…678"), (False, "4915112345678")])
async def test_what_is_wrong_with_a_message_is_told_without_secrets_and_numbers(
    monkeypatch: pytest.MonkeyPatch, masks_numbers: bool, number: str
) -> None:
    monkeypatch.setattr("gateway.cli.status.WATCH_PERIOD_S", 0.01)
    agent = user_agent()
    flawed = b"INVITE sip:4915112345678:canary@10.0.0.1?Subject=x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\r\n"
    with capture_logs() as lines:
        counts = EndpointCounters().as_dict
        watch = asyncio.create_task(watch_signalling(agent, counts, masks_numbers=masks_numbers))
        await asyncio.sleep(0)  # it has looked at the counts
        agent.receive_datagram(flawed, Hop(PBX.host, 65061), time.monotonic())
        await eventually(lambda: lines, 2)
        watch.cancel()
    told = lines[0]["last_malformed"]
    assert told.startswith(f"{PBX.host}:65061: ")
    assert f"sip:{number}:***@" in told
    assert "canary" not in told


async def test_what_is_told_of_a_peer_is_told_by_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.status.WATCH_PERIOD_S", 0.01)
    agent, pbx = user_agent(), ScriptedPeer()
    with capture_logs() as lines:
        watch = asyncio.create_task(watch_signalling(agent, EndpointCounters().as_dict))
        await asyncio.sleep(0)  # it has looked at the counts
        agent.receive_datagram(pbx.request("MESSAGE").to_bytes(), PBX, time.monotonic())
        agent.receive_datagram(pbx.request("BYE", to_tag="gone").to_bytes(), PBX, time.monotonic())
        await eventually(lambda: lines, 2)
        watch.cancel()
    told = lines[0]
    assert (told["event"], told["unsuitable"], told["unknown_dialog"]) == ("sip messages refused", 1, 1)
    assert "last_malformed" not in told


PLAN = """
version: 1
name: status
timezone: UTC
sessions: {reception: {use: default}}
routes: [{name: talk, match: {to: "7001"}, do: [{session: reception}]}]
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks:
    office: {registrar: "sip:%(registrar)s", username: gateway, password: secret, expires: 300s}
    branch: {peer: "%(peer)s"}
media: {rtp: {ports: 44400-44499}}
realtime: {default: {provider: openai, url: "ws://127.0.0.1:9/v1", api_key: test, model: test}}
dialplans: [plan.yaml]
limits: {ban_after: 3, cpu: 0, lag: 0}
"""


class UdpPbx(asyncio.DatagramProtocol):
    """Agrees to all requests and acknowledges all refusals, until it is silent."""

    def __init__(self) -> None:
        self.is_silent = False
        self.transport: asyncio.DatagramTransport
        self.hop: Hop
        self.writer: ScriptedPeer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.hop = Hop(*transport.get_extra_info("sockname"))
        self.writer = ScriptedPeer(self.hop)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        message = parse_message(data)
        if self.is_silent:
            return
        if isinstance(message, Request):
            expires = (
                (("Expires", "300"), ("Contact", str(message.headers.get("Contact"))))
                if message.method == "REGISTER"
                else ()
            )
            self.transport.sendto(make_response(message, 200, to_tag="pbx", headers=expires).to_bytes(), source)
        elif message.status >= 300:
            ack = self.writer.request("ACK", branch="z9hG4bK-refused", to_tag=message.to.tag)
            self.transport.sendto(ack.to_bytes(), source)


async def udp_pbx(stack: AsyncExitStack, host: str) -> UdpPbx:
    loop = asyncio.get_running_loop()
    transport, pbx = await loop.create_datagram_endpoint(UdpPbx, local_addr=(host, 0))
    stack.callback(transport.close)
    return pbx


def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers are asked every 0.3 s."""
    options_of = Configuration.user_agent_options

    def hurried(self: Configuration, hops: Mapping[str, tuple[Hop, ...]], product: str) -> UserAgentOptions:
        return replace(options_of(self, hops, product), probe_interval_s=0.3, probe_timeout_s=0.2)

    monkeypatch.setattr(Configuration, "user_agent_options", hurried)


def status_of(service: Service) -> MutableMapping[str, Any]:
    with capture_logs() as lines:
        log_status(service)
    (line,) = lines
    assert line["event"] == "status"
    return line


async def test_status_tells_a_refused_call_a_banned_source_and_a_dead_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    async with AsyncExitStack() as stack:
        registrar, peer = await udp_pbx(stack, "127.0.0.2"), await udp_pbx(stack, "127.0.0.3")
        listen = ("127.0.0.1", free_sip_port("127.0.0.1"))
        (tmp_path / "plan.yaml").write_text(PLAN)
        file = tmp_path / "gateway.yaml"
        names = {"listen": "{}:{}".format(*listen), "registrar": str(registrar.hop), "peer": str(peer.hop)}
        file.write_text(CONFIGURATION % names)
        configuration = load_configuration(file, {})
        lines = stack.enter_context(capture_logs())
        service = Service(configuration, CallLogbook(), load_plans(configuration))
        await stack.enter_async_context(service)

        def told(event: str) -> list[MutableMapping[str, Any]]:
            return [line for line in lines if line["event"] == event]

        await eventually(lambda: told("registered") and told("peer reachable"), 5)
        before = status_of(service)
        assert before["peers"] == {"branch": {"state": "reachable", "server": str(peer.hop)}}
        assert (before["rejected"], before["bans"], before["connections"]) == ({}, 0, 0)

        offer = description("127.0.0.3", 42998).to_bytes()
        call = peer.writer.request(
            "INVITE",
            branch="z9hG4bK-refused",
            headers=(("Identity", "eyJ.e30.c2ln;info=<https://x.example/c.pem>"),),
            body=offer,
            content_type="application/sdp",
        )
        peer.transport.sendto(call.to_bytes(), listen)
        await eventually(lambda: told("call ended"), 5)
        assert (told("call started")[0]["identity"], told("call ended")[0]["outcome"]) == ("unverified", "rejected")
        _, connection = await asyncio.open_connection(*listen, local_addr=("127.0.0.3", 0))
        stack.callback(connection.close)
        stranger = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        stranger.bind(("127.0.0.9", 0))
        for _ in range(5):
            stranger.sendto(b"x", listen)
        peer.is_silent = True
        await eventually(lambda: told("peer unreachable"), 5)
        await eventually(lambda: service.user_agent.counters.rejected[RejectReason.BANNED] >= 2, 5)

        after = status_of(service)
        assert after["peers"] == {"branch": {"state": "unreachable", "server": str(peer.hop)}}
        assert after["registrations"] == {
            "office": {"state": "registered", "server": str(registrar.hop), "expires_s": 300, "status": 200}
        }
        assert after["rejected"] == {"no_route": 1, "stranger": 3, "banned": 2}
        assert (after["bans"], after["connections"], after["calls"]) == (1, 1, 0)
        assert after["rtp_drops"] == {"foreign": 0, "muted": 0, "srtp_failures": 0, "rtcp": 0}
        assert after["one_way_audio"] == {"present": 0}
        assert [(line["trunk"], line["server"]) for line in told("peer unreachable")] == [("branch", str(peer.hop))]
