"""The lexical rules that all SIP header fields share (RFC 3261 25.1): tokens, quoted strings, hosts, parameters, lists.

Every function runs in linear time. Repeated classes are possessive (``[...]++``), so that a failed match is never tried
again at another length, and the first thing that does not fit ends the parse. Groups are not possessive: CPython before
3.11.5 gets those wrong (gh-106052). Text is what the wire had, decoded as UTF-8 with ``surrogateescape``, so that bytes
which are not UTF-8 survive a round trip.

Raises: `MessageError`, the peer's fault, in every function that takes text from the wire.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from gateway.errors import MessageError, shown

Parameters = tuple[tuple[str, str | None], ...]
"""``;name=value`` pairs in the order of the wire; None where there is no ``=``. Quoted values keep their quotes."""

WHITE_SPACE = " \t"
TOKEN_PATTERN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 -- the standard's word
QUOTED_STRING_PATTERN = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
MAXIMUM_PARAMETERS = 64
"""Parameters of one header value or URI. No RFC has a bound; devices send about a dozen at most."""
MAXIMUM_HOST_CHARACTERS = 255
"""RFC 1035 2.3.4."""
HOST_PATTERN = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._\-]++"

_token = re.compile(TOKEN_PATTERN)
_quoted_string = re.compile(QUOTED_STRING_PATTERN, re.DOTALL)
_needs_escape = re.compile(r'(["\\\x00-\x08\x0b\x0c\x0e-\x1f\x7f])')
_ESCAPED = r"\\\1"
_quoted_pair = re.compile(r"\\(.)", re.DOTALL)
_host = re.compile(HOST_PATTERN)
# A value is a token, a host or a quoted string (generic-param). Everything visible but separators is taken, because
# tags with "=" and "/" (base64) and Via parameters with ":" (IPv6 without brackets) are common. An empty pair (";;")
# is skipped, as RFC 4475 3.1.2.1 leaves to the receiver.
_parameter = re.compile(
    rf"[ \t]*+;[ \t]*+(?:({TOKEN_PATTERN})[ \t]*+"
    rf"(?:(=)[ \t]*+({QUOTED_STRING_PATTERN}|[!#-+\--:=?-~]*+)[ \t]*+)?)?",
    re.DOTALL,
)
_list_piece = re.compile(rf"({QUOTED_STRING_PATTERN})|<[^<>]*+>|[^\"<,]++|(,)", re.DOTALL)


def is_token(text: str) -> bool:
    """Whether `text` is a token (RFC 3261 25.1): a method, a header name, an option tag."""
    return _token.fullmatch(text) is not None


def parse_number(text: str, maximum: int, what: str) -> int:
    """The decimal number `text`, 0 to `maximum`; longer ones are refused before they are converted."""
    digits = text.lstrip("0") or text[-1:]
    if not (text.isascii() and text.isdigit()) or len(digits) > len(str(maximum)) or int(digits) > maximum:
        raise MessageError(f"{what} is not a number of at most {maximum}: {shown(text)}")
    return int(digits)


def quote(text: str) -> str:
    """`text` as a quoted-string; what may not stand in one as it is becomes a quoted pair."""
    return f'"{_needs_escape.sub(_ESCAPED, text)}"'


def unquote(text: str) -> str:
    """The content of a quoted-string, its quoted pairs resolved; anything else as it is."""
    if len(text) < 2 or text[0] != '"':
        return text
    inner = text[1:-1]
    return _quoted_pair.sub(r"\1", inner) if "\\" in inner else inner


def match_quoted_string(text: str) -> int:
    """The length of the quoted-string that `text` begins with, quotes included."""
    found = _quoted_string.match(text)
    if found is None:
        raise MessageError(f"unterminated quoted string: {shown(text)}")
    return found.end()


@lru_cache(maxsize=1024)
def parse_host(text: str) -> str:
    """A host name or a numeric address, brackets of an IPv6 reference taken off (RFC 3261 25.1, RFC 5118 4.1).

    Underscores are let pass: container networks have them in names.
    """
    if len(text) > MAXIMUM_HOST_CHARACTERS or not _host.fullmatch(text):
        raise MessageError(f"not a host: {shown(text)}")
    try:
        if text[0] == "[":
            IPv6Address(text[1:-1])
            return text[1:-1]
        if text.replace(".", "").isdigit():
            IPv4Address(text)
    except AddressValueError:
        raise MessageError(f"not an IP address: {shown(text)}") from None
    if text.startswith((".", "-")) or ".." in text:
        raise MessageError(f"not a host name: {shown(text)}")
    return text


def parse_port(text: str) -> int:
    """A port, 1 to 65535."""
    port = parse_number(text, 65535, "port")
    if port == 0:
        raise MessageError("port 0")
    return port


def parse_host_port(text: str) -> tuple[str, int | None]:
    """``host``, ``host:port``, ``[v6]`` or ``[v6]:port`` as host without brackets and port, None where absent."""
    host, separator, port = text, "", ""
    if text.startswith("["):
        end = text.find("]") + 1
        host, separator, port = text[:end], text[end : end + 1], text[end + 1 :]
        if separator not in ("", ":"):
            raise MessageError(f"not host and port: {shown(text)}")
    elif ":" in text:
        host, separator, port = text.partition(":")
    return parse_host(host), parse_port(port) if separator else None


def format_host(host: str) -> str:
    """`host` as it stands in a URI or a Via: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_parameters(text: str, start: int = 0) -> Parameters:
    """``;name``, ``;name=value`` and ``;name="quoted"`` from `start` to the end of `text`."""
    parameters: list[tuple[str, str | None]] = []
    end = len(text)
    while start < end:
        found = _parameter.match(text, start)
        if found is None:
            raise MessageError(f"not a parameter: {shown(text[start:])}")
        name, equals, value = found.groups()
        if name is not None:
            parameters.append((name, value if equals else None))
        if len(parameters) > MAXIMUM_PARAMETERS:
            raise MessageError(f"more than {MAXIMUM_PARAMETERS} parameters")
        start = found.end()
    return tuple(parameters)


def format_parameters(parameters: Parameters) -> str:
    """The parameters as they stand behind a header value, each with its semicolon."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in parameters)


def find_parameter(parameters: Parameters, name: str, default: str | None = None) -> str | None:
    """The first value of `name`, whatever its case, unquoted; "" where it stands without a value."""
    for key, value in parameters:
        if key == name or key.lower() == name:
            return unquote(value) if value else ""
    return default


def replace_parameter(parameters: Parameters, name: str, value: str | None) -> Parameters:
    """`parameters` with `name` set to `value`: in its old place, else at the end."""
    kept = [(key, value if key.lower() == name.lower() else old) for key, old in parameters]
    if all(key.lower() != name.lower() for key, _ in parameters):
        kept.append((name, value))
    return tuple(kept)


def split_list(text: str) -> list[str]:
    """The values of a comma-separated header field; commas in quotes and angle brackets do not count.

    Empty values are left out.
    """
    if "," not in text:
        pieces = [text]
    elif '"' not in text and "<" not in text:
        pieces = text.split(",")
    else:
        pieces, start, position = [], 0, 0
        while position < len(text):
            found = _list_piece.match(text, position)
            if found is None:
                raise MessageError(f"unbalanced quote or bracket: {shown(text[position:])}")
            if found[2]:
                pieces.append(text[start:position])
                start = found.end()
            position = found.end()
        pieces.append(text[start:])
    stripped = [piece.strip(WHITE_SPACE) for piece in pieces]
    return [piece for piece in stripped if piece]
