"""Where SIP messages go to and come from: a neighbour's address, the transport, and for streams the connection.

`Hop` is to signalling what `Address` is to media. A message over UDP goes to an address. One over TCP or TLS goes over
a connection: the one that `connection` names, as long as that is open (RFC 3261 18.2.2, RFC 5923), else any that is
open to the address, else one that is opened for it. The numbers of connections are the shell's, here only carried.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gateway.sip.grammar import format_host
from gateway.sip.uri import Address, Uri

SIP_PORT = 5060
SIPS_PORT = 5061


class Transport(Enum):
    """How messages travel. The value is the word of Via (RFC 3261 20.42)."""

    UDP = "UDP"
    TCP = "TCP"
    TLS = "TLS"

    @property
    def is_reliable(self) -> bool:
        """Whether it delivers or tells that it did not: no repetitions over it (RFC 3261 17)."""
        return self is not Transport.UDP

    @property
    def is_secure(self) -> bool:
        """Whether ``sips:`` may travel on it, and SRTP keys in SDP (RFC 3261 26.2.2, RFC 4568 8.3)."""
        return self is Transport.TLS

    @property
    def default_port(self) -> int:
        """The port where none is written (RFC 3261 19.1.2)."""
        return SIPS_PORT if self is Transport.TLS else SIP_PORT

    @classmethod
    def of_uri(cls, uri: Uri) -> Transport | None:
        """What `uri` asks for: its scheme, then its ``transport`` parameter; None for one that we do not speak."""
        name = (uri.parameter("transport") or "").upper()
        if uri.scheme == "sips":
            # RFC 3261 26.2.2: ``transport=tcp`` in a sips URI means TLS over TCP.
            return cls.TLS if name in ("", "TCP", "TLS") else None
        return cls.UDP if not name else next((one for one in cls if one.value == name), None)


class Hop(NamedTuple):
    """One neighbour on one transport. `connection` is 0 where no particular connection is meant."""

    host: str
    port: int
    transport: Transport = Transport.UDP
    connection: int = 0

    def __str__(self) -> str:
        address = f"{format_host(self.host)}:{self.port}"
        return address if self.transport is Transport.UDP else f"{address}/{self.transport.value}"

    @property
    def address(self) -> Address:
        """Host and port alone."""
        return Address(self.host, self.port)

    def is_like(self, other: Hop) -> bool:
        """Whether it may be who was at `other`: the same host, on a transport that is no less secure."""
        return self.host == other.host and (self.transport.is_secure or not other.transport.is_secure)

    def is_at(self, other: Hop) -> bool:
        """Whether both are the same neighbour on the same transport, whatever the connection."""
        return self[:3] == other[:3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One place where peers reach us, and where what we send comes from.

    Without `is_open` nothing listens there: the transport is used on connections that we open, and its peer answers and
    calls back on those (as a PBX does with ``rewrite_contact``).
    """

    transport: Transport
    address: Address
    """What is bound."""
    advertise: Address
    """The same as peers see it: in Via and Contact."""
    is_open: bool = True
