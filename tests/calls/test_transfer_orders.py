"""Transfers in every order in which their news may come: nobody is forgotten, left in silence, or counted twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.events.steps import MessageEnded
from gateway.calls.transfers.grant import TransferLimits
from gateway.calls.transfers.refusal import Refusal
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, Dialplan
from tests.support.plans import write_plan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = """
version: 1
name: test
timezone: UTC
contacts:
  blind: {dial: [sip:6001, sip:6002]}
  called: {dial: [sip:6001, sip:6002], mode: attended}
  warm: {dial: [sip:6001, sip:6002], accept: {key: "1", refuse: "2"}, summary: [whisper, header]}
  mobile: {dial: [sip:6001], trunk: carrier, mode: warm}
  night: {dial: [sip:6003], mode: attended, else: box}
  staff: {pattern: "/[1-7][0-9]{3}/", mode: attended}
mailboxes:
  box: {beep: false, transcript: false}
sessions:
  reception: {use: default, tools: [transfer]}
routes:
  - {name: talk, do: [{session: reception}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: called}]}
  - {name: nine, when: {dtmf: "9"}, do: [{wait: 1s}]}
"""
CONTACTS = ("blind", "called", "warm", "mobile", "night", "staff", "nobody")
WAITING_STATES = ("requested", "accepted", "ringing", "whispering")


@cache
def plan() -> Dialplan:
    with TemporaryDirectory() as folder:
        return load_dialplan(write_plan(Path(folder), PLAN))


@dataclass
class World:
    """What telephones and timers would do, so that nothing is told that cannot happen."""

    call: Call
    counted: list[str]
    asked: int = 0
    begun: int = 0
    dropped: int = 0
    leg: str | None = None
    is_referred: bool = False
    is_waiting: bool = False
    is_bridged: bool = True
    whispers: bool = False
    awaits_summary: bool = False
    timers: set[e.TimerName] = field(default_factory=set)
    replies: list[str] = field(default_factory=list)

    def possible(self, choice: int) -> e.Event:
        """One of what may happen now; the end of the call seldom."""
        events = self._endings() if choice % 30 == 0 else self._news()
        return events[choice // 30 % len(events)]

    def _endings(self) -> list[e.Event]:
        return [e.SessionLost(reason="gone"), e.CallerLeft(cause="remote_bye"), e.DrainEnded(), e.HangUpAsked()]

    def _news(self) -> list[e.Event]:
        tools = [
            e.ToolAsked(call_id=f"t{self.asked}", name="transfer", arguments={"contact": contact, "number": "6001"})
            for contact in CONTACTS
        ]
        events: list[e.Event] = [
            *tools,
            e.PlayoutEnded(),
            e.CallerSpoke(),
            *(e.DigitReceived(digit=digit) for digit in "0912"),
            *(e.TimerFired(timer=timer) for timer in sorted(self.timers, key=lambda timer: timer.value)),
            MessageEnded(),
        ]
        if self.leg == "called":
            events += [*(e.TargetProgressed(status=status) for status in (100, 180, 183)), e.TargetAnswered()]
            events.append(e.TargetRefused(refusal=Refusal.BUSY, status=486, reason="Busy Here"))
        if self.leg == "answered":
            events += [e.TargetLeft(), *(e.TargetPressed(digit=digit) for digit in "125")]
        if self.is_referred:
            events += [e.TransferReported(status=status, reason="", is_final=False) for status in (202, 180)]
            finals = (200, 400, 408, 481, 486, 500, 603)
            events += [e.TransferReported(status=status, reason="", is_final=True) for status in finals]
        if self.whispers:
            events.append(e.WhisperEnded())
        if self.awaits_summary:
            events.append(e.SummaryReady())
        return events

    def happen(self, event: e.Event) -> None:
        """Let it happen, and hold what the call decides against what must be so."""
        before = self.call.state
        self._note(event)
        commands = self.call.step(event, NOON)
        for command in commands:
            self._do(command)
        if self.call.state is CallState.TRANSFERRING and before is not CallState.TRANSFERRING:
            self.begun += 1
        is_carried_out = event in (e.PlayoutEnded(), e.TimerFired(timer=e.TimerName.ANNOUNCEMENT))
        if before is CallState.ANNOUNCING and self.call.state is not before and not is_carried_out:
            self.dropped += 1
        self._hold(before, event, commands)

    def _note(self, event: e.Event) -> None:
        match event:
            case e.ToolAsked():
                self.asked += 1
            case e.TargetAnswered():
                self.leg = "answered"
            case e.TargetRefused() | e.TargetLeft():
                self.leg = "ended"
            case e.TransferReported(is_final=True):
                self.is_referred = False
            case e.WhisperEnded():
                self.whispers = False
            case e.SummaryReady():
                self.awaits_summary = False
            case e.TimerFired(timer=timer):
                self.timers.discard(timer)
            case _:
                pass

    def _do(self, command: e.Command) -> None:
        match command:
            case e.CallTarget():
                assert self.leg is None, "two contacts are called at once"
                self.leg = "called"
            case e.ReleaseTarget():
                self.leg, self.whispers, self.awaits_summary = None, False, False
            case e.Refer() | e.HandOver():
                assert not self.is_referred, "two REFERs at once"
                self.is_referred = True
            case e.Whisper():
                assert self.leg == "answered"
                self.whispers = True
            case e.AwaitSummary():
                self.awaits_summary = True
            case e.PlayRinging(is_on=is_on):
                self.is_waiting = is_on
            case e.BridgeAudio(is_open=is_open):
                self.is_bridged = is_open
            case e.JoinTarget():
                assert self.leg == "answered"
            case e.StartTimer(timer=timer):
                self.timers.add(timer)
            case e.StopTimer(timer=timer):
                self.timers.discard(timer)
            case e.ReplyToTool(call_id=call_id):
                self.replies.append(call_id)
            case _:
                pass

    def _hold(self, before: CallState, event: e.Event, commands: list[e.Command]) -> None:
        call, state = self.call, self.call.state
        assert len(set(self.replies)) == len(self.replies), "the model is told twice"
        announced = self.dropped + (state is CallState.ANNOUNCING)
        assert len(self.counted) == self.begun + announced, "each transfer counts once"
        if state is CallState.TRANSFERRING:
            progress = call.notes.transfer_state
            assert progress is not None
            is_ours = call.notes.transfer_target != "blind"
            is_due = is_ours and progress.value in WAITING_STATES
            assert self.is_waiting == is_due or progress.value == "released", "silence, or a tone over the talk"
            assert not self.is_bridged
        elif state is not CallState.JOINED:
            assert self.leg is None, "a contact whom nobody needs is still called"
        if state is CallState.TALKING:
            assert self.is_bridged
            assert not self.is_waiting
            assert len(self.replies) == self.asked, "the model waits for ever"
        if state is CallState.ENDED and before is not CallState.ENDED:
            has_left = isinstance(event, e.CallerLeft)
            assert has_left or any(isinstance(command, e.HangUp) for command in commands), "nobody hangs up"


def talking() -> World:
    counted: list[str] = []
    facts = CallFacts(to="7000", from_="+49301", at=NOON, trunk="pbx")
    limits = TransferLimits(per_call=50, count=counted.append)
    call = Call(plan=plan(), actions=plan().decide(facts).actions, facts=facts, trunk="pbx", limits=limits)
    world = World(call, counted)
    for event in (e.Started(), e.SessionOpened(), e.Established()):
        world.happen(event)
    assert call.state is CallState.TALKING
    return world


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_whatever_comes_when_nobody_is_forgotten_left_in_silence_or_counted_twice(choices: list[int]) -> None:
    world = talking()
    for choice in choices:
        world.happen(world.possible(choice))
        if world.call.state is CallState.ENDED:
            break
