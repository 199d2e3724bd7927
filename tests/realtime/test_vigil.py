"""How long a silence may last, by its clock."""

from __future__ import annotations

from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.recovery.vigil import Verdict, Vigil

OPTIONS = RecoveryOptions()


def verdicts(vigil: Vigil, start: float, end: float) -> list[tuple[float, Verdict]]:
    """Looked at twenty times a second."""
    times = [start + step / 20 for step in range(round((end - start) * 20) + 1)]
    return [(at, verdict) for at in times if (verdict := vigil.check(at)) is not None]


def test_the_ladder_is_climbed_rung_by_rung() -> None:
    vigil = Vigil(OPTIONS)
    vigil.wait(0.0)
    assert vigil.due == 8.0
    assert verdicts(vigil, 0.0, 60.0) == [(8.0, Verdict.PROMPT), (20.0, Verdict.RECONNECT), (40.0, Verdict.GIVE_UP)]
    assert vigil.due is None


def test_time_in_which_the_caller_speaks_does_not_count() -> None:
    vigil = Vigil(OPTIONS)
    vigil.wait(0.0)
    vigil.pause(5.0)
    assert vigil.due is None
    assert verdicts(vigil, 5.0, 50.0) == []
    vigil.wait(50.0)
    assert verdicts(vigil, 50.0, 60.0) == [(53.0, Verdict.PROMPT)]
    vigil.reset()
    vigil.wait(60.0)
    assert vigil.due == 68.0


def test_a_request_without_any_event_is_a_dead_connection_once() -> None:
    vigil = Vigil(OPTIONS)
    vigil.ask(0.0)
    assert verdicts(vigil, 0.0, 10.0) == [(8.0, Verdict.DEAD)]
    vigil.ask(10.0)
    assert verdicts(vigil, 10.0, 30.0) == []
    vigil.reset()
    vigil.ask(30.0)
    vigil.hear()
    assert verdicts(vigil, 30.0, 60.0) == []
