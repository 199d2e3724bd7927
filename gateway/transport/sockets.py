"""Sockets as all of this room opens them, and what to tell the operator where one cannot be had.

Everything is numeric: nothing in here asks a resolver, so nothing in here can block on one.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
from pathlib import Path
from typing import Literal

from gateway.sip.message import Address

Protocol = Literal["udp", "tcp"]

_SO_MEMINFO = 55  # linux/socket.h; Python has no name for it
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8


_CONNECTED, _UNCONNECTED, _LISTENING = "01", "07", "0A"  # include/net/tcp_states.h


@functools.lru_cache(maxsize=4096)
def family_of(host: str) -> socket.AddressFamily | None:
    """The family of a numeric address, without brackets or zone; None for anything else, names above all."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError: embedded NUL, lone surrogates
            continue
        return family
    return None


def open_udp_socket(address: Address, *, receive_buffer_bytes: int) -> socket.socket:
    """A non-blocking UDP socket bound to `address`, which nobody else can bind as well.

    An IPv6 socket is for IPv6 alone, so that sources have the one spelling that access lists use.

    Raises:
        OSError: see `explain`.
    """
    udp = _make_socket(address.host, socket.SOCK_DGRAM)
    try:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        udp.bind((address.host, address.port))
    except OSError:
        udp.close()
        raise
    return udp


def open_tcp_listener(address: Address, *, backlog: int) -> socket.socket:
    """A non-blocking socket that listens on `address`. Raises: `OSError`, see `explain`."""
    tcp = _make_socket(address.host, socket.SOCK_STREAM)
    try:
        # A restart need not wait for the last connections of the process before it.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address.host, address.port))
        tcp.listen(backlog)
    except OSError:
        tcp.close()
        raise
    return tcp


def make_tcp_socket(host: str, bind_host: str | None, *, unacknowledged_s: float) -> socket.socket:
    """A socket to be connected to numeric `host`, from `bind_host` where that is given. Raises: `OSError`."""
    tcp = _make_socket(host, socket.SOCK_STREAM)
    try:
        give_up_after(tcp, unacknowledged_s)
        if bind_host is not None:
            tcp.bind((bind_host, 0))
    except OSError:
        tcp.close()
        raise
    return tcp


def give_up_after(tcp: socket.socket, unacknowledged_s: float) -> None:
    """Let a connection break when what was sent is not acknowledged for so long, instead of after many minutes."""
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(unacknowledged_s * 1000))


def _make_socket(host: str, kind: socket.SocketKind) -> socket.socket:
    family = family_of(host)
    if family is None:
        raise OSError(errno.EADDRNOTAVAIL, "not a numeric address")
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def source_towards(host: str) -> str | None:
    """Our address on the way to numeric `host`, by the kernel's routes; None where there is no way. Sends nothing."""
    try:
        with _make_socket(host, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def kernel_drops(udp: socket.socket) -> int:
    """Datagrams the kernel threw away because the receive buffer was full; 0 where it does not say."""
    try:
        memory = udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:
        return 0
    return int(_MEMINFO.unpack(memory)[_MEMINFO_DROPS]) if len(memory) == _MEMINFO.size else 0


def is_own_address(host: str) -> bool:
    """Whether numeric `host` is an address of this machine. Costs a few system calls: not for each packet."""
    family = family_of(host)
    if family is None:
        return False
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def explain(error: OSError, address: Address, protocol: Protocol = "udp") -> str:
    """Why `address` could not be bound, and what mends it."""
    name = protocol.upper()
    match error.errno:
        case errno.EADDRINUSE:
            owner = owner_of_port(address.port, protocol)
            held_by = (
                f" by {owner}" if owner else f"; `ss -{protocol[0]}lpn sport = :{address.port}` as root shows by whom"
            )
            return f"{name} {address} is taken{held_by}: stop that program or configure another port"
        case errno.EADDRNOTAVAIL:
            return (
                f"{name} {address} cannot be bound, this machine has no such address: "
                "configure one that `ip -brief address` shows, or 0.0.0.0"
            )
        case errno.EACCES | errno.EPERM:
            return (
                f"{name} {address} may not be bound by this user: "
                "configure a port above 1023 or grant CAP_NET_BIND_SERVICE"
            )
        case errno.EAFNOSUPPORT:
            return f"{name} {address} cannot be bound, IPv6 is switched off here: configure an IPv4 address"
        case errno.EMFILE | errno.ENFILE:
            return f"no file descriptor is left for {name} {address}: raise LimitNOFILE (systemd) or `ulimit -n`"
        case _:
            return f"{name} {address} cannot be bound: {error.strerror or error}"


def owner_of_port(port: int, protocol: Protocol = "udp") -> str:
    """Who holds `port`, as in ``asterisk (pid 812)``; empty where this user may not know."""
    links = {
        f"socket:[{inode}]"
        for table in (protocol, f"{protocol}6")
        for inode in _inodes(Path("/proc/net") / table, port)
    }
    if not links:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(descriptor.readlink()) in links for descriptor in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return "this process itself" if process.name == str(os.getpid()) else f"{name} (pid {process.name})"
        except OSError:  # another user's, or gone meanwhile
            continue
    return ""


def _inodes(table: Path, port: int) -> list[str]:
    """Of the sockets bound to `port`; of TCP those that listen, for connections may have the same number.

    Columns: slot, local address:port in hex, remote, state, ..., inode as the tenth.
    """
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    states = (_LISTENING,) if table.name.startswith("tcp") else (_UNCONNECTED, _CONNECTED)
    return [row[9] for row in rows if len(row) > 9 and int(row[1].rpartition(":")[2], 16) == port and row[3] in states]
