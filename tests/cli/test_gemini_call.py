"""Whole calls with Gemini behind them: a telephone that is a program, the gateway, and a scripted Gemini Live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from gateway.calls.events import Outcome
from gateway.calls.record import Speaker
from gateway.cli.service import Service, load_plans
from gateway.config import load_configuration
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.sip.message import Address
from tests.cli.test_service import Notebook
from tests.support.aio import eventually
from tests.support.gemini_server import GeminiServer
from tests.support.listening import tone, tone_seconds
from tests.support.realtime_server import Call, Speech

GREETING_HZ, ANSWER_HZ, CALLER_HZ = 1000, 1600, 700
PLAN = """
version: 1
name: gemini
timezone: UTC
sessions:
  reception: {use: default, greeting: "Welcome.", instructions: "Be kind.", tools: [hang_up]}
routes: [{name: talk, match: {to: "7000"}, do: [{session: reception}]}]
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks: {phones: {peer: "%(phone)s"}}
media: {rtp: {ports: 44400-44599}}
realtime:
  default: {provider: gemini, url: "%(url)s", api_key: test, model: gemini-x, transcription: "on"}
dialplans: [plan.yaml]
limits: {cpu: 0, lag: 0}  # this process runs everybody's part
"""


def pcm24(frequency_hz: float, duration_s: float) -> bytes:
    """A tone as Gemini sends it."""
    return tone(frequency_hz, duration_s, rate_hz=24000).astype("<i2").tobytes()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[tuple[Phone, GeminiServer, Notebook]]:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(GeminiServer())
        gateway = Address("127.0.0.1", free_sip_port("127.0.0.1"))
        phone = await stack.enter_async_context(
            Phone(PhoneOptions(peers={"gateway": gateway}, rtp_ports=(42400, 42599), answers=True))
        )
        (tmp_path / "plan.yaml").write_text(PLAN)
        file = tmp_path / "gateway.yaml"
        file.write_text(CONFIGURATION % {"listen": str(gateway), "phone": str(phone.address), "url": provider.url})
        configuration = load_configuration(file, {})
        notebook = Notebook()
        await stack.enter_async_context(Service(configuration, notebook, load_plans(configuration)))
        yield phone, provider, notebook


@pytest.mark.parametrize("voice_at_s", [1.0, None], ids=["its voice is told", "the interruption alone is told"])
async def test_caller_hears_gemini_breaks_in_is_answered_and_let_go(
    house: tuple[Phone, GeminiServer, Notebook], voice_at_s: float | None
) -> None:
    phone, provider, notebook = house
    provider.replies = [
        Speech(audio=pcm24(GREETING_HZ, 8.0), text="Welcome, and let me tell you all we have.", is_finished=False),
        Speech(audio=pcm24(ANSWER_HZ, 0.5), text="Goodbye."),
    ]
    call = phone.dial("gateway", "7000")
    session = await provider.session()
    async with asyncio.timeout(5):
        await call.answered.wait()
    assert '"Welcome."' in (await session.received("clientContent"))["turns"][0]["parts"][0]["text"]
    assert session.setup["systemInstruction"]["parts"][0]["text"].startswith("Be kind.")
    heard_from_ms = await call.wait_for_speech(from_ms=0, within_s=5)

    call.say(tone(CALLER_HZ, 1.0))
    raw = await session.wait_for_audio(round(32000 * 1.6))
    assert tone_seconds(np.frombuffer(raw, "<i2"), CALLER_HZ, rate_hz=16000) == pytest.approx(1.0, abs=0.15)

    await call.wait_until(heard_from_ms + 800, within_s=5)
    await session.send({"goAway": {"timeLeft": "50s"}})
    await session.interrupt("Wait.", at_s=voice_at_s)
    await call.wait_for_silence(lasting_ms=300, within_s=5)
    assert tone_seconds(call.heard(), GREETING_HZ) < 6  # of eight: what was queued is not heard

    await session.end_turn(" Goodbye.")
    await eventually(lambda: tone_seconds(call.heard(), ANSWER_HZ) > 0.35, 5)
    await session.call([Call(name="hang_up")])
    await eventually(call.ended.is_set, 5)
    await eventually(lambda: bool(notebook.ended), 5)
    record = notebook.ended[-1]
    assert (record.outcome, record.barge_ins, record.tools) == (Outcome.GATEWAY_HUNG_UP, 1, 1)
    said = [(speech.speaker, speech.text) for speech in record.transcript]
    assert (Speaker.AGENT, "Goodbye.") in said
    assert (Speaker.CALLER, "Wait. Goodbye.") in said
    cut = next(speech for speech in record.transcript if speech.text.startswith("Welcome"))
    assert cut.heard_ms is not None
    assert 0 < cut.heard_ms < 6000
    assert record.usage.input_tokens == 40
