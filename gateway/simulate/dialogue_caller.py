"""Plays the caller of a dialogue, turn by turn, and says of the first turn that does not come about why.

::

    Turn ──> DialogueCaller ──say, press, hang up──> PhoneCall ──SIP/RTP──> gateway
                 ▲   ▲ └──────what is heard──────────────┘                    │
                 │   └────────what the agent said, in words───────────────────┤  `Witness`
                 └────────────route, tools, transfer, outcome─────────────────┘

Time is that of the audio that arrives (`PhoneCall.time_ms`), so that a machine under load takes longer and fails no
turn; behind every wait stands a limit by the clock as well, so that nothing is waited for in vain for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.calls.record import Speaker, Speech
from gateway.dialplan.dialogue import BargeIn, BeSilent, Expect, HangUp, Hear, Press, Say, Turn
from gateway.dialplan.phrases import words_of
from gateway.errors import shown
from gateway.simulate.dialogue_report import LEAD_MS, TurnReport
from gateway.simulate.expectations import Facts, asked_for, missing
from gateway.simulate.listening import RATE_HZ, first_sound_ms, last_sound_ms
from gateway.simulate.phone_call import PhoneCall
from gateway.simulate.spoken_words import find_words

KEY_MS = 200
"""What a key takes, its pause included."""
LOOK_MS = 100
SHORTEST_SOUND_MS = 100
SPEAKING_MS, QUIET_MS = 600, 300
"""Who has been heard for so long is interrupted; who has not been heard for so long has stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited before a turn has gone wrong; ms on the time line of the audio."""

    stuck_s: float = 30.0
    """By the clock, for whatever a turn waits for: no progress."""
    answer_ms: int = 15_000
    """For the agent to begin, where something has to be heard."""
    reply_ms: int = 4_000
    """... and where the caller only gives the agent the chance."""
    pause_ms: int = 700
    """Silence of the agent that is the end of what it says."""
    more_ms: int = 5_000
    """Silence behind something else than what was expected: nothing more will come."""
    yield_ms: int = 2_500
    """For an agent who is interrupted to fall silent."""
    settle_ms: int = 10_000
    """For what is expected to become so, behind the last moment at which a contact was being called."""
    calling_ms: int = 60_000
    """... who is waited for so long at most: to ring, to hear who calls and why, and to press a key."""


class Witness(Protocol):
    """What is known of the call inside the gateway."""

    @property
    def speeches(self) -> list[Speech]:
        """What both have said, in the order in which it was over."""
        ...

    def facts(self) -> Facts:
        """What has been decided by now."""
        ...


SoundCheck = Callable[[NDArray[np.int16], Speech], Awaitable[bool]]
"""Whether what was heard at the telephone is what the agent said."""


class TurnFailed(Exception):
    """A turn did not come about; the text says what was expected and what came."""


class DialogueCaller:
    """One caller. `voices` are the texts of the turns, spoken: int16[samples] at 8 kHz."""

    def __init__(
        self,
        call: PhoneCall,
        witness: Witness,
        *,
        is_heard: SoundCheck,
        voices: Mapping[str, NDArray[np.int16]],
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._witness = witness
        self._is_heard = is_heard
        self._voices = voices
        self._patience = patience or Patience()
        self._clock = clock
        self._began_s = clock()
        self._speech = 0  # the first one of which something is left to be heard
        self._word = 0  # ... and its first word that is
        self._proven: Speech | None = None  # the last that was heard at the telephone as well
        self._spoke_ms = -1  # where our last word or key ended, as long as no answer was awaited
        self.reports: list[TurnReport] = []

    async def play(self, turns: tuple[Turn, ...]) -> None:
        """Play all turns; the last report has a failure where one did not come about. Never raises for that."""
        for number, turn in enumerate(turns, start=1):
            at_s = self._clock() - self._began_s
            came = failure = ""
            try:
                async with asyncio.timeout(self._patience.stuck_s + self._own_s(turn)):
                    came = await self._play(turn)
            except TurnFailed as error:
                failure = str(error)
            except TimeoutError:
                failure = f"nothing went on for {self._patience.stuck_s:g} s; {self._said_lately()}"
            report = TurnReport(
                number=number, line=turn.line, asked=described(turn), at_s=at_s, came=came, failure=failure
            )
            self.reports.append(report)
            if failure:
                return

    def _own_s(self, turn: Turn) -> float:
        """What a turn takes by itself."""
        if isinstance(turn, Say | BargeIn):
            return len(self._voices[turn.text]) / RATE_HZ
        if isinstance(turn, Expect):
            return self._patience.calling_ms / 1000
        return turn.seconds if isinstance(turn, BeSilent) else 0.0

    async def _play(self, turn: Turn) -> str:
        match turn:
            case Hear():
                return await self._hear(turn.text)
            case Say():
                return await self._say(turn.text)
            case BargeIn():
                return await self._barge_in(turn.text)
            case Press():
                return await self._press(turn.keys)
            case BeSilent():
                return await self._be_silent(turn.seconds)
            case HangUp():
                self._call.hang_up()
                return ""
            case Expect():
                return await self._expect(turn)

    # Listening.

    async def _hear(self, text: str) -> str:
        await self._answered()
        waited_from_ms = self._call.time_ms
        while True:
            if (found := self._find(text)) is not None:
                return await self._heard(found, text)
            quiet_ms = self._call.time_ms - max(waited_from_ms, last_sound_ms(self._call.heard()))
            has_spoken = self._unheard() != ""
            if self._call.ended.is_set():
                await self._pass(LOOK_MS)  # what was said last is told when the call is over
                if (found := self._find(text)) is not None:
                    return await self._heard(found, text)
                raise TurnFailed(f"{self._end()}; {self._said_lately()}")
            if quiet_ms > (self._patience.more_ms if has_spoken else self._patience.answer_ms):
                raise TurnFailed(self._said_lately())
            await self._pass(LOOK_MS)

    def _find(self, text: str) -> Speech | None:
        """The sentence of the agent that ends what holds `text`; what lies before is not looked at again."""
        words: list[tuple[int, int, str]] = []
        for index, speech in enumerate(self._witness.speeches):
            if speech.speaker is Speaker.AGENT and index >= self._speech:
                first = self._word if index == self._speech else 0
                words += [(index, place, word) for place, word in enumerate(_words(speech)) if place >= first]
        end = find_words(text, [word for _, _, word in words])
        if end is None:
            return None
        index, place, _ = words[end - 1]
        self._speech, self._word = index, place + 1
        return self._witness.speeches[index]

    async def _heard(self, speech: Speech, text: str) -> str:
        """The words are the agent's; were they to be heard at the telephone, too?"""
        self._spoke_ms = -1
        await self._pass(LOOK_MS)
        from_ms = max(0, speech.at_ms - LEAD_MS)
        sound = self._call.heard(from_ms)
        said = _text(speech)
        if last_sound_ms(sound) < SHORTEST_SOUND_MS:
            raise TurnFailed(f"the agent said {_quoted(said)}, but nothing was heard at the telephone")
        if speech is not self._proven and not await self._is_heard(sound, speech):
            raise TurnFailed(f"the agent said {_quoted(said)}, but something else was heard at the telephone")
        self._proven = speech
        return said

    def _unheard(self) -> str:
        """What the agent has said since the last words that were listened for."""
        parts = []
        for index, speech in enumerate(self._witness.speeches):
            if speech.speaker is Speaker.AGENT and index >= self._speech:
                first = self._word if index == self._speech else 0
                parts.append(_text(speech) if first == 0 else " ".join(_words(speech)[first:]))
        return " ".join(filter(None, parts))

    def _said_lately(self) -> str:
        if unheard := self._unheard():
            return f"the agent said {_quoted(unheard)}"
        spoken = [_text(speech) for speech in self._witness.speeches if speech.speaker is Speaker.AGENT]
        return f"the agent said nothing more after {_quoted(spoken[-1])}" if spoken else "the agent said nothing"

    # Talking.

    async def _say(self, text: str) -> str:
        await self._answered()
        await self._wait_for_pause()
        self._need_call()
        self._call.say(self._voices[text])
        await self._reach(self._call.said_until_ms)
        self._spoke_ms = self._call.said_until_ms
        return ""

    async def _wait_for_pause(self) -> None:
        """Let the agent begin, if it wants to, and finish."""
        patience, from_ms = self._patience, max(self._spoke_ms, 0)
        if self._spoke_ms >= 0 or not self._has_sound(0):
            await self._wait(lambda: self._has_sound(from_ms), patience.reply_ms)
        is_quiet = await self._wait(
            lambda: self._call.time_ms - last_sound_ms(self._call.heard()) >= patience.pause_ms, None
        )
        if not is_quiet:
            self._need_call()

    async def _barge_in(self, text: str) -> str:
        await self._answered()
        from_ms = max(self._spoke_ms, 0) if self._spoke_ms >= 0 else self._call.time_ms
        if not await self._wait(lambda: self._speaks(from_ms), self._patience.answer_ms):
            self._need_call()
            raise TurnFailed(f"there was nothing to interrupt: {self._said_lately()}")
        self._call.say(self._voices[text])
        began_ms = self._call.time_ms
        limit_ms = len(self._voices[text]) // 8 + self._patience.yield_ms
        if not await self._wait(lambda: self._is_silent_for(QUIET_MS, began_ms), limit_ms):
            self._need_call()
            raise TurnFailed("the agent went on speaking")
        silent_ms = last_sound_ms(self._call.heard()) - began_ms
        await self._reach(self._call.said_until_ms)
        self._spoke_ms = self._call.said_until_ms
        return f"the agent was silent after {max(0, silent_ms)} ms"

    async def _press(self, keys: str) -> str:
        await self._answered()
        self._need_call()
        self._call.press(keys)
        await self._pass(len(keys) * KEY_MS)
        self._spoke_ms = self._call.time_ms
        return ""

    async def _be_silent(self, seconds: float) -> str:
        await self._answered()
        self._need_call()
        before = len(self._witness.speeches)
        await self._pass(round(seconds * 1000))
        heard = [_text(speech) for speech in self._witness.speeches[before:] if speech.speaker is Speaker.AGENT]
        return f"the agent said {_quoted(' '.join(heard))}" if heard else ""

    def _has_sound(self, from_ms: int) -> bool:
        return last_sound_ms(self._call.heard(from_ms)) > 0

    def _speaks(self, from_ms: int) -> bool:
        """Whether the agent is well into something that began after `from_ms`."""
        heard = self._call.heard(from_ms)
        first_ms, last_ms = first_sound_ms(heard), last_sound_ms(heard)
        is_under_way = first_ms is not None and last_ms - first_ms >= SPEAKING_MS
        return is_under_way and self._call.time_ms - from_ms - last_ms < QUIET_MS

    def _is_silent_for(self, lasting_ms: int, from_ms: int) -> bool:
        return self._call.time_ms - max(from_ms, last_sound_ms(self._call.heard())) >= lasting_ms

    # What is so.

    async def _expect(self, turn: Expect) -> str:
        patience, began_s, began_ms = self._patience, self._clock(), self._call.time_ms
        from_ms, limit_s = began_ms, patience.settle_ms / 1000
        while wrong := missing(turn.expected, facts := self._witness.facts()):
            now_ms = self._call.time_ms
            if facts.is_calling and now_ms - began_ms < patience.calling_ms:
                from_ms = now_ms
            if now_ms - from_ms >= patience.settle_ms or (
                self._call.ended.is_set() and self._clock() - began_s >= limit_s
            ):
                raise TurnFailed("; ".join(wrong))
            await self._pass(LOOK_MS)
        return ""

    # Time.

    async def _answered(self) -> None:
        """Wait until the gateway has answered."""
        while not self._call.answered.is_set():
            if self._call.ended.is_set():
                raise TurnFailed(f"the gateway refused the call with {self._call.refused}")
            await asyncio.sleep(0.01)

    def _need_call(self) -> None:
        if self._call.ended.is_set():
            raise TurnFailed(f"{self._end()}; {self._said_lately()}")

    def _end(self) -> str:
        outcome = self._witness.facts().outcome
        return "the call has ended" + (f" ({outcome})" if outcome else "")

    async def _wait(self, is_so: Callable[[], bool], within_ms: int | None) -> bool:
        """Whether `is_so` came about before the call's end, and within so much audio."""
        from_ms = self._call.time_ms
        while not is_so():
            if self._call.ended.is_set() or (within_ms is not None and self._call.time_ms - from_ms >= within_ms):
                return False
            await self._pass(LOOK_MS)
        return True

    async def _reach(self, time_ms: int) -> None:
        while self._call.time_ms < time_ms and not self._call.ended.is_set():
            await self._call.next_frame()

    async def _pass(self, duration_ms: int) -> None:
        """Let so much audio go by; of a call that has ended, a moment."""
        await (self._call.next_frame() if self._call.ended.is_set() else self._reach(self._call.time_ms + duration_ms))


def described(turn: Turn) -> str:
    """A turn as its plan has it, on one line."""
    match turn:
        case Hear():
            return f"hear {_quoted(turn.text)}"
        case Say():
            return f"say {_quoted(turn.text)}"
        case BargeIn():
            return f"barge_in {_quoted(turn.text)}"
        case Press():
            return f"dtmf {turn.keys}"
        case BeSilent():
            return f"silence {turn.seconds:g}s"
        case HangUp():
            return "hang_up"
        case Expect():
            return f"expect {asked_for(turn.expected)}"


def _text(speech: Speech) -> str:
    """As much as was heard."""
    return speech.text if speech.heard_text is None else speech.heard_text


def _words(speech: Speech) -> tuple[str, ...]:
    return words_of(_text(speech))


def _quoted(text: str) -> str:
    return f"'{shown(text, 160)}'"
