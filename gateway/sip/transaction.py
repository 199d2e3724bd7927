"""The four transaction machines of RFC 3261 17, corrected by RFC 6026, as one table.

Theory
------
A transaction is one request and everything that answers it. It exists twice, as the *client* transaction that repeats
the request until it is answered, and as the *server* transaction that repeats the answer and swallows repetitions of
the request. INVITE differs from all other methods, because a human may need minutes to answer it: its request is
repeated only until the first response of any kind, and its final response is confirmed by ACK. Hence four machines.

RFC 6026 splits what RFC 3261 threw together: after a 2xx the INVITE transactions do not end but go to *Accepted*, where
they stay for 64*T1. The 2xx itself belongs to the layers above on both sides (RFC 3261 13.2.2.4 and 13.3.1.4: it is
repeated and acknowledged end to end); the transaction only keeps repetitions of the INVITE from being taken for a new
call and hands every further 2xx up, so that each can be acknowledged.

One state is ours. A server that stays silent is passed over long before timer B, though it may only be slow; so an
INVITE that is abandoned without any response is repeated no more, but goes on to wait in *Abandoned* for what may still
come (RFC 3261 9.1 forbids CANCEL before a provisional response). Whoever abandoned it cancels or hangs up what comes.

One row says: in this state, on this stimulus, go to that state, do these actions, start these timers. Three rules keep
the rows short:

* What no row foresees is absorbed. The figures of the RFCs say so by having no arrow: a late 1xx in *Completed*, a
  second ACK in *Confirmed*, a 3xx that follows a 2xx.
* A timer that has no row in the state just entered is stopped. So no row needs to stop one.
* Timers that guard against loss on the way (A, E, G) are never started on a reliable transport, and those that wait for
  the last repetition to drain (D, I, J, K) are zero there.

Server transactions stay where they are when a response cannot be sent (RFC 6026 7.1: otherwise the next repetition of
the request would look like a new one); client transactions end.

``docs/transactions.md`` holds the diagrams that `draw` makes of the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gateway.sip.hop import Hop
from gateway.sip.message import Headers, Message, Request, Response
from gateway.sip.timers import Alarm, TimerQueue

_log = logging.getLogger(__name__)


class Kind(Enum):
    """Which of the four machines."""

    INVITE_CLIENT = "INVITE client"
    CLIENT = "client"
    INVITE_SERVER = "INVITE server"
    SERVER = "server"

    @property
    def is_client(self) -> bool:
        return self in (Kind.INVITE_CLIENT, Kind.CLIENT)


class State(Enum):
    """Where a transaction stands. INITIAL lasts no longer than its construction."""

    INITIAL = "Initial"
    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    ABANDONED = "Abandoned"
    TERMINATED = "Terminated"


class Stimulus(Enum):
    """What moves a transaction, besides its timers. Responses reach a client from the wire, a server from above."""

    START = "request"
    REPEATED_REQUEST = "request again"
    ACK = "ACK"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    TRANSPORT_ERROR = "transport error"
    ABANDON = "abandoned by the user"


class Timer(Enum):
    """The timers of RFC 3261 table 4 and RFC 6026 7."""

    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741  the RFC's name
    J = "J"
    K = "K"
    L = "L"
    M = "M"


class Action(Enum):
    """What a row does. A row's actions run in their order, in the state that the row leads to."""

    SEND = "send"
    SEND_AGAIN = "send again"
    SEND_ACK = "send ACK"
    DELIVER = "pass up"
    FAIL_BY_TIMEOUT = "report timeout"
    FAIL_BY_TRANSPORT = "report transport error"


class Row(NamedTuple):
    """One row of the table. `timers` are started, or started again with their next interval."""

    kind: Kind
    state: State
    stimulus: Stimulus | Timer
    next_state: State
    actions: tuple[Action, ...] = ()
    timers: tuple[Timer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerOptions:
    """The three values that all timers derive from (RFC 3261 17.1.1.1 and 17.1.2.2)."""

    t1_s: float = 0.5
    """Estimated round trip; first interval of every repetition. 64*T1 is the patience with a silent peer."""
    t2_s: float = 4.0
    """Longest interval between repetitions of a non-INVITE request or of a response to INVITE."""
    t4_s: float = 5.0
    """How long a message may stay in the network."""

    @property
    def patience_s(self) -> float:
        """64*T1, after which a silent peer is given up (timers B, F, H)."""
        return 64 * self.t1_s


_IC, _NC, _IS, _NS = Kind.INVITE_CLIENT, Kind.CLIENT, Kind.INVITE_SERVER, Kind.SERVER
_INITIAL, _CALLING, _TRYING, _PROCEEDING = State.INITIAL, State.CALLING, State.TRYING, State.PROCEEDING
_COMPLETED, _CONFIRMED, _ACCEPTED, _TERMINATED = State.COMPLETED, State.CONFIRMED, State.ACCEPTED, State.TERMINATED
_ABANDONED = State.ABANDONED
_START, _AGAIN, _ACK, _1XX = Stimulus.START, Stimulus.REPEATED_REQUEST, Stimulus.ACK, Stimulus.PROVISIONAL
_2XX, _3XX_6XX, _BROKEN, _ABANDON = Stimulus.SUCCESS, Stimulus.FAILURE, Stimulus.TRANSPORT_ERROR, Stimulus.ABANDON
_SEND, _RESEND, _SEND_ACK, _UP = Action.SEND, Action.SEND_AGAIN, Action.SEND_ACK, Action.DELIVER
_TIMEOUT, _NO_WAY = Action.FAIL_BY_TIMEOUT, Action.FAIL_BY_TRANSPORT
_T = Timer

# fmt: off
ROWS: tuple[Row, ...] = (
    # INVITE client: RFC 3261 17.1.1 figure 5, RFC 6026 7.2 and 8.4
    Row(_IC, _INITIAL,    _START,   _CALLING,    (_SEND,), (_T.A, _T.B)),
    Row(_IC, _CALLING,    _T.A,     _CALLING,    (_RESEND,), (_T.A,)),
    Row(_IC, _CALLING,    _T.B,     _TERMINATED, (_TIMEOUT,)),
    Row(_IC, _CALLING,    _1XX,     _PROCEEDING, (_UP,)),
    Row(_IC, _CALLING,    _2XX,     _ACCEPTED,   (_UP,), (_T.M,)),
    Row(_IC, _CALLING,    _3XX_6XX, _COMPLETED,  (_SEND_ACK, _UP), (_T.D,)),
    Row(_IC, _CALLING,    _BROKEN,  _TERMINATED, (_NO_WAY,)),
    Row(_IC, _CALLING,    _ABANDON, _ABANDONED),
    Row(_IC, _PROCEEDING, _1XX,     _PROCEEDING, (_UP,)),
    Row(_IC, _PROCEEDING, _2XX,     _ACCEPTED,   (_UP,), (_T.M,)),
    Row(_IC, _PROCEEDING, _3XX_6XX, _COMPLETED,  (_SEND_ACK, _UP), (_T.D,)),
    Row(_IC, _PROCEEDING, _ABANDON, _TERMINATED),                               # RFC 3261 9.1: 64*T1 after CANCEL
    Row(_IC, _COMPLETED,  _3XX_6XX, _COMPLETED,  (_SEND_ACK,)),
    Row(_IC, _COMPLETED,  _BROKEN,  _TERMINATED, (_NO_WAY,)),
    Row(_IC, _COMPLETED,  _T.D,     _TERMINATED),
    Row(_IC, _ACCEPTED,   _2XX,     _ACCEPTED,   (_UP,)),
    Row(_IC, _ACCEPTED,   _T.M,     _TERMINATED),
    Row(_IC, _ABANDONED,  _T.B,     _TERMINATED),
    Row(_IC, _ABANDONED,  _1XX,     _PROCEEDING, (_UP,)),
    Row(_IC, _ABANDONED,  _2XX,     _ACCEPTED,   (_UP,), (_T.M,)),
    Row(_IC, _ABANDONED,  _3XX_6XX, _COMPLETED,  (_SEND_ACK, _UP), (_T.D,)),
    Row(_IC, _ABANDONED,  _BROKEN,  _TERMINATED),

    # Client of every other method: RFC 3261 17.1.2 figure 6
    Row(_NC, _INITIAL,    _START,   _TRYING,     (_SEND,), (_T.E, _T.F)),
    Row(_NC, _TRYING,     _T.E,     _TRYING,     (_RESEND,), (_T.E,)),
    Row(_NC, _TRYING,     _T.F,     _TERMINATED, (_TIMEOUT,)),
    Row(_NC, _TRYING,     _1XX,     _PROCEEDING, (_UP,)),
    Row(_NC, _TRYING,     _2XX,     _COMPLETED,  (_UP,), (_T.K,)),
    Row(_NC, _TRYING,     _3XX_6XX, _COMPLETED,  (_UP,), (_T.K,)),
    Row(_NC, _TRYING,     _BROKEN,  _TERMINATED, (_NO_WAY,)),
    Row(_NC, _TRYING,     _ABANDON, _TERMINATED),
    Row(_NC, _PROCEEDING, _T.E,     _PROCEEDING, (_RESEND,), (_T.E,)),
    Row(_NC, _PROCEEDING, _T.F,     _TERMINATED, (_TIMEOUT,)),
    Row(_NC, _PROCEEDING, _1XX,     _PROCEEDING, (_UP,)),
    Row(_NC, _PROCEEDING, _2XX,     _COMPLETED,  (_UP,), (_T.K,)),
    Row(_NC, _PROCEEDING, _3XX_6XX, _COMPLETED,  (_UP,), (_T.K,)),
    Row(_NC, _PROCEEDING, _BROKEN,  _TERMINATED, (_NO_WAY,)),
    Row(_NC, _PROCEEDING, _ABANDON, _TERMINATED),
    Row(_NC, _COMPLETED,  _T.K,     _TERMINATED),

    # INVITE server: RFC 3261 17.2.1 figure 7, RFC 6026 7.1 and 8.5
    Row(_IS, _INITIAL,    _START,   _PROCEEDING, (_UP,)),
    Row(_IS, _PROCEEDING, _AGAIN,   _PROCEEDING, (_RESEND,)),
    Row(_IS, _PROCEEDING, _1XX,     _PROCEEDING, (_SEND,)),
    Row(_IS, _PROCEEDING, _2XX,     _ACCEPTED,   (_SEND,), (_T.L,)),
    Row(_IS, _PROCEEDING, _3XX_6XX, _COMPLETED,  (_SEND,), (_T.G, _T.H)),
    Row(_IS, _PROCEEDING, _BROKEN,  _PROCEEDING, (_NO_WAY,)),
    Row(_IS, _COMPLETED,  _AGAIN,   _COMPLETED,  (_RESEND,)),
    Row(_IS, _COMPLETED,  _T.G,     _COMPLETED,  (_RESEND,), (_T.G,)),
    Row(_IS, _COMPLETED,  _T.H,     _TERMINATED, (_TIMEOUT,)),
    Row(_IS, _COMPLETED,  _ACK,     _CONFIRMED,  (), (_T.I,)),
    Row(_IS, _COMPLETED,  _BROKEN,  _COMPLETED,  (_NO_WAY,)),
    Row(_IS, _CONFIRMED,  _T.I,     _TERMINATED),
    Row(_IS, _ACCEPTED,   _ACK,     _ACCEPTED,   (_UP,)),
    Row(_IS, _ACCEPTED,   _2XX,     _ACCEPTED,   (_SEND,)),
    Row(_IS, _ACCEPTED,   _BROKEN,  _ACCEPTED,   (_NO_WAY,)),
    Row(_IS, _ACCEPTED,   _T.L,     _TERMINATED),

    # Server of every other method: RFC 3261 17.2.2 figure 8
    Row(_NS, _INITIAL,    _START,   _TRYING,     (_UP,)),
    Row(_NS, _TRYING,     _1XX,     _PROCEEDING, (_SEND,)),
    Row(_NS, _TRYING,     _2XX,     _COMPLETED,  (_SEND,), (_T.J,)),
    Row(_NS, _TRYING,     _3XX_6XX, _COMPLETED,  (_SEND,), (_T.J,)),
    Row(_NS, _PROCEEDING, _AGAIN,   _PROCEEDING, (_RESEND,)),
    Row(_NS, _PROCEEDING, _1XX,     _PROCEEDING, (_SEND,)),
    Row(_NS, _PROCEEDING, _2XX,     _COMPLETED,  (_SEND,), (_T.J,)),
    Row(_NS, _PROCEEDING, _3XX_6XX, _COMPLETED,  (_SEND,), (_T.J,)),
    Row(_NS, _PROCEEDING, _BROKEN,  _PROCEEDING, (_NO_WAY,)),
    Row(_NS, _COMPLETED,  _AGAIN,   _COMPLETED,  (_RESEND,)),
    Row(_NS, _COMPLETED,  _BROKEN,  _COMPLETED,  (_NO_WAY,)),
    Row(_NS, _COMPLETED,  _T.J,     _TERMINATED),
)
# fmt: on

TRANSITIONS: Mapping[tuple[Kind, State, Stimulus | Timer], Row] = {row[:3]: row for row in ROWS}
_RUNNING: Mapping[tuple[Kind, State], frozenset[Timer]] = {
    (kind, state): frozenset(
        row.stimulus for row in ROWS if row[:2] == (kind, state) and isinstance(row.stimulus, Timer)
    )
    for kind in Kind
    for state in State
}

_UNRELIABLE_ONLY = frozenset({Timer.A, Timer.E, Timer.G})
_DRAINING = frozenset({Timer.D, Timer.I, Timer.J, Timer.K})
# RFC 3261 17.1.1.2: timer D is at least 32 s on an unreliable transport, whatever our T1 is.
_TIMER_D_MINIMUM_S = 32.0


class Failure(Enum):
    """Why a transaction ended without an answer, as the status that RFC 3261 8.1.3.1 reads it as."""

    TIMEOUT = 408
    TRANSPORT = 503


Deliver = Callable[["Transaction", Message, float], None]
"""Takes what a transaction passes up: responses to a client, the request or an ACK to a server."""
Fail = Callable[["Transaction", Failure, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionUser:
    """What stands above a transaction (the TU of RFC 3261)."""

    deliver: Deliver
    fail: Fail


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionContext:
    """What all transactions of a user agent share."""

    timers: TimerQueue
    options: TimerOptions
    send: Callable[[bytes, Hop], None]
    forget: Callable[[Transaction], None]


class Transaction:
    """One transaction: the state, the timers that run in it and the message that it repeats.

    `destination` is where everything it sends goes: the next hop of a client, the source of the request for a server.
    """

    def __init__(
        self,
        kind: Kind,
        request: Request,
        destination: Hop,
        *,
        user: TransactionUser,
        context: TransactionContext,
    ) -> None:
        self.kind = kind
        self.request = request
        self.destination = destination
        self.is_reliable = destination.transport.is_reliable
        self.state = State.INITIAL
        self.response: Response | None = None
        """The last response that a server sent."""
        self.heard_from = destination
        """Where the other side's last message really came from."""
        self.trouble = ""
        """What kept it from the other side, for people; empty where nothing did, or nobody knows."""
        self.held_bytes = 0
        """What the layer counts for the request of a peer."""
        self._user = user
        self._context = context
        self._last_sent = b""
        self._alarms: dict[Timer, Alarm] = {}
        self._intervals: dict[Timer, float] = {}

    @property
    def is_open(self) -> bool:
        """Whether the final response is still to come."""
        return self.state in (State.CALLING, State.TRYING, State.PROCEEDING)

    def step(self, stimulus: Stimulus | Timer, now: float, message: Message | None = None) -> None:
        """Take one row of the table; what no row foresees is absorbed."""
        row = TRANSITIONS.get((self.kind, self.state, stimulus))
        if row is None:
            return
        self._enter(row.next_state)
        for timer in row.timers:
            self._start(timer, now)
        for action in row.actions:
            self._perform(action, message, now)

    def _perform(self, action: Action, message: Message | None, now: float) -> None:
        match action:
            case Action.SEND if message is not None:
                self._send(message)
            case Action.SEND_AGAIN if self._last_sent:
                self._context.send(self._last_sent, self.destination)
            case Action.SEND_ACK if isinstance(message, Response):
                self._context.send(make_ack(self.request, message).to_bytes(), self.destination)
            case Action.DELIVER if message is not None:
                self._user.deliver(self, message, now)
            case Action.FAIL_BY_TIMEOUT:
                self._user.fail(self, Failure.TIMEOUT, now)
            case Action.FAIL_BY_TRANSPORT:
                self._user.fail(self, Failure.TRANSPORT, now)

    def _send(self, message: Message) -> None:
        if isinstance(message, Response):
            self.response = message
        self._last_sent = message.to_bytes()
        self._context.send(self._last_sent, self.destination)

    def _enter(self, state: State) -> None:
        if state is self.state:
            return
        _log.debug("= %s %s %s: %s -> %s", self.kind.value, *self.request.cseq, self.state.value, state.value)
        self.state = state
        for timer in self._alarms.keys() - _RUNNING[self.kind, state]:
            self._alarms.pop(timer).cancel()
        if state is State.TERMINATED:
            self._context.forget(self)

    def _start(self, timer: Timer, now: float) -> None:
        if self.is_reliable and timer in _UNRELIABLE_ONLY:
            return
        interval = self._intervals[timer] = self._next_interval(timer)
        self._alarms[timer] = self._context.timers.start(now + interval, lambda now: self._ring(timer, now))

    def _ring(self, timer: Timer, now: float) -> None:
        del self._alarms[timer]
        self.step(timer, now)

    def _next_interval(self, timer: Timer) -> float:
        """Seconds until `timer` fires (RFC 3261 table 4)."""
        if timer in _DRAINING and self.is_reliable:
            return 0.0
        options = self._context.options
        doubled = 2 * self._intervals.get(timer, options.t1_s / 2)
        match timer:
            case Timer.A:
                return doubled
            case Timer.E | Timer.G:
                # RFC 3261 17.1.2.2: in Proceeding, timer E is T2 whatever it was.
                return options.t2_s if self.state is State.PROCEEDING else min(doubled, options.t2_s)
            case Timer.I | Timer.K:
                return options.t4_s
            case Timer.D:
                return max(options.patience_s, _TIMER_D_MINIMUM_S)
        return options.patience_s


def stimulus_of(response: Response) -> Stimulus:
    """The class of a response, as the table tells them apart."""
    if response.status < 200:
        return Stimulus.PROVISIONAL
    return Stimulus.SUCCESS if response.status < 300 else Stimulus.FAILURE


def make_ack(request: Request, response: Response) -> Request:
    """The ACK to a final response other than 2xx, a part of the INVITE's transaction (RFC 3261 17.1.1.3)."""
    headers = Headers()
    headers.add("Via", str(request.top_via))
    headers.add("Max-Forwards", "70")
    for value in request.headers.get_all("Route"):
        headers.add("Route", value)
    headers.add("From", str(request.from_))
    headers.add("To", str(response.to))
    headers.add("Call-ID", request.call_id)
    headers.add("CSeq", f"{request.cseq.number} ACK")
    return Request(method="ACK", uri=request.uri, headers=headers)


def draw(kind: Kind) -> str:
    """The machine as a Mermaid state diagram, one arrow a pair of states, one line a row."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for row in ROWS:
        if row.kind is kind:
            arrows.setdefault((row.state, row.next_state), []).append(_label(row))
    lines = ["stateDiagram-v2"]
    for (state, next_state), labels in arrows.items():
        origin = "[*]" if state is State.INITIAL else state.value
        lines.append(f"    {origin} --> {next_state.value}: {'<br/>'.join(labels)}")
    lines.append(f"    {State.TERMINATED.value} --> [*]")
    return "\n".join(lines) + "\n"


def _label(row: Row) -> str:
    stimulus = f"timer {row.stimulus.value}" if isinstance(row.stimulus, Timer) else row.stimulus.value
    effects = [action.value for action in row.actions] + [f"start {timer.value}" for timer in row.timers]
    return f"{stimulus} / {', '.join(effects)}" if effects else stimulus
