"""What one value of the configuration may be: an address, a share, a registrar, each with what was expected instead.

Raises: `WrongValue`, which `gateway.located` turns into a problem with its place.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.errors import MessageError, ProviderRefused
from gateway.located import Seconds, WrongValue
from gateway.realtime.provider_registry import factory_of, providers
from gateway.records.names import FIELDS, check_pattern
from gateway.sip.grammar import parse_host, parse_host_port, parse_port
from gateway.sip.hop import Transport
from gateway.sip.message import Address, Uri

EMBEDDED = "embedded"
DNS_PORT = 53

_BARE_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_DISK_SPACE = re.compile(r"0|([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(MB|GB)")
_LAW_NAMES = frozenset({"pcmu", "pcma", "g711_ulaw", "g711_alaw"})
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%?")


def default_of(options: type, name: str) -> Any:
    """The default of an Options field, so that it is told once."""
    return next(f.default for f in dataclasses.fields(options) if f.name == name)


def parse_address(text: str, default_port: int = 0) -> Address:
    """A numeric endpoint."""
    host, port = parse_host_port(text)
    return Address(host, port or default_port)


def _endpoint(text: str) -> str:
    """HOST:PORT with a numeric host; IPv6 in brackets."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(parse_host(host))
    except (MessageError, ValueError):
        raise WrongValue(expected="expected IP:PORT, as 127.0.0.1:5060 or [::1]:5060") from None
    try:
        parse_port(port)
    except MessageError:
        raise WrongValue(expected="expected a port of 1 to 65535 behind the colon") from None
    return text


def ip_version(host: str) -> int | None:
    """4 or 6; None for a name."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return None


def _check_somebody(host: str) -> None:
    """Refuse a numeric host where no single server can be."""
    if ip_version(host) is None:
        return
    address = ipaddress.ip_address(host)
    if address.is_unspecified or address.is_multicast or host == "255.255.255.255":
        raise WrongValue(expected="expected the address of one server: not unspecified, multicast or broadcast")


def _ip(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise WrongValue(expected="expected an IP address, as 192.0.2.5") from None
    return text


def check_network(text: str) -> str:
    """An address or a network, itself."""
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
    _check_somebody(uri.host)
    return text


def _peer(text: str) -> str:
    """HOST or HOST:PORT; an IPv6 address alone may lack its brackets."""
    text = f"[{text}]" if ip_version(text) == 6 else text
    try:
        host, _ = parse_host_port(text)
    except MessageError:
        raise WrongValue(
            expected="expected HOST or HOST:PORT, as pbx.example, 192.0.2.10:5060 or [2001:db8::1]:5060"
        ) from None
    _check_somebody(host)
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
    known = providers()
    if text not in known:
        raise WrongValue(expected=f"expected one of {', '.join(known)}")
    try:
        factory_of(text)
    except ProviderRefused as error:
        expected = "expected its package mended or removed"
        raise WrongValue(f"names a provider that cannot be used: {error}", expected=expected) from None
    return text


def _lateness(value: object) -> object:
    """A time with its unit, or 0: a bare 20 would be seconds, where everybody thinks in milliseconds."""
    if isinstance(value, str) and _BARE_NUMBER.fullmatch(value) and float(value) != 0:
        raise WrongValue(expected="expected a time such as 20ms")
    return value


def _percent(value: object) -> object:
    """``85%`` or a bare number."""
    if isinstance(value, bool) or not isinstance(value, str):
        return value
    if not (match := _PERCENT.fullmatch(value)):
        raise WrongValue(expected="expected a share such as 85%")
    return float(match[1])


def _disk_space(value: object) -> object:
    """``500MB`` or ``2GB``, in bytes; 0 for none."""
    if not isinstance(value, str):
        return value
    if not (match := _DISK_SPACE.fullmatch(value)):
        raise WrongValue(expected="expected a size such as 500MB or 2GB")
    return round(float(match[1] or 0) * (1_000_000_000 if match[2] == "GB" else 1_000_000))


def _recording_name(text: str) -> str:
    try:
        return check_pattern(text)
    except ValueError as error:
        fields = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise WrongValue(str(error), expected=f"expected a name within the folder, of {fields}") from None


def _session_audio(value: object) -> object:
    if isinstance(value, str) and value.casefold() in _LAW_NAMES:
        raise WrongValue(expected="expected g711, which is the caller's own law")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]
DiskSpace = Annotated[int, BeforeValidator(_disk_space, json_schema_input_type=str | int), Field(ge=0)]
RecordingName = Annotated[str, AfterValidator(_recording_name)]
Lateness = Annotated[Seconds, BeforeValidator(_lateness, json_schema_input_type=str | float)]
Percent = Annotated[float, BeforeValidator(_percent, json_schema_input_type=str | float), Field(ge=0, le=100)]
IpAddress = Annotated[str, AfterValidator(_ip)]
Network = Annotated[str, AfterValidator(check_network)]
PortRange = Annotated[str, AfterValidator(_port_range)]
Registrar = Annotated[str, AfterValidator(_registrar)]
Peer = Annotated[str, AfterValidator(_peer)]
NameServer = Annotated[str, AfterValidator(_name_server)]
OneOrMore = BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])
ServerName = Annotated[str, AfterValidator(_server_name)]
Provider = Annotated[str, AfterValidator(_provider)]
Endpoints = Annotated[tuple[Endpoint, ...], Field(min_length=1, max_length=16), OneOrMore]
CodecName = Literal["PCMU", "PCMA", "G722"]
SessionAudio = Annotated[Literal["pcm16", "g711"], BeforeValidator(_session_audio)]
