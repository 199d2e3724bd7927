"""``menu``: the caller chooses by a key, or by saying one of the phrases of a choice."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.events import Command, Event
from gateway.calls.events.steps import Listen, SpeechBegan, StopListening, WordsHeard
from gateway.calls.steps.question import PromptOf, Question
from gateway.calls.variables import Variables
from gateway.dialplan.actions import Action, MenuAction
from gateway.dialplan.phrases import is_echo, key_for

SPEECH_LIMIT_S = 10.0
"""How long somebody who has begun to speak is waited for."""
MAX_SOUNDS = 3
"""So often without a word that says anything; what goes on sounding is music, or a room, and nobody who answers."""


class Menu(Question):
    """One menu, asked up to ``tries`` times. A key or phrase of a choice ends it at once, also during the prompt.

    Words without a choice that come during the prompt mean nothing: they may be its echo, or somebody in the room.
    """

    def __init__(self, action: MenuAction, prompt: PromptOf, variables: Variables) -> None:
        super().__init__(prompt, wait_s=action.wait_s, tries=action.tries)
        self._action = action
        self._variables = variables
        self._sounds = 0  # without usable words, since it was asked last

    def begin(self, at: datetime) -> list[Command]:
        """Listen where words count, and ask."""
        return [*self._listen(), *super().begin(at)]

    def takes(self, digit: str) -> bool:
        """The keys of its choices are the menu's."""
        return digit in self._action.choices

    def on(self, event: Event, at: datetime) -> list[Command]:
        """Words are as good as keys."""
        match event:
            case SpeechBegan() if not self._is_asking:
                self._sounds += 1
                return self._wait_longer(max(SPEECH_LIMIT_S, self._wait_s))
            case WordsHeard(text=text):
                return self._on_words(text, at)
            case _:
                return super().on(event, at)

    def _on_words(self, text: str, at: datetime) -> list[Command]:
        if self._is_echo(text):
            return [] if self._is_asking else self._wait_longer()
        key = key_for(text, self._action.words)
        if key is not None and key in self._action.choices:
            return self._choose(key)
        if self._is_asking:
            return []
        return self._on_wrong(at) if text else self._wait_longer()

    def _wait_longer(self, seconds: float | None = None) -> list[Command]:
        """Wait anew, as long as somebody may be about to answer."""
        return self._wait(seconds) if self._sounds <= MAX_SOUNDS else []

    def _ask(self, at: datetime) -> list[Command]:
        self._sounds = 0
        return super()._ask(at)

    def _is_echo(self, text: str) -> bool:
        """Whether what was heard is nothing but words of the prompt, which comes back from a loudspeaker."""
        return is_echo(text, "" if self.opening is None else self.opening.text)

    def _on_key(self, digit: str, at: datetime) -> list[Command]:
        self._variables.keys += digit
        return self._choose(digit) if self.takes(digit) else self._on_wrong(at)

    def _choose(self, key: str) -> list[Command]:
        self._finish(self._action.choices[key])
        return self._quiet()

    def _on_wrong(self, at: datetime) -> list[Command]:
        return self._again(at) or self._give_up(self._action.otherwise)

    def _on_silence(self, at: datetime) -> list[Command]:
        return self._again(at) or self._give_up(self._action.timeout)

    def _again(self, at: datetime) -> list[Command]:
        return [*super()._quiet(), *self._ask(at)] if self._tries_left > 0 else []

    def _give_up(self, actions: tuple[Action, ...] | None) -> list[Command]:
        self._finish(actions)
        return self._quiet()

    def _listen(self) -> list[Command]:
        phrases = tuple(dict.fromkeys(phrase for listed in self._action.words.values() for phrase in listed))
        return [Listen(phrases=phrases)] if phrases else []

    def _quiet(self) -> list[Command]:
        return [*super()._quiet(), *([StopListening()] if self._action.words else [])]
