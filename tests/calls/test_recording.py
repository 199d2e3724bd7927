"""Recordings of whole calls on the wire: when they begin and end, and what the call's record tells of them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from gateway.calls.events import RecordingConsent
from gateway.calls.record import RecordingSummary
from gateway.sip import events as sip_events
from gateway.sip.message import Uri
from tests.calls.test_task import CALLER_PORT, ObedientPbx, forgiving, plan_of
from tests.support.call_house import LAST_PIECE, MODEL_AUDIO, CallHouse, play_out
from tests.support.plans import write_sound
from tests.support.wire import PBX, Party, description

PLAN = """
version: 1
name: recorded
timezone: UTC
contacts:
  sales: {dial: [sip:6001], mode: attended}
sessions:
  reception: {use: default, tools: [transfer, hang_up], record: %s}
routes: [{name: talk, do: [{session: reception}]}]
escalations:
  - {name: pause, when: {dtmf: "7"}, do: [{recording: pause}]}
  - {name: resume, when: {dtmf: "8"}, do: [{recording: resume}]}
"""
GIVEN = "{consent: given}"
ASK = "{consent: ask, play: ask.wav}"


@dataclass
class BookedRecording:
    """A recording that keeps what it is given."""

    facts: dict[str, Any]
    is_complete_at_once: bool = True
    wants_more: bool = True
    failure: str = ""
    pieces: list[Any] = field(default_factory=list)
    done: Future[None] = field(default_factory=Future)

    @property
    def file(self) -> Path | None:
        return Path("/recordings/1.wav") if self.pieces else None

    @property
    def seconds(self) -> float:
        return float(sum(piece.shape[1] for piece in self.pieces) / 100)

    def write(self, samples: Any) -> bool:
        self.pieces.append(samples)
        return self.wants_more

    def finish(self) -> Future[None]:
        if self.is_complete_at_once and not self.done.done():
            self.done.set_result(None)
        return self.done


@dataclass
class BookedStore:
    """Who keeps recordings; `options` are those of each."""

    options: dict[str, Any] = field(default_factory=dict)
    opened: list[BookedRecording] = field(default_factory=list)

    def open(self, **facts: Any) -> BookedRecording:
        self.opened.append(BookedRecording(facts, **self.options))
        return self.opened[-1]


def house_with(
    folder: Path, record: str, pbx: ObedientPbx | None = None, **options: Any
) -> tuple[CallHouse, BookedStore]:
    write_sound(folder / "ask.wav")
    store = BookedStore(options)
    return CallHouse(plan_of(folder, PLAN % record), pbx or ObedientPbx(), recordings=store), store


async def caller_in(house: CallHouse, *, model_is_eager: bool = False) -> str:
    """A caller who is established; their leg at the PBX. An eager model speaks as soon as it is there."""
    offer = description(PBX.host, CALLER_PORT)
    leg = house.pbx.user_agent.invite("gateway", Uri.parse("sip:7000@10.0.0.1"), offer=offer, now=house.wire.now)
    while model_is_eager and not (house.sessions and house.sessions[0].on_event):
        await house.live(0.02)
    if model_is_eager:
        house.sessions[0].say()
    await house.live(2)
    return leg


async def hung_up(house: CallHouse, leg: str) -> None:
    house.pbx.user_agent.bye(leg, house.wire.now)
    await house.live(40, step_s=0.25)
    house.assert_nothing_is_left()


def press(house: CallHouse, digit: str) -> None:
    for call in house.manager._calls:
        call.on_digit(digit, 100)


def test_call_is_recorded_from_consent_to_its_last_sample(tmp_path: Path) -> None:
    house, store = house_with(tmp_path, GIVEN)

    async def script() -> None:
        leg = await caller_in(house)
        (recording,) = store.opened
        (write,) = house.media.recorded.values()
        write(np.zeros((2, 200), np.int16))
        await hung_up(house, leg)
        assert recording.pieces[-1] is LAST_PIECE
        assert recording.done.done()
        (record,) = house.ended
        assert record.consent is RecordingConsent.GIVEN
        assert record.recording == RecordingSummary(file=Path("/recordings/1.wav"), seconds=3.0)
        facts = recording.facts
        assert (facts["call_id"], facts["called"], facts["trunk"], facts["route"], facts["rate_hz"]) == (
            record.call_id,
            "7000",
            "pbx",
            "talk",
            8000,
        )

    play_out(house, script)


@pytest.mark.parametrize(("key", "consent"), [("2", RecordingConsent.DECLINED), (None, RecordingConsent.UNANSWERED)])
def test_without_consent_nothing_is_ever_opened(tmp_path: Path, key: str | None, consent: RecordingConsent) -> None:
    house, store = house_with(tmp_path, ASK)

    async def script() -> None:
        leg = await caller_in(house, model_is_eager=True)
        assert house.sessions[0].heard == []
        if key is not None:
            press(house, key)
        await house.live(15)
        assert house.sessions[0].heard
        await hung_up(house, leg)
        assert (store.opened, house.media.recorded) == ([], {})
        assert (house.ended[0].consent, house.ended[0].recording) == (consent, None)

    play_out(house, script)


def test_caller_and_model_hear_each_other_once_the_key_was_pressed(tmp_path: Path) -> None:
    house, store = house_with(tmp_path, ASK)

    async def script() -> None:
        leg = await caller_in(house)
        (line,) = house.media.legs.values()
        house.sessions[0].say()
        await house.live(1)
        assert (line.played, store.opened) == ([b"file"], [])
        press(house, "1")
        await house.live(1)
        assert len(store.opened) == 1
        assert house.sessions[0].heard
        assert len(line.played) == 2
        await hung_up(house, leg)

    play_out(house, script)


def test_pauses_reach_the_tap(tmp_path: Path) -> None:
    house, _ = house_with(tmp_path, GIVEN)

    async def script() -> None:
        leg = await caller_in(house)
        for key in "78":
            press(house, key)
        assert house.media.pauses == [True, False]
        assert any("pause" in told for told in house.sessions[0].told)
        await hung_up(house, leg)

    play_out(house, script)


def test_recording_that_fails_is_told_and_the_call_goes_on(tmp_path: Path) -> None:
    house, store = house_with(tmp_path, GIVEN, wants_more=False, failure="No space left on device")

    async def script() -> None:
        leg = await caller_in(house)
        (write,) = house.media.recorded.values()
        write(np.zeros((2, 200), np.int16))
        assert house.media.recorded == {}
        heard = len(house.sessions[0].heard)
        await house.live(1)
        assert len(house.sessions[0].heard) > heard
        await hung_up(house, leg)
        assert house.ended[0].recording is not None
        assert house.ended[0].recording.ended_early == "No space left on device"
        assert len(store.opened) == 1

    play_out(house, script)


def test_disk_that_never_completes_a_file_does_not_keep_the_call(tmp_path: Path) -> None:
    house, _ = house_with(tmp_path, GIVEN, is_complete_at_once=False)

    async def script() -> None:
        leg = await caller_in(house)
        await hung_up(house, leg)
        assert house.ended[0].recording is not None
        assert "too slow" in house.ended[0].recording.ended_early

    play_out(house, script)


@pytest.mark.parametrize("contacts", [False, True])
def test_contact_whose_audio_we_carry_is_on_the_recording_only_where_the_plan_says_so(
    tmp_path: Path, *, contacts: bool
) -> None:
    def refuse(party: Party, event: sip_events.TransferRequested, now: float) -> None:
        party.user_agent.reject_refer(event.leg_id, 420, now)

    house, store = house_with(tmp_path, f"{{consent: given, contacts: {str(contacts).lower()}}}", ObedientPbx(refuse))

    async def script() -> None:
        leg = await caller_in(house)
        house.sessions[0].ask("transfer", contact="sales")
        await house.live(3)
        assert len(house.media.legs) == 2
        assert len(house.media.recorded) == contacts
        assert len(store.opened) == 1
        await hung_up(house, leg)
        assert house.ended[0].recording is not None
        assert house.ended[0].recording.ended_early == ("" if contacts else "caller and contact talk")

    play_out(house, script)


def replaced(house: CallHouse, leg: str) -> str:
    """Somebody else takes the caller's place; their leg at the PBX."""
    agent = house.pbx.user_agent
    return agent.invite(
        "gateway",
        Uri.parse("sip:7000@10.0.0.1"),
        offer=description(PBX.host, CALLER_PORT + 2),
        headers=(("Replaces", agent.replaces_value(leg)),),
        now=house.wire.now,
    )


def test_who_takes_the_callers_place_is_not_recorded(tmp_path: Path) -> None:
    house, store = house_with(tmp_path, GIVEN)

    async def script() -> None:
        leg = await caller_in(house)
        new = replaced(house, leg)
        await house.live(2)
        assert (len(house.media.legs), house.media.recorded) == (1, {})
        assert store.opened[0].done.done()
        await hung_up(house, new)
        assert len(store.opened) == 1
        assert house.ended[0].recording is not None
        assert house.ended[0].recording.ended_early == "somebody else is on the line"

    play_out(house, script)


def test_who_takes_the_callers_place_during_the_question_is_asked_and_greeted(tmp_path: Path) -> None:
    house, store = house_with(tmp_path, ASK)

    async def script() -> None:
        leg = await caller_in(house)
        house.sessions[0].say()
        new = replaced(house, leg)
        await house.live(2)
        (line,) = house.media.legs.values()
        assert line.played == [b"file"]
        press(house, "1")
        await house.live(1)
        assert line.played == [b"file", MODEL_AUDIO]
        assert len(house.media.recorded) == 1
        await hung_up(house, new)
        assert house.ended[0].consent is RecordingConsent.AGREED
        assert len(store.opened) == 1

    play_out(house, script)


@pytest.mark.parametrize("seed", range(40))
def test_nobody_is_recorded_who_did_not_agree_whatever_happens(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    house, store = house_with(tmp_path, ASK.replace("}", f", contacts: {str(random.random() < 0.5).lower()}}}"))
    agent = house.pbx.user_agent

    def act(at: float) -> None:
        leg = random.choice(agent._legs.ids or [""])
        match random.randrange(9):
            case 0 | 1 | 2:
                press(house, random.choice("1278"))
            case 3:
                replaced(house, leg)
            case 4:
                house.sessions[0].ask("transfer", contact="sales")
            case 5:
                house.sessions[0].say()
            case 6:
                agent.reoffer(leg, description(PBX.host, CALLER_PORT, version=random.randrange(2, 99)), at)
            case 7 if random.random() < 0.3:
                house.sessions[0].lose()
            case 8 if random.random() < 0.3:
                agent.bye(leg, at)

    async def script() -> None:
        await caller_in(house)
        agreed_on: set[int] = set()
        for _ in range(random.randrange(4, 16)):
            before = set(house.media.recorded)
            forgiving(act)(house.wire.now)
            await house.live(random.uniform(0.02, 3))
            begun = set(house.media.recorded) - before
            consents = [call._call.notes.consent for call in house.manager._calls]
            assert not begun or consents == [RecordingConsent.AGREED]
            agreed_on |= begun
            assert set(house.media.recorded) <= agreed_on
        house.manager.end_all()
        await house.live(70, step_s=0.25)
        assert len(agreed_on) == len(store.opened) <= 1
        assert all(recording.done.done() for recording in store.opened)
        house.assert_nothing_is_left()

    play_out(house, script)
