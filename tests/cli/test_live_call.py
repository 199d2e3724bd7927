"""A call of a running gateway with a model that is full duplex: over SIP and RTP, and over a real WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.message import Address
from tests.interop.gateway_process import GatewayProcess
from tests.support.gateway_rig import HOST, PLAN, start_gateway
from tests.support.listening import tone, tone_seconds
from tests.support.live_server import LiveServer, LiveServerSession
from tests.support.realtime_server import Speech

GREETING_HZ, MONOLOGUE_HZ, LATE_HZ, ANSWER_HZ, FAREWELL_HZ, CALLER_HZ = 1000, 700, 1500, 1250, 1800, 440
WITHIN_S = 20.0
"""Patience with what takes a second; only a failing test has it all."""


def speech(frequency_hz: int, seconds: float, text: str) -> Speech:
    return Speech(audio=tone(frequency_hz, seconds, rate_hz=24000).astype("<i2").tobytes(), text=text)


@dataclass
class LiveCall:
    """A caller, the gateway's process, and the model's side of it."""

    call: PhoneCall
    process: GatewayProcess
    peer: LiveServerSession

    async def hears(self, frequency_hz: int, seconds: float) -> None:
        """Wait until the caller has heard so much of a tone."""
        async with asyncio.timeout(WITHIN_S):
            while tone_seconds(self.call.heard(), frequency_hz) < seconds:
                await self.call.wait_until(self.call.time_ms + 60, within_s=WITHIN_S)

    async def hears_nothing(self) -> None:
        """Wait until both have said what they had to say, and the caller has heard it."""
        await self.peer.wait_until(lambda: not self.peer.is_speaking, "the end of what is said")
        await self.call.wait_until(max(self.call.time_ms, self.call.said_until_ms) + 300, within_s=WITHIN_S)
        await self.call.wait_for_silence(lasting_ms=300, within_s=WITHIN_S)


@asynccontextmanager
async def live_call(folder: Path) -> AsyncIterator[LiveCall]:
    """A call that is up, the gateway's only trunk being the telephone."""
    address = Address(HOST, free_sip_port(HOST))
    replies = [speech(GREETING_HZ, 0.5, "Welcome."), speech(ANSWER_HZ, 0.5, "I could not put you through.")]
    settings = {"realtime.default.provider": "openai_live", "realtime.default.transcription": "any"}
    plan = PLAN.replace("tools: [hang_up]", "tools: [transfer, hang_up]")
    plan = plan.replace("sessions:", 'contacts: {sales: {dial: ["sip:6001"]}}\nsessions:')
    async with (
        LiveServer(replies=replies) as server,
        Phone(PhoneOptions(peers={"gateway": address}, max_calls=1, rtp_ports=(42000, 42999))) as phone,
    ):
        process = start_gateway(folder, address, server.url, f"{HOST}:{phone.address.port}", settings, plan=plan)
        try:
            await asyncio.to_thread(process.wait_for, "gateway ready", timeout_s=40)
            call = phone.dial("gateway", "7000")
            async with asyncio.timeout(WITHIN_S):
                await call.answered.wait()
            yield LiveCall(call=call, process=process, peer=await server.session())
            call.hang_up()
        finally:
            await asyncio.to_thread(process.close)


async def test_a_call_with_a_full_duplex_model(tmp_path: Path) -> None:
    async with live_call(tmp_path) as live:
        call, peer = live.call, live.peer

        # It is asked for its greeting, and heard.
        assert '"Welcome."' in (await peer.received("session.instructions.append"))["content"]
        await live.hears(GREETING_HZ, 0.4)

        # It is talked over, stops by itself, and the caller hears it stop.
        await peer.speak(speech(MONOLOGUE_HZ, 60.0, "It is a long story."))
        await live.hears(MONOLOGUE_HZ, 0.3)
        call.say(tone(CALLER_HZ, 0.6))
        await live.hears_nothing()
        assert peer.interruptions == 1
        assert tone_seconds(call.heard(), MONOLOGUE_HZ) < 30

        # A stall of the network costs words, and delays nothing that is said behind it.
        peer.stall()
        await peer.speak(speech(LATE_HZ, 2.0, "Nobody heard this in time."))
        await peer.wait_until(lambda: not peer.is_speaking, "the end of what is said")
        await peer.recover()
        await live.hears_nothing()
        assert 0.1 < tone_seconds(call.heard(), LATE_HZ) < 1.5  # of 2 s, of which the newest count

        # A tool runs: its result goes back, once, and the model says what came of it.
        await peer.call_tool("transfer", '{"contact": "nobody"}', times=2)
        item = (await peer.received("response.item.create"))["item"]
        assert json.loads(item["output"])["status"] == "failed"
        await peer.received("response.create")
        await live.hears(ANSWER_HZ, 0.4)
        await live.hears_nothing()

        # It hangs up in mid-sentence, and the caller hears the sentence to its end, pause and all.
        await peer.speak(speech(FAREWELL_HZ, 0.7, "Good-bye,"))
        await peer.speak(Speech(audio=bytes(2 * 12_000), text=""))
        await peer.speak(speech(FAREWELL_HZ, 0.7, " and thank you."))
        await live.hears(FAREWELL_HZ, 0.1)
        await peer.call_tool("hang_up")
        async with asyncio.timeout(WITHIN_S):
            await call.ended.wait()
        assert call.ended_by_peer
        assert tone_seconds(call.heard(), FAREWELL_HZ) >= 1.3

        ended = await asyncio.to_thread(live.process.wait_for, "call ended", timeout_s=10)
        assert (ended["outcome"], ended["cause"], ended["tools"]) == ("gateway-hung-up", "model", 2)
        assert ended["input_tokens"] == 60  # of three replies of the backend
        await peer.wait_closed()
        assert peer.kinds()[-1] == "session.close"
        assert peer.kinds().count("response.item.create") == 1
        assert peer.faults == []
        assert live.process.complaints() == []
