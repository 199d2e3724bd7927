"""What the transcript makes of a call: the bridge and a media engine are the real ones, the provider is the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gateway.calls.conversation.bridge import SessionBridge
from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.events import CallerSpoke
from gateway.calls.record import CallRecord, Speech
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from gateway.realtime.openai.session import CAPABILITIES
from tests.support.media_rig import MediaRig

FORM = AudioFormat.PCMU
WORDS = "We are open from nine to five."


@dataclass
class Provider:
    """A session by hand. What it still has to say when it is closed it says then."""

    capabilities: realtime.Capabilities = CAPABILITIES
    last_words: list[realtime.SessionEvent] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    on_event: Callable[[realtime.SessionEvent], None] = lambda _event: None

    async def connect(self, on_event: Callable[[realtime.SessionEvent], None]) -> None:
        self.on_event = on_event

    def append_audio(self, audio: bytes) -> None:
        self.heard.append(audio)

    def respond(self, instructions: str | None = None) -> None: ...
    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None: ...

    async def close(self) -> None:
        await asyncio.sleep(0)
        for event in self.last_words:
            self.on_event(event)

    # What it tells.

    def begin(self, reply: str = "r") -> None:
        self.on_event(realtime.ResponseStarted(response_id=reply))

    def speak(self, ms: int, item: str = "a", reply: str = "r") -> None:
        audio = b"\x10" * ms * FORM.bytes_per_ms
        self.on_event(realtime.AudioDelta(response_id=reply, item_id=item, content_index=0, audio=audio))

    def write(self, text: str = WORDS, item: str = "a", reply: str = "r") -> None:
        for is_final in (False, True):
            self.on_event(
                realtime.OutputTranscript(
                    response_id=reply, item_id=item, content_index=0, text=text, is_final=is_final
                )
            )

    def end(self, *items: str, reply: str = "r") -> None:
        for item in items:
            self.on_event(realtime.AudioFinished(response_id=reply, item_id=item, content_index=0))
        self.on_event(realtime.ResponseFinished(response_id=reply, status=realtime.ResponseStatus.COMPLETED))

    def say(self, ms: int, item: str = "a", reply: str = "r") -> None:
        """A whole reply."""
        self.begin(reply)
        self.write(item=item, reply=reply)
        self.speak(ms, item, reply)
        self.end(item, reply=reply)

    def caller_speaks(self, item: str = "u") -> None:
        self.on_event(realtime.SpeechStarted(item_id=item, audio_start_ms=0))

    def caller_words(self, text: str, item: str = "u", *, is_final: bool = False) -> None:
        self.on_event(realtime.InputTranscript(item_id=item, text=text, is_final=is_final))


class Scene:
    def __init__(self) -> None:
        self.rig = MediaRig()
        self.leg = self.rig.open_leg()
        self.provider = Provider()
        self.told: list[Speech] = []
        self.record = CallRecord(
            call_id="c", trunk="t", caller="1", called="2", route="r", started_at=datetime.now(UTC), offered_s=0.0
        )
        self.bridge = SessionBridge(
            options=realtime.SessionOptions(provider="told", url="ws://h", input_format=FORM, output_format=FORM),
            greeting=None,
            media=SimpleNamespace(engine=self.rig.engine),  # type: ignore[arg-type]
            greetings=GreetingCache(),
            record=self.record,
            observer=SimpleNamespace(spoken=lambda _record, speech: self.told.append(speech)),  # type: ignore[arg-type]
            dispatch=lambda event: self.bridge.barge_in() if isinstance(event, CallerSpoke) else None,
            on_quiet=lambda: None,
            clock=lambda: self.rig.now,
        )

    async def ring(self) -> Provider:
        await self.bridge.open()
        return self.provider

    def answer(self) -> None:
        self.record.established_s = self.rig.now
        self.bridge.set_open(is_open=True)
        self.bridge.start(self.leg)

    async def talk(self) -> Provider:
        provider = await self.ring()
        self.answer()
        return provider

    def run(self, seconds: float) -> None:
        known = len(self.rig.finished)
        self.rig.run(seconds)
        for item in self.rig.finished[known:]:
            self.bridge.note_heard(item.item_id)

    async def hang_up(self) -> None:
        self.bridge.abandon(self.leg)
        await self.bridge.close()

    @property
    def lines(self) -> list[tuple[str, str, int | None]]:
        return [(said.text, said.speaker.value, said.heard_ms) for said in self.told]


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    realtime.register_provider("told", lambda _options: made.provider)  # type: ignore[arg-type, return-value]
    return made


async def test_greeting_that_was_made_while_it_rang_has_the_time_at_which_it_is_heard(scene: Scene) -> None:
    provider = await scene.ring()
    provider.say(1000)
    assert scene.told == []
    scene.run(2)
    scene.answer()
    scene.run(1.5)
    assert scene.lines == [(WORDS, "agent", None)]
    assert scene.told[0].at_ms == 0


async def test_greeting_that_was_made_while_it_rang_is_marked_where_the_caller_breaks_in(scene: Scene) -> None:
    provider = await scene.ring()
    provider.say(2000)
    scene.answer()
    scene.run(0.5)
    provider.caller_speaks()
    ((_, _, heard_ms),) = scene.lines
    assert heard_ms == pytest.approx(500, abs=40)


async def test_caller_who_never_answered_has_heard_nothing(scene: Scene) -> None:
    provider = await scene.ring()
    provider.say(2000)
    await scene.hang_up()
    assert scene.lines == [(WORDS, "agent", 0)]


async def test_sentence_at_which_the_caller_hangs_up_is_marked_and_what_stood_behind_it_was_not_heard(
    scene: Scene,
) -> None:
    provider = await scene.talk()
    provider.say(2000)
    provider.say(1000, "b", "r2")
    scene.run(0.5)
    await scene.hang_up()
    (_, _, first_ms), (_, _, second_ms) = scene.lines
    assert (first_ms, second_ms) == (pytest.approx(500, abs=40), 0)
    assert scene.told[0].heard_text is not None
    assert scene.told[0].heard_text.endswith("…")


async def test_words_of_a_reply_that_was_broken_off_before_its_audio_came_were_not_heard(scene: Scene) -> None:
    provider = await scene.talk()
    provider.begin()
    provider.caller_speaks()
    provider.write()
    provider.end()
    assert scene.lines == [(WORDS, "agent", 0)]


async def test_what_the_model_says_while_the_caller_is_elsewhere_was_not_heard(scene: Scene) -> None:
    provider = await scene.talk()
    scene.bridge.set_open(is_open=False)
    provider.say(1000)
    assert scene.lines == [(WORDS, "agent", 0)]


@pytest.mark.parametrize("goes_elsewhere", [False, True])
async def test_model_hears_what_was_kept_of_the_caller_unless_they_have_been_elsewhere_since(
    scene: Scene, *, goes_elsewhere: bool
) -> None:
    provider = await scene.talk()
    scene.bridge.set_open(is_open=False, keeps_caller=True)
    scene.bridge.append_audio(b"\x10" * 160)
    assert provider.heard == []
    if goes_elsewhere:
        scene.bridge.set_open(is_open=False)
        scene.bridge.append_audio(b"\x20" * 160)
    scene.bridge.set_open(is_open=True)
    scene.bridge.append_audio(b"\x30" * 160)
    kept = [] if goes_elsewhere else [b"\x10" * 160]
    assert provider.heard == [*kept, b"\x30" * 160]


async def test_sentence_of_which_a_part_was_played_ends_and_says_how_much_was_heard(scene: Scene) -> None:
    provider = await scene.talk()
    provider.begin()
    provider.write()
    provider.speak(400)
    scene.bridge.set_open(is_open=False)
    provider.speak(600)
    provider.end("a")
    scene.run(1)
    assert scene.lines == [(WORDS, "agent", 400)]


async def test_words_of_the_caller_have_the_time_of_the_first_of_them_where_no_turn_was_announced(
    scene: Scene,
) -> None:
    provider = await scene.talk()
    scene.run(1)
    provider.caller_words("When ")
    scene.run(2)
    provider.caller_words("are you open?")
    provider.caller_words("When are you open?", is_final=True)
    assert [(said.text, said.at_ms) for said in scene.told] == [("When are you open?", pytest.approx(1000, abs=10))]


@pytest.mark.parametrize("is_written_down", [False, True])
async def test_caller_who_hangs_up_in_mid_sentence_has_said_it_once(scene: Scene, *, is_written_down: bool) -> None:
    provider = await scene.talk()
    provider.caller_speaks()
    provider.caller_words("Thank you and ")
    provider.caller_words("good bye")
    if is_written_down:
        final = realtime.InputTranscript(item_id="u", text="Thank you, and good-bye.", is_final=True)
        provider.last_words.append(final)
    await scene.hang_up()
    assert scene.lines == [
        ("Thank you, and good-bye." if is_written_down else "Thank you and good bye", "caller", None)
    ]


async def test_turn_that_could_not_be_written_down_keeps_the_words_that_were(scene: Scene) -> None:
    provider = await scene.talk()
    provider.caller_words("Hello")
    for item in ("u", "never heard of"):
        provider.on_event(realtime.InputTranscriptFailed(item_id=item, code="c", reason="noise"))
    await scene.hang_up()
    assert scene.lines == [("Hello", "caller", None)]


async def test_session_that_is_left_still_tells_the_callers_last_words(scene: Scene) -> None:
    provider = await scene.talk()
    provider.last_words = [realtime.InputTranscript(item_id="u", text="Sales, please.", is_final=True)]
    scene.bridge.retire()
    await scene.bridge.close()
    assert scene.lines == [("Sales, please.", "caller", None)]


@pytest.mark.parametrize("is_heard_again", [True, False])
async def test_turn_in_which_the_connection_was_lost_is_told_once(scene: Scene, *, is_heard_again: bool) -> None:
    provider = await scene.talk()
    provider.caller_words("I would like ")
    provider.on_event(realtime.SessionSuspended(reason="gone"))
    provider.on_event(realtime.SessionResumed(provider="told", model="m", session_id="s", gap_ms=300))
    if is_heard_again:
        provider.caller_words("I would like to book.", "r1~u", is_final=True)
    await scene.hang_up()
    assert scene.lines == [("I would like to book." if is_heard_again else "I would like ", "caller", None)]
