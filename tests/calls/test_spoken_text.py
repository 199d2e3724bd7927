"""How texts sound that somebody else than the caller hears: spoken once, kept where they are nobody's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.calls.speaking.speech import SpeechStore
from gateway.calls.speaking.spoken_text import spoken
from gateway.errors import ProviderUnavailable
from gateway.realtime import session as realtime
from gateway.realtime.openai.session import CAPABILITIES

OPTIONS = realtime.SessionOptions(provider="scripted", url="ws://127.0.0.1", api_key=None)


class VoiceSession:
    """Speaks what it is asked to, at once; one that `hangs` begins and never ends."""

    capabilities = CAPABILITIES

    def __init__(self, *, hangs: bool = False, is_dumb: bool = False) -> None:
        self.hangs, self.is_dumb = hangs, is_dumb
        self.is_closed = False

    async def connect(self, on_event: Callable[[realtime.SessionEvent], None]) -> None:
        self.tell = on_event

    def say(self, text: str) -> None:
        if not self.is_dumb:
            audio = realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=text.encode())
            self.tell(audio)
        if self.hangs:
            return
        words = realtime.OutputTranscript(response_id="r", item_id="i", content_index=0, text=text, is_final=True)
        self.tell(words)
        self.tell(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))

    async def close(self) -> None:
        self.is_closed = True


class Sessions:
    """Stands for `SideSessions`."""

    def __init__(self, store: SpeechStore, *sessions: VoiceSession) -> None:
        self.services = SimpleNamespace(speech=store)
        self.waiting = list(sessions)
        self.counted: list[realtime.SessionEvent] = []

    def chain(self, change: Callable[[realtime.SessionOptions], realtime.SessionOptions]) -> list[Any]:
        return [change(OPTIONS)]

    def open(self, _chain: object) -> Any:
        return self.waiting.pop(0)

    def count(self, _chain: object) -> Callable[[realtime.SessionEvent], None]:
        return self.counted.append


async def say(sessions: Sessions, text: str, *, is_kept: bool) -> bytes:
    return (await spoken(sessions, text, is_kept=is_kept)).audio  # type: ignore[arg-type]


async def test_what_is_the_same_for_all_calls_is_spoken_once_and_what_is_a_callers_own_is_not_kept() -> None:
    store = SpeechStore()
    voices = [VoiceSession() for _ in range(3)]
    sessions = Sessions(store, *voices)
    for _ in range(2):
        assert await say(sessions, "Press 1.", is_kept=True) == b"Press 1."
        assert await say(sessions, "Call from Anna.", is_kept=False) == b"Call from Anna."
    assert sessions.waiting == []
    assert all(voice.is_closed for voice in voices)
    assert len(sessions.counted) == 9  # it is paid for
    assert "Anna" not in str(store.cache.__dict__) + str(store.__dict__)


async def test_two_calls_that_ask_at_once_share_one_voice() -> None:
    store = SpeechStore()
    first, second = Sessions(store, VoiceSession()), Sessions(store)
    heard = await asyncio.gather(say(first, "Press 1.", is_kept=True), say(second, "Press 1.", is_kept=True))
    assert heard == [b"Press 1."] * 2


async def test_a_text_whose_call_has_ended_meanwhile_is_spoken_anew() -> None:
    store = SpeechStore()
    slow, other = VoiceSession(hangs=True), Sessions(store, VoiceSession())
    asking = asyncio.create_task(say(Sessions(store, slow), "Press 1.", is_kept=True))
    await asyncio.sleep(0)
    listening = asyncio.create_task(say(other, "Press 1.", is_kept=True))
    await asyncio.sleep(0)
    asking.cancel()
    assert await listening == b"Press 1."
    assert slow.is_closed


async def test_a_voice_that_says_nothing_is_a_fault_of_the_provider() -> None:
    silent = VoiceSession(is_dumb=True)
    with pytest.raises(ProviderUnavailable):
        await say(Sessions(SpeechStore(), silent), "Press 1.", is_kept=False)
    assert silent.is_closed
