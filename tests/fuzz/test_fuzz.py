"""Every fuzz target, for a few thousand inputs that are the same in every run; `make fuzz` goes on from here."""

from __future__ import annotations

import time
from random import Random

import pytest

from tests.fuzz.mutation import mutants
from tests.fuzz.targets import NAMES, load

RUNS = 5000
SLOW = {"user_agent": 600, "responses": 600, "dialplan": 400, "provider_event": 1000}
LONGEST_S = 0.05
"""Of processor time, so that a busy machine is no finding."""


@pytest.mark.parametrize("name", NAMES)
def test_no_input_raises_or_takes_long(name: str) -> None:
    target = load(name)
    slowest_s = 0.0
    for data in mutants(target.SEEDS, SLOW.get(name, RUNS), Random(20)):
        began = time.process_time()
        try:
            target.fuzz(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and the input must be told
            pytest.fail(f"{name} with {data!r}: {error!r}")
        slowest_s = max(slowest_s, time.process_time() - began)
    assert slowest_s <= LONGEST_S
