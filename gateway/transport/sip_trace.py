"""SIP as it went over the wire, for the log and for whoever watches; never with what would let others in.

What is masked: the values of Authorization, Authentication-Info and their proxy forms (a digest can be cracked at
leisure), also where a URI carries them as headers; the keys of SDP (``a=crypto``, ``k=``, ``a=key-mgmt``, and what
follows ``inline:`` or ``key-mgmt:`` wherever else it stands, as in ``a=acap``); passwords in SIP URIs; and the keys
that a caller presses by INFO (a PIN), of which application/dtmf is the whole body. Masking works on raw bytes, so that
it holds for datagrams that no parser would take as well.

The trace is switched on and off while the gateway runs, and may be limited to some peers: with thousands of strangers
at the door it would show little else.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal, TypeAlias

import structlog

from gateway.sip.hop import Hop

Direction: TypeAlias = Literal[">", "<"]
"""``>`` sent, ``<`` received."""

Trace: TypeAlias = Callable[[Direction, bytes, Hop], None]
"""Gets each message, masked, with the neighbour. Called on the event loop; must be quick and must not raise."""

LOGGER = "gateway.sip.wire"

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(LOGGER)
_level = logging.getLogger(LOGGER)

_LINE_START = rb"(?:\A|(?<=[\r\n]))"
_LINE_END = rb"(?:\r\n|\r|\n)"


def _escapable(text: str) -> bytes:
    """A pattern of `text` as a URI may write it (RFC 3261 19.1.4: %41 is A)."""
    return "".join(f"(?:{char}|{'|'.join({f'%{ord(c):02x}' for c in (char, char.upper())})})" for char in text).encode()


_credentials = re.compile(
    _LINE_START
    + rb"((?:proxy-)?(?:authorization|authentication-info)[ \t]*+:)[^\r\n]*+(?:"
    + _LINE_END
    + rb"[ \t][^\r\n]*+)*+",
    re.IGNORECASE,
)
_uri_credentials = re.compile(
    rb"([?&](?:" + _escapable("proxy-") + rb")?" + _escapable("authorization") + rb"=)[^&>\s]*+", re.IGNORECASE
)
_keys = re.compile(_LINE_START + rb"(a=crypto:|k=)[^\r\n]*+", re.IGNORECASE)
_inline_keys = re.compile(rb"(\binline:[ \t]*+)[^\s|;]++", re.IGNORECASE)
_key_management = re.compile(rb"(\bkey-mgmt:)[^\r\n]*+", re.IGNORECASE)
_signals = re.compile(rb"(\bsignal[\s\x1c-\x1f]*+[=:])[^\r\n]*+", re.IGNORECASE)
_digit_bodies = re.compile(
    _LINE_START
    + rb"((?:content-type|c)[ \t]*+:\s*+application\s*+/\s*+dtmf(?![\w.+-])[^\r\n]*+"
    + rb"(?:"
    + _LINE_END
    + rb"[^\r\n]++)*+(?:"
    + _LINE_END
    + rb"){0,2}+)(.*+)",
    re.IGNORECASE | re.DOTALL,
)
_passwords = re.compile(rb"(\bsips?:[^\s:@<>;?]{1,256}+:)[^\s@<>]{1,256}+@", re.IGNORECASE)


def mask_secrets(data: bytes) -> bytes:
    """`data` with every secret replaced by ``***``; linear in its length."""
    data = _credentials.sub(rb"\1 ***", data)
    data = _keys.sub(rb"\1***", data)
    data = _inline_keys.sub(rb"\1***", data)
    data = _key_management.sub(rb"\1***", data)
    data = _uri_credentials.sub(rb"\1***", data)
    data = _signals.sub(rb"\1***", data)
    data = _digit_bodies.sub(lambda found: found[1] + (b"***" if found[2] else b""), data)
    return _passwords.sub(rb"\1***@", data)


_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_traced: list[IPv4Network | IPv6Network] = [*_EVERYBODY]


def limit_to(networks: Iterable[str] | None) -> None:
    """Log only what comes from or goes to one of `networks`; None: everything."""
    _traced[:] = _EVERYBODY if networks is None else [ip_network(network, strict=False) for network in networks]


def switch(*, is_on: bool) -> None:
    """Log from now on, or no more."""
    _level.setLevel(logging.DEBUG if is_on else logging.INFO)


def is_logged() -> bool:
    """Whether `log_datagram` would write anything."""
    return _level.isEnabledFor(logging.DEBUG)


def shows(peer: Hop) -> bool:
    """Whether it would of a message of `peer`; asked before masking, which costs more than dropping a stranger does."""
    return is_logged() and _is_of_interest(peer.host)


def _is_of_interest(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return tuple(_traced) == _EVERYBODY
    return any(address in network for network in _traced)


def log_datagram(direction: Direction, masked: bytes, peer: Hop) -> None:
    """One DEBUG line a message, of a peer that it `shows`."""
    _log.debug(direction, peer=str(peer), size_bytes=len(masked), message=masked.decode("utf-8", "backslashreplace"))
