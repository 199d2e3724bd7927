"""Legs that speak G.722, beside those of G.711, which are worked on all at once.

G.722 has eight octets a millisecond like G.711, so it shares whatever counts ticks of the 8000 Hz clock: packets,
jitter buffers, playout positions, the ledger. What its memory demands is done in here, leg by leg::

    uplink     JitterBuffers ─codes uint16[160]─ decode ─> int16[320] ─┬─ TickFilter ─> int16[480]    PCM16 24K
                              G.711 among them ─ take, UpSampler ──┘   ├──────────────> int16[320]    PCM16 16K
                                 gaps, made up of what was before ─┘   └─ TickFilter ─> codes uint16[160], all others

    downlink   Downlink ─int16[2 n]─> WidebandPlayout.append, place-holders in PlayoutQueues
               PlayoutQueues.take ─positions─> int16[320] ─ encode ─> uint8[160], in place of the place-holders

Speech is coded when it leaves, silence between as well: what our coder remembers is what the peer's has heard, whatever
was flushed meanwhile. Likewise every octet is decoded that came, even of a frame that is left out to shorten a delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from gateway.media import codec
from gateway.media.codec import (
    G722,
    MISSING,
    PCMA,
    PCMU,
    AudioFormat,
    Bytes,
    Codes,
    Indices,
    Mask,
    PayloadFormat,
    Samples,
)
from gateway.media.concealment import PitchRepetition
from gateway.media.g722 import SAMPLES_PER_OCTET, G722Coder
from gateway.media.jitter import FRAME_SAMPLES, JitterBuffers
from gateway.media.playout import PlayoutQueues
from gateway.media.reception import Reception
from gateway.media.resample import UpSampler
from gateway.media.splice import splice
from gateway.media.wideband_filters import StreamFilter, TickFilter

WIDE_FRAME_SAMPLES: Final = FRAME_SAMPLES * SAMPLES_PER_OCTET
"""Samples at 16 kHz in 20 ms."""

_CONCEALMENT: Final = PitchRepetition(samples_per_ms=16)
_REACH_SAMPLES: Final = _CONCEALMENT.reach_samples
_DIGITAL_SILENCE: Final = 32
"""A coder of nothing but zeros is heard up to 20."""
_QUIET_LEVEL: Final = 500  # of 32768: below, a frame may be left out unheard
_MELT_SPACING_FRAMES: Final = 10
_STALE_SAMPLES: Final = 60 * 16
"""After a loss of that length the decoder begins anew: one that knows of a loud voice makes a bang of soft octets."""
_NARROW_FRAMES: Final = 50
"""So many frames without G.722, a second, and a peer who changed to G.711 is like all the others again."""
_FADED: Final = 1 << 40
_RECALL_SAMPLES: Final = 46
"""What a filter of 47 taps wants of the frame before."""
_WIDEBAND_FORMATS: Final = (AudioFormat.PCM16_24K, AudioFormat.PCM16_16K)


@dataclass(slots=True, kw_only=True, eq=False)
class _Ear:
    """What is remembered of a leg that sends G.722."""

    coder: G722Coder = field(default_factory=G722Coder)
    history: Samples = field(default_factory=lambda: np.zeros(_CONCEALMENT.history_samples, np.int16))
    """the last samples heard, those before the present gap while there is one"""
    gap: int = _FADED
    """samples made up or left silent since something was received"""
    is_pause: bool = True
    """the sender told of the present gap, or was not listened to: nothing was lost"""
    narrow_frames: int = 0
    """frames of G.711 since the last of G.722"""
    surplus_reads: int = 0
    """frames that were heard while the delay was to be another"""


class WidebandUplink:
    """Hears the legs whose peers send G.722."""

    def __init__(self, legs: int, *, jitter: JitterBuffers, reception: Reception) -> None:
        self._jitter = jitter
        self._reception = reception
        self._ears: dict[int, _Ear] = {}
        self._from_g711 = UpSampler(SAMPLES_PER_OCTET, legs)
        self._heard = np.zeros((legs, WIDE_FRAME_SAMPLES), np.int16)
        self._is_heard = np.zeros(legs, np.bool_)  # whether the last 20 ms of a leg are in there
        self._to_24k = StreamFilter(2, 3, legs)
        self._to_8k = StreamFilter(2, 1, legs)

    def open(self, leg: int) -> None:
        """Begin a leg, or go on in another format of the provider's."""
        self._to_24k.reset(leg)

    def close(self, leg: int) -> None:
        """Forget a leg."""
        self._ears.pop(leg, None)

    def hear(self, legs: Indices, codes: Codes) -> None:
        """Decode 20 ms of those among `legs` that are wideband.

        Args:
            codes: uint16[n, 160], as `JitterBuffers.read` gave them; of wideband legs their telephone band is written
                over it, in mu-law, for all who need no more.
        """
        is_wideband = self._jitter.is_wideband[legs]
        self._is_heard[legs] = is_wideband
        if not is_wideband.any():
            return
        chosen, spoken = legs[is_wideband], codes[is_wideband]
        is_whole = np.all(spoken >= G722.first_code, axis=1)
        octets = spoken.astype(np.uint8)
        samples = np.empty((len(chosen), WIDE_FRAME_SAMPLES), np.int16)
        for row, leg in enumerate(chosen.tolist()):
            ear = self._ears.get(leg) or self._begin(leg)
            if is_whole[row] and not ear.gap and not self._jitter.surplus(leg):
                samples[row] = heard = ear.coder.decode(octets[row].tobytes())
                self._remember(ear, heard)
                ear.narrow_frames = 0
            else:
                samples[row] = self._hear(leg, ear, spoken[row])
        has_sound = self._reception.has_sound
        if not has_sound[chosen].all():  # only until it has
            has_sound[chosen] |= (np.abs(samples.astype(np.int32)) > _DIGITAL_SILENCE).any(axis=1)
        samples[~self._reception.is_heard[chosen]] = 0
        self._heard[chosen] = samples
        codes[is_wideband] = codec.codes(self._to_8k.process(chosen, samples))

    def replace(self, audio: AudioFormat, legs: Indices, frames: Bytes) -> None:
        """Write the whole band of those among `legs` that were heard in it over their telephone band.

        Args:
            frames: uint8[n, bytes of 20 ms] in the format `audio`, written.
        """
        is_wideband = self._is_heard[legs]
        if audio not in _WIDEBAND_FORMATS or not is_wideband.any():
            return
        chosen = legs[is_wideband]
        samples = self._heard[chosen]
        if audio is AudioFormat.PCM16_24K:
            samples = self._to_24k.process(chosen, samples)
        frames[is_wideband] = samples.view(np.uint8)

    def _hear(self, leg: int, ear: _Ear, codes: Codes) -> Samples:
        """20 ms of one leg, int16[320], a frame left out in them or put off behind them as the delay asks for it."""
        samples = self._decoded(leg, ear, codes)
        surplus = self._jitter.surplus(leg)
        if surplus and not (codes == MISSING).any():
            samples = self._adjusted(leg, ear, samples, is_longer=surplus < 0)
        return samples

    def _begin(self, leg: int) -> _Ear:
        for bank in (self._from_g711, self._to_24k, self._to_8k):
            bank.reset(leg)
        self._ears[leg] = ear = _Ear()
        return ear

    def _adjusted(self, leg: int, ear: _Ear, samples: Samples, *, is_longer: bool) -> Samples:
        is_silent = int(np.abs(samples.astype(np.int32)).max()) < _QUIET_LEVEL
        ear.surplus_reads += 1
        if not is_silent and ear.surplus_reads % _MELT_SPACING_FRAMES:
            return samples
        if is_longer:
            self._jitter.hold(leg)
            return samples
        following = self._decoded(leg, ear, self._jitter.read_surplus(leg))
        if is_silent:
            return following
        spliced: Samples = splice(samples[None], following[None])[0][0]
        return spliced

    def _decoded(self, leg: int, ear: _Ear, codes: Codes) -> Samples:
        """The samples of codes of any kind, one stretch of the same kind after the other."""
        kinds: Codes = codes >> np.uint16(8)  # of payload formats, counted from 1
        kinds[kinds == PCMA.first_code >> 8] = PCMU.first_code >> 8
        if not ear.narrow_frames:
            self._from_g711.reset(leg)
        samples: Samples = self._from_g711.process(np.array([leg]), codec.decode(codes)[None])[0].copy()
        edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), codes.size]
        for start, end in pairwise(edges):
            stretch = samples[start * SAMPLES_PER_OCTET : end * SAMPLES_PER_OCTET]
            if kinds[start] == MISSING:
                self._conceal(leg, ear, stretch)
                continue
            if kinds[start] == G722.first_code >> 8:
                if ear.gap >= _STALE_SAMPLES and not ear.is_pause:
                    ear.coder = G722Coder()
                stretch[:] = ear.coder.decode(codes[start:end].astype(np.uint8).tobytes())
            self._resume(ear, stretch)
        self._look_for_g711(leg, ear, kinds)
        return samples

    def _conceal(self, leg: int, ear: _Ear, stretch: Samples) -> None:
        """Make up what is missing, as far as the concealment reaches; silence where the sender pauses."""
        if not ear.gap:
            ear.is_pause = self._jitter.is_quiet(leg) or not self._reception.is_heard[leg]
            ear.gap = _FADED if ear.is_pause else 0
        stretch[:] = self._made_up(ear, stretch.size)
        in_reach = min(max(0, _REACH_SAMPLES - ear.gap), stretch.size)
        self._jitter.concealed[leg] += in_reach // SAMPLES_PER_OCTET
        ear.gap = min(ear.gap + stretch.size, _FADED)

    def _made_up(self, ear: _Ear, count: int) -> Samples:
        elapsed = np.minimum(ear.gap + np.arange(count), _REACH_SAMPLES)
        made: Samples = _CONCEALMENT.fill(ear.history[None], elapsed[None])[0]
        return made

    def _resume(self, ear: _Ear, stretch: Samples) -> None:
        """Enter what was received; after a gap that was filled, what was made up fades out over it."""
        if 0 < ear.gap < _REACH_SAMPLES:
            overlap = min(int(_CONCEALMENT.merge_samples(np.array([ear.gap]))[0]), stretch.size)
            fade = (np.arange(overlap) + 1) / (overlap + 1)
            made = self._made_up(ear, overlap)
            stretch[:overlap] = np.rint(made * (1 - fade) + stretch[:overlap] * fade)
        ear.gap = 0
        self._remember(ear, stretch)

    @staticmethod
    def _remember(ear: _Ear, samples: Samples) -> None:
        kept = ear.history.size
        ear.history = samples[-kept:] if samples.size >= kept else np.concatenate((ear.history, samples))[-kept:]

    def _look_for_g711(self, leg: int, ear: _Ear, kinds: Codes) -> None:
        if (kinds == G722.first_code >> 8).any():
            ear.narrow_frames = 0
        elif (kinds != MISSING).any():
            ear.narrow_frames += 1
            if ear.narrow_frames >= _NARROW_FRAMES:
                self._jitter.is_wideband[leg] = False
                del self._ears[leg]


@dataclass(slots=True, kw_only=True, eq=False)
class _Voice:
    """What a leg that is sent G.722 has still to be sent, at 16 kHz."""

    coder: G722Coder = field(default_factory=G722Coder)
    pieces: deque[tuple[int, Samples]] = field(default_factory=deque)
    """samples with the position of the first"""
    sent: Samples = field(default_factory=lambda: np.zeros(0, np.int16))
    """what was coded last"""
    recalled: Samples = field(default_factory=lambda: np.zeros(_RECALL_SAMPLES, np.int16))
    """the end of what was recalled last"""


class WidebandPlayout:
    """The queued speech of legs that are sent G.722, as samples; `queues` counts it, and holds its place."""

    def __init__(self, legs: int, *, queues: PlayoutQueues) -> None:
        self._queues = queues
        self._is_open = np.zeros(legs, np.bool_)
        self._voices: dict[int, _Voice] = {}
        self._to_8k = TickFilter(2, 1)
        self.filters: Final = {ratio: TickFilter(ratio, SAMPLES_PER_OCTET) for ratio in (1, 2, 3)}
        """To 16 kHz, by samples a tick: of 8, 16 and 24 kHz."""

    def open(self, leg: int) -> None:
        """Begin to send G.722, with nothing queued."""
        self._voices[leg] = _Voice()
        self._is_open[leg] = True

    def close(self, leg: int) -> None:
        """Send no more G.722; what is queued is dropped."""
        self._voices.pop(leg, None)
        self._is_open[leg] = False

    def widen(self, leg: int, law: PayloadFormat) -> None:
        """Go on in G.722 with what is queued in a `law` of G.711."""
        self.open(leg)
        octets = self._queues.content(leg)
        if octets.size:
            telephone = codec.decode(octets.astype(np.uint16) | np.uint16(law.first_code))
            self._voices[leg].pieces.append((self._queues.sent(leg), self.filters[1].convert(telephone)))

    def narrow(self, leg: int, law: PayloadFormat) -> None:
        """Go on in a `law` of G.711 with what is queued."""
        queued = self._queues.queued(leg)
        if queued:
            samples = self._cut(self._voices[leg], self._queues.sent(leg), queued)
            self._queues.rewrite(leg, codec.encode(self._to_8k.convert(samples), law))
        self.close(leg)

    def append(self, leg: int, samples: Samples) -> int:
        """Queue int16[2 n], n ticks of speech, and tell the position of the first."""
        ticks = samples.size // SAMPLES_PER_OCTET
        position = self._queues.append(leg, np.full(ticks, G722.silence, np.uint8))
        self._voices[leg].pieces.append((position, samples))
        return position

    def clear(self, leg: int) -> None:
        """Drop what is queued; what was sent stays in the coder's memory, as in the peer's."""
        voice = self._voices.get(leg)
        if voice is not None:
            voice.pieces.clear()

    def encode(
        self, legs: Indices, payloads: Bytes, payload_bytes: Indices, is_voiced: Mask, tones: Mapping[int, Samples]
    ) -> None:
        """Write G.722 over the place-holders of frames just taken: of their speech, or of silence.

        Args:
            payloads: uint8[n, any], of which the first `payload_bytes` of each row count.
            tones: by row, what is said instead of the queue's speech.
        """
        if not self._voices:
            return
        for row in np.flatnonzero(self._is_open[legs]).tolist():
            leg, ticks = int(legs[row]), int(payload_bytes[row])
            voice = self._voices[leg]
            if row in tones:
                samples = tones[row]
            elif is_voiced[row]:
                samples = self._cut(voice, self._queues.sent(leg) - ticks, ticks)
            else:
                samples = np.zeros(ticks * SAMPLES_PER_OCTET, np.int16)
            voice.sent = samples
            payloads[row, :ticks] = np.frombuffer(voice.coder.encode(samples), np.uint8)

    def recall(self, legs: Indices, frames: Samples) -> None:
        """Write the telephone band of what was coded last over the frames, int16[n, any], of those that get G.722.

        It is 1.4 ms late, and goes on without a seam where every frame of a leg is recalled.
        """
        if not self._voices:
            return
        for row in np.flatnonzero(self._is_open[legs]).tolist():
            voice = self._voices[int(legs[row])]
            samples = np.concatenate((voice.recalled, voice.sent))
            voice.recalled = samples[-_RECALL_SAMPLES:]
            ticks = voice.sent.size // SAMPLES_PER_OCTET
            first = self._to_8k.lookahead // SAMPLES_PER_OCTET + 1
            frames[row, :ticks] = self._to_8k.convert(samples)[first : first + ticks]

    @staticmethod
    def _cut(voice: _Voice, start: int, ticks: int) -> Samples:
        """The samples of so many ticks from position `start` on, silence where there are none."""
        samples = np.zeros(ticks * SAMPLES_PER_OCTET, np.int16)
        while voice.pieces:
            position, piece = voice.pieces[0]
            place = (position - start) * SAMPLES_PER_OCTET
            first, behind = max(place, 0), min(place + piece.size, samples.size)
            if first < behind:
                samples[first:behind] = piece[first - place : behind - place]
            if place + piece.size > samples.size:
                break
            voice.pieces.popleft()
        return samples
