"""Many calls at once through the PBX: none is lost, no packet is lost. `make test-load` asks for 20 calls and 60 s."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.interop.conftest import GatewayMaker, SpeechServerMaker
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ
from tests.support.listening import resampled, tone, tone_seconds

CALLS = int(os.environ.get("LOAD_CALLS", "20"))
SECONDS = int(os.environ.get("LOAD_SECONDS", "10"))
MODEL_TONE_HZ = 440.0


def rtp_as_the_pbx_counts(pbx: Pbx) -> list[tuple[int, int]]:
    """(packets received, packets lost) of every leg between PBX and gateway."""
    rows = re.findall(r"gateway\S*\s+\d\d:\d\d:\d\d\s+\S+\s+(\d+)K?\s+(\d+)", pbx.console("pjsip show channelstats"))
    return [(int(received), int(lost)) for received, lost in rows]


def test_calls_at_once_lose_nothing(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    server = make_speech_server([tone(MODEL_TONE_HZ, SECONDS, rate_hz=MODEL_RATE_HZ)] * CALLS)
    gateway = make_gateway(realtime_url=server.url, log_level="info")
    gateway.wait_until_registered()
    for number in range(CALLS):
        pbx.originate("7000", prompt="demo-congrats&demo-congrats", delay_s=0, record=f"load-{number}", stay_s=60)
    wait_until(lambda: len(server.conversations) == CALLS, f"{CALLS} sessions", 20)
    last = server.conversations[-1]
    wait_until(lambda: last.uplink_s > SECONDS, f"{SECONDS} s of the last call", SECONDS + 30)
    counted = rtp_as_the_pbx_counts(pbx)
    pbx.hang_up_all()
    wait_until(lambda: len(gateway.found("call ended")) == CALLS, "all calls ended", 10)
    ended = gateway.found("call ended")
    gateway.terminate()
    assert gateway.wait_for_exit() == 0
    figures = gateway.wait_for("gateway stopped")
    with capsys.disabled():
        report(ended, counted, figures)
    assert figures["media_failures"] == 0
    assert (figures["legs_left"], figures["rtp_ports_left"], figures["calls_left"]) == (0, 0, 0)
    assert len(counted) == CALLS
    assert sum(lost for _, lost in counted) == 0
    assert sum(line["rtp_lost"] for line in ended) == 0
    for line in ended:
        # Nothing was lost, as both sides count; when each of them begins to send is up to the machine.
        assert line["rtp_sent"] == pytest.approx(line["duration_s"] * 50, rel=0.02, abs=50)
        assert line["rtp_received"] == pytest.approx(line["duration_s"] * 50, rel=0.02, abs=50)
    for conversation in server.conversations:
        assert tone_seconds(resampled(conversation.uplink, MODEL_RATE_HZ, 8000), MODEL_TONE_HZ) < 1


def report(ended: list[dict[str, float]], counted: list[tuple[int, int]], figures: dict[str, float]) -> None:
    """Print the figures an operator would ask for."""
    received, lost = sum(count for count, _ in counted), sum(count for _, count in counted)
    worst = {name: max(line[name] for line in ended) for name in ("setup_ms", "first_audio_ms", "jitter_ms")}
    late = {name: value for name, value in figures.items() if name.startswith("late_") or name == "ticks_missed"}
    sys.stdout.write(
        f"\n{len(ended)} calls; the PBX got {received} packets and missed {lost}\n"
        f"worst call: {worst}\nsent behind its deadline: {late}\n"
    )
