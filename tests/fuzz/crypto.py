"""SRTP keys in SDP: each line is usable as its suite has it, or has a flaw; none is told in a repr or a flaw."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import NegotiationError
from gateway.sip.sdes import CryptoLine, SrtpPolicy, SrtpTerms

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
SEEDS = [
    f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4".encode(),
    f"2 AES_CM_128_HMAC_SHA1_32 inline:{KEY} KDR=1 UNENCRYPTED_SRTP".encode(),
    f"3 AEAD_AES_128_GCM inline:{KEY[:38]}== WSH=64".encode(),
    f"1 aes_cm_128_hmac_sha1_80 inline:{KEY}|1:4;inline:{KEY}|2:4".encode(),
]


def fuzz(data: bytes) -> None:
    line = CryptoLine.parse(data.decode("utf-8", "surrogateescape"))
    assert line.flaw.isprintable() or not line.flaw
    assert KEY not in repr(line)
    terms = SrtpTerms.draw(SrtpPolicy.OPTIONAL, lambda size: bytes(range(size)))
    with suppress(NegotiationError):
        agreed = terms.answer([line], "RTP/SAVP")
        if agreed is not None:
            answer, keys = agreed
            assert not line.flaw
            assert CryptoLine.parse(answer.text).suite == keys.suite
            assert (CryptoLine.parse(answer.text).key, line.key) == (keys.local_key, keys.remote_key)
