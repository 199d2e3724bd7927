"""A caller at a real PBX whom nobody takes leaves a message: it is kept, written down, and told to others."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.interop.conftest import GatewayMaker, Speak
from tests.interop.pbx import Pbx, wait_until
from tests.support.http_server import HttpServer, answer
from tests.support.listening import identify, read_wav, write_wav
from tests.support.mail_server import MailServer

PLAN = """\
version: 1
name: office
timezone: UTC
contacts:
  desk: {dial: [sip:6003], mode: attended}
mailboxes:
  night:
    say: Please leave a message.
    silence: 10s
    notify:
      - webhook: {url: "%(hook)s/left"}
      - email: {to: [desk@office.example]}
routes:
  - {name: night, match: {to: "7000"}, do: [{transfer: desk}, {voicemail: night}]}
"""
SENTENCE = "What are your opening hours?"
OTHERS = ("Connect me with sales.", "Where is your office?", "Can I talk to an operator?")
Served = TypeVar("Served")


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """A server with an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(5)
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _closed(server: AbstractAsyncContextManager[Any]) -> None:
    await server.__aexit__(None, None, None)


def test_a_caller_whom_nobody_takes_leaves_a_message_that_is_kept_and_told(
    pbx: Pbx, make_gateway: GatewayMaker, speak: Speak, tmp_path: Path
) -> None:
    said = pbx.add_prompt(write_wav(tmp_path / "message.wav", speak(SENTENCE)))
    with (
        in_a_thread(HttpServer(answers=[answer(b"thanks", kind="text/html")])) as web,
        in_a_thread(MailServer()) as mail,
    ):
        gateway = make_gateway(
            dialplan=PLAN.replace("%(hook)s", web.url),
            records={"voicemail": {"folder": str(tmp_path / "kept"), "min_free": "0"}},
            mail={"host": "127.0.0.1", "port": mail.port, "security": "none", "from": "gateway@office.example"},
        )
        gateway.wait_until_registered()
        pbx.originate("7000", after=said, delay_s=6, stay_s=0.3)
        ended = gateway.wait_for("call ended", timeout_s=40)
        wait_until(lambda: bool(web.asked and mail.received), "request and letter", 15)
        configuration = gateway.configuration
    (left,) = ended["left"]
    assert (left["mailbox"], left["kind"], ended["cause"]) == ("night", "voicemail", "remote_bye")
    sound, rate_hz = read_wav(Path(left["file"]))
    assert (len(sound) / rate_hz, rate_hz) == (pytest.approx(left["seconds"], abs=0.06), 8000)
    assert identify(sound, {text: speak(text) for text in (SENTENCE, *OTHERS)}) == SENTENCE
    (asked,) = web.asked
    told = json.loads(asked.body)
    assert (told["mailbox"], told["called"], told["file"]) == ("night", "7000", left["file"])
    assert told["text"].lower() == "what are your opening hours"
    (letter,) = mail.received
    assert letter.recipients == ("desk@office.example",)
    assert letter.sound == Path(left["file"]).read_bytes()
    assert told["text"] in letter.text
    command = [
        sys.executable,
        "-m",
        "gateway",
        "voicemail",
        "show",
        "-c",
        str(configuration),
        told["message"],
        "--json",
    ]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (shown["text"], shown["seconds"]) == (told["text"], told["seconds"])
    assert [notice["state"] for notice in shown["notices"]] == ["delivered", "delivered"]
