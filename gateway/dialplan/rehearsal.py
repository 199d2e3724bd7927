"""A call of a plan's ``tests``, gone through without telephone, network or clock: what is done, and what it waits for.

::

            ┌─────────────── goto, choices, answers of hooks ──────────────┐
    DOING ──┼─ menu, collect ─> ASKING ── key, words, digits, timeout ─────┤
            ├─ hook ──────────> HOOKED ── its answer, or none ─────────────┤
            ├─ session ───────> TALKING ─ escalations ─────────────────────┘
            └─ nothing left, reject, hang_up, a contact that answers ─> OVER

A transfer without an event that tells its end is taken for one that fails: what stands behind it is gone through, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum, auto

from gateway.dialplan.actions import (
    Action,
    CollectAction,
    GotoAction,
    HangUpAction,
    HangUpAfterAction,
    HookAction,
    MenuAction,
    QueueAction,
    RejectAction,
    SessionAction,
    SetAction,
    TransferAction,
    VoicemailAction,
)
from gateway.dialplan.examples import (
    Advised,
    DigitsEntered,
    ExampleEvent,
    Happening,
    HookAnswer,
    KeyPressed,
    LanguageChanged,
    MoodReported,
    NothingDone,
    ProviderLost,
    Reached,
    TransferEnd,
    WordsSaid,
)
from gateway.dialplan.facts import CallFacts
from gateway.dialplan.model import Dialplan, TransferRefused
from gateway.dialplan.phrases import parse_phrase
from gateway.dialplan.template import Template
from gateway.dialplan.triggers import (
    BudgetUsed,
    CostOver,
    DigitPressed,
    Escalation,
    LanguageHeard,
    LastedFor,
    NotUnderstood,
    ProviderDown,
    Repeated,
    Said,
    SentimentReported,
    SilentFor,
    ToolsFailed,
    Trigger,
    VerdictGiven,
)

MAX_ACTIONS = 1000


class Standing(Enum):
    """Where a rehearsed call stands."""

    DOING = auto()
    ASKING = auto()
    HOOKED = auto()
    TALKING = auto()
    OVER = auto()


class Rehearsal:
    """One call. `done` is what has been done since the last escalation, prompts of choices included."""

    def __init__(self, plan: Dialplan, facts: CallFacts, actions: Sequence[Action]) -> None:
        self.standing = Standing.DOING
        self.done: list[Action] = []
        self.variables: dict[str, str] = {**plan.variables, **facts.given}
        self.problem = ""
        """Why an event could not happen."""
        self._plan = plan
        self._facts = facts
        self._left = list(actions)
        self._choice: MenuAction | CollectAction | HookAction | None = None
        self._tries = 0
        self._session: str | None = None
        self._fired: set[str] = set()
        self._is_leaving = False

    def run(self, events: Sequence[ExampleEvent]) -> None:
        """Go through the call until nothing happens any more, or `problem` says what cannot happen."""
        waiting = list(events)
        self._carry_on(waiting)
        while waiting and not self.problem:
            event = waiting.pop(0)
            if isinstance(event, DigitsEntered) and self.standing is Standing.TALKING:
                waiting[:0] = [KeyPressed(digit) for digit in event.digits]
            else:
                self._happen(event, waiting)
                self._carry_on(waiting)

    def text(self, template: Template) -> str:
        """A text of the plan, filled in plainly."""
        return self._plan.text(template, self._facts, self.variables)

    # What is done.

    def _carry_on(self, waiting: list[ExampleEvent]) -> None:
        if self.standing is not Standing.DOING:
            return
        for _ in range(MAX_ACTIONS):
            if not self._left:
                self.standing = Standing.TALKING if self._session else Standing.OVER
            else:
                self._do(self._left.pop(0), waiting)
            if self.standing is not Standing.DOING:
                return
        self._end()

    def _do(self, action: Action, waiting: list[ExampleEvent]) -> None:
        match action:
            case SetAction(values=values):
                self.done.append(action)
                self.variables |= {name: self.text(template) for name, template in values.items()}
            case GotoAction(route=name):
                self.done.append(action)
                self._left = list(next(route.actions for route in self._plan.routes if route.name == name))
            case MenuAction() | CollectAction():
                self.done += [action, *([action.prompt] if action.prompt else [])]
                self._choice, self._tries, self.standing = action, action.tries, Standing.ASKING
            case HookAction():
                self.done.append(action)
                self._choice, self.standing = action, Standing.HOOKED
            case SessionAction(name=name):
                self.done.append(action)
                self._session, self._left, self.standing = name, [], Standing.TALKING
            case RejectAction() | HangUpAction():
                self.done.append(action)
                self._end()
            case TransferAction() | QueueAction():
                self.done.append(action)
                self._transfer(action, waiting)
            case HangUpAfterAction():
                self.done.append(action)
                self._is_leaving = True
            case _:
                self.done.append(action)

    def _transfer(self, action: TransferAction | QueueAction, waiting: list[ExampleEvent]) -> None:
        resolved = self._plan.resolve_transfer(action.contact, self._facts.at)
        told = waiting[0] if waiting and isinstance(waiting[0], TransferEnd) else None
        if told is None:
            self._session = None
        else:
            waiting.pop(0)
        if isinstance(resolved, TransferRefused):
            if told is not None:
                self.problem = f"transfer {told.value} happens, but nobody is called: {resolved.message}"
            self._leave_message(resolved.mailbox)
        elif told is TransferEnd.ANSWERED:
            self._end()
        elif told is not None:
            self._leave_message(self._plan.contacts[resolved.contact].mailbox)

    def _leave_message(self, mailbox: str | None) -> None:
        if mailbox is not None:
            self.done.append(VoicemailAction(mailbox=mailbox))

    def _end(self) -> None:
        self._session, self._left, self.standing = None, [], Standing.OVER

    # What happens.

    def _happen(self, event: ExampleEvent, waiting: list[ExampleEvent]) -> None:
        if isinstance(event, KeyPressed) and self._is_free(event.digit) and self._has_escalation(event):
            self._fire(event, waiting)
            return
        match self.standing, self._choice, event:
            case Standing.ASKING, MenuAction() as menu, KeyPressed() | WordsSaid() | NothingDone():
                self._choose(menu, event)
            case Standing.ASKING, CollectAction() as collect, DigitsEntered() | KeyPressed() | NothingDone():
                self._collect(collect, event)
            case Standing.HOOKED, HookAction() as hook, HookAnswer():
                self._follow(hook, event)
            case Standing.TALKING, _, _:
                self._talk(event, waiting)
            case _:
                self.problem = self._refusal(event)

    def _is_free(self, digit: str) -> bool:
        """Whether a question is open that has no use for this key, which is then an escalation's."""
        match self.standing, self._choice:
            case Standing.ASKING, MenuAction(choices=choices):
                return digit not in choices
            case Standing.ASKING, CollectAction(end=end):
                return not digit.isdigit() and digit != end
            case _:
                return False

    def _has_escalation(self, event: ExampleEvent) -> bool:
        return bool(self._session) and any(self._is_armed(known) for known in firing(self._plan, event))

    def _refusal(self, event: ExampleEvent) -> str:
        what = event_text(event)
        if self.standing is Standing.ASKING:
            return f"{what} happens while the caller is asked by {'menu' if self._is_menu else 'collect'}"
        if self.standing is Standing.HOOKED:
            return f"{what} happens while a hook is asked; expected hook: ... before it"
        return f"{what} happens outside a session, where nothing reacts"

    @property
    def _is_menu(self) -> bool:
        return isinstance(self._choice, MenuAction)

    def _choose(self, menu: MenuAction, event: KeyPressed | WordsSaid | NothingDone) -> None:
        if isinstance(event, NothingDone):
            self._go_on(menu.timeout)
            return
        key = event.digit if isinstance(event, KeyPressed) else _key_for(event.text, menu)
        chosen = None if key is None else menu.choices.get(key)
        if chosen is None:
            self._fail(menu.otherwise)
        else:
            self._go_on(chosen)

    def _collect(self, collect: CollectAction, event: DigitsEntered | KeyPressed | NothingDone) -> None:
        if isinstance(event, NothingDone):
            self._go_on(collect.failed)
            return
        pressed = event.digits if isinstance(event, DigitsEntered) else event.digit
        digits = "".join(key for key in pressed.partition(collect.end or "\0")[0] if key.isdigit())[: collect.most]
        if len(digits) >= collect.least:
            self.variables[collect.into] = digits
            self._go_on(None)
        else:
            self._fail(collect.failed)

    def _follow(self, hook: HookAction, answer: HookAnswer) -> None:
        self.variables |= answer.values
        self._go_on(hook.failed if answer.actions is None else answer.actions)

    def _fail(self, actions: Sequence[Action] | None) -> None:
        """One of the tries was used up."""
        self._tries -= 1
        if self._tries <= 0:
            self._go_on(actions)

    def _go_on(self, actions: Sequence[Action] | None) -> None:
        self._left[:0] = actions or ()
        self._choice, self.standing = None, Standing.DOING

    def _talk(self, event: ExampleEvent, waiting: list[ExampleEvent]) -> None:
        if isinstance(event, TransferEnd | HookAnswer) or (isinstance(event, NothingDone) and not self._is_leaving):
            self.problem = f"{event_text(event)} happens in a session, where nothing waits for it"
        elif isinstance(event, NothingDone):
            self.done.append(HangUpAction())
            self._end()
        elif isinstance(event, KeyPressed | WordsSaid):
            self._is_leaving = False
        self._fire(event, waiting)

    def _fire(self, event: ExampleEvent, waiting: list[ExampleEvent]) -> None:
        """Do what escalations have for it, one after the other while the session is open."""
        for escalation in firing(self._plan, event):
            if self._session and self.standing is not Standing.OVER and self._is_armed(escalation):
                self._fired.add(escalation.name)
                self.done, self._left, self._choice = [], list(escalation.actions), None
                self.standing = Standing.DOING
                self._carry_on(waiting)

    def _is_armed(self, escalation: Escalation) -> bool:
        is_repeated = isinstance(escalation.trigger, DigitPressed | SilentFor)
        is_due = is_repeated or escalation.name not in self._fired
        return is_due and self._plan.holds(escalation.circumstances, self._facts, self._facts.at, self._session)


# What sets what off --------------------------------------------------------------------------------------------------


def firing(plan: Dialplan, event: ExampleEvent) -> list[Escalation]:
    """The escalations that wait for what has happened: in the order of the plan, what is counted by how much."""
    found = [known for known in plan.escalations if _fires(known, event)]
    return sorted(found, key=lambda known: _threshold(known.trigger) or Decimal(0))


def _fires(escalation: Escalation, event: ExampleEvent) -> bool:
    trigger = escalation.trigger
    match trigger, event:
        case DigitPressed(digit=digit), KeyPressed():
            return digit == event.digit
        case Said(phrases=phrases), WordsSaid():
            return any(parse_phrase(phrase).is_in(event.text) for phrase in phrases)
        case LanguageHeard(languages=languages), LanguageChanged():
            return event.language in languages
        case SentimentReported(kinds=kinds), MoodReported():
            return event.kind in kinds
        case VerdictGiven(), Advised():
            return event.escalation == escalation.name
        case ProviderDown(), ProviderLost():
            return True
        case _, Reached():
            threshold = _threshold(trigger)
            return threshold is not None and _HAPPENINGS[type(trigger)] is event.what and event.amount >= threshold
        case _:
            return False


_HAPPENINGS: dict[type[Trigger], Happening] = {
    ToolsFailed: Happening.FAILED_TOOLS,
    Repeated: Happening.REPEATS,
    SilentFor: Happening.SILENCE,
    NotUnderstood: Happening.NOT_UNDERSTOOD,
    LastedFor: Happening.MINUTES,
    CostOver: Happening.COST_OVER,
    BudgetUsed: Happening.BUDGET,
}


def _threshold(trigger: Trigger) -> Decimal | None:
    match trigger:
        case ToolsFailed(count=number) | Repeated(times=number) | NotUnderstood(turns=number):
            return Decimal(number)
        case SilentFor(seconds=amount) | LastedFor(minutes=amount) | BudgetUsed(share=amount):
            return Decimal(str(amount))
        case CostOver(usd=usd):
            return usd
        case _:
            return None


def _key_for(text: str, menu: MenuAction) -> str | None:
    said = ((key, phrase) for key, phrases in menu.words.items() for phrase in phrases)
    return next((key for key, phrase in said if parse_phrase(phrase).is_in(text)), None)


def event_text(event: ExampleEvent) -> str:
    """An event as a plan writes it."""
    match event:
        case KeyPressed(digit=digit):
            return f"dtmf {digit}"
        case DigitsEntered(digits=digits):
            return f"digits {digits}"
        case WordsSaid(text=text):
            return f"said {text!r}"
        case NothingDone():
            return "timeout"
        case Reached(what=what, amount=amount):
            return f"{what.value} {f'{float(amount) * 100:g}%' if what is Happening.BUDGET else amount}"
        case LanguageChanged(language=language):
            return f"language {language}"
        case MoodReported(kind=kind):
            return f"sentiment {kind}"
        case ProviderLost():
            return "provider_down"
        case Advised(escalation=name):
            return f"webhook {name}"
        case HookAnswer():
            return "hook"
        case TransferEnd():
            return f"transfer {event.value}"
