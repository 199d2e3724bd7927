"""One call seen from its telephones alone: it needs a PBX's SIP address and nothing else of it (ASTERISK_SIP)."""

from __future__ import annotations

import time

from tests.interop.conftest import AGENT_TONE_HZ, PhoneMaker, Speak
from tests.interop.gateway_process import GREETING, GatewayProcess
from tests.interop.pbx import wait_until
from tests.interop.phone import Phone
from tests.interop.test_speech import OTHER_SENTENCES
from tests.support.listening import identify, tone, tone_seconds

CALLER_TONE_HZ = 620.0


def test_a_phone_is_greeted_presses_zero_and_talks_to_the_agent(
    gateway_process: GatewayProcess, make_phone: PhoneMaker, agent_phone: Phone, speak: Speak
) -> None:
    # Too soft to interrupt the greeting.
    alice = make_phone("alice", plays=tone(CALLER_TONE_HZ, 120, level_dbov=-50))
    alice.dial("7000")
    alice.wait_for("CALL_ESTABLISHED")
    time.sleep(4)
    alice.press("0")
    agent_phone.wait_for("CALL_ESTABLISHED")
    time.sleep(3)
    alice.hang_up()
    agent_phone.wait_for("CALL_CLOSED")
    ended = gateway_process.wait_for("call ended")
    assert (ended["outcome"], ended["escalations"]) == ("transferred", ["zero"])
    heard = alice.heard()
    assert (
        identify(heard[: 4 * 8000], {text: speak(text, voice="marin") for text in (GREETING, *OTHER_SENTENCES)})
        == GREETING
    )
    # A telephone's recording is whole some time after its call.
    wait_until(lambda: tone_seconds(alice.heard(), AGENT_TONE_HZ) > 2.0, "the agent in the caller's recording", 5)
    wait_until(lambda: tone_seconds(agent_phone.heard(), CALLER_TONE_HZ) > 2.0, "the caller in the agent's", 15)


def test_the_gateway_leaves_in_order(gateway_process: GatewayProcess) -> None:
    gateway_process.terminate()
    assert gateway_process.wait_for_exit() == 0
    assert gateway_process.found("unregistered")
