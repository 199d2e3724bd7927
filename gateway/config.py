"""The operator's configuration: file < environment < flags, into the Options of the packages that use them.

The models here say how the file looks and what it may hold; defaults come from the Options, where they are used. A
value may hold ``${env:NAME}`` or ``${file:/path}``; what is put in is never shown in a message. In the environment
``GATEWAY__SECTION__KEY`` takes the place of a key of the file (``GATEWAY__SIP__TRUNKS__PBX__REGISTRAR``; lists in
YAML's flow form).

::

    file <- environment <- flags -> substitution -> Configuration -> user_agent_options(), session_options(), …

Raises: ConfigurationError, with every problem at its line and column.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway.calls.call import MAX_CALL_S
from gateway.calls.facts import NumberPolicy
from gateway.calls.manager import CallOptions, TrunkPolicy
from gateway.errors import ConfigurationError, MessageError, Problem, shown
from gateway.located import Document, Seconds, Section, WrongValue, examine, in_order, load_yaml
from gateway.media.codec import AudioFormat
from gateway.media.engine import MediaOptions
from gateway.realtime.session import Secret, SessionOptions, TurnDetection, providers
from gateway.sip.auth_server import InboundAuth
from gateway.sip.grammar import parse_host_port
from gateway.sip.guard import GuardOptions
from gateway.sip.hop import SIPS_PORT, Hop, Listener, Transport
from gateway.sip.message import Address, Uri
from gateway.sip.sdes import SrtpPolicy
from gateway.sip.trunk import TrunkOptions
from gateway.sip.user_agent import UserAgentOptions
from gateway.transport.load_watch import LoadLimits
from gateway.transport.locator import Target
from gateway.transport.resolver import ResolverOptions
from gateway.transport.rtp_ports import RtpPortOptions, SourcePolicy
from gateway.transport.tls import TlsOptions, TlsVersion

ENVIRONMENT_PREFIX = "GATEWAY__"
EMBEDDED = "embedded"
DNS_PORT = 53

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%?")
_SUBSTITUTION = re.compile(r"\$\{(env|file):([^}]*)\}")


def default_of(options: type, name: str) -> Any:
    """The default of an Options field, so that it is told once."""
    return next(f.default for f in dataclasses.fields(options) if f.name == name)


# The file ------------------------------------------------------------------------------------------------------------


def _address(text: str, default_port: int = 0) -> Address:
    """A numeric endpoint."""
    host, port = parse_host_port(text)
    return Address(host, port or default_port)


def _endpoint(text: str) -> str:
    """HOST:PORT with a numeric host; IPv6 in brackets."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise WrongValue(expected="expected IP:PORT, as 127.0.0.1:5060") from None
    if not port.isdigit() or not 0 < int(port) <= 65535:
        raise WrongValue(expected="expected a port of 1 to 65535 behind the colon")
    return text


def _ip(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise WrongValue(expected="expected an IP address, as 192.0.2.5") from None
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise WrongValue(expected="expected 192.0.2.7 or 192.0.2.0/24") from None
    return text


def _port_range(text: str) -> str:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit() and 1024 <= int(first) < int(last) <= 65535):
        raise WrongValue(expected="expected FIRST-LAST within 1024-65535")
    return text


def _registrar(text: str) -> str:
    try:
        uri = Uri.parse(text)
    except MessageError:
        uri = None
    if uri is None or uri.scheme not in ("sip", "sips") or not uri.host:
        raise WrongValue(expected="expected a SIP URI, as sip:192.0.2.10:5060 or sips:pbx.example.com")
    if Transport.of_uri(uri) is None:
        raise WrongValue(expected="expected ;transport=udp, tcp or tls, and no udp with sips")
    return text


def _peer(text: str) -> str:
    try:
        parse_host_port(text)
    except MessageError:
        raise WrongValue(expected="expected HOST or HOST:PORT, as pbx.example or 192.0.2.10:5060") from None
    return text


def _name_server(text: str) -> str:
    try:
        host, _ = parse_host_port(text)
        ipaddress.ip_address(host)
    except (MessageError, ValueError):
        raise WrongValue(expected="expected IP or IP:PORT, as 192.0.2.53") from None
    return text


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _server_name(text: str) -> str:
    try:
        text.encode("idna")
    except UnicodeError:
        text = ""
    if not re.fullmatch(r"[A-Za-z0-9._:\-]+", text):
        raise WrongValue(expected="expected the host name or address in the server's certificate, as pbx.example.com")
    return text


def _provider(text: str) -> str:
    known = (EMBEDDED, *providers())
    if text not in known:
        raise WrongValue(expected=f"expected one of {', '.join(known)}")
    return text


def _percent(value: object) -> object:
    """``85%`` or a bare number."""
    if isinstance(value, bool) or not isinstance(value, str):
        return value
    if not (match := _PERCENT.fullmatch(value)):
        raise WrongValue(expected="expected a share such as 85%")
    return float(match[1])


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Percent = Annotated[float, BeforeValidator(_percent, json_schema_input_type=str | float), Field(ge=0, le=100)]
IpAddress = Annotated[str, AfterValidator(_ip)]
Network = Annotated[str, AfterValidator(_network)]
PortRange = Annotated[str, AfterValidator(_port_range)]
Registrar = Annotated[str, AfterValidator(_registrar)]
Peer = Annotated[str, AfterValidator(_peer)]
NameServer = Annotated[str, AfterValidator(_name_server)]
OneOrMore = BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])
ServerName = Annotated[str, AfterValidator(_server_name)]
Provider = Annotated[str, AfterValidator(_provider)]
Endpoints = Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=16), OneOrMore]
CodecName = Literal["PCMU", "PCMA"]


def _asked_by(registrar: Uri) -> Transport | None:
    """The transport that the URI asks for; None where it leaves that open."""
    return Transport.of_uri(registrar) if registrar.scheme == "sips" or registrar.parameter("transport") else None


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
    contact_user: str | None = None
    expires: Seconds = default_of(TrunkOptions, "expires_s")
    transport: Literal["udp", "tcp", "tls"] | None = None
    tls_name: ServerName | None = None
    codecs: tuple[CodecName, ...] = default_of(TrunkOptions, "codecs")
    srtp: Literal["off", "optional", "required"] = default_of(TrunkPolicy, "srtp").value
    srtp_over_plain: bool = default_of(TrunkPolicy, "srtp_over_plain")
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
        if self.inbound_auth is None and any(ipaddress.ip_network(n, strict=False).prefixlen == 0 for n in self.acl):
            raise WrongValue("lets everybody call", expected="expected inbound_auth beside an acl of 0.0.0.0/0 or ::/0")
        if not self.codecs:
            raise WrongValue("has no codecs", expected="expected PCMU, PCMA or both")
        self._check_transports()
        if self.srtp == "required" and not (self.is_secure or self.srtp_over_plain):
            raise WrongValue(
                "requires SRTP, whose keys are told over TLS alone",
                expected="expected transport: tls, or srtp_over_plain: true where whoever sees the keys may listen",
            )
        return self

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
            address = ipaddress.ip_address(_address(text).host)
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

    def advertised_for(self, address: Address) -> Address:
        """Where peers reach us at `address`: what is advertised for its family, else itself."""
        version = ipaddress.ip_address(address.host).version
        hosts = [host for host in self.advertise or () if ipaddress.ip_address(host).version == version]
        return Address(hosts[0] if hosts else address.host, address.port)

    def listeners(self) -> tuple[Listener, ...]:
        """Everywhere we are reached. UDP and TCP go together (RFC 3261 18.2.1).

        Where a trunk is on TLS and nothing listens for that, its connections come from where the others do.
        """
        plain = [_address(text) for text in self.listen]
        secure = [_address(text) for text in self.tls.listen or ()]
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


class RtpSection(Section):
    """Where audio is received."""

    listen: IpAddress | None = None
    # Apart from Asterisk's own (10000-20000), which is often on the same machine.
    ports: PortRange = "30000-30999"
    source: SourcePolicy = default_of(RtpPortOptions, "source_policy")
    timeout: Annotated[Seconds, Field(ge=5)] = 30.0


class MediaSection(Section):
    """Audio."""

    rtp: RtpSection = RtpSection()
    append: Literal["20ms", "40ms", "60ms", "100ms"] = "20ms"


_TURNS = TurnDetection()


class TurnDetectionSection(Section):
    """When the caller's turn has ended."""

    kind: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] = _TURNS.threshold
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = _TURNS.prefix_padding_ms
    silence_duration_ms: Annotated[int, Field(ge=50, le=10000)] = _TURNS.silence_duration_ms
    eagerness: Literal["low", "medium", "high", "auto"] = _TURNS.eagerness
    interrupt: bool = _TURNS.interrupts_response


class RealtimeSection(Section):
    """One kind of realtime session."""

    provider: Provider = EMBEDDED
    url: str = ""
    model: str = ""
    api_key: str = Field(default="", repr=False)
    voice: str = ""
    instructions: str = ""
    audio: Literal["pcm16", "pcmu"] = "pcm16"
    turn_detection: TurnDetectionSection = TurnDetectionSection()
    noise_reduction: Literal["near_field", "far_field"] | None = None
    transcription: str | None = None
    language: str | None = None
    connect_timeout: Seconds = default_of(SessionOptions, "connect_timeout_s")
    brain: Path | None = None

    @model_validator(mode="after")
    def _is_reachable(self) -> RealtimeSection:
        if (self.url or self.provider != EMBEDDED) and not _is_url(self.url):
            raise WrongValue("has no url that can be called", expected="expected url: wss://HOST/v1")
        if self.provider != EMBEDDED and self.brain is not None:
            raise WrongValue("has a brain", expected="expected it with provider embedded only")
        return self

    @property
    def is_embedded_here(self) -> bool:
        """Whether the gateway starts this session's server itself."""
        return self.provider == EMBEDDED and not self.url


class LimitsSection(Section):
    """How much is let in."""

    max_calls: Annotated[int, Field(ge=1, le=10000)] = default_of(CallOptions, "max_calls")
    max_call: Annotated[Seconds, Field(gt=0)] = MAX_CALL_S
    transfers_per_call: Annotated[int, Field(ge=0, le=100)] = default_of(CallOptions, "transfers_per_call")
    transfers_per_hour: Annotated[int, Field(ge=1, le=10000)] = default_of(CallOptions, "transfers_per_hour")
    drain: Seconds = 300.0
    cpu: Percent = default_of(LoadLimits, "cpu_percent")
    lag: Seconds = default_of(LoadLimits, "lag_ms") / 1000
    descriptors: Percent = default_of(LoadLimits, "descriptors_percent")
    calls_per_s: Annotated[float, Field(gt=0)] = default_of(UserAgentOptions, "calls_per_s")
    call_burst: Annotated[int, Field(ge=1)] = default_of(UserAgentOptions, "call_burst")
    messages_per_s: Annotated[float, Field(gt=0)] = default_of(UserAgentOptions, "messages_per_s")
    message_burst: Annotated[int, Field(ge=1)] = default_of(UserAgentOptions, "message_burst")
    ban_after: Annotated[int, Field(ge=1)] = default_of(GuardOptions, "ban_after")
    ban: Seconds = default_of(GuardOptions, "ban_s")


class LogSection(Section):
    """What is written to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    mask_numbers: bool = True
    sip_trace: bool = False
    sip_trace_only: tuple[str, ...] = ()


class Configuration(Section):
    """The whole file."""

    sip: SipSection = SipSection()
    media: MediaSection = MediaSection()
    realtime: dict[str, RealtimeSection] = Field(default_factory=lambda: {"default": RealtimeSection()})
    dialplans: tuple[Path, ...] = ()
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _traces_what_exists(self) -> Configuration:
        for name in self.log.sip_trace_only:
            if name not in self.sip.trunks:
                try:
                    _network(name)
                except WrongValue:
                    message = f"log.sip_trace_only names no trunk: {shown(name)}"
                    raise WrongValue(message, expected="expected a trunk's name, an address or a network") from None
        return self

    @property
    def listen(self) -> Address:
        """Where SIP is received: the first address."""
        return _address(self.sip.listen[0])

    @property
    def media_host(self) -> str:
        """The address of our audio, as SDP tells it."""
        return self.sip.advertised_for(Address(self.media.rtp.listen or self.listen.host, 0)).host

    def listeners(self) -> tuple[Listener, ...]:
        """Everywhere SIP is received, and where it is sent from."""
        return self.sip.listeners()

    def tls_options(self) -> TlsOptions | None:
        """The files of TLS; None where nothing speaks it."""
        if not any(listener.transport is Transport.TLS for listener in self.listeners()):
            return None
        tls = self.sip.tls
        return TlsOptions(
            certificate=tls.certificate,
            key=tls.key,
            ca=tls.ca,
            verify_server=tls.verify_server,
            verify_client=tls.verify_client,
            minimum_version=tls.minimum_version,
        )

    @property
    def families(self) -> tuple[socket.AddressFamily, ...]:
        """Those of the addresses that we listen on, in their order."""
        hosts = [listener.address.host for listener in self.listeners()]
        return tuple(dict.fromkeys(socket.AF_INET6 if ":" in host else socket.AF_INET for host in hosts))

    def resolver_options(self) -> ResolverOptions:
        """Who is asked where trunks are."""
        dns = self.sip.dns
        servers = None if dns.servers is None else tuple(_address(server, DNS_PORT) for server in dns.servers)
        return ResolverOptions(servers=servers, timeout_s=dns.timeout)

    def user_agent_options(self, hops: Mapping[str, tuple[Hop, ...]], product: str) -> UserAgentOptions:
        """The SIP side. `hops` are the trunks' servers by trunk name, numeric, the preferred one first."""
        return UserAgentOptions(
            listeners=self.listeners(),
            product=product,
            trunks=tuple(_trunk_options(name, trunk, hops[name]) for name, trunk in self.sip.trunks.items()),
            guard=GuardOptions(ban_after=self.limits.ban_after, ban_s=self.limits.ban),
            calls_per_s=self.limits.calls_per_s,
            call_burst=self.limits.call_burst,
            messages_per_s=self.limits.messages_per_s,
            message_burst=self.limits.message_burst,
        )

    def trunk_policies(self, hops: Mapping[str, tuple[Hop, ...]]) -> dict[str, TrunkPolicy]:
        """What calls of each trunk are given."""
        return {
            name: TrunkPolicy(
                codecs=trunk.codecs,
                numbers=NumberPolicy(contact_user=trunk.user, called_headers=trunk.called_headers),
                referral_host=_host_text(hops[name][0].address),
                srtp=SrtpPolicy(trunk.srtp),
                srtp_over_plain=trunk.srtp_over_plain,
                follow_refers=trunk.follow_refers,
            )
            for name, trunk in self.sip.trunks.items()
        }

    def call_options(self) -> CallOptions:
        """Limits of all calls."""
        return CallOptions(
            max_calls=self.limits.max_calls,
            transfers_per_call=self.limits.transfers_per_call,
            transfers_per_hour=self.limits.transfers_per_hour,
        )

    def load_limits(self) -> LoadLimits:
        """Beyond which load new calls are refused."""
        limits = self.limits
        return LoadLimits(cpu_percent=limits.cpu, lag_ms=limits.lag * 1000, descriptors_percent=limits.descriptors)

    def traced_networks(self, hops: Mapping[str, tuple[Hop, ...]]) -> tuple[str, ...] | None:
        """Whose SIP messages a trace shows; None: everybody's. `hops` are the trunks' servers, as far as found."""
        if not self.log.sip_trace_only:
            return None
        trunks = {name: self._networks(name, hops) for name in self.sip.trunks}
        return tuple(network for name in self.log.sip_trace_only for network in trunks.get(name, (name,)))

    def trusted_media_networks(self, hops: Mapping[str, tuple[Hop, ...]]) -> tuple[str, ...]:
        """Whose audio addresses need no proof: peers that are known by their address."""
        names = [name for name, trunk in self.sip.trunks.items() if trunk.inbound_auth is None]
        return tuple(network for name in names for network in self._networks(name, hops))

    def _networks(self, trunk: str, hops: Mapping[str, tuple[Hop, ...]]) -> tuple[str, ...]:
        return (*(hop.host for hop in hops[trunk]), *self.sip.trunks[trunk].acl)

    def rtp_port_options(self) -> RtpPortOptions:
        """The RTP ports."""
        first, last = self.media.rtp.ports.split("-")
        host = self.media.rtp.listen or self.listen.host
        return RtpPortOptions(
            bind_host=host,
            first_port=int(first),
            last_port=int(last),
            source_policy=self.media.rtp.source,
            own_sip_addresses=tuple(
                address for one in self.listeners() if one.is_open for address in (one.address, one.advertise)
            ),
        )

    def media_options(self) -> MediaOptions:
        """The media engine."""
        max_legs = self.limits.max_calls + max(4, self.limits.max_calls // 4)  # contacts of attended transfers
        return MediaOptions(max_legs=max_legs, append_ms=int(self.media.append.removesuffix("ms")))

    def session_options(self, embedded_urls: Mapping[str, str]) -> dict[str, SessionOptions]:
        """The realtime sessions by name; `embedded_urls` are the addresses of those whose server we started."""
        return {
            name: _session_options(section, section.url or embedded_urls[name])
            for name, section in self.realtime.items()
        }


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)


def _host_text(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _trunk_options(name: str, trunk: TrunkSection, hops: tuple[Hop, ...]) -> TrunkOptions:
    return TrunkOptions(
        name=name,
        peer=hops[0],
        alternates=hops[1:],
        registrar=Uri.parse(trunk.registrar[0]) if trunk.registrar else None,
        username=trunk.username or None,
        password=trunk.password,
        contact_user=trunk.user,
        expires_s=round(trunk.expires),
        acl=trunk.acl,
        inbound_auth=_inbound_auth(trunk.inbound_auth),
        codecs=trunk.codecs,
    )


def _inbound_auth(section: InboundAuthSection | None) -> InboundAuth | None:
    if section is None:
        return None
    return InboundAuth(
        username=section.username, password=section.password, realm=section.realm, algorithms=section.algorithms
    )


def _session_options(section: RealtimeSection, url: str) -> SessionOptions:
    turns = section.turn_detection
    audio = AudioFormat.PCM16_24K if section.audio == "pcm16" else AudioFormat.PCMU
    return SessionOptions(
        provider="openai" if section.provider == EMBEDDED else section.provider,
        url=url,
        model=section.model or (EMBEDDED if section.provider == EMBEDDED else ""),
        api_key=Secret(section.api_key) if section.api_key else None,
        voice=section.voice,
        instructions=section.instructions,
        input_format=audio,
        output_format=audio,
        turn_detection=TurnDetection(
            kind=turns.kind,
            threshold=turns.threshold,
            prefix_padding_ms=turns.prefix_padding_ms,
            silence_duration_ms=turns.silence_duration_ms,
            eagerness=turns.eagerness,
            interrupts_response=turns.interrupt,
        ),
        noise_reduction=section.noise_reduction,
        transcription_model=section.transcription or (EMBEDDED if section.provider == EMBEDDED else None),
        transcription_language=section.language,
        connect_timeout_s=section.connect_timeout,
    )


# Reading -------------------------------------------------------------------------------------------------------------


def load_configuration(
    file: Path, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Configuration:
    """The configuration of `file`, with the environment and flags (``section.key`` to text) put over it.

    Relative paths in it are taken from the file's folder.

    Raises:
        ConfigurationError: with every problem found.
    """
    environment = os.environ if environment is None else environment
    document = load_yaml(file)
    problems = _misspelt(environment)
    for name, text in _overrides(environment, flags or {}):
        document, problem = _overridden(document, name, text)
        problems += problem
    document = document.with_texts(_Substitution(environment))
    examined = examine(Configuration, document)
    problems += examined.problems
    if problems or examined.value is None:
        raise ConfigurationError(in_order(problems, str(file)))
    return _with_paths(examined.value, file.parent)


def _overrides(environment: Mapping[str, str], flags: Mapping[str, str]) -> list[tuple[str, str]]:
    chosen = [(name, text) for name, text in environment.items() if name.startswith(ENVIRONMENT_PREFIX)]
    as_flags = [(ENVIRONMENT_PREFIX + path.replace(".", "__"), text) for path, text in flags.items()]
    return [*sorted(chosen), *as_flags]


def _misspelt(environment: Mapping[str, str]) -> list[Problem]:
    """Variables that were meant for us, and would be passed over in silence."""
    near = [name for name in environment if re.match(r"GATEWAY_[A-Z0-9]+__", name)]
    return [
        Problem(
            file=name,
            message="has one underscore behind GATEWAY",
            expected=f"did you mean {name.replace('_', '__', 1)}?",
        )
        for name in sorted(near)
    ]


def _overridden(document: Document, name: str, text: str) -> tuple[Document, list[Problem]]:
    """`document` with the value of one variable; YAML where it is written as a list or table, else plain text."""
    path: list[str] = []
    for word in name.removeprefix(ENVIRONMENT_PREFIX).split("__"):
        known = document.keys(path)
        same = next((key for key in known if key.casefold() == word.casefold()), None)
        counted = known[int(word)] if same is None and word.isdigit() and int(word) < len(known) else None
        path.append(same or counted or word.lower())
    try:
        value = load_yaml(text if _is_flow_form(text) else f"{_quoted(text)}\n", name)
    except ConfigurationError as error:
        return document, list(error.problems)
    return document.with_value(path, value), []


def _is_flow_form(text: str) -> bool:
    """Whether `text` is a list or table. ``[::1]:5060`` is neither."""
    return text[:1] + text.rstrip()[-1:] in ("[]", "{}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Substitution:
    """Puts the environment and files in the place of ``${env:NAME}`` and ``${file:/path}``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def __call__(self, text: str) -> str:
        return _SUBSTITUTION.sub(self._value, text) if "${" in text else text

    def _value(self, match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            value = self._environment.get(name)
            if value is None:
                raise WrongValue(f"environment variable {shown(name)} is not set", expected=f"export {shown(name)}=…")
            return value
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise WrongValue(f"{shown(name)} cannot be read: {reason}", expected="expected a readable file") from error


def _with_paths(configuration: Configuration, folder: Path) -> Configuration:
    realtime = {
        name: section.model_copy(update={"brain": folder / section.brain}) if section.brain else section
        for name, section in configuration.realtime.items()
    }
    plans = tuple(folder / plan for plan in configuration.dialplans)
    tls = configuration.sip.tls
    files = {name: folder / file for name in ("certificate", "key", "ca") if (file := getattr(tls, name)) is not None}
    sip = configuration.sip.model_copy(update={"tls": tls.model_copy(update=files)})
    return configuration.model_copy(update={"dialplans": plans, "realtime": realtime, "sip": sip})
