"""Recordings of a running gateway: a real call, a real file, and what is heard in it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gateway.simulate.phone_call import PhoneCall
from tests.support.gateway_rig import PLAN, Rig, gateway_rig
from tests.support.listening import Samples, silence, tone, tone_seconds, write_wav

CALLER_HZ, AGENT_HZ, QUESTION_HZ = 440, 1000, 2000
"""The agent's is that of the rig's provider."""


def plan_with(folder: Path, record: str) -> str:
    write_wav(folder / "question.wav", tone(QUESTION_HZ, 0.6))
    return PLAN.replace("tools: [hang_up]", f"tools: [hang_up], record: {record}")


def settings_of(folder: Path, **more: str) -> dict[str, str]:
    settings = {"folder": str(folder), "min_free": "0", **more}
    return {f"records.recordings.{name}": value for name, value in settings.items()}


async def conversation(rig: Rig, key: str = "") -> PhoneCall:
    """A caller who answers the question, hears the agent, says something after it and hangs up."""
    call = rig.phone.dial("gateway", "7000")
    async with asyncio.timeout(20):
        await call.answered.wait()
    if key:
        await call.wait_for_silence(lasting_ms=300, within_s=10)
        call.press(key)
    await rig_hears_agent(call)
    call.say(np.concatenate((tone(CALLER_HZ, 1.0), silence(0.5))))
    await call.wait_until(call.time_ms + 2500, within_s=20)
    call.hang_up()
    return call


async def rig_hears_agent(call: PhoneCall) -> None:
    async with asyncio.timeout(20):
        while tone_seconds(call.heard(), AGENT_HZ) < 0.9:
            await call.wait_until(call.time_ms + 100, within_s=20)


def onset_ms(samples: Samples, frequency_hz: float) -> int:
    blocks = (start for start in range(0, len(samples), 160) if tone_seconds(samples[start:][:160], frequency_hz))
    return next(blocks) // 8


def files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("file_format", ["wav", "opus"])
async def test_caller_who_agrees_is_recorded_with_the_agent_beside_them(tmp_path: Path, file_format: str) -> None:
    kept = tmp_path / "kept"
    plan = plan_with(tmp_path, "{consent: ask, play: question.wav}")
    async with gateway_rig(tmp_path, settings=settings_of(kept, format=file_format), plan=plan) as rig:
        call = await conversation(rig, key="1")
        ended = await rig.log("call ended")
    (file,) = files_in(kept)
    assert (ended["recording"], ended["recording_consent"]) == (str(file), "agreed")
    assert ended["recording_ended"] is None
    assert file.suffix == f".{file_format}"
    recorded, rate_hz = soundfile.read(file, dtype="int16")
    assert len(recorded) / rate_hz == pytest.approx(ended["recording_s"], abs=0.06)
    left, right = recorded.T
    assert tone_seconds(left, CALLER_HZ) == pytest.approx(1.0, abs=0.1)
    assert tone_seconds(right, AGENT_HZ) == pytest.approx(1.0, abs=0.1)
    assert tone_seconds(left, AGENT_HZ) == tone_seconds(right, CALLER_HZ) == 0
    assert tone_seconds(right, QUESTION_HZ) < 0.05
    apart_ms = onset_ms(left, CALLER_HZ) - onset_ms(right, AGENT_HZ)
    both = call.recording()
    at_phone_ms = onset_ms(both[:, 0], CALLER_HZ) - onset_ms(both[:, 1], AGENT_HZ)
    assert apart_ms == pytest.approx(at_phone_ms, abs=250)  # jitter buffers of both ends, on a busy machine


@pytest.mark.parametrize("key", ["2", ""])
async def test_caller_who_does_not_agree_leaves_no_file(tmp_path: Path, key: str) -> None:
    kept = tmp_path / "kept"
    plan = plan_with(tmp_path, "{consent: ask, play: question.wav, wait: 1s}")
    async with gateway_rig(tmp_path, settings=settings_of(kept), plan=plan) as rig:
        call = await conversation(rig, key=key)
        ended = await rig.log("call ended")
    assert tone_seconds(call.heard(), QUESTION_HZ) == pytest.approx(0.6, abs=0.1)
    assert (ended["recording"], ended["recording_s"]) == (None, None)
    assert ended["recording_consent"] == ("declined" if key else "unanswered")
    assert not kept.exists() or files_in(kept) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_full_disk_ends_the_recording_and_not_the_call(tmp_path: Path, tiny_disk: Path) -> None:
    (tiny_disk / "filler").write_bytes(bytes(960_000))
    plan = plan_with(tmp_path, "{consent: given}")
    async with gateway_rig(tmp_path, settings=settings_of(tiny_disk), plan=plan) as rig:
        call = await conversation(rig)
        ended = await rig.log("call ended")
        failed = await rig.log("recording failed")
        stopped_clean = [line for line in rig.process.lines if line.get("level") == "error"]
    assert tone_seconds(call.heard(), AGENT_HZ) == pytest.approx(1.0, abs=0.1)
    assert ended["outcome"] == "caller-hung-up"
    assert ended["recording_ended"] == failed["why"] == "No space left on device"
    recorded, _ = soundfile.read(ended["recording"], dtype="int16")
    assert len(recorded) / 8000 == pytest.approx(ended["recording_s"], abs=0.06)
    assert stopped_clean == []


def test_a_plan_that_records_without_a_folder_is_refused_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(plan_with(tmp_path, "{consent: announce, play: question.wav}"))
    (tmp_path / "gateway.yaml").write_text(json.dumps({"dialplans": ["plan.yaml"]}))
    checked = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "-c", str(tmp_path / "gateway.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 2
    assert "plan.yaml:6:" in checked.stderr
    assert "the configuration keeps no recordings" in checked.stderr


def test_check_warns_of_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "plan.yaml").write_text(PLAN)
    configuration = {"dialplans": ["plan.yaml"], "records": {"recordings": {"folder": "file/kept"}}}
    (tmp_path / "gateway.yaml").write_text(json.dumps(configuration))
    checked = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "-c", str(tmp_path / "gateway.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert f"warning: nothing can be recorded in {tmp_path}/file/kept: Not a directory" in checked.stdout
