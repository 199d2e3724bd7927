"""What the agent has said and when the caller heard it, and which words of the caller are only that, come back.

A telephone with its loudspeaker on sends the agent's voice back, and whoever writes down the caller writes that down as
well. Words are taken for an echo where both hold:

* time: the turn began while the agent was heard (or `LATE_MS` after: the way there and back), and the words lie near
  the place where the agent said them (`NEAR_MS`; where a word lies in its sentence is known by its share of it);
* words: at least `ECHO_SHARE` of the turn repeats, in order, what the agent said there.

A caller who answers "a human" to "... or a human?" begins after the question, and is heard. One who breaks in with
exactly the words that the agent says in that moment is not: nobody could tell that from an echo. They say it again.

Of what a caller says into a protected prompt, which is written down behind it, the time is not known: the words alone
count, in turns of several words that begin soon after the model hears the caller again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from gateway.dialplan.phrases import words_of

LATE_MS = 300
NEAR_MS = 2000
UNSURE_MS = 1000
"""How far off the place of a word may be: a word that was to come so soon after the agent was cut off may be heard."""
LATELY_MS = 5000
"""Within so much of the model hearing the caller again it hears what they said before."""
PROMPT_WORDS = 5
"""A turn of fewer words is an answer to a prompt, not its echo."""
ECHO_SHARE = 0.7
MAX_WORDS = 400
"""No echo is longer."""
MAX_ITEMS = 16
"""Sentences of the agent that are remembered."""


@dataclass(slots=True)
class _Sentence:
    """One item of the agent: its words, and when it is played, on the call's clock."""

    text: str = ""
    begins_ms: float = 0.0
    ends_ms: float = 0.0
    audio_ms: float = 0.0
    heard_until_ms: float | None = None  # it was cut off

    @property
    def until_ms(self) -> float:
        return self.ends_ms if self.heard_until_ms is None else self.heard_until_ms

    def words(self) -> Iterator[tuple[float, str]]:
        """Each word and about when it was said; of what was cut off, as much as may have been."""
        words = words_of(self.text)
        for index, word in enumerate(words):
            at_ms = self.begins_ms + (self.ends_ms - self.begins_ms) * (index + 0.5) / len(words)
            if at_ms <= self.until_ms + UNSURE_MS:
                yield at_ms, word


class AgentVoice:
    """The agent of one session, as the caller hears it. All times are milliseconds of one clock."""

    def __init__(self) -> None:
        self._sentences: dict[str, _Sentence] = {}
        self._prompts: list[str] = []  # heard while the model did not hear the caller
        self._prompts_until_ms: float | None = float("-inf")  # None: it does not hear the caller still

    def hear_prompt(self, text: str) -> None:
        """The caller has heard a text, and the model, which did not hear them, will hear what they said meanwhile."""
        if self._prompts_until_ms is not None:
            self._prompts, self._prompts_until_ms = [], None
        self._prompts.append(text)

    def hear_caller(self, now_ms: float) -> None:
        """The model hears the caller from now on, and first what they said before."""
        if self._prompts_until_ms is None:
            self._prompts_until_ms = now_ms + LATELY_MS

    def hear_words(self, item_id: str, text: str, *, is_final: bool) -> None:
        """The next words of an item, or, final, all of them."""
        sentence = self._sentence(item_id)
        sentence.text = text if is_final else sentence.text + text

    def hear_audio(self, item_id: str, begins_ms: float, audio_ms: float) -> None:
        """So much audio of an item is played from `begins_ms` on."""
        sentence = self._sentence(item_id)
        if not sentence.audio_ms:
            sentence.begins_ms = begins_ms
        sentence.audio_ms += audio_ms
        sentence.heard_until_ms = None
        sentence.ends_ms = max(sentence.ends_ms, begins_ms + audio_ms)

    def cut(self, now_ms: float) -> None:
        """Nothing of what was queued is heard any more."""
        for sentence in self._sentences.values():
            if sentence.audio_ms and sentence.until_ms > now_ms:
                sentence.heard_until_ms = max(now_ms, sentence.begins_ms)

    def echoed(self, text: str, from_ms: float, until_ms: float) -> frozenset[int]:
        """The indices of words of a caller's turn that repeat the agent; it began and ended at those times."""
        heard = [sentence for sentence in self._sentences.values() if sentence.audio_ms]
        words = words_of(text)
        is_late = (
            self._prompts_until_ms is not None and from_ms <= self._prompts_until_ms and len(words) >= PROMPT_WORDS
        )
        ours = [word for prompt in self._prompts for word in words_of(prompt)] if is_late else []
        if any(s.begins_ms <= from_ms <= s.until_ms + LATE_MS for s in heard):
            near = (from_ms - NEAR_MS, until_ms + NEAR_MS)
            ours += [word for s in heard for at_ms, word in s.words() if near[0] <= at_ms <= near[1]]
        if len(words) > MAX_WORDS:
            return frozenset()
        blocks = SequenceMatcher(None, words, ours[-MAX_WORDS:], autojunk=False).get_matching_blocks()
        found = frozenset(index for block in blocks for index in range(block.a, block.a + block.size))
        return found if words and len(found) >= ECHO_SHARE * len(words) else frozenset()

    def _sentence(self, item_id: str) -> _Sentence:
        sentence = self._sentences.get(item_id)
        if sentence is None:
            sentence = self._sentences[item_id] = _Sentence()
            if len(self._sentences) > MAX_ITEMS:
                del self._sentences[next(iter(self._sentences))]
        return sentence
