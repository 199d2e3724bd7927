"""One call leg: its parts put together, and the peer's requests within its dialog dealt out to them.

::

    InviteServer | InviteClient    how the call began: theirs, or ours
    Renegotiation, SessionTimer    what changes and keeps the session
    Digits                         keys by INFO
    ReferClient, ReferServer       transfers: ours, and theirs
            |
       InviteUsage                 state, dialog, BYE
"""

from __future__ import annotations

from gateway.errors import MessageError
from gateway.sip.core import HeaderFields, capabilities
from gateway.sip.dialog import Dialog
from gateway.sip.digits import Digits
from gateway.sip.failure import read_reasons
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.invite_usage import InviteUsage, LegState
from gateway.sip.message import NameAddr, Request, Uri
from gateway.sip.refer_client import ReferClient
from gateway.sip.refer_server import ReferServer
from gateway.sip.renegotiation import Renegotiation
from gateway.sip.sdp import SessionDescription
from gateway.sip.session_timer import SessionTimer
from gateway.sip.transaction import Transaction


class Leg:
    """One leg; begun by `transaction`, the peer's INVITE, or else by ``place``.

    Commands are the application's. Raises: `StateError` where the state of the leg does not take one.
    """

    def __init__(
        self, usage: InviteUsage, *, transaction: Transaction | None = None, offer: SessionDescription | None = None
    ) -> None:
        self.usage = usage
        timer = SessionTimer(usage)
        self._server = None if transaction is None else InviteServer(usage, transaction, timer)
        self._client = InviteClient(usage, timer, offer) if transaction is None else None
        self._renegotiation = Renegotiation(usage, timer, self._server)
        timer.refresh = self._renegotiation.refresh
        if self._server is not None:
            self._server.is_renegotiating = lambda: self._renegotiation.is_open
        if self._client is not None:
            self._client.on_settled = self._renegotiation.settle_on
            self._client.on_acknowledged = self._renegotiation.send_waiting
        self._digits = Digits(usage)
        self._refer_client = ReferClient(usage)
        self._refer_server = ReferServer(usage)

    # ---------------------------------------------------------------------------------------------- commands

    def begin(self, now: float) -> None:
        """Take the INVITE in hand: 100."""
        self._their_invite().start(now)

    def place(self, target: Uri, caller: NameAddr, headers: HeaderFields, now: float) -> None:
        """Call `target`."""
        self._our_invite().start(target, caller, headers, now)

    def progress(self, status: int, now: float, answer: SessionDescription | None, headers: HeaderFields) -> None:
        self.usage.check_command("progress")
        self._their_invite().progress(status, now, answer, headers)

    def answer(self, description: SessionDescription, now: float, headers: HeaderFields) -> None:
        self.usage.check_command("answer")
        self._their_invite().answer(description, now, headers)

    def reject(self, status: int, now: float, reason: str | None, headers: HeaderFields) -> None:
        self.usage.check_command("reject")
        self._their_invite().reject(status, now, reason, headers)

    def cancel(self, now: float) -> None:
        self.usage.check_command("cancel")
        self._our_invite().cancel(now)

    def acknowledge(self, description: SessionDescription, now: float, branch: str | None) -> None:
        self.usage.check_command("acknowledge")
        self._our_invite().acknowledge(description, now, branch)

    def reoffer(self, description: SessionDescription, now: float, branch: str | None) -> None:
        self.usage.check_command("reoffer")
        self._renegotiation.offer(description, now, branch)

    def accept_offer(self, description: SessionDescription, now: float) -> None:
        self.usage.check_command("accept_offer")
        self._renegotiation.accept(description, now)

    def reject_offer(self, status: int, now: float) -> None:
        self.usage.check_command("reject_offer")
        self._renegotiation.reject(status, now)

    def refer(self, refer_to: Uri, referred_by: str | None, headers: HeaderFields, now: float) -> None:
        self.usage.check_command("refer")
        self._refer_client.refer(refer_to, referred_by, headers, now)

    def give_up_transfer(self, now: float) -> None:
        self._refer_client.give_up(now)

    def replaces_value(self) -> str:
        self.usage.check_command("replaces_value")
        return self.usage.replaces_value()

    def accept_refer(self, now: float) -> None:
        self.usage.check_command("accept_refer")
        self._refer_server.accept(now)

    def reject_refer(self, status: int, now: float) -> None:
        self.usage.check_command("reject_refer")
        self._refer_server.reject(status, now)

    def notify_transfer(self, status: int, reason: str | None, now: float) -> None:
        self.usage.check_command("notify_transfer")
        self._refer_server.notify(status, reason, now)

    def send_digit(self, digit: str, duration_ms: int, now: float) -> None:
        self.usage.check_command("send_digit")
        self._digits.send(digit, duration_ms, now)

    def replace(self, other: Leg) -> None:
        """End `other` as soon as this call, of the peer, is answered (RFC 3891 3)."""
        self._their_invite().on_success.append(other.make_way)

    def make_way(self, now: float) -> None:
        """End this leg, whose place another one has taken."""
        usage = self.usage
        match usage.state:
            case LegState.CALLING:
                self._our_invite().cancel(now)
            case LegState.ESTABLISHED:
                usage.hand_over(now)
            case LegState.ANSWERED | LegState.UNACKNOWLEDGED:
                usage.hand_over_later()
                self.bye(now, None)

    def bye(self, now: float, reason: str | None) -> None:
        """End the leg in the way its state asks for."""
        usage = self.usage
        usage.check_command("bye")
        match usage.state:
            case LegState.OFFERED:
                # Unavailable here, which lets the PBX go on to somebody else.
                self._their_invite().reject(480, now, None, (("Reason", reason),) if reason else ())
            case LegState.ANSWERED:
                self._their_invite().hang_up_later(reason)
            case LegState.CALLING:
                self._our_invite().cancel(now)
            case LegState.UNACKNOWLEDGED:
                self._our_invite().abandon(now, reason)
            case LegState.ESTABLISHED:
                usage.hang_up(now, reason)

    # ------------------------------------------------------------------------------------ the peer's requests

    def receive_cancel(self, invite: Transaction, reason: str, now: float) -> None:
        """CANCEL for `invite`, which has no final response yet."""
        if self.usage.state is LegState.OFFERED:
            self._their_invite().cancel(reason, now)
        else:
            self._renegotiation.cancel(invite, now)

    def receive_ack(self, ack: Request, now: float) -> bool:
        """ACK to a 2xx; False if it is not for this leg."""
        dialog = self.usage.dialog
        if dialog is None or not dialog.matches(ack):
            return False
        if self._server is not None and self._server.acknowledges(ack):
            self._server.acknowledge(ack, now)
        else:
            self._renegotiation.receive_ack(ack, now)
        return True

    def receive_request(self, transaction: Transaction, now: float) -> bool:
        """A request within the dialog, any but ACK and CANCEL; False if there is no such dialog."""
        request = transaction.request
        dialog = self.usage.find_dialog(request)
        if dialog is None:
            return False
        core = self.usage.core
        if not dialog.accepts_cseq(request):
            core.reply(transaction, 500, now, reason="CSeq out of order")
        elif request.method == "BYE":
            self._receive_bye(transaction, now)
        elif request.method == "PRACK":
            return self._receive_prack(transaction, dialog, now)
        elif request.method == "NOTIFY":
            self._refer_client.receive_notify(transaction, now)
        elif self.usage.is_over:
            return False
        else:
            self._receive_change(transaction, dialog, now)
        return True

    def _receive_change(self, transaction: Transaction, dialog: Dialog, now: float) -> None:
        core = self.usage.core
        match transaction.request.method:
            case "INVITE" | "UPDATE":
                self._renegotiation.receive(transaction, dialog, now)
            case "REFER" if self.usage.state is LegState.ESTABLISHED:
                self._refer_server.receive(transaction, now)
            case "REFER":
                core.reply(transaction, 491, now)
            case "INFO":
                self._digits.receive(transaction, now)
            case _:
                core.reply(transaction, 200, now, headers=capabilities())

    def _receive_bye(self, transaction: Transaction, now: float) -> None:
        usage = self.usage
        usage.core.reply(transaction, 200, now)
        status, reason = read_reason(transaction.request)
        match usage.state:
            case LegState.OFFERED:
                # RFC 3261 15: a caller may end an early dialog by BYE; its INVITE is answered 487 (15.1.2).
                self._their_invite().cancel(reason, now)
            case LegState.ANSWERED | LegState.UNACKNOWLEDGED | LegState.ESTABLISHED:
                usage.end_by_peer(status, reason, now)

    def _receive_prack(self, transaction: Transaction, dialog: Dialog, now: float) -> bool:
        """PRACK; False where it is for no response of ours that waits for one (RFC 3262 3)."""
        server = self._server
        try:
            provisional = server.find_provisional(transaction.request) if server is not None else None
            if server is None or provisional is None:
                return False
            if not server.receive_prack(transaction, provisional, now):
                self._renegotiation.receive(transaction, dialog, now)
        except MessageError as error:
            self.usage.core.reply(transaction, error.status, now, reason=error.reason)
            return True
        server.proceed(now)
        return True

    def _their_invite(self) -> InviteServer:
        if self._server is None:
            raise ValueError("a leg that we placed")
        return self._server

    def _our_invite(self) -> InviteClient:
        if self._client is None:
            raise ValueError("a leg that the peer placed")
        return self._client


def read_reason(request: Request) -> tuple[int | None, str]:
    """Status and text of the SIP value of Reason (RFC 3326), else the text of the first; nothing if unreadable."""
    reasons = read_reasons(request.headers)
    first = reasons[0] if reasons else ("", None, "")
    protocol, cause, text = next((reason for reason in reasons if reason[0] == "SIP"), first)
    return cause if protocol == "SIP" and cause is not None and cause >= 100 else None, text
