"""The world around one `Call`, thought up: who owes the call which news, and what may come by chance.

It takes the call's commands, keeps what is under way by them, and says what is out of joint (`flaws`): a call that
waits for news that nobody owes it, or one that has left behind what it has begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.escalation import facts as f
from gateway.calls.escalation.events import FactNoticed
from gateway.calls.events import steps as s
from gateway.calls.transfers.refusal import Refusal
from gateway.dialplan.actions import Action, SayAction
from gateway.dialplan.template import parse_template
from gateway.dialplan.triggers import BudgetUsed, CostOver

MONDAY = datetime(2026, 11, 30, 10, tzinfo=UTC)
MODEL_TALKS = (CallState.TALKING, CallState.ANNOUNCING, CallState.CONCLUDING, CallState.CLOSING)
LAST_SENTENCES = (CallState.ANNOUNCING, CallState.CONCLUDING, CallState.CLOSING)
PARTED = (e.HangUp, e.Reject)
KEYS = "0159*#"
WAYS_OF_A_TRANSFER = (e.TimerName.RING, e.TimerName.ACCEPT, e.TimerName.JOIN, e.TimerName.RETRY)


def say(text: str) -> SayAction:
    return SayAction(text=parse_template(text)[0])


@dataclass(slots=True)
class World:
    """Around `call`, which has not begun."""

    call: Call
    at: datetime = MONDAY
    timers: set[e.TimerName] = field(default_factory=set)
    session: str = ""
    """ "opening" or "open"."""
    is_bridged: bool = False
    owes: set[str] = field(default_factory=set)
    """News that will come: playout, speech, hook, ready, message, answer, dial, refer, target, whisper, summary."""
    listens: bool = False
    target_is_there: bool = False
    unanswered: set[str] = field(default_factory=set)
    """The model's calls of tools that nobody has reacted to."""
    numbers: Iterator[int] = field(default_factory=count)
    told: list[e.Command] = field(default_factory=list)

    def step(self, event: e.Event) -> list[e.Command]:
        """Let it happen, and keep what follows."""
        self.at += timedelta(milliseconds=700)
        was_ended = self.call.state is CallState.ENDED
        self._happen(event)
        commands = self.call.step(event, self.at)
        assert not (was_ended and commands), f"{event} moves a call that has ended: {commands}"
        for command in commands:
            self._carry_out(command)
        self.told += commands
        return commands

    # What may come.

    def due(self) -> list[e.Event]:
        """News that somebody owes the call, and timers that run, the longest one of all apart."""
        state = self.call.state
        events: list[e.Event] = [
            e.TimerFired(timer=timer) for timer in e.TimerName if timer in self.timers - {e.TimerName.LIMIT}
        ]
        events += [event for debt in sorted(self.owes) for event in self._news(debt)]
        if self.session == "opening":
            events += [e.SessionOpened(), e.SessionLost(reason="no provider")]
        if state is CallState.JOINED:
            events.append(e.TargetLeft())
        return events

    def _news(self, debt: str) -> list[e.Event]:
        refused = e.TargetRefused(refusal=Refusal.BUSY, status=486, reason="Busy Here")
        hook = s.HookAnswered(actions=self._answer_of_hook(), values={"name": "Ann"})
        known: dict[str, list[e.Event]] = {
            "playout": [e.PlayoutEnded()],
            "speech": [s.SpeechReady()],
            "hook": [hook, s.HookFailed()],
            "ready": [s.MessageReady(), s.MessageEnded()],
            "message": [s.MessageEnded()],
            "answer": [e.Established()],
            "dial": [e.Rang(), e.Established(), e.Refused(refusal=Refusal.BUSY, status=486, reason="Busy Here")],
            "refer": [
                e.TransferReported(status=status, reason="", is_final=status >= 200, is_notified=True)
                for status in (180, 200, 408, 486, 500)
            ],
            "target": [e.TargetProgressed(status=180), e.TargetAnswered(), refused],
            "whisper": [e.WhisperEnded()],
            "summary": [e.SummaryReady()],
        }
        return known[debt]

    def _answer_of_hook(self) -> tuple[Action, ...]:
        return (say("Welcome."),) if next(self.numbers) % 2 else ()

    def by_chance(self) -> list[e.Event]:
        """What callers, models and operators may do at this moment."""
        state, events = self.call.state, list[e.Event]()
        budgets = (BudgetUsed(0.8), BudgetUsed(1.0), CostOver(Decimal(1)))
        events += [e.BudgetReached(mark=mark, limit="limits.cost") for mark in budgets]
        events += [e.DrainBegan(), FactNoticed(fact=f.VerdictReached(escalation="judged")), e.ToolFailed(name="find")]
        if self.session == "open":
            call_id = f"c{next(self.numbers)}"
            tools = {"transfer": {"contact": "blind"}, "hang_up": {}, "find": {}, "note": {}}
            events += [e.ToolAsked(call_id=call_id, name=name, arguments=told) for name, told in tools.items()]
            events += [e.ToolAsked(call_id=call_id, name="transfer", arguments={"contact": "warm"})]
            events.append(e.SessionLost(reason="provider gone"))
        if state in MODEL_TALKS:
            said = f.CallerSaid(text="a human")
            events += [e.CallerSpoke(), FactNoticed(fact=said), FactNoticed(fact=f.SilenceLasted(seconds=20))]
        if self.has_answered:
            events += [e.DigitReceived(digit=key) for key in KEYS]
        if state in (CallState.CONSENTING, CallState.TALKING) or (state is CallState.ACTING and self.has_answered):
            events.append(e.CallerReplaced())
        if self.listens:
            events += [s.SpeechBegan(), s.WordsHeard(text=""), s.WordsHeard(text="sales please")]
        if self.target_is_there:
            events += [e.TargetPressed(digit="1"), e.TargetPressed(digit="2"), e.TargetLeft()]
        return events

    @staticmethod
    def endings() -> list[e.Event]:
        """What ends every call, at every moment."""
        failed = e.CommandFailed(reason="no route to host")
        return [e.CallerLeft(cause="bye"), e.HangUpAsked(), e.DrainEnded(), failed]

    @property
    def has_answered(self) -> bool:
        """Whether the caller hears us."""
        return e.TimerName.LIMIT in self.timers

    # What is under way.

    def _happen(self, event: e.Event) -> None:
        match event:
            case e.TimerFired(timer=timer):
                self.timers.discard(timer)
            case e.SessionOpened():
                self.session = "open"
            case e.SessionLost():
                self.session = ""
                self.unanswered.clear()
            case e.ToolAsked(call_id=call_id):
                self.unanswered.add(call_id)
            case e.TargetAnswered():
                self.target_is_there = True
                self.owes.discard("target")
            case e.TargetRefused() | e.TargetLeft():
                self.target_is_there = False
                self.owes.discard("target")
            case e.TransferReported(is_final=is_final):
                self.owes -= {"refer"} if is_final else set()
            case e.TargetProgressed() | e.Rang():
                pass
            case _:
                self.owes -= {debt for debt in self.owes if any(type(event) is type(due) for due in self._news(debt))}

    def _carry_out(self, command: e.Command) -> None:  # noqa: C901, PLR0912 - one line a command
        match command:
            case e.StartTimer(timer=timer):
                self.timers.add(timer)
            case e.StopTimer(timer=timer):
                self.timers.discard(timer)
            case e.OpenSession():
                self.session, self.is_bridged = "opening", False
                self.unanswered.clear()
            case e.CloseSession():
                self.session = ""
                self.unanswered.clear()
            case e.BridgeAudio(is_open=is_open):
                self.is_bridged = is_open
            case e.ReplyToTool(call_id=call_id) | e.RunTool(call_id=call_id):
                assert self.session != "open" or call_id in self.unanswered, f"{command}: nobody waits for that"
                self.unanswered.discard(call_id)
            case e.Play() | s.Speak() | s.PlayTone() | e.AwaitPlayout():
                self.owes.add("playout")
            case e.StopPlaying():
                self.owes -= {"playout", "speech"}
            case s.Listen():
                self.listens = True
            case s.StopListening():
                self.listens = False
            case s.DropHook():
                self.owes.discard("hook")
            case s.RecordMessage():
                self.owes |= {"message"}
            case s.EndMessage():
                self.owes -= {"message", "ready"}
            case e.ReleaseTarget():
                self.owes -= {"target", "refer", "whisper"}
                self.target_is_there = False
            case _:
                debts = {
                    s.PrepareSpeech: "speech",
                    s.AskHook: "hook",
                    s.PrepareMessage: "ready",
                    e.Answer: "answer",
                    e.Dial: "dial",
                    e.Refer: "refer",
                    e.HandOver: "refer",
                    e.CallTarget: "target",
                    e.Whisper: "whisper",
                    e.AwaitSummary: "summary",
                }
                self.owes |= {debts[type(command)]} if type(command) in debts else set()

    # What is out of joint.

    def flaws(self) -> list[str]:
        """What this moment should not be like."""
        state, found = self.call.state, dict[str, bool]()
        steps = {"hook", "speech", "ready", "message"} & self.owes
        found["waits for a session that nobody opens"] = state is CallState.PREPARING and self.session != "opening"
        found["opens a session and does not wait for it"] = state is not CallState.PREPARING and (
            self.session == "opening" and state is not CallState.ENDED
        )
        found["talks without a session"] = state is CallState.TALKING and self.session != "open"
        found["talks and hears nothing"] = state is CallState.TALKING and not self.is_bridged
        found["performs a step that has no end"] = state is CallState.ACTING and not (
            steps or "playout" in self.owes or e.TimerName.STEP in self.timers
        )
        found["asks for consent without end"] = state is CallState.CONSENTING and not (
            "playout" in self.owes or e.TimerName.CONSENT in self.timers
        )
        found["awaits a last sentence without a limit"] = (
            state in LAST_SENTENCES and e.TimerName.ANNOUNCEMENT not in self.timers
        )
        found["transfers without an end"] = state is CallState.TRANSFERRING and not (
            {"refer", "target", "summary"} & self.owes or self.timers & set(WAYS_OF_A_TRANSFER)
        )
        left_behind = bool(steps) or self.listens or e.TimerName.STEP in self.timers
        found["has left a step and what it began"] = state not in (CallState.ACTING, CallState.ENDED) and left_behind
        is_answering = state not in (CallState.ANNOUNCING, CallState.TRANSFERRING, CallState.CLOSING, CallState.ENDED)
        found["lets the model wait for a tool"] = is_answering and self.session == "open" and bool(self.unanswered)
        return [flaw for flaw, holds in found.items() if holds]
