"""SIPp calls the gateway directly: its own scenarios, and ours for what other stacks get wrong, late, or never say.

The calls that need half a minute run beside the others: they begin with the module, and the last tests look at them.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.interop import sipp
from tests.interop.conftest import unavailable
from tests.interop.gateway_process import GatewayProcess, GatewaySetup, seconds_between
from tests.interop.pbx import HOST, wait_until
from tests.interop.sipp import (
    Run,
    Sipp,
    action,
    answer,
    be_hung_up_on,
    call,
    expect,
    go_to,
    hang_up,
    label,
    pause,
    provisional,
    reoffer,
    request,
    sdp,
)
from tests.interop.speech_server import speech_server

LOST_CALLS = int(os.environ.get("LOST_CALLS", "3"))
CANCEL_RACES = int(os.environ.get("CANCEL_RACES", "50"))
RATE_CPS = 15.0  # the gateway takes 20 new calls a second from a trunk in the long run
NO_ACK_S = 32.0

SippMaker = Callable[[Run], Sipp]


@pytest.fixture(scope="module")
def start_sipp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SippMaker]:
    """Starts SIPp; whatever still runs at the end of the module is ended."""
    if reason := sipp.obstacle():
        unavailable(reason)
    folder, numbers = tmp_path_factory.mktemp("sipp"), count()
    with ExitStack() as running:
        yield lambda run: running.enter_context(Sipp(run, folder / str(next(numbers))))


@pytest.fixture(scope="module", autouse=True)
def unacknowledged(static_gateway: GatewayProcess, start_sipp: SippMaker) -> Sipp:
    """Calls whose caller never sends an ACK; begun before all others."""
    invite = request("INVITE", 1, body=sdp(), is_first=True)
    steps = [invite, *provisional(), expect(200), *be_hung_up_on(within_ms=40_000)]
    run = Run(
        scenario=steps,
        port=static_gateway.sip_port,
        number="4900009",
        calls=LOST_CALLS,
        rate_cps=RATE_CPS,
        within_s=60 + LOST_CALLS / RATE_CPS,
        options=("-default_behaviors", "all,-abortunexp"),
    )
    return start_sipp(run)


@pytest.fixture(scope="module", autouse=True)
def recorded(static_gateway: GatewayProcess, start_sipp: SippMaker, unacknowledged: Sipp) -> Sipp:
    """SIPp's own calls with recorded RTP and a key; 11 s."""
    if not (sipp.RECORDINGS / "g711a.pcap").exists():
        unavailable(f"no recordings in {sipp.RECORDINGS}")
    return start_sipp(Run(scenario="uac_pcap", port=static_gateway.sip_port, number="4900008", calls=2, within_s=40))


@pytest.fixture
def play(static_gateway: GatewayProcess, start_sipp: SippMaker) -> Callable[..., Sipp]:
    """Plays a scenario against the gateway to its end, which must be the one that is written."""

    def play(*steps: str, **choices: object) -> Sipp:
        run = replace(Run(scenario=steps, port=static_gateway.sip_port), **choices)  # type: ignore[arg-type]
        running = start_sipp(run)
        running.wait()
        return running

    return play


Play = Callable[..., Sipp]


def ended_since(gateway: GatewayProcess, mark: int, calls: int = 1) -> list[dict[str, Any]]:
    """Calls to 7000 that ended; those beside them are to other numbers."""
    what = f"the end of {calls} calls"
    wait_until(lambda: len(gateway.found("call ended", since=mark, to="7000")) >= calls, what, 10)
    return gateway.found("call ended", since=mark, to="7000")


def key(digit: str, cseq: int) -> list[str]:
    """A key pressed, told by INFO."""
    body = f"Signal={digit}\nDuration=160\n"
    return [request("INFO", cseq, body=body, kind="application/dtmf-relay"), expect(200)]


def notify(cseq: int, status: str, state: str) -> str:
    headers = f"Event: refer\nSubscription-State: {state}\n"
    return request("NOTIFY", cseq, headers=headers, body=f"SIP/2.0 {status}\n", kind="message/sipfrag;version=2.0")


# ---- calls -----------------------------------------------------------------------------------------------------------
def test_sipp_s_own_caller_is_served(static_gateway: GatewayProcess, play: Play) -> None:
    mark = static_gateway.mark()
    play(scenario="uac", calls=30, rate_cps=RATE_CPS, hold_ms=200)
    assert {line["outcome"] for line in ended_since(static_gateway, mark, 30)} == {"caller-hung-up"}


def test_an_invite_without_a_description_is_answered_with_our_offer(play: Play) -> None:
    play(
        request("INVITE", 1, is_first=True),
        *provisional(),
        expect(200, "m=audio [0-9]+ RTP/AVP .*0", "a=rtpmap:[0-9]+ telephone-event"),
        request("ACK", 1, branch="ACK-1", body=sdp()),
        pause(200),
        request("INVITE", 2),
        expect(100, is_optional=True),
        expect(200, "m=audio [0-9]+ RTP/AVP .*0"),
        request("ACK", 2, branch="ACK-2", body=sdp(version=2)),
        *hang_up(3),
    )


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_hold_and_resume_are_agreed_to(play: Play, method: str) -> None:
    def change(cseq: int, direction: str, mirrored: str) -> list[str]:
        if method == "INVITE":
            return reoffer(cseq, sdp(direction, version=cseq), f"a={mirrored}")
        return [request("UPDATE", cseq, body=sdp(direction, version=cseq)), expect(200, f"a={mirrored}")]

    play(
        *call(),
        *change(2, "sendonly", "recvonly"),
        *change(3, "inactive", "inactive"),
        *change(4, "sendrecv", "sendrecv"),
        *hang_up(5),
    )


def test_audio_follows_a_reinvite_to_another_port(static_gateway: GatewayProcess, play: Play) -> None:
    mark = static_gateway.mark()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as old,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as new,
    ):
        for end in (old, new):
            end.bind((HOST, 0))
            end.setblocking(False)
        ports = [end.getsockname()[1] for end in (old, new)]
        play(
            *call(body=sdp(port=str(ports[0]))),
            pause(400),
            *reoffer(2, sdp(version=2, port=str(ports[1]))),
            pause(400),
            *hang_up(3),
        )
        packets = [packets_of(end) for end in (old, new)]
    assert all(15 <= received <= 35 for received in packets), packets
    assert ended_since(static_gateway, mark)[0]["rtp_sent"] == pytest.approx(sum(packets), abs=3)


def packets_of(end: socket.socket) -> int:
    received = 0
    while True:
        try:
            end.recv(2048)
        except BlockingIOError:
            return received
        received += 1


def test_a_reinvite_upon_the_heels_of_another_leaves_the_call_in_one_state(play: Play) -> None:
    """RFC 3261 14.2: the second may be agreed to, or refused for now by 491 or 500."""
    play(
        *call(),
        request("INVITE", 2, body=sdp("sendonly", version=2), is_repeated=False, transaction="first"),
        request("INVITE", 3, body=sdp("sendrecv", version=3), is_repeated=False, transaction="second"),
        expect(100, of="first", is_optional=True),
        expect(200, "a=recvonly", of="first"),
        request("ACK", 2, branch="ACK-2", acknowledges="first"),
        expect(100, of="second", is_optional=True),
        expect(491, of="second", is_optional=True, go_to="1"),
        expect(500, "Retry-After: [0-9]", of="second", is_optional=True, go_to="1"),
        expect(200, "a=sendrecv", of="second"),
        request("ACK", 3, branch="ACK-3", acknowledges="second"),
        go_to("2"),
        label("1"),
        request("ACK", 3, branch="INVITE-3", acknowledges="second"),
        label("2"),
        pause(100),
        *reoffer(4, sdp("sendrecv", version=4), "a=sendrecv"),
        *hang_up(5),
        options=("-default_behaviors", "all,-abortunexp"),  # an answer between the two is repeated
    )


def test_cancel_and_answer_may_cross(static_gateway: GatewayProcess, start_sipp: SippMaker) -> None:
    """The gateway answers after some 120 ms."""
    mark = static_gateway.mark()
    patience_ms = (40, 70, 100, 115, 130, 200)
    runs = [
        start_sipp(
            Run(
                scenario=giving_up_after(milliseconds),
                port=static_gateway.sip_port,
                calls=-(-CANCEL_RACES // len(patience_ms)),
                rate_cps=RATE_CPS / len(patience_ms),
                within_s=30 + CANCEL_RACES / RATE_CPS,
            )
        )
        for milliseconds in patience_ms
    ]
    for run in runs:
        run.wait()
    ended = ended_since(static_gateway, mark, len(static_gateway.found("call started", since=mark, to="7000")))
    assert len(ended) >= CANCEL_RACES
    assert {line["outcome"] for line in ended} == {"cancelled", "caller-hung-up"}


def giving_up_after(milliseconds: int) -> list[str]:
    """CANCEL unless answered by then; where both cross, BYE.

    Patience begins with the 100: one that came with SIPp's alarm would be refused by it. The alarm may ring just after
    the ACK to a 200.
    """
    impatient = {"within_ms": milliseconds, "otherwise": "1"}
    return [
        request("INVITE", 1, body=sdp(), is_first=True),
        expect(100),
        expect(180, is_optional=True, **impatient),
        expect(200, **impatient),
        request("ACK", 1, branch="ACK-1"),
        *hang_up(2),
        go_to("3"),
        label("1"),
        request("CANCEL", 1, branch="INVITE-1", is_first=True),
        *provisional(),
        expect(200, where="CSeq: 1 INVITE", go_to="2"),
        expect(487, within_ms=1000, otherwise="4"),
        request("ACK", 1, branch="INVITE-1"),
        go_to("3"),
        label("2"),
        request("ACK", 1, branch="ACK-1"),
        expect(200, "CSeq: 1 CANCEL"),
        label("4"),
        *hang_up(2),
        label("3"),
        pause(1),  # SIPp does not survive a label behind which nothing stands
    ]


def test_calls_come_over_ipv6(start_sipp: SippMaker, tmp_path: Path) -> None:
    with speech_server([]) as server:
        setup = GatewaySetup(host="[::1]", trunks={"peers": {"peer": "[::1]"}}, realtime_url=server.url)
        with GatewayProcess.of(setup, tmp_path / "gateway") as gateway:
            gateway.wait_until_ready()
            run = Run(scenario="uac", port=gateway.sip_port, host="[::1]", own_host="::1", calls=3, hold_ms=300)
            start_sipp(run).wait()
            ended = ended_since(gateway, 0, 3)
            figures = gateway.stop()
    assert {line["outcome"] for line in ended} == {"caller-hung-up"}
    assert all(line["rtp_sent"] > 5 for line in ended)
    assert (figures["legs_left"], figures["calls_left"], figures["rtp_ports_left"]) == (0, 0, 0)


# ---- session timers --------------------------------------------------------------------------------------------------
def test_a_session_timer_is_agreed_to_and_refreshed(play: Play) -> None:
    asked = "Supported: timer\nSession-Expires: 90;refresher=uac\n"
    play(
        *call(headers=asked, checks=["Session-Expires: 90;refresher=uac", "Require: .*timer"]),
        request("UPDATE", 2, headers=asked),
        expect(200, "Session-Expires: 90;refresher=uac"),
        request("INVITE", 3, headers=asked, body=sdp()),
        expect(100, is_optional=True),
        expect(200, "Session-Expires: 90;refresher=uac"),
        request("ACK", 3, branch="ACK-3"),
        *hang_up(4),
    )


def test_too_short_a_session_is_refused_with_the_least_that_is_taken(play: Play) -> None:
    play(
        request("INVITE", 1, headers="Supported: timer\nSession-Expires: 60\n", body=sdp(), is_first=True),
        expect(100, is_optional=True),
        expect(422, "Min-SE: 90"),
        request("ACK", 1, branch="INVITE-1"),
    )


@pytest.mark.long
def test_sessions_are_refreshed_by_us_through_glare_and_ended_when_the_caller_forgets(
    static_gateway: GatewayProcess, start_sipp: SippMaker
) -> None:
    """RFC 4028 in both roles; 491 puts our re-INVITE off for up to 4 s (RFC 3261 14.1)."""
    ours = "Supported: timer\nAllow: INVITE, ACK, BYE, CANCEL\nSession-Expires: 90;refresher=uas\n"
    refreshed = [
        *call(headers=ours, body=sdp("sendonly")),
        expect("INVITE", "Session-Expires: 90", within_ms=60_000),
        answer(491, "Request Pending"),
        expect("ACK"),
        expect("INVITE", "Session-Expires: 90"),
        answer(
            200, "OK", headers="Require: timer\nSession-Expires: 90;refresher=uac\n", body=sdp("sendonly", version=2)
        ),
        expect("ACK"),
        *hang_up(2),
    ]
    forgotten = [
        *call(headers="Supported: timer\nSession-Expires: 90;refresher=uac\n", body=sdp("sendonly")),
        *be_hung_up_on(within_ms=95_000),
    ]
    runs = [
        start_sipp(Run(scenario=steps, port=static_gateway.sip_port, within_s=120)) for steps in (refreshed, forgotten)
    ]
    for run in runs:
        run.wait()


# ---- what should not be said -----------------------------------------------------------------------------------------
def test_nonsense_within_a_call_is_refused_and_the_call_goes_on(play: Play) -> None:
    play(
        *call(),
        request("WINK", 2),
        expect(501, "Allow: .*INVITE"),
        request("SUBSCRIBE", 3, headers="Event: presence\n"),
        expect(405, "Allow: .*INVITE"),
        request("INFO", 4, body="Signal=Ω\n", kind="application/dtmf-relay"),
        expect(400, is_optional=True, go_to="1"),
        expect(200),
        label("1"),
        request("INFO", 5, body="<xml/>", kind="application/nonsense"),
        expect(415, "Accept: .*dtmf"),
        request("UPDATE", 6, body="v=0\nthis is no description\n"),
        expect(400, is_optional=True, go_to="2"),
        expect(488),
        label("2"),
        request("UPDATE", 7, body=sdp().replace("0 101", "18").replace("PCMU/8000", "G729/8000")),
        expect(488),
        request("UPDATE", 8, headers="Require: teleportation\n"),
        expect(420, "Unsupported: teleportation"),
        *reoffer(9, sdp(version=2), "a=sendrecv"),
        *hang_up(10),
    )


def test_requests_of_calls_that_never_were_get_481(play: Play) -> None:
    for method in ("BYE", "UPDATE", "INFO", "NOTIFY", "INVITE"):
        headers = "Event: refer\nSubscription-State: active\n" if method == "NOTIFY" else ""
        body = sdp() if method in {"INVITE", "UPDATE"} else ""
        stray = request(method, 7, headers=headers, body=body).replace("[peer_tag_param]", ";tag=never")
        acked = [request("ACK", 7, branch="INVITE-7").replace("[peer_tag_param]", ";tag=never")]
        play(stray, expect(481), *(acked if method == "INVITE" else []))


# ---- reliable provisional responses ----------------------------------------------------------------------------------
def test_a_ringing_that_must_be_acknowledged_is(play: Play) -> None:
    rseq = '<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="rseq"/>'
    play(
        request("INVITE", 1, headers="Require: 100rel\nSupported: 100rel\n", body=sdp(), is_first=True),
        expect(100, is_optional=True),
        f'<recv response="180" timeout="8000"><action>{rseq}</action></recv>',
        request("PRACK", 2, headers="RAck: [$rseq] 1 INVITE\n"),
        expect(200, "CSeq: 2 PRACK"),
        expect(200, "CSeq: 1 INVITE"),
        request("ACK", 1, branch="ACK-1"),
        *hang_up(3),
    )


# ---- transfers -------------------------------------------------------------------------------------------------------
REFERRED = [*call(), pause(700), *key("0", 2), expect("REFER", "Refer-To: .*6001@")]


def test_a_refused_refer_leaves_the_caller_with_us(static_gateway: GatewayProcess, play: Play) -> None:
    mark = static_gateway.mark()
    play(*REFERRED, answer(603, "Decline"), pause(300), *hang_up(3))
    assert ended_since(static_gateway, mark)[0]["outcome"] == "caller-hung-up"
    assert static_gateway.found("transfer", since=mark, state="failed")[0]["why"] == "declined (603 Decline)"


def test_a_result_that_comes_with_the_202_counts(static_gateway: GatewayProcess, play: Play) -> None:
    mark = static_gateway.mark()
    play(
        *REFERRED,
        answer(202, "Accepted"),
        notify(3, "100 Trying", "active;expires=60"),
        expect(200),
        notify(4, "200 OK", "terminated;reason=noresource"),
        expect(200),
        *be_hung_up_on(),
    )
    assert ended_since(static_gateway, mark)[0]["outcome"] == "transferred"


@pytest.mark.parametrize(
    ("later_ms", "status", "outcome"),
    [pytest.param(0, 200, "transferred", id="in-time"), pytest.param(1500, 481, "caller-hung-up", id="too-late")],
)
def test_a_result_may_come_after_the_caller_s_bye_but_not_for_ever(
    static_gateway: GatewayProcess, play: Play, later_ms: int, status: int, outcome: str
) -> None:
    """Who transfers may take the caller away before it tells the result; after a second it is of no interest."""
    mark = static_gateway.mark()
    result = notify(4, "200 OK", "terminated;reason=noresource")
    play(*REFERRED, answer(202, "Accepted"), *hang_up(3), pause(later_ms), result, expect(status))
    assert ended_since(static_gateway, mark)[0]["outcome"] == outcome


@pytest.mark.long
def test_a_transfer_of_which_nothing_more_is_heard_brings_the_caller_back(
    static_gateway: GatewayProcess, play: Play
) -> None:
    mark = static_gateway.mark()
    play(
        *REFERRED,
        answer(202, "Accepted"),
        *reoffer(3, sdp("sendonly", version=2)),
        pause(33_000),
        *hang_up(4),
        within_s=60,
    )
    assert static_gateway.found("transfer", since=mark, state="timed-out")
    assert ended_since(static_gateway, mark)[0]["outcome"] == "caller-hung-up"


# ---- what gets lost --------------------------------------------------------------------------------------------------
def test_callers_who_vanish_without_a_bye_are_missed(
    static_gateway: GatewayProcess, start_sipp: SippMaker, tmp_path: Path
) -> None:
    (speech := tmp_path / "speech").write_bytes(b"\x10" * 8000)
    steps = [*call(), action(f'<exec rtp_stream="{speech},-1,0"/>'), pause(60_000)]
    mark = static_gateway.mark()
    run = Run(scenario=steps, port=static_gateway.sip_port, calls=LOST_CALLS, rate_cps=RATE_CPS, within_s=120)
    callers = start_sipp(run)
    wait_until(lambda: len(static_gateway.found("call started", since=mark, to="7000")) == LOST_CALLS, "the calls", 30)
    time.sleep(2)
    callers.kill()
    vanished_s = time.monotonic()
    ended = ended_since(static_gateway, mark, LOST_CALLS)
    assert time.monotonic() - vanished_s < 6  # media.rtp.timeout is 5 s here
    assert {line["cause"] for line in ended} == {"no audio from the caller"}
    assert all(line["rtp_received"] >= 30 for line in ended)


def test_recorded_rtp_of_sipp_arrives(static_gateway: GatewayProcess, recorded: Sipp) -> None:
    recorded.wait()
    wait_until(lambda: len(static_gateway.found("call ended", to="4900008")) == 2, "the calls", 5)
    ended = static_gateway.found("call ended", to="4900008")
    assert [line["codec"] for line in ended] == ["PCMA", "PCMA"]
    assert min(line["rtp_received"] for line in ended) > 200  # 8 s in packets of 30 ms


def test_a_call_without_ack_is_given_up_after_32_s(static_gateway: GatewayProcess, unacknowledged: Sipp) -> None:
    """RFC 3261 13.3.1.4: the 200 is repeated for 64*T1, then the session is ended by BYE."""
    unacknowledged.wait()
    wait_until(lambda: len(static_gateway.found("call ended", to="4900009")) == LOST_CALLS, "the calls", 5)
    for ended in static_gateway.found("call ended", to="4900009"):
        [started] = static_gateway.found("call started", call_id=ended["call_id"])
        assert seconds_between(started, ended) == pytest.approx(NO_ACK_S + 1, abs=1)
        answers = re.findall(
            rf"SIP/2.0 200 OK(?:(?!-----)[\s\S])*Call-ID: {re.escape(ended['call_id'])}[\s\S]*?INVITE",
            unacknowledged.messages,
        )
        assert len(answers) >= 10  # after 0.5, 1, 2, 4, 4 ... s
