"""What the provider's side of a call costs: its audio as events of text, the WebSocket, TLS, connections.

Ours is `OpenAIRealtimeSession` whole, as a call uses it, on both event loops. The baseline is the asyncio client of
``websockets`` with ``json`` and ``base64``, on asyncio. Each is measured in a process of its own against the same peer,
`gateway.simulate.rig.lockstep_provider`, whose work is not counted:

- *codec*: an append made, a delta of 100 ms read; nanoseconds of CPU.
- *wire*: CPU a message, socket and event loop included. An append is a tenth of ten appends and the one delta that
  answers them, a delta a tenth of ten deltas and the one append that asked for them, a pair one of each.
- *connections*: CPU of a set-up, from the TCP connection to the confirmed session, and the memory that a connection
  keeps after it has carried speech.

Only ratios travel from machine to machine.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import json as json_module
import multiprocessing
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final, Protocol, TypeAlias

from websockets.asyncio.client import ClientConnection, connect

from gateway.media.codec import AudioFormat
from gateway.realtime.openai import codec as openai_codec
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.openai.session import OpenAIRealtimeSession
from gateway.realtime.session import AudioDelta, SessionEvent, SessionOptions
from gateway.simulate.rig.lockstep_provider import lockstep_provider, speech_event
from gateway.simulate.rig.peers import CERTIFICATE
from gateway.transport import event_loop

APPEND_MS: Final = 60
DELTA_MS: Final = 100
_TURNS: Final = 3
_ROUNDS: Final = 20
_PATIENCE_S: Final = 60.0
_MIX: Final = {"append": (10, 1), "delta": (1, 10), "pair": (1, 1)}
"""Appends and deltas of one round."""
_UNITS: Final = {**dict.fromkeys(_MIX, "us"), "set-up": "ms", "memory": "KiB"}

Heard: TypeAlias = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One comparison. `asyncio` is ours on asyncio's loop, where a loop has a part in it."""

    name: str
    unit: str
    ours: float
    asyncio: float | None
    baseline: float

    @property
    def ratio(self) -> float:
        """How many times cheaper than the baseline."""
        return self.baseline / self.ours

    def as_json(self) -> dict[str, object]:
        """One flat object."""
        return asdict(self) | {"ratio": round(self.ratio, 2)}

    def as_text(self) -> str:
        """A line of the table."""
        on_asyncio = f"{self.asyncio:>9.1f}" if self.asyncio is not None else f"{'':>9}"
        return f"{self.name:<28}{self.ours:>9.1f}{on_asyncio}{self.baseline:>10.1f} {self.unit:<4}{self.ratio:>7.1f}x"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBench:
    """What was measured."""

    rows: tuple[BenchRow, ...]

    def as_json(self) -> dict[str, object]:
        """One document."""
        return {"bench": "provider", "rows": [row.as_json() for row in self.rows]}

    def as_text(self) -> str:
        """A table for people."""
        head = f"{'provider':<28}{'ours':>9}{'asyncio':>9}{'baseline':>10} {'':<4}{'ratio':>8}"
        return "\n".join([head, *(row.as_text() for row in self.rows)])


def run(*, json: bool = False, connections: int = 50, kept: int = 200, rounds: int = _ROUNDS) -> ProviderBench:
    """Measure, print a table or one JSON document to stdout, and return what was measured."""
    result = measure(connections=connections, kept=kept, rounds=rounds)
    sys.stdout.write((json_module.dumps(result.as_json()) if json else result.as_text()) + "\n")
    return result


def measure(*, connections: int = 50, kept: int = 200, rounds: int = _ROUNDS) -> ProviderBench:
    """Messages over `connections` at once, and the memory of `kept`."""
    rows = _codec_rows()
    with lockstep_provider(_speech(DELTA_MS)) as provider:
        for scheme, url in (("ws", provider.ws), ("wss", provider.wss)):
            rows += _wire_rows(scheme, _Wire(url=url, connections=connections, kept=kept, rounds=rounds))
    return ProviderBench(rows=tuple(rows))


def _speech(length_ms: int, audio: AudioFormat = AudioFormat.PCM16_24K) -> bytes:
    """Bytes of that length, of which no two neighbours are equal."""
    size = length_ms * audio.bytes_per_ms
    return (bytes(range(256)) * (size // 256 + 1))[:size]


# --- codec ------------------------------------------------------------------------------------------------------------


def _codec_rows() -> list[BenchRow]:
    rows: list[BenchRow] = []
    for audio in (AudioFormat.PCM16_24K, AudioFormat.PCMU):
        for length_ms in (20, 60, 100):
            piece = _speech(length_ms, audio)
            ours, baseline = functools.partial(openai_codec.append, piece), functools.partial(_plain_append, piece)
            rows.append(_compare(f"append {length_ms} ms {audio.value}", ours, baseline))
    document = speech_event(_speech(DELTA_MS))
    protocol = OpenAIProtocol(SessionOptions(url="ws://127.0.0.1/v1"))
    ours_read, baseline_read = functools.partial(protocol.receive, document), functools.partial(_plain_delta, document)
    rows.append(_compare(f"delta {DELTA_MS} ms", ours_read, baseline_read))
    return rows


def _compare(name: str, ours: Callable[[], object], baseline: Callable[[], object]) -> BenchRow:
    """Microseconds of CPU each; in turns, so that a busy machine is busy for both. The median round counts."""
    repeats = 1000
    spent: list[list[float]] = [[], []]
    for _ in range(7):
        for contender, times in zip((ours, baseline), spent, strict=True):
            started = time.process_time_ns()
            for _ in range(repeats):
                contender()
            times.append((time.process_time_ns() - started) / repeats / 1000)
    return BenchRow(name=name, unit="us", ours=median(spent[0]), asyncio=None, baseline=median(spent[1]))


def _plain_append(audio: bytes) -> str:
    return json_module.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})


def _plain_delta(document: str) -> bytes:
    event = json_module.loads(document)
    return base64.b64decode(event["delta"]) if event["type"] == openai_codec.AUDIO_DELTA else b""


# --- wire -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wire:
    """What each contender is measured with."""

    url: str
    connections: int
    kept: int
    rounds: int


class _Contender(Protocol):
    async def connect(self, heard: Heard) -> None: ...

    async def append(self, audio: bytes) -> None: ...

    def abort(self) -> None: ...


class _Ours:
    """A session as a call has it."""

    def __init__(self, wire: _Wire, model: str) -> None:
        self._session = OpenAIRealtimeSession(
            SessionOptions(url=wire.url, ca_file=CERTIFICATE, model=model, connect_timeout_s=_PATIENCE_S)
        )

    async def connect(self, heard: Heard) -> None:
        def on_event(event: SessionEvent) -> None:
            if isinstance(event, AudioDelta):
                heard(event.audio)

        await self._session.connect(on_event)

    async def append(self, audio: bytes) -> None:
        self._session.append_audio(audio)

    def abort(self) -> None:
        self._session.abort()


class _Plain:
    """What one writes first."""

    def __init__(self, wire: _Wire, model: str) -> None:
        self._url = f"{wire.url}/realtime?model={model}"
        self._tls = _plain_tls() if wire.url.startswith("wss:") else None
        self._socket: ClientConnection
        self._reader: asyncio.Task[None]

    async def connect(self, heard: Heard) -> None:
        self._socket = await connect(self._url, ssl=self._tls, compression=None, open_timeout=_PATIENCE_S)
        await self._socket.recv()
        await self._socket.send('{"type": "session.update", "session": {"type": "realtime"}}')
        await self._socket.recv()
        self._reader = asyncio.create_task(self._read(heard))

    async def _read(self, heard: Heard) -> None:
        async for message in self._socket:
            heard(_plain_delta(str(message)))

    async def append(self, audio: bytes) -> None:
        await self._socket.send(_plain_append(audio))

    def abort(self) -> None:
        self._reader.cancel()
        self._socket.transport.abort()


@functools.cache
def _plain_tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


_CONTENDERS: Final[dict[str, Callable[[_Wire, str], _Contender]]] = {"ours": _Ours, "baseline": _Plain}
_CONTESTS: Final = (("ours", True), ("ours", False), ("baseline", False))
"""Who, and whether on the loop of ``gateway run``."""


def _wire_rows(scheme: str, wire: _Wire) -> list[BenchRow]:
    """In turns, so that a busy machine is busy for all; the median turn counts."""
    turns: list[list[dict[str, float]]] = [[], [], []]
    for _ in range(_TURNS):
        for (contender, is_fast_loop), costs in zip(_CONTESTS, turns, strict=True):
            costs.append(_in_a_process(wire, contender, is_fast_loop=is_fast_loop))
    rows: list[BenchRow] = []
    for name, unit in _UNITS.items():
        ours, on_asyncio, baseline = (median(turn[name] for turn in costs) for costs in turns)
        rows.append(BenchRow(name=f"{scheme} {name}", unit=unit, ours=ours, asyncio=on_asyncio, baseline=baseline))
    return rows


def _in_a_process(wire: _Wire, contender: str, *, is_fast_loop: bool) -> dict[str, float]:
    """Measured where nothing was before, memory above all; by the names of `_UNITS`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure_wire, wire, contender, is_fast_loop=is_fast_loop).result()


def _measure_wire(wire: _Wire, contender: str, *, is_fast_loop: bool) -> dict[str, float]:
    factory = event_loop.loop_factory() if is_fast_loop else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_costs(wire, _CONTENDERS[contender]))


async def _costs(wire: _Wire, contender: Callable[[_Wire, str], _Contender]) -> dict[str, float]:
    gc.disable()
    # Speech first: what later connections keep is then what they keep for themselves.
    setup_ms, memory_kib = await _connections(wire, contender)
    costs = {name: await _messages(wire, contender, appends, deltas) for name, (appends, deltas) in _MIX.items()}
    return costs | {"set-up": setup_ms, "memory": memory_kib}


async def _connections(wire: _Wire, contender: Callable[[_Wire, str], _Contender]) -> tuple[float, float]:
    """CPU milliseconds of a set-up, KiB of a connection that has carried speech."""
    group = _Group(contender, wire, appends=1, deltas=10)
    await group.connect(1)
    await group.round()
    before_kib = _resident_kib()
    setups_ms = await group.connect(wire.kept)
    for _ in range(5):
        await group.round()
    memory_kib = (_resident_kib() - before_kib) / wire.kept
    group.abort()
    return median(setups_ms), memory_kib


async def _messages(wire: _Wire, contender: Callable[[_Wire, str], _Contender], appends: int, deltas: int) -> float:
    """CPU microseconds of a message, or of the pair."""
    group = _Group(contender, wire, appends=appends, deltas=deltas)
    await group.connect(wire.connections)
    spent_us: list[float] = []
    for _ in range(wire.rounds):
        started = time.process_time_ns()
        await group.round()
        spent_us.append((time.process_time_ns() - started) / 1000 / wire.connections)
    group.abort()
    return median(spent_us) / max(appends, deltas)


class _Group:
    """Connections that send `appends` and hear `deltas` each in a round."""

    def __init__(
        self, contender: Callable[[_Wire, str], _Contender], wire: _Wire, *, appends: int, deltas: int
    ) -> None:
        self._make = functools.partial(contender, wire, f"{appends}-{deltas}")
        self._appends, self._deltas = appends, deltas
        self._members: list[_Contender] = []
        self._missing = 0
        self._is_round_over = asyncio.Event()
        self._audio = _speech(APPEND_MS)

    async def connect(self, count: int) -> list[float]:
        """One after the other; the CPU milliseconds of each."""
        setups_ms: list[float] = []
        for _ in range(count):
            member = self._make()
            started = time.process_time_ns()
            await member.connect(self._heard)
            setups_ms.append((time.process_time_ns() - started) / 1e6)
            self._members.append(member)
        return setups_ms

    async def round(self) -> None:
        self._is_round_over.clear()
        self._missing = len(self._members) * self._deltas
        for _ in range(self._appends):
            for member in self._members:
                await member.append(self._audio)
            await asyncio.sleep(0)  # a turn of the loop between two appends of a call, as between two ticks
        async with asyncio.timeout(_PATIENCE_S):
            await self._is_round_over.wait()

    def abort(self) -> None:
        for member in self._members:
            member.abort()

    def _heard(self, _audio: bytes) -> None:
        self._missing -= 1
        if not self._missing:
            self._is_round_over.set()


def _resident_kib() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])
