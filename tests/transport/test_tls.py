from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import ResourceError
from gateway.transport.tls import TlsOptions, load_tls, server_name_problem
from tests.support.certificates import Authority, Identity, key_pem

Names = tuple[tuple[str, str], ...]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return authority.issue("gateway", dns=["gateway.example"])


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake in memory; the client's end. Raises: `ssl.SSLError` of whoever refuses."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="gateway.example"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[0].write(b"x")
    assert ends[1].read(1) == b"x"
    return ends[0]


def test_neither_renegotiation_nor_compression_is_spoken(authority: Authority, identity: Identity) -> None:
    contexts = load_tls(TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca))
    for context in (contexts.server, contexts.client):
        assert context is not None
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


def test_both_roles_speak_with_each_other(authority: Authority, identity: Identity) -> None:
    contexts = load_tls(TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca))
    assert contexts.server is not None
    end = shake_hands(contexts.client, contexts.server)
    assert end.version() == "TLSv1.3"
    assert server_name_problem(end.getpeercert() or {}, ["gateway.example"]) is None


def test_without_a_certificate_there_is_no_server(authority: Authority) -> None:
    assert load_tls(TlsOptions(ca=authority.ca)).server is None


def test_key_and_certificate_may_be_in_one_file(identity: Identity) -> None:
    identity.certificate.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
    assert load_tls(TlsOptions(certificate=identity.certificate)).server is not None


def test_tls_1_1_is_refused_in_both_roles(authority: Authority, identity: Identity) -> None:
    contexts = load_tls(TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca))
    assert contexts.server is not None
    old_client, old_server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old_client.check_hostname, old_client.verify_mode = False, ssl.CERT_NONE
    old_server.load_cert_chain(identity.certificate, identity.key)
    for old in (old_client, old_server):
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        shake_hands(old_client, contexts.server)
    with pytest.raises(ssl.SSLError):
        shake_hands(contexts.client, old_server)


def test_minimum_version_may_be_1_3(authority: Authority, identity: Identity) -> None:
    strict = load_tls(
        TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca, minimum_version="1.3")
    )
    assert strict.server is not None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(client, strict.server)


def test_a_server_signed_by_somebody_else_is_refused_unless_the_operator_says_so(
    tmp_path: Path, identity: Identity
) -> None:
    other = Authority(tmp_path, "other")
    mine = load_tls(TlsOptions(certificate=identity.certificate, key=identity.key))
    assert mine.server is not None
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(load_tls(TlsOptions(ca=other.ca)).client, mine.server)
    lenient = load_tls(TlsOptions(ca=other.ca, verify_server=False))
    assert not lenient.verifies_names
    shake_hands(lenient.client, mine.server)


def test_a_client_certificate_is_demanded_and_sent(tmp_path: Path, authority: Authority, identity: Identity) -> None:
    options = TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca, verify_client=True)
    contexts = load_tls(options)
    assert contexts.server is not None
    shake_hands(contexts.client, contexts.server)
    with pytest.raises(ssl.SSLError):
        shake_hands(load_tls(TlsOptions(ca=authority.ca)).client, contexts.server)
    stranger = Authority(tmp_path, "other").issue("stranger")
    with pytest.raises(ssl.SSLError):
        shake_hands(
            load_tls(TlsOptions(certificate=stranger.certificate, key=stranger.key, ca=authority.ca)).client,
            contexts.server,
        )


def test_clients_cannot_be_verified_without_a_ca(identity: Identity) -> None:
    with pytest.raises(ResourceError, match=r"no ca is named: configure sip\.tls\.ca"):
        load_tls(TlsOptions(certificate=identity.certificate, key=identity.key, verify_client=True))


def test_a_missing_file_is_named_with_the_key_that_names_it(tmp_path: Path, identity: Identity) -> None:
    absent = tmp_path / "absent.pem"
    for options, key in (
        (TlsOptions(certificate=absent), "certificate"),
        (TlsOptions(certificate=identity.certificate, key=absent), "key"),
        (TlsOptions(ca=absent), "ca"),
    ):
        with pytest.raises(
            ResourceError, match=rf"TLS {key} '?.*absent.pem'? cannot be read: No such file.*sip\.tls\.{key}"
        ):
            load_tls(options)


def test_a_key_of_another_certificate_is_told(authority: Authority, identity: Identity) -> None:
    other = authority.issue("other")
    with pytest.raises(ResourceError, match=r"other\.key.* does not belong to certificate .*gateway\.crt"):
        load_tls(TlsOptions(certificate=identity.certificate, key=other.key))


def test_a_key_with_a_pass_phrase_is_refused_without_asking_on_the_terminal(identity: Identity) -> None:
    identity.key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    with pytest.raises(ResourceError, match="has a pass phrase: decrypt it"):
        load_tls(TlsOptions(certificate=identity.certificate, key=identity.key))


@pytest.mark.parametrize("content", ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_no_certificate_is_told(tmp_path: Path, identity: Identity, content: str) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text(content)
    with pytest.raises(ResourceError, match=r"broken\.pem.* holds no certificate"):
        load_tls(TlsOptions(ca=broken))
    with pytest.raises(ResourceError, match=r"broken\.pem.* cannot be used"):
        load_tls(TlsOptions(certificate=broken, key=identity.key))


@pytest.mark.parametrize(
    ("name", "alternatives", "common_name"),
    [
        ("pbx.example", (("DNS", "pbx.example"),), "x"),
        ("PBX.Example.", (("DNS", "other"), ("DNS", "pbx.EXAMPLE")), "x"),
        ("example.org", (("URI", "sip:example.org"),), "x"),
        ("example.org", (("URI", "sip:example.org:5061;transport=tls"), ("DNS", "pbx.example")), "x"),
        ("mine.pstn.example", (("DNS", "*.pstn.example"),), "x"),
        ("192.0.2.1", (("IP Address", "192.0.2.1"),), "x"),
        ("2001:db8::1", (("IP Address", "2001:DB8:0:0:0:0:0:1"),), "x"),
        ("pbx.example", (), "pbx.example"),
        ("192.0.2.1", (), "192.0.2.1"),
    ],
)
def test_a_certificate_that_names_the_server_is_taken(name: str, alternatives: Names, common_name: str) -> None:
    certificate = {"subject": ((("commonName", common_name),),), "subjectAltName": alternatives}
    assert server_name_problem(certificate, [name]) is None


@pytest.mark.parametrize(
    ("name", "alternatives"),
    [
        ("pbx.example", (("DNS", "evil.example"),)),
        # The common name counts only where there are no alternative names (RFC 5922 7.1).
        ("pbx.example", (("email", "a@b"),)),
        # dNSName counts only where no sip URI names the domain (RFC 5922 7.1).
        ("pbx.example", (("URI", "sip:example.org"), ("DNS", "pbx.example"))),
        # A URI with a user is a person's; others are not SIP's (RFC 5922 7.1).
        ("pbx.example", (("URI", "sip:alice@pbx.example"),)),
        ("pbx.example", (("URI", "https://pbx.example"),)),
        ("pbx.example", (("URI", "sip:pbx.example.evil"),)),
        # Subdomains are others (RFC 5922 7.2).
        ("sip.pbx.example", (("DNS", "pbx.example"),)),
        ("a.b.pstn.example", (("DNS", "*.pstn.example"),)),
        ("pstn.example", (("DNS", "*.pstn.example"),)),
        ("pbx.example", (("DNS", "*.example"),)),
        ("pbx.example", (("DNS", "pb*.example"),)),
        ("192.0.2.1", (("DNS", "192.0.2.1"), ("DNS", "*.0.2.1"))),
    ],
)
def test_a_certificate_of_somebody_else_is_not(name: str, alternatives: Names) -> None:
    certificate = {"subject": ((("commonName", "pbx.example"),),), "subjectAltName": alternatives}
    problem = server_name_problem(certificate, [name])
    assert problem is not None
    assert problem.endswith(f"not for {name}")


def test_a_certificate_that_names_nobody_is_for_nobody() -> None:
    assert server_name_problem({}, ["pbx.example"]) == "its certificate is for nobody, not for pbx.example"


def test_one_of_several_names_is_enough() -> None:
    certificate = {"subjectAltName": (("DNS", "b.example"), ("IP Address", "192.0.2.1"))}
    assert server_name_problem(certificate, ["a.example", "b.example"]) is None
    assert server_name_problem(certificate, ["a.example", "192.0.2.1"]) is None
    problem = server_name_problem(certificate, ["a.example", "192.0.2.9"])
    assert problem == "its certificate is for b.example, 192.0.2.1, not for a.example or 192.0.2.9"
