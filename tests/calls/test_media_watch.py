"""One-way audio and silent peers: found in five seconds, let go when their time is over, and never on hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.calls.call import CallState
from gateway.calls.events import Outcome
from gateway.calls.lines.media_watch import Flaw, MediaWatch, Observation, OneWayAudio
from gateway.calls.task import CallTask
from gateway.sip.description import Direction
from gateway.sip.events import CallEnded
from gateway.sip.message import Uri
from gateway.sip.sdp import SessionDescription
from tests.calls.test_task import CALLER_PORT, CONTACT_PORT, PLAN, ObedientPbx, plan_of, talking
from tests.support.call_house import CallHouse, play_out
from tests.support.wire import GATEWAY, PBX, description

FOUND_IN_S = 5.0
START_S, LATER_S = 20.0, 30.0
STEP_S = 0.25


class Watched:
    """A watch and the peer it looks at, second by second."""

    def __init__(self) -> None:
        self.counters = OneWayAudio()
        self.watch = MediaWatch(self.counters)
        self.now = 100.0
        self.seen = Observation(
            expected_since_s=100.0,
            last_received_s=None,
            last_report_s=None,
            has_sound=False,
            unheard_reports=0,
            icmp_errors=0,
        )

    def look(self, seconds: int = 1, *, sends: bool = True, errors: int = 0, **changes: object) -> list[list[Flaw]]:
        """Let time pass; the changes that were seen."""
        self.seen = replace(self.seen, **changes)  # type: ignore[arg-type]
        changed = []
        for _ in range(seconds):
            self.now += 1
            received_s = self.now if sends else self.seen.last_received_s
            self.seen = replace(self.seen, last_received_s=received_s, icmp_errors=self.seen.icmp_errors + errors)
            if self.watch.look(self.seen, self.now):
                changed.append([flaw for flaw in Flaw if flaw in self.watch.flaws])
        return changed


class TestJudgement:
    def test_a_peer_that_sends_sound_has_no_flaw(self) -> None:
        assert Watched().look(60, has_sound=True) == []

    def test_nothing_received_is_told_once_and_its_end_once(self) -> None:
        watched = Watched()
        assert watched.look(5, sends=False) == [[Flaw.NOTHING_RECEIVED]]
        assert watched.look(20, sends=False) == []
        assert watched.look(20, has_sound=True) == [[]]
        assert watched.watch.found == (Flaw.NOTHING_RECEIVED,)

    def test_silence_from_the_beginning_is_told_and_ended_by_the_first_sound(self) -> None:
        watched = Watched()
        assert watched.look(5) == [[Flaw.ONLY_SILENCE]]
        assert watched.look(10) == []
        assert watched.look(10, has_sound=True) == [[]]
        assert watched.look(60, has_sound=True) == []

    def test_one_flaw_may_become_another(self) -> None:
        watched = Watched()
        assert watched.look(8, sends=False) == [[Flaw.NOTHING_RECEIVED]]
        assert watched.look(3) == [[Flaw.ONLY_SILENCE]]
        assert watched.counters.as_dict() == {"present": 1, "rx=0": 1, "rx silent": 1}

    def test_a_port_that_is_closed_is_told_in_five_seconds(self) -> None:
        watched = Watched()
        watched.look(10, has_sound=True)
        assert watched.look(int(FOUND_IN_S), errors=1) == [[Flaw.REFUSED]]
        assert watched.look(30, errors=50) == []
        assert watched.look(10) == [[]]

    def test_a_single_icmp_error_says_nothing(self) -> None:
        watched = Watched()
        watched.look(10, has_sound=True)
        assert watched.look(1, errors=40) + watched.look(20) == []

    def test_reports_that_do_not_know_us_are_told(self) -> None:
        watched = Watched()
        assert watched.look(10, has_sound=True, unheard_reports=1) == []
        assert watched.look(3, unheard_reports=2) == [[Flaw.UNHEARD]]
        assert watched.look(3, unheard_reports=0) == [[]]

    def test_who_is_not_expected_has_no_flaw_and_is_given_its_time_again(self) -> None:
        watched = Watched()
        watched.look(6, sends=False)
        assert watched.watch.look(None, watched.now)
        assert (watched.watch.flaws, watched.counters.present) == (frozenset(), 0)
        watched.now += 600
        assert watched.look(4, sends=False) == []
        assert watched.look(1, sends=False) == [[Flaw.NOTHING_RECEIVED]]

    def test_an_ended_call_is_not_among_the_present_ones(self) -> None:
        watched = Watched()
        watched.look(6, sends=False)
        watched.watch.close()
        watched.watch.close()
        assert watched.counters.as_dict() == {"present": 0, "rx=0": 1}


Script = Callable[[CallHouse, CallTask, str], object]


def direct(offer: SessionDescription, direction: Direction, version: int) -> SessionDescription:
    audio = replace(offer.media[0], direction=direction)
    return replace(offer, origin=replace(offer.origin, version=version), media=(audio,))


def house_of(tmp_path: Path, pbx: ObedientPbx | None = None, **changes: object) -> CallHouse:
    house = CallHouse(plan_of(tmp_path, PLAN), pbx or ObedientPbx())
    for name, value in {"max_call_s": 3600.0, **changes}.items():
        object.__setattr__(house.services, name, value)
    return house


async def established(house: CallHouse) -> tuple[CallTask, str]:
    """A call that has just begun, at the wire's present time."""
    agent = house.pbx.user_agent
    target = Uri.parse("sip:7000@10.0.0.1")
    leg = agent.invite("gateway", target, offer=description(PBX.host, CALLER_PORT), now=house.wire.now)
    (call,) = await until_established(house)
    return call, leg


async def until_established(house: CallHouse) -> set[CallTask]:
    while not any(call.record.established_s for call in house.manager._calls):
        await house.live(0.02)
    return house.manager._calls


def told(lines: list[dict[str, object]], event: str) -> list[dict[str, object]]:
    return [line for line in lines if line["event"] == event]


def test_peer_of_whom_nothing_ever_comes_is_found_in_five_seconds_and_let_go_at_its_time(tmp_path: Path) -> None:
    house = house_of(tmp_path)
    house.media.silent_ports.add(CALLER_PORT)

    async def script() -> None:
        await established(house)
        with capture_logs() as lines:
            await house.live(FOUND_IN_S)
            (line,) = told(lines, "one-way audio")  # type: ignore[arg-type]
            assert (line["flaws"], line["rx_ago_s"], line["log_level"]) == (["rx=0"], None, "warning")
            assert house.services.one_way_audio.as_dict() == {"present": 1, "rx=0": 1}
            await house.live(START_S - FOUND_IN_S - 0.5)
            assert house.manager.call_count == 1
            await house.live(1)
        assert house.manager.call_count == 0
        assert len(told(lines, "one-way audio")) == 1  # type: ignore[arg-type]
        (record,) = house.ended
        assert (record.outcome, record.cause) == (Outcome.FAILED, "no audio from the caller")
        assert record.one_way_audio == ("rx=0",)
        (goodbye,) = house.wire.sent("BYE", GATEWAY)
        assert goodbye.message is not None
        assert goodbye.message.headers.get("Reason") == 'SIP;cause=408;text="no audio"'
        ended = house.pbx.last(CallEnded)
        assert ended.status == 408
        await house.live(40, step_s=STEP_S)
        assert house.services.one_way_audio.present == 0
        house.assert_nothing_is_left()

    play_out(house, script)


def test_peer_that_falls_silent_is_found_in_five_seconds_let_go_in_thirty_or_told_to_be_back(tmp_path: Path) -> None:
    house = house_of(tmp_path)

    async def script() -> None:
        call, _ = await talking(house)
        await house.live(60, step_s=STEP_S)
        with capture_logs() as lines:
            house.media.silent_ports.add(CALLER_PORT)
            await house.live(FOUND_IN_S)
            (line,) = told(lines, "one-way audio")  # type: ignore[arg-type]
            assert line["flaws"] == ["rx=0"]
            await house.live(LATER_S - FOUND_IN_S - 1)
            house.media.silent_ports.clear()
            await house.live(60, step_s=STEP_S)
            assert [line["was"] for line in told(lines, "audio both ways again")] == [["rx=0"]]  # type: ignore[arg-type]
            assert len(told(lines, "one-way audio")) == 1  # type: ignore[arg-type]
        assert call._call.state is CallState.TALKING
        house.media.silent_ports.add(CALLER_PORT)
        await house.live(LATER_S - 0.5)
        assert house.manager.call_count == 1
        await house.live(1)
        assert house.manager.call_count == 0
        await house.live(40, step_s=STEP_S)
        house.assert_nothing_is_left()

    play_out(house, script)


def test_peer_whose_packets_hold_silence_alone_is_found_and_stays(tmp_path: Path) -> None:
    house = house_of(tmp_path)
    house.media.mute_ports.add(CALLER_PORT)

    async def script() -> None:
        call, _ = await established(house)
        with capture_logs() as lines:
            await house.live(FOUND_IN_S)
            (line,) = told(lines, "one-way audio")  # type: ignore[arg-type]
            assert (line["flaws"], line["log_level"]) == (["rx silent"], "info")
            await house.live(120, step_s=STEP_S)
        assert house.manager.call_count == 1
        call.hang_up()
        await house.live(40, step_s=STEP_S)
        house.assert_nothing_is_left()

    play_out(house, script)


def test_port_that_the_network_refuses_is_found_and_ends_nothing(tmp_path: Path) -> None:
    """Whoever can forge an ICMP error must not end a call."""
    house = house_of(tmp_path)

    async def script() -> None:
        call, _ = await talking(house)
        (port,) = house.media.ports.open_now

        def refuse() -> None:
            port.counters.icmp_errors += 1

        with capture_logs() as lines:
            await house.live(FOUND_IN_S, refuse)
            (line,) = told(lines, "one-way audio")  # type: ignore[arg-type]
            assert line["flaws"] == ["tx refused"]
            assert line["icmp_errors"]
            await house.live(60, refuse, step_s=STEP_S)
        assert house.manager.call_count == 1
        call.hang_up()
        await house.live(40, step_s=STEP_S)
        assert house.ended[0].one_way_audio == ("tx refused",)
        house.assert_nothing_is_left()

    play_out(house, script)


@pytest.mark.parametrize("hold", ["sendonly", "recvonly", "inactive", "no address"])
def test_hold_of_ten_minutes_is_no_silence_whoever_holds(tmp_path: Path, hold: str) -> None:
    house = house_of(tmp_path)

    async def script() -> None:
        call, leg = await talking(house)
        agent = house.pbx.user_agent
        held = (
            direct(description("0.0.0.0", CALLER_PORT), Direction.SENDRECV, 1)  # noqa: S104
            if hold == "no address"
            else direct(description(PBX.host, CALLER_PORT), Direction(hold), 1)
        )
        with capture_logs() as lines:
            agent.reoffer(leg, held, house.wire.now)
            house.media.silent_ports.add(CALLER_PORT)
            await house.live(600, step_s=STEP_S)
            assert call._call.state is CallState.TALKING
            agent.reoffer(leg, direct(description(PBX.host, CALLER_PORT), Direction.SENDRECV, 2), house.wire.now)
            await house.live(3)
            assert told(lines, "one-way audio") == []  # type: ignore[arg-type]
            await house.live(2.5)
            assert len(told(lines, "one-way audio")) == 1  # type: ignore[arg-type]
        await house.live(LATER_S - 6.5)
        assert house.manager.call_count == 1
        await house.live(2)
        assert house.manager.call_count == 0  # resumed, and still nothing comes
        await house.live(40, step_s=STEP_S)
        house.assert_nothing_is_left()

    play_out(house, script)


def test_caller_who_is_transferred_may_be_silent_and_has_all_their_time_afterwards(tmp_path: Path) -> None:
    plan = PLAN.replace("ring: 3s", "ring: 50s").replace("[sip:6001, sip:6002]", "[sip:6001]")
    house = CallHouse(plan_of(tmp_path, plan), ObedientPbx(answer=False))

    async def script() -> None:
        call, _ = await talking(house)
        with capture_logs() as lines:
            house.sessions[0].ask("transfer", contact="sales")
            await house.live(1)
            house.media.silent_ports.add(CALLER_PORT)
            await house.live(45, step_s=STEP_S)
            assert call._call.state is CallState.TRANSFERRING
            assert told(lines, "one-way audio") == []  # type: ignore[arg-type]
            await house.live(6, step_s=STEP_S)
            assert call._call.state is CallState.TALKING
        await house.live(LATER_S - 4, step_s=STEP_S)
        assert house.manager.call_count == 1
        await house.live(5, step_s=STEP_S)
        assert house.manager.call_count == 0
        await house.live(40, step_s=STEP_S)
        house.assert_nothing_is_left()

    play_out(house, script)


@pytest.mark.parametrize("counts", [True, False])
def test_reports_keep_a_silent_peer_where_they_count_as_life(tmp_path: Path, *, counts: bool) -> None:
    house = house_of(tmp_path, reports_are_life=counts)
    house.media.reporting_ports.add(CALLER_PORT)

    async def script() -> None:
        call, _ = await talking(house)
        house.media.silent_ports.add(CALLER_PORT)
        await house.live(120, step_s=STEP_S)
        assert house.manager.call_count == int(counts)
        house.media.reporting_ports.clear()
        await house.live(LATER_S + 1, step_s=STEP_S)
        assert house.manager.call_count == 0
        assert call.record.cause == "no audio from the caller"
        await house.live(40, step_s=STEP_S)
        house.assert_nothing_is_left()

    play_out(house, script)


def test_contact_is_held_to_the_same_times(tmp_path: Path) -> None:
    pbx = ObedientPbx(lambda party, event, now: party.user_agent.reject_refer(event.leg_id, 501, now))
    house = house_of(tmp_path, pbx)
    house.media.silent_ports.add(CONTACT_PORT)

    async def script() -> None:
        await talking(house)
        house.sessions[0].ask("transfer", contact="sales")
        await house.live(START_S - 1, step_s=STEP_S)
        assert house.manager.call_count == 1
        await house.live(3, step_s=STEP_S)
        assert house.manager.call_count == 0
        await house.live(40, step_s=STEP_S)
        house.assert_nothing_is_left()

    play_out(house, script)
