"""What breaking connections costs: 200 resets in 50 calls, with a provider on loopback that echoes and asks for tools.

    python -m tests.bench.drops [CALLS] [DROPS] [SECONDS]

*Reconnect* is the gap that a session tells, *heard* the time between the last sound of one connection and the first of
the next, at the pace at which it arrives. Every call has a caller who speaks all the time; each of its sessions is
asked for a tool that takes two seconds.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter

import numpy as np

from gateway.media.codec import AudioFormat
from gateway.realtime.recovery.endpoints import Endpoints, Endurance
from gateway.realtime.session import (
    AudioDelta,
    RealtimeSession,
    SessionClosed,
    SessionEvent,
    SessionOptions,
    SessionResumed,
    ToolCalled,
)
from tests.support.fault_proxy import FaultProxy
from tests.support.realtime_server import Call, RealtimeServer, ServerSession

PIECE = b"\x55" * 160
TOOL_S = 2.0


class Caller:
    """One call: speaks, hears, and runs what the model asks for."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.heard_s: list[float] = []
        self.gaps_ms: list[int] = []
        self.gaps_heard_s: list[float] = []
        self.runs: Counter[str] = Counter()
        self.is_over = False
        self._has_resumed = False

    def hear(self, event: SessionEvent) -> None:
        """`on_event` of the session."""
        loop = asyncio.get_running_loop()
        match event:
            case AudioDelta():
                if self._has_resumed and self.heard_s:
                    self._has_resumed = False
                    self.gaps_heard_s.append(loop.time() - self.heard_s[-1])
                self.heard_s.append(loop.time())
            case SessionResumed():
                self._has_resumed = True
                self.gaps_ms.append(event.gap_ms)
            case ToolCalled():
                self.runs[str(event.call.arguments["work"])] += 1
                loop.call_later(TOOL_S, self.session.send_tool_result, event.call.call_id, '"done"')
            case SessionClosed():
                self.is_over = True
            case _:
                pass

    async def speak(self) -> None:
        """Until cancelled: 20 ms every 20 ms."""
        while True:
            self.session.append_audio(PIECE)
            await asyncio.sleep(0.02)


async def ask_for_tools(server: RealtimeServer) -> None:
    """Let each session want a piece of work done: the one that was being done when the session before it was lost."""
    seen: set[ServerSession] = set()
    while True:
        for session in server.sessions:
            if session not in seen and session.kinds().count("session.update") and session.active is None:
                seen.add(session)
                history = [event["item"] for event in session.events if event["type"] == "conversation.item.create"]
                running = {item["call_id"] for item in history if "running" in str(item.get("output"))}
                works = [item["arguments"] for item in history if item["type"] == "function_call"]
                is_running = bool(works) and history[-1].get("call_id") in running
                arguments = works[-1] if is_running else f'{{"work": "{session.number}"}}'
                await session.start()
                await session.call([Call(name="work", arguments=arguments)])
                await session.finish()
        await asyncio.sleep(0.1)


async def run(calls: int, drops: int, seconds: float) -> None:
    """Break connections at random, and print what came of it."""
    rng = random.Random(1)
    async with RealtimeServer(is_echoing=True, is_replying=False) as server, FaultProxy(server.port) as proxy:
        options = SessionOptions(
            url=f"ws://127.0.0.1:{proxy.port}/v1",
            model="m",
            input_format=AudioFormat.PCMU,
            output_format=AudioFormat.PCMU,
        )
        endpoints = Endpoints({"default": Endurance()})
        callers = [Caller(endpoints.session(["default"], [options])) for _ in range(calls)]
        await asyncio.gather(*(caller.session.connect(caller.hear) for caller in callers))
        tasks = [asyncio.create_task(caller.speak()) for caller in callers]
        tasks.append(asyncio.create_task(ask_for_tools(server)))
        for _ in range(drops):
            await asyncio.sleep(rng.expovariate(drops / seconds))
            if proxy.open_count:
                proxy.reset_one(rng.randrange(proxy.open_count))
        await asyncio.sleep(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        alive = sum(not caller.is_over for caller in callers)
        await asyncio.gather(*(caller.session.close() for caller in callers))
    report(callers, alive)


def report(callers: list[Caller], alive: int) -> None:
    """Print the figures."""
    gaps = np.array([gap for caller in callers for gap in caller.gaps_ms], float)
    heard = np.array([gap * 1000 for caller in callers for gap in caller.gaps_heard_s])
    runs = sum((caller.runs for caller in callers), Counter[str]())
    lines = [
        f"calls alive            {alive} of {len(callers)}",
        f"reconnects             {gaps.size}",
        *(f"reconnect p{p}, ms      {np.percentile(gaps, p):8.0f}" for p in (50, 95, 99)),
        *(f"gap heard p{p}, ms      {np.percentile(heard, p):8.0f}" for p in (50, 95, 99)),
        f"tools run              {len(runs)}",
        f"tools run twice        {sum(times > 1 for times in runs.values())}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Read the arguments."""
    numbers = [float(text) for text in sys.argv[1:]] + [50, 200, 40][len(sys.argv) - 1 :]
    asyncio.run(run(int(numbers[0]), int(numbers[1]), numbers[2]))


if __name__ == "__main__":
    main()
