"""Session descriptions: what is parsed prints to itself; an offer is agreed to, or refused by NegotiationError."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address

from gateway.errors import MessageError, NegotiationError
from gateway.sip.sdp import LocalMedia, SessionDescription, accept_answer, make_offer, negotiate

LOCAL = LocalMedia(address="10.0.0.1", port=10000, rtcp=True, session_id=1)
SEEDS = [
    make_offer(LOCAL).to_bytes(),
    (
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        b"m=audio 49170/2 RTP/AVP 0 8 96 101\r\n"
        b"a=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:30\r\n"
        b"a=maxptime:60\r\na=sendonly\r\na=rtcp:53020\r\nm=video 51372 RTP/AVP 31\r\na=inactive\r\n"
    ),
    (
        b"v=0\no=a b 1 2 IN IP6 2001:db8::1\ns= \nc=IN IP6 2001:db8::1\nt=0 0\na=recvonly\nm=audio 0 RTP/SAVP 0\n"
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4\n"
    ),
    b"v=0\r\no=- 0 0 IN IP4 224.2.1.1\r\ns=-\r\nc=IN IP4 224.2.1.1/127/3\r\nt=0 0\r\nm=audio 1 RTP/AVP 999\r\n",
]


def fuzz(data: bytes) -> None:
    try:
        description = SessionDescription.parse(data)
    except MessageError:
        return
    printed = description.to_bytes()
    again = SessionDescription.parse(printed)
    assert again == description
    assert again.to_bytes() == printed
    assert again.following(description) == description
    assert replace(description, name="other").following(description).origin.version == description.origin.version + 1
    with suppress(NegotiationError):
        answer, stream = negotiate(description, LOCAL)
        assert len(answer.media) == len(description.media)
        assert SessionDescription.parse(answer.to_bytes()) == answer
        assert not ip_address(stream.remote.host).is_multicast
        assert 0 < stream.remote.port < 65536
        assert stream.rtcp is None or stream.rtcp.remote.host == stream.remote.host
    with suppress(NegotiationError):
        accept_answer(make_offer(LOCAL), description)
