"""A human at a real PBX hears who calls and why, takes the call by a key, and has the caller; or the caller is back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.interop.conftest import AGENT_TONE_HZ, GatewayMaker, PhoneMaker, Speak, fail_if_complained
from tests.interop.failed_calls import FailedCalls, call_in_vain
from tests.interop.gateway_process import DIALPLAN, GatewayProcess, GatewaySetup, seconds_between
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import speech_server
from tests.support.listening import identify, read_wav, silence, tone, tone_seconds, write_wav

CALLER_TONE_HZ = 620.0
KEYS_SENTENCE = "Press 1 to take the call, 2 to refuse it."
OTHER_SENTENCES = ("Please leave a message after the tone.", "Nobody is here at the moment.", "Goodbye, and thank you.")
FAILURES = {
    "3": ("engaged", "sip:6003", "busy"),
    "4": ("jammed", "sip:6004", "unreachable"),
    "5": ("endless", "sip:6005", "no answer"),
    "6": ("machine", "sip:6006", "declined (hung up)"),
    "7": ("absent", "sip:1002", "unreachable"),
    "8": ("nowhere", "sip:6999", "not found"),
}
CONTACTS = """\
contacts:
  desk: {dial: [sip:6012], mode: warm, summary: [whisper, header, webhook], webhook: {url: "%(hook)s"}}
  next: {dial: [sip:6003, sip:6012], mode: warm}
"""
ESCALATION = '  - {name: %s, when: {dtmf: "%s"}, do: [{transfer: %s}]}\n'


@dataclass
class Hook:
    """A web service that is told of transfers."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def web_service() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_line: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}/transfers"
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_human_hears_who_calls_and_why_takes_the_call_by_a_key_and_has_the_caller(
    pbx: Pbx, make_gateway: GatewayMaker, make_phone: PhoneMaker, tmp_path: Path, speak: Speak
) -> None:
    plan = DIALPLAN.replace("contacts:\n", CONTACTS) + ESCALATION % ("one", "1", "desk")
    with web_service() as hook:
        gateway = make_gateway(dialplan=plan.replace("%(hook)s", hook.url))
        gateway.wait_until_registered()
        agent = make_phone("agent", plays=tone(AGENT_TONE_HZ, 60))
        said = pbx.add_prompt(write_wav(tmp_path / "said.wav", speak("When do you open tomorrow?")))
        after = pbx.add_prompt(write_wav(tmp_path / "caller-tone.wav", tone(CALLER_TONE_HZ, 20)))
        mark = pbx.log_mark()
        pbx.originate("7000", prompt=said, keys="1", after=after, delay_s=4, stay_s=1, record="warm")
        gateway.wait_for("transfer", state="ringing", timeout_s=20)
        agent.wait_for("CALL_INCOMING")
        summary = wait_until(lambda: [told["summary"] for told in hook.told], "the web service is told", 10)[0]
        sentences = [speak(text, voice="marin") for text in ("Call from an anonymous caller.", summary, KEYS_SENTENCE)]
        agent.answer()
        whispering = gateway.wait_for("transfer", state="whispering")
        time.sleep(len(np.concatenate(sentences)) / 8000 + 1.5)  # all of it is spoken once
        agent.press("1")
        answered = gateway.wait_for("transfer", state="answered")
        gateway.wait_for("transfer", state="handed-over")
        ended = gateway.wait_for("call ended")
        wait_until(lambda: len(hook.told) == 2, "the end of the transfer is told", 5)
        header = pbx.wait_for_log(r"app_verbose.c: LAB6012 reference=([\w-]+) summary=(.*)", since=mark)
        time.sleep(2.5)  # both talk
        agent.hang_up()
        pbx.wait_until_idle()
    assert (ended["outcome"], ended["transfer"], ended["transfer_state"]) == ("transferred", "desk", "handed-over")
    assert [told["state"] for told in hook.told] == ["ringing", "joined"]
    assert (header[1], header[2].strip()) == (ended["call_id"], summary)
    assert summary
    whispered = agent.heard()[: int(8000 * seconds_between(whispering, answered))]
    for sentence in (KEYS_SENTENCE, summary):
        candidates = {text: speak(text, voice="marin") for text in (sentence, *OTHER_SENTENCES)}
        assert identify(whispered, candidates) == sentence
    assert tone_seconds(whispered, CALLER_TONE_HZ) < 0.5
    assert tone_seconds(agent.heard(), CALLER_TONE_HZ) > 1.0
    heard = read_wav(pbx.heard("warm"))[0]
    assert tone_seconds(heard, 425.0) > 0.8
    assert tone_seconds(heard, AGENT_TONE_HZ) > 1.5


@pytest.fixture(scope="module")
def warm_gateway(module_pbx: Pbx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    contacts = "".join(
        f"  {name}: {{dial: [{target}], mode: warm, ring: 3s}}\n" for name, target, _ in FAILURES.values()
    )
    plan = DIALPLAN.replace("contacts:\n", CONTACTS.replace("%(hook)s", "http://127.0.0.1:9/") + contacts)
    plan += "".join(ESCALATION % (name, key, name) for key, (name, _, _) in FAILURES.items())
    plan += ESCALATION % ("one", "1", "desk") + ESCALATION % ("two", "2", "next")
    with speech_server([]) as server:
        setup = GatewaySetup(registrar=module_pbx.address, realtime_url=server.url, dialplan=plan)
        with GatewayProcess.of(setup, tmp_path_factory.mktemp("warm") / "gateway") as gateway:
            gateway.wait_until_registered()
            yield gateway
            figures = gateway.stop()
    fail_if_complained([gateway])
    assert (figures["legs_left"], figures["calls_left"], figures["rtp_ports_left"]) == (0, 0, 0)


@pytest.fixture(scope="module")
def failed(module_pbx: Pbx, warm_gateway: GatewayProcess) -> FailedCalls:
    return call_in_vain(module_pbx, warm_gateway, FAILURES)


@pytest.mark.parametrize(("contact", "why"), [(name, why) for name, _, why in FAILURES.values()])
def test_a_caller_whose_contact_cannot_be_reached_is_back_within_a_second(
    failed: FailedCalls, contact: str, why: str
) -> None:
    state = "timed-out" if contact == "endless" else "failed"
    last = failed.line(contact, "transfer", state=state)
    assert last["why"].startswith(why)
    back = failed.line(contact, "= state", old="transferring", new="talking")
    assert seconds_between(last, back) < 1.0


def test_a_human_who_refuses_by_a_key_gives_the_caller_back_and_one_who_is_busy_gives_way_to_the_next(
    pbx: Pbx, warm_gateway: GatewayProcess, make_phone: PhoneMaker
) -> None:
    mark = warm_gateway.mark()
    agent = make_phone("agent", plays=silence(60))
    channel = pbx.originate("7000", keys="2", delay_s=1, stay_s=20)
    agent.wait_for("CALL_INCOMING")
    agent.answer()
    warm_gateway.wait_for("transfer", since=mark, state="whispering")
    time.sleep(0.5)
    agent.press("2")
    refused = warm_gateway.wait_for("transfer", since=mark, state="failed", why="declined (by a key)")
    back = warm_gateway.wait_for("= state", since=mark, old="transferring", new="talking")
    assert seconds_between(refused, back) < 1.0
    assert warm_gateway.found("transfer", since=mark, state="failed")[0]["why"].startswith("busy")
    agent.wait_for("CALL_CLOSED")
    pbx.hang_up(channel)
    warm_gateway.wait_for("call ended", since=mark)
    pbx.wait_until_idle()


@pytest.mark.parametrize("has_picked_up", [False, True])
def test_a_caller_who_hangs_up_ends_the_humans_call_within_200_ms(
    pbx: Pbx, warm_gateway: GatewayProcess, make_phone: PhoneMaker, has_picked_up: bool
) -> None:
    mark = warm_gateway.mark()
    agent = make_phone("agent")
    channel = pbx.originate("7000", keys="2", delay_s=1, stay_s=20)
    agent.wait_for("CALL_INCOMING")
    if has_picked_up:
        agent.answer()
        warm_gateway.wait_for("transfer", since=mark, state="whispering")
    mark = warm_gateway.mark()
    pbx.hang_up(channel)
    agent.wait_for("CALL_CLOSED")
    ended = warm_gateway.wait_for("call ended", since=mark)
    assert warm_gateway.release_s(since=mark) < 0.2
    pbx.wait_until_idle()
    assert (ended["outcome"], ended["transfer_state"]) == ("caller-hung-up", "caller-gone")
