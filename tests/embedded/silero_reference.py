"""Makes `tests/data/silero_8k.npz`: sounds of the telephone, and what the published network says to them.

Not used by the tests. The oracle is ONNX Runtime (``pip install onnxruntime``) and the file out of silero-vad's wheel::

    python -m tests.embedded.silero_reference silero_vad.onnx
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.silero import TAIL_SAMPLES
from gateway.embedded.vad import CHUNK_SAMPLES
from tests.embedded.telephone import said

REFERENCE = Path(__file__).parents[1] / "data" / "silero_8k.npz"
CHUNKS = 70


def sounds() -> dict[str, NDArray[np.int16]]:
    """Four seconds and a half of sounds, `int16[70 * 256]` at 8 kHz each."""
    generator = np.random.default_rng(7)
    count = CHUNKS * CHUNK_SAMPLES
    speech = np.zeros(count, np.int16)
    spoken = said("I would like to speak to sales.")[: count - 2000]
    speech[1000 : 1000 + len(spoken)] = spoken
    noise = generator.standard_normal(count) * spoken.std() * 10 ** (-10 / 20)
    hum = 4000 * np.sin(2 * np.pi * 100 * np.arange(count) / 8000)
    parts = {"speech": speech, "noisy speech": speech + noise, "noise": noise, "hum": hum, "silence": 0 * hum}
    return {name: np.clip(np.round(part), -32768, 32767).astype(np.int16) for name, part in parts.items()}


def main() -> None:
    """Ask the oracle and write its answers."""
    session: Any = importlib.import_module("onnxruntime").InferenceSession(sys.argv[1])
    samples = np.stack(tuple(sounds().values())).astype(np.float32) / 32768
    state = np.zeros((2, len(samples), 128), np.float32)
    tail = np.zeros((len(samples), TAIL_SAMPLES), np.float32)
    found = []
    for chunk in np.split(samples, CHUNKS, axis=1):
        heard = np.concatenate((tail, chunk), axis=1)
        probability, state = session.run(None, {"input": heard, "state": state, "sr": np.array(8000, np.int64)})
        found.append(probability[:, 0])
        tail = chunk[:, -TAIL_SAMPLES:]
    names = np.array(tuple(sounds()))
    np.savez_compressed(
        REFERENCE, names=names, samples=np.stack(tuple(sounds().values())), probabilities=np.stack(found, axis=1)
    )


if __name__ == "__main__":
    main()
