"""Whole calls over SIP and RTP while the provider fails in every way that is known: what the caller hears of it.

One gateway, one telephone and a scripted provider for each fault; all calls are made at once, since most of their time
is waited. How a call went is told by the telephone's own recording. What is promised in seconds is waited for in
seconds: the settings are the product's own but where a scene says otherwise.
"""

from __future__ import annotations

import asyncio
import audioop
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord, Speech
from gateway.cli.service import Service, load_plans
from gateway.config import load_configuration
from gateway.dialplan.triggers import Escalation
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.message import Address
from tests.support.aio import eventually
from tests.support.listening import tone, tone_seconds
from tests.support.provider_server import HttpRefusal
from tests.support.realtime_server import Call, Failure, InBandRefusal, RealtimeServer, ServerSession, ToolCalls
from tests.support.realtime_server import Speech as Spoken

GREETING_HZ, ANSWER_HZ, CALLER_HZ = 1000, 1600, 700
QUESTION = "When are you open?"
DEAD_AIR_MS = 2000
"""Longest silence at the answer and after a drop."""


def octets(frequency_hz: float, duration_s: float) -> bytes:
    """A tone as the provider sends it, in mu-law: nothing is resampled, so that there is time for many calls."""
    return audioop.lin2ulaw(tone(frequency_hz, duration_s).astype("<i2").tobytes(), 2)


GREETING = Spoken(audio=octets(GREETING_HZ, 0.6), text="Welcome.")
ANSWER = Spoken(audio=octets(ANSWER_HZ, 1.0), text="We are open from nine.")


def longest_silence_ms(heard: np.ndarray) -> int:
    """The longest stretch without any sound, by 20 ms."""
    blocks = heard[: len(heard) // 160 * 160].reshape(-1, 160).astype(float)
    silent = np.abs(blocks).max(axis=1) < 100
    longest = run = 0
    for is_silent in silent:
        run = run + 1 if is_silent else 0
        longest = max(longest, run)
    return longest * 20


def ears_of(session: ServerSession) -> np.ndarray:
    """What a session of the provider has heard."""
    return np.frombuffer(audioop.ulaw2lin(bytes(session.audio), 2), "<i2")


@dataclass
class Notebook:
    """Records of calls that have ended, and what was said in which, by the number called."""

    records: dict[str, CallRecord] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)

    def call_started(self, record: CallRecord) -> None: ...

    def spoken(self, record: CallRecord, speech: Speech) -> None:
        self.words.setdefault(record.called, []).append(speech.text)

    def party_changed(self, record: CallRecord) -> None: ...
    def escalated(self, record: CallRecord, escalation: Escalation) -> None: ...

    def call_ended(self, record: CallRecord) -> None:
        self.records[record.called] = record


@dataclass
class Stage:
    """One scene: its number, its provider, and what came of it."""

    number: str
    provider: RealtimeServer
    phone: Phone
    notebook: Notebook
    marks: dict[str, int] = field(default_factory=dict)
    call: PhoneCall | None = None

    async def talk(self) -> tuple[PhoneCall, ServerSession]:
        """A call that is up, its greeting heard."""
        self.call = call = self.phone.dial("gateway", self.number)
        session = await self.provider.session()
        async with asyncio.timeout(5):
            await call.answered.wait()
        await call.wait_for_speech(from_ms=0, within_s=3)
        await call.wait_for_silence(lasting_ms=200, within_s=5)
        return call, session

    async def ask(self, session: ServerSession, *, is_answered: bool = True) -> None:
        """A turn of the caller, as the provider finds it."""
        assert self.call is not None
        self.call.say(tone(CALLER_HZ, 0.5))
        item = await session.start_speech()
        await self.call.wait_until(self.call.said_until_ms + 200, within_s=4)
        await session.end_turn(item, QUESTION, is_answered=is_answered)
        await eventually(lambda: QUESTION in self.notebook.words.get(self.number, []), 3)

    def mark(self, name: str) -> None:
        assert self.call is not None
        self.marks[name] = self.call.time_ms

    async def answer_heard(self, seconds: float = 0.9, within_s: float = 6) -> None:
        """The caller hears the answer."""
        assert self.call is not None
        call = self.call
        await eventually(lambda: tone_seconds(call.heard(), ANSWER_HZ) >= seconds, within_s)

    def silence_after_ms(self, name: str) -> int:
        """The longest silence from a mark until the answer has begun."""
        assert self.call is not None
        heard = self.call.heard(self.marks[name])
        blocks = [tone_seconds(heard[at : at + 320], ANSWER_HZ) > 0 for at in range(0, len(heard) - 320, 160)]
        return longest_silence_ms(heard[: (blocks.index(True) if True in blocks else len(blocks)) * 160])

    async def hang_up(self) -> CallRecord:
        assert self.call is not None
        self.call.hang_up()
        return await self.record()

    async def record(self) -> CallRecord:
        await eventually(lambda: self.number in self.notebook.records, 5)
        return self.notebook.records[self.number]


Scene = Callable[[Stage], Awaitable[None]]
SCENES: dict[str, tuple[Scene, dict[str, object], str, bool]] = {}
ALONE: set[str] = set()
"""Those in which this process has so much to do that the others would be late."""


def scene(
    *, settings: str = "", has_fallback: bool = True, is_alone: bool = False, **provider: object
) -> Callable[[Scene], Scene]:
    """A scene of that name: its session's settings, whether its dialplan has a fallback, and the provider's ways."""

    def enter(play: Scene) -> Scene:
        SCENES[play.__name__] = (play, {"replies": [GREETING, ANSWER], **provider}, settings, has_fallback)
        if is_alone:
            ALONE.add(play.__name__)
        return play

    return enter


# --- scenes ----------------------------------------------------------------------------------------------------------


@scene()
async def dropped_before_the_reply(stage: Stage) -> None:
    """The connection breaks when the caller has finished: the next session answers what they asked."""
    _, session = await stage.talk()
    await stage.ask(session, is_answered=False)
    session.drop()
    stage.mark("drop")
    await stage.answer_heard()
    again = stage.provider.sessions[1]
    told = [event["item"] for event in again.events if event["type"] == "conversation.item.create"]
    assert any(QUESTION in str(item) for item in told), "the new session knows what was asked"
    assert stage.silence_after_ms("drop") <= DEAD_AIR_MS
    record = await stage.hang_up()
    assert record.outcome is Outcome.CALLER_HUNG_UP


@scene()
async def dropped_while_the_caller_speaks(stage: Stage) -> None:
    """What the caller says meanwhile reaches the next session."""
    call, session = await stage.talk()
    call.say(tone(CALLER_HZ, 1.5))
    await session.start_speech()
    await call.wait_until(call.time_ms + 500, within_s=3)
    session.drop()
    stage.mark("drop")
    again = await stage.provider.session()
    await call.wait_until(call.said_until_ms + 200, within_s=4)
    await eventually(lambda: tone_seconds(ears_of(again), CALLER_HZ) >= 0.9, 4)
    item = await again.start_speech()
    await again.end_turn(item, QUESTION)
    await stage.answer_heard()
    await stage.hang_up()


@scene(replies=[GREETING, Spoken(audio=octets(ANSWER_HZ, 0.4), is_finished=False), ANSWER])
async def dropped_in_a_reply(stage: Stage) -> None:
    """The reply is begun again, once, and the caller hears it."""
    _, session = await stage.talk()
    await stage.ask(session)
    await stage.answer_heard(0.3)
    session.drop()
    stage.mark("drop")
    await eventually(lambda: any("response.create" in again.kinds() for again in stage.provider.sessions[1:]), 4)
    await stage.answer_heard(1.2)
    asked = [session.kinds().count("response.create") for session in stage.provider.sessions]
    assert (asked[0], sum(asked)) == (1, 2), asked
    await stage.hang_up()


@scene(replies=[GREETING, ToolCalls(calls=[Call(name="transfer", arguments='{"contact": "nobody"}')], times=3), ANSWER])
async def tool_told_three_times(stage: Stage) -> None:
    """A call that the provider repeats is run once."""
    _, session = await stage.talk()
    await stage.ask(session)
    await stage.answer_heard()
    results = [e for e in session.events if e.get("item", {}).get("type") == "function_call_output"]
    assert len(results) == 1
    record = await stage.hang_up()
    assert record.tools == 1


@scene()
async def half_open(stage: Stage) -> None:
    """The peer has gone without a word: found within 10 s, and the caller is not left in silence."""
    _, session = await stage.talk()
    await stage.ask(session, is_answered=False)
    session.freeze()
    stage.mark("frozen")
    await eventually(lambda: len(stage.provider.sessions) == 2, 12)  # 10 s, and 2 for a machine that is busy
    await stage.answer_heard()
    await stage.hang_up()


@scene(has_fallback=False, refusal=InBandRefusal(code="invalid_api_key", close_code=3000))
async def bad_key(stage: Stage) -> None:
    """Nobody is answered by a gateway whose provider refuses it; one attempt."""
    stage.call = call = stage.phone.dial("gateway", stage.number)
    await eventually(call.ended.is_set, 4)
    assert call.refused == 503
    assert stage.provider.attempts == 1


@scene(has_fallback=False, refusal=HttpRefusal(status=429, headers={"Retry-After": "30"}))
async def too_many_requests(stage: Stage) -> None:
    """The provider wants no more for 30 s: the next call is refused without asking it."""
    for _ in range(2):
        stage.call = call = stage.phone.dial("gateway", stage.number)
        await eventually(call.ended.is_set, 5)
        assert call.refused == 503
        assert call.refusal_headers.get("Retry-After") is not None
    assert stage.provider.attempts == 1


@scene(replies=[GREETING, Failure(code="insufficient_quota")])
async def quota_used_up_in_the_call(stage: Stage) -> None:
    """The account is empty: the dialplan's fallback takes the caller within 3 s, and nobody tries again."""
    call, session = await stage.talk()
    await stage.ask(session)
    async with asyncio.timeout(3):
        await call.transfer_requested.wait()
    record = await stage.record()
    assert record.escalations == ("down",)
    assert stage.provider.attempts == 1


@scene(replies=[GREETING, Failure(code="rate_limit_exceeded"), ANSWER])
async def rate_limit_within_a_reply(stage: Stage) -> None:
    """A reply that failed for a passing reason is asked for again."""
    _, session = await stage.talk()
    await stage.ask(session)
    stage.mark("failed")
    await stage.answer_heard(within_s=8)
    assert len(stage.provider.sessions) == 1
    assert stage.silence_after_ms("failed") <= DEAD_AIR_MS
    await stage.hang_up()


@scene(overrides={"expires_at": 0})
async def about_to_expire(stage: Stage) -> None:
    """A session that ends soon is replaced in a pause; what is said after is answered by the next."""
    stage.provider.overrides = {"expires_at": int(time.time()) + 12}
    call, first = await stage.talk()
    await eventually(lambda: len(stage.provider.sessions) >= 2, 14)
    stage.provider.overrides = {"expires_at": int(time.time()) + 3600}
    second = stage.provider.sessions[-1]
    await eventually(lambda: first.close_code is not None, 14)
    before = len(second.audio)
    await call.wait_until(call.time_ms + 300, within_s=2)
    assert len(second.audio) > before
    await stage.ask(second)
    await stage.answer_heard()
    record = await stage.hang_up()
    assert record.outcome is Outcome.CALLER_HUNG_UP


@scene()
async def expired_without_warning(stage: Stage) -> None:
    _, session = await stage.talk()
    await session.error("session_expired", "Your session hit the maximum duration of 60 minutes.")
    await session.close(1001, "Your session hit the maximum duration of 60 minutes.")
    stage.mark("end")
    await stage.ask(await stage.provider.session())
    await stage.answer_heard()
    await stage.hang_up()


@scene(delay_s=2.5)
async def slow_to_open(stage: Stage) -> None:
    """The telephone rings until the session is there: no dead air at the answer."""
    stage.call = call = stage.phone.dial("gateway", stage.number)
    await eventually(lambda: call.rang, 2)
    async with asyncio.timeout(6):
        await call.answered.wait()
    first = await call.wait_for_speech(from_ms=0, within_s=3)
    assert first <= DEAD_AIR_MS
    await stage.hang_up()


@scene(
    is_alone=True,
    replies=[GREETING, Spoken(audio=octets(ANSWER_HZ, 1.0) * 600), Spoken(audio=octets(GREETING_HZ, 0.6))],
)
async def ten_minutes_at_once(stage: Stage) -> None:
    """A burst of 600 s is played at the pace of speech, and silenced at once when the caller speaks."""
    call, session = await stage.talk()
    await stage.ask(session)
    await stage.answer_heard(1.0)
    before = call.current_statistics()
    start = call.time_ms
    await call.wait_until(start + 2000, within_s=4)
    after = call.current_statistics()
    assert before is not None
    assert after is not None
    # Fewer where this process had no time: it is telephone, gateway and provider. Never more.
    assert 50 <= after.packets_received - before.packets_received <= 104
    await session.start_speech()
    stage.mark("barge-in")
    await call.wait_for_silence(lasting_ms=300, within_s=3)
    assert tone_seconds(call.heard(stage.marks["barge-in"]), ANSWER_HZ) <= 0.3
    await stage.hang_up()


@scene()
async def malformed_events(stage: Stage) -> None:
    """Rubbish is passed over; the conversation goes on."""
    _, session = await stage.talk()
    for rubbish in (
        "{",
        "[]",
        "null",
        '{"type": 5}',
        '{"type": "response.done"}',
        "[" * 100_000,
        '{"type": "new.thing"}',
    ):
        await session.send_text(rubbish)
    await session.send_text(b"\x00\xff")
    await session.send("response.output_audio.delta", response_id="r", item_id="i", content_index=0, delta="%%%")
    await stage.ask(session)
    await stage.answer_heard()
    assert len(stage.provider.sessions) == 1
    await stage.hang_up()


@scene(settings="recovery: {prompt_after: 0.8s, reconnect_after: 2s, give_up_after: 4s}")
async def silent_for_ever(stage: Stage) -> None:
    """A model that never answers: the caller is told to wait, another session is tried, then the dialplan decides."""
    call, session = await stage.talk()
    stage.provider.is_replying = False
    await stage.ask(session, is_answered=False)
    stage.mark("asked")
    async with asyncio.timeout(8):
        await call.transfer_requested.wait()
    assert longest_silence_ms(call.heard(stage.marks["asked"])) <= DEAD_AIR_MS
    assert len(stage.provider.sessions) >= 2
    record = await stage.record()
    assert record.escalations == ("down",)


# --- all of them at once ---------------------------------------------------------------------------------------------

PLAN = """
version: 1
name: faults
timezone: UTC
contacts:
  human: {dial: [sip:6001]}
  nobody: {dial: [sip:6999]}
sessions:
%(sessions)s
routes:
%(routes)s
"""
FALLBACK = """
escalations:
  - {name: down, when: {provider_down: true}, do: [{transfer: human}]}
"""
CONFIGURATION = """
sip:
  listen: %(listen)s
  trunks: {phones: {peer: "%(phone)s", codecs: [PCMU]}}
media: {rtp: {ports: 46000-46399}}
realtime:
%(realtime)s
dialplans: [plan.yaml, bare.yaml]
limits: {max_calls: 50, cpu: 0, lag: 0, transfers_per_hour: 100}
"""


async def play_all(folder: Path) -> dict[str, BaseException | None]:
    """Play every scene at once; what went wrong in each."""
    notebook = Notebook()
    async with AsyncExitStack() as stack:
        gateway = Address("127.0.0.1", free_sip_port("127.0.0.1"))
        human = await stack.enter_async_context(
            Phone(PhoneOptions(user="human", peers={"x": Address("127.0.0.1", 9)}, answers=True))
        )
        peers = {"gateway": gateway, "6001": human.address}
        phone = await stack.enter_async_context(
            Phone(PhoneOptions(peers=peers, rtp_ports=(42000, 42399), max_calls=99))
        )
        servers, numbers = {}, {}
        realtime: list[str] = []
        plans: dict[bool, tuple[list[str], list[str]]] = {True: ([], []), False: ([], [])}
        for number, (name, (_, provider, settings, has_fallback)) in enumerate(SCENES.items(), 7000):
            server = servers[name] = await stack.enter_async_context(RealtimeServer(**provider))  # type: ignore[arg-type]
            numbers[name] = str(number)
            realtime.append(
                f"  {name}: {{provider: openai, url: {server.url}, api_key: key-{number}, model: test, "
                f"audio: g711, connect_timeout: 4s, transcription: test{', ' + settings if settings else ''}}}"
            )
            sessions, routes = plans[has_fallback]
            sessions.append(
                f'  {name}: {{use: {name}, greeting: "Welcome.", instructions: "{name}", tools: [transfer]}}'
            )
            routes.append(f'  - {{name: {name}, match: {{to: "{number}"}}, do: [{{session: {name}}}]}}')
        for has_fallback, (sessions, routes) in plans.items():
            plan = PLAN % {"sessions": "\n".join(sessions), "routes": "\n".join(routes)}
            (folder / ("plan.yaml" if has_fallback else "bare.yaml")).write_text(plan + FALLBACK * has_fallback)
        file = folder / "gateway.yaml"
        file.write_text(
            CONFIGURATION
            % {
                "listen": f"127.0.0.1:{gateway.port}",
                "phone": f"127.0.0.1:{phone.address.port}",
                "realtime": "\n".join(realtime),
            }
        )
        configuration = load_configuration(file, {})
        await stack.enter_async_context(Service(configuration, notebook, load_plans(configuration)))

        async def play(name: str) -> None:
            await SCENES[name][0](Stage(numbers[name], servers[name], phone, notebook))

        together = [name for name in SCENES if name not in ALONE]
        results = await asyncio.gather(*map(play, together), return_exceptions=True)
        outcomes: dict[str, BaseException | None] = dict(zip(together, results, strict=True))
        for name in ALONE:
            (outcomes[name],) = await asyncio.gather(play(name), return_exceptions=True)
    return outcomes


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseException | None]:
    return asyncio.run(play_all(tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("name", SCENES)
def test_fault(outcomes: dict[str, BaseException | None], name: str) -> None:
    failure = outcomes[name]
    if failure is not None:
        raise failure
