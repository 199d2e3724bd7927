"""Whether the provider is told who calls is the operator's to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.dialplan.load import load_dialplan
from gateway.realtime.session import SessionOptions
from gateway.sip.message import Uri
from tests.support.call_house import CallHouse, play_out
from tests.support.wire import PBX, description

PLAN = """
version: 1
name: plain
timezone: UTC
sessions:
  reception: {use: default}
routes: [{name: talk, do: [{session: reception}]}]
"""


@pytest.mark.parametrize("is_identified", [True, False])
def test_callers_number_reaches_the_session_only_where_it_is_to(tmp_path: Path, is_identified: bool) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    house = CallHouse(load_dialplan(file), lambda *_: None)
    base = SessionOptions(provider="scripted", url="ws://127.0.0.1", identifies_callers=is_identified)
    services = replace(house.services, sessions={"default": base})
    house.manager._services = services

    async def script() -> None:
        target = Uri.parse("sip:7000@10.0.0.1")
        house.pbx.user_agent.invite("gateway", target, offer=description(PBX.host, 20000), now=house.wire.now)
        await house.live(2)
        for call in list(house.manager._calls):
            call.hang_up()
        await house.live(2)

    play_out(house, script)
    (session,) = house.sessions
    assert bool(session.options.caller) == is_identified
    assert house.faults == []
