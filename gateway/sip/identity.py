"""Who is at the other end, as the trunk says: P-Asserted-Identity (RFC 3325), Remote-Party-ID, From (RFC 4916).

A trunk may speak for its calls, so that its word is taken; nobody else's messages come this far.
"""

from __future__ import annotations

from gateway.errors import MessageError
from gateway.sip.dialog import Dialog
from gateway.sip.message import NameAddr, Request, Response


def asserted_identity(message: Request | Response) -> NameAddr | None:
    """The first name that can be read in P-Asserted-Identity, else in Remote-Party-ID of the party at the other end."""
    for name in ("P-Asserted-Identity", "Remote-Party-ID"):
        for identity in _read_all(message, name):
            # draft-ietf-sip-privacy-04 6: without `party` it is the sender's own identity.
            if (identity.parameter("party") or "").lower() not in ("called", "calling", "") or not identity.uri.user:
                continue
            return identity
    return None


def changed_from(message: Request | Response, dialog: Dialog | None) -> NameAddr | None:
    """From of a request within `dialog`, where it names another URI than the dialog does (RFC 4916 4.4.1)."""
    if not isinstance(message, Request) or dialog is None or message.from_.uri.matches(dialog.remote.uri):
        return None
    return message.from_


def is_same_person(identity: NameAddr, other: NameAddr | None) -> bool:
    """Whether both show the same name and number."""
    if other is None:
        return False
    return identity.display_name == other.display_name and identity.uri.matches(other.uri)


def _read_all(message: Request | Response, name: str) -> list[NameAddr]:
    try:
        return [NameAddr.parse(value) for value in message.headers.get_list(name)]
    except MessageError:
        return []
