"""Session timers in both roles (RFC 4028)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.sip.events import CallEnded, CallOffered, CallRefused, EndCause, OfferAnswered, OfferReceived
from gateway.sip.message import Response
from gateway.sip.session_timer import read_min_se, read_session_expires
from tests.support.calls import OURS, THEIRS, RunningCall, placed_call, taken_call
from tests.support.wire import (
    ScriptedPeer,
    Wire,
    assert_idle,
    description,
    gateway_on,
    respond,
    scripted_on,
)

TIMER = ("Supported", "timer")
UPDATES = ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE")
NO_UPDATES = ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS")


def agreed(message: Response) -> tuple[int | None, str | None, str | None]:
    """Interval and refresher, and what is required."""
    return (*read_session_expires(message), message.headers.get("Require"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((TIMER, ("Session-Expires", "300")), (300, "uac", "timer")),
        ((TIMER, ("Session-Expires", "300;refresher=uac")), (300, "uac", "timer")),
        ((TIMER, ("x", "300 ;refresher = UAS"), ("Min-SE", "120")), (300, "uas", None)),
        ((("Session-Expires", "300"),), (300, "uas", None)),
        ((("Session-Expires", "300;refresher=uac"),), (300, "uas", None)),
        ((TIMER,), (1800, "uas", None)),
        ((TIMER, ("Min-SE", "3600")), (3600, "uas", None)),
        ((TIMER, ("Session-Expires", "soon")), (1800, "uas", None)),
        ((("Session-Expires", "30"),), (90, "uas", None)),
        ((), (None, None, None)),
    ],
)
def test_our_answer_agrees_as_table_2_of_the_rfc_has_it(
    headers: tuple[tuple[str, str], ...], expected: tuple[int | None, str | None, str | None]
) -> None:
    assert agreed(taken_call(headers=headers).ok) == expected


def test_no_timer_is_asked_for_where_we_want_none() -> None:
    assert agreed(taken_call(headers=(TIMER,), session_expires_s=0).ok) == (None, None, None)
    call = placed_call(session_expires_s=0)
    assert "Session-Expires" not in call.pbx.requests("INVITE")[0].headers


def test_too_short_an_interval_is_422_with_our_minimum() -> None:
    wire = Wire()
    gateway, pbx = gateway_on(wire), scripted_on(wire)
    pbx.send(pbx.invite(headers=(TIMER, ("Session-Expires", "60"))))
    wire.run(0.1)
    assert pbx.responses(422)[0].headers.get("Min-SE") == "90"
    assert gateway.all(CallOffered) == []
    call = taken_call()
    update = call.send("UPDATE", headers=(TIMER, ("Session-Expires", "60")))
    assert call.statuses("UPDATE", update) == [422]


def test_a_call_without_refresh_ends_a_third_or_32_seconds_early() -> None:
    """RFC 4028 10."""
    for interval_s, ends_s in ((90, 60), (1800, 1768)):
        call = taken_call(headers=(TIMER, ("Session-Expires", f"{interval_s};refresher=uac")))
        answered_at = call.wire.sent("200 INVITE")[0].at
        call.wire.run(ends_s - 1)
        assert call.gateway.all(CallEnded) == []
        call.wire.run(2)
        assert call.gateway.last(CallEnded).cause is EndCause.SESSION_EXPIRED
        assert round(call.wire.sent("BYE")[0].at - answered_at) == ends_s
        call.wire.run(40)
        assert_idle(call.gateway)


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_a_refresh_of_the_peer_keeps_the_call(method: str) -> None:
    call = taken_call(headers=(TIMER, ("Session-Expires", "90;refresher=uac")))
    for _ in range(5):
        call.wire.run(45)
        body, content_type = (THEIRS.to_bytes(), "application/sdp") if method == "INVITE" else (b"", None)
        headers = (TIMER, ("Session-Expires", "90;refresher=uac"))
        request = call.send(method, headers=headers, body=body, content_type=content_type)
        if method == "INVITE":
            call.ack(request)
        assert agreed(call.pbx.responses(200, method)[-1]) == (90, "uac", "timer")
    assert call.gateway.all(CallEnded) == []
    call.wire.run(61)
    assert call.gateway.last(CallEnded).cause is EndCause.SESSION_EXPIRED


def test_a_peer_that_stops_using_the_timer_stops_ours() -> None:
    call = taken_call(headers=(TIMER, ("Session-Expires", "90;refresher=uac")))
    call.send("UPDATE")
    call.wire.run(1000)
    assert call.gateway.all(CallEnded) == []
    assert call.user_agent.get_timer() is None


def refreshes(call: RunningCall, method: str) -> list[float]:
    """When our refreshes left, in seconds since the call was set up."""
    start = call.wire.sent("200 INVITE")[0].at
    return [round(sent.at - start) for sent in call.wire.sent(method) if sent.source != call.pbx.address][:20]


def answer_refreshes(call: RunningCall, *, has_timer: bool = True) -> None:
    """Let the PBX agree to every refresh."""
    headers = (("Session-Expires", "90;refresher=uac"),) if has_timer else ()
    call.pbx.reply_to = lambda request: (
        respond(request, 200, to_tag=None, headers=headers, answer=THEIRS if request.method == "INVITE" else None)
        if request.method in ("UPDATE", "INVITE")
        else None
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: taken_call(headers=(TIMER, UPDATES, ("Session-Expires", "90;refresher=uas"))),
        lambda: placed_call(headers=(UPDATES, ("Session-Expires", "90;refresher=uac"))),
        lambda: placed_call(headers=(UPDATES, ("Session-Expires", "90"))),
    ],
    ids=["as callee", "as caller", "as caller by default"],
)
def test_we_refresh_by_update_at_half_the_interval(call: object) -> None:
    call = call()  # type: ignore[operator]
    answer_refreshes(call)
    call.wire.run(200)
    assert refreshes(call, "UPDATE") == [45, 90, 135, 180]
    update = call.pbx.requests("UPDATE")[0]
    assert (update.body, update.headers.get("Session-Expires")) == (b"", "90;refresher=uac")
    assert call.gateway.all(CallEnded) == []


def test_we_refresh_by_the_same_offer_where_the_peer_knows_no_update() -> None:
    call = placed_call(headers=(NO_UPDATES, ("Session-Expires", "90;refresher=uac")))
    answer_refreshes(call)
    call.wire.run(100)
    assert refreshes(call, "INVITE")[1:] == [45, 90]
    assert {invite.body for invite in call.pbx.requests("INVITE")} == {OURS.to_bytes()}
    assert call.gateway.all(OfferAnswered) == []
    assert call.gateway.all(CallEnded) == []


@pytest.mark.parametrize("status", [200, 500])
def test_an_offer_of_ours_waits_until_a_refresh_by_invite_is_over(status: int) -> None:
    """RFC 3261 14.1: never two INVITE transactions of ours at a time."""
    call = placed_call(headers=(NO_UPDATES, ("Session-Expires", "90;refresher=uac")))
    call.wire.run(46)
    changed = description(version=5)
    call.user_agent.reoffer(call.leg_id, changed, call.wire.now)
    with pytest.raises(StateError):
        call.user_agent.reoffer(call.leg_id, changed, call.wire.now)
    call.wire.run(1)
    assert call.pbx.requests("INVITE")[-1].body == OURS.to_bytes()
    call.reply("INVITE", status, answer=THEIRS if status == 200 else None)
    assert call.pbx.requests("INVITE")[-1].body == changed.to_bytes()
    call.reply("INVITE", 200, answer=THEIRS)
    assert len(call.gateway.all(OfferAnswered)) == 1


def test_a_call_we_took_is_refreshed_by_our_answer_repeated() -> None:
    call = taken_call(headers=(TIMER, NO_UPDATES, ("Session-Expires", "90;refresher=uas")))
    call.wire.run(46)
    assert [invite.body for invite in call.pbx.requests("INVITE")][:1] == [OURS.to_bytes()]


def test_an_answer_to_our_refresh_that_changes_the_session_is_told() -> None:
    call = placed_call(headers=(NO_UPDATES, ("Session-Expires", "90;refresher=uac")))
    moved = description("10.0.0.2", 30000)
    call.pbx.reply_to = lambda request: respond(request, 200, to_tag=None, answer=moved)
    call.wire.run(50)
    assert [event.description for event in call.gateway.all(OfferAnswered)] == [moved]


def test_a_refresh_without_answer_ends_the_call() -> None:
    call = placed_call(headers=(UPDATES, ("Session-Expires", "200;refresher=uac")))
    call.wire.run(133)
    assert call.gateway.last(CallEnded).cause is EndCause.TIMEOUT


def test_a_refresh_that_is_refused_is_tried_again_until_the_time_is_up() -> None:
    call = placed_call(headers=(UPDATES, ("Session-Expires", "90;refresher=uac")))
    call.pbx.reply_to = lambda request: respond(request, 500, to_tag=None) if request.method == "UPDATE" else None
    call.wire.run(62)
    assert refreshes(call, "UPDATE") == [45, 55]
    assert call.gateway.last(CallEnded).cause is EndCause.SESSION_EXPIRED


def test_a_refresh_by_update_that_is_not_allowed_is_repeated_by_invite() -> None:
    call = placed_call(headers=(UPDATES, ("Session-Expires", "90;refresher=uac")))
    answer_refreshes(call)
    usual = call.pbx.reply_to
    assert usual is not None
    call.pbx.reply_to = lambda request: (
        respond(request, 405, to_tag=None) if request.method == "UPDATE" else usual(request)
    )
    call.wire.run(70)
    assert refreshes(call, "UPDATE") == [45]
    assert refreshes(call, "INVITE")[1:] == [55]
    assert call.gateway.all(CallEnded) == []


def test_a_dialog_that_the_peer_no_longer_knows_ends_at_the_refresh() -> None:
    call = placed_call(headers=(UPDATES, ("Session-Expires", "90;refresher=uac")))
    call.pbx.reply_to = lambda request: respond(request, 481, to_tag=None)
    call.wire.run(46)
    assert (call.gateway.last(CallEnded).cause, call.gateway.last(CallEnded).status) == (EndCause.ERROR, 481)


def test_a_peer_that_wants_a_longer_interval_is_asked_again_with_it() -> None:
    wire = Wire()
    gateway, pbx = gateway_on(wire), scripted_on(wire)
    pbx.reply_to = lambda request: (
        respond(request, 422, headers=(("Min-SE", "3600"),))
        if read_session_expires(request)[0] == 1800
        else respond(request, 200, answer=THEIRS, headers=(("Session-Expires", "3600;refresher=uas"),))
    )
    gateway.user_agent.invite("pbx", pbx.request("INVITE").uri, offer=OURS, now=wire.now)
    wire.run(1)
    first, second = pbx.requests("INVITE")
    assert (first.cseq.number + 1, first.call_id) == (second.cseq.number, second.call_id)
    assert (second.headers.get("Session-Expires"), second.headers.get("Min-SE")) == ("3600", "3600")
    assert gateway.all(CallRefused) == []


@pytest.mark.parametrize("minimum", ["90", "junk", "1000"])
def test_a_422_that_says_nothing_new_refuses_the_call(minimum: str) -> None:
    wire = Wire()
    gateway, pbx = gateway_on(wire), scripted_on(wire)
    pbx.reply_to = lambda request: respond(request, 422, headers=(("Min-SE", minimum),))
    gateway.user_agent.invite("pbx", pbx.request("INVITE").uri, offer=OURS, now=wire.now)
    wire.run(1)
    assert gateway.last(CallRefused).status == 422


def test_an_offer_of_ours_keeps_the_roles_of_the_timer() -> None:
    call = taken_call(headers=(TIMER, ("Session-Expires", "600;refresher=uac")))
    call.user_agent.reoffer(call.leg_id, description(version=1), call.wire.now)
    call.wire.run(0.1)
    assert call.pbx.requests("INVITE")[0].headers.get("Session-Expires") == "600;refresher=uas"


def test_headers_that_make_no_sense_are_as_good_as_none() -> None:
    request = ScriptedPeer().request(
        "INVITE", headers=(("Session-Expires", "99999999999;refresher=me"), ("Min-SE", "-1"))
    )
    assert read_session_expires(request) == (None, None)
    assert read_min_se(request) == 90


@pytest.mark.parametrize("refresher", ["uac", "uas"])
def test_no_timer_outlives_its_call(refresher: str) -> None:
    call = taken_call(headers=(TIMER, UPDATES, ("Session-Expires", f"3600;refresher={refresher}")))
    call.send("BYE")
    call.wire.run(33)
    assert_idle(call.gateway)


def test_refreshes_of_the_peer_are_no_offers() -> None:
    call = taken_call(headers=(TIMER, ("Session-Expires", "90;refresher=uac")))
    call.send("UPDATE", headers=(TIMER, ("Session-Expires", "90;refresher=uac")))
    assert call.gateway.all(OfferReceived) == []


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[0-9 ]{0,20};?.{0,20}"))
def test_any_session_expires_and_min_se_are_seconds_or_nothing(value: str) -> None:
    value = value.replace("\n", " ").replace("\r", " ")
    request = ScriptedPeer().request("UPDATE", headers=(("Session-Expires", value), ("Min-SE", value)))
    interval_s, refresher = read_session_expires(request)
    assert interval_s is None or 0 <= interval_s < 10**9
    assert refresher in {None, "uac", "uas"}
    assert 0 <= read_min_se(request) < 10**9


@settings(deadline=None)
@given(st.integers(0, 10**9 - 1), st.sampled_from(["uac", "uas", None]))
def test_session_expires_is_read_as_it_was_written(interval_s: int, refresher: str | None) -> None:
    value = str(interval_s) + (f" ; refresher = {refresher}" if refresher else "")
    request = ScriptedPeer().request("UPDATE", headers=(("Session-Expires", value),))
    assert read_session_expires(request) == (interval_s, refresher)
