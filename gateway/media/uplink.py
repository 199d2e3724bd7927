"""Caller to model: the jitter buffers of all legs, read on the clock and brought into each provider's format.

::

    JitterBuffers ──codes uint16[n, 160]──┬─ take ─> int16[n, 160] ─ UpSampler ─> int16[n, 480 or 320]   PCM16 24K, 16K
                    20 ms of every due leg├─ take ─> int16[n, 160]                                       PCM16 8K
                                          └─ take ─> uint8[n, 160]             untouched if it is the same law
    joined to pieces of `append_ms`, one bytes object a leg; legs take turns, so that their pieces are spread over time

A leg yields 20 ms for every 20 ms, though not evenly: while its next packet is late it yields nothing, 60 ms at most,
and then all that has come due. Where nothing is received it is silence, so a model's voice activity detection hears the
end of speech although the telephone stopped sending. What G.722 is among it is worked on in `gateway.media.wideband`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.media import codec
from gateway.media.codec import MISSING, PCMA, PCMU, AudioFormat, Bytes, Codes, Indices
from gateway.media.jitter import JitterBuffers
from gateway.media.pacing import MAX_APPEND_MS, PHASE_GROUPS, TICK_MS, FramePacer
from gateway.media.reception import Reception
from gateway.media.recorder import HEARD, Recorder
from gateway.media.resample import UpSampler
from gateway.media.tones import ToneDetector
from gateway.media.wideband import WidebandUplink

FRAME_MS: Final = 20
_FORMATS: Final = tuple(AudioFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkAudio:
    """What a leg's caller said, for its provider."""

    leg: int
    audio: bytes
    """`append_ms` in the leg's uplink format; the first piece after a change of length may have another one"""


class Uplink:
    """Reads the jitter buffers of all legs, each every 20 ms."""

    def __init__(
        self,
        legs: int,
        *,
        jitter: JitterBuffers,
        reception: Reception,
        pacer: FramePacer,
        recorder: Recorder,
        tones: ToneDetector,
        append_ms: int,
    ) -> None:
        self._jitter = jitter
        self._recorder = recorder
        self._reception = reception
        self._pacer = pacer
        self._tones = tones
        self._up_24k = UpSampler(3, legs)
        self._up_16k = UpSampler(2, legs)
        self._wideband = WidebandUplink(legs, jitter=jitter, reception=reception)
        self._format = np.zeros(legs, np.int64)
        self._joined = append_ms // FRAME_MS
        self._turn = np.arange(legs) // PHASE_GROUPS  # the legs of a phase group follow each other
        self._wanted = np.ones(legs, np.int64)  # frames until a piece is full
        self._gathered = np.zeros(legs, np.int64)  # frames that wait for the others of their piece
        self._waiting = {
            audio: np.zeros((legs, MAX_APPEND_MS // FRAME_MS, audio.bytes_per_ms * FRAME_MS), np.uint8)
            for audio in _FORMATS
        }

    def open(self, leg: int, audio: AudioFormat) -> None:
        """Begin a leg, or go on in another format."""
        self._format[leg] = _FORMATS.index(audio)
        self._gathered[leg] = 0
        self._wanted[leg] = 1 + self._turn[leg] % self._joined
        self._up_24k.reset(leg)
        self._up_16k.reset(leg)
        self._wideband.open(leg)

    def close(self, leg: int) -> None:
        """Forget a leg."""
        self._wideband.close(leg)

    @property
    def append_ms(self) -> int:
        """Length of the pieces."""
        return self._joined * FRAME_MS

    @append_ms.setter
    def append_ms(self, length_ms: int) -> None:
        if length_ms != self.append_ms:
            self._joined = length_ms // FRAME_MS
            self._wanted = 1 + self._turn % self._joined

    def process(self, tick: int, now: float) -> list[UplinkAudio]:
        """What is due up to `tick`; several frames of a leg if nobody came for a while."""
        pieces: list[UplinkAudio] = []
        while True:
            legs = self._pacer.waiting(tick)
            if legs.size:
                is_ready = self._jitter.is_ready(legs, self._pacer.overdue(legs, tick) * TICK_MS)
                legs = legs if is_ready.all() else legs[is_ready]
            if not legs.size:
                return pieces
            self._reception.admit_candidates(legs, now)
            skipped = self._pacer.advance(legs, tick)
            if skipped.any():
                self._jitter.drop(legs[skipped > 0], skipped[skipped > 0])
            codes = self._jitter.read(legs)
            self._wideband.hear(legs, codes)
            is_heard = self._reception.is_heard[legs]
            if not is_heard.all():
                codes[~is_heard] = MISSING
            recorded = self._recorder.among(legs)
            if recorded.size:
                chosen_legs = legs[recorded]
                heard = codec.decode(codes[recorded])
                self._recorder.write(HEARD, chosen_legs, self._pacer.begun(chosen_legs), heard)
            if self._tones.open_legs:
                is_deaf, is_missing = self._reception.has_events[legs], self._jitter.is_missing(legs)
                self._tones.hear(legs, codes, is_missing=is_missing, is_deaf=is_deaf, now=now)
            formats = self._format[legs]
            present = np.bincount(formats).nonzero()[0]
            if present.size == 1:
                pieces += self._handed_off(_FORMATS[present[0]], legs, codes)
                continue
            for index in present:
                chosen = formats == index
                pieces += self._handed_off(_FORMATS[index], legs[chosen], codes[chosen])

    def _handed_off(self, audio: AudioFormat, legs: Indices, codes: Codes) -> list[UplinkAudio]:
        """The pieces that one more frame of each of `legs`, whose providers take that format, has made whole."""
        frames = self._converted(audio, legs, codes)
        self._wideband.replace(audio, legs, frames)
        return self._join(audio, legs, frames)

    def _converted(self, audio: AudioFormat, legs: Indices, codes: Codes) -> Bytes:
        """One frame of each leg in a provider's format: uint8[n, bytes of 20 ms]."""
        if audio is AudioFormat.PCM16_24K:
            return self._up_24k.process(legs, codec.decode(codes)).view(np.uint8)
        if audio is AudioFormat.PCM16_16K:
            return self._up_16k.process(legs, codec.decode(codes)).view(np.uint8)
        if audio is AudioFormat.PCM16_8K:
            return codec.decode(codes).view(np.uint8)
        return codec.octets(codes, PCMU if audio is AudioFormat.PCMU else PCMA)

    def _join(self, audio: AudioFormat, legs: Indices, frames: Bytes) -> list[UplinkAudio]:
        gathered = self._gathered[legs]
        if self._joined == 1 and not gathered.any():
            return [
                UplinkAudio(leg=leg, audio=frame.tobytes()) for leg, frame in zip(legs.tolist(), frames, strict=True)
            ]
        waiting = self._waiting[audio]
        waiting[legs, gathered] = frames
        gathered += 1
        wanted = self._wanted[legs] - 1
        is_full = (wanted <= 0) | (gathered >= self._joined)
        self._gathered[legs] = np.where(is_full, 0, gathered)
        self._wanted[legs] = np.where(is_full, self._joined, wanted)
        full = zip(legs[is_full].tolist(), gathered[is_full].tolist(), strict=True)
        return [UplinkAudio(leg=leg, audio=waiting[leg, :count].tobytes()) for leg, count in full]
