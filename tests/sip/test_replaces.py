"""The Replaces header as a value (RFC 3891 6.1), and calls that take the place of another (RFC 3891 3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import MessageError
from gateway.sip.events import CallEnded, CallOffered, CallRefused, EndCause
from gateway.sip.hop import Hop
from gateway.sip.message import Request, Uri
from gateway.sip.replaces import Replaces
from tests.support.calls import RunningCall, placed_call, taken_call
from tests.support.wire import Wire, description, gateway_on, respond, scripted_on, trunk_options

Make = Callable[..., RunningCall]
BOTH_ROLES = pytest.mark.parametrize("make", [taken_call, placed_call])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("98732@sip.example.com ;from-tag=r33th4x0r ;to-tag=ff87ff", ("98732@sip.example.com", "ff87ff", "r33th4x0r")),
        ("12adf2f34456gs5;to-tag=12345;from-tag=54321", ("12adf2f34456gs5", "12345", "54321")),
        ("87134@171.161.34.23;to-tag=24796;from-tag=0", ("87134@171.161.34.23", "24796", "0")),
        ("a@b;TO-TAG=1;From-Tag=2;x=y", ("a@b", "1", "2")),
    ],
)
def test_the_examples_of_the_rfc_are_read(text: str, expected: tuple[str, str, str]) -> None:
    replaces = Replaces.parse(text)
    assert (replaces.call_id, replaces.to_tag, replaces.from_tag) == expected
    assert not replaces.is_early_only
    assert Replaces.parse(str(replaces)) == replaces


def test_early_only_is_a_flag() -> None:
    replaces = Replaces.parse("a;to-tag=1;from-tag=2;Early-Only")
    assert replaces.is_early_only
    assert str(replaces) == "a;to-tag=1;from-tag=2;early-only"


@pytest.mark.parametrize(
    "text",
    [
        *("", ";to-tag=1;from-tag=2", "a", "a;to-tag=1", "a;from-tag=1", "a;to-tag=;from-tag=2"),
        *("a b;to-tag=1;from-tag=2", 'a;to-tag="1;from-tag=x";from-tag=2', 'a;to-tag=1;from-tag="2 3"'),
    ],
)
def test_a_value_without_call_id_or_a_tag_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        Replaces.parse(text)


# ------------------------------------------------------------------------------------------- calls that replace one


def replacing(call: RunningCall, value: str, **parts: object) -> Request:
    """Let the PBX send an INVITE with that Replaces."""
    invite = call.pbx.invite(call_id="new@pbx", from_tag="new", headers=(("Replaces", value),), **parts)
    call.pbx.send(invite)
    call.wire.run(0.1)
    return invite


def value_of(call: RunningCall, *, early_only: bool = False, **changes: str) -> str:
    """The Replaces that names the call, as the gateway knows it."""
    ours, theirs = (call.ok.from_, call.ok.to) if call.gateway_is_caller else (call.ok.to, call.ok.from_)
    parts = {"call_id": call.ok.call_id, "to_tag": ours.tag or "", "from_tag": theirs.tag or ""} | changes
    return str(Replaces(is_early_only=early_only, **parts))


def statuses(call: RunningCall, invite: Request) -> list[int]:
    return [response.status for response in call.pbx.responses() if response.call_id == invite.call_id]


@BOTH_ROLES
def test_a_call_that_replaces_another_ends_it_when_it_is_answered(make: Make) -> None:
    call = make()
    invite = replacing(call, value_of(call))
    offered = call.gateway.last(CallOffered)
    assert offered.replaces == call.leg_id
    assert call.pbx.requests("BYE") == []
    call.user_agent.answer(offered.leg_id, description(), call.wire.now)
    call.wire.run(0.1)
    assert statuses(call, invite)[-1] == 200
    (bye,) = call.pbx.requests("BYE")
    assert bye.call_id == call.ok.call_id
    ended = call.gateway.last(CallEnded)
    assert (ended.leg_id, ended.cause) == (call.leg_id, EndCause.REPLACED)
    labels = [sent.label for sent in call.wire.log if sent.label in ("200 INVITE", "BYE")]
    assert labels[-2:] == ["200 INVITE", "BYE"]
    call.reply("BYE", 200)
    assert call.gateway.leg_ids == [offered.leg_id]


def test_a_call_that_replaces_another_and_is_refused_leaves_it_alone() -> None:
    call = taken_call()
    replacing(call, value_of(call))
    call.user_agent.reject(call.gateway.last(CallOffered).leg_id, 486, call.wire.now)
    call.wire.run(1)
    assert call.pbx.requests("BYE") == []
    assert call.gateway.leg_ids == [call.leg_id]


def test_an_ordinary_call_replaces_nothing() -> None:
    assert taken_call().gateway.last(CallOffered).replaces is None


def test_a_call_that_was_not_acknowledged_yet_is_replaced_after_its_ack() -> None:
    call = taken_call()
    call.pbx.send(call.pbx.invite(call_id="second@pbx"))
    call.wire.run(0.1)
    second = call.gateway.last(CallOffered)
    call.user_agent.answer(second.leg_id, description(), call.wire.now)
    call.wire.run(0.1)
    ok = call.pbx.responses(200, "INVITE")[-1]
    replacing(call, f"second@pbx;to-tag={ok.to.tag};from-tag=pbx-tag")
    call.user_agent.answer(call.gateway.last(CallOffered).leg_id, description(), call.wire.now)
    call.wire.run(0.1)
    assert call.pbx.requests("BYE") == []
    call.pbx.send(call.pbx.ack(ok))
    call.wire.run(0.1)
    assert [bye.call_id for bye in call.pbx.requests("BYE")] == ["second@pbx"]
    call.reply("BYE", 200)
    ended = call.gateway.last(CallEnded)
    assert (ended.leg_id, ended.cause) == (second.leg_id, EndCause.REPLACED)


@pytest.mark.parametrize("early_only", [True, False])
def test_a_call_of_ours_that_still_rings_is_cancelled_instead(early_only: bool) -> None:
    call = taken_call()
    leg_id = call.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=description(), now=call.wire.now)
    call.wire.run(0.1)
    ours = call.pbx.requests("INVITE")[-1]
    call.pbx.send(respond(ours, 180, to_tag="ringing"))
    call.wire.run(0.1)
    flag = ";early-only" if early_only else ""
    replacing(call, f"{ours.call_id};to-tag={ours.from_.tag};from-tag=ringing{flag}")
    offered = call.gateway.last(CallOffered)
    assert offered.replaces == leg_id
    call.user_agent.answer(offered.leg_id, description(), call.wire.now)
    call.wire.run(0.1)
    assert len(call.pbx.requests("CANCEL")) == 1
    call.pbx.send(respond(ours, 487, to_tag="ringing"))
    call.wire.run(0.1)
    refused = call.gateway.last(CallRefused)
    assert (refused.leg_id, refused.status) == (leg_id, 487)


@pytest.mark.parametrize("part", ["call_id", "to_tag", "from_tag"])
def test_a_dialog_that_we_do_not_have_is_481(part: str) -> None:
    call = taken_call()
    invite = replacing(call, value_of(call, **{part: "nobody"}))
    assert statuses(call, invite) == [481]
    assert len(call.gateway.all(CallOffered)) == 1


def test_an_answered_call_is_not_replaced_early_only() -> None:
    call = taken_call()
    assert statuses(call, replacing(call, value_of(call, early_only=True))) == [486]


def test_a_call_that_is_ending_is_declined() -> None:
    call = taken_call()
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    assert statuses(call, replacing(call, value_of(call))) == [603]


def test_a_call_of_the_peer_that_still_rings_is_not_the_peers_to_replace() -> None:
    call = taken_call()
    call.pbx.send(call.pbx.invite(call_id="second@pbx"))
    call.wire.run(0.1)
    leg = call.user_agent._legs.get(call.gateway.last(CallOffered).leg_id)
    invite = replacing(call, f"second@pbx;to-tag={leg.usage.local_tag};from-tag=pbx-tag")
    assert statuses(call, invite) == [481]


def test_more_than_one_replaces_or_a_broken_one_is_400() -> None:
    call = taken_call()
    for number, values in enumerate(([value_of(call), value_of(call)], ["nonsense"])):
        headers = tuple(("Replaces", value) for value in values)
        invite = call.pbx.invite(call_id=f"new{number}@pbx", headers=headers)
        call.pbx.send(invite)
        call.wire.run(0.1)
        assert statuses(call, invite) == [400]


def test_another_trunk_takes_no_call_over() -> None:
    wire = Wire()
    other = Hop("10.0.0.3", 5060)
    gateway = gateway_on(wire, trunk_options(), trunk_options(name="other", peer=other, registrar=None))
    pbx, stranger = scripted_on(wire), scripted_on(wire, other)
    pbx.send(pbx.invite())
    wire.run(0.1)
    gateway.user_agent.answer(gateway.last(CallOffered).leg_id, description(), wire.now)
    wire.run(0.1)
    ok = pbx.responses(200, "INVITE")[0]
    pbx.send(pbx.ack(ok))
    value = f"{ok.call_id};to-tag={ok.to.tag};from-tag=pbx-tag"
    stranger.send(stranger.invite(call_id="new@other", headers=(("Replaces", value),)))
    wire.run(0.1)
    assert [response.status for response in stranger.responses()] == [481]
    assert len(gateway.all(CallOffered)) == 1


def test_a_replaced_call_that_ended_meanwhile_is_no_trouble() -> None:
    call = taken_call()
    replacing(call, value_of(call))
    call.send("BYE")
    call.user_agent.answer(call.gateway.last(CallOffered).leg_id, description(), call.wire.now)
    call.wire.run(0.1)
    assert [event.cause for event in call.gateway.all(CallEnded)] == [EndCause.REMOTE_BYE]
