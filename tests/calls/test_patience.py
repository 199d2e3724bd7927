"""What a caller hears, and what is remembered of a call, while the connection to the model is away."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from gateway.calls.call import CallState
from gateway.calls.conversation.patience import PATIENCE_ITEM, Patience
from gateway.calls.events import Outcome
from gateway.calls.task import CallTask
from gateway.dialplan.load import load_dialplan
from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.realtime import session as realtime
from gateway.realtime.recovery.endpoints import Endurance
from gateway.realtime.recovery.options import RecoveryOptions
from tests.calls.test_task import ObedientPbx, talking
from tests.support.call_house import MODEL_AUDIO, CallHouse, ScriptedSession, play_out

PLAN = """
version: 1
name: patience
timezone: UTC
sessions: {reception: {use: default}}
routes: [{name: talk, do: [{session: reception}]}]
"""
GONE = ProviderUnavailable("gone", code="unreachable")


def house_of(folder: Path, *, down: str = "", **options: float) -> CallHouse:
    file = folder / "plan.yaml"
    file.write_text(PLAN + down)
    endurance = Endurance(recovery=RecoveryOptions(**options))  # type: ignore[arg-type]
    return CallHouse(load_dialplan(file), ObedientPbx(), endurance=endurance)


def refuse(error: ProviderError | None, house: CallHouse) -> None:
    def refused(session: ScriptedSession) -> None:
        session.refusal = error

    house.on_session = refused


def reply(session: ScriptedSession) -> None:
    """The model says something."""
    session.emit(realtime.ResponseStarted(response_id="r"))
    session.say()
    session.emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))


def tones(house: CallHouse) -> int:
    """Tones that were played to whoever is here."""
    return sum(leg.played.count(PATIENCE_ITEM.encode()) for leg in house.media.legs.values())


async def end(house: CallHouse, call: CallTask) -> None:
    call.hang_up()
    await house.live(40, step_s=0.25)
    house.assert_nothing_is_left()


def test_a_call_goes_on_with_another_session_and_its_record_tells(tmp_path: Path) -> None:
    house = house_of(tmp_path)

    async def script() -> None:
        call, _ = await talking(house)
        house.sessions[0].lose()
        await house.live(0.5)
        assert call._call.state is CallState.TALKING
        first, second = house.sessions
        heard = len(second.heard)
        second.say()
        await house.live(0.1)
        assert len(second.heard) > heard
        assert any(MODEL_AUDIO in leg.played for leg in house.media.legs.values())
        assert tones(house) == 0
        assert first.is_closed
        await end(house, call)
        (record,) = house.ended
        assert (record.reconnects, record.renewals) == (1, 0)
        assert 0 <= record.longest_gap_ms < 500

    play_out(house, script)


def test_a_caller_who_waits_hears_a_tone_after_a_second_and_a_half_until_the_model_is_back(tmp_path: Path) -> None:
    house = house_of(tmp_path, attempts=100, window_s=60.0)

    async def script() -> None:
        call, _ = await talking(house)
        refuse(GONE, house)
        house.sessions[0].lose()
        await house.live(1.4)
        assert tones(house) == 0
        await house.live(0.6)
        assert tones(house) == 1
        await house.live(2.0)
        assert tones(house) == 2
        refuse(None, house)
        await house.live(2.5)
        reply(house.sessions[-1])
        heard = tones(house)
        await house.live(10.0)
        assert tones(house) == heard
        await end(house, call)
        assert house.ended[0].longest_gap_ms > 4000

    play_out(house, script)


def test_a_caller_of_a_model_that_is_silent_hears_tones_over_another_connection_until_it_speaks(tmp_path: Path) -> None:
    house = house_of(tmp_path, prompt_after_s=2.0, reconnect_after_s=5.0, give_up_after_s=60.0, no_event_s=60.0)

    async def script() -> None:
        call, _ = await talking(house)  # a greeting is owed
        await house.live(2.5)
        assert tones(house) == 1
        await house.live(2.0)
        assert tones(house) == 2
        await house.live(1.0)
        assert len(house.sessions) == 2
        await house.live(4.0)
        assert tones(house) >= 4
        reply(house.sessions[-1])
        heard = tones(house)
        await house.live(10.0)
        assert tones(house) == heard
        await end(house, call)

    play_out(house, script)


def test_a_call_whose_providers_are_all_gone_ends_as_before(tmp_path: Path) -> None:
    house = house_of(tmp_path)

    async def script() -> None:
        await talking(house)
        refuse(ProviderRefused("no such key", code="invalid_api_key"), house)
        house.sessions[0].lose()
        await house.live(1.0)
        await house.live(40, step_s=0.25)
        (record,) = house.ended
        assert (record.outcome, record.cause) == (Outcome.FAILED, "no such key")
        assert len(house.sessions) == 2
        house.assert_nothing_is_left()

    play_out(house, script)


def test_a_caller_who_hangs_up_during_the_gap_leaves_nothing_behind(tmp_path: Path) -> None:
    house = house_of(tmp_path)

    async def script() -> None:
        call, _ = await talking(house)
        refuse(GONE, house)
        house.sessions[0].lose()
        await house.live(2.0)
        await end(house, call)

    play_out(house, script)


def test_a_model_that_owes_a_reply_is_covered_up_for(tmp_path: Path) -> None:
    house = house_of(tmp_path, prompt_after_s=3.0)

    async def script() -> None:
        call, _ = await talking(house)
        session = house.sessions[0]
        session.emit(realtime.ResponseStarted(response_id="r"))
        session.emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))
        session.emit(realtime.SpeechStarted(item_id="u", audio_start_ms=0))
        session.emit(realtime.SpeechStopped(item_id="u", audio_end_ms=0))
        await house.live(2.9)
        assert tones(house) == 0
        await house.live(2.0)
        assert tones(house) == 1
        session.emit(realtime.ResponseStarted(response_id="r2"))
        await house.live(5.0)
        assert tones(house) == 1
        await end(house, call)

    play_out(house, script)


def test_tones_keep_their_pace_in_a_process_that_is_always_late() -> None:
    loop, clock = asyncio.new_event_loop(), [1000.0]
    loop.time = lambda: clock[0]  # type: ignore[method-assign]
    heard: list[float] = []
    engine = SimpleNamespace(
        queued_ms=lambda _leg: 0.0, play_pcm=lambda *_: heard.append(clock[0]), end_item=lambda *_: None
    )
    patience = Patience(SimpleNamespace(engine=engine), lambda: 1)  # type: ignore[arg-type]
    loop.call_soon(patience.begin)
    for _ in range(200):
        loop.call_soon(loop.stop)
        loop.run_forever()
        clock[0] += 0.07
    loop.call_soon(patience.end)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    gaps = [later - earlier for earlier, later in pairwise(heard)]
    assert len(gaps) >= 5
    assert max(gaps) < 2.1
    assert min(gaps) >= 2.0 - 1e-6
