"""Callers behind a real PBX are understood by the embedded server, and asked back where they are not.

What each is answered is taken from their own recording, by its sound.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.embedded.brain import RECEPTION, load_script
from tests.interop.conftest import GatewayMaker, Speak
from tests.interop.gateway_process import GREETING
from tests.interop.pbx import Pbx
from tests.support.listening import identify, read_wav, write_wav

DIALPLAN = """\
version: 1
name: understanding
timezone: UTC
contacts:
  sales: {dial: [sip:6009], description: who sells}
  support: {dial: [sip:6009], description: who helps}
  billing: {dial: [sip:6009], description: who sends invoices}
sessions:
  reception: {use: default, greeting: "%(greeting)s", instructions: You answer., tools: [transfer, hang_up]}
routes:
  - {name: reception, do: [{session: reception}]}
"""
SCRIPT = load_script(RECEPTION)
CONNECTING = "One moment, I am connecting you to"
SAID = {  # by the name of each caller: sentence, voice, and the answer
    "sales": ("Sales department.", "caller", f"{CONNECTING} sales."),
    "support": ("Connect me to support.", "ash", f"{CONNECTING} support."),
    "billing": ("I need the billing team.", "coral", f"{CONNECTING} billing."),
    "yes": ("Yes, please.", "caller", SCRIPT.intents["confirm"].reply),
    "no": ("No, thank you.", "cedar", SCRIPT.intents["deny"].reply),
    "hours": ("What are your opening hours?", "coral", SCRIPT.intents["hours"].reply),
    "cat": ("My cat has eaten the blue carpet.", "caller", SCRIPT.fallback[0]),
}
GREETING_S = 4.5
ANSWER_S = 7.0
COMPARED_S = 3
"""Of an answer: who cuts a long one off at the end of the call is not to be taken for another."""


@pytest.mark.heavy
def test_callers_are_understood_and_asked_back(
    pbx: Pbx, make_gateway: GatewayMaker, speak: Speak, tmp_path: Path
) -> None:
    make_gateway(dialplan=DIALPLAN).wait_until_registered()
    said = {caller: speak(text, voice=voice) for caller, (text, voice, _) in SAID.items()}
    for caller, samples in said.items():
        name = pbx.add_prompt(write_wav(tmp_path / f"says-{caller}.wav", samples))
        pbx.originate("7000", prompt=name, delay_s=GREETING_S, stay_s=ANSWER_S, record=f"understood-{caller}")
    greeting = speak(GREETING, voice="marin")
    candidates = {text: speak(text, voice="marin")[: COMPARED_S * 8000] for text in answers()}
    pbx.wait_until_idle(30)
    found = {}
    for caller in said:
        heard, _ = read_wav(pbx.heard(f"understood-{caller}"))
        found[caller] = identify(heard[len(greeting) :], candidates)
    assert found == {caller: answer for caller, (_, _, answer) in SAID.items()}


def answers() -> set[str]:
    """All that may be answered to one of them, but the farewell, which is the end of what "no" is answered."""
    connecting = {f"{CONNECTING} {contact}." for contact in ("sales", "support", "billing", "operator")}
    replies = {intent.reply for name, intent in SCRIPT.intents.items() if name != "goodbye"}
    return {*connecting, *(reply for reply in replies if "{" not in reply), *SCRIPT.fallback}
