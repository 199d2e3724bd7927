"""When a session is to be replaced."""

from __future__ import annotations

import pytest

from gateway.realtime.recovery.roll_over import RollOver


@pytest.mark.parametrize(
    ("life_s", "due", "forced"),
    [(3600.0, 3300.0, 3585.0), (60.0, 45.0, 55.0), (None, None, None), (-5.0, None, None)],
)
def test_a_session_is_replaced_well_before_its_end(
    life_s: float | None, due: float | None, forced: float | None
) -> None:
    roll = RollOver(300.0)
    roll.expect(life_s, 1000.0)
    moved = [None if at is None else at + 1000.0 for at in (due, forced)]
    assert [roll.due, roll.forced] == moved


def test_a_warning_makes_it_due_at_once_and_an_early_plan_stays() -> None:
    roll = RollOver(300.0)
    roll.expect(3600.0, 0.0)
    roll.warn(60.0, 100.0)
    assert (roll.due, roll.forced) == (100.0, 145.0)
    roll.put_off(100.0)
    assert roll.due == 110.0
    roll.warn(40.0, 105.0)
    assert (roll.due, roll.forced) == (105.0, pytest.approx(145.0 - 40.0 / 3))
