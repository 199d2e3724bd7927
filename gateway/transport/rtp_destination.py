"""Where RTP may be sent. SDP is the peer's word, and a peer must not be able to aim our audio at somebody else.

Barred are groups (one packet in, many out), nobody at all, and this gateway itself: its SIP port, where audio would be
parsed as signalling, and the leg's own port, where it would answer itself. An address of another family than the
socket's, or a host name, which would have to be resolved while a call waits, can be sent to by no socket of ours.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from gateway.sip.message import Address
from gateway.transport.sockets import family_of, is_own_address

ON_HOLD = "on hold"
"""The reason that is no fault: an unspecified address or port 0 (RFC 3264 8.4 as RFC 2543 had it)."""


def reason_to_mute(
    remote: Address, *, family: socket.AddressFamily, own_port: int, own_sip_addresses: Iterable[Address]
) -> str:
    """Why a socket of `family` on `own_port` sends nothing to `remote`; empty where it may."""
    if family_of(remote.host) != family:
        return "not a numeric address of the family we receive on"
    address = ipaddress.ip_address(remote.host)
    if address.is_unspecified or remote.port == 0:
        return ON_HOLD
    if not 0 < remote.port < 65536:
        return "no such port"
    if address.is_multicast or remote.host == "255.255.255.255":
        return "multicast or broadcast"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return "an IPv4 address in IPv6 clothing"
    if remote.port == own_port and is_own_address(remote.host):
        return "our own RTP port"
    if any(_is_same_socket(own, remote) for own in own_sip_addresses):
        return "our own SIP port"
    return ""


def canonical_host(host: str) -> str:
    """`host` as the kernel spells sources (``2001:db8::1``); itself where it is not numeric."""
    family = family_of(host)
    return host if family is None else socket.inet_ntop(family, socket.inet_pton(family, host))


def _is_same_socket(own: Address, remote: Address) -> bool:
    if own.port != remote.port:
        return False
    if family_of(own.host) is not None and ipaddress.ip_address(own.host).is_unspecified:
        return is_own_address(remote.host)
    return canonical_host(own.host) == canonical_host(remote.host)
