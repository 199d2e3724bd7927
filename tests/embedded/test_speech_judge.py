"""The judge of all sessions' chunks: what comes together is judged together, in each session's order, and fairly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.embedded import speech_judge
from gateway.embedded.silero import SpeechModel
from gateway.embedded.speech_judge import SpeechJudge
from tests.support.aio import eventually


class Scale:
    """A network that answers with the loudest sample in hundredths, and tells what came at once."""

    def __init__(self) -> None:
        self.batches: list[dict[int, float]] = []
        self.forgotten: list[int] = []

    def probabilities(self, chunks: Mapping[int, NDArray[np.int16]]) -> dict[int, float]:
        self.batches.append({stream: int(chunk.max()) / 100 for stream, chunk in chunks.items()})
        return self.batches[-1]

    def forget(self, stream: int) -> None:
        self.forgotten.append(stream)


class Listener:
    """A session that notes what it is told."""

    def __init__(self, judge: SpeechJudge, stream: int) -> None:
        self.judge, self.stream = judge, stream
        self.told: list[float] = []

    def say(self, *levels: int) -> None:
        for level in levels:
            self.judge.listen(self.stream, np.full(256, level, "<i2").tobytes(), self.told.append)


def judge_with(scale: Scale) -> SpeechJudge:
    return SpeechJudge(scale)  # type: ignore[arg-type]


async def test_chunks_of_all_sessions_are_judged_at_once() -> None:
    scale = Scale()
    judge = judge_with(scale)
    sessions = [Listener(judge, number) for number in range(20)]
    for session in sessions:
        session.say(session.stream)
    assert not scale.batches
    await eventually(lambda: scale.batches)
    assert [session.told for session in sessions] == [[number / 100] for number in range(20)]
    assert len(scale.batches) == 1


async def test_each_session_is_answered_in_the_order_in_which_it_asked() -> None:
    scale = Scale()
    judge = judge_with(scale)
    one, other = Listener(judge, 1), Listener(judge, 2)
    one.say(1, 2, 3)
    other.say(7)
    await eventually(lambda: len(one.told) == 3)
    assert (one.told, other.told) == ([0.01, 0.02, 0.03], [0.07])
    assert scale.batches == [{1: 0.01, 2: 0.07}, {1: 0.02}, {1: 0.03}]
    one.say(4)
    await eventually(lambda: one.told[3:] == [0.04])


async def test_session_that_sends_much_at_once_does_not_keep_the_others_waiting() -> None:
    scale = Scale()
    judge = judge_with(scale)
    flood, other = Listener(judge, 1), Listener(judge, 2)
    flood.say(*[1] * 1000)
    await eventually(lambda: flood.told)
    before = len(scale.batches)
    other.say(5)
    await eventually(lambda: other.told)
    assert scale.batches[before] == {1: 0.01, 2: 0.05}
    assert before < 1000
    judge.close()


async def test_batch_has_an_upper_limit_and_everybody_gets_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_judge, "MAX_BATCH", 4)
    scale = Scale()
    judge = judge_with(scale)
    sessions = [Listener(judge, number) for number in range(10)]
    for session in sessions:
        session.say(1, 2)
    await eventually(lambda: all(len(session.told) == 2 for session in sessions))
    assert [len(batch) for batch in scale.batches] == [4] * 5
    first_told = [stream for batch in scale.batches for stream, level in batch.items() if level == 0.01]
    assert first_told == list(range(10))


async def test_session_that_leaves_is_not_answered_and_not_remembered() -> None:
    scale = Scale()
    judge = judge_with(scale)
    gone, stays = Listener(judge, 1), Listener(judge, 2)
    gone.say(1)
    stays.say(2)
    judge.forget(1)
    await eventually(lambda: stays.told)
    assert gone.told == []
    assert scale.forgotten == [1]


async def test_nobody_left_to_listen_to_is_nothing_to_do() -> None:
    scale = Scale()
    judge = judge_with(scale)
    gone, late = Listener(judge, 1), Listener(judge, 2)
    gone.say(1)
    judge.forget(1)
    await asyncio.sleep(2 * speech_judge.WINDOW_S)
    late.say(2)
    await eventually(lambda: late.told)
    assert scale.batches == [{2: 0.02}]


async def test_answer_that_cannot_be_used_is_the_trouble_of_its_session_alone(caplog: pytest.LogCaptureFixture) -> None:
    scale = Scale()
    judge = judge_with(scale)

    def fail(_probability: float) -> None:
        raise RuntimeError("no use")

    judge.listen(1, bytes(512), fail)
    other = Listener(judge, 2)
    other.say(3)
    await eventually(lambda: other.told)
    assert "what was heard of stream 1 could not be used" in caplog.text


async def test_closed_judge_answers_nobody() -> None:
    scale = Scale()
    judge = judge_with(scale)
    session = Listener(judge, 1)
    session.say(1)
    judge.close()
    await asyncio.sleep(2 * speech_judge.WINDOW_S)
    assert session.told == []
    assert scale.batches == []


async def test_network_remembers_who_is_there_and_nobody_else() -> None:
    judge = SpeechJudge(SpeechModel())
    sessions = [Listener(judge, number) for number in range(20)]
    for session in sessions:
        session.say(0, 0)
    await eventually(lambda: all(len(session.told) == 2 for session in sessions))
    assert judge.streams == 20
    for session in sessions:
        judge.forget(session.stream)
    assert judge.streams == 0
