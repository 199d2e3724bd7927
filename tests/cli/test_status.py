"""What operators are told of strangers: soon, by source, and not more often than they can read."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest
from structlog.testing import capture_logs

from gateway.cli.status import report_sources, watch_signalling
from gateway.sip.guard import REPORTED_SOURCES
from gateway.sip.hop import Hop
from gateway.sip.user_agent import UserAgent
from gateway.transport.sip_endpoint import EndpointCounters
from tests.support.aio import eventually
from tests.support.wire import PBX, STRANGER, ScriptedPeer, gateway_options


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
