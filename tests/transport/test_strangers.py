"""Nobody but the peer is heard: a stranger who knows port, SSRC and numbers of a stream talks into it in vain."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMU, AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.sip.message import Address
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts
from tests.support import listening
from tests.support.aio import eventually
from tests.support.rtp_packets import rtp_packet

CALLER_HZ, STRANGER_HZ = 500, 2500
FRAMES = 50
MODEL_HZ = 24_000


class Listener:
    """A session that keeps what it hears."""

    def __init__(self) -> None:
        self.audio = b""

    def on_audio(self, audio: bytes) -> None:
        self.audio += audio

    def on_digit(self, digit: str, duration_ms: int) -> None:
        raise AssertionError(f"nobody pressed {digit}")

    def on_item_finished(self, item_id: str, content_index: int) -> None:
        raise AssertionError(f"nobody said {item_id}")


@pytest.fixture
def media() -> Iterator[MediaLoop]:
    ports = RtpPorts(RtpPortOptions(bind_host="127.0.0.1", first_port=20000, last_port=29999))
    media = MediaLoop(MediaEngine(MediaOptions(max_legs=1)), ports)
    yield media
    media.stop()


def frames(frequency_hz: int) -> list[bytes]:
    """A tone as RTP, in 20 ms packets that begin at the same SSRC, sequence number and timestamp whoever sends them."""
    octets = codec.encode(listening.tone(frequency_hz, 4 * FRAMES * 0.02), PCMU).tobytes()
    return [rtp_packet(i, 160 * i, octets[160 * i : 160 * i + 160]) for i in range(4 * FRAMES)]


@pytest.mark.parametrize("stranger_host", ["127.0.0.1", "127.0.0.9"])
async def test_a_stranger_with_the_numbers_of_the_stream_is_not_heard_for_a_moment(
    media: MediaLoop, stranger_host: str
) -> None:
    said, foreign, session = frames(CALLER_HZ), frames(STRANGER_HZ), Listener()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller, socket.socket(type=socket.SOCK_DGRAM) as stranger:
        caller.bind(("127.0.0.1", 0))
        stranger.bind((stranger_host, 0))
        caller.setblocking(False)
        port = media.ports.open()
        options = LegOptions(payload_type=0, format="PCMU", uplink=AudioFormat.PCM16_24K)
        leg = media.open_leg(port, Address(*caller.getsockname()), options, session)
        media.start()
        received = 0

        def has_heard_enough() -> bool:
            nonlocal received
            with contextlib.suppress(BlockingIOError):
                while received < len(said):  # our packets are the clock of both
                    caller.recv(2048)
                    stranger.sendto(foreign[received], ("127.0.0.1", port.port))
                    caller.sendto(said[received], ("127.0.0.1", port.port))
                    received += 1
            return len(session.audio) >= 2 * MODEL_HZ * FRAMES * 0.02

        await eventually(has_heard_enough, within_s=20)
        counters = media.port_counters(leg)
    heard = np.frombuffer(session.audio, "<i2")
    assert listening.tone_seconds(heard, STRANGER_HZ, rate_hz=MODEL_HZ) == 0
    assert listening.tone_seconds(heard, CALLER_HZ, rate_hz=MODEL_HZ) >= FRAMES * 0.02 * 0.5
    assert counters.foreign >= FRAMES // 2
