"""The caller is to be connected with a contact: granted or not, announced, attempted, and what follows from it.

What happens within an attempt is `gateway.calls.transfers.transfer.Transfer`'s to decide.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import get_args

from gateway.calls.call_state import CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import (
    AskSummary,
    BridgeAudio,
    CloseSession,
    Command,
    Event,
    HangUp,
    JoinTarget,
    Outcome,
    PlayoutEnded,
    ReplyToTool,
    StopTimer,
    TargetLeft,
    TimerFired,
    TimerName,
)
from gateway.calls.events.transfer import TransferEvent
from gateway.calls.phases.conversing import back_to_session
from gateway.calls.transfers.state import TransferState
from gateway.calls.transfers.transfer import Transfer, TransferAttempt
from gateway.dialplan.actions import QueueAction, TransferAction, VoicemailAction
from gateway.dialplan.contacts import SummaryWay, TransferMode
from gateway.dialplan.model import TransferGranted

FRESH = timedelta(seconds=1)
"""How long after the answer a PBX may still be connecting the call, and refuse REFER for that alone."""


def start_action(call: Course, action: TransferAction | QueueAction, at: datetime) -> list[Command]:
    """The dialplan wants the caller to be connected."""
    if isinstance(action, QueueAction):
        return start_transfer(call, action.contact, at, announced=False, is_queue=True)
    number = "" if action.number is None else call.script.variables.text(action.number, at)
    return start_transfer(call, action.contact, at, announced=False, number=number)


def start_transfer(
    call: Course, contact: str, at: datetime, *, announced: bool, number: str = "", is_queue: bool = False
) -> list[Command]:
    """Begin with the contact's first target, or at `number` where it has a pattern.

    Into a queue the PBX is asked to put the caller, whatever the mode.
    """
    granted = call.grants.grant(contact, at, number, is_queue=is_queue)
    if isinstance(granted, str):
        mailbox = call.grants.mailbox(contact, at)
        follows = _leave_message(call, mailbox, at) if mailbox else _fail(call, granted, at)
        return [call.grants.note(contact, granted), *follows]
    call.transfer = _transfer(call, granted)
    known = call.plan.contacts[granted.contact]
    asking: list[Command] = []
    if known.webhook is not None or (known.ways and granted.mode is not TransferMode.BLIND):
        asking = [AskSummary(contact=known.name, mode=granted.mode)]
    if announced:
        call.enter(CallState.ANNOUNCING)
        return [*asking, *call.await_sentence()]
    return [*asking, *_begin(call, call.transfer)]


def _transfer(call: Course, granted: TransferGranted) -> Transfer:
    known = call.plan.contacts[granted.contact]

    def note(attempt: TransferAttempt) -> None:
        call.notes.transfer_state = attempt.state
        call.on_transfer(attempt)

    return Transfer(
        contact=granted.contact,
        targets=granted.targets,
        mode=granted.mode,
        ring_s=granted.ring_s,
        acceptance=known.acceptance,
        music=known.music,
        trunk=None if known.trunk == call.trunk else known.trunk,
        awaits_summary=SummaryWay.HEADER in known.ways and granted.mode is not TransferMode.BLIND,
        on_state=note,
    )


def _begin(call: Course, transfer: Transfer) -> list[Command]:
    call.notes.transfer_target = transfer.contact
    call.enter(CallState.TRANSFERRING)
    return [StopTimer(timer=TimerName.ANNOUNCEMENT), BridgeAudio(is_open=False), *transfer.begin()]


def _on_announced(call: Course, _event: PlayoutEnded | TimerFired, _at: datetime) -> list[Command]:
    assert call.transfer is not None  # noqa: S101 - made before ANNOUNCING is entered
    return _begin(call, call.transfer)


def _on_news(call: Course, event: Event, at: datetime) -> list[Command]:
    transfer = call.transfer
    if transfer is None:
        return []
    is_fresh = call.established_at is not None and at - call.established_at < FRESH
    commands = transfer.step(event, is_fresh=is_fresh)
    if not transfer.is_over:
        return commands
    match transfer.state:
        case TransferState.HANDED_OVER:
            return call.end(Outcome.TRANSFERRED, transfer.contact, *commands, HangUp())
        case TransferState.BRIDGED:
            call.enter(CallState.JOINED)
            return [*commands, *call.agreement.join_contact(call.record), CloseSession(), JoinTarget()]
        case _:
            call.transfer = None
            if mailbox := call.plan.contacts[transfer.contact].mailbox:
                return [*commands, *_leave_message(call, mailbox, at)]
            told = "" if transfer.refusal is None else transfer.refusal.value
            return commands + _fail(call, transfer.why, at, told)


def _fail(call: Course, why: str, at: datetime, in_our_words: str = "") -> list[Command]:
    """The caller is still here: on with the next action; the session that they come to, or back to, is told why.

    `why` may hold what the far end wrote, as a tool's result may; a message of ours says it `in_our_words`.
    """
    call.notes.transfer_target = None
    tool_call, call.tool_call = call.tool_call, None
    news = f"The transfer failed: {in_our_words or why}. Tell the caller, and offer other help."
    if tool_call is None or call.session is None:
        call.news.append(news)
        return call.go_on(at)
    told = ReplyToTool(call_id=tool_call, output={"status": "failed", "reason": why})
    return [*back_to_session(call, at), told]


def _leave_message(call: Course, mailbox: str, at: datetime) -> list[Command]:
    """Nobody was reached: the caller may leave a message, and does not go back to the model."""
    call.notes.transfer_target = call.tool_call = call.session = call.loss = None
    call.script.put_first((VoicemailAction(mailbox=mailbox),))
    return [CloseSession(), *call.go_on(at)]


def _on_target_left(call: Course, _event: TargetLeft, _at: datetime) -> list[Command]:
    return call.end(Outcome.TRANSFERRED, call.contact, HangUp())


_S = CallState
_NEWS = (
    *get_args(TransferEvent),
    TimerName.RING,
    TimerName.ACCEPT,
    TimerName.JOIN,
    TimerName.RETRY,
)
"""What an attempt hears of."""

TRANSFERRING: Transitions = {
    (_S.ANNOUNCING, PlayoutEnded): _on_announced,
    (_S.ANNOUNCING, TimerName.ANNOUNCEMENT): _on_announced,
    **{(_S.TRANSFERRING, news): _on_news for news in _NEWS},
    (_S.JOINED, TargetLeft): _on_target_left,
}
