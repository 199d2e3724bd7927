"""Where SDP sends RTCP, in either role, and that reports never go to another host than the audio."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.sip.message import Address
from gateway.sip.rtcp_route import MUX, RtcpRoute
from gateway.sip.sdp import LocalMedia, SessionDescription, accept_answer, make_offer, negotiate

US = LocalMedia(address="192.0.2.2", port=20000, session_id=77, rtcp=True)
PEER = "192.0.2.1"


def description(*lines: str, host: str = PEER, port: int = 4000) -> SessionDescription:
    family = "IP6" if ":" in host else "IP4"
    text = ["v=0", f"o=- 1 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0", f"m=audio {port} RTP/AVP 0"]
    return SessionDescription.parse("".join(f"{line}\r\n" for line in (*text, *lines)).encode())


def answered(*lines: str, local: LocalMedia = US, **where: object) -> RtcpRoute | None:
    return negotiate(description(*lines, **where), local)[1].rtcp  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "route"),
    [
        ((), RtcpRoute(Address(PEER, 4001))),
        (("a=rtcp-mux",), RtcpRoute(Address(PEER, 4000), is_muxed=True)),
        (("a=rtcp:5005",), RtcpRoute(Address(PEER, 5005))),
        (("a=rtcp:5005 IN IP4 192.0.2.1",), RtcpRoute(Address(PEER, 5005))),
        (("a=rtcp:5005", "a=rtcp-mux"), RtcpRoute(Address(PEER, 4000), is_muxed=True)),
        (("a=rtcp:5005 IN IP4 198.51.100.9",), None),
        (("a=rtcp:5005 IN IP4",), None),
        (("a=rtcp:0",), None),
        (("a=rtcp:70000",), None),
        (("a=rtcp:none",), None),
        (("a=rtcp",), RtcpRoute(Address(PEER, 4001))),
    ],
)
def test_route_is_what_the_offer_says(lines: tuple[str, ...], route: RtcpRoute | None) -> None:
    assert answered(*lines) == route


def test_there_is_no_port_above_the_last() -> None:
    assert answered(port=65535) is None


def test_addresses_of_version_6_are_compared_as_they_are() -> None:
    local = replace(US, address="2001:db8::2")
    route = answered("a=rtcp:5005 IN IP6 2001:db8::1", host="2001:db8::1", local=local)
    assert route == RtcpRoute(Address("2001:db8::1", 5005))


def test_mux_is_answered_where_it_was_offered_and_only_there() -> None:
    muxed, _ = negotiate(description("a=rtcp-mux"), US)
    plain, _ = negotiate(description(), US)
    assert muxed.audio is not None
    assert plain.audio is not None
    assert MUX in muxed.audio.attributes
    assert b"a=rtcp-mux\r\n" in muxed.to_bytes()
    assert MUX not in plain.audio.attributes


@pytest.mark.parametrize(
    ("lines", "route"),
    [
        (("a=rtcp-mux",), RtcpRoute(Address(PEER, 4000), is_muxed=True)),
        ((), RtcpRoute(Address(PEER, 4001))),
        (("a=rtcp:4444",), RtcpRoute(Address(PEER, 4444))),
    ],
)
def test_our_offer_leaves_the_choice_to_the_answer(lines: tuple[str, ...], route: RtcpRoute) -> None:
    offer = make_offer(US)
    assert b"a=rtcp-mux\r\n" in offer.to_bytes()
    assert accept_answer(offer, description(*lines)).rtcp == route


def test_without_rtcp_nothing_is_said_or_sent() -> None:
    local = replace(US, rtcp=False)
    answer, stream = negotiate(description("a=rtcp-mux"), local)
    assert (b"rtcp" in answer.to_bytes(), stream.rtcp) == (False, None)
    offer = make_offer(local)
    assert b"rtcp" not in offer.to_bytes()
    assert accept_answer(offer, description("a=rtcp-mux")).rtcp is None
