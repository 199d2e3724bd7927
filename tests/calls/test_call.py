"""The call's state machine, without telephone, model or clock."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import CALL_TRANSITIONS, Call, CallState
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, Dialplan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 20, 23, tzinfo=UTC)

PLAN = """
version: 1
name: test
timezone: UTC
hours:
  office: {mon-fri: "09:00-17:00"}
contacts:
  sales: {dial: [sip:6001, sip:6002]}
  day: {dial: [sip:6003], when: office}
sessions:
  reception: {use: default, greeting: "Hello.", instructions: "Be kind.", tools: [transfer, hang_up]}
routes:
  - {name: talk, match: {to: "7000"}, do: [{session: reception}]}
  - {name: no, match: {to: "7001"}, do: [{reject: 603}]}
  - {name: forward, match: {to: "7002"}, do: [{transfer: sales}]}
  - {name: forward-or-talk, match: {to: "7003"}, do: [{transfer: sales}, {session: reception}]}
  - {name: go, do: [{hang_up: true}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
"""
FALLBACK = "  - {name: down, when: {provider_down: true}, do: [{transfer: sales}]}\n"


def plan_of(tmp_path: Path, text: str = PLAN) -> Dialplan:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    return load_dialplan(file)


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return plan_of(tmp_path)


def call_to(plan: Dialplan, number: str, at: datetime = NOON) -> Call:
    actions = plan.decide(CallFacts(to=number, from_="1001", at=at)).actions
    return Call(plan=plan, actions=actions)


def feed(call: Call, *events: e.Event, at: datetime = NOON) -> list[e.Command]:
    """Step through `events`; the commands of the last one."""
    commands: list[e.Command] = []
    for event in events:
        commands = call.step(event, at)
    return commands


def talking(plan: Dialplan) -> Call:
    call = call_to(plan, "7000")
    feed(call, e.Started(), e.SessionOpened(), e.Established())
    assert call.state is CallState.TALKING
    return call


SETTLED = e.TimerFired(timer=e.TimerName.ANNOUNCEMENT)
"""The pause between ACK and REFER is over."""


def transfer(contact: object) -> e.ToolAsked:
    return e.ToolAsked(call_id="c1", name="transfer", arguments={"contact": contact})


def referred(commands: list[e.Command]) -> list[str]:
    return [str(command.target) for command in commands if isinstance(command, e.Refer)]


def test_caller_is_answered_only_when_the_session_is_open(plan: Dialplan) -> None:
    call = call_to(plan, "7000")
    assert call.step(e.Started(), NOON) == [e.Ring(), e.OpenSession(name="reception")]
    assert call.step(e.SessionOpened(), NOON) == [e.Answer()]
    assert call.step(e.Established(), NOON)[1:] == [e.BridgeAudio(is_open=True), e.Greet()]


def test_route_that_rejects_sends_its_status_and_nothing_else(plan: Dialplan) -> None:
    call = call_to(plan, "7001")
    assert call.step(e.Started(), NOON) == [e.Reject(status=603)]
    assert call.notes.outcome is e.Outcome.REJECTED


def test_hang_up_of_a_call_not_answered_is_a_rejection(plan: Dialplan) -> None:
    assert call_to(plan, "9").step(e.Started(), NOON) == [e.Reject(status=480)]


def test_session_that_cannot_be_opened_without_fallback_is_503_with_retry_after(plan: Dialplan) -> None:
    call = call_to(plan, "7000")
    commands = feed(call, e.Started(), e.SessionLost(reason="no key"))
    assert commands == [e.Reject(status=503, retry_after_s=10)]
    assert (call.notes.outcome, call.notes.cause) == (e.Outcome.FAILED, "no key")


def test_session_that_cannot_be_opened_takes_the_fallback_of_the_dialplan(tmp_path: Path) -> None:
    call = call_to(plan_of(tmp_path, PLAN + FALLBACK), "7000")
    assert feed(call, e.Started(), e.SessionLost(reason="gone"))[-1] == e.Answer()
    assert referred(feed(call, e.Established(), SETTLED)) == ["sip:6001"]
    assert call.notes.escalations == ["down"]


def test_session_lost_while_talking_takes_the_fallback_once(tmp_path: Path) -> None:
    call = talking(plan_of(tmp_path, PLAN + FALLBACK))
    assert referred(call.step(e.SessionLost(reason="gone"), NOON)) == ["sip:6001"]
    busy = e.TransferReported(status=486, reason="Busy Here", is_final=True)
    assert referred(call.step(busy, NOON)) == ["sip:6002"]
    assert call.step(busy, NOON) == [e.HangUp()]


def test_session_lost_while_talking_without_fallback_hangs_up(plan: Dialplan) -> None:
    commands = talking(plan).step(e.SessionLost(reason="gone"), NOON)
    assert [type(command) for command in commands] == [e.HangUp]


def test_speech_of_the_caller_silences_the_model(plan: Dialplan) -> None:
    assert talking(plan).step(e.CallerSpoke(), NOON) == [e.BargeIn()]


def test_transfer_by_the_model_waits_for_its_sentence_then_refers(plan: Dialplan) -> None:
    call = talking(plan)
    commands = call.step(transfer("sales"), NOON)
    assert e.AwaitPlayout() in commands
    assert not referred(commands)
    assert referred(call.step(e.PlayoutEnded(), NOON)) == ["sip:6001"]


def test_transfer_does_not_wait_for_ever_for_the_sentence(plan: Dialplan) -> None:
    call = talking(plan)
    call.step(transfer("sales"), NOON)
    assert referred(call.step(e.TimerFired(timer=e.TimerName.ANNOUNCEMENT), NOON)) == ["sip:6001"]


def test_interrupting_the_announcing_sentence_does_not_cancel_the_transfer(plan: Dialplan) -> None:
    call = talking(plan)
    call.step(transfer("sales"), NOON)
    assert call.step(e.CallerSpoke(), NOON) == [e.BargeIn()]
    assert referred(call.step(e.PlayoutEnded(), NOON)) == ["sip:6001"]


@pytest.mark.parametrize("contact", ["+4990123456", "sip:6001", "Sales", "", None, 7, ["sales"], {"a": 1}])
def test_model_can_reach_nobody_that_the_dialplan_does_not_name(plan: Dialplan, contact: object) -> None:
    call = talking(plan)
    commands = call.step(transfer(contact), NOON)
    reply = next(command for command in commands if isinstance(command, e.ReplyToTool))
    assert reply.output["status"] == "failed"
    assert call.state is CallState.TALKING
    assert not referred(feed(call, e.PlayoutEnded(), e.TimerFired(timer=e.TimerName.ANNOUNCEMENT)))


def test_contact_outside_its_hours_is_not_dialled_and_the_model_is_told(plan: Dialplan) -> None:
    call = talking(plan)
    commands = call.step(transfer("day"), NIGHT)
    assert any(isinstance(command, e.ReplyToTool) for command in commands)
    assert call.state is CallState.TALKING


def test_accepted_transfer_is_not_yet_a_success(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, transfer("sales"), e.PlayoutEnded())
    assert call.step(e.TransferReported(status=202, reason="Accepted", is_final=False), NOON) == []
    assert call.state is CallState.REFERRING


def test_successful_transfer_ends_in_our_bye(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, transfer("sales"), e.PlayoutEnded())
    assert call.step(e.TransferReported(status=200, reason="OK", is_final=True), NOON) == [e.HangUp()]
    assert (call.notes.outcome, call.notes.transfer_target) == (e.Outcome.TRANSFERRED, "sales")


def test_failed_transfer_tries_the_next_target_then_returns_to_the_model_which_is_told_why(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, transfer("sales"), e.PlayoutEnded())
    busy = e.TransferReported(status=486, reason="Busy Here", is_final=True)
    assert referred(call.step(busy, NOON)) == ["sip:6002"]
    commands = call.step(busy, NOON)
    reply = next(command for command in commands if isinstance(command, e.ReplyToTool))
    assert reply.call_id == "c1"
    assert "busy" in str(reply.output["reason"])
    assert e.BridgeAudio(is_open=True) in commands
    assert call.state is CallState.TALKING


def test_caller_audio_does_not_reach_the_model_while_the_pbx_moves_the_caller(plan: Dialplan) -> None:
    call = talking(plan)
    assert e.BridgeAudio(is_open=False) in feed(call, transfer("sales"), e.PlayoutEnded())


def test_session_lost_during_a_transfer_is_missed_when_the_transfer_fails(tmp_path: Path) -> None:
    call = talking(plan_of(tmp_path, PLAN + FALLBACK))
    feed(call, transfer("sales"), e.PlayoutEnded(), e.SessionLost(reason="gone"))
    busy = e.TransferReported(status=486, reason="Busy Here", is_final=True)
    call.step(busy, NOON)
    assert referred(call.step(busy, NOON)) == ["sip:6001"]
    assert call.notes.escalations == ["down"]


def test_digit_of_an_escalation_transfers_at_once(plan: Dialplan) -> None:
    call = talking(plan)
    commands = call.step(e.DigitReceived(digit="0"), NOON)
    assert referred(commands) == ["sip:6001"]
    assert e.BargeIn() in commands
    assert call.notes.escalations == ["zero"]


def test_other_digits_are_told_to_the_model_after_a_pause(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, e.DigitReceived(digit="4"), e.DigitReceived(digit="2"))
    told = call.step(e.TimerFired(timer=e.TimerName.DIGITS), NOON)
    assert [type(command) for command in told] == [e.TellModel]
    assert "4 2" in told[0].text  # type: ignore[union-attr]
    assert call.step(e.TimerFired(timer=e.TimerName.DIGITS), NOON) == []


def test_transfer_without_a_session_is_answered_first(plan: Dialplan) -> None:
    call = call_to(plan, "7002")
    assert call.step(e.Started(), NOON) == [e.Answer()]
    assert not referred(call.step(e.Established(), NOON))  # Asterisk is still bridging
    assert referred(call.step(SETTLED, NOON)) == ["sip:6001"]


def test_failed_transfer_without_a_session_goes_on_with_the_next_action(plan: Dialplan) -> None:
    call = call_to(plan, "7003")
    feed(call, e.Started(), e.Established(), SETTLED)
    declined = e.TransferReported(status=603, reason="Decline", is_final=True)
    commands = feed(call, declined, declined)
    assert commands == [e.OpenSession(name="reception")]
    assert call.step(e.SessionOpened(), NOON)[-1] == e.Greet()


def test_failed_transfer_with_nothing_behind_it_hangs_up(plan: Dialplan) -> None:
    call = call_to(plan, "7002")
    feed(call, e.Started(), e.Established(), SETTLED)
    declined = e.TransferReported(status=603, reason="Decline", is_final=True)
    assert feed(call, declined, declined) == [e.HangUp()]


def test_model_hangs_up_after_its_sentence(plan: Dialplan) -> None:
    call = talking(plan)
    assert e.AwaitPlayout() in call.step(e.ToolAsked(call_id="c2", name="hang_up", arguments={}), NOON)
    assert call.step(e.PlayoutEnded(), NOON) == [e.HangUp()]


def test_digit_of_an_escalation_works_while_the_model_says_goodbye(plan: Dialplan) -> None:
    call = talking(plan)
    call.step(e.ToolAsked(call_id="c2", name="hang_up", arguments={}), NOON)
    assert referred(call.step(e.DigitReceived(digit="0"), NOON)) == ["sip:6001"]


@pytest.mark.parametrize("tool", ["transfer", "hang_up"])
def test_digits_pressed_before_do_not_cut_the_last_sentence(plan: Dialplan, tool: str) -> None:
    call = talking(plan)
    call.step(e.DigitReceived(digit="5"), NOON)
    commands = call.step(e.ToolAsked(call_id="c2", name=tool, arguments={"contact": "sales"}), NOON)
    assert e.StopTimer(timer=e.TimerName.DIGITS) in commands
    assert call.step(e.TimerFired(timer=e.TimerName.DIGITS), NOON) == []
    assert call.step(e.TimerFired(timer=e.TimerName.ANNOUNCEMENT), NOON) != []


def test_call_has_a_longest_duration(plan: Dialplan) -> None:
    actions = plan.decide(CallFacts(to="7000", from_="1001", at=NOON)).actions
    call = Call(plan=plan, actions=actions, max_call_s=60)
    commands = feed(call, e.Started(), e.SessionOpened(), e.Established())
    assert e.StartTimer(timer=e.TimerName.LIMIT, delay_s=60) in commands
    assert call.step(e.TimerFired(timer=e.TimerName.LIMIT), NOON) == [e.HangUp()]
    assert call.notes.cause == "limits.max_call"


def test_caller_who_sends_nothing_any_more_is_let_go_but_not_while_the_pbx_moves_them(plan: Dialplan) -> None:
    call = talking(plan)
    assert [type(command) for command in call.step(e.MediaLost(), NOON)] == [e.HangUp]
    assert call.notes.outcome is e.Outcome.FAILED
    moving = talking(plan)
    feed(moving, transfer("sales"), e.PlayoutEnded())
    assert moving.step(e.MediaLost(), NOON) == []


def test_command_that_fails_ends_the_call_with_bye_or_500(plan: Dialplan) -> None:
    call = talking(plan)
    assert [type(command) for command in call.step(e.CommandFailed(reason="no file"), NOON)] == [e.HangUp]
    assert (call.notes.outcome, call.notes.cause) == (e.Outcome.FAILED, "no file")
    ringing = call_to(plan, "7000")
    assert feed(ringing, e.Started(), e.CommandFailed(reason="x")) == [e.Reject(status=500)]


def test_failed_transfer_by_a_key_is_told_in_words_also_after_one_by_the_model(plan: Dialplan) -> None:
    call = talking(plan)
    busy = e.TransferReported(status=486, reason="Busy Here", is_final=True)
    feed(call, transfer("sales"), e.PlayoutEnded(), busy, busy)
    commands = feed(call, e.DigitReceived(digit="0"), busy, busy)
    assert [type(command) for command in commands] == [e.BridgeAudio, e.TellModel]


def test_provider_down_is_answered_once_not_in_circles(tmp_path: Path) -> None:
    down = "  - {name: down, when: {provider_down: true}, do: [{session: reception}]}\n"
    call = call_to(plan_of(tmp_path, PLAN + down), "7000")
    assert e.OpenSession(name="reception") in feed(call, e.Started(), e.SessionLost(reason="gone"))
    assert call.step(e.SessionLost(reason="gone"), NOON) == [e.Reject(status=503, retry_after_s=10)]


def test_unknown_tool_is_refused_and_the_call_goes_on(plan: Dialplan) -> None:
    call = talking(plan)
    commands = call.step(e.ToolAsked(call_id="c3", name="dial", arguments={"number": "+49"}), NOON)
    assert [type(command) for command in commands] == [e.ReplyToTool]
    assert call.state is CallState.TALKING


def test_tool_that_the_session_was_not_given_is_refused(tmp_path: Path) -> None:
    call = talking(plan_of(tmp_path, PLAN.replace("tools: [transfer, hang_up]", "tools: [hang_up]")))
    assert [type(command) for command in call.step(transfer("sales"), NOON)] == [e.ReplyToTool]
    assert call.state is CallState.TALKING


def test_second_transfer_while_one_is_under_way_is_refused(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, transfer("sales"), e.PlayoutEnded())
    commands = call.step(transfer("day"), NOON)
    assert [type(command) for command in commands] == [e.ReplyToTool]
    assert call.state is CallState.REFERRING


@pytest.mark.parametrize("state", [state for state in CallState if state is not CallState.ENDED])
def test_caller_may_leave_and_the_gateway_may_stop_in_every_state(state: CallState) -> None:
    assert (state, e.CallerLeft) in CALL_TRANSITIONS
    assert {(state, e.DrainBegan), (state, e.DrainEnded)} <= CALL_TRANSITIONS.keys()


def test_caller_who_gives_up_while_ringing_cancelled(plan: Dialplan) -> None:
    call = call_to(plan, "7000")
    assert feed(call, e.Started(), e.CallerLeft(cause="cancelled")) == []
    assert call.notes.outcome is e.Outcome.CANCELLED


def test_draining_ends_a_conversation_with_bye_and_a_ringing_call_with_503(plan: Dialplan) -> None:
    assert [type(command) for command in talking(plan).step(e.DrainEnded(), NOON)] == [e.HangUp]
    call = call_to(plan, "7000")
    assert feed(call, e.Started(), e.DrainEnded()) == [e.Reject(status=503, retry_after_s=10)]


def test_a_draining_gateway_begins_no_transfer_and_the_caller_stays_with_the_model(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, e.DrainBegan())
    commands = call.step(transfer("sales"), NOON)
    assert referred(commands) == []
    (told,) = [command for command in commands if isinstance(command, e.ReplyToTool)]
    assert told.output["status"] == "failed"
    assert call.state is CallState.TALKING


def test_a_transfer_that_is_under_way_survives_the_beginning_of_a_drain(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, transfer("sales"), e.PlayoutEnded(), e.DrainBegan())
    assert call.state is CallState.REFERRING
    feed(call, e.TransferReported(status=200, reason="OK", is_final=True))
    assert call.notes.outcome is e.Outcome.TRANSFERRED


def test_nothing_happens_after_the_end(plan: Dialplan) -> None:
    call = talking(plan)
    feed(call, e.CallerLeft(cause="remote_bye"))
    late = (e.SessionOpened(), e.Established(), e.PlayoutEnded(), transfer("sales"), e.DrainEnded())
    assert [call.step(event, NOON) for event in late] == [[]] * 5
    assert call.notes.outcome is e.Outcome.CALLER_HUNG_UP


def test_every_change_of_state_is_told_once(plan: Dialplan) -> None:
    seen: list[tuple[CallState, CallState]] = []
    actions = plan.decide(CallFacts(to="7000", from_="1001", at=NOON)).actions
    call = Call(plan=plan, actions=actions, on_state=lambda old, new: seen.append((old, new)))
    feed(call, e.Started(), e.SessionOpened(), e.Established(), e.CallerSpoke())
    assert [new.value for _, new in seen] == ["preparing", "answering", "talking"]
