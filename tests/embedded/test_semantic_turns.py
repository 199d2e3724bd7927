"""`semantic_vad`: turns that end soon when a thought is all said, and wait for the rest of one that is not."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.embedded.hearing import Listen
from gateway.embedded.recognizer import NOTHING, Recognition, Recognizer
from gateway.embedded.silero import SpeechModel
from gateway.embedded.vad import PAUSE_MS, SpeechGate
from tests.embedded.conversation_desk import calls
from tests.embedded.telephone import Samples, encoded, said, silence, telephone
from tests.support.conversation_rig import TRANSFER, Rig, only, types

PCMU = {"type": "audio/pcmu"}
SPEECH_MS = 1024
WHOLE = Recognition(text="where are you", fit=3.0)
UNFINISHED = Recognition(text="", fit=-math.inf, beginning="i would like to speak to", beginning_fit=3.0)
UNCLEAR = Recognition(text="where are you", fit=-5.0)


def semantic(rig: Rig, eagerness: str = "medium", **settings: Any) -> Rig:
    turn_detection = {"type": "semantic_vad", "eagerness": eagerness}
    rig.configure(audio={"input": {"format": PCMU, "turn_detection": turn_detection} | settings})
    return rig


def waited_ms(rig: Rig, heard: Recognition) -> int:
    """Silence from the last sound of a turn to its end."""
    rig.heard.append(heard)
    events = [*rig.append(SPEECH_MS, is_speech=True), *rig.append(9000, is_speech=False)]
    stopped: int = only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"]
    return stopped - SPEECH_MS


# --- How long -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("eagerness", "heard", "expected_ms"),
    [
        ("high", WHOLE, 250),
        ("medium", WHOLE, 400),
        ("auto", WHOLE, 400),
        ("low", WHOLE, 800),
        ("high", UNCLEAR, 600),
        ("medium", UNCLEAR, 1200),
        ("low", NOTHING, 2400),
        ("high", UNFINISHED, 2000),
        ("medium", UNFINISHED, 4000),
        ("auto", UNFINISHED, 4000),
        ("low", UNFINISHED, 8000),
    ],
)
def test_wait_is_that_of_the_eagerness_and_the_words(eagerness: str, heard: Recognition, expected_ms: int) -> None:
    assert waited_ms(semantic(Rig(), eagerness), heard) == pytest.approx(expected_ms, abs=40)


def test_events_are_those_of_any_turn() -> None:
    by_words, by_silence = semantic(Rig()), Rig()
    by_silence.configure()
    assert types(by_words.say("where are you")) == types(by_silence.say("where are you"))


def test_unfinished_words_do_not_matter_where_silence_decides() -> None:
    rig = Rig()
    rig.configure(audio={"input": {"format": PCMU, "turn_detection": {"type": "server_vad"}}})
    assert waited_ms(rig, UNFINISHED) == pytest.approx(200, abs=40)
    rig = Rig(recognizer_is_slow=True)
    rig.configure(audio={"input": {"format": PCMU, "turn_detection": {"type": "server_vad"}}})
    rig.append(SPEECH_MS, is_speech=True)
    rig.append(600, is_speech=False)
    assert [turn.wants_beginning for turn in rig.turns] == [False]


# --- Words that come late -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", [WHOLE, UNCLEAR, UNFINISHED])
def test_audio_that_comes_faster_than_the_words_is_cut_at_the_same_place(heard: Recognition) -> None:
    slow, quick = semantic(Rig(recognizer_is_slow=True)), semantic(Rig())
    quick.heard.append(heard)
    slow.append(SPEECH_MS, is_speech=True)
    assert types(slow.append(9000, is_speech=False)) == []
    assert [turn.wants_beginning for turn in slow.turns] == [True]
    slow.heard.append(heard)
    quick.append(SPEECH_MS, is_speech=True)
    assert slow.recognizer_answers() == quick.append(9000, is_speech=False)


def test_caller_who_goes_on_after_a_pause_is_heard_as_one_turn() -> None:
    rig = semantic(Rig())
    rig.heard += [UNFINISHED, replace(WHOLE, text="where is your office")]
    events = rig.append(SPEECH_MS, is_speech=True) + rig.append(700, is_speech=False)
    events += rig.append(SPEECH_MS, is_speech=True) + rig.append(700, is_speech=False)
    assert types(events).count("input_audio_buffer.speech_stopped") == 1
    stopped = only(events, "input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] == pytest.approx(2 * SPEECH_MS + 700 + 400, abs=70)


def test_words_of_a_pause_say_nothing_of_the_next_one() -> None:
    rig = semantic(Rig(recognizer_is_slow=True))
    rig.append(SPEECH_MS, is_speech=True)
    rig.append(PAUSE_MS + 64, is_speech=False)
    rig.append(320, is_speech=True)
    late = rig.turns.pop(0)
    assert rig.append(96, is_speech=False) == []
    rig.conversation.recognized(late.number, WHOLE, rig.now)
    assert rig.append(2000, is_speech=False) == []
    rig.heard.append(UNFINISHED)
    assert rig.recognizer_answers() == []
    assert types(rig.append(2200, is_speech=False))[0] == "input_audio_buffer.speech_stopped"


def test_client_may_take_the_turn_while_its_words_are_awaited() -> None:
    rig = semantic(Rig(recognizer_is_slow=True))
    rig.append(SPEECH_MS, is_speech=True)
    rig.append(2000, is_speech=False)
    guess = rig.turns.pop(0)
    assert "input_audio_buffer.committed" in types(rig.send({"type": "input_audio_buffer.commit"}))
    rig.conversation.recognized(guess.number, WHOLE, rig.now)
    assert types(rig.append(1000, is_speech=False)) == []


@pytest.mark.parametrize("turn_detection", [None, {"type": "server_vad"}])
def test_settings_may_change_while_the_words_are_awaited(turn_detection: dict[str, str] | None) -> None:
    rig = semantic(Rig(recognizer_is_slow=True))
    rig.append(SPEECH_MS, is_speech=True)
    rig.append(600, is_speech=False)
    rig.configure(audio={"input": {"format": PCMU, "turn_detection": turn_detection}})
    found = types(rig.append(300, is_speech=False))
    assert found[:1] == (["input_audio_buffer.speech_stopped"] if turn_detection else [])
    rig.heard.append(WHOLE)
    rig.recognizer_answers()


def test_language_of_the_transcription_is_that_of_the_endings() -> None:
    english = Recognition(text="this is about the", fit=3.0)
    assert waited_ms(semantic(Rig()), english) > 3900
    spanish = {"model": "any", "language": "es"}
    assert waited_ms(semantic(Rig(), transcription=spanish), english) < 500


# --- Spoken ---------------------------------------------------------------------------------------------------------


class SpokenRig(Rig):
    """The same with the real gate, network and recogniser."""

    recognizer = None

    def __init__(self) -> None:
        super().__init__()
        self._model = SpeechModel()
        self.conversation._hearing._gate = SpeechGate()
        type(self).recognizer = type(self).recognizer or Recognizer()

    def _work(self, task: object) -> None:
        if isinstance(task, Listen):
            found = self._model.probabilities({0: np.frombuffer(task.chunk, "<i2")})
            self.conversation.measured(task.number, found[0], self.now)
        else:
            super()._work(task)

    def _answer_turn(self, task: Any) -> None:
        samples = np.frombuffer(task.samples, "<i2")
        heard = self.recognizer.recognize(samples, task.listening, wants_beginning=task.wants_beginning)
        self.conversation.recognized(task.number, heard, self.now)

    def hear(self, *parts: Samples) -> list[dict[str, Any]]:
        """Speech and silences in frames of 20 ms."""
        start = len(self.events)
        audio = encoded(np.concatenate((silence(300), *parts)), "audio/pcmu")
        for at in range(0, len(audio), 160):
            frame = base64.b64encode(audio[at : at + 160]).decode()
            self.send({"type": "input_audio_buffer.append", "audio": frame})
        return self.events[start:]


def spoken_rig(turn_detection: dict[str, Any]) -> SpokenRig:
    rig = SpokenRig()
    rig.configure(audio={"input": {"format": PCMU, "turn_detection": turn_detection}}, tools=[TRANSFER])
    return rig


SEMANTIC = {"type": "semantic_vad", "eagerness": "medium"}
SILENCE_500 = {"type": "server_vad", "silence_duration_ms": 500}
VOICES = ("caller", "cedar", "ash", "coral")


def trimmed(text: str, voice: str) -> Samples:
    """Speech without the silence that the voice puts around it."""
    speech = said(text, voice)
    (loud,) = np.nonzero(np.abs(speech) > 200)
    return speech[loud[0] : loud[-1]]


@pytest.mark.heavy
@pytest.mark.parametrize("voice", VOICES)
def test_pause_before_the_word_that_matters_is_no_end(voice: str) -> None:
    parts = (trimmed("I would like to speak to", voice), silence(700), trimmed("sales", voice), silence(1500))
    events = spoken_rig(SEMANTIC).hear(*parts)
    assert types(events).count("input_audio_buffer.speech_stopped") == 1
    assert calls(events) == [("transfer", {"contact": "sales"})]
    assert types(spoken_rig(SILENCE_500).hear(*parts)).count("input_audio_buffer.speech_stopped") == 2


@pytest.mark.heavy
@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize(
    "text", ["What are your opening hours?", "Where are you located?", "Connect me to support.", "Help me please."]
)
def test_thought_that_is_all_said_is_answered_soon(text: str, voice: str) -> None:
    speech = trimmed(text, voice)
    stopped = only(spoken_rig(SEMANTIC).hear(speech, silence(4500)), "input_audio_buffer.speech_stopped")
    assert stopped["audio_end_ms"] - 300 - len(speech) / 8 < 520


@pytest.mark.heavy
@pytest.mark.parametrize("text", ["I would like to", "Connect me to", "What time do you", "Can you", "Put me through"])
def test_thought_that_is_not_all_said_is_waited_for(text: str) -> None:
    speech = trimmed(text, "caller")
    events = spoken_rig(SEMANTIC).hear(speech, silence(1000))
    assert types(events) == ["input_audio_buffer.speech_started"]
    events = spoken_rig(SEMANTIC).hear(speech, silence(4500))
    assert only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"] - 300 - len(speech) / 8 > 1100


@pytest.mark.heavy
async def test_words_decide_over_the_socket_too(server_url: str) -> None:
    async with telephone(server_url) as client:
        await client.update(audio={"input": {"turn_detection": SEMANTIC}}, tools=[TRANSFER])
        begun, rest = trimmed("I would like to speak to", "caller"), trimmed("sales", "caller")
        await client.say(np.concatenate((begun, silence(700), rest)), silence_ms=1500)
        events = await client.until("response.done")
        assert types(events).count("input_audio_buffer.speech_stopped") == 1
        assert [event["name"] for event in events if event["type"] == "response.function_call_arguments.done"] == [
            "transfer"
        ]
