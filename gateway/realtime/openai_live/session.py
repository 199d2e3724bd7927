"""A realtime session with GPT-Live, OpenAI's full-duplex voice model, over the Live API.

`OpenAILiveProtocol` decides, `SocketSession` moves text. What is added here is time. The model lives by the audio that
it is sent, silence included: while nothing comes from the caller, because the telephone rings or somebody else is being
called, silence is sent in its place. And a stream that has stopped ends the turn that it carried.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import ClassVar, Final

from gateway.errors import ProviderRefused
from gateway.realtime.openai_live import codec
from gateway.realtime.openai_live.protocol import OpenAILiveProtocol
from gateway.realtime.profile import ORIGINALS_KEYS, ProviderProfile
from gateway.realtime.session import Capabilities, EventCallback, SessionOptions
from gateway.realtime.socket_session import SocketSession

LOOK_EVERY_S: Final = 0.2
"""How often the two streams are looked after."""
IDLE_LOOKS: Final = 2
"""Looks in a row that find no audio of the caller, before silence takes its place. One may come behind a stall of ours,
ahead of the audio that waited with it: both would make the model hear everything later from then on."""
MOST_FILLED_S: Final = 1.0
"""Silence sent at once: no more is owed."""
STALLED_S: Final = 3.0
"""Without audio of the provider for so long, the turn under way is over."""
UPLINK_BACKLOG_MS: Final = 600
"""Audio kept at most when the link is slower than speech: who lives at the pace of hearing never catches up."""
CLOSING_S: Final = 0.8
"""Patience with the provider's farewell, which tells what is billed in the end."""

CAPABILITIES: Final = Capabilities(
    input_formats=tuple(codec.FORMATS),
    output_formats=tuple(codec.FORMATS),
    turn_detections=("server_vad", "semantic_vad"),  # neither is asked for: it finds the turns in its own way
    has_truncate=False,
    has_cancel=False,
    has_tools=True,
    usage_unit="seconds",
    max_session_s=None,
    has_update=True,
    is_full_duplex=True,
)
_LACKS: Final = frozenset(
    {
        "language",
        "mcp",
        "noise_reduction",
        "parallel_tool_calls",
        "truncation",
        "turn_detection.idle_timeout_ms",
        "turn_detection.interrupt",
    }
)


class OpenAILiveSession(SocketSession):
    """`gateway.realtime.session.RealtimeSession` for the Live API.

    Raises:
        ProviderRefused: the options ask for what it does not have, or hold no usable URL.
    """

    profile: ClassVar = ProviderProfile(
        capabilities=CAPABILITIES,
        url="wss://api.openai.com/v1",
        lacks=ORIGINALS_KEYS | _LACKS,
        needs=frozenset({"model"}),
    )

    def __init__(self, options: SessionOptions) -> None:
        _check(options)
        self._live = OpenAILiveProtocol(options)
        super().__init__(
            replace(options, uplink_backlog_ms=min(options.uplink_backlog_ms, UPLINK_BACKLOG_MS)),
            protocol=self._live,
            capabilities=CAPABILITIES,
            url=codec.live_url(options),
            headers=codec.credentials(options),
        )
        self._timer: asyncio.TimerHandle | None = None
        self._appended_s = 0.0
        self._idle_looks = 0
        self._heard_ms = 0.0
        self._heard_s = 0.0
        self._has_ended = asyncio.Event()

    async def connect(self, on_event: EventCallback) -> None:
        """See `RealtimeSession.connect`."""
        await super().connect(on_event)
        self._appended_s = self._heard_s = asyncio.get_running_loop().time()
        self._idle_looks = IDLE_LOOKS
        self._look_later()

    def append_audio(self, audio: bytes) -> None:
        """See `RealtimeSession.append_audio`."""
        self._appended_s, self._idle_looks = asyncio.get_running_loop().time(), 0
        super().append_audio(audio)

    async def close(self) -> None:
        """See `RealtimeSession.close`."""
        self._stop_looking()
        self._is_ending = True
        try:
            await self._take_leave()
        finally:
            if self._socket is not None:
                self._socket.close()
        await super().close()

    async def _take_leave(self) -> None:
        """Say that this is the end, and wait for the provider's farewell, if one is to be had."""
        if self._is_over or not self._live.request_close():
            return
        self._transmit()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await self._has_ended.wait()

    def abort(self) -> None:
        """See `RealtimeSession.abort`."""
        self._stop_looking()
        super().abort()

    def _on_message(self, document: str | bytes) -> None:
        super()._on_message(document)
        if self._live.is_over:
            self._stop_looking()
            self._has_ended.set()

    def _on_closed(self, code: int, reason: str) -> None:
        self._stop_looking()
        self._has_ended.set()
        super()._on_closed(code, reason)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        self._stop_looking()
        if not self._is_over and not self._is_ending:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        self._fill_pause(now)
        self._look_for_stall(now)
        self._look_later()

    def _fill_pause(self, now: float) -> None:
        """Silence in place of the caller's audio where none has come."""
        self._idle_looks += 1
        if self._idle_looks >= IDLE_LOOKS:
            form = self._options.input_format
            ms = int(min(now - self._appended_s, MOST_FILLED_S) * 1000)
            self._appended_s = now
            super().append_audio(form.silence * (ms * form.sample_rate_hz // 1000))

    def _look_for_stall(self, now: float) -> None:
        if self._live.heard_ms != self._heard_ms:
            self._heard_ms, self._heard_s = self._live.heard_ms, now
        elif now - self._heard_s >= STALLED_S:
            for event in self._live.end_turns():
                self._tell(event)


def _check(options: SessionOptions) -> None:
    """See that what is asked for can be had.

    Raises:
        ProviderRefused: it cannot.
    """
    if options.output_format not in codec.FORMATS:
        known = ", ".join(known.name for known in codec.FORMATS)
        raise ProviderRefused(f"the provider has no {options.output_format.name} (it has {known})", code="format")
    if options.input_format is not options.output_format:
        raise ProviderRefused("the provider has one audio format for both directions", code="format")
    if options.turn_detection.kind not in CAPABILITIES.turn_detections:
        raise ProviderRefused("the provider cannot leave the turns to us", code="turn_detection")
    if not options.model:
        raise ProviderRefused("the provider needs the name of a model, as gpt-live-1", code="missing_model")
