"""A bridge to a model, full duplex unless a test says otherwise, with a real media engine on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from gateway.calls import events as call_events
from gateway.calls.conversation.bridge import SessionBridge
from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.conversation.live_playout import LIMIT_MS, TARGET_MS
from gateway.calls.conversation.opening import greeting_instructions
from gateway.calls.escalation.events import FactNoticed
from gateway.calls.escalation.facts import CallerHeard
from gateway.calls.record import CallRecord, Speech
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from gateway.realtime.openai_live.session import CAPABILITIES
from gateway.realtime.openai_live.turns import ModelTurns
from tests.support.media_rig import MediaRig

FORM = AudioFormat.PCMU
SOUND, SILENCE = b"\x10" * 8, b"\xff" * 8  # a millisecond
PIECE_MS = 100
PIECE_S = PIECE_MS / 1000


@dataclass
class DuplexSession:
    """A model whose stream the test makes."""

    options: realtime.SessionOptions
    capabilities: realtime.Capabilities = CAPABILITIES
    asked: list[str | None] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    turns: ModelTurns = field(default_factory=lambda: ModelTurns(FORM))
    on_event: Callable[[realtime.SessionEvent], None] = lambda _event: None

    async def connect(self, on_event: Callable[[realtime.SessionEvent], None]) -> None:
        self.on_event = on_event

    def respond(self, instructions: str | None = None) -> None:
        self.asked.append(instructions)

    def send_text(self, _role: str, text: str) -> None:
        self.told.append(text)

    def append_audio(self, audio: bytes) -> None:
        self.heard.append(audio)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None: ...
    async def close(self) -> None: ...

    def emit(self, *events: realtime.SessionEvent) -> None:
        for event in events:
            self.on_event(event)

    def send(self, audio: bytes) -> None:
        """The next audio of its stream."""
        self.emit(*self.turns.hear(audio))


class Scene:
    """A call in which nothing but bridge and media is real."""

    def __init__(self, greeting: str | None = "Welcome.") -> None:
        self.rig = MediaRig()
        self.leg = self.rig.open_leg()
        self.dispatched: list[call_events.Event] = []
        self.spoken: list[Speech] = []
        self.quiet = 0
        self.record = CallRecord(
            call_id="c", trunk="t", caller="1", called="2", route="r", started_at=datetime.now(UTC), offered_s=0.0
        )
        self.record.established_s = self.rig.now
        self.bridge = SessionBridge(
            options=realtime.SessionOptions(
                provider="duplex", url="ws://127.0.0.1", input_format=FORM, output_format=FORM
            ),
            greeting=greeting,
            media=SimpleNamespace(engine=self.rig.engine),  # type: ignore[arg-type]
            greetings=GreetingCache(),
            record=self.record,
            observer=SimpleNamespace(spoken=lambda _record, speech: self.spoken.append(speech)),  # type: ignore[arg-type]
            dispatch=self.dispatched.append,
            on_quiet=self._note_quiet,
            clock=lambda: self.rig.now,
        )
        self.session = DuplexSession(realtime.SessionOptions(url=""))

    def _note_quiet(self) -> None:
        self.quiet += self.bridge.is_quiet

    async def open(self) -> DuplexSession:
        """Connect; the telephone still rings."""
        await self.bridge.open()
        return self.session

    async def talk(self) -> DuplexSession:
        """Connect, and let caller and model hear each other."""
        session = await self.open()
        self.bridge.start(self.leg)
        self.bridge.set_open(is_open=True)
        return session

    @property
    def queued_ms(self) -> float:
        return self.rig.engine.queued_ms(self.leg)

    def stream(self, audio: bytes, *, pace: float = 1.0, stall: tuple[float, float] = (0.0, 0.0)) -> list[float]:
        """The model's stream in real time, `pace` times as fast; within `stall` (seconds of it) nothing gets through.

        What is queued at the leg, looked at when each piece has come.
        """
        size, queued, late = PIECE_MS * FORM.bytes_per_ms, [], b""
        for start in range(0, len(audio), size):
            self.rig.run(PIECE_S / pace)
            for item in self.rig.finished:
                self.bridge.note_heard(item.item_id)
            late += audio[start : start + size]
            if stall[0] <= start / size * PIECE_S < stall[1]:
                continue
            for piece in range(0, len(late), size):
                self.session.send(late[piece : piece + size])
            late = b""
            queued.append(self.queued_ms)
        return queued


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    realtime.register_provider("duplex", lambda _options: made.session)  # type: ignore[arg-type, return-value]
    return made


def sentences(count: int, *, speech_ms: int = 900, pause_ms: int = 300) -> bytes:
    return (SOUND * speech_ms + SILENCE * pause_ms) * count


async def test_the_model_is_asked_for_its_greeting_when_the_caller_can_hear(scene: Scene) -> None:
    session = await scene.open()
    assert scene.dispatched == [call_events.SessionOpened()]
    assert session.asked == []
    scene.bridge.start(scene.leg)
    assert session.asked == [greeting_instructions("Welcome.")]


async def test_what_it_says_while_the_telephone_rings_is_not_heard_late(scene: Scene) -> None:
    session = await scene.open()
    session.send(SOUND * 400)
    scene.bridge.start(scene.leg)
    assert scene.queued_ms == 0
    session.send(SOUND * 60)
    assert scene.queued_ms == pytest.approx(60)


async def test_a_caller_who_speaks_flushes_nothing(scene: Scene) -> None:
    session = await scene.talk()
    scene.dispatched.clear()
    session.send(SOUND * 160)
    session.emit(realtime.SpeechStarted(item_id="i", audio_start_ms=0))
    assert scene.dispatched == [FactNoticed(fact=CallerHeard())]
    assert scene.queued_ms == pytest.approx(160)


async def test_a_key_silences_what_is_queued_and_not_what_the_model_says_to_it(scene: Scene) -> None:
    session = await scene.talk()
    session.send(SOUND * 160)
    session.emit(*session.turns.read("You pressed one.", None, None))
    scene.bridge.barge_in()
    assert scene.queued_ms == 0
    session.send(SOUND * 100)
    assert scene.queued_ms == pytest.approx(100)
    scene.stream(SILENCE * 1500)
    assert [(speech.text, speech.heard_ms) for speech in scene.spoken] == [("You pressed one.", None)]


async def test_the_end_of_a_sentence_is_told_although_the_provider_never_says_so(scene: Scene) -> None:
    session = await scene.talk()
    scene.stream(SOUND * 1000)
    assert not scene.bridge.is_quiet
    scene.stream(SILENCE * 700)
    assert (scene.bridge.is_quiet, scene.quiet) == (False, 0)
    scene.stream(SILENCE * 200)
    assert (scene.bridge.is_quiet, scene.quiet) == (True, 1)
    scene.rig.run(0.2)
    assert scene.queued_ms == 0
    assert scene.rig.finished[0].item_id == session.turns.name + ".out1"


async def test_a_reply_that_the_caller_does_not_hear_is_not_waited_for(scene: Scene) -> None:
    """A file has been heard when it has, though the model talks on, or its provider has died in a sentence."""
    await scene.talk()
    scene.stream(SOUND * 1000)
    scene.bridge.set_open(is_open=False, lets_finish=True)
    assert not scene.bridge.is_quiet
    scene.bridge.set_open(is_open=False)
    assert scene.bridge.is_quiet
    scene.bridge.set_open(is_open=True)
    assert not scene.bridge.is_quiet


def said_while_not_heard(scene: Scene) -> bytes:
    """The caller says something while a protected prompt is heard: what it was."""
    said = np.random.default_rng(1).integers(0, 255, 160, np.uint8).tobytes()
    scene.session.capabilities = replace(CAPABILITIES, is_full_duplex=False)
    scene.bridge.set_open(is_open=False, keeps_caller=True)
    for piece in [*[SILENCE * 20] * 20, *[said] * 20]:
        scene.bridge.append_audio(piece)
    return said


async def test_what_was_said_before_a_question_is_heard_behind_it_and_the_answer_is_not(scene: Scene) -> None:
    session = await scene.talk()
    said, answer = said_while_not_heard(scene), SOUND * 20
    scene.bridge.set_open(is_open=False, keeps_said=True)
    scene.bridge.append_audio(answer)
    assert session.heard == []
    scene.bridge.set_open(is_open=True)
    for _ in range(20):
        scene.bridge.append_audio(SILENCE * 20)
    assert session.heard.count(said) == 20
    assert answer not in session.heard


async def test_what_was_said_before_a_sound_that_is_not_protected_is_lost(scene: Scene) -> None:
    session = await scene.talk()
    said_while_not_heard(scene)
    scene.bridge.set_open(is_open=False)
    scene.bridge.set_open(is_open=True)
    scene.bridge.append_audio(SOUND)
    assert session.heard == [SOUND]


@pytest.mark.parametrize("has_started", [True, False])
async def test_what_somebody_else_has_said_is_not_heard_of_who_is_put_through(
    scene: Scene, *, has_started: bool
) -> None:
    session = await (scene.talk() if has_started else scene.open())
    said_while_not_heard(scene)
    scene.bridge.move(scene.rig.open_leg())
    scene.bridge.set_open(is_open=True)
    scene.bridge.append_audio(SOUND)
    assert session.heard == [SOUND]


async def test_speech_at_the_pace_of_hearing_is_played_whole_and_without_gaps(scene: Scene) -> None:
    await scene.talk()
    scene.stream(SILENCE * 1000 + SOUND * 3000 + SILENCE * 1000)
    octets = np.frombuffer(scene.rig.sent_audio(scene.leg), np.uint8)
    speech = (octets == 0x10).nonzero()[0]
    assert speech.size == 3000 * 8
    assert speech[-1] - speech[0] == speech.size - 1


@pytest.mark.parametrize("pace", [1.03, 0.97])
async def test_a_providers_clock_that_differs_from_ours_does_not_add_up(scene: Scene, pace: float) -> None:
    await scene.talk()
    queued = scene.stream(sentences(16), pace=pace)
    assert max(queued) <= TARGET_MS + PIECE_MS + 40  # what 3 % are within a sentence


async def test_a_stall_in_mid_sentence_costs_speech_and_leaves_no_delay(scene: Scene) -> None:
    """Two seconds in which nothing gets through, and then all at once."""
    await scene.talk()
    queued = scene.stream(SOUND * 4000 + sentences(3, pause_ms=500), stall=(1.0, 3.0))
    assert LIMIT_MS - PIECE_MS <= max(queued) <= LIMIT_MS + PIECE_MS
    assert max(queued[-28:]) <= TARGET_MS + PIECE_MS  # of the last two sentences: before them lies a pause


async def test_a_stall_while_the_model_listens_costs_nothing(scene: Scene) -> None:
    await scene.talk()
    queued = scene.stream(SILENCE * 4000 + sentences(2), stall=(1.0, 3.0))
    assert max(queued) <= TARGET_MS + PIECE_MS
    assert np.count_nonzero(np.frombuffer(scene.rig.sent_audio(scene.leg), np.uint8) == 0x10) >= (1800 - 200) * 8


async def test_transcript_has_what_was_said_and_no_silence(scene: Scene) -> None:
    session = await scene.talk()
    scene.stream(SILENCE * 2000)
    session.emit(*session.turns.read("Good morning.", 2000, 2400))
    scene.stream(SOUND * 400 + SILENCE * 2000)
    assert [speech.text for speech in scene.spoken] == ["Good morning."]


async def test_sentence_that_a_key_silences_behind_its_end_is_told_as_cut_off_there(scene: Scene) -> None:
    session = await scene.talk()
    session.emit(*session.turns.read("Press one for sales.", None, None))
    session.send(SOUND * 500)
    session.emit(*session.turns.finish(realtime.ResponseStatus.COMPLETED))
    scene.rig.run(0.2)
    assert scene.spoken == []
    scene.bridge.barge_in()
    assert [(speech.text, speech.heard_ms) for speech in scene.spoken] == [
        ("Press one for sales.", pytest.approx(200, abs=40))
    ]


async def test_what_it_said_while_the_telephone_rang_is_marked_as_not_heard(scene: Scene) -> None:
    session = await scene.open()
    session.emit(*session.turns.read("Is anybody there?", None, None))
    session.send(SOUND * 400)
    session.emit(*session.turns.finish(realtime.ResponseStatus.COMPLETED))
    assert [(speech.text, speech.heard_ms) for speech in scene.spoken] == [("Is anybody there?", 0)]
