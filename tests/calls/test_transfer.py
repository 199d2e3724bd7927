"""A caller's way to a contact, target by target, without a telephone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.calls import events as e
from gateway.calls.transfers.refusal import Refusal
from gateway.calls.transfers.state import TransferState
from gateway.calls.transfers.transfer import JOIN_LIMIT_S, MAX_TRIES, RESULT_LIMIT_S, SEEK_S, WHISPER_LIMIT_S, Transfer
from gateway.dialplan.contacts import Acceptance, TransferMode
from gateway.dialplan.targets import parse_target

ONE, TWO = parse_target("sip:6001"), parse_target("sip:6002")
RING = e.TimerFired(timer=e.TimerName.RING)
RETRY = e.TimerFired(timer=e.TimerName.RETRY)
BUSY = e.TargetRefused(refusal=Refusal.BUSY, status=486, reason="Busy Here")
WAITING = e.PlayRinging(is_on=True)
CALLED = [e.CallTarget(target=ONE), e.StartTimer(timer=e.TimerName.RING, delay_s=15.0)]
AGAIN = [WAITING, e.CallTarget(target=TWO), e.StartTimer(timer=e.TimerName.RING, delay_s=15.0)]
QUIET = [e.StopTimer(timer=e.TimerName.RING), e.PlayRinging(is_on=False), e.ReleaseTarget()]
AWAIT_RESULT = e.StartTimer(timer=e.TimerName.JOIN, delay_s=RESULT_LIMIT_S)
SEEK = [e.SeekCaller(), e.StartTimer(timer=e.TimerName.JOIN, delay_s=SEEK_S)]
HAND_OVER = [
    e.StopTimer(timer=e.TimerName.RING),
    e.PlayRinging(is_on=False),
    e.HandOver(target=ONE),
    e.StartTimer(timer=e.TimerName.JOIN, delay_s=JOIN_LIMIT_S),
]


def reported(status: int, reason: str = "", *, is_final: bool = True) -> e.TransferReported:
    return e.TransferReported(status=status, reason=reason, is_final=is_final)


class Attempt:
    """A transfer that has begun; `states` are those it went through."""

    def __init__(self, mode: TransferMode, *targets: object, **terms: Any) -> None:
        self.states: list[TransferState] = []
        self.transfer = Transfer(
            contact="sales",
            targets=targets or (ONE,),  # type: ignore[arg-type]
            mode=mode,
            ring_s=15.0,
            on_state=lambda attempt: self.states.append(attempt.state),
            **terms,
        )
        self.begun = self.transfer.begin()

    def hear(self, *events: e.Event, is_fresh: bool = False) -> list[e.Command]:
        commands: list[e.Command] = []
        for event in events:
            commands = self.transfer.step(event, is_fresh=is_fresh)
        return commands


def blind(*targets: object) -> Attempt:
    return Attempt(TransferMode.BLIND, *targets)


def attended(*targets: object, **terms: Any) -> Attempt:
    return Attempt(TransferMode.ATTENDED, *targets, **terms)


def answered(*targets: object) -> Attempt:
    attempt = attended(*targets)
    assert attempt.hear(e.TargetProgressed(status=180), e.TargetAnswered()) == HAND_OVER
    return attempt


# Blind.


def test_blind_transfer_is_followed_from_202_to_its_result() -> None:
    attempt = blind()
    assert attempt.begun == [e.Refer(target=ONE)]
    attempt.hear(reported(202, is_final=False), reported(180, is_final=False), reported(200))
    assert [state.value for state in attempt.states] == ["requested", "accepted", "ringing", "handed-over"]
    assert attempt.transfer.is_over


def test_blind_transfer_goes_on_to_the_next_target_and_then_fails_with_the_last_reason() -> None:
    attempt = blind(ONE, TWO)
    assert attempt.hear(reported(486, "Busy Here")) == [e.Refer(target=TWO)]
    assert not attempt.transfer.is_over
    assert attempt.hear(reported(603, "Decline")) == []
    assert (attempt.transfer.is_over, attempt.transfer.state) == (True, TransferState.FAILED)
    assert (attempt.transfer.refusal, attempt.transfer.why) == (Refusal.DECLINED, "declined (603 Decline)")


def test_refer_without_a_result_has_timed_out() -> None:
    attempt = blind()
    attempt.hear(reported(202, is_final=False), reported(408, "no result in time"))
    assert (attempt.transfer.state, attempt.transfer.refusal) == (TransferState.TIMED_OUT, Refusal.TIMED_OUT)


@pytest.mark.parametrize("status", [400, 500])
def test_refer_that_came_too_early_is_sent_again_for_a_second_at_most(status: int) -> None:
    attempt = blind()
    for _ in range(MAX_TRIES - 1):
        assert attempt.hear(reported(status), is_fresh=True) == [e.StartTimer(timer=e.TimerName.RETRY, delay_s=0.2)]
        assert attempt.hear(RETRY, is_fresh=True) == [e.Refer(target=ONE)]
    assert attempt.hear(reported(status), is_fresh=True) == []
    assert attempt.transfer.state is TransferState.FAILED


def test_refer_refused_later_in_the_call_or_for_another_reason_is_not_repeated() -> None:
    for status, is_fresh in ((500, False), (503, True)):
        attempt = blind()
        attempt.hear(reported(status), is_fresh=is_fresh)
        assert attempt.transfer.state is TransferState.FAILED


def test_refer_that_was_accepted_and_then_found_too_early_is_sent_again() -> None:
    """Asterisk: 202, NOTIFY 100, NOTIFY 400."""
    attempt = blind()
    attempt.hear(reported(202, is_final=False), reported(100, is_final=False))
    assert attempt.hear(reported(400), is_fresh=True) == [e.StartTimer(timer=e.TimerName.RETRY, delay_s=0.2)]
    assert attempt.hear(RETRY, is_fresh=True) == [e.Refer(target=ONE)]
    attempt.hear(reported(202, is_final=False), reported(200))
    assert attempt.transfer.state is TransferState.HANDED_OVER


def test_refer_that_failed_after_ringing_is_not_repeated() -> None:
    attempt = blind()
    attempt.hear(reported(180, is_final=False), reported(500, "Server Error"), is_fresh=True)
    assert attempt.transfer.state is TransferState.FAILED


# Attended.


def test_attended_transfer_calls_the_target_and_lets_the_caller_hear_it_ring() -> None:
    attempt = attended()
    assert attempt.begun == [WAITING, *CALLED]
    assert attempt.hear(e.TargetProgressed(status=100)) == []
    assert attempt.hear(e.TargetProgressed(status=180)) == []
    assert attempt.hear(e.TargetProgressed(status=183)) == []
    assert attempt.transfer.state is TransferState.RINGING


def test_answered_is_said_when_the_target_has_picked_up_and_handed_over_when_the_pbx_has_joined_them() -> None:
    attempt = answered()
    assert attempt.transfer.state is TransferState.ANSWERED
    assert attempt.hear(reported(202, is_final=False), reported(180, is_final=False)) == []
    assert not attempt.transfer.is_over
    attempt.hear(reported(200))
    assert [state.value for state in attempt.states] == ["requested", "ringing", "answered", "handed-over"]


def test_target_that_is_busy_is_let_go_and_the_next_one_is_called() -> None:
    attempt = attended(ONE, TWO)
    commands = attempt.hear(e.TargetProgressed(status=180), BUSY)
    assert commands == [QUIET[0], QUIET[2], *AGAIN], "the caller goes on hearing that it rings"
    assert attempt.hear(BUSY) == QUIET
    assert (attempt.transfer.state, attempt.transfer.why) == (TransferState.FAILED, "busy (486 Busy Here)")


def test_target_that_does_not_answer_in_its_time_is_no_answer() -> None:
    attempt = attended()
    assert attempt.hear(e.TargetProgressed(status=180), RING) == QUIET
    assert (attempt.transfer.state, attempt.transfer.refusal) == (TransferState.TIMED_OUT, Refusal.NO_ANSWER)


@pytest.mark.parametrize("status", [403, 408, 501])
def test_pbx_that_joins_nobody_leaves_both_to_us(status: int) -> None:
    attempt = answered()
    assert attempt.hear(reported(status)) == []
    assert (attempt.transfer.is_over, attempt.transfer.state) == (True, TransferState.BRIDGED)


def test_pbx_that_joins_nobody_in_time_leaves_both_to_us_unless_the_contact_has_left() -> None:
    expired = e.TimerFired(timer=e.TimerName.JOIN)
    attempt = answered()
    attempt.hear(expired)
    assert (attempt.transfer.is_over, attempt.transfer.state) == (True, TransferState.BRIDGED)
    left = answered()
    assert left.hear(e.TargetLeft()) == [AWAIT_RESULT]
    assert left.hear(expired) == SEEK
    assert left.transfer.state is TransferState.RELEASED
    assert left.hear(reported(408)) == QUIET


def test_a_caller_who_is_heard_when_the_contact_has_left_and_no_pbx_reports_is_back() -> None:
    expired = e.TimerFired(timer=e.TimerName.JOIN)
    attempt = answered(ONE, TWO)
    assert attempt.hear(e.TargetLeft(), expired) == SEEK
    assert attempt.hear(expired) == [WAITING, *SEEK], "whoever is not heard at once hears that something goes on"
    assert attempt.hear(e.CallerFound()) == [QUIET[0], QUIET[2], *AGAIN]
    assert attempt.hear(e.TargetAnswered(), e.TargetLeft(), expired) == SEEK, "each contact anew"
    assert attempt.hear(e.CallerFound()) == QUIET
    assert (attempt.transfer.refusal, attempt.transfer.why) == (Refusal.DECLINED, "declined (hung up)")
    moved = answered()
    assert moved.hear(e.CallerFound()) == []
    moved.hear(e.TargetLeft(), expired, reported(200))
    assert moved.transfer.state is TransferState.HANDED_OVER, "a result counts as long as nobody is heard"


def test_hand_over_that_came_too_early_is_tried_again() -> None:
    attempt = answered()
    assert attempt.hear(reported(500)) == [e.StartTimer(timer=e.TimerName.RETRY, delay_s=0.2)]
    assert attempt.hear(RETRY) == [e.HandOver(target=ONE)]


def test_end_of_the_consultation_is_no_failure_before_the_result_is_known() -> None:
    """A PBX ends it when it has joined caller and target, and may do so before it reports."""
    attempt = answered()
    assert attempt.hear(e.TargetLeft()) == [AWAIT_RESULT]
    assert not attempt.transfer.is_over
    attempt.hear(reported(200))
    assert attempt.transfer.state is TransferState.HANDED_OVER


def test_target_that_hangs_up_before_the_hand_over_has_failed() -> None:
    attempt = answered()
    attempt.hear(e.TargetLeft(), reported(410, "the contact hung up"))
    assert attempt.transfer.state is TransferState.FAILED
    pausing = answered()
    pausing.hear(reported(500), e.TargetLeft())
    assert pausing.hear(RETRY) == QUIET
    assert pausing.transfer.state is TransferState.FAILED


def test_caller_who_leaves_takes_the_targets_call_along() -> None:
    for attempt in (attended(), answered()):
        assert attempt.transfer.leave() == [e.ReleaseTarget()]
        assert attempt.transfer.state is TransferState.CALLER_GONE
        assert attempt.transfer.why == "the caller hung up"
    referred = blind()
    assert referred.transfer.leave() == []
    assert referred.transfer.state is TransferState.CALLER_GONE


def test_a_call_that_is_ended_otherwise_is_not_said_to_be_hung_up_by_the_caller() -> None:
    for attempt in (attended(), answered(), whispering(), blind()):
        released = [] if attempt.transfer.mode is TransferMode.BLIND else [e.ReleaseTarget()]
        assert attempt.transfer.abandon("drain") == released
        assert (attempt.transfer.state, attempt.transfer.why) == (TransferState.CALL_ENDED, "the call was ended: drain")


def test_hand_over_that_fell_with_the_callers_call_joins_nobody() -> None:
    for status in (481, 487):
        attempt = answered(ONE, TWO)
        assert attempt.hear(reported(status)) == [e.ReleaseTarget()]
        assert (attempt.transfer.is_over, attempt.transfer.state) == (True, TransferState.CALLER_GONE)
        assert str(status) in attempt.transfer.why


def test_news_of_another_kind_change_nothing() -> None:
    attempt = answered()
    assert attempt.hear(RING, BUSY, e.TargetAnswered(), e.PlayoutEnded()) == []
    assert attempt.transfer.state is TransferState.ANSWERED


# Warm.


PRESSED_1, PRESSED_2 = e.TargetPressed(digit="1"), e.TargetPressed(digit="2")
ACCEPT = e.TimerFired(timer=e.TimerName.ACCEPT)
WHISPER = [
    e.Whisper(acceptance=Acceptance()),
    e.StartTimer(timer=e.TimerName.ACCEPT, delay_s=WHISPER_LIMIT_S),
]
WARM_QUIET = [QUIET[0], e.StopTimer(timer=e.TimerName.ACCEPT), *QUIET[1:]]


def warm(*targets: object, **terms: Any) -> Attempt:
    return Attempt(TransferMode.WARM, *targets, **terms)


def whispering(*targets: object, **terms: Any) -> Attempt:
    attempt = warm(*targets, **terms)
    commands = attempt.hear(e.TargetProgressed(status=180), e.TargetAnswered())
    assert commands == [e.StopTimer(timer=e.TimerName.RING), *WHISPER]
    return attempt


def test_whoever_picks_up_hears_who_calls_while_the_caller_goes_on_waiting() -> None:
    attempt = whispering()
    assert attempt.transfer.state is TransferState.WHISPERING
    assert not attempt.transfer.is_over


def test_a_contact_who_takes_the_call_by_a_key_is_joined_with_the_caller() -> None:
    attempt = whispering()
    assert attempt.hear(PRESSED_1) == [e.StopTimer(timer=e.TimerName.ACCEPT), *HAND_OVER[1:]]
    attempt.hear(reported(200))
    assert [state.value for state in attempt.states] == [
        "requested",
        "ringing",
        "whispering",
        "answered",
        "handed-over",
    ]


def test_a_contact_who_refuses_by_a_key_or_hangs_up_gives_way_to_the_next() -> None:
    for news, why in ((PRESSED_2, "declined (by a key)"), (e.TargetLeft(), "declined (hung up)")):
        attempt = whispering(ONE, TWO)
        assert attempt.hear(news) == [*WARM_QUIET[:2], WARM_QUIET[3], *AGAIN]
        assert attempt.hear(e.TargetAnswered(), news) == WARM_QUIET
        assert (attempt.transfer.state, attempt.transfer.why) == (TransferState.FAILED, why)
        assert attempt.transfer.refusal is Refusal.DECLINED


def test_whoever_presses_no_key_is_told_once_more_and_has_then_not_answered() -> None:
    """An answering machine never does."""
    attempt = whispering()
    waiting = [e.StartTimer(timer=e.TimerName.ACCEPT, delay_s=5.0)]
    assert attempt.hear(e.WhisperEnded()) == waiting
    assert attempt.hear(ACCEPT) == WHISPER
    assert attempt.hear(e.WhisperEnded()) == waiting
    assert attempt.hear(ACCEPT) == WARM_QUIET
    assert (attempt.transfer.state, attempt.transfer.refusal) == (TransferState.TIMED_OUT, Refusal.NO_ANSWER)
    assert attempt.transfer.why == "no answer (no key was pressed)"


def test_a_whisper_that_never_ends_is_not_waited_for() -> None:
    attempt = whispering()
    assert attempt.hear(ACCEPT) == WHISPER
    assert attempt.hear(ACCEPT) == WARM_QUIET


def test_other_keys_and_late_news_are_no_answer() -> None:
    attempt = whispering()
    for news in (e.TargetPressed(digit="5"), RING, e.SummaryReady(), e.TargetProgressed(status=180)):
        assert attempt.hear(news) == []
    assert attempt.transfer.state is TransferState.WHISPERING


def test_the_plan_chooses_keys_and_time() -> None:
    attempt = warm(acceptance=Acceptance(key="#", refuse="*", wait_s=4))
    attempt.hear(e.TargetAnswered(), PRESSED_1)
    assert attempt.transfer.state is TransferState.WHISPERING
    assert attempt.hear(e.WhisperEnded()) == [e.StartTimer(timer=e.TimerName.ACCEPT, delay_s=2.0)]
    attempt.hear(e.TargetPressed(digit="#"))
    assert attempt.transfer.state is TransferState.ANSWERED


def test_keys_that_come_when_nobody_is_asked_change_nothing() -> None:
    for attempt in (attended(), answered(), warm()):
        before = attempt.transfer.state
        assert attempt.hear(PRESSED_1, PRESSED_2, ACCEPT, e.WhisperEnded()) == []
        assert attempt.transfer.state is before


def test_a_caller_who_leaves_while_the_contact_is_told_takes_their_call_along() -> None:
    attempt = whispering()
    assert attempt.transfer.leave() == [e.ReleaseTarget()]
    assert attempt.transfer.state is TransferState.CALLER_GONE


def test_music_is_heard_from_the_beginning_and_in_place_of_the_ring_back_tone() -> None:
    music = e.PlayRinging(is_on=True, music=Path("hold.wav"))
    attempt = warm(ONE, TWO, music=music.music)
    assert attempt.begun == [music, *CALLED]
    assert attempt.hear(e.TargetProgressed(status=180)) == []
    assert attempt.hear(BUSY)[-3:] == [music, e.CallTarget(target=TWO), CALLED[1]]


def test_nobody_is_called_before_the_summary_that_goes_along_is_there() -> None:
    attempt = attended(ONE, TWO, awaits_summary=True)
    assert attempt.begun == [WAITING, e.AwaitSummary()]
    assert attempt.hear(e.SummaryReady()) == CALLED
    attempt.hear(e.TargetProgressed(status=180))
    assert attempt.hear(e.SummaryReady()) == []
    assert attempt.hear(BUSY)[-1] == e.AwaitSummary()


def test_a_contact_at_another_pbx_is_joined_by_us_at_once() -> None:
    for attempt, last in ((attended(trunk="mobile"), e.TargetAnswered()), (warm(trunk="mobile"), PRESSED_1)):
        [_, called, _] = attempt.begun
        assert called == e.CallTarget(target=ONE, trunk="mobile")
        commands = attempt.hear(e.TargetAnswered(), last)
        assert not any(isinstance(command, e.HandOver) for command in commands)
        assert (attempt.transfer.is_over, attempt.transfer.state) == (True, TransferState.BRIDGED)
        assert TransferState.ANSWERED in attempt.states


def test_which_attempt_is_the_last_is_told() -> None:
    lasts: list[tuple[TransferState, bool]] = []
    transfer = Transfer(
        contact="sales",
        targets=(ONE, TWO),
        mode=TransferMode.WARM,
        ring_s=15.0,
        on_state=lambda attempt: lasts.append((attempt.state, attempt.is_last)),
    )
    transfer.begin()
    transfer.step(BUSY, is_fresh=False)
    transfer.step(BUSY, is_fresh=False)
    requested, failed = TransferState.REQUESTED, TransferState.FAILED
    assert lasts == [(requested, False), (failed, False), (requested, True), (failed, True)]
