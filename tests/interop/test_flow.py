"""A caller at a real PBX goes through a dialplan without a model: menu, digits, a web service, a queue."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.interop.conftest import GatewayMaker, Speak
from tests.interop.pbx import Pbx, wait_until
from tests.support.http_server import HttpServer, answer
from tests.support.listening import align, read_wav, silence, write_wav

PLAN = """\
version: 1
name: flow
timezone: UTC
contacts:
  support: {dial: [sip:6002]}
routes:
  - name: front
    match: {to: "7000"}
    do:
      - ring: 1s
      - menu:
          say: Press one to ask about an order.
          1: [{goto: order}]
          words: {1: [order status, an order]}
          other: [{hang_up: true}]
          timeout: [{hang_up: true}]
  - name: order
    match: {to: "0"}
    do:
      - collect: {say: Please enter the number of your order., into: order, digits: 4}
      - hook: {url: "%(url)s/orders", sets: [name], failed: [{hang_up: true}]}
      - queue: support
"""
PROMPT = "Press one to ask about an order."
TOLD = "Thank you Ann, your order is on its way to you since this morning."
NUMBER = "Please enter the number of your order."
WAITS = re.compile(r"Callers: *\n")


@contextmanager
def web_service(said: object) -> Iterator[HttpServer]:
    """A web service in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = HttpServer(answers=[answer(said)])
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(5)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def test_a_caller_finds_the_queue_by_keys_and_a_web_service(
    pbx: Pbx, make_gateway: GatewayMaker, speak: Speak, tmp_path: Path
) -> None:
    """A wrong key first, which asks again; then 1, four digits, a hash that nobody needs. The next caller says it."""
    hook = {"do": [{"say": "Thank you {vars.name}, your order is on its way to you since this morning."}]}
    with web_service({**hook, "set": {"name": "Ann"}}) as service:
        gateway = make_gateway(dialplan=PLAN.replace("%(url)s", service.url))
        gateway.wait_until_registered()
        mark = pbx.log_mark()
        # each w is half a second
        caller = pbx.originate("7000", keys="9wwwwww1wwww4711#", delay_s=1.5, stay_s=20, record="keys")
        ended = gateway.wait_for("call ended", timeout_s=30)
        wait_until(lambda: WAITS.search(pbx.console("queue show support")), "a caller in the queue", 5)
        pbx.hang_up(caller)
        pbx.wait_until_idle()
        words = write_wav(tmp_path / "words.wav", np.concatenate([speak("I ask about an order please"), silence(1)]))
        pbx.originate("7000", prompt=pbx.add_prompt(words), delay_s=3, stay_s=4, record="words")
        gateway.wait_for("call ended", outcome="caller-hung-up", timeout_s=20)
    assert (ended["outcome"], ended["transfer"], ended["route"]) == ("transferred", "support", "front")
    pbx.wait_for_log(r"Executing \[6002@", since=mark)
    (asked,) = service.asked
    sent = json.loads(asked.body)
    assert (sent["vars"], sent["keys"], sent["called"]) == ({"order": "4711"}, "91", {"number": "7000"})
    assert heard_of(pbx, "keys", speak) == {PROMPT, NUMBER, TOLD}
    assert heard_of(pbx, "words", speak) == {PROMPT, NUMBER}


def heard_of(pbx: Pbx, record: str, speak: Speak) -> set[str]:
    """Which of the sentences a caller has heard."""
    heard, _ = read_wav(pbx.heard(record))
    fits = {text: align(speak(text, voice="marin"), heard, pieces=2).correlation for text in (PROMPT, NUMBER, TOLD)}
    return {text for text, fit in fits.items() if fit > 0.65}
