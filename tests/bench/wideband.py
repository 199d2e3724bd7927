"""What a leg of G.722 costs beside one of G.711, in one run: the whole engine, packets in and packets out.

    python -m tests.bench.wideband [--legs 100] [--json]

All legs talk and are talked to, the model in PCM16 at 24 kHz. CPU time of the process per leg and 20 ms frame, both
directions: the median of the ticks of a run, and of those the median of five runs, each codec in turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median

from gateway.media.codec import G722, PCMU, AudioFormat, PayloadFormat, encode
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.media.g722 import G722Coder
from gateway.media.pacing import PHASE_GROUPS, TICK_S
from tests.support.listening import tone
from tests.support.rtp_packets import packet_batch, rtp_packet

FRAMES, WARM_UP_FRAMES, RUNS = 150, 25, 5
MODEL_HZ = 24000


def frame_of(law: PayloadFormat) -> bytes:
    """20 ms of a tone."""
    if law is G722:
        return G722Coder().encode(tone(440, 0.02, rate_hz=law.sample_rate_hz))
    return encode(tone(440, 0.02), law).tobytes()


def engine_us(law: PayloadFormat, legs: int) -> float:
    """Microseconds per leg and frame."""
    engine, now, octets = MediaEngine(MediaOptions(max_legs=legs), seed=1), 1000.0, frame_of(law)
    options = LegOptions(
        payload_type=law.static_payload_type,
        format=law.name,
        uplink=AudioFormat.PCM16_24K,
        downlink=AudioFormat.PCM16_24K,
    )
    for _ in range(legs):
        leg = engine.open_leg(options, now)
        engine.play(leg, "item", tone(440, FRAMES * 0.02, rate_hz=MODEL_HZ).tobytes())
    ticks = []
    for tick in range(FRAMES * PHASE_GROUPS):
        number, due = tick // PHASE_GROUPS, list(range(tick % PHASE_GROUPS, legs, PHASE_GROUPS))
        packet = rtp_packet(number, 160 * number, octets, payload_type=law.static_payload_type)
        batch = packet_batch([packet] * len(due), legs=due, width=200)
        began = time.process_time()
        engine.playout(now)
        engine.receive(batch, now)
        engine.transcode(now)
        ticks.append(time.process_time() - began)
        now += TICK_S
    return 1e6 * median(ticks[WARM_UP_FRAMES * PHASE_GROUPS :]) * PHASE_GROUPS / legs


def library_us() -> tuple[float, float]:
    """Microseconds for one frame of libg722 alone: to encode, and to decode."""
    coder, samples, times = G722Coder(), tone(440, 0.02, rate_hz=G722.sample_rate_hz), ([], [])
    octets = coder.encode(samples)
    for _ in range(RUNS * 10):
        for spent, work in zip(times, (lambda: coder.encode(samples), lambda: coder.decode(octets)), strict=True):
            began = time.process_time()
            for _ in range(100):
                work()
            spent.append((time.process_time() - began) * 1e4)
    return median(times[0]), median(times[1])


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--legs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    runs = [[engine_us(law, chosen.legs) for law in (PCMU, G722)] for _ in range(RUNS)]
    narrow, wide = (median(column) for column in zip(*runs, strict=True))
    encoding, decoding = library_us()
    figures = {
        "legs": chosen.legs,
        "pcmu_us": round(narrow, 1),
        "g722_us": round(wide, 1),
        "ratio": round(wide / narrow, 1),
        "library_encode_us": round(encoding, 1),
        "library_decode_us": round(decoding, 1),
    }
    print(json.dumps(figures) if chosen.json else "\n".join(f"{name:>18} {value}" for name, value in figures.items()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
