"""What callers say over the telephone is scored by what the gateway's transcript has of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls.record import CallRecord, Speaker, Speech
from gateway.cli import heard_calls
from gateway.cli.heard_calls import Listener, Teller, Turn, measure_calls
from gateway.cli.service import load_plans
from gateway.config import load_configuration
from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.phrasebook import Phrases
from gateway.simulate import bench_hearing
from gateway.simulate.bench_embedded import sums
from gateway.simulate.bench_hearing import DEPARTMENTS, HearingRow
from gateway.sip.message import Address


def turn(meant: str, *heard: str, sentences: str = "requests", **facts: object) -> Turn:
    told = {"answers": ["Pardon me?"]} | facts
    return Turn(sentences=sentences, voice="ash", text="x", meant=meant, heard=list(heard), **told)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("meant", "heard", "is_right"),
    [
        ("hours", ("when are you open",), True),
        ("hours", ("are you open today please",), True),
        ("transfer sales", ("talk to sales",), True),
        ("transfer sales", ("talk to support",), False),
        ("deny", ("no", "no thank you"), True),
        ("deny", ("no", "yes"), False),
        ("deny", ("no", "xyz"), True),
        ("hours", (), False),
        ("", (), True),
        ("", ("yes",), False),
    ],
)
def test_turn_is_right_by_its_meaning(meant: str, heard: tuple[str, ...], is_right: bool) -> None:
    assert turn(meant, *heard).is_right is is_right


def test_departments_are_right_by_their_words() -> None:
    assert turn("talk to sales", "talk to sales", sentences="departments").is_right
    assert not turn("talk to sales", "sales", sentences="departments").is_right


def test_what_gets_no_answer_is_not_right_even_off_topic() -> None:
    assert turn("", sentences="off topic").is_right
    assert not turn("", sentences="off topic", answers=[]).is_right


def test_rows_count_what_is_right_and_what_was_asked_about() -> None:
    asked = ["Did you say: talk to sales?"]
    turns = [
        turn("hours", "when are you open"),
        turn("transfer sales", "talk to sales", answers=asked),
        turn("hours", "talk to sales", answers=asked),
        turn("", sentences="off topic"),
        turn("", "talk to sales", sentences="off topic", answers=asked),
    ]
    requests, off_topic = heard_calls._rows(turns)
    assert (requests.total, requests.right, requests.unsure) == (3, 2, 1)
    assert (off_topic.total, off_topic.right, off_topic.unsure) == (2, 1, 1)
    assert (requests.line, requests.baseline_right, requests.ratio) == ("a call", None, None)
    assert "2/3" in requests.as_text()
    assert sums((requests, requests))[0].baseline_right is None


def test_calls_are_short_and_of_one_voice_and_set() -> None:
    turns = [turn for voice in ("ash", "coral") for turn in heard_calls._turns(voice)]
    groups = list(heard_calls._calls(turns))
    assert [turn for group in groups for turn in group] == turns
    assert max(map(len, groups)) <= heard_calls.SENTENCES_PER_CALL
    assert all(len({(turn.voice, turn.sentences) for turn in group}) == 1 for group in groups)


async def test_words_belong_to_the_turn_under_way_in_the_call_they_were_said_in(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for called, speaker in (("7000", Speaker.CALLER), ("7001", Speaker.CALLER), ("7000", Speaker.AGENT)):
        record = CallRecord(
            call_id="c", trunk="t", caller="1", called=called, route="r", started_at=datetime.now(UTC), offered_s=0.0
        )
        Teller().spoken(record, Speech(speaker=speaker, text=f"{called} {speaker.value}", at_ms=0))
    lines = asyncio.StreamReader()
    lines.feed_data(capsys.readouterr().out.encode())
    lines.feed_eof()
    listener, said = Listener(), turn("hours", answers=[])
    listener.turns["7000"] = said
    await listener.listen(lines)
    assert (said.heard, said.answers) == (["7000 caller"], ["7000 agent"])


def test_gateway_has_the_receptionist_and_the_departments(tmp_path: Path) -> None:
    file = heard_calls.write_configuration(tmp_path, Address("127.0.0.1", 5060), Address("127.0.0.1", 5062))
    configuration = load_configuration(file)
    (plan,) = load_plans(configuration)
    assert set(plan.sessions) == set(configuration.realtime) == {"reception", "departments"}
    brain = configuration.realtime["departments"].brain
    assert brain is not None
    phrases = [phrase for intent in load_script(brain).intents.values() for phrase in intent.phrases]
    assert tuple(phrases) == DEPARTMENTS
    brain = configuration.realtime["reception"].brain
    assert brain is not None
    assert load_script(brain).parsed_phrases == load_script(RECEPTION).parsed_phrases


@pytest.mark.heavy
async def test_sentences_said_over_a_call_are_understood_and_asked_back(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {
        "departments": {"human resources": "human resources"},
        "yes and no": {"Yes.": "confirm"},
        "requests": {"I would like to speak to sales.": "transfer sales"},
        "off topic": {"The weather is lovely in Madrid.": ""},
    }

    def few() -> Iterator[tuple[str, Phrases, dict[str, str]]]:
        return ((name, phrases, sets[name]) for name, phrases, _ in bench_hearing.sentence_sets())

    monkeypatch.setattr(heard_calls, "sentence_sets", few)
    rows: tuple[HearingRow, ...] = await measure_calls(("coral",))
    assert [(row.sentences, row.right, row.total) for row in rows] == [(name, 1, 1) for name in sets]
