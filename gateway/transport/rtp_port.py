"""One RTP port of one call: whom it hears, whom it tells, and what it dropped.

Whom it hears is the leg's source policy. ``sdp``: the address and port that the peer's SDP names. ``sdp-address``: that
address with any port; the first port heard (with SRTP, of a packet that fits the key) is locked until SDP names another
address (for peers that send from another port than they receive on). Whom it sends to is always the SDP address alone:
nothing that a packet says moves our audio, so that there is no RTP bleed (CVE-2025-53399 and its kin). All else is a
stranger: dropped before it reaches any buffer, counted, logged once a leg.

ICMP errors are counted and otherwise ignored: whoever can forge one must not end a call. Nor do SRTP packets that do
not fit the key, or come twice: those are counted as well, and the first of a leg is logged.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

import structlog

from gateway.sip.message import Address
from gateway.sip.sdes import SrtpKeys
from gateway.transport.rtp_destination import ON_HOLD, canonical_host, reason_to_mute
from gateway.transport.rtp_proof import Proof
from gateway.transport.sockets import kernel_drops
from gateway.transport.srtp import Dropped, SrtpContext

SourcePolicy: TypeAlias = Literal["sdp", "sdp-address"]

MAX_ERRORS_READ = 16
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h; Python has no names for them

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.rtp")


class PortState(Enum):
    """Where a port is in its life; the table is in `gateway.transport.rtp_ports`, which alone moves it."""

    OPEN = "open"
    """Bound and promised; what arrives waits in the kernel."""
    ATTACHED = "attached"
    """Read and written for a leg."""
    RESTING = "resting"
    """Given back; drained until its old peer is silent."""
    CLOSED = "closed"
    """The socket is gone."""


@dataclass(slots=True, kw_only=True)
class PortCounters:
    """What happened at one port that the media engine did not see, since the port was opened."""

    foreign: int = 0
    """Packets of strangers, dropped."""
    oversize: int = 0
    """Packets of 2048 bytes or more, dropped."""
    icmp_errors: int = 0
    """Errors the network reported: mostly that the peer has closed its port."""
    send_errors: int = 0
    """Packets the kernel would not take; a late frame is worth nothing, so none is tried again."""
    muted: int = 0
    """Packets not sent because SDP names no address that may be sent to (hold by 0.0.0.0, multicast, ourselves), or one
    that has not proven itself (`gateway.transport.rtp_proof`)."""
    kernel_drops: int = 0
    """Packets that found the receive buffer full."""
    srtp_failures: int = 0
    """Packets that do not fit the peer's SRTP key, dropped."""
    srtp_replays: int = 0
    """SRTP packets received before, dropped; a network that doubles packets makes some, too."""
    rtcp_drops: int = 0
    """RTCP of strangers, without the peer's key, too long, or more in a tick than anybody sends."""


@dataclass(slots=True, kw_only=True, eq=False)
class RtpPort:
    """One bound port. `port` is what SDP promises; all else is for `RtpPorts`, which opens and closes it."""

    port: int
    udp: socket.socket
    state: PortState = PortState.OPEN
    leg: int = -1
    source_policy: SourcePolicy = "sdp"
    remote: Address | None = None
    """As SDP has it."""
    rests_until: float = 0.0
    counters: PortCounters = field(default_factory=PortCounters)
    srtp: SrtpContext | None = None
    """None: plain RTP."""
    shares_rtcp: bool = False
    """Whether RTCP comes on this port as well (RFC 5761)."""
    proof: Proof = field(default_factory=Proof)
    _destination: tuple[str, int] | None = None  # `remote` where it may be sent to
    _source_host: str = ""  # whom we hear
    _source_port: int | None = None  # None: any; the first one is locked
    _is_stranger_logged: bool = False
    _is_drop_logged: bool = False

    def name_remote(self, remote: Address, own_sip_addresses: Iterable[Address]) -> None:
        """Send to and hear `remote` from now on. The same address as before changes nothing.

        An unspecified address is a hold in the manner of RFC 2543: nothing is sent, and who was heard is heard still.
        """
        if remote == self.remote:
            return
        reason = reason_to_mute(remote, family=self.udp.family, own_port=self.port, own_sip_addresses=own_sip_addresses)
        self.remote = remote
        self._destination = None if reason else (remote.host, remote.port)
        if reason == ON_HOLD:
            return
        self._source_host = canonical_host(remote.host)
        self._source_port = remote.port if self.source_policy == "sdp" else None
        if reason:
            _log.warning("RTP is not sent", port=self.port, remote=str(remote), reason=reason)

    def begin_leg(self, leg: int, source_policy: SourcePolicy) -> None:
        """Belong to the engine's `leg`; strangers are news again."""
        self.leg, self.source_policy = leg, source_policy
        self._is_stranger_logged = self._is_drop_logged = False

    def end_leg(self) -> None:
        """Belong to nobody. Whom we heard stays known: a resting port waits for that peer's silence."""
        self.leg, self.remote, self._destination, self.srtp = -1, None, None, None

    def use_srtp(self, keys: SrtpKeys | None) -> None:
        """Seal and open packets under `keys` from now on; None: plain RTP. The same keys as before change nothing."""
        if keys is None:
            self.srtp = None
        elif self.srtp is None:
            self.srtp = SrtpContext(keys)
        else:
            self.srtp.renew(keys)

    def open_in_place(self, packet: memoryview, source: tuple[str, int]) -> int:
        """Open an SRTP packet where it lies; how long the RTP packet is, 0 where it was dropped."""
        assert self.srtp is not None  # noqa: S101 - the caller has looked
        opened = self.srtp.open(packet)
        if isinstance(opened, Dropped):
            self._note_drop(opened)
            return 0
        if self._source_port is None:
            self._lock(source[1])
        packet[: len(opened)] = opened
        return len(opened)

    def _note_drop(self, why: Dropped) -> None:
        if why is Dropped.RTCP:
            return
        if why is Dropped.REPLAY:
            self.counters.srtp_replays += 1
        else:
            self.counters.srtp_failures += 1
        if not self._is_drop_logged:
            self._is_drop_logged = True
            _log.warning("SRTP packet dropped", port=self.port, reason=why.value)

    def is_peer(self, source: tuple[str, int]) -> bool:
        """Whether `source` is whom SDP and policy let us hear. An IPv6 source may have more fields."""
        return source[0] == self._source_host and self._source_port in (source[1], None)

    def is_heard(self, source: tuple[str, int]) -> bool:
        """Whether a packet from `source` may reach the leg; locks the port of plain RTP, or counts the stranger."""
        if source[0] == self._source_host:
            if source[1] == self._source_port:
                return True
            if self._source_port is None:
                if self.srtp is None:
                    self._lock(source[1])
                return True
        self._note_stranger(source)
        return False

    def _lock(self, source_port: int) -> None:
        self._source_port = source_port
        _log.debug("= RTP source locked", port=self.port, source_port=source_port)

    def _note_stranger(self, source: tuple[str, int]) -> None:
        self.counters.foreign += 1
        if not self._is_stranger_logged:
            self._is_stranger_logged = True
            expected = Address(self._source_host, self._source_port or 0)
            stranger = Address(source[0], source[1])
            _log.warning("RTP of a stranger dropped", port=self.port, source=str(stranger), expected=str(expected))

    def send(self, packet: memoryview) -> int:
        """Send one packet to the remote address; 1 if the kernel took it, else 0."""
        destination = self._destination
        if destination is None or not (self.proof.is_given or self.proof.spend()):
            self.counters.muted += 1
            return 0
        try:
            self.udp.sendto(packet if self.srtp is None else self.srtp.seal(packet), destination)
        except ConnectionRefusedError:  # an ICMP error that was waiting: told in place of sending this packet
            self.counters.icmp_errors += 1
            return 0
        except (OSError, ValueError):
            self.counters.send_errors += 1
            return 0
        return 1

    def report_icmp_errors(self) -> None:
        """Have ICMP errors told, which Linux keeps from unconnected sockets otherwise (ip(7), IP_RECVERR)."""
        with contextlib.suppress(OSError):  # nice to know, not needed
            if self.udp.family == socket.AF_INET6:
                self.udp.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                self.udp.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)

    def count_icmp_errors(self) -> None:
        """Empty the error queue, which also takes the pending error off the socket before it costs a packet."""
        for _ in range(MAX_ERRORS_READ):
            try:
                self.udp.recvmsg(1, 0, socket.MSG_ERRQUEUE)
            except OSError:
                return
            self.counters.icmp_errors += 1

    def count_kernel_drops(self) -> None:
        """Bring `PortCounters.kernel_drops` up to date."""
        if self.state is not PortState.CLOSED:
            self.counters.kernel_drops = kernel_drops(self.udp)
