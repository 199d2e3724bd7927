"""The voice: sentences, timbres, speeds, formats, and the words that come out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.embedded.audio import WireFormat
from gateway.embedded.automaton import PAUSE
from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.pronunciation import pronounce, spell_out
from gateway.embedded.voice import (
    CALLER_VOICE,
    DEFAULT_VOICE,
    VOICES,
    EspeakVoice,
    engine,
    sentences,
    speak,
    stream,
    voice_style,
)
from tests.embedded.telephone import decoded
from tests.support.listening import identify

SENTENCES = (
    "We are open from Monday to Friday.",
    "You find us at one hundred twenty Market Street.",
    "I am the automatic receptionist of Acme.",
    "One moment, I am connecting you to sales.",
)


def spoken(text: str, voice: str, form: WireFormat, speed: float = 1.0) -> list[bytes]:
    """The blocks of one sentence."""
    blocks: list[bytes] = []
    stream(text, EspeakVoice(voice), speed, form, blocks.append)
    return blocks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello.", ["Hello."]),
        ("Good day. How are you? Fine!", ["Good day.", "How are you?", "Fine!"]),
        ("At 9.30 sharp.", ["At 9.30 sharp."]),
        ("  You can say: sales; or support.  ", ["You can say:", "sales;", "or support."]),
        ("No end", ["No end"]),
    ],
)
def test_reply_is_split_where_a_speaker_draws_breath(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_splitting_loses_no_word_of_the_dialogue() -> None:
    script = load_script(RECEPTION)
    for intent in script.intents.values():
        assert " ".join(sentences(intent.reply)).split() == intent.reply.split()


@pytest.mark.parametrize("form", list(WireFormat))
def test_same_words_are_heard_in_every_format(form: WireFormat) -> None:
    candidates = {text: speak(text, voice=DEFAULT_VOICE) for text in SENTENCES}
    audio = b"".join(spoken(SENTENCES[1], DEFAULT_VOICE, form))
    assert identify(decoded(audio, form.value), candidates) == SENTENCES[1]
    assert len(audio) / form.bytes_per_ms == pytest.approx(len(candidates[SENTENCES[1]]) / 8, abs=60)


def test_first_block_is_short_and_the_others_longer() -> None:
    sizes = [len(block) / WireFormat.PCMU.bytes_per_ms for block in spoken(SENTENCES[1], "marin", WireFormat.PCMU)]
    assert 40 <= sizes[0] <= 130
    assert all(170 <= size <= 260 for size in sizes[1:-1])
    assert len(sizes) > 5


def test_faster_speech_is_shorter() -> None:
    slow, normal, fast = (len(speak(SENTENCES[1], speed=speed)) for speed in (0.7, 1.0, 1.4))
    assert slow > 1.2 * normal > 1.2 * 1.2 * fast


def test_speed_is_bounded_by_what_can_be_understood() -> None:
    assert len(speak(SENTENCES[1], speed=0.01)) < 3 * len(speak(SENTENCES[1]))
    assert len(speak(SENTENCES[1], speed=100)) > len(speak(SENTENCES[1])) / 4


def test_every_voice_has_a_timbre_of_its_own() -> None:
    assert len(set(VOICES.values())) == len(VOICES)


@pytest.mark.parametrize("voice", VOICES)
def test_every_voice_says_the_words(voice: str) -> None:
    candidates = {text: speak(text, voice=voice) for text in SENTENCES}
    assert identify(speak(SENTENCES[2], voice=voice), candidates) == SENTENCES[2]


def test_unknown_voice_sounds_like_the_default() -> None:
    assert voice_style("voice_123") == VOICES[DEFAULT_VOICE]
    assert voice_style("cedar") != VOICES[DEFAULT_VOICE]


def test_caller_is_nobody_of_the_agents() -> None:
    assert VOICES[CALLER_VOICE] not in [style for name, style in VOICES.items() if name != CALLER_VOICE]


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 22050])
def test_any_rate_gives_the_same_length_in_time(rate_hz: int) -> None:
    reference_s = len(speak("Good day.")) / 8000
    assert len(speak("Good day.", sample_rate_hz=rate_hz)) / rate_hz == pytest.approx(reference_s, abs=0.001)


@pytest.mark.parametrize("text", ["", " ", "\0", "a\0b", "…", "日本語", "<break/>", "x" * 3000])
def test_any_text_can_be_spoken(text: str) -> None:
    blocks = spoken(text, DEFAULT_VOICE, WireFormat.PCMU)
    assert all(isinstance(block, bytes) for block in blocks)
    assert len(speak("Good day.")) > 2000


def test_speed_of_one_sentence_does_not_stick_to_the_next() -> None:
    alone = len(speak("Good day."))
    speak(SENTENCES[0], voice="shimmer", speed=1.4)
    assert len(speak("Good day.")) == pytest.approx(alone, rel=0.02)


def test_phonemes_are_american_english() -> None:
    assert engine().phonemes("sales").endswith("e\u026alz")
    assert engine().phonemes("car").endswith("\u0279")


@pytest.mark.parametrize(("word", "expected"), [("sales", "S EY L Z"), ("frontdesk", "F R AH N T D EH S K")])
def test_names_are_spelt_by_their_sound(word: str, expected: str) -> None:
    assert spell_out(word) == expected


@pytest.mark.parametrize(
    ("entries", "word", "expected"),
    [
        ("correct K ER EH K T", "correct", ["K ER EH K T", "K AH R EH K T"]),
        ("her HH ER\nher(2) HH AH", "her", ["HH ER", "HH AH"]),
        ("order AO R D ER", "order", ["AO R D ER"]),
        ("", "sales", ["S EY L Z"]),
        ("", PAUSE, ["SIL"]),
    ],
)
def test_words_are_said_as_the_dictionary_has_them_and_with_an_r_between_vowels(
    tmp_path: Path, entries: str, word: str, expected: list[str]
) -> None:
    (dictionary := tmp_path / "words.dict").write_text(f"{entries}\n")
    assert pronounce(word, dictionary) == expected


@pytest.mark.parametrize("word", ["siobhan", "xyzzy", "kubernetes", "zh", "'", "q"])
def test_any_word_gets_some_sound(word: str) -> None:
    phones = spell_out(word).split()
    assert phones
    assert all(phone.isalpha() and phone.isupper() for phone in phones)
