"""Steps in running calls: texts that are spoken, words that are heard, tones; the house is `CallHouse`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import structlog

from gateway.calls.call import CallState
from gateway.calls.events import Outcome
from gateway.calls.speaking.speech import FIRST_SOUND_S
from gateway.dialplan import actions as a
from gateway.dialplan.model import Match, Route, SessionPlan
from gateway.dialplan.template import parse_template
from gateway.dialplan.triggers import DigitPressed, Escalation
from gateway.errors import ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from gateway.sip.message import Uri
from tests.calls.test_recording import CALLER_PORT, ObedientPbx
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_house import CALLER_AUDIO, CallHouse, ScriptedSession, _AnySession, play_out
from tests.support.wire import PBX, description

SOUND = b"speech" * 8


def say(text: str) -> a.SayAction:
    return a.SayAction(text=parse_template(text)[0])


def house_for(*actions: a.Action) -> CallHouse:
    routes = (Route(name="flow", match=Match(), actions=actions),)
    return CallHouse(replace(BARE_PLAN, routes=routes, language="de"), ObedientPbx())


def speaks(words: str | None = None, *, status: realtime.ResponseStatus = realtime.ResponseStatus.COMPLETED) -> Any:
    """A provider that speaks what it is asked to; or other `words`."""

    def teach(session: ScriptedSession) -> None:
        def speak(text: str) -> None:
            session.said.append(text)
            session.emit(realtime.ResponseStarted(response_id="r"))
            session.emit(realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=SOUND))
            transcript = text if words is None else words
            session.emit(
                realtime.OutputTranscript(response_id="r", item_id="i", content_index=0, text=transcript, is_final=True)
            )
            session.emit(realtime.ResponseFinished(response_id="r", status=status))

        session.say = speak  # type: ignore[method-assign,assignment]

    return teach


async def call(house: CallHouse, seconds: float = 1.0) -> str:
    offer = description(PBX.host, CALLER_PORT)
    leg = house.pbx.user_agent.invite("gateway", Uri.parse("sip:7000@10.0.0.1"), offer=offer, now=house.wire.now)
    await house.live(seconds)
    return leg


def press(house: CallHouse, digit: str) -> None:
    for running in house.manager._calls:
        running.on_digit(digit, 100)


def state(house: CallHouse) -> CallState:
    (running,) = house.manager._calls
    return running._call.state


def heard(house: CallHouse) -> list[bytes]:
    (leg,) = house.media.legs.values()
    return leg.played


def play(house: CallHouse, script: Callable[[], Any]) -> None:
    async def whole() -> None:
        await script()
        await house.live(40, step_s=0.25)
        house.assert_nothing_is_left()

    play_out(house, whole)


def said(session: ScriptedSession, text: str) -> None:
    """The caller says something."""
    session.emit(realtime.SpeechStarted(item_id="t", audio_start_ms=0))
    session.emit(realtime.InputTranscript(item_id="t", text=text, is_final=True))


def test_a_text_is_spoken_then_the_plan_goes_on() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1), a.HangUpAction())
    house.on_session = speaks()

    async def script() -> None:
        await call(house)
        assert heard(house) == [SOUND]
        assert house.sessions[0].said == ["Guten Tag."]
        assert house.sessions[0].options.tools == ()

    play(house, script)
    (record,) = house.ended
    assert (record.outcome, record.cause) == (Outcome.GATEWAY_HUNG_UP, "dialplan")
    assert [(one.speaker.value, one.text, one.heard_text) for one in record.transcript] == [
        ("agent", "Guten Tag.", None)
    ]


def test_the_next_caller_hears_the_same_without_anybody_speaking() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))
    house.on_session = speaks()

    async def script() -> None:
        await call(house, 5)
        await call(house)
        assert heard(house) == [SOUND]
        assert len(house.sessions) == 1

    play(house, script)


@pytest.mark.parametrize("provider", [speaks("Etwas ganz anderes."), speaks(status=realtime.ResponseStatus.INCOMPLETE)])
def test_what_was_not_said_as_it_stands_is_not_kept(provider: Any) -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))
    house.on_session = provider

    async def script() -> None:
        await call(house, 5)
        await call(house)
        assert len(house.sessions) == 2

    play(house, script)


@pytest.mark.parametrize("text", ["Guten Tag, {caller.number}.", "Ihre Nummer ist {vars.order}."])
def test_what_holds_something_of_a_caller_is_not_kept(text: str) -> None:
    house = house_for(say(text), a.WaitAction(seconds=1))
    house.on_session = speaks()

    async def script() -> None:
        await call(house, 5)
        await call(house)
        assert len(house.sessions) == 2
        assert heard(house) == [SOUND]

    play(house, script)


def test_callers_at_the_same_time_share_one_speech() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))

    async def script() -> None:
        await call(house, 0.5)
        await call(house, 0.5)
        (session,) = house.sessions
        speaks()(session)
        session.say(session.said[0])
        await house.live(0.1)
        assert [leg.played for leg in house.media.legs.values()] == [[SOUND], [SOUND]]

    house.on_session = lambda session: setattr(session, "say", session.said.append)
    play(house, script)


def test_who_listened_along_asks_for_themselves_when_the_first_caller_hangs_up() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))

    async def script() -> None:
        first = await call(house, 0.5)
        await call(house, 0.5)
        house.on_session = speaks()
        house.pbx.user_agent.cancel(first, house.wire.now)
        await house.live(0.5)
        assert heard(house) == [SOUND]
        assert len(house.sessions) == 2

    house.on_session = lambda session: setattr(session, "say", session.said.append)
    play(house, script)


def refuses(session: ScriptedSession) -> None:
    session.refusal = ProviderRefused("no key", code="key")


def is_mute(session: ScriptedSession) -> None:
    session.say = session.said.append  # type: ignore[method-assign,assignment]


def begins(session: ScriptedSession) -> None:
    """Speaks, and does not come to an end."""
    sound = realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=SOUND)
    session.say = lambda text=None: session.emit(sound)  # type: ignore[method-assign]


@pytest.mark.parametrize(("provider", "within_s"), [(refuses, 1.0), (is_mute, 6.5)])
def test_a_text_that_nobody_speaks_is_left_out_and_counted(provider: Any, within_s: float) -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=60))
    house.on_session = provider

    async def script() -> None:
        with structlog.testing.capture_logs() as logs:
            leg = await call(house, within_s)
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["text not spoken"]
        assert house.services.speech.failures == 1
        assert state(house) is CallState.ACTING
        assert house.sessions[0].is_closed
        house.pbx.user_agent.bye(leg, house.wire.now)

    play(house, script)


MENU = a.MenuAction(
    prompt=say("Verkauf oder Büro?"),
    choices={"1": (say("Der Verkauf."),), "2": (say("Das Büro."),)},
    words={"1": ("Verkauf",), "2": ("Büro",)},
    tries=1,
)


def test_a_menu_hears_words_and_goes_on_hearing_keys_when_nobody_listens() -> None:
    house = house_for(MENU, a.WaitAction(seconds=1))
    house.on_session = speaks()

    async def script() -> None:
        await call(house)
        speaking, listening = house.sessions
        assert speaking.said == ["Verkauf oder Büro?"]
        options = listening.options
        assert not options.turn_detection.creates_response
        assert (options.transcription_language, options.transcription_prompt) == ("de", "Keywords: Verkauf, Büro")
        assert listening.heard[-1] == CALLER_AUDIO
        assert speaking.heard == []
        said(listening, "zum Büro bitte")
        await house.live(0.3)
        assert house.sessions[-1].said == ["Das Büro."]
        assert listening.is_closed

    play(house, script)
    words = [(speech.speaker.value, speech.text) for speech in house.ended[0].transcript]
    assert words == [("agent", "Verkauf oder Büro?"), ("caller", "zum Büro bitte"), ("agent", "Das Büro.")]


def test_nobody_is_heard_any_more_once_the_choice_is_made() -> None:
    house = house_for(MENU, replace(MENU, words={}, prompt=None, wait_s=5))
    house.on_session = speaks()

    async def script() -> None:
        await call(house)
        listening = house.sessions[1]
        hear = listening.on_event
        assert hear is not None
        press(house, "1")
        await house.live(0.5)
        assert listening.is_closed
        hear(realtime.InputTranscript(item_id="t", text="Büro", is_final=True))
        await house.live(0.3)
        assert [session.said for session in house.sessions[2:]] == [["Der Verkauf."]]
        assert state(house) is CallState.ACTING

    play(house, script)


def test_a_caller_who_hangs_up_in_a_menu_leaves_nothing_behind() -> None:
    house = house_for(MENU)
    house.on_session = speaks()

    async def script() -> None:
        leg = await call(house)
        house.pbx.user_agent.bye(leg, house.wire.now)

    play(house, script)
    assert house.ended[0].outcome is Outcome.CALLER_HUNG_UP
    assert all(session.is_closed for session in house.sessions)


def test_who_speaks_and_listens_has_the_formats_of_their_session_and_gives_them_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def options(_self: object, name: str) -> realtime.SessionOptions:
        audio = AudioFormat.PCM16_16K if name == "voice" else AudioFormat.PCM16_24K
        return realtime.SessionOptions(
            provider="scripted", url="ws://127.0.0.1", api_key=None, input_format=audio, output_format=audio
        )

    monkeypatch.setattr(_AnySession, "__getitem__", options)
    desk = SessionPlan(name="desk", use="default", greeting=None, instructions=None, tools=())
    asks = Escalation(name="asks", trigger=DigitPressed("5"), actions=(replace(MENU, tries=1),))
    house = house_for(a.SessionAction(name="desk"))
    house.manager.replace_plans(
        [replace(house.manager._plans[0], use="voice", sessions={"desk": desk}, escalations=(asks,))]
    )
    house.on_session = speaks()

    def formats() -> tuple[AudioFormat, AudioFormat]:
        (leg,) = house.media.legs.values()
        return leg.options.uplink, leg.options.downlink

    async def script() -> None:
        leg = await call(house)
        assert formats() == (AudioFormat.PCM16_24K, AudioFormat.PCM16_24K)
        press(house, "5")
        await house.live(1)
        assert formats() == (AudioFormat.PCM16_16K, AudioFormat.PCM16_16K)
        await house.live(7)
        assert state(house) is CallState.TALKING
        assert formats() == (AudioFormat.PCM16_24K, AudioFormat.PCM16_24K)
        house.pbx.user_agent.bye(leg, house.wire.now)

    play(house, script)


def test_a_menu_without_anybody_who_listens_takes_keys() -> None:
    house = house_for(MENU, a.WaitAction(seconds=1))
    house.on_session = lambda session: refuses(session) if len(house.sessions) == 2 else speaks()(session)

    async def script() -> None:
        await call(house)
        press(house, "1")
        await house.live(0.3)
        assert house.sessions[-1].said == ["Der Verkauf."]

    play(house, script)


def test_a_provider_that_answers_every_turn_listens_all_the_same() -> None:
    house = house_for(MENU, a.WaitAction(seconds=1))

    def answers_always(session: ScriptedSession) -> None:
        speaks()(session)
        if session.options.transcription_model is not None and not session.options.turn_detection.creates_response:
            house.sessions.pop()
            raise ProviderRefused("it answers", code="turn_detection")

    house.on_session = answers_always

    async def script() -> None:
        await call(house)
        listening = house.sessions[1]
        assert listening.options.max_output_tokens == 16
        listening.emit(realtime.AudioDelta(response_id="x", item_id="x", content_index=0, audio=b"unheard!"))
        assert b"unheard!" not in heard(house)
        said(listening, "Verkauf")
        await house.live(0.3)
        assert house.sessions[-1].said == ["Der Verkauf."]

    play(house, script)


def test_a_key_during_the_prompt_silences_it() -> None:
    house = house_for(replace(MENU, words={}, prompt=say("Eins, zwei.")), a.WaitAction(seconds=1))
    flushed: list[int] = []
    house.media.flush = lambda leg: flushed.append(leg) or ()  # type: ignore[method-assign,func-returns-value]

    async def script() -> None:
        house.on_session = begins
        await call(house)
        before = len(flushed)
        house.on_session = speaks()
        press(house, "2")
        await house.live(0.3)
        assert len(flushed) > before
        assert heard(house) == [SOUND, SOUND]
        late = realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=b"late")
        house.sessions[0].emit(late)
        assert b"late" not in heard(house)

    play(house, script)


def test_a_tone_is_played_and_the_plan_goes_on() -> None:
    house = house_for(a.ToneAction(tone=a.Tone.BUSY, seconds=2), a.WaitAction(seconds=1))

    async def script() -> None:
        await call(house)
        assert heard(house) == [b"tone"]

    play(house, script)
    assert house.ended[0].cause == "dialplan ended"


def test_it_rings_before_the_answer_and_a_caller_may_leave() -> None:
    house = house_for(a.RingAction(seconds=5), say("Guten Tag."), a.WaitAction(seconds=1))
    house.on_session = speaks()

    async def script() -> None:
        await call(house, 4.5)
        assert house.media.legs == {}
        assert house.sessions == []
        await house.live(1)
        assert heard(house) == [SOUND]

    play(house, script)


def test_nobody_is_answered_before_the_first_text_begins_to_sound() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))
    house.on_session = is_mute

    async def script() -> None:
        await call(house, 2)
        assert house.media.legs == {}
        (session,) = house.sessions
        sound = realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=SOUND)
        session.emit(sound)
        await house.live(0.2)
        assert heard(house) == [SOUND]
        session.emit(sound)
        session.emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))
        await house.live(0.2)
        assert heard(house) == [SOUND, SOUND]
        assert len(house.sessions) == 1

    play(house, script)


def test_a_session_is_told_of_the_variables_that_were_set_before() -> None:
    house = house_for(a.SetAction(values={"who": parse_template("Ann")[0]}), a.SessionAction(name="desk"))
    instructions = parse_template("Speak to {vars.who}.")[0]
    desk = SessionPlan(name="desk", use="default", greeting=None, instructions=instructions, tools=())
    house.manager.replace_plans([replace(house.manager._plans[0], sessions={"desk": desk})])

    async def script() -> None:
        leg = await call(house)
        assert house.sessions[0].options.instructions == 'Speak to "Ann".'
        house.pbx.user_agent.bye(leg, house.wire.now)

    play(house, script)


def test_a_text_that_has_begun_may_come_slowly() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))
    house.on_session = begins

    async def script() -> None:
        await call(house, FIRST_SOUND_S + 3)
        sound = realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=b"late")
        house.sessions[0].emit(sound)
        house.sessions[0].emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))
        await house.live(0.2)
        assert heard(house) == [SOUND, b"late"]

    play(house, script)
    assert house.services.speech.failures == 0


def test_what_texts_cost_is_the_calls() -> None:
    house = house_for(say("Guten Tag."), a.WaitAction(seconds=1))

    def bills(session: ScriptedSession) -> None:
        speaks()(session)
        speak = session.say

        def spend(text: str | None = None) -> None:
            session.emit(realtime.UsageReported(usage=realtime.Usage(output_tokens=7)))
            speak(text)

        session.say = spend  # type: ignore[method-assign]

    house.on_session = bills
    play(house, lambda: call(house))
    assert house.ended[0].usage.output_tokens == 7
