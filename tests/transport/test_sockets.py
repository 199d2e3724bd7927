from __future__ import annotations

import errno
import socket
import subprocess
import sys

import pytest

from gateway.sip.message import Address
from gateway.transport.sockets import (
    explain,
    family_of,
    is_own_address,
    make_tcp_socket,
    open_tcp_listener,
    open_udp_socket,
    owner_of_port,
    source_towards,
)


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("2001:db8::7", socket.AF_INET6),
        ("localhost", None),
        ("[::1]", None),
        ("127.1", None),
        ("127.0.0.1\0", None),
        ("", None),
    ],
)
def test_only_numeric_hosts_have_a_family(host: str, family: socket.AddressFamily | None) -> None:
    assert family_of(host) is family


def test_own_addresses_are_told_from_others() -> None:
    assert is_own_address("127.0.0.1")
    assert is_own_address("127.0.0.9")
    assert not is_own_address("192.0.2.1")
    assert not is_own_address("pbx.example")


def test_the_owner_of_a_port_in_another_process_is_named() -> None:
    script = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert owner_of_port(port).endswith(f"(pid {other.pid})")
        other.stdin.close()


def test_a_free_port_has_no_owner() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()[1]
    assert owner_of_port(port) == ""


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EADDRNOTAVAIL, "ip -brief address"),
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EAFNOSUPPORT, "configure an IPv4 address"),
        (errno.EMFILE, "raise LimitNOFILE"),
        (errno.EIO, "cannot be bound: broken"),
    ],
)
def test_each_reason_has_its_remedy(code: int, remedy: str) -> None:
    message = explain(OSError(code, "broken"), Address("127.0.0.1", 5060))
    assert "127.0.0.1:5060" in message
    assert remedy in message


def test_the_owner_of_a_tcp_port_is_named() -> None:
    with open_tcp_listener(Address("127.0.0.1", 0), backlog=1) as tcp:
        taken = Address(*tcp.getsockname())
        with pytest.raises(OSError, match="Address already in use") as caught:
            open_tcp_listener(taken, backlog=1)
        message = explain(caught.value, taken, "tcp")
    assert message == f"TCP {taken} is taken by this process itself: stop that program or configure another port"


def test_the_source_towards_an_address_is_told_by_the_kernels_routes() -> None:
    assert source_towards("127.0.0.1") == "127.0.0.1"
    assert source_towards("::1") == "::1"
    assert source_towards("pbx.example") is None


def test_a_tcp_socket_is_bound_to_the_address_that_is_asked_for() -> None:
    with make_tcp_socket("127.0.0.1", "127.0.0.5", unacknowledged_s=20) as tcp:
        assert tcp.getsockname()[0] == "127.0.0.5"
        assert not tcp.getblocking()
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20000
    with pytest.raises(OSError, match="not a numeric address"):
        make_tcp_socket("pbx.example", None, unacknowledged_s=20)


def test_a_taken_port_cannot_be_bound_twice_and_leaks_no_descriptor() -> None:
    with open_udp_socket(Address("127.0.0.1", 0), receive_buffer_bytes=65536) as udp:
        taken = Address(*udp.getsockname())
        for _ in range(3):
            with pytest.raises(OSError, match="Address already in use"):
                open_udp_socket(taken, receive_buffer_bytes=65536)
        assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 65536
        assert not udp.getblocking()


def test_a_connection_that_happens_to_have_the_number_does_not_own_the_port() -> None:
    with open_tcp_listener(Address("127.0.0.1", 0), backlog=1) as tcp, socket.socket() as client:
        client.connect(tcp.getsockname())
        port = client.getsockname()[1]
        assert owner_of_port(port, "tcp") == ""
        assert owner_of_port(tcp.getsockname()[1], "tcp") == "this process itself"
