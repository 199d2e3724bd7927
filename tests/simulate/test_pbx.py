"""A PBX whose extensions do what they are told, with a telephone in the gateway's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.dialplan.dialogue import Behaviour
from gateway.simulate import pbx as pbx_module
from gateway.simulate.pbx import Extension, PbxOptions, SimulatedPbx
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.message import Address, Uri
from tests.support.aio import eventually
from tests.support.listening import tone

HOST = "127.0.0.1"


@asynccontextmanager
async def line(behaviour: Behaviour, *, key: str = "") -> AsyncIterator[tuple[Phone, SimulatedPbx]]:
    """A telephone in the gateway's place, and a PBX whose extension 6001, of sales, behaves so."""
    extension = Extension(contact="sales", behaviour=behaviour, accept_key=key, refuse_key="9" if key else "")
    # Each has to know the other's address before it is there.
    port = free_sip_port(HOST)
    pbx = SimulatedPbx(
        PbxOptions(
            gateway=Address(HOST, port),
            extension=lambda number: extension if number == "6001" else None,
            trunks=("pbx", "carrier"),
            rtp_ports=(46000, 46399),
        )
    )
    options = PhoneOptions(user="gateway", peers=pbx.addresses, answers=True, rtp_ports=(46400, 46799))
    phone = Phone(options, address=Address(HOST, port))
    async with pbx, phone:
        yield phone, pbx


async def outcome_of(behaviour: Behaviour, number: str = "6001") -> tuple[PhoneCall, str]:
    async with line(behaviour) as (phone, pbx):
        call = phone.dial("pbx", number)
        await eventually(lambda: pbx.attempts and pbx.attempts[0].outcome, 5)
        await eventually(lambda: call.answered.is_set() or call.ended.is_set(), 5)
        return call, pbx.attempts[0].outcome


@pytest.mark.parametrize(
    ("behaviour", "status", "rings"),
    [
        (Behaviour.BUSY, 486, False),
        (Behaviour.DECLINES, 603, True),
        (Behaviour.UNREACHABLE, 404, False),
    ],
)
async def test_an_extension_that_does_not_take_the_call_says_why(
    behaviour: Behaviour, status: int, rings: bool
) -> None:
    call, outcome = await outcome_of(behaviour)
    assert call.refused == status
    assert call.rang is rings
    assert outcome.startswith(str(status))


@pytest.mark.parametrize("behaviour", [Behaviour.ANSWERS, Behaviour.ACCEPTS, Behaviour.REFUSES])
async def test_an_extension_answers(behaviour: Behaviour) -> None:
    call, outcome = await outcome_of(behaviour)
    assert call.rang
    assert outcome == "answered"


async def test_a_number_that_nobody_has_is_not_found() -> None:
    call, outcome = await outcome_of(Behaviour.ANSWERS, "6002")
    assert call.refused == 404
    assert outcome == "404 Not Found"


async def test_an_extension_that_is_not_answered_rings_until_it_is_given_up() -> None:
    async with line(Behaviour.NO_ANSWER) as (phone, pbx):
        call = phone.dial("pbx", "6001")
        await eventually(lambda: call.rang, 3)
        call.hang_up()
        await eventually(lambda: pbx.attempts[0].outcome == "not answered in time", 3)


@pytest.mark.parametrize(("behaviour", "pressed"), [(Behaviour.ACCEPTS, "1"), (Behaviour.REFUSES, "9")])
async def test_a_key_is_pressed_behind_what_was_heard(behaviour: Behaviour, pressed: str) -> None:
    async with line(behaviour, key="1") as (phone, _pbx):
        call = phone.dial("pbx", "6001")
        await eventually(call.answered.is_set, 3)
        await asyncio.sleep(0.3)
        assert call.keys == ""
        call.say(tone(700, 0.4))
        await eventually(lambda: call.keys == pressed, 5)


async def test_who_only_answers_presses_nothing_and_says_who_they_are() -> None:
    async with line(Behaviour.ANSWERS, key="1") as (phone, _pbx):
        call = phone.dial("pbx", "6001")
        await call.wait_for_speech(from_ms=0, within_s=5)
        assert call.keys == ""


async def caller(phone: Phone, pbx: SimulatedPbx) -> tuple[PhoneCall, PhoneCall]:
    """A call that the PBX has placed: its end, and the gateway's."""
    call = pbx.dial("carrier", "7000", caller="+49301", display_name="Bob", headers=[("X-Queue", "gold")])
    taken = await asyncio.wait_for(phone.incoming.get(), 3)
    await asyncio.wait_for(taken.answered.wait(), 3)
    return call, taken


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (Behaviour.ANSWERS, 200),
        (Behaviour.BUSY, 486),
        (Behaviour.DECLINES, 603),
        (Behaviour.UNREACHABLE, 404),
        (Behaviour.NO_ANSWER, 480),
    ],
)
async def test_a_refer_is_followed_and_reported(
    behaviour: Behaviour, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pbx_module, "GIVE_UP_S", 0.5)
    async with line(behaviour) as (phone, pbx):
        call, answered = await caller(phone, pbx)
        phone.refer(answered, "sip:6001@127.0.0.1")
        await eventually(lambda: answered.refer_status == status, 5)
        assert pbx.attempts[0].by_refer
        if status == 200:
            phone.hang_up(answered)
            await eventually(call.ended.is_set, 3)
        else:
            assert not call.ended.is_set()


async def test_a_pbx_hangs_up_where_the_gateway_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbx_module, "LEAVE_S", 0.2)
    async with line(Behaviour.ANSWERS) as (phone, pbx):
        _, answered = await caller(phone, pbx)
        phone.refer(answered, "sip:6001@127.0.0.1")
        await eventually(answered.ended.is_set, 5)
        assert answered.ended_by_peer


async def test_a_refer_with_replaces_joins_caller_and_consultation() -> None:
    async with line(Behaviour.ANSWERS) as (phone, pbx):
        _, answered = await caller(phone, pbx)
        consultation = phone.dial("pbx", "6001")
        await eventually(consultation.answered.is_set, 3)
        replaces = phone.user_agent.replaces_value(consultation.leg_id)
        phone.refer(answered, str(Uri.parse("sip:6001@127.0.0.1").with_header("Replaces", replaces)))
        await eventually(lambda: answered.refer_status == 200, 5)
        await eventually(consultation.ended.is_set, 3)
        assert [attempt.outcome for attempt in pbx.attempts] == ["joined with the caller"]


async def test_a_consultation_that_has_ended_cannot_be_joined() -> None:
    async with line(Behaviour.ANSWERS) as (phone, pbx):
        call, answered = await caller(phone, pbx)
        replaces = "nobody@here;to-tag=1;from-tag=2"
        phone.refer(answered, str(Uri.parse("sip:6001@127.0.0.1").with_header("Replaces", replaces)))
        await eventually(lambda: answered.refer_status == 481, 5)
        assert not call.ended.is_set()


async def test_a_call_that_is_awaited_is_for_who_awaits_it_and_the_next_is_not() -> None:
    async with line(Behaviour.BUSY) as (phone, pbx):
        awaited = pbx.await_call("6001")
        first = phone.dial("pbx", "6001")
        taken = await asyncio.wait_for(awaited, 3)
        await eventually(first.answered.is_set, 3)
        taken.say(tone(700, 0.3))
        await first.wait_for_speech(from_ms=0, within_s=3)
        second = phone.dial("pbx", "6001")
        await eventually(second.ended.is_set, 3)
        assert second.refused == 486
        assert len(pbx.attempts) == 1
