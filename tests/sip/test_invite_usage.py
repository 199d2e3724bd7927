"""The states of a leg, as a table (RFC 5057's INVITE usage)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import StateError
from gateway.sip.invite_usage import COMMANDS, TRANSITIONS, InviteUsage, LegState
from gateway.sip.message import Uri
from gateway.sip.replaces import Replaces
from tests.support.calls import RunningCall, placed_call, taken_call


def usage_in(state: LegState) -> InviteUsage:
    call = taken_call()
    usage = call.user_agent._legs.get(call.leg_id).usage
    usage.state = state
    return usage


def test_every_state_leads_to_the_end() -> None:
    def reachable(start: LegState) -> set[LegState]:
        found, waiting = {start}, [start]
        while waiting:
            fresh = set(TRANSITIONS[waiting.pop()]) - found
            found |= fresh
            waiting += fresh
        return found

    assert set(TRANSITIONS) == set(LegState)
    assert all(LegState.ENDED in reachable(state) for state in LegState)
    assert TRANSITIONS[LegState.ENDED] == frozenset()


@pytest.mark.parametrize("state", LegState)
def test_no_other_way_than_those_of_the_table_is_open(state: LegState) -> None:
    for target in LegState:
        usage = usage_in(state)
        if target in TRANSITIONS[state]:
            usage.enter(target)
            assert usage.state is target
        else:
            with pytest.raises(StateError):
                usage.enter(target)
            assert usage.state is state


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_taken_in_their_states_only(command: str) -> None:
    for state in LegState:
        usage = usage_in(state)
        if state in COMMANDS[command]:
            usage.check_command(command)
        else:
            with pytest.raises(StateError, match=command):
                usage.check_command(command)


def test_bye_is_taken_in_every_state() -> None:
    """It may cross the event that tells of the end."""
    assert COMMANDS["bye"] == set(LegState)


@pytest.mark.parametrize("make", [taken_call, placed_call])
def test_the_replaces_value_names_the_dialog_as_the_peer_knows_it(make: Callable[[], RunningCall]) -> None:
    call = make()
    value = Replaces.parse(call.user_agent.replaces_value(call.leg_id))
    ours, theirs = (call.ok.from_, call.ok.to) if make is placed_call else (call.ok.to, call.ok.from_)
    assert (value.call_id, value.to_tag, value.from_tag) == (call.ok.call_id, theirs.tag, ours.tag)


def test_there_is_nothing_to_replace_before_the_answer() -> None:
    call = taken_call()
    leg_id = call.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=None, now=call.wire.now)
    with pytest.raises(StateError):
        call.user_agent.replaces_value(leg_id)
