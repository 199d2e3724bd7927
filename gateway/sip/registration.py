"""The registration of one trunk: asked for, kept alive, given back (RFC 3261 10.2).

::

    UNREGISTERED --start--> REGISTERING --2xx--> REGISTERED --refresh at 50-90 % of the granted time--+
         ^                      |                  |    ^                                             |
         |                      | anything else    |    +---------------------------------------------+
         +--stop, answered      v                  v
         +--------------------FAILED <-------------+      tried again after 1, 2, 4 ... 30 s, for ever

A registrar that is away comes back at any time, so nothing here ever gives up. What another try cannot mend by itself
(a wrong password, an unknown user) goes on at the slowest rate, lest it look like an attack on the account.

Where the trunk has several servers, one that is silent, overloaded or broken is passed over at once; the back-off
begins when all have been tried. While we are registered at another one, the preferred server is asked by OPTIONS
whether it is back, and gets the registration again as soon as it answers.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from gateway.sip.client_request import ClientRequest
from gateway.sip.core import Core
from gateway.sip.dialog import MAX_FORWARDS
from gateway.sip.events import RegistrationChanged, RegistrationState
from gateway.sip.hop import Hop
from gateway.sip.message import Headers, Request, Response, Uri
from gateway.sip.probe import Probe
from gateway.sip.timers import Alarm
from gateway.sip.trunk import Trunk

_log = logging.getLogger(__name__)

_WAKE_UP_S = 2.0
"""A registrar that was silent and is heard of again is asked within this time."""
_LONGEST_RETRY_AFTER_S = 300.0
_NO_ANSWER = (408, 503)
_MAXIMUM_REDIRECTS = 3
_KEEPALIVE = b"\r\n\r\n"
"""RFC 5626 3.5.1."""


class Registration:
    """The binding of our Contact to the trunk's address of record. Only for trunks with a registrar."""

    def __init__(self, core: Core, trunk: Trunk) -> None:
        self._core = core
        self._trunk = trunk
        self._state = RegistrationState.UNREGISTERED
        self._is_wanted = False
        self._is_bound = False
        self._request: ClientRequest | None = None
        self._alarm: Alarm | None = None
        self._failures = 0
        self._registered_at = 0.0
        self._was_silent = False
        self._asked_s = trunk.options.expires_s
        # RFC 3261 10.2: all registrations of a user agent at one registrar have the same Call-ID, CSeq counts on.
        self._call_id = core.new_call_id()
        self._local = trunk.address_of_record.with_parameter("tag", core.new_token())
        self._cseq = 0
        self._told: RegistrationChanged | None = None
        self._probe = Probe(core, trunk, self._note_loss)
        self._untried: list[Hop] = []
        self._redirects = 0
        self._return: Alarm | None = None
        self._keepalive: Alarm | None = None

    @property
    def state(self) -> RegistrationState:
        """Where it stands."""
        return self._state

    @property
    def status(self) -> RegistrationChanged:
        """What was told last, or would have been."""
        return self._told or RegistrationChanged(trunk=self._trunk.name, state=self._state, server=self._trunk.hop)

    def start(self, now: float) -> None:
        """Register and stay registered; where that is so already, refresh at once."""
        self._is_wanted = True
        self._failures = 0
        if self._state is RegistrationState.UNREGISTERED:
            self._enter(RegistrationState.REGISTERING, None)
        if self._request is None:
            self._try_all(now)

    def stop(self, now: float) -> None:
        """Give the binding back. What is under way is awaited first (RFC 3261 10.2.4 and 10.2)."""
        if not self._is_wanted:
            return
        self._is_wanted = False
        self._cancel_alarms()
        self._probe.stop()
        if self._request is None:
            self._give_back(now)

    def note_sign_of_life(self, now: float) -> None:
        """The registrar sent something. If it was silent before, ask it soon instead of at the end of the back-off."""
        alarm = self._alarm
        if self._was_silent and alarm is not None and alarm.deadline > now + _WAKE_UP_S:
            self._arm(now + self._core.random.uniform(0.0, _WAKE_UP_S))

    def note_broken(self, hop: Hop, now: float) -> None:
        """A connection broke. A registrar on TCP or TLS reaches us over it, so that we begin anew (RFC 5626 4.4.1)."""
        is_ours = self._trunk.hop.transport.is_reliable and hop.is_at(self._trunk.hop)
        if is_ours and self._request is None and self._state is RegistrationState.REGISTERED:
            self._lose(503, "the connection to the registrar broke", now)

    def note_relocated(self, now: float) -> None:
        """The trunk's servers are others: register at the first of them, whatever the old one would have answered."""
        self._trunk.account.forget()
        if not self._is_wanted:
            return
        if self._request is not None:
            self._request.drop(now)
        self._try_all(now)

    def _note_loss(self, now: float) -> None:
        """The registrar does not answer OPTIONS any more. A refresh that is under way will tell by itself."""
        if self._request is None:
            self._lose(408, "the registrar no longer answers", now)

    def _lose(self, status: int, reason: str, now: float) -> None:
        self._untried = []
        self._fail(Response(status=status, reason=reason, headers=Headers()), reason, now)

    def _try_all(self, now: float) -> None:
        """Register at the present server, or else at any other."""
        self._untried = list(self._trunk.others)
        self._redirects = 0
        self._send(now)

    def _send(self, now: float) -> None:
        self._cancel_alarms()
        expires_s = self._asked_s if self._is_wanted else 0
        request = self._make_request(expires_s)
        self._trunk.account.preempt(request)
        self._request = ClientRequest(
            self._core,
            self._trunk,
            request,
            self._trunk.hop,
            next_cseq=self._next_cseq,
            on_response=self._receive,
            is_in_dialog=False,
            is_impatient=bool(self._untried),
        )
        self._request.send(now)

    def _make_request(self, expires_s: int) -> Request:
        hop, registrar = self._trunk.hop, self._registrar()
        headers = Headers()
        headers.add("Max-Forwards", str(MAX_FORWARDS))
        headers.add("From", str(self._local))
        headers.add("To", str(self._trunk.address_of_record))
        headers.add("Call-ID", self._call_id)
        headers.add("CSeq", f"{self._next_cseq()} REGISTER")
        headers.add("Expires", str(expires_s))
        # RFC 3261 10.2: the Request-URI names the domain; userinfo MUST NOT be there.
        uri = replace(registrar, user=None, password=None).without_headers()
        request = Request(method="REGISTER", uri=uri, headers=headers)
        self._core.add_capabilities(request, self._trunk, hop, is_secure=registrar.scheme == "sips")
        self._core.add_product(request)
        return request

    def _registrar(self) -> Uri:
        """The registrar's domain; where that is no name but the preferred server's address, that of the present one."""
        options, hop = self._trunk.options, self._trunk.hop
        registrar = options.registrar
        if registrar is None:
            raise ValueError(f"trunk {self._trunk.name} has no registrar")
        is_address = registrar.host == options.peer.host
        if hop.is_at(options.peer) or not is_address:
            return registrar
        return replace(registrar, host=hop.host, port=hop.port)

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    def _receive(self, response: Response, now: float) -> None:
        if response.status < 200:
            return
        request, self._request = self._request, None
        if request is None:
            return
        was_giving_back = request.request.headers.get("Expires") == "0"
        self._is_bound = not was_giving_back and (self._is_bound or response.status < 300)
        if not self._is_wanted:
            self._give_back(now)
        elif was_giving_back or (response.status == 423 and self._lengthen(response)):
            self._send(now)
        elif response.status < 300:
            self._succeed(response, now)
        elif response.status in (301, 302) and self._follow(response, now):
            return
        else:
            self._fail(response, request.authentication_failure or response.reason, now)

    def _succeed(self, response: Response, now: float) -> None:
        granted_s = self._granted_s(response)
        if granted_s <= 0:
            self._fail(response, "the registrar agreed, but granted no time", now)
            return
        self._was_silent = False
        if self._state is not RegistrationState.REGISTERED:
            self._registered_at = now
        low, high = self._core.options.refresh_ratio
        delay_s = max(granted_s * self._core.random.uniform(low, high), 1.0)
        self._arm(now + delay_s)
        self._enter(RegistrationState.REGISTERED, response, expires_s=granted_s)
        self._probe.start(now)
        self._keep_alive(now)
        if self._trunk.is_elsewhere:
            self._seek_preferred(now)

    def _keep_alive(self, now: float) -> None:
        """Send a line break now and then, so that a NAT on the way goes on to let the registrar's calls through."""
        interval_s = self._trunk.options.keepalive_s
        if interval_s and not self._trunk.hop.transport.is_reliable:
            self._keepalive = self._core.timers.start(now + interval_s, self._send_keepalive)

    def _send_keepalive(self, now: float) -> None:
        self._core.send(_KEEPALIVE, self._trunk.hop)
        self._keep_alive(now)

    def _seek_preferred(self, now: float) -> None:
        """Ask the preferred server whether it is back, as long as we are elsewhere."""
        self._return = self._core.timers.start(now + self._core.options.return_interval_s, self._ask_preferred)

    def _ask_preferred(self, now: float) -> None:
        self._seek_preferred(now)
        self._probe.ask(self._trunk.hops[0], self._go_back, now)

    def _go_back(self, now: float) -> None:
        if self._is_wanted and self._request is None and self._trunk.is_elsewhere:
            self._trunk.prefer()
            self._trunk.account.forget()
            self._try_all(now)

    def _follow(self, response: Response, now: float) -> bool:
        """Register where a 301 or 302 says, if that is one of the trunk's addresses (RFC 3261 8.1.3.4).

        Anybody else would be shown our account.
        """
        contacts = response.contacts
        if not contacts or self._redirects >= _MAXIMUM_REDIRECTS:
            return False
        nowhere = self._trunk.hop
        hop = self._core.destination_of(contacts[0].uri, self._trunk, nowhere)._replace(connection=0)
        if hop == nowhere:
            return False
        self._redirects += 1
        self._trunk.redirect(hop)
        self._send(now)
        return True

    def _granted_s(self, response: Response) -> int:
        """Seconds granted: those of our Contact in the response, else its Expires, else what we asked (10.2.4)."""
        ours = self._core.contact(self._trunk, self._trunk.hop, is_secure=self._registrar().scheme == "sips").uri
        contacts = response.contacts
        for contact in contacts:
            if contact.uri.matches(ours) or len(contacts) == 1:
                granted = _read_seconds(contact.parameter("expires"))
                if granted is not None:
                    return granted
        granted = _read_seconds(response.headers.get("Expires"))
        return self._asked_s if granted is None else granted

    def _lengthen(self, response: Response) -> bool:
        """Ask for what a 423 says is the least (RFC 3261 10.2.8); False where it does not say anything new."""
        least_s = _read_seconds(response.headers.get("Min-Expires"))
        if least_s is None or least_s <= self._asked_s:
            return False
        self._asked_s = least_s
        return True

    def _fail(self, response: Response, reason: str, now: float) -> None:
        self._trunk.account.forget()
        self._probe.stop()
        # Servers may have been taken off the list meanwhile.
        self._untried = [hop for hop in self._untried if hop in self._trunk.hops]
        if not _is_lasting(response.status) and self._untried:
            self._trunk.turn_to(self._untried.pop(0))
            self._send(now)
            return
        self._trunk.prefer()
        options = self._core.options
        if self._state is RegistrationState.REGISTERED and now - self._registered_at >= options.retry_last_s:
            # What did not last counts as another failure (RFC 5626 4.5): a peer may close each connection at once.
            self._failures = 0
        backoff_s = min(options.retry_first_s * 2 ** min(self._failures, 16), options.retry_last_s)
        if _is_lasting(response.status):
            backoff_s = options.retry_last_s
        self._failures += 1
        delay_s = backoff_s * self._core.random.uniform(0.5, 1.0)
        retry_after_s = _read_seconds(response.headers.get("Retry-After")) or 0
        delay_s = max(delay_s, min(retry_after_s, _LONGEST_RETRY_AFTER_S))
        self._was_silent = response.status in _NO_ANSWER and not retry_after_s
        self._arm(now + delay_s)
        self._enter(RegistrationState.FAILED, response, reason=reason, retry_in_s=delay_s)

    def _give_back(self, now: float) -> None:
        if self._is_bound:
            self._is_bound = False
            self._send(now)
            return
        self._asked_s = self._trunk.options.expires_s
        self._enter(RegistrationState.UNREGISTERED, None)

    def _arm(self, deadline: float) -> None:
        self._cancel_alarms()
        self._alarm = self._core.timers.start(deadline, self._ring)

    def _ring(self, now: float) -> None:
        self._alarm = None
        if self._request is None:
            self._try_all(now)

    def _cancel_alarms(self) -> None:
        for alarm in (self._alarm, self._return, self._keepalive):
            if alarm is not None:
                alarm.cancel()
        self._alarm = self._return = self._keepalive = None

    def _enter(
        self,
        state: RegistrationState,
        response: Response | None,
        *,
        reason: str = "",
        expires_s: int | None = None,
        retry_in_s: float | None = None,
    ) -> None:
        """The one place where the state changes; tells it unless it is what was told last."""
        if state is not self._state:
            _log.debug("= registration %s: %s -> %s", self._trunk.name, self._state.value, state.value)
        self._state = state
        change = RegistrationChanged(
            trunk=self._trunk.name,
            state=state,
            status=response.status if response else None,
            reason=reason,
            expires_s=expires_s,
            retry_in_s=retry_in_s,
            server=self._trunk.hop,
        )
        if self._told is None or replace(change, retry_in_s=None) != replace(self._told, retry_in_s=None):
            self._core.emit(change)
        self._told = change


def _is_lasting(status: int) -> bool:
    """Whether only a person can mend what `status` says: the account, not the registrar, is wrong."""
    return (400 <= status < 500 and status not in (408, 480)) or status >= 600


def _read_seconds(text: str | None) -> int | None:
    """Leading digits as seconds, at most 2**31-1; Retry-After may have a comment and parameters behind them."""
    digits = (text or "").strip().partition(";")[0].partition("(")[0].strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10:
        return None
    return min(int(digits), 2**31 - 1)
