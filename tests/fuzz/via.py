"""Via: what is parsed prints to itself; received and rport are an address and a port, or nothing."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.headers import CSeq, Via

SEEDS = [
    b"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK776asdhds;rport",
    b"SIP / 2.0 / TCP     spindle.example.com   ;  branch  =   z9hG4bK9ikj8  ",
    b"SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111",
    b"SIP/2.0/UDP [2001:db8::9:1]:5062;received=2001:db8::9:255;rport=1;maddr=224.0.0.1;ttl=16",
    b"SIP/2.0/TLS h;hidden",
    b"4711 INVITE",
]


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with suppress(MessageError):
        cseq = CSeq.parse(text)
        assert CSeq.parse(str(cseq)) == cseq
    with suppress(MessageError):
        via = Via.parse(text)
        again = Via.parse(str(via))
        assert again == via
        assert via.rport is None or 0 < via.rport < 65536
        assert (again.branch, again.received, again.has_unique_branch) == (
            via.branch,
            via.received,
            via.has_unique_branch,
        )
        told = via.with_parameter("received", "192.0.2.1").with_parameter("rport", "5060")
        assert (told.received, told.rport) == ("192.0.2.1", 5060)
