"""What is known of a call when its task starts: who placed it, how it is decided, what it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.calls.answering import AnswerDetector
from gateway.calls.lines.keys import DtmfMode
from gateway.calls.record import UNVERIFIED, CallDirection, CallRecord
from gateway.calls.services import CallServices
from gateway.calls.transfers.grant import TransferLimits
from gateway.dialplan.actions import Action
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.sip.events import CallOffered
from gateway.sip.hop import Hop
from gateway.sip.message import Uri
from gateway.sip.sdp import LocalMedia
from gateway.transport.rtp_ports import RtpPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A call of ours that is to be placed."""

    call_id: str
    trunk: str
    target: Uri
    detector: AnswerDetector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkWay:
    """How somebody is called by a trunk. `open_media` gives a port and what to offer there."""

    trunk: str
    referral_host: str  # host[:port] put behind extensions
    dtmf: DtmfMode
    open_media: Callable[[], tuple[RtpPort, LocalMedia]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBrief:
    """What is known of a call when its task starts."""

    start: CallOffered | Placement
    facts: CallFacts
    plan: Dialplan
    route: str
    actions: tuple[Action, ...]
    port: RtpPort
    local: LocalMedia
    further_media: Callable[[Hop | None], tuple[RtpPort, LocalMedia]]
    """A port for a further line of the call, and what that brings, with keys of its own; its signalling goes by a hop,
    or by the trunk's present one."""
    way: Callable[[str], TrunkWay]
    """How contacts are called by a trunk, of whatever name. Raises: `ResourceError`, there is none."""
    limits: TransferLimits
    own_numbers: frozenset[str] = frozenset()  # those that lead back to us
    follows_refers: bool = False  # whether the peer may make us call somebody else
    dtmf: DtmfMode = DtmfMode.AUTO  # how keys are sent

    @property
    def direction(self) -> CallDirection:
        """Who placed it."""
        return CallDirection.OUTGOING if isinstance(self.start, Placement) else CallDirection.INCOMING

    @property
    def offered(self) -> CallOffered | None:
        """The INVITE of a call that came to us."""
        return self.start if isinstance(self.start, CallOffered) else None

    @property
    def detector(self) -> AnswerDetector | None:
        """Who judges what has answered a call of ours."""
        return self.start.detector if isinstance(self.start, Placement) else None

    def record(self, services: CallServices) -> CallRecord:
        """The record of the call, which begins now."""
        return CallRecord(
            call_id=self.start.call_id,
            direction=self.direction,
            trunk=self.start.trunk,
            caller=self.facts.from_,
            called=self.facts.to,
            route=self.route,
            identity=UNVERIFIED if self.offered is not None and self.offered.identity else None,
            started_at=services.wall_clock(),
            offered_s=services.clock(),
        )
