"""Thousands of calls of every kind over a wire that loses, repeats and reorders.

Two user agents call each other. Chance decides who rings, answers, refuses, cancels, holds, presses keys, transfers and
hangs up, and when; the wire loses 10 % of all datagrams, repeats 5 % and lets them overtake each other. Each call must
come to an end that both sides know, none may be there twice, and in the end nothing may be left.

`SIP_CALLS` in the environment is the number of calls, `SIP_SEED` where chance begins.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest

from gateway.errors import StateError
from gateway.sip.core import Reliability
from gateway.sip.events import (
    CallAnswered,
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallOffered,
    CallProgressed,
    CallRefused,
    EndCause,
    Event,
    OfferReceived,
    TransferProgressed,
    TransferRequested,
)
from gateway.sip.message import Uri
from tests.support.wire import Party, Wire, assert_idle, description, gateway_on, phone_on

pytestmark = pytest.mark.heavy

CALLS = int(os.environ.get("SIP_CALLS", "1000"))
SEED = int(os.environ.get("SIP_SEED", "1"))
CALLS_PER_S = 15.0
REFUSALS = (404, 480, 486, 488, 503, 603)
LAST_EVENTS = (CallRefused, CallCancelled, CallEnded)


@dataclass(slots=True)
class Leg:
    """What one side knows of one call."""

    party: Party
    has_offer: bool = True
    is_wanted: bool = True
    """Whether neither side was told to give up before the answer."""
    is_answered: bool = False
    is_established: bool = False
    is_ended_by_us: bool = False
    last: list[Event] = field(default_factory=list)


class Telephony:
    """Two sides, their calls, and chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.wire = Wire(seed=seed, loss=0.1, duplicates=0.05, delay_s=(0.002, 0.12))
        options = {"calls_per_s": 1000.0, "call_burst": 1000, "answer_timeout_s": 60.0}
        self.gateway = gateway_on(
            self.wire, application=self.react, reliable_provisionals=Reliability.ALWAYS, **options
        )
        self.phone = phone_on(self.wire, application=self.react, **options)
        self.legs: dict[str, Leg] = {}
        self.callers: dict[str, Leg] = {}
        """The side that placed a call, by Call-ID."""
        self.takers: dict[str, Leg] = {}
        self.offered: Counter[tuple[str, str]] = Counter()
        """How often each INVITE transaction became a call."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    # The clock.

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do it then; what the state of the call no longer allows is left undone."""
        heapq.heappush(self._due, (self.wire.now + delay_s, next(self._order), act))

    def run(self) -> None:
        """Until there is nothing more to do."""
        while self._due:
            at, _, act = heapq.heappop(self._due)
            self.wire.run_until(max(at, self.wire.now))
            with suppress(StateError):
                act()
            self.wire.flush()
        self.wire.run(400)

    def soon(self, longest_s: float) -> float:
        return self.random.uniform(0.01, longest_s)

    def is_chosen(self, share: float) -> bool:
        return self.random.random() < share

    # The callers.

    def place(self) -> None:
        party, trunk, number = self.random.choice(
            [(self.gateway, "pbx", "sip:6001@10.0.0.2"), (self.phone, "gateway", "sip:7000@10.0.0.1")]
        )
        agent, has_offer = party.user_agent, self.is_chosen(0.8)
        offer = description(party.address.host) if has_offer else None
        leg_id = agent.invite(trunk, Uri.parse(number), offer=offer, now=self.wire.now)
        leg = self.legs[leg_id] = Leg(party=party, has_offer=has_offer)
        self.callers[agent._legs.get(leg_id).usage.call_id] = leg
        if self.is_chosen(0.15):
            leg.is_wanted = False
            self.later(self.soon(3), lambda: agent.cancel(leg_id, self.wire.now))

    # What both sides do about what they hear.

    def react(self, party: Party, event: Event, now: float) -> None:
        if isinstance(event, CallOffered):
            self._take(party, event)
            return
        leg = self.legs.get(getattr(event, "leg_id", ""))
        if leg is None:
            return
        leg_id, agent = event.leg_id, party.user_agent  # type: ignore[union-attr]
        if isinstance(event, LAST_EVENTS):
            leg.last.append(event)
        match event:
            case CallProgressed(description=offer) if not leg.has_offer and offer is not None:
                self.later(self.soon(0.3), lambda: agent.acknowledge(leg_id, self.session(party), self.wire.now))
            case CallProgressed() if self.is_chosen(0.2):
                self._offer_early(leg_id, party)
            case CallAnswered():
                assert not leg.is_answered
                assert event.description is not None
                leg.is_answered = True
                if not leg.has_offer:
                    self.later(self.soon(0.3), lambda: agent.acknowledge(leg_id, self.session(party), self.wire.now))
                self._live(leg_id, leg)
            case CallEstablished() if not leg.is_established:
                leg.is_established = True
                self._live(leg_id, leg)
            case OfferReceived():
                self._answer_offer(party, leg_id)
            case TransferRequested():
                self._answer_transfer(party, leg_id)
            case TransferProgressed(is_final=True):
                self._hang_up(leg_id, leg, self.soon(1))

    def session(self, party: Party, *, version: int = 0) -> object:
        return description(party.address.host, version=version)

    def _take(self, party: Party, event: CallOffered) -> None:
        self.offered[event.call_id, event.headers.get("CSeq") or ""] += 1
        leg_id, agent = event.leg_id, party.user_agent
        leg = self.legs[leg_id] = self.takers[event.call_id] = Leg(party=party)
        sdp = description(party.address.host)
        if self.is_chosen(0.6):
            self.later(self.soon(0.5), lambda: agent.progress(leg_id, 180, self.wire.now))
        if self.is_chosen(0.3):
            self.later(self.soon(1), lambda: agent.progress(leg_id, 183, self.wire.now, answer=sdp))
        if self.is_chosen(0.3):
            self._offer_early(leg_id, party)
        if self.is_chosen(0.15):
            leg.is_wanted = False
            leg.is_ended_by_us = True
            status, headers = self.random.choice(REFUSALS), ()
            if self.is_chosen(0.3):
                elsewhere = f"<sip:{self.random.randint(1, 9)}@{party.address.host}>"
                status, headers = 302, (("Contact", elsewhere),)  # type: ignore[assignment]
            self.later(self.soon(2), lambda: agent.reject(leg_id, status, self.wire.now, headers=headers))
        elif self.is_chosen(0.9):
            self.later(self.soon(3), lambda: agent.answer(leg_id, sdp, self.wire.now))
        else:
            leg.is_wanted = False

    def _offer_early(self, leg_id: str, party: Party) -> None:
        """Change the session before the answer, if it is agreed by then; what is offered later must match that."""
        sdp = description(party.address.host, version=5)
        self.later(self.soon(2), lambda: party.user_agent.reoffer(leg_id, sdp, self.wire.now))

    def _live(self, leg_id: str, leg: Leg) -> None:
        """What happens in an answered call, until somebody hangs up."""
        agent, party = leg.party.user_agent, leg.party
        for version in range(self.random.choice((0, 0, 1, 2))):
            sdp = description(party.address.host, version=version + 1, port=10002 + 2 * version)
            self.later(self.soon(8), lambda sdp=sdp: agent.reoffer(leg_id, sdp, self.wire.now))  # type: ignore[misc]
        for digit in "12" if self.is_chosen(0.1) else "":
            self.later(
                self.soon(8),
                lambda digit=digit: agent.send_digit(leg_id, digit, 100, self.wire.now),  # type: ignore[misc]
            )
        if self.is_chosen(0.1):
            target = Uri.parse("sip:6002@10.0.0.2")
            self.later(self.soon(8), lambda: agent.refer(leg_id, target, self.wire.now))
        self._hang_up(leg_id, leg, self.random.uniform(0.01, 20))

    def _hang_up(self, leg_id: str, leg: Leg, delay_s: float) -> None:
        def bye() -> None:
            leg.is_ended_by_us = leg.is_ended_by_us or not leg.last
            leg.party.user_agent.bye(leg_id, self.wire.now)

        self.later(delay_s, bye)

    def _answer_offer(self, party: Party, leg_id: str) -> None:
        agent, sdp = party.user_agent, description(party.address.host, version=9)
        if self.is_chosen(0.8):
            self.later(self.soon(1), lambda: agent.accept_offer(leg_id, sdp, self.wire.now))
        elif self.is_chosen(0.5):
            self.later(self.soon(1), lambda: agent.reject_offer(leg_id, 488, self.wire.now))

    def _answer_transfer(self, party: Party, leg_id: str) -> None:
        agent = party.user_agent
        if self.is_chosen(0.7):
            self.later(0.1, lambda: agent.accept_refer(leg_id, self.wire.now))
            status = self.random.choice((200, 486))
            self.later(self.soon(3), lambda: agent.notify_transfer(leg_id, status, None, self.wire.now))
        elif self.is_chosen(0.5):
            self.later(0.1, lambda: agent.reject_refer(leg_id, 603, self.wire.now))


@pytest.fixture(scope="module")
def telephony() -> Telephony:
    """All calls, made and over."""
    world = Telephony(SEED)
    for number in range(CALLS):
        world.later(number / CALLS_PER_S, world.place)
    world.run()
    return world


def test_nothing_is_left_of_any_call(telephony: Telephony) -> None:
    """Whoever still waits for an end that nobody brings would be here."""
    assert_idle(telephony.gateway, telephony.phone)


def test_every_call_ends_with_a_reason_and_only_once(telephony: Telephony) -> None:
    for leg in telephony.legs.values():
        assert len(leg.last) <= 1
        assert leg.last or leg.is_ended_by_us


def test_no_invite_becomes_two_calls(telephony: Telephony) -> None:
    assert max(telephony.offered.values()) == 1
    assert len(telephony.offered) > CALLS * 0.9


def test_nearly_every_call_that_both_sides_want_is_established(telephony: Telephony) -> None:
    """99.5 % at 10 % loss. A call may still die of seven losses in a row."""
    callers = [telephony.callers[call_id] for call_id, leg in telephony.takers.items() if leg.is_wanted]
    wanted = [leg for leg in callers if leg.is_wanted]
    assert len(wanted) > CALLS * 0.4
    assert sum(leg.is_answered for leg in wanted) >= 0.995 * len(wanted)


def test_both_sides_agree_on_which_calls_there_were(telephony: Telephony) -> None:
    """Who was answered has somebody at the other end, who heard of the ACK, or of the BYE that overtook it."""
    for call_id, caller in telephony.callers.items():
        taker = telephony.takers.get(call_id)
        if caller.is_answered:
            assert taker is not None
            assert taker.is_established or taker.last or taker.is_ended_by_us
        elif taker is not None:
            assert not taker.is_established or caller.is_ended_by_us or caller.last


def test_calls_end_because_somebody_ended_them(telephony: Telephony) -> None:
    """Time-outs and errors are rare even on this wire."""
    causes = Counter(
        event.cause for leg in telephony.legs.values() for event in leg.last if isinstance(event, CallEnded)
    )
    assert causes[EndCause.REMOTE_BYE] >= 0.98 * sum(causes.values())
