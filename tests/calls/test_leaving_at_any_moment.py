"""A caller who hangs up, or an operator who ends the call, at any moment of a plan: nothing of it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.calls.events import DrainEnded
from gateway.dialplan import actions as a
from gateway.realtime import session as realtime
from tests.calls.test_step_desk import SOUND, call, house_for, play, say
from tests.support.call_house import CallHouse, ScriptedSession

MENU = a.MenuAction(prompt=say("Verkauf?"), choices={"1": ()}, words={"1": ("Verkauf",)}, wait_s=1, tries=1)
COLLECT = a.CollectAction(prompt=say("Ihre Nummer?"), into="n", wait_s=1, tries=1)
FLOW = (a.RingAction(seconds=1), say("Guten Tag."), MENU, COLLECT, a.ToneAction(tone=a.Tone.BEEP, seconds=0.5))
MOMENTS = [0.05 + 0.45 * moment for moment in range(13)]
"""The plan takes some five seconds, the rest of a second before each end of speech among them."""


def slow(session: ScriptedSession) -> None:
    """A provider that never comes to the end of what it says."""

    def speak(text: str) -> None:
        session.said.append(text)
        session.emit(realtime.ResponseStarted(response_id="r"))
        session.emit(realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=SOUND))

    session.say = speak  # type: ignore[method-assign]


def quick(session: ScriptedSession) -> None:
    """One that does at once."""
    slow(session)
    begin = session.say

    def speak(text: str) -> None:
        begin(text)
        session.emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))

    session.say = speak  # type: ignore[method-assign]


def mute(_session: ScriptedSession) -> None:
    """One that says nothing."""


@pytest.mark.parametrize("provider", [quick, slow, mute])
@pytest.mark.parametrize("is_caller", [True, False])
def test_whoever_ends_the_call_at_whatever_moment_leaves_nothing_behind(
    provider: Callable[[ScriptedSession], Any], is_caller: bool
) -> None:
    for moment in MOMENTS:
        house = house_for(*FLOW)
        house.on_session = provider
        play(house, lambda house=house, moment=moment: _end(house, moment, is_caller=is_caller))  # type: ignore[misc]
        assert all(session.is_closed for session in house.sessions)
        assert len(house.ended) == 1


async def _end(house: CallHouse, moment: float, *, is_caller: bool) -> None:
    leg = await call(house, moment)
    if is_caller:
        house.pbx.user_agent.bye(leg, house.wire.now)
    for running in house.manager._calls if not is_caller else ():
        running.dispatch(DrainEnded())
    await house.live(0.5)
    assert house.manager.call_count == 0
    assert all(session.is_closed for session in house.sessions)
