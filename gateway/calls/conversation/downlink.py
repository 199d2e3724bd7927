"""What the model says, on its way to the caller's leg.

::

    AudioDelta ──hear──> the caller cannot hear yet: kept until `begin`
                    ├──> they hear something else:   lost, and the transcript knows
                    └──> played; of a model that is full duplex only what is in time (`live_playout`)
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.calls.conversation.live_playout import fitted
from gateway.calls.conversation.opening import Opening
from gateway.calls.escalation.silence import LastHeard
from gateway.calls.record import CallRecord
from gateway.calls.transcript import Transcript
from gateway.media.codec import AudioFormat
from gateway.media.engine import HeardAudio
from gateway.realtime.session import AudioDelta, AudioFinished
from gateway.transport.media_loop import MediaLoop

MAX_EARLY_AUDIO_MS = 60_000
GREETING_ITEM = "greeting"


class Downlink:
    """One session's. `clock` gives monotonic seconds; `is_live` tells whether the model is full duplex."""

    def __init__(
        self,
        media: MediaLoop,
        audio_format: AudioFormat,
        record: CallRecord,
        *,
        transcript: Transcript,
        last_heard: LastHeard,
        opening: Opening,
        clock: Callable[[], float],
        is_live: Callable[[], bool],
    ) -> None:
        self._media = media
        self._bytes_per_ms = audio_format.bytes_per_ms
        self._record = record
        self._transcript = transcript
        self._last_heard = last_heard
        self._opening = opening
        self._clock = clock
        self._is_live = is_live
        self._early: list[AudioDelta | AudioFinished] = []
        self._early_bytes = 0
        self.leg: int | None = None
        """Where the caller hears it; None: not yet, or no longer."""
        self.is_silenced = False
        """Whether the caller, who could hear it, hears something else."""

    @property
    def has_early(self) -> bool:
        """Whether something waits for the caller to hear."""
        return bool(self._early)

    def begin(self, leg: int) -> None:
        """Play the greeting that was heard before, or what was said while the telephone rang."""
        greeting = self._opening.take_cached()
        if greeting is not None and self._opening.text is not None:
            self._play(leg, GREETING_ITEM, 0, greeting)
            self._media.engine.end_item(leg, GREETING_ITEM)
            self._transcript.agent_audio_ended(GREETING_ITEM)
            self._transcript.agent_words(GREETING_ITEM, self._opening.text, is_final=True)
        early, self._early = self._early, []
        for event in early:
            self._deliver(leg, event)

    def hear(self, event: AudioDelta | AudioFinished) -> None:
        """More of what the model says."""
        is_late = self.leg is None and self._is_live()  # it would be so for the rest of the call
        if (self.is_silenced or is_late) and isinstance(event, AudioDelta):
            self._transcript.agent_lost(event.item_id, len(event.audio) / self._bytes_per_ms)
            return
        if isinstance(event, AudioDelta):
            self._opening.hear_audio(event.audio)
        if self.leg is not None:
            self._deliver(self.leg, event)
        elif not is_late:
            self._keep(event)

    def cut(self, leg: int) -> tuple[HeardAudio, ...]:
        """Silence the model: what of each item was heard."""
        heard = self._media.engine.flush(leg)
        self._last_heard.cut_agent(self._clock())
        return heard

    def flush(self, leg: int) -> None:
        """Drop what is queued of a model that is full duplex; what it says goes on."""
        self._last_heard.cut_agent(self._clock())
        for item in self._media.engine.flush(leg):
            self._transcript.agent_flushed(item.item_id, item.heard_ms, item.received_ms)

    def abandon(self, leg: int | None) -> None:
        """The call's `leg`, if it has one, is about to go: what was not heard by now never will be."""
        was_playing, self.leg = self.leg is not None and self.leg == leg, None
        self._early.clear()
        if was_playing and leg is not None:
            for item in self._media.engine.flush(leg):
                self._transcript.agent_cut(item.item_id, item.heard_ms, item.received_ms)

    def _keep(self, event: AudioDelta | AudioFinished) -> None:
        self._transcript.agent_audio_waits(event.item_id)
        if isinstance(event, AudioDelta):
            self._early_bytes += len(event.audio)
            if self._early_bytes > MAX_EARLY_AUDIO_MS * self._bytes_per_ms:
                return
        self._early.append(event)

    def _deliver(self, leg: int, event: AudioDelta | AudioFinished) -> None:
        if isinstance(event, AudioDelta):
            audio = self._in_time(leg, event) if self._is_live() else event.audio
            self._play(leg, event.item_id, event.content_index, audio, is_silence=event.is_silence)
        else:
            self._transcript.agent_audio_ended(event.item_id)
            self._media.engine.end_item(leg, event.item_id)

    def _in_time(self, leg: int, event: AudioDelta) -> bytes:
        """What of it is to be played, so that the caller hears the model when it speaks."""
        audio, is_late = fitted(event, self._media.engine.queued_ms(leg), self._bytes_per_ms)
        if is_late:
            self.flush(leg)
        return audio

    def _play(self, leg: int, item_id: str, content_index: int, audio: bytes, *, is_silence: bool = False) -> None:
        if self._record.first_audio_ms is None and self._record.established_s is not None:
            self._record.first_audio_ms = round((self._clock() - self._record.established_s) * 1000)
        audio_ms = len(audio) / self._bytes_per_ms
        queued_ms = self._media.engine.queued_ms(leg)
        self._transcript.agent_audio(item_id, queued_ms, audio_ms)
        if not is_silence:
            self._last_heard.hear_agent(self._clock() + (queued_ms + audio_ms) / 1000)
        self._media.engine.play(leg, item_id, audio, content_index)
