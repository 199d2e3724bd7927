"""Neighbours, transports and connections (RFC 3261 18, 19.1.2, 26.2.2)."""

from __future__ import annotations

import pytest

from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Uri


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("sip:a@b", Transport.UDP),
        ("sip:a@b;transport=udp", Transport.UDP),
        ("sip:a@b;transport=TCP", Transport.TCP),
        ("sip:a@b;transport=tls", Transport.TLS),
        ("sip:a@b;transport=sctp", None),
        ("sip:a@b;transport=ws", None),
        ("sips:a@b", Transport.TLS),
        ("sips:a@b;transport=tcp", Transport.TLS),
        ("sips:a@b;transport=udp", None),
    ],
)
def test_a_uri_asks_for_a_transport(uri: str, transport: Transport | None) -> None:
    assert Transport.of_uri(Uri.parse(uri)) is transport


def test_tls_has_a_port_of_its_own() -> None:
    assert [transport.default_port for transport in Transport] == [5060, 5060, 5061]


def test_a_hop_is_shown_with_what_is_not_usual() -> None:
    shown = [str(Hop("10.0.0.2", 5060)), str(Hop("2001:db8::1", 5061, Transport.TLS, 7))]
    assert shown == ["10.0.0.2:5060", "[2001:db8::1]:5061/TLS"]


def test_the_same_neighbour_is_known_over_any_connection() -> None:
    hop = Hop("10.0.0.2", 5060, Transport.TCP, 1)
    assert hop.is_at(hop._replace(connection=2))
    assert not hop.is_at(hop._replace(transport=Transport.UDP))
    assert not hop.is_at(hop._replace(port=5062))
