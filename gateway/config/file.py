"""The whole file, and the Options of the packages that use it."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, PrivateAttr, model_validator

from gateway.calls.facts import NumberPolicy
from gateway.calls.lines.keys import DtmfMode
from gateway.calls.lines.media_hosts import MediaHost, MediaHosts
from gateway.calls.manager import CallOptions, TrunkPolicy
from gateway.config.mail import MailSection
from gateway.config.providers import formats_of, missing_formats
from gateway.config.sections import (
    LimitsSection,
    LogSection,
    MediaSection,
    RealtimeSection,
    RecordsSection,
    session_options_of,
)
from gateway.config.sip import SipSection, trunk_options_of
from gateway.config.values import DNS_PORT, EMBEDDED, check_network, parse_address
from gateway.errors import Problem, shown
from gateway.located import Document, Key, Section, WrongValue, hint
from gateway.media.engine import MediaOptions
from gateway.media.pacing import APPENDS_MS
from gateway.realtime.prices import SessionPrices, session_prices
from gateway.realtime.recovery.endpoints import Endurance
from gateway.realtime.session import SessionOptions
from gateway.records.recordings import RecordingOptions
from gateway.sip.guard import GuardOptions
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address
from gateway.sip.sdes import SrtpPolicy
from gateway.sip.user_agent import UserAgentOptions
from gateway.transport.load_watch import LoadLimits
from gateway.transport.resolver import ResolverOptions
from gateway.transport.rtp_ports import RtpPortOptions
from gateway.transport.sockets import family_of
from gateway.transport.tls import TlsOptions


class Configuration(Section):
    """The whole file."""

    sip: SipSection = SipSection()
    media: MediaSection = MediaSection()
    realtime: dict[str, RealtimeSection] = Field(default_factory=lambda: {"default": RealtimeSection()})
    dialplans: tuple[Path, ...] = ()
    records: RecordsSection = RecordsSection()
    mail: MailSection = MailSection()
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()
    _document: Document | None = PrivateAttr(default=None)
    _overlooked: tuple[Problem, ...] = PrivateAttr(default=())

    def read_from(self, document: Document, overlooked: Sequence[Problem] = ()) -> Configuration:
        """The same, with the places of what was read, and the variables that were not."""
        self._document = document
        self._overlooked = tuple(overlooked)
        return self

    @property
    def overlooked(self) -> tuple[Problem, ...]:
        """Variables of the environment that look like keys of ours, and are none."""
        return self._overlooked

    def problem(self, path: Sequence[Key], message: str, expected: str) -> Problem:
        """A problem at the place in the file that `path` leads to."""
        if self._document is None:
            return Problem(file="configuration", message=message, expected=expected)
        return self._document.problem(path, message, expected)

    @model_validator(mode="after")
    def _traces_what_exists(self) -> Configuration:
        for name in self.log.sip_trace_only:
            if name not in self.sip.trunks:
                try:
                    check_network(name)
                except WrongValue:
                    message = f"log.sip_trace_only names no trunk: {shown(name)}"
                    raise WrongValue(message, expected="expected a trunk's name, an address or a network") from None
        return self

    @model_validator(mode="after")
    def _falls_back_on_what_fits(self) -> Configuration:
        for name, section in self.realtime.items():
            for index, fallback in enumerate(section.fallbacks):
                expected, at = _fit_of_fallback(self.realtime, name, fallback), ("realtime", name, "fallbacks", index)
                if expected:
                    raise WrongValue(f"does not fit {shown(name)}: {shown(fallback)}", expected=expected, at=at)
        return self

    def missing_codecs(self) -> list[tuple[str, str]]:
        """Trunk and codec, for each that is configured and left out because its library is not installed."""
        return [
            (name, codec)
            for name, trunk in self.sip.trunks.items()
            for codec in trunk.codecs
            if codec not in trunk.spoken_codecs
        ]

    @property
    def listen(self) -> Address:
        """Where SIP is received: the first address."""
        return parse_address(self.sip.listen[0])

    @property
    def media_hosts(self) -> MediaHosts:
        """Where audio is received: for each family of SIP what `media.rtp.listen` names of it, else where SIP is.

        Where SIP has but one family, audio may be of the other.
        """
        named, heard = self.media.rtp.listen or (), tuple(listener.address.host for listener in self.listeners())
        choice = (*named, *heard) if len(self.families) > 1 else named or heard
        hosts = [next((host for host in choice if family_of(host) is family), choice[0]) for family in self.families]
        return MediaHosts(tuple(MediaHost(host, self.sip.advertised_for(Address(host, 0)).host) for host in hosts))

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
        servers = None if dns.servers is None else tuple(parse_address(server, DNS_PORT) for server in dns.servers)
        return ResolverOptions(servers=servers, timeout_s=dns.timeout)

    def user_agent_options(self, hops: Mapping[str, tuple[Hop, ...]], product: str) -> UserAgentOptions:
        """The SIP side. `hops` are the trunks' servers by trunk name, numeric, the preferred one first."""
        return UserAgentOptions(
            listeners=self.listeners(),
            product=product,
            trunks=tuple(trunk_options_of(name, trunk, hops[name]) for name, trunk in self.sip.trunks.items()),
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
                codecs=trunk.spoken_codecs,
                numbers=NumberPolicy(contact_user=trunk.user, called_headers=trunk.called_headers),
                referral_host=_host_text(hops[name][0].address),
                srtp=SrtpPolicy(trunk.srtp),
                srtp_over_plain=trunk.srtp_over_plain,
                dtmf=DtmfMode(trunk.dtmf),
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
        return RtpPortOptions(
            bind_host=self.media_hosts.hosts[0].bind,
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
        append = APPENDS_MS[0] if self.media.append == "auto" else int(self.media.append.removesuffix("ms"))
        return MediaOptions(max_legs=max_legs, append_ms=append)

    def recording_options(self) -> RecordingOptions | None:
        """Where recordings go; None where there are none."""
        section = self.records.recordings
        if section.folder is None:
            return None
        return RecordingOptions(
            folder=section.folder,
            format=section.format,
            name=section.name,
            min_free_bytes=section.min_free,
            keep_days=section.keep_days,
        )

    def endurances(self) -> dict[str, Endurance]:
        """What the realtime sessions fall back on, by name."""
        return {name: section.endurance() for name, section in self.realtime.items()}

    def session_prices(self) -> dict[str, SessionPrices]:
        """What the realtime sessions cost, by name."""
        prices = {}
        for name, section in self.realtime.items():
            options = session_options_of(section, section.url)
            provider, model = (
                (EMBEDDED, EMBEDDED) if section.provider == EMBEDDED else (section.provider, section.model)
            )
            written = EMBEDDED if section.provider == EMBEDDED else options.transcription_model
            prices[name] = session_prices(provider, model, written, section.prices)
        return prices

    def unpriced(self) -> tuple[str, ...]:
        """The realtime sessions that may cost what nobody knows."""
        prices = self.session_prices().items()
        return tuple(name for name, known in prices if known.model is None or known.transcription is None)

    def untranscribed(self) -> tuple[str, ...]:
        """The realtime sessions that do not write down what callers say."""
        options = ((name, session_options_of(section, section.url)) for name, section in self.realtime.items())
        return tuple(name for name, known in options if known.transcription_model is None)

    def session_options(self, embedded_urls: Mapping[str, str]) -> dict[str, SessionOptions]:
        """The realtime sessions by name; `embedded_urls` are the addresses of those whose server we started."""
        return {
            name: session_options_of(section, section.address or embedded_urls[name])
            for name, section in self.realtime.items()
        }


def _fit_of_fallback(sections: Mapping[str, RealtimeSection], name: str, fallback: str) -> str:
    """What was expected of a fallback that does not fit; empty where it does."""
    others = [other for other in sections if other != name]
    if fallback not in others:
        return hint(fallback, others)
    first, other = sections[name], sections[fallback]
    return missing_formats(other.provider, formats_of(first.provider, first.audio))


def _host_text(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"
