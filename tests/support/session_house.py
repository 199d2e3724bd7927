"""Recovering sessions without sockets or waiting: scripted providers on a loop whose clock the test turns.

::

    house = SessionHouse("first", "second")
    with house.running() as session:        # connected; `house.link` is what it works with
        house.link.speak("r", "i", 500)
        house.link.drop()
        house.live(2.0)
    house.told                              # every event, in order

A provider's `plan` says what each of its coming connections does: an error, or how long it takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.errors import ProviderError, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from gateway.realtime.recovery.endpoints import Endpoints, Endurance
from gateway.realtime.recovery.options import RecoveryOptions

E = TypeVar("E", bound=realtime.SessionEvent)

PCMU_MS = 8
PIECE = b"\xff" * 160
STEP_S = 0.02
CONNECT_S = 0.2
CAPABILITIES = realtime.Capabilities(
    input_formats=(AudioFormat.PCMU,),
    output_formats=(AudioFormat.PCMU,),
    turn_detections=("server_vad", "none"),
    has_truncate=True,
    has_cancel=True,
    has_tools=True,
    usage_unit="tokens",
    max_session_s=None,
    has_questions=True,
)


@dataclass(eq=False)
class ScriptedLink:
    """One connection of a provider: what it was given, and the levers of its model."""

    provider: ScriptedProvider
    options: realtime.SessionOptions
    number: int
    heard: list[bytes] = field(default_factory=list)
    done: list[tuple[Any, ...]] = field(default_factory=list)
    """Commands other than audio, in order."""
    is_up: bool = False
    ending: str = ""
    """How it was ended from our side: ``closed`` or ``aborted``."""
    statistics: realtime.SessionStatistics = field(default_factory=realtime.SessionStatistics)
    _on_event: Callable[[realtime.SessionEvent], None] | None = None

    @property
    def capabilities(self) -> realtime.Capabilities:
        return self.provider.capabilities

    async def connect(self, on_event: Callable[[realtime.SessionEvent], None]) -> None:
        self.provider.attempts.append(asyncio.get_running_loop().time())
        plan = self.provider.plan.popleft() if self.provider.plan else self.provider.usual
        if isinstance(plan, ProviderError):
            raise plan
        await asyncio.sleep(plan)
        if self.ending:
            raise ProviderUnavailable("dropped while connecting")
        self.is_up = True
        self._on_event = on_event
        expires = self.provider.expires_at
        ready = realtime.SessionReady(
            session_id=f"{self.options.provider}-{self.number}", model="m", expires_at_s=expires() if expires else None
        )
        on_event(ready)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.done.append((name, *args, *kwargs.values()))

    def append_audio(self, audio: bytes) -> None:
        if self.is_up:
            self.heard.append(audio)

    async def close(self) -> None:
        self.ending = self.ending or "closed"
        self._end(1000)

    def abort(self) -> None:
        self.ending = self.ending or "aborted"
        self._end(1006)

    def _end(self, code: int) -> None:
        if self.is_up:
            self.is_up = False
            self.emit(realtime.SessionClosed(code=code, reason=""))

    # --- levers -------------------------------------------------------------------------------------------------------

    def emit(self, event: realtime.SessionEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def drop(self, error: ProviderError | None = None) -> None:
        """The connection is cut from outside."""
        if self.is_up:
            self.is_up = False
            self.emit(realtime.SessionFailed(error=error or ProviderUnavailable("connection lost", code="1006")))
            self.emit(realtime.SessionClosed(code=1006, reason="connection lost"))

    def begin_turn(self, item: str) -> None:
        sent_ms = sum(map(len, self.heard)) // PCMU_MS
        self.emit(realtime.SpeechStarted(item_id=item, audio_start_ms=max(sent_ms - 300, 0)))

    def end_turn(self, item: str, words: str | None = None) -> None:
        self.emit(realtime.SpeechStopped(item_id=item, audio_end_ms=0))
        if words is not None:
            self.emit(realtime.InputTranscript(item_id=item, text=words, is_final=True))

    def begin(self, response: str) -> None:
        self.emit(realtime.ResponseStarted(response_id=response))

    def say(self, response: str, item: str, audio_ms: int, words: str = "", *, is_whole: bool = False) -> None:
        if words:
            self.emit(
                realtime.OutputTranscript(
                    response_id=response, item_id=item, content_index=0, text=words, is_final=is_whole
                )
            )
        audio = b"\xff" * (audio_ms * PCMU_MS)
        self.emit(realtime.AudioDelta(response_id=response, item_id=item, content_index=0, audio=audio))
        if is_whole:
            self.emit(realtime.AudioFinished(response_id=response, item_id=item, content_index=0))

    def finish(self, response: str, error: ProviderError | None = None) -> None:
        status = realtime.ResponseStatus.FAILED if error else realtime.ResponseStatus.COMPLETED
        self.emit(realtime.ResponseFinished(response_id=response, status=status, error=error))

    def answer(self, response: str, item: str, audio_ms: int, words: str) -> None:
        """A whole reply."""
        self.begin(response)
        self.say(response, item, audio_ms, words, is_whole=True)
        self.finish(response)

    def call(self, call_id: str, name: str = "look", response: str = "r", **arguments: object) -> None:
        call = realtime.ToolCall(call_id=call_id, name=name, arguments=arguments, response_id=response)
        self.emit(realtime.ToolCalled(call=call))

    def commands(self, name: str) -> list[tuple[Any, ...]]:
        """Arguments of every command of this name."""
        return [command[1:] for command in self.done if command[0] == name]


class ScriptedProvider:
    """What registers under a name. `usual` is what a connection does that `plan` says nothing of."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.capabilities = CAPABILITIES
        self.plan: deque[float | ProviderError] = deque()
        self.usual: float | ProviderError = CONNECT_S
        self.expires_at: Callable[[], int] | None = None
        self.attempts: list[float] = []
        self.links: list[ScriptedLink] = []
        realtime.register_provider(name, self.open)

    def open(self, options: realtime.SessionOptions) -> Any:
        self.links.append(ScriptedLink(self, options, len(self.links)))
        return self.links[-1]


class SessionHouse:
    """A process with some providers; all sessions of it share circuits and pace."""

    def __init__(self, *names: str, seed: int = 1, **options: Any) -> None:
        self.now = 1000.0
        self.names = [f"scripted-{name}" for name in names or ("first",)]
        self.providers = [ScriptedProvider(name) for name in self.names]
        self.told: list[realtime.SessionEvent] = []
        self.faults: list[dict[str, Any]] = []
        max_sessions = options.pop("max_sessions", None)
        self.chain_options = options.pop("session", {})
        recovery = RecoveryOptions(**options)
        endurances = {name: Endurance(recovery=recovery, max_sessions=max_sessions) for name in self.names}
        self.endpoints = Endpoints(endurances, clock=lambda: self.now, wall_clock=lambda: self.now + 1e9, seed=seed)
        self.loop = asyncio.new_event_loop()
        self.loop.time = lambda: self.now  # type: ignore[method-assign]
        self.loop.set_exception_handler(lambda _loop, context: self.faults.append(context))

    def make(self) -> realtime.RealtimeSession:
        """A session that is not connected."""
        formats = {"input_format": AudioFormat.PCMU, "output_format": AudioFormat.PCMU}
        chain = [
            realtime.SessionOptions(provider=name, url=f"ws://{name}", **(formats | self.chain_options))
            for name in self.names
        ]
        return self.endpoints.session(self.names, chain)

    @contextmanager
    def running(self) -> Iterator[realtime.RealtimeSession]:
        """A connected session; closed at the end, with nothing left behind."""
        session = self.make()
        try:
            self.run(session.connect(self.told.append))
            yield session
            self.run(session.close())
            self.settle()
            handles: list[asyncio.TimerHandle] = self.loop._scheduled  # type: ignore[attr-defined]
            assert [handle for handle in handles if not handle.cancelled()] == []
            assert not asyncio.all_tasks(self.loop)
            assert self.faults == []
            assert not any(link.is_up for provider in self.providers for link in provider.links)
            assert all(entry["sessions"] == 0 for entry in self.endpoints.status().values())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.close()

    def run(self, work: Any, patience_s: float = 60.0) -> Any:
        """Let time pass until `work` is done."""
        task = self.loop.create_task(work)
        end = self.now + patience_s
        self.settle()
        while not task.done() and self.now < end:
            self.now += STEP_S
            self.settle()
        assert task.done(), "took too long"
        return task.result()

    def live(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(self.now + STEP_S, end)
            self.settle()
            each()

    def settle(self) -> None:
        """Let everything happen that is due."""
        for _ in range(6):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    @property
    def live_links(self) -> list[ScriptedLink]:
        """Connections that are up."""
        return [link for provider in self.providers for link in provider.links if link.is_up]

    @property
    def link(self) -> ScriptedLink:
        """The connection that is up."""
        assert len(self.live_links) == 1, self.live_links
        return self.live_links[0]

    def of(self, kind: type[E]) -> list[E]:
        """What was told of one kind."""
        return [event for event in self.told if isinstance(event, kind)]
