"""The user agent: datagrams and commands in, datagrams and events out, one timer. No socket, no clock.

::

    receive_datagram -> Guard -> parse_message -> TransactionLayer -> Reception -> Leg -> events
                                                      |                           ^
    datagrams_to_send <- Core <-----------------------+-------- commands ---------+

Its owner calls `receive_datagram`, `handle_timer` and the commands, each with the time (seconds, monotonic), and
afterwards drains `datagrams_to_send` and `events` and asks `get_timer` when to come back. Whatever a peer sends ends in
an effect, an answer or a drop that is counted; only commands that a state does not allow raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random, SystemRandom

from gateway.errors import ResourceError, StateError, shown
from gateway.sip.core import Core, Counters, HeaderFields, UserAgentOptions
from gateway.sip.events import Event, PeerChanged, RegistrationChanged
from gateway.sip.guard import Guard, GuardReport, is_trusted
from gateway.sip.hop import Hop
from gateway.sip.inspection import Refusal
from gateway.sip.invite_usage import LegState
from gateway.sip.leg import Leg
from gateway.sip.legs import Legs
from gateway.sip.message import Headers, MessageRefused, Response, Uri, is_keepalive, parse_message
from gateway.sip.peer_watch import PeerWatch
from gateway.sip.reception import Reception
from gateway.sip.registration import Registration
from gateway.sip.reject_reason import RejectReason
from gateway.sip.sdp import SessionDescription
from gateway.sip.transaction import TransactionUser
from gateway.sip.trunk import Trunk, TrunkOptions, Trunks

__all__ = ["Counters", "TrunkOptions", "UserAgent", "UserAgentOptions"]


class UserAgent:
    """One user agent for all trunks. Raises: `ValueError` where the options cannot be used."""

    def __init__(self, options: UserAgentOptions, random: Random | None = None) -> None:
        self._options = options
        self._core = Core(options, random or SystemRandom())
        self._trunks = Trunks(Trunk(trunk, self._core.new_token) for trunk in options.trunks)
        self._legs = Legs(self._core)
        self._guard = Guard(options.guard, self._core.counters.rejected, self._trunks.of)
        self._reception = Reception(self._core, self._trunks, self._legs, self._guard)
        user = TransactionUser(deliver=self._reception.serve, fail=self._reception.note_failure)
        self._core.transactions.user = user
        self._registrations = {
            trunk.name: Registration(self._core, trunk) for trunk in self._trunks if trunk.options.registrar is not None
        }
        self._watches = [PeerWatch(self._core, trunk) for trunk in self._trunks if trunk.options.registrar is None]

    # ---------------------------------------------------------------------------------------- wire and clock

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        """Take a datagram, or a message that a stream has framed, that came from `source`.

        Never raises on what a peer sends.
        """
        counters = self._core.counters
        counters.received += 1
        trunks = self._guard.admit(source, now)
        if not trunks:
            return
        self._note_sign_of_life(trunks, source, now)
        if is_keepalive(data):
            counters.keepalives += 1
            return
        try:
            message = parse_message(data)
        except MessageRefused as error:
            self._reception.refuse_malformed(error, source, is_answered=is_trusted(trunks))
            return
        if isinstance(message, Response):
            self._receive_response(message, source, trunks, now)
        else:
            self._reception.receive(message, source, now)

    def receive_refusal(self, refusal: MessageRefused, source: Hop) -> None:
        """Answer what a stream transport could not frame. Its connection is closed behind the answer."""
        self._core.counters.received += 1
        trunks = self._trunks.of(source)
        if trunks:
            self._reception.refuse_malformed(refusal, source, is_answered=is_trusted(trunks))
        else:
            self._core.counters.rejected.add(RejectReason.STRANGER)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._core.timers.expire(now)

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called next; None for not at all."""
        return self._core.timers.next_deadline()

    def datagrams_to_send(self) -> list[tuple[bytes, Hop]]:
        """Messages to be sent and where to, in order; each is given once."""
        datagrams, self._core.datagrams = self._core.datagrams, []
        return datagrams

    def events(self) -> list[Event]:
        """What has happened, in order; each is given once."""
        events, self._core.events = self._core.events, []
        return events

    def handle_transport_error(self, hop: Hop, now: float, reason: str = "") -> None:
        """What was sent to `hop` could not be sent, or its connection broke (RFC 3261 17.1.4, 18.4).

        `reason` says why, for people, on one line: it stands for the reason phrase that nobody has sent.
        """
        self._core.transactions.fail_towards(hop, now, reason)
        for registration in self._registrations.values():
            registration.note_broken(hop, now)

    def trunk_at(self, hop: Hop) -> str | None:
        """The name of the trunk that a server at `hop` belongs to; None for a stranger."""
        trunk = self._trunks.at(hop)
        return trunk.name if trunk is not None else None

    def relocate(self, trunk_name: str, hops: tuple[Hop, ...], now: float) -> None:
        """The servers of a trunk are others now, the preferred one first. Raises: `StateError`, `ValueError`."""
        trunk = self._trunk(trunk_name)
        registration = self._registrations.get(trunk_name)
        if trunk.relocate(hops) and registration is not None:
            registration.note_relocated(now)

    def admits(self, source: Hop, now: float) -> bool:
        """Whether a connection from `source` is to be kept; a stranger's is counted like a datagram of his."""
        return bool(self._guard.admit(source, now))

    def guard_report(self, now: float) -> GuardReport:
        """Who was not let in since the last report; for the log, once a minute."""
        return self._guard.report(now)

    def ban_count(self, now: float) -> int:
        """Sources that are banned."""
        return self._guard.bans(now)

    @property
    def counters(self) -> Counters:
        """What became of datagrams."""
        return self._core.counters

    @property
    def registrations(self) -> tuple[RegistrationChanged, ...]:
        """How we stand with every registrar, in the order of the trunks."""
        return tuple(registration.status for registration in self._registrations.values())

    @property
    def peers(self) -> tuple[PeerChanged, ...]:
        """How we stand with the peers of trunks that do not register."""
        return tuple(watch.status for watch in self._watches)

    @property
    def transaction_count(self) -> int:
        """Open transactions; 0 some seconds after the last call."""
        return len(self._core.transactions)

    @property
    def leg_count(self) -> int:
        """Call legs, those that are ending included."""
        return len(self._legs)

    def hop_of(self, trunk_name: str) -> Hop:
        """Where requests of a trunk go at present, unless a call says otherwise. Raises: `StateError`."""
        return self._trunk(trunk_name).hop

    # ---------------------------------------------------------------------------------------------- commands

    def register(self, trunk_name: str, now: float) -> None:
        """Register and stay registered; where that is so already, refresh at once. Raises: `StateError`."""
        self._registration(trunk_name).start(now)

    def watch_peers(self, now: float) -> None:
        """Ask the peers of trunks that do not register whether they are there, from now on; `PeerChanged` tells."""
        for watch in self._watches:
            watch.start(now)

    def unregister(self, trunk_name: str, now: float) -> None:
        """Give the registration back. Raises: `StateError`."""
        self._registration(trunk_name).stop(now)

    def refuse_calls(self, status: int | None, retry_after_s: int | None = None) -> None:
        """Answer new calls with `status` from now on, before the application hears of them, and place none.

        None: take and place them again.
        """
        headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
        refusal = None if status is None else Refusal(status=status, headers=headers, counted=RejectReason.DRAINING)
        self._reception.refusal = refusal

    def invite(
        self,
        trunk_name: str,
        target: Uri,
        *,
        offer: SessionDescription | None,
        from_user: str | None = None,
        display_name: str | None = None,
        headers: HeaderFields = (),
        call_id: str | None = None,
        now: float,
    ) -> str:
        """Call `target` through a trunk; the id of the new leg. Without an offer the peer makes it, in its 2xx.

        `call_id` must be like no other (RFC 3261 8.1.1.4); one is made up where none is given.
        Raises: `StateError` for an unknown trunk, `ResourceError` where there are too many legs or calls are refused.
        """
        trunk = self._trunk(trunk_name)
        if self._reception.refusal is not None:
            raise ResourceError("calls are neither taken nor placed at present")
        call_id = call_id or self._core.new_call_id()
        usage = self._legs.new_usage(trunk, call_id, LegState.CALLING, trunk.hop)
        leg = Leg(usage, offer=offer)
        leg.place(target, trunk.caller(from_user, display_name), _checked(headers, str(target)), now)
        self._legs.add(leg)
        return usage.leg_id

    def cancel(self, leg_id: str, now: float) -> None:
        """Give up a call of ours that is not answered; `CallRefused` follows. Raises: `StateError`."""
        self._legs.get(leg_id).cancel(now)

    def progress(
        self,
        leg_id: str,
        status: int,
        now: float,
        answer: SessionDescription | None = None,
        headers: HeaderFields = (),
    ) -> None:
        """Send 101 to 199, with early media if there is an `answer`. Raises: `StateError`.

        It is repeated until PRACK where the peer requires that, or supports it and `reliable_provisionals` says so; the
        session is agreed then, and what differs from it in a later ``progress`` or ``answer`` raises.
        """
        self._legs.get(leg_id).progress(status, now, answer, _checked(headers))

    def answer(self, leg_id: str, description: SessionDescription, now: float, headers: HeaderFields = ()) -> None:
        """Take the call: 200, repeated until `CallEstablished`. Raises: `StateError`.

        It waits for the PRACK of early media, and for the answer to an early offer; until then the call may still be
        cancelled. A call that `CallOffered` said to replace another ends that one with its 200.
        """
        self._legs.get(leg_id).answer(description, now, _checked(headers))

    def reject(
        self, leg_id: str, status: int, now: float, reason: str | None = None, headers: HeaderFields = ()
    ) -> None:
        """Refuse the call, 300 to 699; the leg is gone, without an event. Raises: `StateError`."""
        self._legs.get(leg_id).reject(status, now, reason, _checked(headers, reason))

    def acknowledge(self, leg_id: str, description: SessionDescription, now: float, branch: str | None = None) -> None:
        """Answer the offer in `CallAnswered`, or in the `CallProgressed` of `branch`, after an ``invite`` without one.

        Raises: `StateError`.
        """
        self._legs.get(leg_id).acknowledge(description, now, branch)

    def accept_offer(self, leg_id: str, description: SessionDescription, now: float) -> None:
        """Agree to `OfferReceived`; `description` is the answer, or the offer it asked for. Raises: `StateError`."""
        self._legs.get(leg_id).accept_offer(description, now)

    def reject_offer(self, leg_id: str, status: int, now: float) -> None:
        """Refuse `OfferReceived`; the session is what it was. Raises: `StateError`."""
        self._legs.get(leg_id).reject_offer(status, now)

    def reoffer(self, leg_id: str, description: SessionDescription, now: float, branch: str | None = None) -> None:
        """Change the session; `OfferAnswered` or `OfferRefused` follows. Raises: `StateError`.

        Before the answer it goes by UPDATE, which takes a peer that allows it and a first offer that was answered in a
        reliable provisional response; of a forked call it goes to `branch`.
        """
        self._legs.get(leg_id).reoffer(description, now, branch)

    def send_digit(self, leg_id: str, digit: str, duration_ms: int, now: float) -> None:
        """Press a key by INFO; `DigitRefused` follows where the peer does not take it. Digits keep their order.

        Raises: `StateError`, `ValueError` for what is no digit, `ResourceError` where too many wait.
        """
        self._legs.get(leg_id).send_digit(digit, duration_ms, now)

    def refer(
        self, leg_id: str, refer_to: Uri, now: float, referred_by: str | None = None, headers: HeaderFields = ()
    ) -> None:
        """Hand the peer over to `refer_to`; `TransferProgressed` follows until it is final. Raises: `StateError`.

        With a Replaces header in `refer_to` (`Uri.with_header`, ``replaces_value``) the peer takes the place of another
        leg of ours (RFC 5589 7). The leg stays. Some PBXs leave hanging up to us after a success (Asterisk does).
        """
        self._legs.get(leg_id).refer(refer_to, referred_by, _checked(headers, str(refer_to), referred_by), now)

    def give_up_transfer(self, leg_id: str, now: float) -> None:
        """Await the result of a `refer` no longer; nothing more is told of it. Raises: `StateError`."""
        self._legs.get(leg_id).give_up_transfer(now)

    def replaces_value(self, leg_id: str) -> str:
        """``call-id;to-tag=..;from-tag=..``, unescaped: the Replaces with which another call takes this leg's place.

        It is written for the peer of `leg_id`, and goes into the Refer-To that somebody else is sent: in a URI its
        special characters are to be escaped (RFC 3891 6.1, RFC 3261 19.1.1). Raises: `StateError`.
        """
        return self._legs.get(leg_id).replaces_value()

    def accept_refer(self, leg_id: str, now: float) -> None:
        """Agree to `TransferRequested`; report by ``notify_transfer``. Raises: `StateError`."""
        self._legs.get(leg_id).accept_refer(now)

    def reject_refer(self, leg_id: str, status: int, now: float) -> None:
        """Refuse `TransferRequested`. Raises: `StateError`."""
        self._legs.get(leg_id).reject_refer(status, now)

    def notify_transfer(self, leg_id: str, status: int, reason: str | None, now: float) -> None:
        """Report what the new call came to; 200 or more is the last report. Raises: `StateError`."""
        self._legs.get(leg_id).notify_transfer(status, reason, now)

    def bye(self, leg_id: str, now: float, reason: str | None = None) -> None:
        """End the leg, whatever its state: BYE; 480 to a call not answered yet; CANCEL of a call of ours.

        `reason` is the value of a Reason header (RFC 3326). After an answer whose ACK has not come, BYE waits for it.
        Nothing happens where the leg has ended by itself, the event that says so being on its way to the caller.
        Raises: `StateError` for a leg that never was.
        """
        _checked((), reason)
        if not self._legs.has_ended(leg_id):
            self._legs.get(leg_id).bye(now, reason)

    # -------------------------------------------------------------------------------------------------- inside

    def _note_sign_of_life(self, trunks: Iterable[Trunk], source: Hop, now: float) -> None:
        for trunk in trunks:
            registration = self._registrations.get(trunk.name)
            if registration is not None and trunk.has_server(source):
                registration.note_sign_of_life(now)

    def _receive_response(self, response: Response, source: Hop, trunks: Iterable[Trunk], now: float) -> None:
        """A response belongs to what we sent if its Via is ours and its source speaks for the trunk we sent it to.

        It comes no less securely than the request went.
        """
        transaction = self._core.transactions.find_client(response) if self._core.has_sent(response) else None
        if transaction is None or not _may_answer(trunks, source, transaction.destination):
            self._core.counters.stray_responses += 1
            return
        self._core.transactions.receive_response(transaction, response, source, now)

    def _trunk(self, name: str) -> Trunk:
        trunk = self._trunks.get(name)
        if trunk is None:
            raise StateError(f"no such trunk: {name}")
        return trunk

    def _registration(self, trunk_name: str) -> Registration:
        self._trunk(trunk_name)
        registration = self._registrations.get(trunk_name)
        if registration is None:
            raise StateError(f"trunk {trunk_name} has no registrar")
        return registration


def _may_answer(trunks: Iterable[Trunk], source: Hop, destination: Hop) -> bool:
    is_secure = source.transport.is_secure or not destination.transport.is_secure
    return is_secure and any(trunk.allows(destination.host) for trunk in trunks)


def _checked(headers: Iterable[tuple[str, str]], *texts: str | None) -> HeaderFields:
    """What an application wants in a message, before the message has any effect.

    Raises: `ValueError` for a line break, with which one header could smuggle in another, `MessageError` for a name
    that is none.
    """
    fields = tuple(headers)
    Headers(fields)
    for text in texts:
        if text is not None and ("\r" in text or "\n" in text):
            raise ValueError(f"line break in {shown(text)}")
    return fields
