"""A call that we place: from our INVITE to our ACK (RFC 3261 13.2).

An INVITE may be answered by several phones at once (forking), each with a dialog of its own. The first 2xx is the call;
every other one is acknowledged and hung up at once (RFC 3261 13.2.2.4), and so is a 2xx that overtook our CANCEL.

A reliable provisional response is acknowledged by PRACK, once and in its order within its branch (RFC 3262 4). With the
answer in it, or with our answer to its offer in the PRACK, the session of that branch is agreed before anybody answers.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import MessageError, StateError
from gateway.sip.bodies import SDP, description_or_none, session_description_of
from gateway.sip.client_request import ClientRequest
from gateway.sip.core import HeaderFields
from gateway.sip.dialog import MAX_FORWARDS, Dialog
from gateway.sip.events import CallAnswered, CallProgressed, CallRefused
from gateway.sip.hop import Hop
from gateway.sip.invite_usage import MAXIMUM_BRANCHES, Branch, InviteUsage, LegState, Session
from gateway.sip.message import Headers, NameAddr, Request, Response, Uri, make_response
from gateway.sip.redirect import FOLLOWED, Redirection, by_preference
from gateway.sip.reliable import OPTION_TAG, read_rseq
from gateway.sip.sdp import SessionDescription
from gateway.sip.session_timer import SessionTimer
from gateway.sip.timers import Alarm

MAXIMUM_TRIES = 3
"""How often an INVITE is repeated with a longer session timer (422)."""


class InviteClient:
    """The initial INVITE of a leg that we place."""

    def __init__(self, usage: InviteUsage, session_timer: SessionTimer, offer: SessionDescription | None) -> None:
        self._usage = usage
        self._core = usage.core
        self._session_timer = session_timer
        self._offer = offer
        self._cseq = 0
        self._tries = 0
        self._client: ClientRequest | None = None
        self._limit: Alarm | None = None
        self._is_decided = False
        self._acks: dict[str | None, tuple[bytes, Hop]] = {}
        self._redirection: Redirection | None = None
        self.on_settled: Callable[[Dialog | None, float], None] = lambda dialog, now: None
        """Told which dialog is the call's; None: none of those there were."""
        self.on_acknowledged: Callable[[float], None] = lambda now: None
        """Told when a PRACK has its answer."""
        usage.session.local_description = offer
        usage.on_end.append(lambda now: self._stop_limit())

    def start(self, target: Uri, caller: NameAddr, headers: HeaderFields, now: float) -> None:
        """Send the INVITE."""
        request = self._make_request(target, caller, headers)
        self._redirection = Redirection(self._usage.trunk, request.uri)
        self._usage.remote_identity = request.to
        self._limit = self._core.timers.start(now + self._core.options.answer_timeout_s, self._pass_limit)
        self._send(request, now)

    def cancel(self, now: float) -> None:
        """Give up. `CallRefused` follows, with 487 as a rule, whatever the race with an answer."""
        self._usage.enter(LegState.CANCELLING)
        self._stop_limit()
        if self._client is not None:
            self._client.cancel(now)

    def acknowledge(self, description: SessionDescription, now: float, branch_tag: str | None = None) -> None:
        """Answer the offer that came in the 2xx, or in a reliable provisional response of that branch, or of any.

        Raises: `StateError` where no branch waits for an answer.
        """
        usage = self._usage
        if usage.state is LegState.CALLING:
            self._answer_early_offer(description, branch_tag, now)
            return
        dialog = usage.require_dialog()
        usage.enter(LegState.ESTABLISHED)
        usage.session.local_description = description
        usage.session.is_agreed = True
        self._acknowledge(dialog, now, description.to_bytes())

    def _answer_early_offer(self, description: SessionDescription, tag: str | None, now: float) -> None:
        waiting = [
            branch
            for branch in self._usage.branches.values()
            if branch.unanswered is not None and tag in (None, branch.dialog.remote.tag)
        ]
        if not waiting:
            raise StateError(f"no offer to leg {self._usage.leg_id} waits for an answer")
        branch = waiting[0]
        response, branch.unanswered = branch.unanswered, None
        branch.session.local_description = description
        branch.session.is_agreed = True
        if response is not None:
            self._send_prack(branch, response, now, description)

    def abandon(self, now: float, reason: str | None) -> None:
        """Hang up although the offer in the 2xx was not answered: ACK first, as for every 2xx."""
        usage = self._usage
        self._acknowledge(usage.require_dialog(), now)
        usage.hang_up(now, reason)

    def _make_request(self, target: Uri, caller: NameAddr, headers: HeaderFields) -> Request:
        fields = Headers()
        fields.add("Max-Forwards", str(MAX_FORWARDS))
        fields.add("From", str(caller.with_parameter("tag", self._usage.local_tag)))
        fields.add("To", str(NameAddr("", target.without_headers())))
        fields.add("Call-ID", self._usage.call_id)
        fields.add("CSeq", f"{self._next_cseq()} INVITE")
        request = Request(method="INVITE", uri=target.without_headers(), headers=fields)
        self._core.add_capabilities(request, self._usage.trunk, self._usage.peer, is_secure=target.scheme == "sips")
        self._core.add_product(request)
        if self._core.options.require_reliable_provisionals:
            fields.add("Require", OPTION_TAG)
        for name, value in self._session_timer.ask() + headers:
            fields.add(name, value)
        if self._offer is not None:
            fields.set("Content-Type", SDP)
            request.body = self._offer.to_bytes()
        return request

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _send(self, request: Request, now: float) -> None:
        self._tries += 1
        usage = self._usage
        if self._client is not None:
            # The server that asked for the repetition gets it, which need not be the one we began with.
            usage.peer = self._client.peer
        trunk, peer = usage.trunk, usage.peer
        self._client = ClientRequest(
            self._core,
            trunk,
            request,
            peer,
            next_cseq=self._next_cseq,
            on_response=self._receive,
            is_in_dialog=False,
            alternates=tuple(hop for hop in (trunk.hop, *trunk.others) if not hop.is_at(peer)),
        )
        self._client.send(now)

    def _receive(self, response: Response, now: float) -> None:
        if response.status < 200:
            self._receive_progress(response, now)
        elif response.status < 300:
            self._receive_success(response, now)
        elif not self._is_decided and not self._repeats(response, now):
            self._refuse(response, now)

    def _receive_progress(self, response: Response, now: float) -> None:
        usage = self._usage
        if self._is_decided or response.status == 100:
            return
        tag = response.to.tag
        branch = self._note_branch(tag, response) if tag is not None else None
        description = description_or_none(response)
        if branch is not None and branch.session.is_agreed:
            # RFC 3261 13.2.1: what follows the answer is no description of anything.
            description = None
        rseq = read_rseq(response)
        if rseq is not None:
            # RFC 3262 4: only the next in order counts; without a dialog there is no PRACK.
            if branch is None or (branch.rseq is not None and rseq != branch.rseq + 1):
                return
            branch.rseq = rseq
            self._receive_reliably(branch, response, description, now)
        elif self._offer is None:
            # An offer must be reliable.
            description = None
        elif branch is not None and description is not None:
            branch.session.remote_description = description
        if usage.state is LegState.CALLING:
            self._core.emit(
                CallProgressed(
                    leg_id=usage.leg_id,
                    status=response.status,
                    reason=response.reason,
                    description=description,
                    branch=tag or "",
                )
            )

    def _receive_reliably(
        self, branch: Branch, response: Response, description: SessionDescription | None, now: float
    ) -> None:
        """PRACK, at once unless the application must answer an offer with it."""
        if description is not None:
            branch.session.remote_description = description
            if self._offer is None:
                branch.unanswered = response
                return
            branch.session.is_agreed = True
        self._send_prack(branch, response, now)

    def _send_prack(
        self, branch: Branch, provisional: Response, now: float, answer: SessionDescription | None = None
    ) -> None:
        def settle(now: float) -> None:
            branch.open_pracks -= 1
            self.on_acknowledged(now)

        branch.open_pracks += 1
        self._usage.send_prack(provisional, branch.dialog, now, answer=answer, on_settled=settle)

    def _note_branch(self, tag: str, response: Response) -> Branch | None:
        """The branch of a provisional response; None where there are too many."""
        usage = self._usage
        self._note_peer_hop()
        branch = usage.branches.get(tag)
        if branch is not None:
            branch.dialog.refresh_target(response)
        elif len(usage.branches) < MAXIMUM_BRANCHES:
            dialog = Dialog.of_response(self._request, response)
            branch = usage.branches[tag] = Branch(dialog=dialog, session=Session(local_description=self._offer))
        usage.note_peer(response)
        return branch

    def _try_elsewhere(self, response: Response, now: float) -> bool:
        """Call the next place that a redirect named (RFC 3261 8.1.3.4); False where there is none."""
        redirection = self._redirection
        if redirection is None or response.status >= 600:
            return False
        if response.status in FOLLOWED and self._core.options.follow_redirects:
            redirection.take(by_preference(response))
        target = redirection.next()
        if target is None:
            return False
        self._usage.branches.clear()
        self.on_settled(None, now)
        self._tries = 0
        self._repeat(target, now)
        return True

    def _note_peer_hop(self) -> None:
        """Requests within the dialog go to whichever server of the trunk took the INVITE."""
        if self._client is not None:
            self._usage.peer = self._client.peer

    @property
    def _request(self) -> Request:
        if self._client is None:
            raise ValueError("no INVITE was sent")
        return self._client.request

    def _receive_success(self, response: Response, now: float) -> None:
        usage = self._usage
        tag = response.to.tag
        if tag in self._acks:
            self._core.send(*self._acks[tag])
            return
        if self._is_decided:
            is_call = usage.dialog is not None and usage.dialog.remote.tag == tag
            if not is_call and len(self._acks) < MAXIMUM_BRANCHES:
                self._hang_up_branch(response, now)
            return
        self._is_decided = True
        self._stop_limit()
        if usage.state is LegState.CANCELLING:
            self._hang_up_branch(response, now)
            self._close(make_response(self._request, 487), now)
            return
        self._take(response, now)

    def _take(self, response: Response, now: float) -> None:
        usage = self._usage
        dialog = self._dialog_of(response)
        branch = usage.branches.get(response.to.tag)
        session = branch.session if branch is not None else Session(local_description=self._offer)
        try:
            description = session_description_of(response)
        except MessageError as error:
            self._hang_up_branch(response, now)
            self._close(make_response(self._request, 488, reason=f"unusable answer: {error.reason}"), now)
            return
        if description is not None and not session.is_agreed:
            # RFC 3261 13.2.1: what comes behind the answer is no answer any more.
            session.remote_description = description
        usage.dialog, usage.session = dialog, session
        usage.branches.clear()
        self._note_peer_hop()
        usage.note_peer(response)
        self._session_timer.accept(response, now)
        if self._offer is None and not session.is_agreed and session.remote_description is not None:
            usage.enter(LegState.UNACKNOWLEDGED)
        else:
            session.is_agreed = True
            usage.enter(LegState.ESTABLISHED)
            self._acknowledge(dialog, now)
        self.on_settled(dialog, now)
        self._core.emit(
            CallAnswered(leg_id=usage.leg_id, description=session.remote_description, branch=response.to.tag or "")
        )
        usage.note_identity(response)

    def _dialog_of(self, response: Response) -> Dialog:
        """The dialog of a 2xx, whose route is that of the 2xx (RFC 3261 13.2.2.4)."""
        branch = self._usage.branches.get(response.to.tag)
        if branch is None:
            return Dialog.of_response(self._request, response)
        branch.dialog.refresh_route(response)
        return branch.dialog

    def _acknowledge(self, dialog: Dialog, now: float, body: bytes = b"") -> None:
        ack = self._usage.make_ack(self._request, dialog, body)
        sent = (ack.to_bytes(), self._usage.destination(dialog))
        self._acks[dialog.remote.tag] = sent
        self._core.send(*sent)

    def _hang_up_branch(self, response: Response, now: float) -> None:
        """ACK and BYE to a 2xx that is not, or no longer, our call."""
        dialog = self._dialog_of(response)
        self._acknowledge(dialog, now)
        self._usage.send_request("BYE", now, on_response=lambda response, now: None, dialog=dialog)

    def _repeats(self, response: Response, now: float) -> bool:
        """Whether a failure is one to be mended: by a longer session timer, or by calling elsewhere."""
        if self._usage.state is not LegState.CALLING:
            return False
        return (response.status == 422 and self._ask_longer(response, now)) or self._try_elsewhere(response, now)

    def _ask_longer(self, response: Response, now: float) -> bool:
        if self._tries >= MAXIMUM_TRIES or not self._session_timer.lengthen(response):
            return False
        self._repeat(self._request.uri, now)
        return True

    def _repeat(self, target: Uri, now: float) -> None:
        """Send the INVITE once more, under the next number, to `target`."""
        request = self._request
        repetition = Request(method="INVITE", uri=target, headers=request.headers.copy(), body=request.body)
        for name in ("Via", "Authorization", "Proxy-Authorization"):
            repetition.headers.remove(name)
        repetition.headers.set("CSeq", f"{self._next_cseq()} INVITE")
        for name, value in self._session_timer.ask():
            repetition.headers.set(name, value)
        self._send(repetition, now)

    def _refuse(self, response: Response, now: float) -> None:
        self._is_decided = True
        if self._usage.state is LegState.CANCELLING:
            response = make_response(self._request, 487)
        self._close(response, now)

    def _close(self, response: Response, now: float) -> None:
        usage = self._usage
        reason = response.reason
        if response.status in (401, 407) and self._client is not None:
            reason = self._client.authentication_failure
        self._core.emit(
            CallRefused(
                leg_id=usage.leg_id,
                status=response.status,
                reason=reason,
                headers=response.headers,
                contacts=by_preference(response) if response.status < 400 else (),
            )
        )
        usage.close(now)

    def _pass_limit(self, now: float) -> None:
        if self._usage.state is LegState.CALLING:
            self.cancel(now)

    def _stop_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
