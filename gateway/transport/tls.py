"""TLS for SIP: the contexts of both roles from the operator's files, and whether a server is the one we meant.

Both contexts are made together or not at all, so that a mistake in renewed files leaves those in use alone. Open
connections keep what they were made with.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, cast

from gateway.errors import ResourceError, shown, shown_path

TlsVersion = Literal["1.2", "1.3"]
_VERSIONS: Mapping[TlsVersion, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


TlsFile = Literal["certificate", "key", "ca"]


class TlsError(ResourceError):
    """A file of TLS cannot be used, or is missing: the one that `key` of the options names."""

    def __init__(self, message: str, key: TlsFile) -> None:
        self.key = key
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """Files in PEM form, and how much is asked of peers."""

    certificate: Path | None = None
    """Ours, with the chain behind it: shown to clients, and to servers that ask for one. Needed to listen."""
    key: Path | None = None
    """Private key of `certificate`, without pass phrase; None: it is in the same file."""
    ca: Path | None = None
    """Who may have signed a peer's certificate; None: the authorities of this machine."""
    verify_server: bool = True
    """Check the chain and the name of servers that we connect to."""
    verify_client: bool = False
    """Demand a certificate from clients that connect to us. Needs `ca`."""
    minimum_version: TlsVersion = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsContexts:
    """What `load_tls` made of the options."""

    server: ssl.SSLContext | None
    """None without a certificate."""
    client: ssl.SSLContext
    verifies_names: bool
    """Whether `server_name_problem` is to be asked about servers."""


def load_tls(options: TlsOptions) -> TlsContexts:
    """The contexts for connections from now on. Reads files: on a running loop, call it in a thread.

    Raises: `TlsError` that names the file and what to do.
    """
    return TlsContexts(
        server=_server_context(options) if options.certificate is not None else None,
        client=_client_context(options),
        verifies_names=options.verify_server,
    )


def _server_context(options: TlsOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _apply(context, options)
    if options.verify_client:
        if options.ca is None:
            raise TlsError("clients are to be verified and no ca is named: configure sip.tls.ca", "ca")
        _load_authorities(context, options.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _client_context(options: TlsOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The name is checked by `server_name_problem`: OpenSSL does not know the URIs of RFC 5922.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if options.verify_server else ssl.CERT_NONE
    _apply(context, options)
    if options.ca is not None:
        _load_authorities(context, options.ca)
    elif options.verify_server:
        context.load_default_certs()
    return context


def _apply(context: ssl.SSLContext, options: TlsOptions) -> None:
    context.minimum_version = _VERSIONS[options.minimum_version]
    # A renegotiation costs the peer nothing and us a handshake (CVE-2011-1473).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if options.certificate is not None:
        _load_certificate(context, options.certificate, options.key or options.certificate)


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _check_readable(certificate, "certificate")
    _check_readable(key, "key")
    try:
        context.load_cert_chain(certificate, key, password=_no_pass_phrase)
    except _EncryptedKeyError as error:
        raise TlsError(
            f"TLS key {shown_path(key)} has a pass phrase: decrypt it with `openssl pkey -in … -out …`", "key"
        ) from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(
                f"TLS key {shown_path(key)} does not belong to certificate {shown_path(certificate)}: "
                "configure the two that were made together",
                "key",
            ) from error
        raise TlsError(
            f"TLS certificate {shown_path(certificate)} with key {shown_path(key)} cannot be used "
            f"({error.reason or 'not PEM'}): "
            "expected PEM files, -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----",
            "certificate",
        ) from error


class _EncryptedKeyError(Exception):
    pass


def _no_pass_phrase() -> str:
    """In the place of OpenSSL's question on the terminal, which would stop the process."""
    raise _EncryptedKeyError


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    _check_readable(ca, "ca")
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError as error:
        raise TlsError(
            f"TLS ca {shown_path(ca)} holds no certificate ({error.reason or 'not PEM'}): "
            "expected a PEM file with -----BEGIN CERTIFICATE-----",
            "ca",
        ) from error


def _check_readable(file: Path, what: TlsFile) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise TlsError(
            f"TLS {what} {shown_path(file)} cannot be read: {error.strerror}; "
            f"configure sip.tls.{what}, or let this user read it",
            what,
        ) from error


def server_name_problem(certificate: Mapping[str, object], names: Sequence[str]) -> str | None:
    """Why a server with this certificate is none of `names`, host names or numeric addresses (RFC 5922 7).

    None where it is one. `certificate` is what `ssl.SSLObject.getpeercert` gives.

    Deviation from 7.2: a ``*`` for the first label counts, as carriers that give each customer a name of its own under
    theirs (Twilio: CUSTOMER.pstn.twilio.com) have no other certificates.
    """
    found: dict[str, None] = {}
    for name in names:
        identities = _identities(certificate, is_address=_is_address(name))
        if any(_matches(identity, _comparable(name)) for identity in identities):
            return None
        found |= dict.fromkeys(identities)
    return (
        f"its certificate is for {shown(', '.join(found) or 'nobody', 160)}, not for {shown(' or '.join(names), 160)}"
    )


_Names = tuple[tuple[str, str], ...]


def _identities(certificate: Mapping[str, object], *, is_address: bool) -> list[str]:
    """Whom the certificate is for: RFC 5922 7.1."""
    alternatives = cast("_Names", certificate.get("subjectAltName", ()))
    if not alternatives:
        # Where there are no alternative names, and only there: PBXs that sign their own (Asterisk's ast_tls_cert).
        subject = cast("tuple[_Names, ...]", certificate.get("subject", ()))
        return [value for part in subject for kind, value in part if kind == "commonName"]
    if is_address:
        return [value for kind, value in alternatives if kind == "IP Address"]
    domains = [domain for kind, value in alternatives if kind == "URI" and (domain := _domain_of(value))]
    # dNSName counts only where no sip URI names the domain.
    return domains or [value for kind, value in alternatives if kind == "DNS"]


def _domain_of(uri: str) -> str:
    """The domain of ``sip:domain``; a URI with a user is a person's, not a server's (RFC 5922 7.1)."""
    scheme, _, domain = uri.partition(":")
    return "" if scheme.lower() != "sip" or "@" in domain else re.split("[:;?]", domain)[0]


def _matches(identity: str, wanted: str) -> bool:
    identity = _comparable(identity)
    if identity.startswith("*."):
        first, dot, rest = wanted.partition(".")
        return bool(first and dot) and rest == identity[2:] and "." in rest
    return identity == wanted


def _comparable(name: str) -> str:
    return str(ip_address(name)) if _is_address(name) else name.rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
