"""Arrays that take no more memory than what was written into them."""

import resource
from pathlib import Path

import numpy as np

from gateway.media.codec import PCMU
from gateway.media.playout import PlayoutQueues
from gateway.media.sparse import sparse_zeros

MIB = 1 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def test_an_array_holds_zeros_and_then_what_was_written():
    array = sparse_zeros((3, 5), np.int32)
    assert (array.shape, array.dtype) == ((3, 5), np.int32)
    assert not array.any()
    array[1, 2] = 7
    assert array.sum() == array[1, 2] == 7
    assert sparse_zeros((0, 5), np.int32).shape == (0, 5)


def test_one_number_in_each_of_many_rows_is_one_page_a_row():
    before = resident_bytes()
    array = sparse_zeros((64, MIB), np.uint8)
    array[:, 0] = 1
    assert resident_bytes() - before < 8 * MIB


def test_replies_that_were_never_queued_together_share_the_memory_of_one():
    legs, second = np.arange(400), np.zeros(8000, np.uint8)
    before = resident_bytes()
    queues = PlayoutQueues(len(legs), queue_ms=120_000)
    for leg in legs.tolist():
        queues.open(leg, payload=PCMU, frame_ms=20)
    for _ in range(100):
        for leg in legs.tolist():
            queues.append(leg, second)
        for _ in range(50):
            queues.take(legs)
    assert queues.sent(0) == 100 * 8000
    assert resident_bytes() - before < len(legs) * 30 * 1024
