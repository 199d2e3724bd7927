"""A call that we place: from our INVITE to our ACK (RFC 3261 13.2).

An INVITE may be answered by several phones at once (forking), each with a dialog of its own. The first 2xx is the call;
every other one is acknowledged and hung up at once (RFC 3261 13.2.2.4), and so is a 2xx that overtook our CANCEL.
"""

from __future__ import annotations

from gateway.errors import MessageError
from gateway.sip.bodies import SDP, session_description_of
from gateway.sip.client_request import ClientRequest
from gateway.sip.core import HeaderFields
from gateway.sip.dialog import MAX_FORWARDS, Dialog
from gateway.sip.events import CallAnswered, CallProgressed, CallRefused
from gateway.sip.hop import Hop
from gateway.sip.invite_usage import MAXIMUM_EARLY_DIALOGS, InviteUsage, LegState
from gateway.sip.message import Headers, NameAddr, Request, Response, Uri, make_response
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
        usage.local_description = offer
        usage.on_end.append(lambda now: self._stop_limit())

    def start(self, target: Uri, caller: NameAddr, headers: HeaderFields, now: float) -> None:
        """Send the INVITE."""
        request = self._make_request(target, caller, headers)
        self._limit = self._core.timers.start(now + self._core.options.answer_timeout_s, self._pass_limit)
        self._send(request, now)

    def cancel(self, now: float) -> None:
        """Give up. `CallRefused` follows, with 487 as a rule, whatever the race with an answer."""
        self._usage.enter(LegState.CANCELLING)
        self._stop_limit()
        if self._client is not None:
            self._client.cancel(now)

    def acknowledge(self, description: SessionDescription, now: float) -> None:
        """Answer the offer that came in the 2xx."""
        usage = self._usage
        dialog = usage.require_dialog()
        usage.enter(LegState.ESTABLISHED)
        usage.local_description = description
        self._acknowledge(dialog, now, description.to_bytes())

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
        self._client = ClientRequest(
            self._core,
            self._usage.trunk,
            request,
            self._usage.peer,
            next_cseq=self._next_cseq,
            on_response=self._receive,
            is_in_dialog=False,
            alternates=self._usage.trunk.others,
        )
        self._client.send(now)

    def _receive(self, response: Response, now: float) -> None:
        if response.status < 200:
            self._receive_progress(response)
        elif response.status < 300:
            self._receive_success(response, now)
        elif response.status == 422 and self._ask_longer(response, now):
            return
        else:
            self._refuse(response, now)

    def _receive_progress(self, response: Response) -> None:
        usage = self._usage
        if self._is_decided or response.status == 100:
            return
        tag = response.to.tag
        if tag is not None:
            self._note_early_dialog(tag, response)
        if usage.state is LegState.CALLING:
            self._core.emit(
                CallProgressed(
                    leg_id=usage.leg_id,
                    status=response.status,
                    reason=response.reason,
                    description=_description_or_none(response),
                )
            )

    def _note_early_dialog(self, tag: str, response: Response) -> None:
        usage = self._usage
        dialog = usage.early_dialogs.get(tag)
        if dialog is None and len(usage.early_dialogs) < MAXIMUM_EARLY_DIALOGS:
            dialog = usage.early_dialogs[tag] = Dialog.of_response(self._request, response)
        elif dialog is not None:
            dialog.refresh_target(response)
        usage.note_peer(response)

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
            if not is_call and len(self._acks) < MAXIMUM_EARLY_DIALOGS:
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
        try:
            description = session_description_of(response)
        except MessageError as error:
            self._hang_up_branch(response, now)
            self._close(make_response(self._request, 488, reason=f"unusable answer: {error.reason}"), now)
            return
        usage.dialog = dialog
        usage.early_dialogs.clear()
        if self._client is not None:
            usage.peer = self._client.peer
        usage.note_peer(response)
        usage.remote_description = description
        self._session_timer.accept(response, now)
        if self._offer is None and description is not None:
            usage.enter(LegState.UNACKNOWLEDGED)
        else:
            usage.enter(LegState.ESTABLISHED)
            self._acknowledge(dialog, now)
        self._core.emit(CallAnswered(leg_id=usage.leg_id, description=description))

    def _dialog_of(self, response: Response) -> Dialog:
        """The dialog of a 2xx, whose route is that of the 2xx (RFC 3261 13.2.2.4)."""
        dialog = self._usage.early_dialogs.get(response.to.tag)
        if dialog is None:
            dialog = Dialog.of_response(self._request, response)
        else:
            dialog.refresh_route(response)
        return dialog

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

    def _ask_longer(self, response: Response, now: float) -> bool:
        if self._usage.state is not LegState.CALLING or self._tries >= MAXIMUM_TRIES:
            return False
        if not self._session_timer.lengthen(response):
            return False
        request = self._request
        repetition = Request(method="INVITE", uri=request.uri, headers=request.headers.copy(), body=request.body)
        repetition.headers.remove("Via")
        repetition.headers.set("CSeq", f"{self._next_cseq()} INVITE")
        for name, value in self._session_timer.ask():
            repetition.headers.set(name, value)
        self._send(repetition, now)
        return True

    def _refuse(self, response: Response, now: float) -> None:
        if self._is_decided:
            return
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
            CallRefused(leg_id=usage.leg_id, status=response.status, reason=reason, headers=response.headers)
        )
        usage.close(now)

    def _pass_limit(self, now: float) -> None:
        if self._usage.state is LegState.CALLING:
            self.cancel(now)

    def _stop_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


def _description_or_none(response: Response) -> SessionDescription | None:
    try:
        return session_description_of(response)
    except MessageError:
        return None
