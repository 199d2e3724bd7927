"""Mutants of seeds for runs without a coverage-guided fuzzer: random, but the same in every run of one seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from random import Random

TOKENS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b"\\\r", b"\\\n", b"\x1b[31m", b"\xff\xfe"),
    *(b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xd9\xa3"),
    *(b" ", b"\t", b'"', b"\\", b"<", b">", b",", b";", b":", b"=", b"@", b"?", b"%00", b"%", b"[", b"]", b"*", b"/"),
    *(b"-1", b"0", b"00", b"65536", b"2147483648", b"99999999999999999999", b"1e9", b"{", b"}", b"null"),
)
"""Octets that mean something to at least one of the parsers, or nothing good to any."""
MAXIMUM_BYTES = 4096


def mutants(seeds: Sequence[bytes], number: int, random: Random) -> Iterator[bytes]:
    """Each seed as it is, then mutants of one to six changes, `number` in all."""
    return islice(_endless(seeds, random), number)


def _endless(seeds: Sequence[bytes], random: Random) -> Iterator[bytes]:
    yield from seeds
    for _ in count():
        data = random.choice(seeds)
        for _ in range(random.randint(1, 6)):
            data = _changed(data, random.choice(seeds), random)
        yield data[:MAXIMUM_BYTES]


def _changed(data: bytes, other: bytes, random: Random) -> bytes:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 1, 1, 2, 4, 8, 32)))
    head, piece, tail = data[:start], data[start:end], data[end:]
    match random.randrange(8):
        case 0:
            return head + tail
        case 1:
            return head + random.choice(TOKENS) + tail
        case 2:
            return head + piece * random.choice((2, 3, 17, 70, 300)) + tail
        case 3:
            return head + bytes(octet ^ 1 << random.randrange(8) for octet in piece) + tail
        case 4:
            return head + random.randbytes(len(piece)) + tail
        case 5:
            at = random.randint(0, len(other))
            return head + other[at : at + random.choice((1, 4, 16, 64))] + tail
        case 6:
            return head + other[random.randint(0, len(other)) :]
        case _:
            return head + piece.swapcase() + random.choice(TOKENS) + tail
