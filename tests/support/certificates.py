"""A certificate authority for one test: who is signed by it, who is not, and whom a certificate names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs what the test asks for; its own certificate is the file `ca`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = _common_name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_KEY_USAGE_OF_AN_AUTHORITY, critical=True)
        )
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        ips: Sequence[str] = (),
        has_expired: bool = False,
    ) -> Identity:
        """A certificate with the common name `name` and these alternative names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        # Python 3.13's default context refuses a certificate without its authority's key identifier (RFC 5280 4.2.1.1).
        certificate = _builder(_common_name(name), self._name, key.public_key(), has_expired=has_expired).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        alternatives: list[x509.GeneralName] = [x509.DNSName(one) for one in dns]
        alternatives += [x509.UniformResourceIdentifier(one) for one in uris]
        alternatives += [x509.IPAddress(ip_address(one)) for one in ips]
        if alternatives:
            certificate = certificate.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        identity = Identity(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        identity.certificate.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))
        identity.key.write_bytes(key_pem(key))
        return identity


def key_pem(key: ec.EllipticCurvePrivateKey, pass_phrase: bytes | None = None) -> bytes:
    """A private key as OpenSSL reads it."""
    encryption = serialization.BestAvailableEncryption(pass_phrase) if pass_phrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


_KEY_USAGE_OF_AN_AUTHORITY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, has_expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.now(UTC) - timedelta(days=2 if has_expired else 0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
