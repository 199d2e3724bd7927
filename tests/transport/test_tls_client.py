"""TLS in memory: our client against OpenSSL's server, and against what is no TLS."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.realtime.socket_session import _trusting
from gateway.transport.tls_client import TlsClient
from gateway.transport.websocket import _system_trust
from tests.support.certificates import Authority

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback-tls.pem"
HOST = "127.0.0.1"


class Server:
    """The other side, moved by hand."""

    def __init__(
        self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, certificate: Path = CERTIFICATE, key: Path | None = None
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.minimum_version = context.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake_hands(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()

    def record(self, data: bytes) -> bytes:
        """`data` as it goes over the wire."""
        self.tls.write(data)
        return self.outgoing.read()


def connected(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, piece: int = 1 << 20, ca: Path | None = CERTIFICATE
) -> tuple[TlsClient, Server]:
    """Both after their handshake, whose octets come to the client in such pieces."""
    client, server = TlsClient(ssl.create_default_context(cafile=ca), HOST), Server(version)
    for _ in range(3):
        client.shake_hands()
        server.incoming.write(client.data_to_send())
        server.shake_hands()
        data = server.outgoing.read()
        for start in range(0, len(data), piece):
            client.receive(memoryview(data[start : start + piece]))
            client.shake_hands()
    return client, server


def heard(client: TlsClient, size: int = 16384) -> bytes:
    """All that can be read, `size` octets at a time."""
    buffer, told = memoryview(bytearray(size)), b""
    while count := client.read_into(buffer):
        told += buffer[:count]
    return told


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_both_sides_hear_each_other(version: ssl.TLSVersion, piece: int) -> None:
    client, server = connected(version, piece=piece)
    assert client.is_secure
    client.write(b"to the server")
    server.incoming.write(client.data_to_send())
    assert server.tls.read(100) == b"to the server"
    client.receive(memoryview(server.record(b"to the client")))
    assert heard(client) == b"to the client"
    assert not client.has_ended


def test_what_was_said_is_encrypted() -> None:
    client, _server = connected()
    client.write(b"secret")
    assert b"secret" not in client.data_to_send()
    assert client.data_to_send() == b""


@pytest.mark.parametrize("piece", [1, 7, 5000])
def test_records_may_come_in_pieces_and_be_read_in_pieces(piece: int) -> None:
    client, server = connected()
    said = bytes(range(256)) * 100
    wire, told = server.record(said) + server.record(b"end"), b""
    for start in range(0, len(wire), piece):
        client.receive(memoryview(wire[start : start + piece]))
        told += heard(client, size=1000)
    assert told == said + b"end"


def test_an_untrusted_certificate_is_told_and_answered_by_an_alert() -> None:
    client, server = TlsClient(ssl.create_default_context(), HOST), Server()
    client.shake_hands()
    server.incoming.write(client.data_to_send())
    server.shake_hands()
    client.receive(memoryview(server.outgoing.read()))
    with pytest.raises(ssl.SSLCertVerificationError):
        client.shake_hands()
    assert not client.is_secure
    server.incoming.write(client.data_to_send())
    with pytest.raises(ssl.SSLError, match="ALERT"):
        server.tls.do_handshake()


def test_a_certificate_for_another_host_is_not_taken() -> None:
    client, server = TlsClient(ssl.create_default_context(cafile=CERTIFICATE), "elsewhere.example"), Server()
    client.shake_hands()
    server.incoming.write(client.data_to_send())
    server.shake_hands()
    client.receive(memoryview(server.outgoing.read()))
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        client.shake_hands()


def test_a_certificate_whose_time_is_over_is_not_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    current, expired = (authority.issue(f"{over}", ips=(HOST,), has_expired=over) for over in (False, True))
    for identity, expectation in (
        (current, contextlib.nullcontext()),
        (expired, pytest.raises(ssl.SSLCertVerificationError, match="expired")),
    ):
        client = TlsClient(ssl.create_default_context(cafile=authority.ca), HOST)
        server = Server(certificate=identity.certificate, key=identity.key)
        client.shake_hands()
        server.incoming.write(client.data_to_send())
        server.shake_hands()
        client.receive(memoryview(server.outgoing.read()))
        with expectation:
            client.shake_hands()
        assert client.is_secure is (identity is current)


@pytest.mark.parametrize("context", [_system_trust, lambda: _trusting(None)], ids=["transport", "provider"])
def test_whom_a_provider_has_to_convince(context: Callable[[], ssl.SSLContext]) -> None:
    assert context().verify_mode is ssl.CERT_REQUIRED
    assert context().check_hostname
    assert context().minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_answer_that_is_no_tls_fails_the_handshake() -> None:
    client = TlsClient(ssl.create_default_context(), HOST)
    client.receive(memoryview(b"SSH-2.0-OpenSSH_9\r\n"))
    with pytest.raises(ssl.SSLError):
        client.shake_hands()


def test_octets_of_a_stranger_within_the_stream_are_an_error() -> None:
    client, server = connected()
    wire = bytearray(server.record(b"audio"))
    wire[-1] ^= 1
    client.receive(memoryview(wire))
    with pytest.raises(ssl.SSLError):
        heard(client)


def test_the_end_of_the_peer_is_told_behind_its_last_words() -> None:
    client, server = connected()
    wire = server.record(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    client.receive(memoryview(wire + server.outgoing.read()))
    buffer = memoryview(bytearray(100))
    assert (client.read_into(buffer), client.has_ended) == (10, False)
    assert (client.read_into(buffer), client.has_ended) == (0, True)


def test_our_end_is_told_to_the_peer() -> None:
    client, server = connected()
    client.close()
    server.incoming.write(client.data_to_send())
    assert server.tls.read(100) == b""
