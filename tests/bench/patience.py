"""What the engine as it is set up makes of networks of many kinds: how much is made up, and how late the model hears.

    python -m tests.bench.patience

Calls of a minute in packets of 20 ms, four for each network of `tests.bench.delay`, in simulated time. *Added* is the
time from a packet's arrival to the tick that hands its audio off.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np

from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.media.pacing import TICK_S
from tests.bench.delay import Times, networks, sent
from tests.support.rtp_packets import packet_batch, rtp_packet

CALLS, PACKETS, NUMBERS = 4, 3000, 200
FADE_MS = 60
"""Made up behind the last packet of every call."""


def call(sent_s: Times, arrivals_s: Times) -> tuple[float, list[float]]:
    """One call: the share of its audio that was made up, and what was added to each packet, in seconds."""
    engine = MediaEngine(MediaOptions(max_legs=1), seed=1)
    pcmu = AudioFormat.PCMU
    engine.open_leg(LegOptions(payload_type=0, format="PCMU", uplink=pcmu, downlink=pcmu), 0.0)
    order = np.argsort(arrivals_s, kind="stable").tolist()
    heard_s: dict[int, list[float]] = defaultdict(list)
    for tick in range(round((sent_s[-1] + 1) / TICK_S)):
        now = tick * TICK_S
        engine.playout(now)
        came: list[int] = []
        while order and arrivals_s[order[0]] <= now:
            came.append(order.pop(0))
        if came:
            datagrams = [rtp_packet(number, 160 * number, bytes([number % NUMBERS]) * 160) for number in came]
            engine.receive(packet_batch(datagrams, legs=[0] * len(came)), now)
        for piece in engine.transcode(now).uplink:
            if piece.audio == piece.audio[:1] * len(piece.audio):
                heard_s[piece.audio[0]].append(now)
    added_s: list[float] = []
    for number in range(PACKETS):
        found = [at_s for at_s in heard_s[number % NUMBERS] if 0 <= at_s - arrivals_s[number] < NUMBERS * 0.01]
        added_s += [at_s - float(arrivals_s[number]) for at_s in found[:1]]
    return (engine.statistics(0).concealed_ms - FADE_MS) / (PACKETS * 20), added_s


def main() -> None:
    """Print the table."""
    sys.stdout.write(f"{'network':<30}{'made up':>9}{'worst':>9}{'added':>9}{'p95, ms':>9}\n")
    for name in networks(sent(np.random.default_rng(0), legs=1), np.random.default_rng(0)):
        made_up, added_s = list[float](), list[float]()
        for seed in range(CALLS):
            rng = np.random.default_rng(seed)
            times_s = sent(rng, legs=1, packets=PACKETS)
            share, added = call(times_s[0], networks(times_s, rng)[name][0])
            made_up.append(100 * share)
            added_s += added
        p50, p95 = np.percentile(np.array(added_s) * 1000, (50, 95))
        sys.stdout.write(f"{name:<30}{np.mean(made_up):>7.2f} %{max(made_up):>7.2f} %{p50:>9.0f}{p95:>9.0f}\n")


if __name__ == "__main__":
    main()
