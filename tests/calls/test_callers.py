"""Who has called before gets another route from the second call on; and a plan with every word takes calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.dialplan.load import load_dialplan
from gateway.records.callers import CallerOptions, Callers
from gateway.sip.message import Uri
from tests.support.call_house import NOON, CallHouse, play_out
from tests.support.plans import EVERY_WORD, load_plan
from tests.support.wire import PBX, description

PLAN = """
version: 1
name: plain
timezone: UTC
sessions:
  reception: {use: default}
routes:
  - {name: again, match: {seen: 30d}, do: [{session: reception}]}
  - {name: first, do: [{session: reception}]}
"""


def test_the_second_call_of_a_number_is_known_as_such(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    house = CallHouse(load_dialplan(file), lambda *_: None)
    callers = Callers(CallerOptions(file=tmp_path / "callers.db"))
    callers.start(NOON)
    house.manager._services = replace(house.services, callers=callers)

    async def script() -> None:
        for _ in range(2):
            target = Uri.parse("sip:7000@10.0.0.1")
            house.pbx.user_agent.invite("gateway", target, offer=description(PBX.host, 20000), now=house.wire.now)
            await house.live(2)
            for call in list(house.manager._calls):
                call.hang_up()
            await house.live(2)

    play_out(house, script)
    callers.close()
    assert [record.route for record in house.ended] == ["first", "again"]
    assert house.faults == []


def test_a_plan_with_every_word_takes_a_call(tmp_path: Path) -> None:
    house = CallHouse(load_plan(tmp_path, EVERY_WORD.replace('match: {to: "7000"}', "match: {}")), lambda *_: None)

    async def script() -> None:
        target = Uri.parse("sip:7000@10.0.0.1")
        house.pbx.user_agent.invite("gateway", target, offer=description(PBX.host, 20000), now=house.wire.now)
        await house.live(4)
        for call in list(house.manager._calls):
            call.hang_up()
        await house.live(2)

    play_out(house, script)
    assert [record.route for record in house.ended] == ["menu"]
    assert house.faults == []
