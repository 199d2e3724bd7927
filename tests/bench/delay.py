"""How long received audio waits, and how much is made up, on networks of many kinds.

    python -m tests.bench.delay [--hours 4]

Recorded speech, 20 ms packets, 24 legs of a minute for each network, in simulated time. *added* is the time from a
packet's arrival to the read that needs it; *whole* counts from its sending, so that networks can be compared. Then two
clocks that drift apart by 50 ppm for some hours: the delay must stay where it is.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from tests.bench.concealment import recordings
from tests.support.jitter_line import Line, simulate

LEGS, PACKETS, PTIME_S = 24, 3000, 0.02

Times = NDArray[np.float64]


def sent(rng: np.random.Generator, legs: int = LEGS, packets: int = PACKETS) -> Times:
    """When packets are sent: float64[legs, packets], each leg at its own place in the 20 ms of the reads."""
    times: Times = np.arange(packets) * PTIME_S + rng.uniform(0, PTIME_S, (legs, 1))
    return times


def in_order(arrivals_s: Times) -> Times:
    """The same over a network that does not reorder: who is late holds up all behind."""
    ordered: Times = np.maximum.accumulate(arrivals_s, axis=1)
    return ordered


def stalled(times_s: Times, rng: np.random.Generator, *, stall_s: float, every_s: float) -> Times:
    """A network that now and then keeps everything for a while, and then delivers it at once."""
    arrivals_s = times_s.copy()
    for row in arrivals_s:
        begin = rng.uniform(1, every_s)
        while begin < row[-1]:
            row[(row >= begin) & (row < begin + stall_s)] = begin + stall_s
            begin += stall_s + rng.exponential(every_s)
    return arrivals_s


def networks(times_s: Times, rng: np.random.Generator) -> dict[str, Times]:
    """Arrivals by the name of the network."""

    def uniform(most_s: float) -> Times:
        return times_s + rng.uniform(0, most_s, times_s.shape)

    return {
        "steady": times_s,
        "uniform 20 ms": uniform(0.02),
        "uniform 40 ms": uniform(0.04),
        "uniform 80 ms": uniform(0.08),
        "uniform 80 ms, in order": in_order(uniform(0.08)),
        "uniform 150 ms": uniform(0.15),
        "normal 20 ms": times_s + np.abs(rng.normal(0, 0.02, times_s.shape)),
        "exponential 10 ms, in order": in_order(times_s + rng.exponential(0.01, times_s.shape)),
        "exponential 20 ms, in order": in_order(times_s + rng.exponential(0.02, times_s.shape)),
        "stalls of 200 ms every 20 s": stalled(times_s, rng, stall_s=0.2, every_s=20),
        "stalls of 200 ms every 5 s": stalled(times_s, rng, stall_s=0.2, every_s=5),
        "stalls of 60 ms every 2 s": stalled(times_s, rng, stall_s=0.06, every_s=2),
    }


def _figures(line: Line, delay_ms: Times) -> str:
    whole_ms = line.waits_ms + delay_ms
    figures = (
        100 * line.concealed.mean(),
        100 * line.concealed.max(),
        np.nanmedian(line.waits_ms),
        np.nanmedian(whole_ms),
        np.nanpercentile(whole_ms, 95),
    )
    return "{:>10.2f} %{:>8.2f} %{:>10.0f}{:>10.0f}{:>10.0f}".format(*figures)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=4.0, help="of two clocks that drift apart")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    times_s, speech = sent(rng), np.concatenate(list(recordings().values()))
    sys.stdout.write(f"{'network':<30}{'made up':>12}{'worst':>10}{'added':>10}{'whole':>10}{'p95, ms':>10}\n")
    for name, arrivals_s in networks(times_s, rng).items():
        line = simulate(arrivals_s, speech=speech)
        sys.stdout.write(f"{name:<30}{_figures(line, 1000 * (arrivals_s - times_s))}\n")
    clocks = sent(rng, legs=2, packets=round(options.hours * 3600 / PTIME_S)) * (1 + np.array([[50e-6], [-50e-6]]))
    waits_ms = simulate(clocks, speech=speech).waits_ms
    sys.stdout.write(f"{options.hours:g} h at +/-50 ppm: added {waits_ms.min():.1f} to {waits_ms.max():.1f} ms\n")


if __name__ == "__main__":
    main()
