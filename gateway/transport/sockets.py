"""UDP sockets as all of this room opens them, and what to tell the operator where one cannot be had.

Everything is numeric: nothing in here asks a resolver, so nothing in here can block on one.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
from pathlib import Path

from gateway.sip.message import Address

_SO_MEMINFO = 55  # linux/socket.h; Python has no name for it
_MEMINFO = struct.Struct("9I")
_MEMINFO_DROPS = 8


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
    family = family_of(address.host)
    if family is None:
        raise OSError(errno.EADDRNOTAVAIL, "not a numeric address")
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        udp.bind((address.host, address.port))
    except OSError:
        udp.close()
        raise
    return udp


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


def explain(error: OSError, address: Address) -> str:
    """Why `address` could not be bound, and what mends it."""
    match error.errno:
        case errno.EADDRINUSE:
            owner = owner_of_udp_port(address.port)
            held_by = f" by {owner}" if owner else f"; `ss -ulpn sport = :{address.port}` as root shows by whom"
            return f"UDP {address} is taken{held_by}: stop that program or configure another port"
        case errno.EADDRNOTAVAIL:
            return (
                f"UDP {address} cannot be bound, this machine has no such address: "
                "configure one that `ip -brief address` shows, or 0.0.0.0"
            )
        case errno.EACCES | errno.EPERM:
            return (
                f"UDP {address} may not be bound by this user: "
                "configure a port above 1023 or grant CAP_NET_BIND_SERVICE"
            )
        case errno.EAFNOSUPPORT:
            return f"UDP {address} cannot be bound, IPv6 is switched off here: configure an IPv4 address"
        case errno.EMFILE | errno.ENFILE:
            return f"no file descriptor is left for UDP {address}: raise LimitNOFILE (systemd) or `ulimit -n`"
        case _:
            return f"UDP {address} cannot be bound: {error.strerror or error}"


def owner_of_udp_port(port: int) -> str:
    """Who holds UDP `port`, as in ``asterisk (pid 812)``; empty where this user may not know."""
    links = {f"socket:[{inode}]" for table in ("udp", "udp6") for inode in _inodes(Path("/proc/net") / table, port)}
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
    """Of the sockets bound to `port`. Columns: slot, local address:port in hex, ..., inode as the tenth."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if len(row) > 9 and int(row[1].rpartition(":")[2], 16) == port]
