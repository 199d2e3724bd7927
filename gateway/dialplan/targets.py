"""Where a contact may be dialled: an extension of the trunk's PBX, a SIP address elsewhere, or a telephone number.

The text comes from the plan alone. It is still held to a narrow alphabet, so that what is sent in a request line can
carry no header, parameter or second address.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum, auto

from gateway.errors import shown
from gateway.located import WrongValue

_USER = re.compile(r"[A-Za-z0-9+*#_.-]{1,64}")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\.?")
_TELEPHONE = re.compile(r"\+?[0-9]{2,20}")
_FORMS = "expected an extension such as sip:6001, sip:USER@HOST, or tel:+4930123456"


class TargetKind(Enum):
    """The forms a target takes."""

    EXTENSION = auto()
    ADDRESS = auto()
    TELEPHONE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class DialTarget:
    """One place to dial. ``host`` (brackets around IPv6) and ``port`` belong to `TargetKind.ADDRESS`."""

    kind: TargetKind
    user: str
    host: str = ""
    port: int | None = None

    def uri(self, domain: str) -> str:
        """The SIP URI to send; `domain` is the trunk's ``host[:port]``, where extensions and telephone numbers live.

        A telephone number goes as RFC 3261 19.1.6 has it, as a user of the trunk with ``user=phone``.
        """
        user = self.user.replace("#", "%23")
        if self.kind is TargetKind.TELEPHONE:
            return f"sip:{user}@{domain};user=phone"
        if self.kind is TargetKind.EXTENSION:
            return f"sip:{user}@{domain}"
        return f"sip:{user}@{self.host}" + (f":{self.port}" if self.port else "")

    def __str__(self) -> str:
        scheme = "tel" if self.kind is TargetKind.TELEPHONE else "sip"
        host = f"@{self.host}" + (f":{self.port}" if self.port else "") if self.host else ""
        return f"{scheme}:{self.user}{host}"


def parse_target(text: str) -> DialTarget:
    """The target that `text` names: ``6001``, ``sip:6001``, ``sip:anna@pbx.example:5070`` or ``tel:+49-30-123456``.

    Raises:
        WrongValue: none of these forms.
    """
    scheme, colon, rest = text.strip().partition(":")
    if not colon:
        return _extension(text.strip(), text)
    if scheme.casefold() == "tel":
        number = re.sub(r"[-.() ]", "", rest)
        if not _TELEPHONE.fullmatch(number):
            raise _unfit(text)
        return DialTarget(kind=TargetKind.TELEPHONE, user=number)
    if scheme.casefold() != "sip":
        raise _unfit(text)
    user, at, address = rest.rpartition("@")
    return _address(user, address, text) if at else _extension(rest, text)


def _extension(user: str, text: str) -> DialTarget:
    if not _USER.fullmatch(user):
        raise _unfit(text)
    return DialTarget(kind=TargetKind.EXTENSION, user=user)


def _address(user: str, address: str, text: str) -> DialTarget:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:]+)(?::([0-9]{1,5}))?", address)
    if not (match and _USER.fullmatch(user) and _is_host(match[1])):
        raise _unfit(text)
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65536:
        raise _unfit(text)
    return DialTarget(kind=TargetKind.ADDRESS, user=user, host=match[1], port=port)


def _is_host(text: str) -> bool:
    if not text.startswith("["):
        return bool(_HOST.fullmatch(text))
    try:
        ipaddress.IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True


def _unfit(text: str) -> WrongValue:
    return WrongValue(f"holds {shown(text)!r}", expected=_FORMS)
