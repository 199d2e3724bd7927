"""How lost packets sound: ours beside plain repetition and silence, as PESQ (ITU-T P.862) on recorded speech.

    python -m tests.bench.concealment [--patterns 10] [--json]

Speech goes as PCMU in packets of 20 ms through a jitter buffer that misses some of them; what is read is compared with
the recording. The figure is the mean MOS-LQO over both recordings and several patterns of loss, all drawn anew for each
kind and rate, the same for all contenders. Loss is random, or comes in bursts (two states, Gilbert's model).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.media import codec
from gateway.media.concealment import Concealment, PitchRepetition, Repetition, Silence
from gateway.media.jitter import FRAME_SAMPLES, JitterBuffers, JitterOptions
from tests.support.listening import read_wav

SPEECH = Path(__file__).resolve().parents[1] / "data/speech"
RATE_HZ = 8000
CONTENDERS: dict[str, Concealment] = {"ours": PitchRepetition(), "repetition": Repetition(), "silence": Silence()}
KINDS = [(percent, 1.0) for percent in (1, 3, 5, 10, 20)] + [(5, 2.0), (10, 2.0), (10, 3.0), (20, 3.0)]
DELAY_FRAMES = 2

Samples = NDArray[np.int16]
Losses = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Mean MOS-LQO at one kind of loss. `burst`: packets lost in a row, on the average; 1 is random loss."""

    percent: int
    burst: float
    mos: dict[str, float]


def recordings() -> dict[str, Samples]:
    """The recordings in whole frames: int16[n] at 8 kHz, by name."""
    found = {path.stem: read_wav(path)[0] for path in sorted(SPEECH.glob("*.wav"))}
    return {name: speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES] for name, speech in found.items()}


def losses(packets: int, *, percent: float, burst: float, seed: int) -> Losses:
    """Which of so many packets are lost: bool[packets]. Never the first."""
    rng = np.random.default_rng(seed)
    rate = percent / 100
    goes_on = 1 - 1 / burst if burst > 1 else rate
    begins = rate * (1 - goes_on) / (1 - rate)
    is_lost = np.zeros(packets, np.bool_)
    for index in range(1, packets):
        is_lost[index] = rng.random() < (goes_on if is_lost[index - 1] else begins)
    return is_lost


def heard(speech: Samples, is_lost: Losses, concealment: Concealment) -> Samples:
    """What a jitter buffer makes of `speech` where it misses packets: int16[n], as long and at the same place.

    Args:
        is_lost: bool[legs, packets]: each row is a leg of the bank.

    Returns:
        int16[legs, n].
    """
    legs = np.arange(len(is_lost))
    bank = JitterBuffers(len(legs), JitterOptions(delay_ms=20 * DELAY_FRAMES), concealment)
    frames = codec.codes(speech).reshape(-1, FRAME_SAMPLES)
    for leg in legs.tolist():
        bank.begin(leg, 0, 0)
    read = []
    for number in range(len(frames) + DELAY_FRAMES):
        if number < len(frames):
            came = legs[~is_lost[:, number]]
            timestamp = np.full(len(came), number * FRAME_SAMPLES)
            bank.insert(came, timestamp, np.tile(frames[number], (len(came), 1)), np.zeros(len(came), np.int64))
        read.append(codec.decode(bank.read(legs)))
    return np.concatenate(read[DELAY_FRAMES:], axis=1)


def mos(percent: float, burst: float, *, patterns: int) -> dict[str, float]:
    """Mean MOS-LQO of every contender over the recordings and so many patterns of loss for each."""
    from pesq import pesq  # of the extra `quality`, which needs a compiler

    scores: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for speech in recordings().values():
        packets = len(speech) // FRAME_SAMPLES
        is_lost = np.stack([losses(packets, percent=percent, burst=burst, seed=seed) for seed in range(patterns)])
        for name, concealment in CONTENDERS.items():
            scores[name] += [pesq(RATE_HZ, speech, row, "nb") for row in heard(speech, is_lost, concealment)]
    return {name: float(np.mean(values)) for name, values in scores.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", type=int, default=10, help="patterns of loss for each kind and recording")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [Row(percent=p, burst=b, mos=mos(p, b, patterns=options.patterns)) for p, b in KINDS]
    if options.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows]) + "\n")
        return
    sys.stdout.write(f"{'loss':>6}{'in a row':>10}" + "".join(f"{name:>12}" for name in CONTENDERS) + "\n")
    for row in rows:
        figures = "".join(f"{row.mos[name]:>12.2f}" for name in CONTENDERS)
        sys.stdout.write(f"{row.percent:>4} %{row.burst:>10.0f}{figures}\n")


if __name__ == "__main__":
    main()
