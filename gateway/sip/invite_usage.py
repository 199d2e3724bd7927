"""What all parts of a call leg share: its state, its dialog, the way to the peer and the way out of the call.

RFC 5057 calls this the INVITE usage of a dialog. Who places and takes the call, changes the session or transfers it are
parts of their own (`invite_client`, `invite_server`, `renegotiation`, `refer_client`, `refer_server`); each gets the
usage and none knows another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.errors import StateError
from gateway.sip.client_request import ClientRequest, OnResponse, make_answer_ack
from gateway.sip.core import Core, HeaderFields, listed
from gateway.sip.dialog import Dialog
from gateway.sip.events import CallEnded, EndCause, IdentityChanged
from gateway.sip.grammar import quote
from gateway.sip.hop import Hop
from gateway.sip.identity import asserted_identity, changed_from, is_same_person
from gateway.sip.message import NameAddr, Request, Response
from gateway.sip.replaces import NO_TAG, Replaces
from gateway.sip.sdp import SessionDescription
from gateway.sip.timers import Alarm
from gateway.sip.trunk import Trunk

_log = logging.getLogger(__name__)


class LegState(Enum):
    """Where a leg stands."""

    OFFERED = "offered"
    """Their INVITE waits for our final response."""
    ANSWERED = "answered"
    """Our 2xx waits for their ACK."""
    CALLING = "calling"
    """Our INVITE waits for their final response."""
    CANCELLING = "cancelling"
    """We no longer want what our INVITE asked for."""
    UNACKNOWLEDGED = "unacknowledged"
    """Their 2xx held the offer; our ACK waits for the answer to it."""
    ESTABLISHED = "established"
    """Both sides agree that there is a session."""
    ENDING = "ending"
    """BYE was sent or came; only stragglers matter."""
    ENDED = "ended"
    """Nothing more."""


_S = LegState
TRANSITIONS: Mapping[LegState, frozenset[LegState]] = {
    _S.OFFERED: frozenset({_S.ANSWERED, _S.ENDED}),
    _S.ANSWERED: frozenset({_S.ESTABLISHED, _S.ENDING}),
    _S.CALLING: frozenset({_S.CANCELLING, _S.UNACKNOWLEDGED, _S.ESTABLISHED, _S.ENDED}),
    _S.CANCELLING: frozenset({_S.ENDED}),
    _S.UNACKNOWLEDGED: frozenset({_S.ESTABLISHED, _S.ENDING}),
    _S.ESTABLISHED: frozenset({_S.ENDING}),
    _S.ENDING: frozenset({_S.ENDED}),
    _S.ENDED: frozenset(),
}

COMMANDS: Mapping[str, frozenset[LegState]] = {
    "progress": frozenset({_S.OFFERED}),
    "answer": frozenset({_S.OFFERED}),
    "reject": frozenset({_S.OFFERED}),
    "cancel": frozenset({_S.CALLING}),
    "acknowledge": frozenset({_S.CALLING, _S.UNACKNOWLEDGED}),
    "reoffer": frozenset({_S.OFFERED, _S.CALLING, _S.ESTABLISHED}),
    "accept_offer": frozenset({_S.OFFERED, _S.ANSWERED, _S.CALLING, _S.ESTABLISHED}),
    "reject_offer": frozenset({_S.OFFERED, _S.ANSWERED, _S.CALLING, _S.ESTABLISHED}),
    "send_digit": frozenset({_S.ESTABLISHED}),
    "refer": frozenset({_S.ESTABLISHED}),
    "replaces_value": frozenset({_S.ESTABLISHED}),
    "accept_refer": frozenset({_S.ESTABLISHED}),
    "reject_refer": frozenset({_S.ESTABLISHED}),
    "notify_transfer": frozenset({_S.ESTABLISHED}),
    "bye": frozenset(LegState),
}
"""In which states a leg takes a command."""

MAXIMUM_BRANCHES = 16
"""How many branches of a forked call we keep in mind."""
MAXIMUM_PRACKS = 3
"""How often a PRACK is sent that the peer refuses as out of order."""


@dataclass(slots=True, kw_only=True)
class Session:
    """What both sides have described to each other, within one dialog."""

    local_description: SessionDescription | None = None
    remote_description: SessionDescription | None = None
    is_agreed: bool = False
    """Whether the first offer has its answer; before that neither side may make another one (RFC 3311 5.1)."""


@dataclass(slots=True, kw_only=True)
class Branch:
    """One of the places where a call of ours rings: an early dialog, made by a provisional response."""

    dialog: Dialog
    session: Session
    rseq: int | None = None
    """Number of its last reliable response."""
    unanswered: Response | None = None
    """The reliable response that holds an offer, until we answer it by PRACK."""
    open_pracks: int = 0
    """PRACKs that wait for their answer; an offer of ours must not overtake them."""


class InviteUsage:
    """The shared part of one leg. `state` changes in `enter` alone."""

    def __init__(
        self,
        core: Core,
        trunk: Trunk,
        *,
        leg_id: str,
        call_id: str,
        local_tag: str,
        state: LegState,
        peer: Hop,
        forget: Callable[[], None],
    ) -> None:
        self.core = core
        self.trunk = trunk
        self.leg_id = leg_id
        self.call_id = call_id
        self.local_tag = local_tag
        self.state = state
        self.peer = peer
        """Where requests go whose next hop does not say."""
        self.dialog: Dialog | None = None
        """The dialog of the call: from the first for a call of the peer, from the 2xx on for one of ours."""
        self.branches: dict[str | None, Branch] = {}
        """The early dialogs that provisional responses to our INVITE have made, by their remote tag."""
        self.is_caller = state is LegState.CALLING
        self.peer_methods: frozenset[str] = frozenset()
        """What the peer's last Allow listed."""
        self.session = Session()
        """The session of `dialog`; before a call of ours is answered each branch has its own."""
        self.remote_identity: NameAddr | None = None
        """Who is at the other end, as the trunk says."""
        self.is_transferring = False
        """Whether the result of a REFER is awaited: BYE does not end the leg before it, or before `linger_s`."""
        self.on_end: list[Callable[[float], None]] = []
        """Called once, when BYE is sent or came, or the leg ends without any."""
        self._forget = forget
        self._last_event: CallEnded | None = None
        self._bye: ClientRequest | None = None
        self._linger: Alarm | None = None

    def enter(self, state: LegState) -> None:
        """Change the state. Raises: `StateError` where the table has no such way."""
        if state not in TRANSITIONS[self.state]:
            raise StateError(f"leg {self.leg_id} cannot go from {self.state.value} to {state.value}")
        _log.debug("= leg %s: %s -> %s", self.leg_id, self.state.value, state.value)
        self.state = state

    def check_command(self, command: str) -> None:
        """Raises: `StateError` where the state does not take `command`."""
        if self.state not in COMMANDS[command]:
            raise StateError(f"{command} is not possible while leg {self.leg_id} is {self.state.value}")

    @property
    def is_early(self) -> bool:
        """Whether the call is not answered yet."""
        return self.state in (LegState.OFFERED, LegState.CALLING)

    @property
    def is_over(self) -> bool:
        """Whether BYE was sent or came, or the leg ended without."""
        return self.state in (LegState.ENDING, LegState.ENDED)

    def find_dialog(self, request: Request) -> Dialog | None:
        """The dialog that `request` of the peer is in: the call's, or an early one of another branch."""
        return next((dialog for dialog in self._dialogs() if dialog.matches(request)), None)

    def _dialogs(self) -> list[Dialog]:
        dialogs = [branch.dialog for branch in self.branches.values()]
        return [*dialogs, self.dialog] if self.dialog is not None else dialogs

    def is_with(self, remote_tag: str) -> bool:
        """Whether the call, or one of its branches, is with the peer of that tag; `NO_TAG` stands for none."""
        return any((dialog.remote.tag or NO_TAG) == remote_tag for dialog in self._dialogs())

    def session_of(self, dialog: Dialog) -> Session:
        """The session within `dialog`."""
        branch = self.branches.get(dialog.remote.tag)
        return branch.session if branch is not None and branch.dialog is dialog else self.session

    def note_identity(self, message: Request | Response) -> None:
        """Tell the application where `message` names somebody else at the other end than was known."""
        identity = asserted_identity(message) or changed_from(message, self.dialog)
        if identity is None or is_same_person(identity, self.remote_identity):
            return
        self.remote_identity = identity
        self.core.emit(IdentityChanged(leg_id=self.leg_id, display_name=identity.display_name, uri=identity.uri))

    def note_peer(self, message: Request | Response) -> None:
        """Remember what the peer says it understands."""
        self.peer_methods = listed(message, "Allow") or self.peer_methods

    @property
    def contact(self) -> NameAddr:
        """Where the peer of this leg reaches us."""
        is_secure = self.dialog is not None and self.dialog.is_secure
        return self.core.contact(self.trunk, self.peer, is_secure=is_secure)

    def destination(self, dialog: Dialog | None = None) -> Hop:
        """Where requests of the dialog go on the wire."""
        hop = (dialog or self.require_dialog()).next_hop
        return self.core.destination_of(hop, self.trunk, self.peer)

    def require_dialog(self) -> Dialog:
        """The dialog, in states that have one. Raises: `StateError`."""
        if self.dialog is None:
            raise StateError(f"leg {self.leg_id} has no dialog yet")
        return self.dialog

    def replaces_value(self) -> str:
        """The Replaces value with which somebody else takes our place towards the peer (RFC 3891 3).

        It is for the peer to read: the to-tag is the peer's own. Raises: `StateError` where there is no dialog yet.
        """
        dialog = self.require_dialog()
        return str(
            Replaces(call_id=self.call_id, to_tag=dialog.remote.tag or NO_TAG, from_tag=dialog.local.tag or NO_TAG)
        )

    def send_request(
        self,
        method: str,
        now: float,
        *,
        on_response: OnResponse,
        headers: HeaderFields = (),
        body: bytes = b"",
        content_type: str | None = None,
        dialog: Dialog | None = None,
    ) -> ClientRequest:
        """Send a request within the dialog."""
        dialog = dialog or self.require_dialog()
        request = dialog.make_request(method)
        if method in ("INVITE", "UPDATE", "REFER", "NOTIFY"):
            self.core.add_capabilities(request, self.trunk, self.peer, is_secure=dialog.is_secure)
        self.core.add_product(request)
        for name, value in headers:
            request.headers.add(name, value)
        if content_type is not None:
            request.headers.set("Content-Type", content_type)
            request.body = body
        client = ClientRequest(
            self.core,
            self.trunk,
            request,
            self.destination(dialog),
            next_cseq=dialog.next_cseq,
            on_response=on_response,
        )
        client.send(now)
        return client

    def make_ack(self, invite: Request, dialog: Dialog, body: bytes = b"") -> Request:
        """The ACK to a 2xx, with `body` as the answer to its offer."""
        ack = make_answer_ack(self.core, invite, dialog, self.destination(dialog))
        if body:
            ack.headers.add("Content-Type", "application/sdp")
            ack.body = body
        return ack

    def send_prack(
        self,
        provisional: Response,
        dialog: Dialog,
        now: float,
        *,
        answer: SessionDescription | None = None,
        on_settled: Callable[[float], None] = lambda now: None,
        tries: int = 1,
    ) -> None:
        """Acknowledge a reliable provisional response (RFC 3262 4); `on_settled` is told when that is done."""

        def receive(response: Response, now: float) -> None:
            if response.status < 200:
                return
            if response.status == 500 and tries < MAXIMUM_PRACKS and not self.is_over:
                # It came behind a later request of ours. Without it the peer would give the INVITE up.
                self.send_prack(provisional, dialog, now, answer=answer, on_settled=on_settled, tries=tries + 1)
            else:
                on_settled(now)

        self.send_request(
            "PRACK",
            now,
            on_response=receive,
            headers=(("RAck", f"{provisional.headers.get('RSeq')} {provisional.cseq}"),),
            body=answer.to_bytes() if answer else b"",
            content_type="application/sdp" if answer else None,
            dialog=dialog,
        )

    def hang_up(self, now: float, reason: str | None = None) -> None:
        """Send BYE; the leg stays until it is answered, and a second longer if a transfer's result is awaited."""
        self.enter(LegState.ENDING)
        headers = (("Reason", reason),) if reason else ()
        self._bye = self.send_request("BYE", now, on_response=self._receive_bye_response, headers=headers)
        self._leave(now)

    def abort(self, cause: EndCause, status: int, reason: str, now: float) -> None:
        """End a call that cannot go on: tell the application, and the peer by BYE."""
        self.core.emit(CallEnded(leg_id=self.leg_id, cause=cause, status=status, reason=reason))
        self.is_transferring = False
        self.hang_up(now, f"SIP;cause={status};text={quote(reason)}")

    def hand_over(self, now: float) -> None:
        """Another call has taken the place of this established one (RFC 3891 3)."""
        self.core.emit(self._replaced())
        self.is_transferring = False
        self.hang_up(now)

    def hand_over_later(self) -> None:
        """Tell at the end of a leg that is to hang up when its state allows it that another call took its place."""
        self._last_event = self._replaced()

    def _replaced(self) -> CallEnded:
        return CallEnded(leg_id=self.leg_id, cause=EndCause.REPLACED)

    def end_by_peer(self, status: int | None, reason: str, now: float) -> None:
        """BYE came. `CallEnded` waits for the result of a transfer, which some peers send right after BYE."""
        self._last_event = CallEnded(leg_id=self.leg_id, cause=EndCause.REMOTE_BYE, status=status, reason=reason)
        self.enter(LegState.ENDING)
        self._leave(now)

    def settle_transfer(self, now: float) -> None:
        """The result of a transfer is known, or no longer awaited."""
        self.is_transferring = False
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self.state is LegState.ENDING:
            self._close_if_done(now)

    def close(self, now: float) -> None:
        """End a leg that never had a session; no event."""
        self.enter(LegState.ENDED)
        self._run_on_end(now)
        self._forget()

    def _leave(self, now: float) -> None:
        self._run_on_end(now)
        if self.is_transferring:
            self._linger = self.core.timers.start(now + self.core.options.linger_s, self.settle_transfer)
        self._close_if_done(now)

    def _run_on_end(self, now: float) -> None:
        callbacks, self.on_end = self.on_end, []
        for callback in callbacks:
            callback(now)

    def _receive_bye_response(self, response: Response, now: float) -> None:
        if response.status >= 200:
            # Whatever the answer, the dialog is over (RFC 3261 15.1.1).
            self._bye = None
            self._close_if_done(now)

    def _close_if_done(self, now: float) -> None:
        if self._bye is not None or self._linger is not None or self.state is LegState.ENDED:
            return
        self.enter(LegState.ENDED)
        if self._last_event is not None:
            self.core.emit(self._last_event)
        self._forget()
