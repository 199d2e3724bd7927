"""A running gateway with a provider whose audio has another rate each way: a real call, heard on both sides."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.support.dialect_server import KEY, DialectServer
from tests.support.gateway_rig import gateway_rig
from tests.support.listening import tone, tone_seconds
from tests.support.realtime_server import Speech

CALLER_HZ, AGENT_HZ = 440, 1000


@pytest.mark.heavy
async def test_caller_and_model_hear_each_other_at_the_rates_of_the_provider(tmp_path: Path) -> None:
    agent = Speech(audio=tone(AGENT_HZ, 1.0, rate_hz=24000).astype("<i2").tobytes())
    async with DialectServer("qwen", replies=[agent]) as server:
        session = {"provider": "qwen", "url": server.root, "model": "m", "api_key": KEY}
        settings = {f"realtime.default.{name}": value for name, value in session.items()}
        async with gateway_rig(tmp_path, settings=settings) as rig, asyncio.timeout(60):
            call = rig.phone.dial("gateway", "7000")
            await call.answered.wait()
            while tone_seconds(call.heard(), AGENT_HZ) < 0.9:
                await call.wait_until(call.time_ms + 100, within_s=20)
            peer = await server.dialect_session()
            call.say(tone(CALLER_HZ, 1.0))
            await call.wait_until(call.time_ms + 1500, within_s=20)
            heard = np.frombuffer(bytes(peer.audio[: len(peer.audio) // 2 * 2]), "<i2")
            assert tone_seconds(heard, CALLER_HZ, rate_hz=16000) > 0.8
            assert peer.violations == []
