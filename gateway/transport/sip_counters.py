"""What became of signalling at its sockets, in numbers, and how much of it a wake-up may take."""

from __future__ import annotations

from dataclasses import asdict, dataclass

SLICE_MESSAGES = 16
SLICE_S = 0.002
"""Signalling must not take the media's time: whichever of the two is reached first ends a wake-up."""


@dataclass(slots=True, kw_only=True)
class EndpointCounters:
    """Since the endpoint was made."""

    received: int = 0
    sent: int = 0
    dropped_buffer_full: int = 0
    """Not sent because the kernel had no room; SIP retransmits what matters."""
    dropped_too_large: int = 0
    """Not sent because no datagram is that large."""
    dropped_not_numeric: int = 0
    """Not sent because a peer gave a host name, or an address of the family we do not listen on."""
    dropped_unreachable: int = 0
    """Not sent because the network refused, or nobody answered there."""
    receive_errors: int = 0
    """ICMP and other errors reported in place of a datagram."""
    failures: int = 0
    """Exceptions of the user agent or of an event handler: ours to mend."""
    strangers_refused: int = 0
    """Connections closed at once because nobody there may speak for a trunk."""
    limit_refused: int = 0
    """Connections closed at once because there were too many."""
    handshakes_failed: int = 0
    """TLS connections that came to nothing, in either direction: too slow, wrong version, certificate or name."""
    connects_failed: int = 0
    """Connections of ours that were refused or not answered."""
    closed_slow: int = 0
    """Connections closed because a message took too long to arrive."""
    closed_slow_reader: int = 0
    """Connections closed because the peer did not read what we sent."""
    closed_idle: int = 0
    closed_silent: int = 0
    """Connections closed because a peer that answers pings did not answer one."""
    closed_malformed: int = 0
    """Connections closed because nobody could tell where the next message began."""

    def add(self, name: str) -> None:
        """Count one more of the counter called `name`."""
        setattr(self, name, getattr(self, name) + 1)

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)
