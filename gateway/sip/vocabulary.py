"""Status codes and codecs by name: the one module that imports pyVoIP, which supplies both vocabularies.

pyVoIP is read once, at import, into plain values of our own; its classes go nowhere else. Its import order matters
(``pyVoIP.VoIP`` before ``pyVoIP.SIP``, else the import is circular), and it pulls in modules that warn, so that the
import runs with the process's warning filters put aside and back.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyVoIP.VoIP  # noqa: I001
    import pyVoIP.SIP
    import pyVoIP.RTP

_OWN_PHRASES = {
    181: "Call Is Being Forwarded",
    417: "Unknown Resource-Priority",
    423: "Interval Too Brief",
    425: "Bad Alert Message",
    437: "Unsupported Credential",
    504: "Server Time-out",
}
"""Where pyVoIP's phrase is not the registered one, or its table has a gap."""

_CLASS_PHRASES = {
    1: "Progress",
    2: "Success",
    3: "Redirection",
    4: "Request Failure",
    5: "Server Failure",
    6: "Global Failure",
}

_phrases: dict[int, str] = {int(status): str(status.phrase) for status in pyVoIP.SIP.SIPStatus} | _OWN_PHRASES


def reason_phrase(status: int) -> str:
    """The phrase registered for `status` (RFC 3261 21); that of its class where none is."""
    return _phrases.get(status) or _CLASS_PHRASES.get(status // 100, "Unknown")


@dataclass(frozen=True, slots=True)
class StaticCodec:
    """A codec whose payload type needs no ``a=rtpmap`` (RFC 3551 6)."""

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int = 1


def _static_codecs() -> dict[int, StaticCodec]:
    # Channels are 0 in pyVoIP's table where they vary or mean nothing; in SDP they default to 1.
    return {
        member.value: StaticCodec(member.value, member.description, member.rate, member.channel or 1)
        for member in pyVoIP.RTP.PayloadType
        if isinstance(member.value, int)
    }


STATIC_CODECS: dict[int, StaticCodec] = _static_codecs()
"""By payload type: what a number in an m= line means without an ``a=rtpmap``."""

TELEPHONE_EVENT = str(pyVoIP.RTP.PayloadType.EVENT.value)
"""The encoding name of RFC 4733 events."""

TELEPHONE_EVENT_PAYLOAD_TYPE = 101
"""Ours by habit of the trade; dynamic, so the peer's own number is mirrored in answers."""
