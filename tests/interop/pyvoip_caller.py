"""A stock pyVoIP `VoIPPhone` (1.6.8) that makes one call: run as a process of its own by the tests.

    python -m tests.interop.pyvoip_caller PBX_PORT NUMBER SAID.wav HEARD.wav SECONDS [--after SECONDS]

It registers as `pyvoip`, calls, says SAID (8 kHz mono) after `--after` seconds, records what it hears, hangs up after
SECONDS, and prints one JSON line: `{"status": ..., "answered_after_s": ...}`.

What it is like, and why it fits a test: it answers no OPTIONS (its account is not qualified); it has no transactions,
so that a lost INVITE hangs it for ever (its process ends itself, try again); its ACK carries a wrong To tag, and a PBX
ends the call after 32 s (so calls here are short); it hears nothing of the first second; audio is 8-bit linear (enough
to tell sentences apart, not to judge quality); it sends less than 50 frames a second, the fewer the busier the machine.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from pyVoIP.VoIP import CallState, PhoneStatus, VoIPPhone
from pyVoIP.VoIP.VoIP import VoIPCall

from tests.interop.pbx import HOST, free_port, wait_until
from tests.support.listening import read_wav, write_wav

READ_SAMPLES = 160
UNHEARD = 0x80  # 8-bit silence
CALL_DEADLINE_S = 20


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("pbx_port", type=int)
    parser.add_argument("number")
    parser.add_argument("said", type=Path)
    parser.add_argument("heard", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--after", type=float, default=1.0)
    arguments = parser.parse_args()
    signal.alarm(int(arguments.seconds) + CALL_DEADLINE_S)
    first_rtp = 52000 + 4 * (free_port() % 1000)
    phone = VoIPPhone(
        HOST, arguments.pbx_port, "pyvoip", "lab-pyvoip", myIP=HOST, sipPort=free_port(), rtpPortLow=first_rtp,
        rtpPortHigh=first_rtp + 3,
    )  # fmt: skip
    phone.start()
    try:
        wait_until(lambda: phone.get_status() == PhoneStatus.REGISTERED, "registration of pyVoIP", 10)
        result = talk(phone.call(arguments.number), arguments)
    finally:
        phone.stop()
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def talk(call: VoIPCall, arguments: argparse.Namespace) -> dict[str, object]:
    dialled_s = time.monotonic()
    wait_until(lambda: call.state == CallState.ANSWERED, "the answer", 15)
    answered_s = time.monotonic()
    said = False
    heard = bytearray()
    while call.state == CallState.ANSWERED and time.monotonic() < answered_s + arguments.seconds:
        if not said and time.monotonic() > answered_s + arguments.after:
            call.write_audio(eight_bit(arguments.said))
            said = True
        heard += call.read_audio(READ_SAMPLES, blocking=False)
        time.sleep(READ_SAMPLES / 8000)
    status = call.state.value
    if call.state == CallState.ANSWERED:
        call.hangup()
    samples = (np.frombuffer(bytes(heard), np.uint8).astype(np.int16) - UNHEARD) * 256
    write_wav(arguments.heard, samples)
    return {"status": status, "answered_after_s": round(answered_s - dialled_s, 2)}


def eight_bit(file: Path) -> bytes:
    """pyVoIP's audio: unsigned 8-bit linear at 8 kHz."""
    samples, _ = read_wav(file)
    return bytes(((samples.astype(np.int32) >> 8) + UNHEARD).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main())
