"""The states of one attempt to transfer a caller, as a table."""

from __future__ import annotations

import pytest

from gateway.calls.transfers.state import TRANSFER_TRANSITIONS, TransferNews, TransferState
from gateway.dialplan.contacts import TransferMode

FINAL = {
    TransferState.HANDED_OVER,
    TransferState.BRIDGED,
    TransferState.FAILED,
    TransferState.TIMED_OUT,
    TransferState.CALLER_GONE,
    TransferState.CALL_ENDED,
}


def reachable(mode: TransferMode) -> set[TransferState]:
    found, waiting = {TransferState.REQUESTED}, [TransferState.REQUESTED]
    while waiting:
        here = waiting.pop()
        fresh = {there for (m, state, _), there in TRANSFER_TRANSITIONS.items() if (m, state) == (mode, here)} - found
        found |= fresh
        waiting += fresh
    return found


def test_blind_transfers_never_claim_that_a_human_answered() -> None:
    states = reachable(TransferMode.BLIND)
    human = {TransferState.WHISPERING, TransferState.ANSWERED, TransferState.BRIDGED, TransferState.RELEASED}
    assert not states & human
    assert states >= {TransferState.RINGING, *FINAL - {TransferState.BRIDGED}}


def test_warm_transfers_reach_every_state_and_attended_ones_all_but_the_whisper() -> None:
    assert reachable(TransferMode.WARM) == set(TransferState)
    assert reachable(TransferMode.ATTENDED) == set(TransferState) - {TransferState.WHISPERING}


@pytest.mark.parametrize("mode", [TransferMode.ATTENDED, TransferMode.WARM])
def test_a_caller_is_handed_over_in_attendance_only_after_a_human_has_answered(mode: TransferMode) -> None:
    before = {
        state
        for (m, state, _), there in TRANSFER_TRANSITIONS.items()
        if m is mode and there is TransferState.HANDED_OVER
    }
    assert before == {TransferState.ANSWERED, TransferState.RELEASED}


def test_a_warm_transfer_gets_to_a_human_by_a_key_alone() -> None:
    ways = {
        (state, news)
        for (mode, state, news), there in TRANSFER_TRANSITIONS.items()
        if mode is TransferMode.WARM and there is TransferState.ANSWERED
    }
    assert ways == {(TransferState.WHISPERING, TransferNews.TAKEN)}


@pytest.mark.parametrize("mode", TransferMode)
def test_the_caller_may_leave_wherever_something_is_awaited_and_an_end_stays_the_end(mode: TransferMode) -> None:
    for state in reachable(mode):
        rows = {news for (m, s, news) in TRANSFER_TRANSITIONS if (m, s) == (mode, state)}
        for news in (TransferNews.CALLER_LEFT, TransferNews.CALL_ENDED):
            assert (news in rows) == (state not in FINAL)
        assert not rows or state not in FINAL
