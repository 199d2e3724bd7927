"""Each kind of turn comes about, and each can fail: a wrong expectation names its turn, and says what came instead."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.calls.record import Speech
from gateway.dialplan.dialogue import BargeIn, BeSilent, Expect, Expected, HangUp, Hear, Press, Say, Turn
from gateway.simulate.dialogue_caller import DialogueCaller, Patience, described
from gateway.simulate.dialogue_report import TurnReport
from gateway.simulate.expectations import Facts
from tests.support.scripted_agent import ScriptedAgent

SPEECH = np.full(8000, 2000, np.int16)


class AnyText(dict[str, NDArray[np.int16]]):
    """A voice for whatever is said: a second of it."""

    def __missing__(self, _text: str) -> NDArray[np.int16]:
        return SPEECH


async def as_said(_heard: NDArray[np.int16], _speech: Speech) -> bool:
    return True


async def otherwise(_heard: NDArray[np.int16], _speech: Speech) -> bool:
    return False


async def play(
    agent: ScriptedAgent, *turns: Turn, is_heard=as_said, patience: Patience | None = None
) -> list[TurnReport]:
    caller = DialogueCaller(agent.call, agent, is_heard=is_heard, voices=AnyText(), patience=patience)
    async with agent:
        await caller.play(turns)
    return caller.reports


def failures(reports: list[TurnReport]) -> dict[int, str]:
    return {report.number: report.failure for report in reports if report.failure}


def hear(text: str) -> Hear:
    return Hear(line=7, text=text)


def say(text: str) -> Say:
    return Say(line=8, text=text)


async def test_a_whole_conversation_comes_about() -> None:
    agent = ScriptedAgent("Welcome to Acme, how can I help?", replies=["We open at nine.", "Goodbye then."])
    agent.current = Facts(route="day")
    reports = await play(
        agent,
        hear("welcome to Acme"),
        hear("how can I help"),
        Expect(line=9, expected=Expected(route="day")),
        say("When do you open?"),
        hear("open at nine"),
        Press(line=10, keys="12"),
        hear("goodbye"),
        BeSilent(line=11, seconds=3),
        HangUp(line=12),
    )
    assert failures(reports) == {}
    assert [report.number for report in reports] == list(range(1, 10))
    assert agent.pressed == "12"
    assert agent.said == [len(SPEECH)]
    assert reports[4].came == "We open at nine."


async def test_words_that_are_not_said_fail_their_turn_with_what_was_said() -> None:
    reports = await play(ScriptedAgent("Welcome to Acme."), hear("welcome"), hear("our opening hours"), hear("never"))
    assert [report.line for report in reports] == [7, 7]
    assert failures(reports) == {2: "the agent said 'to acme'"}


async def test_words_are_not_heard_twice() -> None:
    reports = await play(ScriptedAgent("Welcome to Acme."), hear("welcome to Acme"), hear("welcome to Acme"))
    assert failures(reports) == {2: "the agent said nothing more after 'Welcome to Acme.'"}


async def test_an_agent_that_says_nothing_fails_the_first_turn() -> None:
    assert failures(await play(ScriptedAgent(), hear("welcome"))) == {1: "the agent said nothing"}


async def test_words_without_a_sound_at_the_telephone_are_not_heard() -> None:
    reports = await play(ScriptedAgent("Welcome.", is_mute=True), hear("welcome"))
    assert failures(reports) == {1: "the agent said 'Welcome.', but nothing was heard at the telephone"}


async def test_words_with_the_sound_of_others_are_not_heard() -> None:
    reports = await play(ScriptedAgent("Welcome."), hear("welcome"), is_heard=otherwise)
    assert failures(reports) == {1: "the agent said 'Welcome.', but something else was heard at the telephone"}


async def test_the_caller_waits_until_the_agent_has_finished() -> None:
    agent = ScriptedAgent(" ".join(["word"] * 20))
    await play(agent, say("Now it is my turn."))
    start_ms = agent.call.said_until_ms - 1000
    assert start_ms >= 200 + 20 * 200 + Patience().pause_ms


async def test_a_second_sentence_waits_for_the_answer_to_the_first() -> None:
    agent = ScriptedAgent("Welcome.", replies=["The answer is forty two."])
    reports = await play(agent, say("What is the answer?"), say("And what was the question?"))
    assert failures(reports) == {}
    assert len(agent.speeches) == 2


async def test_saying_something_to_a_call_that_has_ended_fails() -> None:
    agent = ScriptedAgent("Goodbye.", leaves_after=0, facts=Facts(outcome="gateway-hung-up"))
    reports = await play(agent, hear("goodbye"), say("But I have a question."))
    assert failures(reports) == {
        2: "the call has ended (gateway-hung-up); the agent said nothing more after 'Goodbye.'"
    }


@pytest.mark.parametrize("turn", [Press(line=1, keys="1"), BeSilent(line=1, seconds=1), hear("more")])
async def test_nothing_can_be_done_in_a_call_that_has_ended(turn: Turn) -> None:
    agent = ScriptedAgent("Goodbye.", leaves_after=0)
    reports = await play(agent, hear("goodbye"), turn)
    assert list(failures(reports)) == [2]
    assert "the call has ended" in failures(reports)[2]


async def test_an_agent_who_is_interrupted_falls_silent() -> None:
    agent = ScriptedAgent("Welcome.", replies=[" ".join(["word"] * 30), "Yes?"])
    reports = await play(
        agent, hear("welcome"), say("Tell me a lot."), BargeIn(line=1, text="Enough of that."), hear("yes")
    )
    assert failures(reports) == {}
    assert reports[2].came.startswith("the agent was silent after")
    assert agent.speeches[1].heard_text is not None


async def test_an_agent_who_goes_on_speaking_fails_the_interruption() -> None:
    agent = ScriptedAgent("Welcome.", replies=[" ".join(["word"] * 60)], is_stubborn=True)
    reports = await play(agent, hear("welcome"), say("Tell me a lot."), BargeIn(line=1, text="Enough of that."))
    assert failures(reports) == {3: "the agent went on speaking"}


async def test_silence_cannot_be_interrupted() -> None:
    reports = await play(ScriptedAgent("Welcome."), hear("welcome"), BargeIn(line=1, text="Enough of that."))
    assert failures(reports) == {2: "there was nothing to interrupt: the agent said nothing more after 'Welcome.'"}


async def test_what_is_said_into_silence_is_told_of_the_silence() -> None:
    agent = ScriptedAgent("Welcome.", replies=["Are you still there?"])
    reports = await play(agent, hear("welcome"), Press(line=1, keys="9"), BeSilent(line=2, seconds=4))
    assert reports[2].came == "the agent said 'Are you still there?'"


async def test_an_expectation_may_come_true_a_little_later() -> None:
    agent = ScriptedAgent("Welcome.")
    agent.call.on_frame = lambda call: setattr(
        agent, "current", Facts(route="day", escalations=("zero",) if call.time_ms > 3000 else ())
    )
    reports = await play(agent, Expect(line=1, expected=Expected(route="day", escalation="zero")))
    assert failures(reports) == {}


def transfer_taken_after(agent: ScriptedAgent, taken_ms: int) -> None:
    """The contact is called at once, and has taken the call then."""
    calling, taken = Facts(reached_for="desk", is_calling=True), Facts(transfer="desk")
    agent.call.on_frame = lambda call: setattr(agent, "current", taken if call.time_ms > taken_ms else calling)


async def test_an_expectation_waits_on_while_a_contact_is_being_called() -> None:
    agent = ScriptedAgent("Welcome.")
    transfer_taken_after(agent, 25_000)
    assert failures(await play(agent, Expect(line=1, expected=Expected(transfer="desk")))) == {}


async def test_a_contact_who_never_takes_the_call_is_not_waited_for_without_end() -> None:
    agent = ScriptedAgent("Welcome.")
    transfer_taken_after(agent, 100_000)
    reports = await play(agent, Expect(line=1, expected=Expected(transfer="desk")))
    assert failures(reports) == {1: "expected transfer desk, but the caller was not connected, desk is being called"}


async def test_behind_a_call_that_failed_nothing_is_waited_for_long() -> None:
    agent = ScriptedAgent("Welcome.", facts=Facts(reached_for="desk"))
    reports = await play(agent, Expect(line=1, expected=Expected(transfer="desk")), patience=Patience(calling_ms=10**6))
    assert failures(reports) == {1: "expected transfer desk, but the caller was not connected, desk was called"}
    assert agent.call.time_ms < 15_000


async def test_an_expectation_that_does_not_hold_says_what_is_so() -> None:
    agent = ScriptedAgent("Welcome.", facts=Facts(route="night", tools=["hang_up"]))
    turns = [Expect(line=1, expected=Expected(route="night")), Expect(line=2, expected=Expected(route="day"))]
    reports = await play(agent, *turns)
    assert failures(reports) == {2: "expected route day, but it is night"}
    assert reports[1].line == 2


async def test_a_refused_call_fails_what_needs_it() -> None:
    agent = ScriptedAgent()
    agent.call.answered.clear()
    agent.call.refused = 603
    agent.call.note_end()
    reports = await play(agent, hear("welcome"))
    assert failures(reports) == {1: "the gateway refused the call with 603"}


@pytest.mark.parametrize(
    "turn", [hear("welcome"), say("Hello?"), BargeIn(line=1, text="Hey!"), Press(line=1, keys="1")]
)
async def test_a_dialogue_that_hangs_is_ended(turn: Turn) -> None:
    agent = ScriptedAgent("Welcome.", stands_still=True)
    voices = {"Hello?": SPEECH[:80], "Hey!": SPEECH[:80]}
    caller = DialogueCaller(agent.call, agent, is_heard=as_said, voices=voices, patience=Patience(stuck_s=0.05))
    async with agent, asyncio.timeout(3):
        await caller.play((turn, HangUp(line=2)))
    assert failures(caller.reports) == {1: "nothing went on for 0.05 s; the agent said nothing"}


async def test_a_telephone_that_is_never_answered_ends_the_dialogue() -> None:
    agent = ScriptedAgent()
    agent.call.answered.clear()
    reports = await play(agent, say("Hello?"), patience=Patience(stuck_s=0.05))
    assert list(failures(reports)) == [1]


def test_turns_are_described_as_plans_write_them() -> None:
    turns: list[Turn] = [
        hear("a"),
        say("b"),
        BargeIn(line=1, text="c"),
        Press(line=1, keys="12#"),
        BeSilent(line=1, seconds=2.5),
        HangUp(line=1),
        Expect(line=1, expected=Expected(route="day", tools=("x", "y"), vars={"n": "1"})),
    ]
    assert [described(turn) for turn in turns] == [
        "hear 'a'",
        "say 'b'",
        "barge_in 'c'",
        "dtmf 12#",
        "silence 2.5s",
        "hang_up",
        "expect route: day, tools: [x, y], vars.n: 1",
    ]
