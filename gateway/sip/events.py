"""What a `UserAgent` tells the layers above: one frozen dataclass a fact, in the order in which the facts came true.

``leg_id`` names a call leg from its first event to its last. The last event of a leg is `CallRefused`,
`CallCancelled` or `CallEnded`; a leg that the application ends itself (``reject``, ``bye``) has no last event, but may
still report for a second how a transfer went.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.sip.failure import CallFailure, failure_of, read_retry_after_s
from gateway.sip.hop import Hop
from gateway.sip.message import Headers, NameAddr, Uri
from gateway.sip.sdp import SessionDescription

MAXIMUM_IDENTITIES = 8
"""Identity headers of one call that are passed on; each is a claim of one of the networks it crossed."""


class RegistrationState(Enum):
    """How we stand with a registrar."""

    UNREGISTERED = "unregistered"
    """Nobody asked for a registration, or it was given up on request."""
    REGISTERING = "registering"
    """Asked for; the registrar has not agreed yet."""
    REGISTERED = "registered"
    """The registrar knows where to find us."""
    FAILED = "failed"
    """Refused or unanswered. Tried again by itself, for ever."""


class PeerState(Enum):
    """How we stand with the peer of a trunk that does not register."""

    UNKNOWN = "unknown"
    """It has never answered OPTIONS."""
    REACHABLE = "reachable"
    """One of its servers answers."""
    UNREACHABLE = "unreachable"
    """None does any more."""


class EndCause(Enum):
    """Why a call ended that we did not end."""

    REMOTE_BYE = "remote_bye"
    """The peer hung up."""
    NO_ACK = "no_ack"
    """Our 2xx was never acknowledged within 64*T1 (RFC 3261 13.3.1.4)."""
    TIMEOUT = "timeout"
    """The peer no longer answers requests."""
    SESSION_EXPIRED = "session_expired"
    """The session timer ran out without a refresh (RFC 4028 10)."""
    ERROR = "error"
    """The peer no longer knows the call (481), or broke its protocol."""
    REPLACED = "replaced"
    """Another call took its place (RFC 3891)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationChanged:
    """The registration of `trunk` entered `state`, or was refreshed with another lifetime."""

    trunk: str
    state: RegistrationState
    status: int | None = None
    """Of the response that decided it; 408 without any; None when nothing was asked yet."""
    reason: str = ""
    """For people: what was wrong and what to mend."""
    expires_s: int | None = None
    """Granted lifetime, when registered."""
    retry_in_s: float | None = None
    """When the next try is made by itself."""
    server: Hop | None = None
    """Where the trunk's requests go at present."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerChanged:
    """The peer of `trunk`, which does not register, began or ceased to answer."""

    trunk: str
    state: PeerState
    server: Hop
    """Where calls of ours go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOffered:
    """An INVITE came; 100 Trying has been sent. Answer with ``progress``, ``answer`` or ``reject``."""

    leg_id: str
    trunk: str
    call_id: str
    request_uri: Uri
    to: NameAddr
    from_: NameAddr
    headers: Headers
    offer: SessionDescription | None
    """None: the peer leaves the offer to us, and answers in its ACK."""
    source: Hop
    replaces: str | None = None
    """The leg whose place this call takes (RFC 3891); it ends by itself when this one is answered."""
    identity: tuple[str, ...] = ()
    """The Identity headers as they came (RFC 8224): claims, verified by nobody. At most `MAXIMUM_IDENTITIES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCancelled:
    """The caller gave up before we answered, or let its limit pass. The leg is gone."""

    leg_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEstablished:
    """ACK came for our 2xx. `description` is the peer's answer, where our 2xx had held the offer."""

    leg_id: str
    description: SessionDescription | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgressed:
    """A provisional response to our INVITE, 101 to 199. `description` is early media, where the peer sends any.

    A forked call may ring at several places at once: `branch`, the remote tag, tells them apart, each with media of its
    own. Where our INVITE held no offer, `description` is the branch's offer, and ``acknowledge`` answers it.
    """

    leg_id: str
    status: int
    reason: str
    description: SessionDescription | None = None
    branch: str = ""
    """The remote tag; empty for a response that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswered:
    """The peer took our call. ACK has been sent, unless our INVITE held no offer.

    In that case `description` is the peer's offer, and ``acknowledge`` answers it. Else it is what the peer answered,
    in the 2xx or before it. Of a forked call, `branch` is the one that goes on; all others are over.
    """

    leg_id: str
    description: SessionDescription | None = None
    branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefused:
    """Our call failed with a final response, 300 to 699; 487 after ``cancel``, 408 when nobody answered at all."""

    leg_id: str
    status: int
    reason: str
    headers: Headers
    contacts: tuple[NameAddr, ...] = ()
    """Where a 3xx would send us, best first, as far as we did not follow it."""

    @property
    def failure(self) -> CallFailure:
        """What that means."""
        return failure_of(self.status, self.headers)

    @property
    def retry_after_s(self) -> int | None:
        """When the peer wants to be tried again, if it said so."""
        return read_retry_after_s(self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnded:
    """An answered call was ended, not by us. Always the leg's last event."""

    leg_id: str
    cause: EndCause
    status: int | None = None
    """The SIP status behind it: that of a Reason header, or of the response that ended the dialog."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReceived:
    """The peer wants to change the session. Answer with ``accept_offer`` or ``reject_offer``.

    An `offer` of None (only by INVITE) asks for one of ours: ``accept_offer`` takes it, `CallEstablished` brings the
    peer's answer.
    """

    leg_id: str
    method: str
    """INVITE, UPDATE or PRACK; the last two also before the call is answered."""
    offer: SessionDescription | None
    branch: str = ""
    """The remote tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferAnswered:
    """The peer agreed to our ``reoffer``, or to the offer that a ``progress`` of ours held."""

    leg_id: str
    description: SessionDescription | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRefused:
    """The peer did not agree to our ``reoffer``; the session is what it was (RFC 3261 14.1)."""

    leg_id: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgressed:
    """How our REFER fares: 202 when the peer took it, then what its NOTIFYs report, until `is_final`.

    A final `status` of 200 to 299 is success as the peer sees it; 408 also stands for no result at all.
    """

    leg_id: str
    status: int
    reason: str
    is_final: bool
    is_notified: bool = False
    """Whether it tells of the new call (by NOTIFY), rather than of the REFER itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequested:
    """The peer asks us to call somebody else (REFER). Answer with ``accept_refer`` or ``reject_refer``."""

    leg_id: str
    refer_to: NameAddr
    referred_by: str | None
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsSignalled:
    """A key pressed, by SIP INFO (application/dtmf-relay or application/dtmf)."""

    leg_id: str
    digit: str
    """One of ``0-9 * # A-D``."""
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitRefused:
    """The peer did not take a digit of ``send_digit``; 408 when it did not respond."""

    leg_id: str
    digit: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityChanged:
    """The trunk names another person at the other end than before (connected line: RFC 3325, RFC 4916)."""

    leg_id: str
    display_name: str
    uri: Uri


Event = (
    RegistrationChanged
    | PeerChanged
    | CallOffered
    | CallCancelled
    | CallEstablished
    | CallProgressed
    | CallAnswered
    | CallRefused
    | CallEnded
    | OfferReceived
    | OfferAnswered
    | OfferRefused
    | TransferProgressed
    | TransferRequested
    | DigitsSignalled
    | DigitRefused
    | IdentityChanged
)
