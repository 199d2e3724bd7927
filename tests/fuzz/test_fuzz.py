"""Every fuzz target, for a few thousand inputs that are the same in every run; `make fuzz` goes on from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest

from tests.fuzz.mutation import mutants
from tests.fuzz.targets import NAMES, load

RUNS = 5000
SLOW = {
    "user_agent": 600,
    "responses": 600,
    "dialplan": 400,
    "provider_event": 1000,
    "dialect_event": 600,
    "websocket": 1500,
}
LONGEST_S = 0.05
"""Of processor time, and at the best of three: a busy machine or a collection of garbage is no finding."""


@pytest.mark.parametrize("name", NAMES)
def test_no_input_raises_or_takes_long(name: str) -> None:
    target = load(name)
    for data in mutants(target.SEEDS, SLOW.get(name, RUNS), Random(20)):
        try:
            is_fast = any(_took_s(target.fuzz, data) <= LONGEST_S for _ in range(3))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and the input must be told
            pytest.fail(f"{name} with {data!r}: {error!r}")
        assert is_fast, data


def _took_s(fuzz: Callable[[bytes], None], data: bytes) -> float:
    began = time.process_time()
    fuzz(data)
    return time.process_time() - began
