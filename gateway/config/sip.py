"""The section ``sip``: listeners, TLS, name service, trunks; and the Options of the user agent that they make."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.calls.facts import NumberPolicy
from gateway.calls.manager import TrunkPolicy
from gateway.config.values import (
    CodecName,
    Endpoints,
    IpAddress,
    NameServer,
    Network,
    OneOrMore,
    Peer,
    Registrar,
    ServerName,
    default_of,
    ip_version,
    parse_address,
)
from gateway.located import Seconds, Section, WrongValue
from gateway.media.codec import G722
from gateway.media.g722 import WIDEBAND_REMEDY, is_available
from gateway.sip.auth_server import InboundAuth
from gateway.sip.grammar import parse_host_port
from gateway.sip.hop import SIPS_PORT, Hop, Listener, Transport
from gateway.sip.message import Address, Uri
from gateway.sip.trunk import TrunkOptions
from gateway.transport.locator import Target
from gateway.transport.resolver import ResolverOptions
from gateway.transport.tls import TlsOptions, TlsVersion


def _asked_by(registrar: Uri) -> Transport | None:
    """The transport that the URI asks for; None where it leaves that open."""
    return Transport.of_uri(registrar) if registrar.scheme == "sips" or registrar.parameter("transport") else None


def _is_nearly_everybody(network: str) -> bool:
    """Whether it is wider than any one owner's: 10.0.0.0/8 is the widest for private use, fc00::/7 aside."""
    parsed = ipaddress.ip_network(network, strict=False)
    return parsed.prefixlen < (8 if parsed.version == 4 else 16) and not parsed.is_private


class InboundAuthSection(Section):
    """What a trunk's peer must prove to know before it is listened to."""

    username: str
    password: str = Field(repr=False)
    realm: str = default_of(InboundAuth, "realm")
    algorithms: Annotated[tuple[Literal["SHA-256", "MD5"], ...], Field(min_length=1)] = default_of(
        InboundAuth, "algorithms"
    )

    @model_validator(mode="after")
    def _has_secret(self) -> InboundAuthSection:
        if not (self.username and self.password):
            raise WrongValue("has an empty user name or password", expected="expected both")
        return self


class TrunkSection(Section):
    """One PBX or carrier."""

    registrar: Annotated[tuple[Registrar, ...], Field(min_length=1, max_length=8), OneOrMore] | None = None
    peer: Annotated[tuple[Peer, ...], Field(min_length=1, max_length=8), OneOrMore] | None = None
    username: str = ""
    password: str = Field(default="", repr=False)
    realm: str | None = default_of(TrunkOptions, "auth_realm")
    minimum_digest: Literal["MD5", "SHA-256", "SHA-512-256"] = default_of(TrunkOptions, "minimum_algorithm")
    contact_user: str | None = None
    expires: Seconds = default_of(TrunkOptions, "expires_s")
    keep_alive: Seconds = default_of(TrunkOptions, "keepalive_s")
    transport: Literal["udp", "tcp", "tls"] | None = None
    tls_name: ServerName | None = None
    codecs: tuple[CodecName, ...] = default_of(TrunkOptions, "codecs")
    srtp: Literal["off", "optional", "required"] = default_of(TrunkPolicy, "srtp").value
    srtp_over_plain: bool = default_of(TrunkPolicy, "srtp_over_plain")
    dtmf: Literal["auto", "rfc4733", "inband", "info"] = default_of(TrunkPolicy, "dtmf").value
    acl: tuple[Network, ...] = ()
    inbound_auth: InboundAuthSection | None = None
    called_headers: tuple[str, ...] = default_of(NumberPolicy, "called_headers")
    follow_refers: bool = default_of(TrunkPolicy, "follow_refers")

    @model_validator(mode="after")
    def _has_one_end(self) -> TrunkSection:
        if (self.registrar is None) == (self.peer is None):
            raise WrongValue("needs a registrar or a peer", expected="expected exactly one of the two")
        if self.registrar is not None and not self.username:
            raise WrongValue("registers without a user name", expected="expected username and password")
        wide = next((network for network in self.acl if _is_nearly_everybody(network)), None)
        if self.inbound_auth is None and wide is not None:
            raise WrongValue(f"lets everybody in {wide} call", expected="expected inbound_auth beside an acl that wide")
        if not self.codecs:
            raise WrongValue("has no codecs", expected="expected PCMU, PCMA, G722 or several of them")
        if twice := next((name for name in self.codecs if self.codecs.count(name) > 1), None):
            raise WrongValue(f"names {twice} twice in codecs", expected="expected each codec once")
        if not self.spoken_codecs:
            raise WrongValue(
                "speaks G722 alone, whose library is not installed",
                expected=f"expected PCMU or PCMA, or {WIDEBAND_REMEDY}",
            )
        self._check_transports()
        if self.srtp == "required" and not (self.is_secure or self.srtp_over_plain):
            raise WrongValue(
                "requires SRTP, whose keys are told over TLS alone",
                expected="expected transport: tls, or srtp_over_plain: true where whoever sees the keys may listen",
            )
        return self

    @property
    def spoken_codecs(self) -> tuple[str, ...]:
        """`codecs` but for those whose library is not installed."""
        return tuple(name for name in self.codecs if name != G722.name or is_available())

    def _check_transports(self) -> None:
        for uri in map(Uri.parse, self.registrar or ()):
            asked = _asked_by(uri)
            if self.transport is not None and asked not in (None, self._transport):
                raise WrongValue(
                    f"has transport {self.transport}, its registrar asks for {asked.value.lower() if asked else ''}",
                    expected="expected one of the two",
                )
        if len({target.transports[0].is_secure for target in self.targets}) > 1:
            raise WrongValue("has registrars on TLS and in plain text", expected="expected one or the other")

    @property
    def targets(self) -> tuple[Target, ...]:
        """The PBX's servers by name or number, the preferred one first."""
        if self.registrar is not None:
            uris = [Uri.parse(text) for text in self.registrar]
            return tuple(
                Target(host=uri.host, port=uri.port, transports=(_asked_by(uri) or self._transport,)) for uri in uris
            )
        peers = [parse_host_port(text) for text in self.peer or ()]
        return tuple(Target(host=host, port=port, transports=(self._transport,)) for host, port in peers)

    @property
    def _transport(self) -> Transport:
        """What is spoken where a registrar's URI says nothing else."""
        return Transport((self.transport or "udp").upper())

    @property
    def is_secure(self) -> bool:
        """Whether the trunk is on TLS."""
        return self.targets[0].transports[0].is_secure

    @property
    def server_names(self) -> tuple[str, ...]:
        """Whom the certificates of the trunk's servers may name: what the operator wrote (RFC 5922 7.3)."""
        return (self.tls_name,) if self.tls_name is not None else tuple(target.host for target in self.targets)

    @property
    def user(self) -> str:
        """The user part of our contact."""
        return self.contact_user or self.username or default_of(TrunkOptions, "contact_user")


class DnsSection(Section):
    """Who is asked where trunks are."""

    servers: Annotated[tuple[NameServer, ...], Field(min_length=1, max_length=8), OneOrMore] | None = None
    timeout: Annotated[Seconds, Field(ge=0.1, le=30)] = default_of(ResolverOptions, "timeout_s")


class TlsSection(Section):
    """SIP over TLS; see `TlsOptions`."""

    listen: Endpoints | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    verify_server: bool = default_of(TlsOptions, "verify_server")
    verify_client: bool = default_of(TlsOptions, "verify_client")
    minimum_version: TlsVersion = default_of(TlsOptions, "minimum_version")

    @model_validator(mode="after")
    def _has_its_files(self) -> TlsSection:
        if self.certificate is None and self.listen:
            raise WrongValue("listens without a certificate", expected="expected certificate and key: PEM files")
        if self.certificate is None and self.key is not None:
            raise WrongValue("has a key without a certificate", expected="expected certificate: PEM file")
        if self.verify_client and self.ca is None:
            raise WrongValue("verifies clients against nobody", expected="expected ca: PEM file of who signs them")
        return self


class SipSection(Section):
    """The telephone side."""

    dns: DnsSection = DnsSection()
    listen: Endpoints = ("127.0.0.1:5060",)
    advertise: Annotated[tuple[IpAddress, ...], Field(min_length=1, max_length=2), OneOrMore] | None = None
    tls: TlsSection = TlsSection()
    trunks: dict[str, TrunkSection] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_reachable(self) -> SipSection:
        families = [ipaddress.ip_address(host).version for host in self.advertise or ()]
        if len(set(families)) < len(families):
            raise WrongValue("advertises two addresses of one family", expected="expected one IPv4, one IPv6 or both")
        for text in (*self.listen, *(self.tls.listen or ())):
            address = ipaddress.ip_address(parse_address(text).host)
            if address.is_unspecified and address.version not in families:
                raise WrongValue(
                    f"listens on {address} and advertises nothing",
                    expected=f"expected advertise: IPv{address.version} address",
                )
        if len(set(self.listen)) < len(self.listen) or set(self.listen) & set(self.tls.listen or ()):
            raise WrongValue(
                "listens twice on one address", expected="expected every IP:PORT once, TLS on another port"
            )
        return self

    @model_validator(mode="after")
    def _reaches_its_trunks(self) -> SipSection:
        for name, trunk in self.trunks.items():
            for index, target in enumerate(trunk.targets):
                self._check_family(target, ("trunks", name, "peer" if trunk.registrar is None else "registrar", index))
        return self

    def _check_family(self, target: Target, at: tuple[str | int, ...]) -> None:
        """A numeric server is reached from an address of its own family alone."""
        version = ip_version(target.host)
        listeners = [one for one in self.listeners() if one.transport in target.transports]
        if version is None or version in {ip_version(one.address.host) for one in listeners}:
            return
        key = "tls.listen" if self.tls.listen and Transport.TLS in target.transports else "listen"
        raise WrongValue(
            f"is an IPv{version} address, {key!r} has only IPv{10 - version}",
            expected=f"expected an IPv{version} address in sip.{key}",
            at=at,
        )

    def advertised_for(self, address: Address) -> Address:
        """Where peers reach us at `address`: what is advertised for its family, else itself."""
        version = ipaddress.ip_address(address.host).version
        hosts = [host for host in self.advertise or () if ipaddress.ip_address(host).version == version]
        return Address(hosts[0] if hosts else address.host, address.port)

    def listeners(self) -> tuple[Listener, ...]:
        """Everywhere we are reached. UDP and TCP go together (RFC 3261 18.2.1).

        Where a trunk is on TLS and nothing listens for that, its connections come from where the others do.
        """
        plain = [parse_address(text) for text in self.listen]
        secure = [parse_address(text) for text in self.tls.listen or ()]
        listeners = [
            Listener(transport=transport, address=address, advertise=self.advertised_for(address))
            for transport, addresses in ((Transport.UDP, plain), (Transport.TCP, plain), (Transport.TLS, secure))
            for address in addresses
        ]
        if not secure and any(trunk.is_secure for trunk in self.trunks.values()):
            unheard = [Address(address.host, SIPS_PORT) for address in plain]
            listeners += [
                Listener(
                    transport=Transport.TLS, address=address, advertise=self.advertised_for(address), is_open=False
                )
                for address in dict.fromkeys(unheard)
            ]
        return tuple(listeners)


def trunk_options_of(name: str, trunk: TrunkSection, hops: tuple[Hop, ...]) -> TrunkOptions:
    """The Options of one trunk, whose servers are at `hops`."""
    return TrunkOptions(
        name=name,
        peer=hops[0],
        alternates=hops[1:],
        registrar=Uri.parse(trunk.registrar[0]) if trunk.registrar else None,
        username=trunk.username or None,
        password=trunk.password,
        auth_realm=trunk.realm,
        minimum_algorithm=trunk.minimum_digest,
        keepalive_s=trunk.keep_alive,
        contact_user=trunk.user,
        expires_s=round(trunk.expires),
        acl=trunk.acl,
        inbound_auth=_inbound_auth(trunk.inbound_auth),
        codecs=trunk.spoken_codecs,
    )


def _inbound_auth(section: InboundAuthSection | None) -> InboundAuth | None:
    if section is None:
        return None
    return InboundAuth(
        username=section.username, password=section.password, realm=section.realm, algorithms=section.algorithms
    )
