"""Whole calls, with a model that says what the test wants: facts become firings, and firings become REFERs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.calls.events import Outcome
from gateway.calls.task import CallTask
from gateway.dialplan import actions as a
from gateway.dialplan import triggers as t
from gateway.dialplan.contacts import Contact
from gateway.dialplan.model import Match, Route, SessionPlan
from gateway.dialplan.targets import parse_target
from gateway.dialplan.template import parse_template
from gateway.realtime import session as realtime
from gateway.sip import events as sip_events
from gateway.sip.events import Event
from gateway.sip.message import Uri
from gateway.sip.sdp import Direction
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_house import CallHouse, ScriptedSession, play_out
from tests.support.wire import PBX, Party, description

SALES = a.TransferAction(contact="sales")
SESSION = SessionPlan(
    name="reception",
    use="default",
    greeting=None,
    instructions=None,
    tools=("transfer", "switch_language"),
    languages=("en", "fr"),
)
OFFER = "I can connect you with a human"
ASK = a.SayAction(text=parse_template("Are you there?")[0])


def house_with(*escalations: t.Escalation) -> tuple[CallHouse, list[str]]:
    """A gateway, and whom its PBX was asked to connect callers with; the PBX does it."""
    asked: list[str] = []

    def pbx(party: Party, event: Event, now: float) -> None:
        if isinstance(event, sip_events.TransferRequested):
            asked.append(event.refer_to.uri.user or "")
            party.user_agent.accept_refer(event.leg_id, now)
            party.user_agent.notify_transfer(event.leg_id, 200, "OK", now)

    plan = replace(
        BARE_PLAN,
        contacts={"sales": Contact(name="sales", description="", targets=(parse_target("sip:6001"),), ring_s=10)},
        sessions={"reception": SESSION},
        routes=(Route(name="talk", match=Match(), actions=(a.SessionAction(name="reception"),)),),
        escalations=escalations,
    )
    return CallHouse(plan, pbx), asked


def escalation(trigger: t.Trigger, *actions: a.Action) -> t.Escalation:
    return t.Escalation(name="x", trigger=trigger, actions=actions)


Scene = Callable[[CallTask, ScriptedSession, str], Awaitable[None]]


def play(house: CallHouse, scene: Scene) -> None:
    """A call that talks with the model; it is ended behind `scene`."""

    async def script() -> None:
        uri, offer = Uri.parse("sip:7000@10.0.0.1"), description(PBX.host, 20000)
        leg = house.pbx.user_agent.invite("gateway", uri, offer=offer, now=house.wire.now)
        await house.live(1)
        (call,) = house.manager._calls
        await scene(call, house.sessions[0], leg)
        for left in list(house.manager._calls):
            left.hang_up()
        await house.live(40, step_s=0.25)
        house.assert_nothing_is_left()

    play_out(house, script)


def says(session: ScriptedSession, words: str, item: str = "u") -> None:
    """The caller says something, as the provider tells it."""
    session.emit(realtime.SpeechStarted(item_id=item, audio_start_ms=0))
    session.emit(realtime.SpeechStopped(item_id=item, audio_end_ms=0))
    session.emit(realtime.InputTranscript(item_id=item, text=words, is_final=True))


def answers(session: ScriptedSession, words: str, seconds: float = 3.0) -> None:
    """The model says something, faster than it is heard."""
    audio = b"\0" * round(seconds * 48000)
    session.emit(realtime.ResponseStarted(response_id="r"))
    session.emit(realtime.OutputTranscript(response_id="r", item_id="a", content_index=0, text=words, is_final=True))
    session.emit(realtime.AudioDelta(response_id="r", item_id="a", content_index=0, audio=audio))
    session.emit(realtime.AudioFinished(response_id="r", item_id="a", content_index=0))
    session.emit(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))


def test_words_of_the_caller_connect_them_with_a_human() -> None:
    house, asked = house_with(escalation(t.Said(("a human",)), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        says(session, "What can you do?")
        await house.live(0.5)
        assert asked == []
        says(session, "Give me a human.", "u2")
        await house.live(2)

    play(house, scene)
    assert asked == ["6001"]
    (record,) = house.ended
    assert (record.outcome, record.escalations, house.escalated) == (Outcome.TRANSFERRED, ("x",), ["x"])


def test_the_agents_own_words_never_do_not_even_when_the_telephone_sends_them_back() -> None:
    house, asked = house_with(escalation(t.Said(("a human",)), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        answers(session, OFFER)
        await house.live(0.3)
        session.emit(realtime.SpeechStarted(item_id="u", audio_start_ms=0))
        await house.live(3.5)
        session.emit(realtime.InputTranscript(item_id="u", text=OFFER, is_final=True))
        await house.live(1)
        assert asked == []
        says(session, "a human", "u2")  # the answer to it
        await house.live(1)

    play(house, scene)
    assert len(asked) == 1


def test_words_count_as_soon_as_the_model_answers_them() -> None:
    house, asked = house_with(escalation(t.Said(("a human",)), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        for words in ("I want", " a", " human"):
            session.emit(realtime.InputTranscript(item_id="u", text=words, is_final=False))
        await house.live(1)
        assert asked == []
        session.emit(realtime.ResponseStarted(response_id="r"))
        await house.live(1)

    play(house, scene)
    assert asked == ["6001"]


def test_turns_without_words_are_counted_whether_they_failed_or_are_empty() -> None:
    house, asked = house_with(escalation(t.NotUnderstood(3), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        says(session, "", "u1")
        session.emit(realtime.InputTranscriptFailed(item_id="u2", code="audio_unintelligible", reason="noise"))
        await house.live(0.5)
        assert asked == []
        says(session, " ... ", "u3")
        await house.live(1)

    play(house, scene)
    assert len(asked) == 1


def test_a_silent_caller_is_asked_and_then_hung_up_on() -> None:
    house, _ = house_with(escalation(t.SilentFor(10.0), ASK, a.HangUpAfterAction(seconds=15)))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        answers(session, "How can I help you?", seconds=5)
        await house.live(14, step_s=0.1)  # 5 s are spoken
        assert session.said == []
        await house.live(2, step_s=0.1)
        assert session.said == ["Are you there?"]
        await house.live(16, step_s=0.1)

    play(house, scene)
    (record,) = house.ended
    assert (record.outcome, record.cause) == (Outcome.GATEWAY_HUNG_UP, "hang_up_after")
    assert record.escalations[0] == "x"


def test_a_caller_who_answers_is_kept_and_asked_again_in_the_next_silence() -> None:
    house, _ = house_with(escalation(t.SilentFor(10.0), ASK, a.HangUpAfterAction(seconds=15)))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        await house.live(11, step_s=0.1)
        assert len(session.said) == 1
        says(session, "I am here")
        await house.live(9, step_s=0.1)
        assert len(session.said) == 1
        await house.live(2, step_s=0.1)
        assert len(session.said) == 2
        assert house.ended == []

    play(house, scene)


def test_an_agent_that_was_interrupted_is_heard_no_longer() -> None:
    house, _ = house_with(escalation(t.SilentFor(10.0), ASK))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        answers(session, "A long story.", seconds=30)
        await house.live(1, step_s=0.1)
        says(session, "Stop.")
        await house.live(9, step_s=0.1)
        assert session.said == []
        await house.live(2, step_s=0.1)
        assert session.said == ["Are you there?"]

    play(house, scene)


def test_a_key_breaks_a_silence() -> None:
    house, _ = house_with(escalation(t.SilentFor(10.0), ASK))

    async def scene(call: CallTask, session: ScriptedSession, _leg: str) -> None:
        for _ in range(4):
            await house.live(6, step_s=0.1)
            call.on_digit("5", 100)
        assert session.said == []

    play(house, scene)


def test_a_caller_on_hold_is_not_silent_and_what_was_silence_before_does_not_count() -> None:
    house, _ = house_with(escalation(t.SilentFor(10.0), ASK))

    async def scene(_call: CallTask, session: ScriptedSession, leg: str) -> None:
        await house.live(8, step_s=0.1)
        offer = description(PBX.host, 20000, version=1)
        held = replace(offer, media=(replace(offer.media[0], direction=Direction.SENDONLY),))
        house.pbx.user_agent.reoffer(leg, held, house.wire.now)
        await house.live(30, step_s=0.1)
        house.pbx.user_agent.reoffer(leg, description(PBX.host, 20000, version=2), house.wire.now)
        await house.live(9, step_s=0.1)
        assert session.said == []
        await house.live(3, step_s=0.1)
        assert session.said == ["Are you there?"]

    play(house, scene)


def test_minutes_with_the_session_are_counted() -> None:
    house, asked = house_with(escalation(t.LastedFor(2), SALES))

    async def scene(_call: CallTask, _session: ScriptedSession, _leg: str) -> None:
        await house.live(118, step_s=0.5)
        assert asked == []
        await house.live(3, step_s=0.5)

    play(house, scene)
    assert len(asked) == 1


def test_a_language_that_the_conversation_goes_over_to_is_one_and_one_that_it_does_not_is_none() -> None:
    house, asked = house_with(escalation(t.LanguageHeard(("fr",)), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        session.ask("switch_language", language="en")
        session.ask("switch_language", language="xx")
        await house.live(0.5)
        assert asked == []
        session.ask("switch_language", language="fr")
        await house.live(1)

    play(house, scene)
    assert len(asked) == 1


def test_the_tool_for_sentiments_is_offered_where_an_escalation_asks_for_it_and_fires_it() -> None:
    house, asked = house_with(escalation(t.SentimentReported(("angry",)), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        (tool,) = [tool for tool in session.options.tools if tool.name == "report_sentiment"]
        assert tool.parameters["properties"] == {"sentiment": {"type": "string", "enum": ["angry"]}}
        session.ask("report_sentiment", sentiment="delighted")
        await house.live(0.5)
        assert asked == []
        session.ask("report_sentiment", sentiment="angry")
        await house.live(1)

    play(house, scene)
    assert len(asked) == 1
    assert house.ended[0].failed_tools == 1


def test_without_such_an_escalation_there_is_no_tool_for_sentiments() -> None:
    house, _ = house_with()

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        assert "report_sentiment" not in [tool.name for tool in session.options.tools]
        call_id = session.ask("report_sentiment", sentiment="angry")
        await house.live(0.5)
        assert session.results[call_id]["status"] == "refused"

    play(house, scene)


def test_tools_that_fail_are_counted() -> None:
    house, asked = house_with(escalation(t.ToolsFailed(2), SALES))

    async def scene(_call: CallTask, session: ScriptedSession, _leg: str) -> None:
        session.ask("switch_language", language="xx")
        await house.live(0.5)
        assert asked == []
        session.ask("switch_language", language="yy")
        await house.live(1)

    play(house, scene)
    assert len(asked) == 1
