"""Audio that goes from one line of a call to the other: what a contact hears of a caller on an uneven network."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.calls.lines.keys import DtmfMode
from gateway.calls.lines.line import KEPT_CARRIED_MS, LEAD_MS, Line
from gateway.media import codec
from gateway.media.codec import PCMU, SAMPLES_PER_MS, AudioFormat
from gateway.media.jitter import JitterOptions
from tests.support import listening
from tests.support.media_rig import MediaRig
from tests.support.rtp_packets import rtp_packet

TONE_HZ = 400
PATIENCE_MS = JitterOptions().patience_ms


class Contact:
    """Hears a caller who sends a tone from 0.2 s on, whose packets come so much late; infinitely: never.

    `pauses`: every other second is silent. `stall_s`: how long the gateway stands still after two seconds.
    """

    def __init__(
        self,
        late_ms: NDArray[np.float64],
        *,
        ptime_ms: int = 20,
        append_ms: int = 20,
        is_wideband: bool = False,
        pauses: bool = False,
        stall_s: float = 0.0,
    ) -> None:
        form = AudioFormat.PCM16_16K if is_wideband else AudioFormat.PCM16_8K
        self.rig = rig = MediaRig(jitter=JitterOptions(), append_ms=append_ms)
        caller = rig.open_leg(uplink=form, downlink=form)
        self.leg = rig.open_leg(uplink=form, downlink=form, ptime_ms=ptime_ms)
        services = SimpleNamespace(clock=lambda: rig.now, media=SimpleNamespace(engine=rig.engine))
        line = Line(services, port=None, local=None, sink=None, dtmf=DtmfMode.AUTO)  # type: ignore[arg-type]
        line.formats = (form, form)
        line.leg = self.leg
        transcode = rig.engine.transcode

        def carry(now: float) -> object:
            events = transcode(now)
            for piece in events.uplink:
                if piece.leg == caller:
                    line.carry(piece.audio)
            return events

        rig.engine.transcode = carry  # type: ignore[assignment,method-assign]
        said = listening.tone(TONE_HZ, 0.02 * late_ms.size)
        if pauses:
            said[np.arange(said.size) // 8000 % 2 == 1] = 0
        payloads = codec.encode(said, PCMU).reshape(late_ms.size, -1)
        rig.arrive(
            [
                (0.2 + 0.02 * number + late / 1000, rtp_packet(number, 160 * number, payloads[number].tobytes()))
                for number, late in enumerate(late_ms)
                if np.isfinite(late)
            ],
            leg=caller,
        )
        rig.run(2)
        rig.stall(stall_s)
        rig.run(0.02 * late_ms.size - rig.elapsed_s)

    @property
    def heard(self) -> NDArray[np.int16]:
        """From the first sound to the end of the call, the caller still speaking."""
        octets = np.frombuffer(self.rig.sent_audio(self.leg), np.uint8)
        samples = codec.decode(octets.astype(np.uint16) | np.uint16(PCMU.first_code))
        return samples[np.flatnonzero(samples)[0] :]

    @property
    def holes_ms(self) -> int:
        """Milliseconds in which next to nothing is heard; a tone is silent for much less than one of these blocks."""
        blocks = self.heard[: self.heard.size // 40 * 40].reshape(-1, 40)
        return 5 * int(np.count_nonzero(np.abs(blocks).max(axis=1) < 300))

    @property
    def first_ms(self) -> float:
        """When the contact hears the first of it, after it was sent."""
        return self.rig.elapsed_s * 1000 - self.heard.size / SAMPLES_PER_MS - 200


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("ptime_ms", "append_ms", "is_wideband"),
    [(20, 20, False), (20, 20, True), (20, 100, False), (60, 20, False), (60, 100, False)],
)
def test_a_contact_hears_an_even_tone_while_the_callers_packets_jitter_by_30_ms(
    seed: int, ptime_ms: int, append_ms: int, is_wideband: bool
) -> None:
    late_ms = np.random.default_rng(seed).uniform(0, 30, 500)
    late_ms[:50] = 0
    contact = Contact(late_ms, ptime_ms=ptime_ms, append_ms=append_ms, is_wideband=is_wideband)
    assert contact.holes_ms == 0
    assert listening.tone_seconds(contact.heard, TONE_HZ) >= contact.heard.size / 8000 - 0.04
    assert contact.first_ms <= LEAD_MS + 2 * ptime_ms + append_ms + 20


@pytest.mark.parametrize("fault_ms", [PATIENCE_MS - 5.0, np.inf], ids=["late", "lost"])
def test_a_fault_of_the_callers_network_leaves_no_hole_and_no_delay(fault_ms: float) -> None:
    late_ms = np.zeros(1000)
    late_ms[50::90] = fault_ms
    contact = Contact(late_ms)
    assert contact.holes_ms == 0
    assert contact.rig.engine.queued_ms(contact.leg) <= LEAD_MS + 2 * 20


def test_the_delay_that_a_stall_of_the_gateway_left_is_given_back_in_pauses() -> None:
    early, late = (Contact(np.zeros(count), pauses=True, stall_s=0.3) for count in (250, 1250))
    assert early.rig.engine.queued_ms(early.leg) > KEPT_CARRIED_MS + 40
    assert late.rig.engine.queued_ms(late.leg) <= KEPT_CARRIED_MS + 40
    assert listening.tone_seconds(late.heard[-8000 * 6 :], TONE_HZ) == pytest.approx(3.0, abs=0.04)
