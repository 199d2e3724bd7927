"""``hang_up_after``: who is spared, and who is not."""

from __future__ import annotations

from gateway.calls.escalation.facts import CallerHeard, CallerSaid, ToolsBroken
from gateway.calls.escalation.farewell import Farewell

WORDS, NOTHING = CallerSaid(text="I am here"), CallerSaid(text="")
ECHO = CallerSaid(text="Are you there", echoed=frozenset(range(3)))


def begun() -> Farewell:
    farewell = Farewell()
    assert farewell.begin(15.0) == 15.0
    return farewell


def test_nothing_is_due_before_it_has_begun() -> None:
    assert not Farewell().expire()
    assert Farewell().hear(NOTHING) is None


def test_it_is_due_when_nothing_was_heard() -> None:
    farewell = begun()
    farewell.hear(ToolsBroken(count=1))
    assert farewell.expire()


def test_a_second_one_meanwhile_delays_nothing() -> None:
    farewell = begun()
    assert farewell.begin(15.0) is None
    assert farewell.expire()


def test_a_key_spares_the_caller_until_it_begins_again() -> None:
    farewell = begun()
    farewell.spare()
    assert farewell.begin(5.0) == 5.0
    assert farewell.expire()


def test_words_spare_the_caller() -> None:
    farewell = begun()
    assert [farewell.hear(CallerHeard()), farewell.hear(WORDS)] == [None, None]
    assert farewell.hear(NOTHING) is None
    assert farewell.begin(5.0) == 5.0


def test_a_sound_spares_the_caller_until_it_turns_out_to_be_no_words_or_the_agents_own() -> None:
    for heard in (NOTHING, ECHO):
        farewell = begun()
        farewell.hear(CallerHeard())
        assert farewell.hear(heard) == 15.0
        assert farewell.expire()


def test_time_that_is_up_without_an_end_is_forgotten() -> None:
    farewell = begun()
    farewell.hear(CallerHeard())
    assert not farewell.expire()
    assert farewell.hear(NOTHING) is None
    assert farewell.begin(15.0) == 15.0
    assert [farewell.expire(), farewell.expire()] == [True, False]


def test_a_caller_who_was_spared_is_not_hung_up_on() -> None:
    for sign in (WORDS, None):
        farewell = begun()
        if sign is None:
            farewell.spare()
        else:
            farewell.hear(sign)
        assert not farewell.expire()
