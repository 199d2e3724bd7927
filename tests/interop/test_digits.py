"""Keys cross the PBX in both directions: as RFC 4733 events, and as INFO where the PBX sends them so."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.simulate.phone import Phone, PhoneOptions
from gateway.sip.message import Address
from tests.interop.conftest import GatewayMaker, SpeechServerMaker
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import Conversation

KEYS = "123#"


def told_to_the_model(conversation: Conversation) -> str:
    items = [event for event in conversation.session.events if event["type"] == "conversation.item.create"]
    return json.dumps(items)


@pytest.mark.parametrize(
    ("account", "number"),
    [pytest.param("gateway", "7000", id="events"), pytest.param("gateway-info", "7008", id="INFO")],
)
def test_keys_of_the_caller_reach_the_model(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, account: str, number: str
) -> None:
    server = make_speech_server([])
    gateway = make_gateway(realtime_url=server.url, account=account)
    gateway.wait_until_registered()
    pbx.trace_sip()
    mark = pbx.log_mark()
    pbx.originate(number, keys=KEYS, delay_s=1, stay_s=10)
    conversation = server.wait_for_conversation()
    wait_until(lambda: "1 2 3 #" in told_to_the_model(conversation), "the keys, told to the model", 10)
    assert (f"INFO sip:{account}@" in pbx.log_since(mark)) == (account == "gateway-info")


async def test_keys_that_we_send_are_understood_by_the_pbx(pbx: Pbx) -> None:
    mark = pbx.log_mark()
    options = PhoneOptions(user="simulated", peers={"pbx": Address(*pbx.address)})
    async with Phone(options) as phone:
        call = phone.dial("pbx", "602")
        async with asyncio.timeout(5):
            await call.answered.wait()
        await call.wait_for_speech(from_ms=0, within_s=5)
        call.press("7590")
        await asyncio.to_thread(pbx.wait_for_log, "LAB602 digits=7590 status=OK", since=mark)
