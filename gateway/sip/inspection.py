"""What a request must pass before anybody looks at what it wants (RFC 3261 8.2), decided without knowing any call."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.bodies import SDP
from gateway.sip.core import ALLOWED_METHODS, SUPPORTED_EXTENSIONS, HeaderFields
from gateway.sip.hop import Hop
from gateway.sip.message import Request
from gateway.sip.reject_reason import RejectReason

KNOWN_METHODS = frozenset({*ALLOWED_METHODS, "REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"})
"""Methods that we could name. Those of them that we do not take are 405, all others 501 (RFC 3261 8.2.1, 21.5.2)."""
_WITH_DESCRIPTION = frozenset({"INVITE", "UPDATE"})
_WITH_TARGET = frozenset({"INVITE", "UPDATE"})
"""Methods whose Contact becomes the target of all that follows (RFC 3261 12.1.1, 12.2, RFC 3311 5.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How a request is refused."""

    status: int
    headers: HeaderFields = ()
    reason: str | None = None
    counted: RejectReason = RejectReason.UNSUITABLE


def inspect(request: Request, source: Hop) -> Refusal | None:
    """The first thing wrong with `request` from `source`, in the order of RFC 3261 8.2; None where there is none.

    Raises: `MessageError` where a list in one of its headers cannot be read, which is 400.
    """
    if request.method not in ALLOWED_METHODS:
        status = 405 if request.method in KNOWN_METHODS else 501
        return Refusal(status=status, headers=(("Allow", ", ".join(ALLOWED_METHODS)),))
    if request.uri.scheme == "sips" and not source.transport.is_secure:
        # RFC 3261 26.2.2: sips promises TLS on every hop, and this one was none.
        return Refusal(status=416)
    if request.method in _WITH_TARGET and not _has_usable_contact(request):
        return Refusal(status=400, reason="Contact is not one SIP URI")
    unsupported = [tag for tag in request.headers.get_list("Require") if tag.lower() not in SUPPORTED_EXTENSIONS]
    if unsupported and request.method not in ("ACK", "CANCEL"):
        return Refusal(status=420, headers=(("Unsupported", ", ".join(unsupported)),))
    if "Replaces" in request.headers and (request.method != "INVITE" or "Join" in request.headers):
        # RFC 3891 3, RFC 3911 4.
        return Refusal(status=400, reason="Replaces does not belong here")
    if "Join" in request.headers and request.method == "INVITE":
        # A stranger to the conversation who asks to join it must not become a call of its own.
        return Refusal(status=420, headers=(("Unsupported", "join"),))
    if request.method in _WITH_DESCRIPTION and not _takes_description(request):
        return Refusal(status=406)
    return None


def _has_usable_contact(request: Request) -> bool:
    """Whether Contact is exactly one SIP URI (RFC 3261 8.1.1.8).

    It may be missing where there is a target already, and from RFC 2543 elements (RFC 4475 3.4.1).
    """
    if "Contact" not in request.headers:
        return request.to.tag is not None or not request.top_via.has_unique_branch
    contacts = request.contacts
    return len(contacts) == 1 and contacts[0].uri.scheme in ("sip", "sips")


def _takes_description(request: Request) -> bool:
    """Whether Accept lets us answer with SDP (RFC 3261 20.1)."""
    if "Accept" not in request.headers:
        return True
    accepted = {value.partition(";")[0].strip().lower() for value in request.headers.get_list("Accept")}
    return bool(accepted & {SDP, "application/*", "*/*"})
