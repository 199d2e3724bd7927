"""Keys by SIP INFO that we press; those of the peer are in `test_leg`."""

from __future__ import annotations

import pytest

from gateway.errors import ResourceError, StateError
from gateway.sip.bodies import read_digit
from gateway.sip.digits import MAXIMUM_WAITING
from gateway.sip.events import CallEnded, DigitRefused, DigitsSignalled, EndCause
from gateway.sip.message import Request, Uri
from tests.support.calls import RunningCall, placed_call, taken_call
from tests.support.wire import Wire, assert_idle, description, gateway_on, phone_on


def press(call: RunningCall, digits: str) -> None:
    for digit in digits:
        call.user_agent.send_digit(call.leg_id, digit, 160, call.wire.now)
    call.wire.run(0.1)


def infos(call: RunningCall) -> list[Request]:
    return call.pbx.requests("INFO")


def test_a_digit_goes_out_as_dtmf_relay() -> None:
    call = taken_call()
    press(call, "5")
    (info,) = infos(call)
    assert (info.content_type, info.body) == ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n")
    assert read_digit(info.content_type, info.body) == ("5", 160)


def test_a_digit_waits_for_the_answer_to_the_one_before() -> None:
    call = placed_call()
    press(call, "1#*")
    assert [info.body[7:8] for info in infos(call)] == [b"1"]
    call.reply("INFO", 200)
    call.reply("INFO", 200)
    call.reply("INFO", 200)
    assert [info.body[7:8] for info in infos(call)] == [b"1", b"#", b"*"]
    assert call.gateway.all(DigitRefused) == []


def test_a_peer_that_takes_no_dtmf_relay_gets_the_digit_and_all_others_as_dtmf() -> None:
    call = taken_call()
    press(call, "1#")
    for status in (415, 200, 200):
        call.reply("INFO", status)
    assert [(info.content_type, info.body) for info in infos(call)] == [
        ("application/dtmf-relay", b"Signal=1\r\nDuration=160\r\n"),
        ("application/dtmf", b"1"),
        ("application/dtmf", b"#"),
    ]
    assert [read_digit(info.content_type, info.body) for info in infos(call)[1:]] == [("1", 250), ("#", 250)]
    assert call.gateway.all(DigitRefused) == []


def test_a_digit_that_is_taken_in_no_form_is_told_once() -> None:
    call = taken_call()
    press(call, "12")
    for status in (415, 415, 200):
        call.reply("INFO", status)
    assert [(event.digit, event.status) for event in call.gateway.all(DigitRefused)] == [("1", 415)]
    assert [info.content_type for info in infos(call)][1:] == ["application/dtmf"] * 2


@pytest.mark.parametrize("status", [405, 501])
def test_a_digit_that_the_peer_does_not_take_is_told_and_the_call_goes_on(status: int) -> None:
    call = taken_call()
    press(call, "12")
    call.reply("INFO", status)
    call.reply("INFO", 200)
    assert [(event.digit, event.status) for event in call.gateway.all(DigitRefused)] == [("1", status)]
    assert len(infos(call)) == 2
    assert call.gateway.all(CallEnded) == []


def test_a_peer_that_does_not_know_the_call_ends_it() -> None:
    call = taken_call()
    press(call, "12")
    call.reply("INFO", 481)
    assert call.gateway.last(CallEnded).cause is EndCause.ERROR
    assert len(infos(call)) == 1


def test_a_digit_without_an_answer_is_told_as_408() -> None:
    call = taken_call()
    press(call, "7")
    call.wire.run(33)
    assert [(event.digit, event.status) for event in call.gateway.all(DigitRefused)] == [("7", 408)]


def test_what_is_no_digit_and_too_many_of_them_are_refused() -> None:
    call = taken_call()
    for wrong in ("E", "", "12", "a"):
        with pytest.raises(ValueError, match="digit"):
            call.user_agent.send_digit(call.leg_id, wrong, 100, call.wire.now)
    with pytest.raises(ResourceError):
        press(call, "1" * (MAXIMUM_WAITING + 2))


def test_digits_are_for_calls_that_are_answered() -> None:
    call = taken_call()
    leg_id = call.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=None, now=call.wire.now)
    with pytest.raises(StateError):
        call.user_agent.send_digit(leg_id, "1", 100, call.wire.now)


def test_digits_that_wait_when_the_call_ends_are_dropped() -> None:
    call = taken_call()
    press(call, "123")
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    call.reply("BYE", 200)
    call.reply("INFO", 200)
    call.wire.run(40)
    assert len(infos(call)) == 1
    assert_idle(call.gateway)


@pytest.mark.parametrize("seed", range(5))
def test_digits_arrive_in_order_each_once_over_a_bad_wire(seed: int) -> None:
    wire = Wire(seed=seed, loss=0.2, duplicates=0.2, delay_s=(0.001, 0.3))
    gateway, phone = gateway_on(wire), phone_on(wire)
    leg_id = gateway.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=description(), now=wire.now)
    wire.run(10)
    (phone_leg,) = phone.leg_ids
    phone.user_agent.answer(phone_leg, description(), wire.now)
    wire.run(10)
    for digit in "0123456789*#":
        gateway.user_agent.send_digit(leg_id, digit, 100, wire.now)
    wire.run(200)
    assert "".join(event.digit for event in phone.all(DigitsSignalled)) == "0123456789*#"
