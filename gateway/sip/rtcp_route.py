"""Where the RTCP of a stream goes, as SDP tells it.

On the port of RTP where both sides say ``a=rtcp-mux`` (RFC 5761 5.1.1), else where ``a=rtcp`` says (RFC 3605), else on
the port above (RFC 3550 11). Another host than that of RTP is not gone to: reports follow the audio or stay at home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.errors import MessageError
from gateway.sip.description import MediaDescription
from gateway.sip.grammar import parse_number
from gateway.sip.uri import Address

MUX: Final = ("rtcp-mux", None)
"""The attribute that puts RTCP on the port of RTP."""


@dataclass(frozen=True, slots=True)
class RtcpRoute:
    """The peer's address for RTCP; `is_muxed` where both sides use that of RTP."""

    remote: Address
    is_muxed: bool = False


def route_to(media: MediaDescription, remote: Address, *, is_muxed: bool) -> RtcpRoute | None:
    """The route that the peer's `media` names, whose RTP is received at `remote`; None where there is no going."""
    if is_muxed:
        return RtcpRoute(remote, is_muxed=True)
    told = next((value for name, value in media.attributes if name == "rtcp" and value), None)
    port: int | None = remote.port + 1
    if told is not None:
        number, *address = told.split(" ")
        port = _port(number)
        if address and address[2:] != [remote.host]:
            return None
    return None if not port or port > 65535 else RtcpRoute(Address(remote.host, port))


def can_mux(media: MediaDescription) -> bool:
    """Whether its writer takes RTCP on the port of RTP."""
    return MUX in media.attributes


def _port(text: str) -> int | None:
    try:
        return parse_number(text, 65535, "port in a=rtcp")
    except MessageError:
        return None
