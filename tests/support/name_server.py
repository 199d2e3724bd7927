"""A name server on loopback that says what a test has it say, over UDP and TCP, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from gateway.sip.message import Address

Make = Callable[[dns.message.Message], bytes | None]
"""The answer to a question as it goes out; None: silence."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one name and type in the form of zone files, each ``[name ttl type ]rdata``."""

    data: tuple[str, ...]
    ttl_s: int = 120


@dataclass
class NameServer:
    """``async with NameServer({("pbx.example", "A"): "192.0.2.1"}) as server``; whatever else is asked is NXDOMAIN.

    `zone` maps name and type to rdata, or several, or `Records`, to an rcode, to a function, or to None for silence.
    Aliases are followed as a recursive server does.
    """

    zone: Mapping[tuple[str, str], object] = field(default_factory=dict)
    otherwise: dns.rcode.Rcode | None = dns.rcode.NXDOMAIN
    truncates: bool = False
    """Whether UDP tells only that TCP is to be asked."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, type and transport of each question."""

    async def __aenter__(self) -> Self:
        while True:  # until both kinds of one port are free
            self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.address = Address("127.0.0.1", self._tcp.sockets[0].getsockname()[1])
            try:
                self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Udp(self), local_addr=self.address
                )
            except OSError:
                self._tcp.close()
                continue
            return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def count(self, kind: str) -> int:
        """How often records of `kind` were asked for."""
        return sum(asked[1] == kind for asked in self.asked)

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.truncates and transport == "udp":
            response.flags |= dns.flags.TC
            return response.to_wire()
        said = self._say(response, name, kind)
        if callable(said):
            return said(query)
        if said is None:
            return None
        if isinstance(said, dns.rcode.Rcode):
            response.set_rcode(said)
        return response.to_wire(max_size=65535)

    def _say(self, response: dns.message.Message, name: str, kind: str) -> object:
        """Fill in what the zone has; its last word."""
        for _ in range(40):  # aliases
            if (name, kind) in self.zone:
                said = self.zone[name, kind]
                if isinstance(said, str | tuple | Records):
                    self._add(response, name, kind, said)
                    return True
                return said
            alias = self.zone.get((name, "CNAME"))
            if not isinstance(alias, str):
                break
            self._add(response, name, "CNAME", alias)
            name = alias.rstrip(".")
        if response.answer:
            return True
        return dns.rcode.NOERROR if any(name == known for known, _ in self.zone) else self.otherwise

    def _add(self, response: dns.message.Message, name: str, kind: str, said: str | tuple[str, ...] | Records) -> None:
        records = said if isinstance(said, Records) else Records((said,) if isinstance(said, str) else said)
        response.answer.append(dns.rrset.from_text_list(f"{name}.", records.ttl_s, "IN", kind, records.data))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (size,) = struct.unpack(">H", await reader.readexactly(2))
            answer = self.answer(await reader.readexactly(size), "tcp")
            if answer is not None:
                writer.write(struct.pack(">H", len(answer)) + answer)
                await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        if (answer := self._server.answer(data, "udp")) is not None:
            self._transport.sendto(answer, source)
