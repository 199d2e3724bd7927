"""One call of a telephone that is a program: what it says and hears, on one time line.

::

    say(pcm) ──> leg ──RTP──> peer          everything said and heard is kept, int16 at 8 kHz:
    heard <── leg <──RTP── peer             recording() is stereo, left what we said, right what we heard
"""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.media.engine import LegStatistics
from gateway.simulate.listening import RATE_HZ, first_pause_ms, first_sound_ms, last_sound_ms
from gateway.simulate.stamped_ports import StampedLeg
from gateway.sip.message import Headers
from gateway.sip.sdes import NO_SRTP
from gateway.sip.sdp import AudioStream, SessionDescription
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import RtpPort

AFTER_END_S = 0.02


class PhoneCall:
    """One call of a telephone. The events are set once and stay set."""

    def __init__(self, media: MediaLoop, leg_id: str, port: RtpPort, hang_up: Callable[[PhoneCall], None]) -> None:
        self._media = media
        self._hang_up = hang_up
        self.leg_id = leg_id
        self.port = port
        self.leg: int | None = None
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.rang = False
        self.refer_status: int | None = None
        self.refused: int | None = None
        self.refusal_headers = Headers()
        self.keys = ""
        """Those that the peer pressed."""
        self.stream: AudioStream | None = None
        """What was agreed on last."""
        self.transfer_requested = asyncio.Event()
        self.transfer: PhoneCall | None = None
        self.dialled_s = time.monotonic()
        self.answered_s: float | None = None
        self.ended_by_peer = False
        self.statistics: LegStatistics | None = None
        self.offer: SessionDescription | None = None
        self.version = 1
        self.srtp = NO_SRTP
        """Terms of the latest negotiation."""
        self.reanswered = asyncio.Event()
        self.keeps_audio = True
        """Whether what is said and heard is kept; it is 32 KB a second."""
        self.stamps: StampedLeg | None = None
        """When words left and the peer was heard, where the telephone notes that."""
        self.loudest = 0
        """The largest amplitude heard."""
        self._heard: list[NDArray[np.int16]] = []
        self._heard_samples = 0
        self._said: list[tuple[int, NDArray[np.int16]]] = []
        self._said_until = 0
        self._items = 0
        self._news = asyncio.Event()
        self.on_frame: Callable[[PhoneCall], None] | None = None

    # Talking and listening.

    def say(self, pcm: NDArray[np.int16]) -> None:
        """Speak `pcm` (int16[samples], 8 kHz) after what is being said already."""
        if self.leg is None:
            return
        self._items += 1
        item = f"say-{self._items}"
        self._media.engine.play(self.leg, item, pcm.astype("<i2").tobytes())
        self._media.engine.end_item(self.leg, item)
        if self.stamps is not None:
            self.stamps.note_words()
        start = max(self._heard_samples, self._said_until)
        if self.keeps_audio:
            self._said.append((start, pcm))
        self._said_until = start + len(pcm)

    def on_audio(self, audio: bytes) -> None:
        """20 ms of what the peer sends, silence included; the call's time line."""
        samples = np.frombuffer(audio, dtype="<i2")
        if self.keeps_audio:
            self._heard.append(samples)
        self.loudest = max(self.loudest, int(samples.max(initial=0)), -int(samples.min(initial=0)))
        self._heard_samples += len(samples)
        self._news.set()
        if self.on_frame is not None:
            self.on_frame(self)

    def on_digit(self, digit: str, _duration_ms: int) -> None:
        """The peer has pressed a key."""
        self.keys += digit

    def on_item_finished(self, _item_id: str, _content_index: int) -> None:
        """What was said has left."""

    @property
    def time_ms(self) -> int:
        """Time since media started, by the audio received."""
        return self._heard_samples * 1000 // RATE_HZ

    @property
    def said_until_ms(self) -> int:
        """Where on the time line our last word ends."""
        return self._said_until * 1000 // RATE_HZ

    @property
    def said_ms(self) -> list[int]:
        """Where on the time line each thing begins that we said."""
        return [start * 1000 // RATE_HZ for start, _ in self._said]

    def heard(self, from_ms: int = 0) -> NDArray[np.int16]:
        """What was heard since `from_ms`, int16[samples] at 8 kHz."""
        whole = np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)
        return whole[from_ms * RATE_HZ // 1000 :]

    def recording(self) -> NDArray[np.int16]:
        """Both sides on one time line: int16[samples, 2], left said, right heard."""
        heard = self.heard()
        length = max(len(heard), self._said_until)
        both = np.zeros((length, 2), np.int16)
        both[: len(heard), 1] = heard
        for start, pcm in self._said:
            both[start : start + len(pcm), 0] = pcm
        return both

    async def wait_for_speech(self, *, from_ms: int, within_s: float) -> int:
        """Wait until the peer is heard; returns its first sound's place on the time line in ms.

        Raises:
            TimeoutError: nothing but silence.
        """
        async with asyncio.timeout(within_s):
            while True:
                start = first_sound_ms(self.heard(from_ms))
                if start is not None:
                    return from_ms + start
                await self.next_frame()

    async def wait_for_silence(self, *, lasting_ms: int, within_s: float) -> int:
        """Wait until the peer has been silent for `lasting_ms`, or has gone; where its last sound ended, in ms.

        Raises:
            TimeoutError: the peer never stopped.
        """
        async with asyncio.timeout(within_s):
            while True:
                last = last_sound_ms(self.heard())
                if self.ended.is_set() or self.time_ms - last >= lasting_ms:
                    return last
                await self.next_frame()

    async def wait_for_pause(self, *, from_ms: int, lasting_ms: int, within_s: float) -> int:
        """Wait for the first silence of `lasting_ms` at or after `from_ms`; returns where it begins, in ms.

        Raises:
            TimeoutError: the peer never stopped.
        """
        async with asyncio.timeout(within_s):
            while True:
                start = first_pause_ms(self.heard(from_ms), lasting_ms)
                if start is not None:
                    return from_ms + start
                await self.next_frame()

    async def wait_until(self, time_ms: int, *, within_s: float) -> None:
        """Wait until the time line has reached `time_ms`."""
        async with asyncio.timeout(within_s):
            while self.time_ms < time_ms:
                await self.next_frame()

    async def next_frame(self) -> None:
        """Wait for the next 20 ms, or for the end; 20 ms by the clock of a call that has ended."""
        if self.ended.is_set():
            await asyncio.sleep(AFTER_END_S)
            return
        self._news.clear()
        await self._news.wait()

    def note_end(self) -> None:
        """The call is over; whoever waits for its audio looks once more."""
        self.ended.set()
        self._news.set()

    def current_statistics(self) -> LegStatistics | None:
        """Figures of the media leg, live or final; None when there never was one."""
        return self.statistics if self.leg is None else self._media.statistics(self.leg)

    def press(self, digits: str) -> None:
        """Press keys: RFC 4733 events where the peer takes them, else tones."""
        if self.leg is not None:
            self._media.engine.send_digits(self.leg, digits)

    def hang_up(self) -> None:
        """Send BYE."""
        self._hang_up(self)


def write_wav(file: Path, both: NDArray[np.int16]) -> None:
    """Write int16[samples, 2] as a stereo WAV at 8 kHz."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(both.astype("<i2").tobytes())
