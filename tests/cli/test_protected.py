"""A running gateway and a caller who talks over a protected prompt: they hear it whole, and the model hears them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from gateway.simulate.phone_call import PhoneCall
from tests.support.gateway_rig import PLAN, gateway_rig
from tests.support.listening import tone, tone_seconds, write_wav
from tests.support.realtime_server import ServerSession, Speech

NOTICE_HZ, GREETING_HZ, CALLER_HZ = 700, 1000, 440
NOTICE_S, GREETING_S, CALLER_S = 2.0, 20.0, 0.6


def seconds_said(peer: ServerSession) -> float:
    """Of the caller's voice, at the model."""
    heard = np.frombuffer(bytes(peer.audio[: len(peer.audio) // 2 * 2]), "<i2")
    return tone_seconds(heard, CALLER_HZ, rate_hz=24000)


async def hears(call: PhoneCall, frequency_hz: float, seconds: float) -> None:
    while tone_seconds(call.heard(), frequency_hz) < seconds:
        await call.wait_until(call.time_ms + 60, within_s=20)


@pytest.mark.heavy
async def test_a_protected_prompt_is_heard_whole_and_barge_in_works_behind_it(tmp_path: Path) -> None:
    write_wav(tmp_path / "notice.wav", tone(NOTICE_HZ, NOTICE_S))
    plan = PLAN.replace("greeting:", "protect: notice.wav, greeting:")
    async with gateway_rig(tmp_path, plan=plan) as rig, asyncio.timeout(60):
        greeting = tone(GREETING_HZ, GREETING_S, rate_hz=24000).astype("<i2").tobytes()
        rig.provider.replies = [Speech(audio=greeting, text="Welcome.")]
        call = rig.phone.dial("gateway", "7000")
        await call.answered.wait()
        peer = await rig.provider.session()

        # The caller talks over the notice, and a provider that claims to hear them changes nothing.
        await hears(call, NOTICE_HZ, 0.4)
        call.say(tone(CALLER_HZ, CALLER_S))
        await peer.start_speech()
        await hears(call, NOTICE_HZ, 1.0)
        assert len(peer.audio) == 0
        assert tone_seconds(call.heard(), GREETING_HZ) == 0

        # It is heard to its end, then comes the greeting, and the model is told what the caller said.
        await hears(call, GREETING_HZ, 0.2)
        assert tone_seconds(call.heard(), NOTICE_HZ) > NOTICE_S - 0.15
        assert seconds_said(peer) > CALLER_S - 0.15

        # Now the caller breaks in, and the model learns how much was heard.
        await peer.start_speech()
        assert (await peer.received("conversation.item.truncate"))["audio_end_ms"] < 1000 * GREETING_S / 2
        await call.wait_for_silence(lasting_ms=400, within_s=10)
        assert tone_seconds(call.heard(), GREETING_HZ) < GREETING_S / 2
        call.hang_up()
        ended = await rig.log("call ended")
        assert ended["barge_ins"] == 1
