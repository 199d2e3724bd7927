"""The transcript: who said what and when, and where the caller stopped hearing."""

import pytest

from gateway.calls.record import Speaker
from gateway.calls.transcript import MAX_OPEN_ITEMS, Transcript
from gateway.realtime.heard import heard_words

SENTENCE = "We are open from nine to five on every working day."


class Desk:
    def __init__(self):
        self.ms = 0
        self.told = []
        self.transcript = Transcript(lambda: self.ms, self.told.append)

    def at(self, ms):
        self.ms = ms
        return self.transcript

    def speak(self, item="a", *, at=0, queued=0.0, words=SENTENCE):
        """An item that is received whole."""
        transcript = self.at(at)
        transcript.agent_audio(item, queued)
        transcript.agent_words(item, words[:10], is_final=False)
        transcript.agent_words(item, words, is_final=True)
        transcript.agent_audio_ended(item)

    @property
    def lines(self):
        return [(said.speaker, said.at_ms, said.text, said.heard_text) for said in self.told]


def test_a_sentence_of_the_agent_is_told_once_when_it_was_heard_with_the_time_at_which_it_was_begun():
    desk = Desk()
    desk.speak(at=1000, queued=250.0)
    assert desk.told == []
    desk.at(4000).reply_ended()
    assert desk.told == []
    desk.transcript.agent_heard("a")
    desk.transcript.agent_heard("a")
    assert desk.lines == [(Speaker.AGENT, 1250, SENTENCE, None)]


def test_a_turn_of_the_caller_has_the_time_at_which_it_was_begun_and_not_when_it_was_written_down():
    desk = Desk()
    desk.at(2000).begin_turn("u")
    desk.at(5000).caller_said("u", "When are you open?")
    desk.at(6000).caller_said("unannounced", "Hello?")
    desk.at(7000).caller_said("noise", "  ")
    assert desk.lines == [
        (Speaker.CALLER, 2000, "When are you open?", None),
        (Speaker.CALLER, 6000, "Hello?", None),
    ]


def test_what_the_caller_did_not_hear_is_marked_and_late_words_change_nothing():
    desk = Desk()
    desk.speak("a")
    desk.speak("b", words="And on Saturdays until noon.")
    desk.at(1500).agent_cut("a", 1500, 3000)
    desk.transcript.agent_cut("b", 0, 2000)
    desk.transcript.agent_words("a", "Something else.", is_final=True)
    desk.transcript.reply_ended()
    first, second = desk.told
    assert (first.text, first.heard_ms, first.heard_text) == (SENTENCE, 1500, "We are open from nine to …")
    assert (second.heard_ms, second.heard_text) == (0, "…")


def test_an_item_cut_before_any_word_is_told_with_the_words_that_come_and_without_words_never():
    desk = Desk()
    desk.transcript.agent_audio("a", 0)
    desk.transcript.agent_audio("b", 0)
    desk.transcript.agent_cut("a", 400, 1000)
    desk.transcript.agent_cut("b", 0, 1000)
    assert desk.told == []
    desk.transcript.agent_words("a", "Good morning to you.", is_final=True)
    desk.transcript.reply_ended()
    assert [(said.item_id, said.heard_ms) for said in desk.told] == [("a", 400)]


def test_words_that_come_after_the_audio_was_heard_are_waited_for():
    desk = Desk()
    desk.transcript.agent_audio("a", 0)
    desk.transcript.agent_heard("a")
    assert desk.told == []
    desk.transcript.agent_words("a", SENTENCE, is_final=True)
    assert [said.text for said in desk.told] == [SENTENCE]


def test_what_is_only_written_is_told_at_the_end_of_the_reply_and_what_is_open_at_the_end_of_the_session():
    desk = Desk()
    desk.transcript.agent_words("written", "Sent by letter.", is_final=True)
    desk.speak("heard")
    desk.transcript.reply_ended()
    assert [said.item_id for said in desk.told] == ["written"]
    desk.transcript.close()
    desk.transcript.close()
    assert [said.item_id for said in desk.told] == ["written", "heard"]


def test_items_that_nobody_ends_are_bounded():
    desk = Desk()
    for number in range(3 * MAX_OPEN_ITEMS):
        desk.transcript.agent_audio(f"{number}", 0)
        desk.transcript.agent_words(f"{number}", "word", is_final=False)
        desk.transcript.begin_turn(f"u{number}")
    assert [said.item_id for said in desk.told] == [f"{number}" for number in range(2 * MAX_OPEN_ITEMS)]


@pytest.mark.parametrize("heard_ms", range(0, 3001, 100))
def test_heard_words_are_a_beginning_of_the_sentence_that_grows_with_what_was_heard(heard_ms):
    heard = heard_words(SENTENCE, heard_ms, 3000, is_complete=True)
    spoken = heard.removesuffix("…").strip()
    assert SENTENCE.startswith(spoken)
    assert abs(len(spoken) / len(SENTENCE) - heard_ms / 3000) < 0.12
    assert heard.endswith("…") == (heard_ms < 3000)


def test_words_ahead_of_audio_that_has_not_come_are_not_taken_for_heard():
    """Half a second was received and heard; the words of the whole sentence are there already."""
    assert len(heard_words(SENTENCE, 500, 500, is_complete=False)) < len(SENTENCE) / 3
    assert heard_words(SENTENCE, 500, 500, is_complete=True) == SENTENCE


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("我们每个工作日从九点开到五点。", "我们每个工作日 …"),
        ("営業時間は9時から5時までです。", "営業時間は9時 …"),
        ("Our office at 北京市 opens  at nine.", "Our office at 北 …"),
    ],
)
def test_sentences_that_are_written_without_spaces_are_cut_within(text, heard):
    assert heard_words(text, 1400, 3000, is_complete=True) == heard


def test_each_turn_of_the_caller_is_noticed_once_those_without_words_too():
    noticed = []
    transcript = Transcript(lambda: 0, lambda _speech: None, noticed.append)
    transcript.begin_turn("a")
    transcript.caller_words("a", "Hello ")
    transcript.caller_said("a", "Hello there", 0.9)
    transcript.caller_said("b", "  ")
    transcript.begin_turn("c")
    transcript.caller_words("c", "half a ")
    transcript.caller_words_lost("c")
    transcript.caller_words_lost("d")
    assert [(said.text.strip(), said.confidence, said.is_whole) for said in noticed] == [
        ("Hello there", 0.9, True),
        ("", None, True),
        ("half a", None, True),
        ("", None, True),
    ]


def test_turns_that_nobody_writes_down_and_those_left_open_at_the_end_are_not_noticed():
    noticed = []
    transcript = Transcript(lambda: 0, lambda _speech: None, noticed.append)
    for number in range(MAX_OPEN_ITEMS + 5):
        transcript.begin_turn(str(number))
    transcript.close()
    assert noticed == []


def test_what_is_written_down_of_a_turn_when_the_agent_answers_is_noticed_before_all_of_it():
    noticed = []
    transcript = Transcript(lambda: 0, lambda _speech: None, noticed.append)
    transcript.begin_turn("silent")
    transcript.caller_words("u", "a human")
    transcript.caller_answered()
    transcript.caller_said("u", "a human please")
    assert [(said.text, said.is_whole) for said in noticed] == [("a human", False), ("a human please", True)]


def test_a_turn_that_another_session_may_be_told_again_does_not_count_before_it_is_whole():
    noticed = []
    transcript = Transcript(lambda: 0, lambda _speech: None, noticed.append)
    transcript.caller_words("u", "a human")
    transcript.session_changed()
    transcript.caller_answered()
    assert noticed == []


def test_a_turn_that_repeats_what_the_agent_was_saying_is_noticed_as_its_echo():
    noticed, desk = [], Desk()
    desk.transcript = Transcript(lambda: desk.ms, desk.told.append, noticed.append)
    desk.transcript.agent_audio("a", 0.0, 3000.0)
    desk.transcript.agent_words("a", SENTENCE, is_final=True)
    desk.at(500).begin_turn("u")
    desk.at(4000).caller_said("u", SENTENCE)
    assert noticed[0].echoed == frozenset(range(11))
    desk.at(4500).begin_turn("v")
    desk.at(6000).caller_said("v", SENTENCE)
    assert noticed[1].echoed == frozenset()
