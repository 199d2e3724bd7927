"""What a plan's tests say of a call is what a call does: the same plans and events through both, and compared.

The call goes first. Wherever it waits, one of the events that it waits for is drawn and let happen; then the same
events are rehearsed. What was done since the last escalation, the variables and the end have to be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.escalation.events import FactNoticed, Interject
from gateway.calls.escalation.facts import (
    CallerSaid,
    Fact,
    LanguageChanged,
    SentimentShown,
    SilenceLasted,
    TalkLasted,
    ToolsBroken,
)
from gateway.calls.events.steps import (
    AskHook,
    HookAnswered,
    HookFailed,
    LeaveWish,
    Listen,
    MessageEnded,
    MessageReady,
    PlayTone,
    PrepareMessage,
    PrepareSpeech,
    RecordMessage,
    Speak,
    SpeechReady,
    StopListening,
    WordsHeard,
)
from gateway.calls.phases.interruptions import HUNG_UP_AFTER
from gateway.calls.transfers.grant import TransferLimits
from gateway.dialplan import actions as a
from gateway.dialplan import examples as x
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.rehearsal import Rehearsal, Standing
from gateway.dialplan.triggers import BudgetUsed
from gateway.errors import ConfigurationError
from tests.support.plans import write_plan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

PLAN = """\
version: 1
name: both
timezone: UTC
hours: {{never: {{sun: "01:00-02:00"}}}}
contacts:
  desk: {{dial: ["1"]}}
  once: {{dial: ["2"], quota: {{per_call: 1}}}}
  shut: {{dial: ["3"], when: never}}
  boxed: {{dial: ["4"], when: never, else: box}}
  missed: {{dial: ["5"], else: box}}
  stand: {{dial: ["6"], when: never, else: desk}}
  line: {{pattern: "/[1-3]{{3}}/"}}
mailboxes: {{box: {{transcript: false, notify: [{{email: {{to: a@b.example}}}}]}}}}
vars: {{v: "", w: w}}
sessions:
  talk: {{use: default, protect: [Law.], tools: [hang_up, switch_language], languages: [en, fr]}}
  other: {{use: default, protect: [Law., "More law, {{vars.w}}."], tools: [hang_up]}}
routes:
  - {{name: first, match: {{to: "1"}}, do: {first}}}
  - {{name: second, match: {{to: "2"}}, do: {second}}}
  - {{name: rest, do: [{{say: Rest.}}, {{hang_up: true}}]}}
escalations:
  - {{name: zero, when: {{dtmf: "0"}}, do: {zero}}}
  - {{name: star, when: {{dtmf: "*", session: talk}}, do: {star}}}
  - {{name: human, when: {{said: [a human]}}, do: {human}}}
  - {{name: person, when: {{said: [a human person, a human]}}, do: {person}}}
  - {{name: three, when: {{failed_tools: 3}}, do: {three}}}
  - {{name: too, when: {{failed_tools: 2, session: other}}, do: {too}}}
  - {{name: two, when: {{failed_tools: 2}}, do: {two}}}
  - {{name: silent, when: {{silence: 9s}}, do: {silent}}}
  - {{name: long, when: {{minutes: 3}}, do: {long}}}
  - {{name: tongue, when: {{language: [fr]}}, do: {tongue}}}
  - {{name: anger, when: {{sentiment: [angry]}}, do: {anger}}}
  - {{name: most, when: {{budget: 80%}}, do: {most}}}
  - {{name: all, when: {{budget: 100%, session: talk}}, do: {all}}}
  - {{name: down-talk, when: {{provider_down: true, session: talk}}, do: {down_talk}}}
  - {{name: down, when: {{provider_down: true}}, do: {down}}}
"""
CALLER = ["zero", "star", "human", "person", "tongue", "anger", "silent", "long"]
ESCALATIONS = [*CALLER, "three", "two", "too", "most", "all", "down_talk", "down"]

SIMPLE = [
    "{say: Yes.}",
    "{say: {text: Whole., protect: true}}",
    "{say: No.}",
    "{tone: beep}",
    "{set: {w: x}}",
    "{set: {v: y}}",
    '{say: "Now {vars.w}."}',
]
TRANSFERS = ["desk", "once", "shut", "boxed", "missed", "stand"]
STEPS = [
    *SIMPLE,
    *(f"{{transfer: {name}}}" for name in TRANSFERS),
    "{queue: desk}",
    "{queue: missed}",
    '{transfer: {to: line, number: "{vars.v}"}}',
    "{voicemail: box}",
    "{callback: {mailbox: box, number: '123'}}",
]
LAST = ["{session: talk}", "{session: other}", "{hang_up: true}", "{goto: rest}"]
IN_SESSION = [
    "{say: {text: Whole., protect: true}}",
    "{answers: short}",
    "{tell: Listen.}",
    "{hang_up_after: 5s}",
    "{say: Hm.}",
    "{set: {w: z}}",
]


@st.composite
def lists(draw: st.DrawFn, depth: int = 2, last: tuple[str, ...] = ("", *LAST)) -> str:
    """A list of actions, as a plan has it."""
    found = draw(st.lists(st.sampled_from(STEPS), max_size=2))
    if depth and draw(st.booleans()):
        found.append(draw(st.one_of(menus(depth - 1), collects(depth - 1), hooks(depth - 1))))
        found += draw(st.lists(st.sampled_from(STEPS), max_size=1))
    elif end := draw(st.sampled_from(last)):
        found.append(end)
    return f"[{', '.join(found or ['{say: Yes.}'])}]"


@st.composite
def menus(draw: st.DrawFn, depth: int) -> str:
    words = draw(st.sampled_from(["", ", words: {1: [blue, dark red], 2: [red]}"]))
    ways = [f", {way}: {draw(lists(depth))}" for way in ("other", "timeout") if draw(st.booleans())]
    prompt = draw(st.sampled_from(["", "say: Choose blue or red., "]))
    choices = f"1: {draw(lists(depth))}, 2: {draw(lists(depth))}"
    return f"{{menu: {{{prompt}{choices}, tries: {draw(st.integers(1, 2))}{words}{''.join(ways)}}}}}"


@st.composite
def collects(draw: st.DrawFn, depth: int) -> str:
    failed = f", failed: {draw(lists(depth))}" if draw(st.booleans()) else ""
    return f"{{collect: {{into: v, digits: 2-3, tries: {draw(st.integers(1, 2))}{failed}}}}}"


@st.composite
def hooks(draw: st.DrawFn, depth: int) -> str:
    failed = f", failed: {draw(lists(depth))}" if draw(st.booleans()) else ""
    return f'{{hook: {{url: "https://a.example/"{failed}}}}}'


@st.composite
def plans(draw: st.DrawFn) -> str:
    kept = st.lists(st.sampled_from(IN_SESSION), min_size=1, max_size=2).map(lambda found: f"[{', '.join(found)}]")
    breaking = lists(depth=1)
    texts = {name: draw(st.one_of(kept, breaking)) for name in ESCALATIONS}
    for name in ("all", "down", "down_talk"):
        texts[name] = draw(lists(depth=0, last=("", "{hang_up: true}", "{goto: rest}")))
    return PLAN.format(first=draw(st.one_of(st.just("[{session: talk}]"), lists())), second=draw(lists()), **texts)


class Driver:
    """A call under way, whose telephone, model and services do at once what they are asked."""

    def __init__(self, plan: Dialplan, facts: CallFacts, held: str = "") -> None:
        """`held` is not over until `release`: a text, or `message`."""
        self.plan = plan
        self.held = held
        self.done: list[str] = []
        self.asked = ""
        self.is_listening = self.is_leaving = False
        self.broken = 0
        self.call = Call(
            plan=plan,
            actions=plan.decide(facts).actions,
            facts=facts,
            limits=TransferLimits(per_call=1000),
            on_escalation=lambda _escalation: self.done.clear(),
        )
        self.feed(e.Started())

    def feed(self, event: e.Event) -> None:
        waiting = [event]
        while waiting:
            for command in self.call.step(waiting.pop(0), NOON):
                waiting += self.answer(command)

    def answer(self, command: e.Command) -> list[e.Event]:  # noqa: C901, PLR0912 - an arm for each command
        match command:
            case e.OpenSession():
                return [e.SessionOpened()]
            case e.Greet():
                self.done.append(f"session {self.call.notes.session}")
            case e.Answer() | e.Dial():
                return [e.Established()]
            case PrepareSpeech():
                return [SpeechReady()]
            case Speak(text=text):
                self.done.append(f"say {text}")
                return [] if text == self.held else [e.PlayoutEnded()]
            case Interject(text=text):
                self.done.append(f"say {text}")
            case PlayTone():
                return [e.PlayoutEnded()]
            case e.AwaitPlayout():
                return [e.PlayoutEnded()]
            case e.Refer(target=target):
                self.done.append(f"transfer {target.user}")
            case PrepareMessage(mailbox=mailbox):
                self.done.append(f"voicemail {mailbox.name}")
                return [MessageReady()]
            case RecordMessage():
                return [] if self.held == "message" else [MessageEnded()]
            case LeaveWish(mailbox=mailbox):
                self.done.append(f"callback {mailbox.name}")
            case AskHook():
                self.asked = "hook"
            case e.ShortenAnswers():
                self.done.append("answers")
            case e.TellModel(text=text) if not text.startswith(("The transfer failed", "The caller pressed")):
                self.done.append(f"tell {text}")
            case Listen() | StopListening():
                self.is_listening = isinstance(command, Listen)
            case e.StartTimer(timer=e.TimerName.FAREWELL):
                self.is_leaving = True
        return []

    def release(self) -> None:
        """What is held is over, and so it is from now on."""
        event = MessageEnded() if self.held == "message" else e.PlayoutEnded()
        self.held = ""
        self.feed(event)

    def choices(self) -> list[x.ExampleEvent]:
        """What may happen now."""
        keys: list[x.ExampleEvent] = [x.KeyPressed(digit) for digit in "0*12"]
        match self.call.state:
            case CallState.TRANSFERRING:
                return [x.TransferEnd.ANSWERED, x.TransferEnd.BUSY, x.TransferEnd.NO_ANSWER, x.TransferEnd.DECLINED]
            case CallState.TALKING:
                leaving: list[x.ExampleEvent] = [x.NothingDone()] if self.is_leaving else []
                said: list[x.ExampleEvent] = [x.WordsSaid("give me a human person"), x.WordsSaid("hello")]
                counted = [
                    x.Reached(x.Happening.FAILED_TOOLS, Decimal(self.broken + 1)),
                    x.Reached(x.Happening.SILENCE, Decimal(10)),
                    x.Reached(x.Happening.BUDGET, Decimal("0.8")),
                    x.Reached(x.Happening.BUDGET, Decimal(1)),
                    x.Reached(x.Happening.MINUTES, Decimal(3)),
                ]
                others: list[x.ExampleEvent] = [x.LanguageChanged("fr"), x.MoodReported("angry"), x.ProviderLost()]
                return [*keys, *leaving, *said, *counted, *others]
            case CallState.ACTING if self.asked == "hook":
                values = {"v": "12", "w": "h"}
                answer = x.HookAnswer(actions=(a.SetAction(values={}),), values=values)
                return [answer, x.HookAnswer()]
            case CallState.ACTING:
                said = [x.WordsSaid("dark red"), x.WordsSaid("pizza"), x.WordsSaid("blue or red")]
                return [*keys, x.NothingDone(), *(said if self.is_listening else ())]
            case _:
                return []

    def happen(self, event: x.ExampleEvent) -> None:  # noqa: C901, PLR0912 - an arm for each event
        match event:
            case x.KeyPressed(digit=digit):
                self.is_leaving = False
                self.feed(e.DigitReceived(digit=digit))
            case x.NothingDone() if self.call.state is CallState.TALKING:
                self.feed(e.TimerFired(timer=e.TimerName.FAREWELL))
            case x.NothingDone():
                self.be_silent()
            case x.WordsSaid(text=text) if self.call.state is CallState.ACTING:
                asking = self.call._course.stage._step
                self.feed(WordsHeard(text=text))
                self.is_leaving &= self.call._course.stage._step is asking
            case x.WordsSaid(text=text):
                self.is_leaving = False
                self.notice(CallerSaid(text=text))
            case x.Reached(what=x.Happening.FAILED_TOOLS, amount=amount):
                self.broken = int(amount)
                self.notice(ToolsBroken(count=self.broken))
            case x.Reached(what=x.Happening.SILENCE):
                self.notice(SilenceLasted(seconds=9))
            case x.Reached(what=x.Happening.MINUTES):
                self.notice(TalkLasted(minutes=3))
            case x.Reached(amount=amount):
                self.feed(e.BudgetReached(mark=BudgetUsed(float(amount)), limit="limits.money"))
            case x.LanguageChanged(language=language):
                self.notice(LanguageChanged(language=language))
            case x.MoodReported(kind=kind):
                self.notice(SentimentShown(kind=kind))
            case x.ProviderLost():
                self.feed(e.SessionLost(reason="gone"))
            case x.HookAnswer(actions=actions, values=values):
                self.asked = ""
                self.feed(HookFailed() if actions is None else HookAnswered(actions=actions, values=values))
            case x.TransferEnd():
                status = {x.TransferEnd.ANSWERED: 200, x.TransferEnd.BUSY: 486}.get(event, 603)
                self.feed(e.TransferReported(status=status, reason="", is_final=True, is_notified=True))

    def be_silent(self) -> None:
        """Until nothing is asked any more, or something else is: a question has three tries at most here."""
        asking = self.call._course.stage._step  # whether the same question is still open is told nowhere else
        while self.call._course.stage._step is asking and asking is not None:
            self.feed(e.TimerFired(timer=e.TimerName.STEP))

    def notice(self, fact: Fact) -> None:
        self.feed(FactNoticed(fact=fact))

    @property
    def ending(self) -> str:
        cause = self.call.notes.cause
        return "hang_up" if cause in ("dialplan", HUNG_UP_AFTER) else ""


def told(rehearsal: Rehearsal, plan: Dialplan) -> list[str]:
    """What a rehearsal has done, in the words of the driver; what it leaves to texts of variables apart."""
    found = []
    called = iter(rehearsal.called)
    for place, action in enumerate(rehearsal.done):
        match action:
            case a.SessionAction() if place in rehearsal.resumed:
                pass  # nobody is greeted twice
            case a.SayAction(text=text):
                found.append(f"say {rehearsal.text(text)}")
            case a.SessionAction(name=name):
                found.append(f"session {name}")
            case a.VoicemailAction(mailbox=mailbox) | a.CallbackAction(mailbox=mailbox):
                found.append(f"{a.WORDS[type(action)]} {mailbox}")
            case a.AnswersAction():
                found.append("answers")
            case a.TellAction(text=text):
                found.append(f"tell {rehearsal.text(text)}")
    for name in called:
        targets = plan.contacts[name].targets
        found.append(f"transfer {targets[0].user if targets else '?'}")
    return found


def alike(done: list[str]) -> list[str]:
    """What was done, as far as both tell it the same: calls of contacts behind the rest, and no prompt of a menu.

    A call says it again for each try, also behind a key that set something else off; a rehearsal says it once.
    """
    rest = [text for text in done if not text.startswith(("transfer ", "say Thank", "say Choose"))]
    calls = ["transfer ?" if text.startswith("transfer ") and len(text) > len("transfer 1") else text for text in done]
    return [*rest, *(text for text in calls if text.startswith("transfer "))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("both")).parent


def compare(plan: Dialplan, draw: Callable[[list[x.ExampleEvent]], x.ExampleEvent], length: int) -> None:
    """Let so many events happen to a call, and rehearse them."""
    facts = CallFacts(to="1", from_="+491", at=NOON)
    driver = Driver(plan, facts)
    events: list[x.ExampleEvent] = []
    while len(events) < length and (choices := driver.choices()):
        events.append(draw(choices))
        driver.happen(events[-1])
    while driver.call.state is CallState.TRANSFERRING:
        events.append(x.TransferEnd.BUSY)
        driver.happen(events[-1])
    assert_alike(plan, facts, events, driver)


def assert_alike(plan: Dialplan, facts: CallFacts, events: list[x.ExampleEvent], driver: Driver) -> None:
    rehearsal = Rehearsal(plan, facts, plan.decide(facts).actions)
    rehearsal.run(events)
    assert rehearsal.problem == "", events
    assert alike(told(rehearsal, plan)) == alike(driver.done), events
    assert rehearsal.variables == dict(driver.call.variables), events
    assert (rehearsal.standing is Standing.OVER) == (driver.call.state is CallState.ENDED), events
    assert (rehearsal.standing is Standing.TALKING) == (driver.call.state is CallState.TALKING), events
    if driver.ending:
        assert isinstance(rehearsal.done[-1], a.HangUpAction), events


KEPT = "[{set: {w: z}}]"
SAID = "[{say: Hm.}]"
AWAY = "[{transfer: desk}]"
ANEW = "[{set: {v: y}}, {session: talk}]"


@pytest.mark.parametrize("zero", [KEPT, SAID, AWAY, ANEW])
@pytest.mark.parametrize(
    ("actions", "before", "held"),
    [
        ("[{say: Yes.}, {say: No.}, {set: {w: x}}, {hang_up: true}]", [], "No."),
        ("[{say: No.}, {set: {w: x}}]", [], "No."),
        ("[{voicemail: box}, {set: {w: x}}, {hang_up: true}]", [], "message"),
        ("[{menu: {1: [{say: No.}, {hang_up: true}]}}]", [x.KeyPressed("1")], "No."),
        ("[{transfer: desk}, {say: No.}, {goto: rest}]", [x.TransferEnd.BUSY], "Rest."),
        ("[{transfer: boxed}, {hang_up: true}]", [], "message"),
        ("[{transfer: missed}, {hang_up: true}]", [x.TransferEnd.BUSY], "message"),
        ("[{session: talk}]", [x.ProviderLost()], "Down."),
        ("[{session: talk}]", [x.Reached(x.Happening.BUDGET, Decimal(1))], "All."),
    ],
)
def test_a_key_outside_a_session_does_what_it_does_in_a_call(
    folder: Path, actions: str, before: list[x.ExampleEvent], held: str, zero: str
) -> None:
    texts = dict.fromkeys(ESCALATIONS, "[{answers: short}]")
    texts |= {"zero": zero, "down_talk": "[{say: Down.}, {hang_up: true}]", "all": "[{say: All.}, {hang_up: true}]"}
    texts |= {"down": "[{say: Gone.}, {hang_up: true}]"}
    (folder / "held.yaml").write_text(PLAN.format(first=actions, second=actions, **texts), "utf-8")
    plan = load_dialplan(folder / "held.yaml")
    facts = CallFacts(to="1", from_="+491", at=NOON)
    driver = Driver(plan, facts, held)
    for event in before:
        driver.happen(event)
    assert driver.call.state is CallState.ACTING
    events = [*before, x.KeyPressed("0")]
    if zero == KEPT:  # what is heard goes on, and ends; else it ends, or begins again
        driver.happen(events[-1])
        driver.release()
    else:
        driver.held = ""
        driver.happen(events[-1])
    while driver.call.state is CallState.TRANSFERRING:
        events.append(x.TransferEnd.BUSY)
        driver.happen(events[-1])
    assert_alike(plan, facts, events, driver)


@pytest.mark.heavy
@settings(max_examples=40, deadline=None)
@given(text=plans(), random=st.randoms(use_true_random=False))
def test_a_rehearsed_call_goes_as_a_call_goes(folder: Path, text: str, random: Random) -> None:
    file = folder / "both.yaml"
    file.write_text(text, "utf-8")
    try:
        plan = load_dialplan(file)
    except ConfigurationError as error:
        if all("never reached" in problem.message for problem in error.problems):
            reject()
        raise
    for _ in range(20):
        compare(plan, random.choice, random.randint(0, 7))
