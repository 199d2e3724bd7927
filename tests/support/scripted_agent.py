"""An agent at the other end of a telephone, who says what a test has written, on a time line that costs no time.

20 ms of audio pass in each turn of the event loop; so a dialogue of a minute is held in a fraction of a second, and the
same each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import numpy as np

from gateway.calls.record import Speaker, Speech
from gateway.simulate.expectations import Facts
from gateway.simulate.phone_call import PhoneCall

FRAME = np.full(160, 3000, np.int16).tobytes()
SILENCE = bytes(320)
WORD_MS = 200
REPLY_AFTER_MS = 500


@dataclass(slots=True)
class _Utterance:
    text: str
    start_ms: int
    end_ms: int
    cut_ms: int | None = None


class ScriptedAgent:
    """``async with ScriptedAgent("Welcome.", replies=["Nine."]) as agent: … agent.call, agent as the witness``.

    Says `greeting` at once, and one of `replies` after each word or key of the caller. It falls silent when it is
    interrupted, unless it `is_stubborn`; it `is_mute` where its words make no sound; it hangs up behind `leaves_after`
    replies; where the time line `stands_still`, no audio comes at all.
    """

    def __init__(
        self,
        greeting: str = "",
        *,
        replies: Sequence[str] = (),
        is_stubborn: bool = False,
        is_mute: bool = False,
        leaves_after: int | None = None,
        stands_still: bool = False,
        facts: Facts | None = None,
    ) -> None:
        self.current = facts or Facts()
        self.speeches: list[Speech] = []
        self.pressed = ""
        self.said: list[int] = []
        """Samples of each thing that the caller has said."""
        self._replies = list(replies)
        self._replied = 0
        self._is_stubborn, self._is_mute, self._leaves_after = is_stubborn, is_mute, leaves_after
        self._stands_still = stands_still
        self._utterances: list[_Utterance] = []
        self.call = PhoneCall(cast("Any", self), "leg", cast("Any", None), lambda call: call.note_end())
        self.call.leg = 1
        self.call.answered.set()
        if greeting:
            self._plan(greeting, 200)
        self._pump: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._pump = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._pump.cancel()

    def facts(self) -> Facts:
        return self.current

    # The media loop, as far as a call uses it.

    @property
    def engine(self) -> ScriptedAgent:
        return self

    def play(self, _leg: int, _item: str, audio: bytes) -> None:
        now_ms = self.call.time_ms
        self.said.append(len(audio) // 2)
        if not self._is_stubborn:
            for utterance in self._utterances:
                if utterance.start_ms <= now_ms < utterance.end_ms:
                    utterance.cut_ms, utterance.end_ms = now_ms + 100, now_ms + 100
        self._reply(now_ms + len(audio) // 16)

    def end_item(self, _leg: int, _item: str) -> None:
        pass

    def send_digits(self, _leg: int, digits: str) -> None:
        self.pressed += digits
        self._reply(self.call.time_ms)

    # What it says.

    def _reply(self, from_ms: int) -> None:
        if self._replies:
            self._plan(self._replies.pop(0), from_ms + REPLY_AFTER_MS)

    def _plan(self, text: str, start_ms: int) -> None:
        self._utterances.append(_Utterance(text, start_ms, start_ms + WORD_MS * len(text.split())))

    async def _run(self) -> None:
        while not self.call.ended.is_set():
            await asyncio.sleep(0)
            if self._stands_still:
                continue
            now_ms = self.call.time_ms
            is_loud = any(one.start_ms <= now_ms < one.end_ms for one in self._utterances) and not self._is_mute
            self.call.on_audio(FRAME if is_loud else SILENCE)
            for over in [one for one in self._utterances if one.end_ms <= now_ms]:
                self._utterances.remove(over)
                self._tell(over)

    def _tell(self, utterance: _Utterance) -> None:
        cut = utterance.cut_ms
        words = utterance.text.split()
        heard = None if cut is None else " ".join(words[: (cut - utterance.start_ms) // WORD_MS])
        self.speeches.append(
            Speech(
                speaker=Speaker.AGENT,
                text=utterance.text,
                at_ms=utterance.start_ms,
                heard_ms=None if cut is None else cut - utterance.start_ms,
                heard_text=heard,
            )
        )
        self._replied += 1
        if self._leaves_after is not None and self._replied > self._leaves_after:
            self.call.note_end()
