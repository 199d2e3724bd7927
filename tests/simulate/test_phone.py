"""Two telephones that are programs, calling each other: the tool that the other tests stand on."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from gateway.simulate.load import LoadOptions, babble, run_load
from gateway.simulate.phone import Phone, PhoneOptions
from gateway.simulate.phone_call import write_wav
from gateway.sip.message import Address
from gateway.sip.sdp import Direction
from tests.support.aio import eventually
from tests.support.listening import tone, tone_seconds

ANYBODY = {"anybody": Address("127.0.0.1", 9)}


@pytest.fixture
async def callee() -> AsyncIterator[Phone]:
    async with Phone(PhoneOptions(user="callee", peers=ANYBODY, answers=True, rtp_ports=(42400, 42799))) as phone:
        yield phone


@pytest.fixture
async def caller(callee: Phone) -> AsyncIterator[Phone]:
    options = PhoneOptions(user="caller", peers={"callee": callee.address}, rtp_ports=(42800, 43199))
    async with Phone(options) as phone:
        yield phone


async def test_both_hear_each_other_on_one_time_line(caller: Phone, callee: Phone) -> None:
    call = caller.dial("callee", "1")
    other = await asyncio.wait_for(callee.incoming.get(), 3)
    await asyncio.wait_for(call.answered.wait(), 3)
    call.say(tone(700, 0.5))
    other.say(tone(1600, 0.5))
    await eventually(lambda: tone_seconds(call.heard(), 1600) > 0.4, 3)
    await eventually(lambda: tone_seconds(other.heard(), 700) > 0.4, 3)
    both = call.recording()
    assert tone_seconds(both[:, 0], 700) == pytest.approx(0.5, abs=0.04)
    assert tone_seconds(both[:, 1], 1600) > 0.4
    call.hang_up()
    await asyncio.wait_for(other.ended.wait(), 3)
    assert other.ended_by_peer
    assert not call.ended_by_peer


async def test_telephone_that_does_not_answer_is_busy(caller: Phone) -> None:
    async with Phone(PhoneOptions(peers=ANYBODY)) as silent, Phone(PhoneOptions(peers={"x": silent.address})) as phone:
        call = phone.dial("x", "1")
        await eventually(call.ended.is_set, 3)
        assert call.refused == 486


async def test_hold_is_agreed_and_taken_back(caller: Phone, callee: Phone) -> None:
    call = caller.dial("callee", "1")
    await asyncio.wait_for(call.answered.wait(), 3)
    assert (await caller.hold(call)).direction is Direction.SENDONLY
    assert (await caller.resume(call)).direction is Direction.SENDRECV
    call.hang_up()


async def test_speech_and_silence_are_waited_for_and_missed_in_time(caller: Phone, callee: Phone) -> None:
    call = caller.dial("callee", "1")
    other = await asyncio.wait_for(callee.incoming.get(), 3)
    await asyncio.wait_for(call.answered.wait(), 3)
    with pytest.raises(TimeoutError):
        await call.wait_for_speech(from_ms=0, within_s=0.3)
    other.say(tone(1000, 0.3))
    start_ms = await call.wait_for_speech(from_ms=0, within_s=3)
    end_ms = await call.wait_for_silence(lasting_ms=200, within_s=3)
    assert end_ms - start_ms == pytest.approx(300, abs=60)
    call.hang_up()


async def test_load_counts_what_the_callers_noticed(caller: Phone, callee: Phone) -> None:
    options = LoadOptions(calls=5, rate_cps=50, hold_s=0.6, peer="callee")
    result = await run_load(caller, options)
    assert (result.calls, result.answered, result.refused, result.concurrent) == (5, 5, 0, 5)
    assert result.packets_lost == 0
    assert result.packets_received == pytest.approx(5 * 0.6 * 50, rel=0.3)
    await eventually(lambda: not caller.calls and not callee.calls, 3)


def test_babble_is_audible_and_the_same_for_the_same_seed() -> None:
    assert np.array_equal(babble(0.5, 1), babble(0.5, 1))
    assert not np.array_equal(babble(0.5, 1), babble(0.5, 2))
    assert np.abs(babble(0.5, 1).astype(np.int32)).max() > 2000


def test_recording_is_written_with_the_caller_left(tmp_path: Path) -> None:
    both = np.stack([tone(700, 0.2), tone(1600, 0.2)], axis=1)
    write_wav(tmp_path / "a.wav", both)
    with wave.open(str(tmp_path / "a.wav")) as file:
        read = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    assert tone_seconds(read[:, 0], 700) > 0.15
    assert tone_seconds(read[:, 1], 1600) > 0.15
