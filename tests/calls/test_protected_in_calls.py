"""Whole calls with a protected prompt: no provider's news stops it, and what was said meanwhile comes to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway.dialplan import actions as a
from gateway.dialplan.model import Dialplan, Match, Route, SessionPlan
from gateway.dialplan.triggers import Escalation, Said
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from gateway.realtime.gemini.session import CAPABILITIES as GEMINI
from gateway.realtime.openai.session import CAPABILITIES as OPENAI
from gateway.realtime.openai_live.session import CAPABILITIES as OPENAI_LIVE
from gateway.sip.message import Uri
from tests.calls.test_step_desk import SOUND, call, heard, said, say, speaks
from tests.calls.test_step_desk import play as play_steps
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_house import BookedLeg, CallHouse, ScriptedSession, _AnySession, play_out
from tests.support.plans import write_sound
from tests.support.wire import GATEWAY, PBX, description

NOTICE_S = 3.0
VOICE = np.random.default_rng(1).integers(-8000, 8000, 480).astype("<i2").tobytes()
SILENCE = bytes(960)
SESSION = SessionPlan(
    name="reception",
    use="default",
    greeting=None,
    instructions=None,
    tools=(),
)
PLAN = replace(
    BARE_PLAN,
    sessions={"reception": SESSION},
    routes=(Route(name="talk", match=Match(), actions=(a.SessionAction(name="reception"),)),),
)


class House(CallHouse):
    """A sound takes its time here until it is flushed, and the caller speaks when `is_speaking`."""

    def __init__(self, plan: Dialplan) -> None:
        super().__init__(plan, lambda _party, _event, _now: None)
        self.is_speaking = False
        self.flushed = self.spoken = 0
        self._plays_until_s = 0.0
        self.media.play_pcm = self._play  # type: ignore[method-assign]
        self.media.queued_ms = lambda _leg: max(0.0, self._plays_until_s - self.wire.now) * 1000  # type: ignore[method-assign]
        self.media.flush = self._flush  # type: ignore[method-assign]

    @property
    def is_playing(self) -> bool:
        return self.wire.now < self._plays_until_s

    def _play(self, _leg: int, _item: str, _pcm: object) -> None:
        self._plays_until_s = self.wire.now + NOTICE_S

    def _flush(self, _leg: int) -> tuple[()]:
        self._plays_until_s = 0.0
        self.flushed += 1
        return ()

    def tell_end(self) -> None:
        """Tell of a sound that has been heard to its end, once."""
        if self._plays_until_s and not self.is_playing:
            self._plays_until_s = 0.0
            for leg in self.media.legs.values():
                leg.sink.on_item_finished("file", 0)

    def _voice_of(self, _leg: BookedLeg) -> bytes:
        self.spoken += self.is_speaking
        return VOICE if self.is_speaking else SILENCE


def barge_in(session: ScriptedSession) -> None:
    """All that providers tell of a caller who breaks in."""
    session.emit(realtime.ResponseStarted(response_id="r"))
    session.emit(realtime.SpeechStarted(item_id="u", audio_start_ms=0))
    session.emit(realtime.Interrupted())


@pytest.fixture
def house(tmp_path: Path) -> House:
    write_sound(tmp_path / "notice.wav")
    notice = a.PlayAction(file=tmp_path / "notice.wav", is_protected=True)
    return House(replace(PLAN, sessions={"reception": replace(SESSION, protected=(notice,))}))


def play(house: House, capabilities: realtime.Capabilities, each: Callable[[ScriptedSession], None]) -> None:
    """A call whose caller speaks in the first second of the prompt; `each` is done in every step."""

    def begin(session: ScriptedSession) -> None:
        session.capabilities = capabilities

    async def script() -> None:
        house.on_session = begin
        uri, offer = Uri.parse(f"sip:7000@{GATEWAY.host}"), description(PBX.host, 20000)
        house.pbx.user_agent.invite("gateway", uri, offer=offer, now=house.wire.now)
        while not house.is_playing:
            await house.live(0.02)
        (leg,) = house.media.legs.values()
        assert leg.options.uplink is house.sessions[0].options.input_format is AudioFormat.PCM16_24K
        await house.live(0.5)
        house.is_speaking = True
        await house.live(0.5)
        house.is_speaking = False
        await house.live(5, lambda: (house.tell_end(), each(house.sessions[0])))
        for left in list(house.manager._calls):
            left.hang_up()
        await house.live(40, step_s=0.25)
        house.assert_nothing_is_left()

    play_out(house, script)


@pytest.mark.parametrize("capabilities", [OPENAI, GEMINI, OPENAI_LIVE], ids=["openai", "gemini", "openai_live"])
def test_no_dialect_stops_it_and_each_stops_what_comes_behind_it(
    house: House, capabilities: realtime.Capabilities
) -> None:
    flushed: dict[bool, int] = {True: 0, False: 0}

    def each(session: ScriptedSession) -> None:
        was_playing, before = house.is_playing, house.flushed
        barge_in(session)
        flushed[was_playing] += house.flushed - before

    play(house, capabilities, each)
    assert flushed[True] == 0
    assert flushed[False] > 0


@pytest.mark.parametrize(("capabilities", "is_told"), [(OPENAI, True), (GEMINI, True), (OPENAI_LIVE, False)])
def test_what_was_said_meanwhile_is_told_once_unless_the_model_hears_at_the_pace_of_speech(
    house: House, capabilities: realtime.Capabilities, *, is_told: bool
) -> None:
    def each(session: ScriptedSession) -> None:
        if house.is_playing:
            assert session.heard == []

    play(house, capabilities, each)
    assert house.sessions[0].heard.count(VOICE) == (house.spoken if is_told else 0)


def test_a_text_is_spoken_by_the_kind_of_session_that_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def options(_self: object, name: str) -> realtime.SessionOptions:
        return realtime.SessionOptions(provider="scripted", url="ws://127.0.0.1", voice=name)

    monkeypatch.setattr(_AnySession, "__getitem__", options)
    law = replace(say("You speak with a machine."), is_protected=True, use="grand")
    session = replace(SESSION, use="grand", protected=(law,))
    house = CallHouse(replace(PLAN, sessions={"reception": session}), lambda _party, _event, _now: None)
    house.on_session = speaks()

    async def script() -> None:
        await call(house)
        assert [opened.options.voice for opened in house.sessions] == ["grand", "grand"]
        assert house.sessions[1].said == ["You speak with a machine."]
        assert heard(house) == [SOUND]
        for left in list(house.manager._calls):
            left.hang_up()

    play_steps(house, script)


@pytest.mark.parametrize(("is_protected", "fires"), [(True, False), (False, True)])
def test_a_protected_text_that_comes_back_from_a_loudspeaker_sets_nothing_off(
    *, is_protected: bool, fires: bool
) -> None:
    law = replace(say("In an emergency please hang up."), is_protected=is_protected)
    down = Escalation(name="urgent", trigger=Said(phrases=("emergency",)), actions=(a.HangUpAction(),))
    flow = replace(PLAN.routes[0], actions=(law, a.SessionAction(name="reception")))
    plan = replace(PLAN, routes=(flow,), escalations=(down,))
    if is_protected:
        plan = replace(PLAN, sessions={"reception": replace(SESSION, protected=(law,))}, escalations=(down,))
    house = CallHouse(plan, lambda _party, _event, _now: None)
    house.on_session = speaks()

    async def script() -> None:
        await call(house)
        for running in house.manager._calls:
            running.on_item_finished("speech", 0)
        await house.live(1)
        session = next(each for each in house.sessions if not each.said)
        said(session, "In an emergency please hang up")
        await house.live(1)
        assert (not house.manager._calls) is fires
        for left in list(house.manager._calls):
            left.hang_up()

    play_steps(house, script)
