from __future__ import annotations

import socket

import pytest

from gateway.sip.message import Address
from gateway.transport.rtp_destination import ON_HOLD, canonical_host, reason_to_mute

SIP = (Address("127.0.0.1", 5060), Address("2001:DB8:0::5", 5060))


def reason(host: str, port: int = 4000, *, family: socket.AddressFamily = socket.AF_INET) -> str:
    return reason_to_mute(Address(host, port), family=family, own_port=10000, own_sip_addresses=SIP)


@pytest.mark.parametrize("host", ["192.0.2.1", "127.0.0.1", "10.0.0.1"])
def test_an_ordinary_address_is_sent_to(host: str) -> None:
    assert reason(host) == ""
    assert reason("2001:db8::9", family=socket.AF_INET6) == ""


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("0.0.0.0", 4000, ON_HOLD),  # noqa: S104 - nothing is bound
        ("192.0.2.1", 0, ON_HOLD),
        ("224.0.0.1", 4000, "multicast or broadcast"),
        ("239.1.2.3", 4000, "multicast or broadcast"),
        ("255.255.255.255", 4000, "multicast or broadcast"),
        ("192.0.2.1", 65536, "no such port"),
        ("pbx.example", 4000, "not a numeric address of the family we receive on"),
        ("2001:db8::9", 4000, "not a numeric address of the family we receive on"),
        ("127.0.0.1", 5060, "our own SIP port"),
        ("127.0.0.1", 10000, "our own RTP port"),
    ],
)
def test_what_must_not_be_sent_to_has_a_reason(host: str, port: int, expected: str) -> None:
    assert reason(host, port) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::", ON_HOLD),
        ("ff02::1", "multicast or broadcast"),
        ("::ffff:192.0.2.1", "an IPv4 address in IPv6 clothing"),
        ("192.0.2.1", "not a numeric address of the family we receive on"),
    ],
)
def test_ipv6_has_its_own_traps(host: str, expected: str) -> None:
    assert reason(host, family=socket.AF_INET6) == expected


def test_the_same_numbers_at_another_host_are_no_concern_of_ours() -> None:
    assert reason("192.0.2.1", 5060) == ""
    assert reason("192.0.2.1", 10000) == ""


def test_our_sip_port_is_known_however_it_is_spelt() -> None:
    assert reason("2001:db8::5", 5060, family=socket.AF_INET6) == "our own SIP port"


def test_a_sip_listener_on_every_address_bars_all_of_ours() -> None:
    listen = (Address("0.0.0.0", 5062),)  # noqa: S104 - nothing is bound
    for host, expected in [("127.0.0.1", "our own SIP port"), ("127.0.0.7", "our own SIP port"), ("192.0.2.1", "")]:
        found = reason_to_mute(Address(host, 5062), family=socket.AF_INET, own_port=10000, own_sip_addresses=listen)
        assert found == expected


def test_hosts_are_spelt_as_the_kernel_does() -> None:
    assert canonical_host("2001:0DB8:0:0::1") == "2001:db8::1"
    assert canonical_host("192.0.2.1") == "192.0.2.1"
    assert canonical_host("pbx.example") == "pbx.example"
