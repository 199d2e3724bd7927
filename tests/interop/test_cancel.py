"""A caller gives up while the gateway is about to answer: CANCEL and 200 cross, and no half call stays behind."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

from tests.interop.conftest import SESSION_DELAY_S, GatewayMaker, SpeechServerMaker
from tests.interop.pbx import Pbx, wait_until

RACES = int(os.environ.get("CANCEL_RACES", "50"))
LONGEST_PATIENCE_S = 0.3
RATE_CPS = 15.0  # the gateway takes 20 new calls a second from a trunk in the long run


def test_cancel_and_answer_may_cross_in_any_order(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    # A port rests for 30 s after its call: the long run holds some 450.
    gateway = make_gateway(realtime_url=make_speech_server([], SESSION_DELAY_S).url, log_level="info", rtp_ports=2000)
    gateway.wait_until_registered()

    def give_up(patience_s: float) -> None:
        channel = pbx.originate("7000", delay_s=0, stay_s=30)
        time.sleep(patience_s)
        pbx.hang_up(channel)

    chance = random.Random(2543)
    started_s = time.monotonic()
    with ThreadPoolExecutor(8) as callers:
        races = []
        for number in range(RACES):
            time.sleep(max(0.0, started_s + number / RATE_CPS - time.monotonic()))
            races.append(callers.submit(give_up, chance.uniform(0, LONGEST_PATIENCE_S)))
    for race in races:
        race.result()
    pbx.wait_until_idle(15)
    started = gateway.found("call started")
    wait_until(lambda: len(gateway.found("call ended")) == len(started), "the end of every call", 10)
    ended = gateway.found("call ended")
    assert gateway.found("call refused") == []
    assert len(started) > 0.8 * RACES  # who gives up at once may do so before a busy PBX has sent an INVITE
    assert {line["outcome"] for line in ended} == {"cancelled", "caller-hung-up"}
    assert {line["call_id"] for line in ended} == {line["call_id"] for line in started}
    figures = gateway.stop()
    assert (figures["legs_left"], figures["calls_left"], figures["rtp_ports_left"]) == (0, 0, 0)
