"""Sounds are read when a plan is loaded, wherever in it they stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.calls.speaking.sounds import load_sound, load_sounds
from gateway.dialplan import actions as a
from gateway.dialplan.model import Dialplan, Match, Route, SessionPlan
from gateway.errors import ConfigurationError
from tests.support.bare_plan import BARE_PLAN
from tests.support.plans import write_sound


def plan_that(action: a.Action) -> Dialplan:
    return replace(BARE_PLAN, routes=(Route(name="r", match=Match(), actions=(action,)),))


@pytest.mark.parametrize("place", ["list", "prompt", "choice", "otherwise", "timeout", "number", "failed"])
def test_a_file_is_read_before_anybody_calls(tmp_path: Path, place: str) -> None:
    played = a.PlayAction(file=tmp_path / "x.wav")
    menu = a.MenuAction(prompt=None, choices={"1": ()}, words={})
    collect = a.CollectAction(prompt=None, into="n")
    action: a.Action = {
        "list": played,
        "prompt": replace(menu, prompt=played),
        "choice": replace(menu, choices={"1": (replace(menu, choices={"2": (played,)}),)}),
        "otherwise": replace(menu, otherwise=(played,)),
        "timeout": replace(menu, timeout=(played,)),
        "number": replace(collect, prompt=played),
        "failed": replace(collect, failed=(played,)),
    }[place]
    with pytest.raises(ConfigurationError, match=r"x\.wav"):
        load_sounds(plan_that(action))
    write_sound(tmp_path / "x.wav")
    load_sounds(plan_that(action))
    assert load_sound.cache_info().currsize == 1


def test_a_protected_sound_of_a_session_is_read_before_anybody_calls(tmp_path: Path) -> None:
    protected = (a.PlayAction(file=tmp_path / "x.wav", is_protected=True),)
    session = SessionPlan(name="s", use="default", greeting=None, instructions=None, tools=(), protected=protected)
    plan = replace(BARE_PLAN, sessions={"s": session})
    with pytest.raises(ConfigurationError, match=r"x\.wav"):
        load_sounds(plan)
