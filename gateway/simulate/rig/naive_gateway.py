"""The baseline of the realtime bench: a gateway as a good engineer writes it first, each call for itself on asyncio.

A datagram protocol, a WebSocket of `websockets`, a task that plays out every 20 ms and two that talk to the model; per
frame ``audioop``, ``base64`` and ``json``. The one trap on the way is avoided: `max_size` of the transport, whose
default costs 25 us a packet. Options are those of `gateway.simulate.rig.engine_gateway`.
"""

from __future__ import annotations

import asyncio
import audioop
import base64
import json
import random
import ssl
import sys
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

from gateway.simulate.rig.caller import FRAME_BYTES, HOST
from gateway.simulate.rig.control import Answer, serve_gateway, settle
from gateway.transport.media_clock import LatenessHistogram

FRAME_S: Final = 0.02
RTP_HEADER_BYTES: Final = 12
MAX_PACKET_BYTES: Final = 2048
SILENCE: Final = b"\xff"

_RateState: TypeAlias = tuple[int, tuple[tuple[int, int], ...]] | None


class NaiveCall(asyncio.DatagramProtocol):
    """One call."""

    def __init__(self, *, caller_port: int, is_pcmu: bool, append_ms: int, lateness: LatenessHistogram) -> None:
        self._remote = (HOST, caller_port)
        self._is_pcmu = is_pcmu
        self._append_bytes = append_ms * (8 if is_pcmu else 48)
        self._lateness = lateness
        self._transport: asyncio.DatagramTransport
        self._websocket: ClientConnection
        self._tasks: list[asyncio.Task[None]] = []
        self._uplink = bytearray()
        self._appends: asyncio.Queue[bytes] = asyncio.Queue()
        self._up: _RateState = None
        self._down: _RateState = None
        self.playout = bytearray()
        self.packets_received = 0
        self.packets_sent = 0
        self.is_lost = False

    async def open(self, url: str, tls: ssl.SSLContext | None, audio: dict[str, Any]) -> int:
        """Bind, connect and begin; our RTP port."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, 0))
        self._websocket = await connect(url, ssl=tls)
        await self._websocket.recv()  # session.created
        session = {"type": "realtime", "audio": {"input": {"format": audio}, "output": {"format": audio}}}
        await self._websocket.send(json.dumps({"type": "session.update", "session": session}))
        await self._websocket.recv()  # session.updated
        await self._websocket.send(json.dumps({"type": "response.create"}))
        self._tasks = [asyncio.create_task(work()) for work in (self._send_audio, self._hear_model, self._play)]
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    async def close(self) -> None:
        """End all of it."""
        for task in self._tasks:
            task.cancel()
        self._transport.close()
        await self._websocket.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The port is bound."""
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._transport.max_size = MAX_PACKET_BYTES  # type: ignore[attr-defined]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Caller to model."""
        if addr != self._remote:
            return
        self.packets_received += 1
        audio = data[RTP_HEADER_BYTES:]
        if not self._is_pcmu:
            audio, self._up = audioop.ratecv(audioop.ulaw2lin(audio, 2), 2, 1, 8000, 24000, self._up)
        self._uplink += audio
        while len(self._uplink) >= self._append_bytes:
            self._appends.put_nowait(bytes(self._uplink[: self._append_bytes]))
            del self._uplink[: self._append_bytes]

    async def _send_audio(self) -> None:
        while True:
            audio = base64.b64encode(await self._appends.get()).decode()
            await self._websocket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))

    async def _hear_model(self) -> None:
        """Model to caller."""
        async for message in self._websocket:
            event = json.loads(message)
            match event["type"]:
                case "response.output_audio.delta":
                    audio = base64.b64decode(event["delta"])
                    if not self._is_pcmu:
                        audio, self._down = audioop.ratecv(audio, 2, 1, 24000, 8000, self._down)
                        audio = audioop.lin2ulaw(audio, 2)
                    self.playout += audio
                case "input_audio_buffer.speech_started":
                    self.playout.clear()
                case _:
                    pass
        self.is_lost = True

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        sequence, timestamp, ssrc = (random.getrandbits(bits) for bits in (16, 32, 32))
        due = loop.time()
        while True:
            due += FRAME_S
            await asyncio.sleep(due - loop.time())
            payload = bytes(self.playout[:FRAME_BYTES])
            del self.playout[:FRAME_BYTES]
            header = b"\x80\x00" + sequence.to_bytes(2, "big") + timestamp.to_bytes(4, "big") + ssrc.to_bytes(4, "big")
            self._transport.sendto(header + payload.ljust(FRAME_BYTES, SILENCE), self._remote)
            self._lateness.add(loop.time() - due)
            sequence, timestamp = sequence + 1 & 0xFFFF, timestamp + FRAME_BYTES & 0xFFFF_FFFF
            self.packets_sent += 1


class NaiveGateway:
    """`gateway.simulate.rig.control.GatewayUnderTest`, call by call."""

    def __init__(self, options: Answer) -> None:
        self._url = options["url"]
        self._is_pcmu = options["format"] == "pcmu"
        self._append_ms = options["append_ms"]
        is_encrypted = self._url.startswith("wss:")
        self._tls = ssl.create_default_context(cafile=options["ca_file"]) if is_encrypted else None
        self._calls: dict[int, NaiveCall] = {}
        self._lateness = LatenessHistogram()

    async def open(self, number: int, caller_port: int) -> int:
        """See `GatewayUnderTest.open`."""
        call = self._calls[number] = NaiveCall(
            caller_port=caller_port, is_pcmu=self._is_pcmu, append_ms=self._append_ms, lateness=self._lateness
        )
        audio = {"type": "audio/pcmu"} if self._is_pcmu else {"type": "audio/pcm", "rate": 24000}
        return await call.open(f"{self._url}/realtime?{urlencode({'call': number})}", self._tls, audio)

    async def close(self, number: int) -> None:
        """See `GatewayUnderTest.close`."""
        await self._calls.pop(number).close()

    def begin(self) -> None:
        """See `GatewayUnderTest.begin`."""
        self._lateness.clear()

    def figures(self) -> Answer:
        """See `GatewayUnderTest.figures`."""
        calls, late = self._calls.values(), self._lateness
        return {
            "packets_received": sum(call.packets_received for call in calls),
            "packets_sent": sum(call.packets_sent for call in calls),
            "queued_bytes": sum(len(call.playout) for call in calls),
            "lost_sessions": sum(call.is_lost for call in calls),
            "own_late_ms": {"p50": late.p50_ms, "p99": late.p99_ms, "max": late.max_ms},
            "ticks": 0,
            "ticks_missed": 0,
            "tick_ms": {"p50": 0.0, "p99": 0.0, "max": 0.0},
        }


def main() -> None:
    """Run the process."""
    options = json.loads(sys.argv[1])
    settle(options["cores"])
    asyncio.run(serve_gateway(NaiveGateway(options)))


if __name__ == "__main__":
    main()
