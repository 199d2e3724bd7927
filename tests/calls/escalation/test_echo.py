"""The agent's own words that come back from the caller's loudspeaker, and words that only look like it."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.calls.escalation.echo import LATE_MS, LATELY_MS, AgentVoice
from gateway.dialplan.phrases import words_of

OFFER = "I can look that up for you or connect you with a human if you like"
WORD_MS = 400
LENGTH_MS = len(OFFER.split()) * WORD_MS
DELAY_MS = 250
SENTENCES = st.lists(st.text("abcdefgh", min_size=2, max_size=6), min_size=1, max_size=20)


def speaking(text: str = OFFER, begins_ms: float = 1000, length_ms: float = LENGTH_MS) -> AgentVoice:
    """An agent whose sentence is queued in pieces, and whose words come ahead of it."""
    voice = AgentVoice()
    for word in text.split():
        voice.hear_words("item", f"{word} ", is_final=False)
    for piece in range(4):
        voice.hear_audio("item", begins_ms + piece * length_ms / 4, length_ms / 4)
    voice.hear_words("item", text, is_final=True)
    return voice


def test_all_that_the_agent_says_is_an_echo_while_it_is_said() -> None:
    assert speaking().echoed(OFFER, 1000 + DELAY_MS, 1000 + LENGTH_MS + 800) == set(range(len(words_of(OFFER))))


@given(SENTENCES, st.data())
def test_any_part_of_what_the_agent_says_is_an_echo_in_its_place(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    voice = speaking(" ".join(words), length_ms=len(words) * WORD_MS)
    from_ms = 1000 + first * WORD_MS + DELAY_MS
    until_ms = 1000 + (last + 1) * WORD_MS + 1500  # the words are written down later
    heard = " ".join(words[first : last + 1])
    assert voice.echoed(heard, from_ms, until_ms) == set(range(last + 1 - first))


def test_words_that_were_misheard_are_an_echo_as_long_as_most_are_right() -> None:
    assert speaking().echoed("connect you with a humour if you", 5000, 8000) == {0, 1, 2, 3, 5, 6}


def test_an_answer_after_the_question_is_the_callers() -> None:
    question = "Do you want a robot or a human"
    end_ms = 1000 + len(question.split()) * WORD_MS
    voice = speaking(question, length_ms=end_ms - 1000)
    assert voice.echoed("a human", end_ms + LATE_MS + 100, end_ms + 2000) == frozenset()
    assert voice.echoed("a human", end_ms + LATE_MS - 100, end_ms + 2000) == {0, 1}


def test_what_the_caller_says_before_the_agent_begins_is_theirs() -> None:
    assert speaking("A human?", length_ms=800).echoed("a human", 900, 1500) == frozenset()


def test_words_of_another_place_in_the_sentence_are_the_callers() -> None:
    assert speaking().echoed("look that up for you", 1000 + LENGTH_MS - 500, 1000 + LENGTH_MS + 500) == frozenset()


def test_the_callers_own_words_into_the_agents_sentence_are_theirs() -> None:
    assert speaking().echoed("no I want to speak to a human", 4000, 7000) == frozenset()


def test_what_the_caller_adds_to_an_echo_is_theirs() -> None:
    heard = "I can look that up for you or connect you human"
    assert speaking().echoed(f"{heard} operator", 1200, 6000) == set(range(11))


def test_what_was_never_played_is_no_echo() -> None:
    voice = speaking()
    voice.cut(2000)
    assert voice.echoed("connect you with a human", 2100, 4500) == frozenset()
    written = AgentVoice()
    written.hear_words("item", OFFER, is_final=True)
    assert written.echoed(OFFER, 100, 5000) == frozenset()


def test_an_echo_of_what_was_said_before_the_caller_broke_in_is_one() -> None:
    voice = speaking()
    voice.cut(1000 + 6 * WORD_MS)
    assert voice.echoed("look that up for", 1000 + 2 * WORD_MS + DELAY_MS, 5000) == {0, 1, 2, 3}


def test_audio_that_goes_on_after_a_cut_is_heard_again() -> None:
    voice = speaking()
    voice.cut(1500)
    voice.hear_audio("item", 2000, LENGTH_MS)
    assert voice.echoed("if you like", 1000 + LENGTH_MS, 3000 + LENGTH_MS) == {0, 1, 2}


@given(SENTENCES, SENTENCES)
def test_words_that_the_agent_did_not_say_are_never_an_echo(ours: list[str], theirs: list[str]) -> None:
    assume(not {word for word in theirs if word in ours})
    voice = speaking(" ".join(ours), length_ms=len(ours) * WORD_MS)
    assert voice.echoed(" ".join(theirs), 1200, 9000) == frozenset()


def test_many_sentences_are_forgotten_one_by_one() -> None:
    voice = AgentVoice()
    for number in range(100):
        voice.hear_words(str(number), f"number {number}", is_final=True)
        voice.hear_audio(str(number), number * 1000, 900)
    assert voice.echoed("number 99", 99_300, 100_500) == {0, 1}
    assert voice.echoed("number 3", 3_300, 4_500) == frozenset()


def test_a_prompt_comes_back_when_the_model_hears_the_caller_again_and_not_much_later() -> None:
    voice = AgentVoice()
    voice.hear_prompt("In an emergency please hang up.")
    voice.hear_prompt("This call may be recorded.")
    echo = "in an emergency please hang up this call may be"
    assert voice.echoed(echo, 20_000, 21_000) == frozenset()
    voice.hear_caller(20_000)
    voice.hear_caller(24_000)  # once is enough
    assert voice.echoed(echo, 20_000 + LATELY_MS, 26_000) == set(range(10))
    assert voice.echoed(echo, 20_000 + LATELY_MS + 1, 26_000) == frozenset()
    assert voice.echoed("this is an emergency", 21_000, 22_000) == frozenset()
    voice.hear_prompt("Please wait for somebody of ours.")
    voice.hear_caller(60_000)
    assert voice.echoed(echo, 60_000, 61_000) == frozenset()
    assert voice.echoed("please wait for somebody of", 60_000, 61_000) == {0, 1, 2, 3, 4}


def test_a_short_answer_to_a_prompt_is_not_its_echo() -> None:
    voice = AgentVoice()
    voice.hear_prompt("To reach a human, say human.")
    voice.hear_caller(20_000)
    assert voice.echoed("a human say human", 20_500, 21_000) == frozenset()
