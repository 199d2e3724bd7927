"""Callers who leave messages in whole calls on the wire: what is kept of them, and what the call's record tells."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from gateway.calls.leaving import KEEP_LIMIT_S, LAST_WORDS_LIMIT_S
from gateway.calls.record import LeftMessage
from gateway.dialplan import actions as a
from gateway.dialplan.mailboxes import EmailNotice, Mailbox
from gateway.dialplan.messages import Message, MessageKind
from gateway.dialplan.model import Match, Route, SessionPlan
from gateway.dialplan.own_phrases import SHIPPED
from gateway.errors import ProviderUnavailable
from gateway.media.codec import Samples
from gateway.realtime import session as realtime
from gateway.sip.message import Uri
from tests.calls.test_recording import CALLER_PORT, ObedientPbx, press
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_house import BookedLeg, CallHouse, ScriptedSession, play_out
from tests.support.listening import tone
from tests.support.plans import write_sound
from tests.support.wire import PBX, description

FILE = Path("/messages/night/1.wav")
BOX = Mailbox(name="night", prompt=a.PlayAction(file=Path("leave.wav")), limit_s=20, silence_s=3)
FRAMES_OF_SYLLABLE, FRAMES_OF_GAP = 8, 5


@pytest.fixture(autouse=True)
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("leave.wav", "bye.wav"):
        write_sound(tmp_path / name)


@dataclass
class BookedDraft:
    message: Message
    is_disk_slow: bool = False
    pieces: list[Samples] = field(default_factory=list)
    text: str | None = None
    is_transcribed: bool | None = None
    is_discarded: bool = False
    kept: Future[Message] = field(default_factory=Future)

    @property
    def seconds(self) -> float:
        return sum(map(len, self.pieces)) / 8000

    def write(self, samples: Samples) -> None:
        assert self.text is None
        self.pieces.append(samples)

    def keep(self, text: str | None = None) -> Future[Message]:
        assert self.text is None
        assert not self.is_discarded
        self.text, self.is_transcribed = text or "", text is not None
        if not self.is_disk_slow:
            self.kept.set_result(replace(self.message, seconds=self.seconds, audio=FILE if self.pieces else None))
        return self.kept

    def discard(self) -> None:
        self.is_discarded = True


@dataclass
class BookedKeeper:
    is_disk_slow: bool = False
    drafts: list[BookedDraft] = field(default_factory=list)

    def open(self, message: Message) -> BookedDraft:
        self.drafts.append(BookedDraft(message, self.is_disk_slow))
        return self.drafts[-1]


class Scene:
    """A call house with mailboxes, and a caller who speaks when they are told to."""

    def __init__(self, *actions: a.Action, box: Mailbox = BOX, keeper: BookedKeeper | None = None) -> None:
        plan = replace(
            BARE_PLAN,
            name="office",
            routes=(Route(name="night", match=Match(), actions=actions or (a.VoicemailAction(mailbox="night"),)),),
            mailboxes={"night": box},
            phrases=SHIPPED["de"],
        )
        self.keeper = BookedKeeper() if keeper is None else keeper
        self.house = CallHouse(plan, ObedientPbx(), messages=self.keeper)
        self.house._voice_of = self._voice_of  # type: ignore[method-assign]
        self.speaks = False
        self._frames = 0
        self.leg = ""

    def _voice_of(self, leg: BookedLeg) -> bytes:
        audio_format = leg.options.uplink
        self._frames += 1
        sounds = self.speaks and self._frames % (FRAMES_OF_SYLLABLE + FRAMES_OF_GAP) < FRAMES_OF_SYLLABLE
        samples = audio_format.sample_rate_hz // 50
        sound = tone(300, 0.02, rate_hz=audio_format.sample_rate_hz) if sounds else np.zeros(samples, np.int16)
        return sound.astype("<i2").tobytes()

    async def call(self, seconds: float = 1.0) -> None:
        offer = description(PBX.host, CALLER_PORT)
        target, agent = Uri.parse("sip:7000@10.0.0.1"), self.house.pbx.user_agent
        self.leg = agent.invite("gateway", target, offer=offer, now=self.house.wire.now)
        await self.house.live(seconds)

    async def speak(self, seconds: float) -> None:
        self.speaks = True
        await self.house.live(seconds)
        self.speaks = False

    async def hang_up(self) -> None:
        self.house.pbx.user_agent.bye(self.leg, self.house.wire.now)
        await self.house.live(1)

    def play(self, script: Callable[[], Any]) -> list[Any]:
        """Run it to the end of the call; the log."""

        async def whole() -> None:
            await script()
            await self.house.live(40, step_s=0.25)
            self.house.assert_nothing_is_left()

        with structlog.testing.capture_logs() as lines:
            play_out(self.house, whole)
        return lines

    @property
    def draft(self) -> BookedDraft:
        (draft,) = self.keeper.drafts
        return draft

    @property
    def left(self) -> tuple[LeftMessage, ...]:
        (record,) = self.house.ended
        return record.left

    @property
    def played(self) -> list[bytes]:
        (leg,) = self.house.media.legs.values()
        return leg.played


def events(session: ScriptedSession, *words: str | None) -> None:
    """The caller's turns as whoever writes them down tells them; None is one whose words are not known yet."""
    for text in words:
        session.emit(realtime.SpeechStarted(item_id="t", audio_start_ms=0))
        if text is not None:
            session.emit(realtime.InputTranscript(item_id="t", text=text, is_final=True))


def test_a_caller_who_speaks_and_hangs_up_has_left_a_message() -> None:
    scene = Scene()

    async def script() -> None:
        await scene.call()
        assert scene.played == [b"file", b"tone"]
        await scene.speak(4)
        (writer,) = scene.house.sessions
        assert writer.options.turn_detection.creates_response is False
        assert len(writer.heard) * 0.02 == pytest.approx(scene.draft.seconds, abs=0.1)
        events(writer, "Hier ist Ada.", None)
        await scene.hang_up()
        assert scene.draft.text is None
        writer.emit(realtime.InputTranscript(item_id="t", text="Rufen Sie mich an.", is_final=True))
        await scene.house.live(1)

    lines = scene.play(script)
    message = scene.draft.message
    assert (message.kind, message.plan, message.mailbox) == (MessageKind.VOICEMAIL, "office", "night")
    assert (message.caller, message.called) == ("phone", "7000")
    assert scene.draft.text == "Hier ist Ada.\nRufen Sie mich an."
    assert scene.draft.seconds == pytest.approx(4.5, abs=0.6)
    heard = np.concatenate(scene.draft.pieces)
    assert np.abs(heard.astype(int)).max() > 3000
    (left,) = scene.left
    assert (left.kind, left.mailbox, left.file) == (MessageKind.VOICEMAIL, "night", FILE)
    assert left.seconds == scene.draft.seconds
    assert "Ada" not in str(lines)


def test_silence_ends_a_message_and_the_plan_goes_on() -> None:
    scene = Scene(a.VoicemailAction(mailbox="night"), a.PlayAction(file=Path("bye.wav")), a.WaitAction(seconds=1))

    async def script() -> None:
        await scene.call()
        await scene.speak(2)
        await scene.house.live(2.7)
        assert scene.played == [b"file", b"tone"]
        await scene.house.live(0.5)
        assert scene.played == [b"file", b"tone", b"file"]

    scene.play(script)
    assert scene.draft.seconds == pytest.approx(5.5, abs=0.6)
    assert (scene.draft.text, scene.draft.is_transcribed) == ("", True)
    assert len(scene.left) == 1


def test_a_key_ends_a_message() -> None:
    scene = Scene()

    async def script() -> None:
        await scene.call()
        await scene.speak(2)
        press(scene.house, "5")
        await scene.speak(1)
        press(scene.house, "#")
        await scene.speak(1)

    scene.play(script)
    assert scene.draft.seconds == pytest.approx(3.4, abs=0.6)


def test_a_message_is_no_longer_than_it_may_be() -> None:
    scene = Scene()

    async def script() -> None:
        await scene.call()
        await scene.speak(25)

    scene.play(script)
    assert scene.draft.seconds == 20.0


@pytest.mark.parametrize("spoken_s", [0.0, 0.15, 0.5], ids=["silent", "a click", "short"])
def test_what_is_too_short_or_silent_is_no_message(spoken_s: float) -> None:
    scene = Scene(box=replace(BOX, has_beep=False))

    async def script() -> None:
        await scene.call(0.3)
        await scene.speak(spoken_s)
        if spoken_s:
            await scene.hang_up()
        else:
            await scene.house.live(5)

    scene.play(script)
    assert (scene.draft.is_discarded, scene.draft.text, scene.left) == (True, None, ())


def test_without_anybody_who_writes_it_down_it_is_kept_without_words() -> None:
    scene = Scene()

    def refuse(session: ScriptedSession) -> None:
        session.refusal = ProviderUnavailable("down")

    scene.house.on_session = refuse

    async def script() -> None:
        await scene.call()
        await scene.speak(3)
        await scene.hang_up()

    scene.play(script)
    assert (scene.draft.text, scene.draft.is_transcribed) == ("", False)
    assert len(scene.left) == 1


def test_a_mailbox_without_transcripts_asks_nobody() -> None:
    scene = Scene(box=replace(BOX, has_transcript=False))

    async def script() -> None:
        await scene.call()
        await scene.speak(3)
        await scene.hang_up()

    scene.play(script)
    assert (scene.house.sessions, scene.draft.text) == ([], "")
    assert scene.draft.seconds == pytest.approx(3.4, abs=0.6)


def test_words_that_never_come_are_not_waited_for_for_ever() -> None:
    scene = Scene()

    async def script() -> None:
        await scene.call()
        await scene.speak(3)
        events(scene.house.sessions[0], "Hier ist Ada.", None)
        await scene.hang_up()
        assert scene.house.manager.call_count == 1
        await scene.house.live(LAST_WORDS_LIMIT_S)
        assert scene.house.manager.call_count == 0

    scene.play(script)
    assert scene.draft.text == "Hier ist Ada."


def test_a_disk_that_hangs_does_not_keep_the_call() -> None:
    scene = Scene(box=replace(BOX, has_transcript=False), keeper=BookedKeeper(is_disk_slow=True))

    async def script() -> None:
        await scene.call()
        await scene.speak(3)
        await scene.hang_up()
        await scene.house.live(KEEP_LIMIT_S)

    lines = scene.play(script)
    assert scene.left == (LeftMessage(kind=MessageKind.VOICEMAIL, mailbox="night", file=None, seconds=0.0),)
    assert "message waits for the disk" in [line["event"] for line in lines]


def test_an_operator_who_ends_the_call_ends_the_message_and_it_is_kept() -> None:
    scene = Scene()

    async def script() -> None:
        await scene.call()
        await scene.speak(3)
        for call in scene.house.manager._calls:
            call.hang_up()
        await scene.house.live(1)

    scene.play(script)
    assert scene.draft.text == ""
    assert len(scene.left) == 1


def test_where_nobody_keeps_messages_the_plan_goes_on() -> None:
    scene = Scene(a.VoicemailAction(mailbox="night"), a.WaitAction(seconds=1))
    object.__setattr__(scene.house.services, "messages", None)

    async def script() -> None:
        await scene.call(4)

    lines = scene.play(script)
    assert "message not kept" in [line["event"] for line in lines]
    assert scene.left == ()


def test_a_wish_to_be_called_back_is_kept_and_told() -> None:
    notice = EmailNotice(to=("a@b.example", "c@d.example"))
    number = a.CallbackAction(mailbox="night", number=_text("0171 555"))
    scene = Scene(number, a.WaitAction(seconds=1), box=replace(BOX, notices=(notice,)))

    async def script() -> None:
        await scene.call(2)
        assert scene.house.sessions[0].said == ["Vielen Dank. Wir rufen Sie zurück."]
        await scene.hang_up()

    scene.play(script)
    message = scene.draft.message
    assert (message.kind, message.callback, scene.draft.pieces) == (MessageKind.CALLBACK, "0171555", [])
    assert [(notice.way, notice.to) for notice in message.notices] == [
        ("email", "a@b.example"),
        ("email", "c@d.example"),
    ]
    assert scene.left == (LeftMessage(kind=MessageKind.CALLBACK, mailbox="night", file=None, seconds=0.0),)


def test_a_wish_to_be_called_back_at_no_number_is_told_to_the_caller_and_the_log_and_to_nobody_else() -> None:
    scene = Scene(a.CallbackAction(mailbox="night", number=_text("4711 x")), a.WaitAction(seconds=1))

    async def script() -> None:
        await scene.call(2)
        assert scene.house.sessions[0].said == [SHIPPED["de"].callback_invalid]
        await scene.hang_up()

    [line] = [line for line in scene.play(script) if line["event"] == "callback not noted"]
    assert (line["mailbox"], line["why"]) == ("night", "what the caller entered is no number")
    assert (scene.keeper.drafts, scene.left) == ([], ())


def _text(text: str) -> Any:
    from gateway.dialplan.template import parse_template

    return parse_template(text)[0]


def test_a_message_that_a_model_takes_is_left_in_the_mailbox_of_its_session() -> None:
    scene = Scene(a.SessionAction(name="desk"))
    desk = SessionPlan(
        name="desk", use="default", greeting=None, instructions=None, tools=("take_message",), mailbox="night"
    )
    (plan,) = scene.house.manager._plans
    scene.house.manager.replace_plans([replace(plan, sessions={"desk": desk})])

    async def script() -> None:
        await scene.call()
        (model,) = scene.house.sessions
        asked = model.ask("take_message", text="The tap drips.", callback="0171 555")
        refused = model.ask("take_message")
        await scene.house.live(1)
        assert model.results[asked] == {"result": "taken"}
        assert "error" in model.results[refused]
        await scene.hang_up()

    scene.play(script)
    message = scene.draft.message
    assert (message.kind, message.callback, scene.draft.text) == (MessageKind.TAKEN, "0171 555", "The tap drips.")
    (record,) = scene.house.ended
    assert [(left.kind, left.mailbox) for left in record.left] == [(MessageKind.TAKEN, "night")]
    assert len(record.messages) == 1
