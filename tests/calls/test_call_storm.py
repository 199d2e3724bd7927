"""Any plan, any events in any order: a call never waits for what nobody owes it, and can always end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.record import CallDirection
from gateway.calls.transfers.grant import TransferLimits
from gateway.dialplan import actions as a
from gateway.dialplan import triggers as t
from gateway.dialplan.contacts import Contact, TransferMode
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.model import CallFacts, Consent, Dialplan, Match, RecordPlan, Route, SessionPlan
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.targets import parse_target
from gateway.dialplan.template import parse_template
from gateway.dialplan.tools import HttpRequest
from tests.support.bare_plan import BARE_PLAN
from tests.support.call_world import MONDAY, PARTED, World, say

WAV = Path("sound.wav")
TOOLS = ("transfer", "hang_up", "note", "find")
TARGETS = (parse_target("sip:6001"), parse_target("sip:6002"))
REQUEST = HttpRequest(method="POST", url=parse_url_template("https://hook.example/"))
ASKED = RecordPlan(consent=Consent.ASK, play=WAV)
RESTS = (CallState.TALKING, CallState.JOINED, CallState.ENDED)
"""States in which a call may stay though nobody does anything."""


def _contact(mode: TransferMode, **fields: object) -> Contact:
    return Contact(name=mode.value, description="", targets=TARGETS, ring_s=10, mode=mode, **fields)  # type: ignore[arg-type]


CONTACTS = (
    _contact(TransferMode.BLIND),
    _contact(TransferMode.ATTENDED, music=WAV),
    _contact(TransferMode.WARM, mailbox="night"),
)
LAW = replace(say("You speak with a machine."), is_protected=True)
LAW_PLAYED = a.PlayAction(file=WAV, is_protected=True)
PLAIN = SessionPlan(name="plain", use="default", greeting=None, instructions=None, tools=TOOLS)
MAILBOXES = (Mailbox(name="night", prompt=say("Leave a message.")), Mailbox(name="bare", has_beep=False))
PLAN = replace(
    BARE_PLAN,
    contacts={contact.name: contact for contact in CONTACTS},
    sessions={
        "plain": PLAIN,
        "recorded": replace(PLAIN, name="recorded", record=ASKED),
        "protected": replace(PLAIN, name="protected", record=ASKED, protected=(LAW, LAW_PLAYED)),
    },
    mailboxes={mailbox.name: mailbox for mailbox in MAILBOXES},
)

PROMPTS = st.sampled_from([None, say("Please choose."), a.PlayAction(file=WAV)])
SIMPLE = st.sampled_from(
    [
        say("Hello."),
        say("You are {vars.name}."),
        a.PlayAction(file=WAV),
        a.ToneAction(tone=a.Tone.BEEP, seconds=1),
        a.RingAction(seconds=2),
        a.AnswerAction(),
        a.WaitAction(seconds=1),
        a.SessionAction(name="plain"),
        a.SessionAction(name="recorded"),
        a.SessionAction(name="protected"),
        LAW,
        LAW_PLAYED,
        a.TransferAction(contact="blind"),
        a.TransferAction(contact="attended"),
        a.TransferAction(contact="warm"),
        a.QueueAction(contact="attended"),
        a.HangUpAction(),
        a.RejectAction(status=603),
        a.RecordingAction(change=a.RecordingChange.PAUSE),
        a.RecordingAction(change=a.RecordingChange.STOP),
        a.AnswersAction(length=a.AnswerLength.SHORT),
        a.SetAction(values={"name": parse_template("Bob")[0]}),
        a.TellAction(text=parse_template("Be quick.")[0]),
        a.HangUpAfterAction(seconds=5),
        a.GotoAction(route="first"),
        a.GotoAction(route="second"),
        a.VoicemailAction(mailbox="night"),
        a.VoicemailAction(mailbox="bare"),
        a.CallbackAction(mailbox="night"),
    ]
)


def _choices(actions: st.SearchStrategy[tuple[a.Action, ...]]) -> st.SearchStrategy[a.Action]:
    maybe = st.none() | actions
    menu = st.builds(
        a.MenuAction,
        prompt=PROMPTS,
        choices=st.fixed_dictionaries({"1": actions, "5": actions}),
        words=st.sampled_from([{}, {"1": ("sales",)}]),
        otherwise=maybe,
        timeout=maybe,
    )
    collect = st.builds(
        a.CollectAction, prompt=PROMPTS, into=st.just("name"), least=st.just(1), most=st.just(2), failed=maybe
    )
    return st.one_of(menu, collect, st.builds(a.HookAction, request=st.just(REQUEST), failed=maybe))


BRIEF = st.lists(SIMPLE, min_size=1, max_size=3).map(tuple)
ACTIONS = st.lists(SIMPLE | _choices(BRIEF), min_size=1, max_size=4).map(tuple)
TRIGGERS: tuple[t.Trigger, ...] = (
    t.DigitPressed("0"),
    t.DigitPressed("9"),
    t.DigitPressed("*"),
    t.ProviderDown(),
    t.BudgetUsed(0.8),
    t.BudgetUsed(1.0),
    t.Said(("a human",)),
    t.ToolsFailed(2),
    t.SilentFor(20),
)


@st.composite
def plans(draw: st.DrawFn) -> Dialplan:
    """Any routes that go to each other, and any escalations."""
    routes = tuple(Route(name=name, match=Match(), actions=draw(ACTIONS)) for name in ("first", "second"))
    triggers = draw(st.lists(st.sampled_from(TRIGGERS), unique=True, max_size=6))
    escalations = [t.Escalation(name=f"e{n}", trigger=which, actions=draw(BRIEF)) for n, which in enumerate(triggers)]
    judged = t.Escalation(name="judged", trigger=t.VerdictGiven(REQUEST), actions=draw(BRIEF))
    return replace(PLAN, routes=routes, escalations=(*escalations, judged))


def _begun(plan: Dialplan, beginning: tuple[a.Action, ...], direction: CallDirection) -> World:
    call = Call(
        plan=plan,
        actions=beginning or plan.routes[0].actions,
        direction=direction,
        limits=TransferLimits(per_call=4),
        facts=CallFacts(to="7000", from_="+49301", at=MONDAY),
    )
    world = World(call=call)
    world.step(e.Started())
    if beginning:
        world.step(e.SessionOpened())
    if beginning and direction is CallDirection.INCOMING:
        world.step(e.Established())
    return world


BEGINNINGS = st.sampled_from([(a.SessionAction(name="plain"),), (a.SessionAction(name="recorded"),), ()])
"""With a session the storm begins when a caller is with it, or asked whether they may be recorded; or we dial."""
CALLS = 6
"""Of one plan."""
MOST_EVENTS = 40


@given(plans(), BEGINNINGS, st.sampled_from(CallDirection), st.integers(0, 9999))
def test_whatever_happens_a_call_waits_for_what_will_come_and_ends_once(
    plan: Dialplan, beginning: tuple[a.Action, ...], direction: CallDirection, seed: int
) -> None:
    for number in range(CALLS):
        _storm(_begun(plan, beginning, direction), Random(seed + number))


def _storm(world: World, chance: Random) -> None:
    for _ in range(chance.randrange(MOST_EVENTS)):
        if world.call.state is CallState.ENDED:
            break
        due = world.due()
        _step(world, chance.choice(due if due and chance.random() < 0.5 else [*due, *world.by_chance()]))
    _let_alone(world, chance)
    last = chance.choice(world.endings())
    has_left = world.call.state is CallState.ENDED or isinstance(last, e.CallerLeft)
    commands = world.step(last)
    assert world.call.state is CallState.ENDED
    assert world.call.notes.outcome is not None
    assert sum(isinstance(command, PARTED) for command in commands) == (0 if has_left else 1)
    assert sum(isinstance(command, PARTED) for command in world.told) <= 1
    for event in (*world.due(), *world.by_chance(), *world.endings()):
        assert world.step(event) == []


def _step(world: World, event: e.Event) -> None:
    before = world.call.state
    commands = world.step(event)
    assert world.flaws() == [], f"{before}, {event}: {commands} -> {world.call.state}"


def _let_alone(world: World, chance: Random) -> None:
    """Nobody does anything any more: what is owed comes, and the call gets where it may stay."""
    for _ in range(4000):
        if world.call.state in RESTS:
            return
        due = [event for event in world.due() if not isinstance(event, e.TimerFired) or event.timer in AWAITED]
        assert due, f"{world.call.state} has no end"
        _step(world, chance.choice(due))
    raise AssertionError("a call in circles")


AWAITED = frozenset(e.TimerName) - {e.TimerName.TALK, e.TimerName.FAREWELL, e.TimerName.DIGITS}
