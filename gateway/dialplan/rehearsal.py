"""A call of a plan's ``tests``, gone through without telephone, network or clock: what is done, and what it waits for.

::

            ┌─────────────── goto, choices, answers of hooks ──────────────┐
    DOING ──┼─ menu, collect ─> ASKING ── key, words, digits, timeout ─────┤
            ├─ hook ──────────> HOOKED ── its answer, or none ─────────────┤
            ├─ session ───────> TALKING ─ escalations ─────────────────────┘
            └─ nothing left, reject, hang_up, a contact that answers ─> OVER

A key behind which the call is over already was pressed while the last thing was heard that a key may end: a text, a
pause, a message. A transfer without an event that tells its end is taken for one that fails: what stands behind it is
gone through, too.
What a real call does of the same plan is decided by `gateway.calls`; both have to come to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, auto

from gateway.dialplan.actions import (
    Action,
    CallbackAction,
    CollectAction,
    GotoAction,
    HangUpAction,
    HangUpAfterAction,
    HookAction,
    MenuAction,
    PlayAction,
    Prompt,
    QueueAction,
    RejectAction,
    SayAction,
    SessionAction,
    SetAction,
    ToneAction,
    TransferAction,
    VoicemailAction,
    WaitAction,
    is_protected,
    keeps_talking,
)
from gateway.dialplan.contacts import Contact
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
from gateway.dialplan.phrases import is_echo, key_for
from gateway.dialplan.setting_off import is_used_up, levels, sets_off
from gateway.dialplan.template import MAX_VALUE_CHARACTERS, Template
from gateway.dialplan.triggers import (
    DigitPressed,
    Escalation,
    SilentFor,
)
from gateway.errors import counted, shown

MAX_ACTIONS = 1000
_LASTING = (PlayAction, SayAction, ToneAction, WaitAction, VoicemailAction, CallbackAction)
"""What takes its time, and ends by a key of an escalation."""
_END_OF_MESSAGE = "#"


class Standing(Enum):
    """Where a rehearsed call stands."""

    DOING = auto()
    ASKING = auto()
    HOOKED = auto()
    TALKING = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """How the call stood while `action` was heard."""

    action: Action
    left: tuple[Action, ...]
    variables: Mapping[str, str]
    session: str | None


class Rehearsal:
    """One call. `done` is what has been done since the last escalation, prompts of choices included."""

    def __init__(self, plan: Dialplan, facts: CallFacts, actions: Sequence[Action]) -> None:
        self.standing = Standing.DOING
        self.done: list[Action] = []
        self.variables: dict[str, str] = {**plan.variables, **facts.given}
        self.called: list[str] = []
        """The contacts that were called since the last escalation, after their hours and whoever stands in."""
        self.resumed: list[int] = []
        """Where in `done` a session was wanted that was open, and went on."""
        self.problem = ""
        """Why an event could not happen."""
        self._plan = plan
        self._facts = facts
        self._left = list(actions)
        self._choice: MenuAction | CollectAction | HookAction | None = None
        self._tries = 0
        self._digits = ""
        self._session: str | None = None
        self._fired: set[str] = set()
        self._due: list[Escalation] = []  # set off while others are gone through
        self._granted: Counter[str] = Counter()  # calls of contacts
        self._told: list[Prompt] = []  # protected prompts of sessions that were heard
        self._refused = ""  # why the last transfer called nobody
        self._unknown = ""  # the contact of whom nobody said whether it answers
        self._is_leaving = False
        self._moment: _Moment | None = None  # the last one in which a key could be pressed, since the last event

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
                self._fire_due(waiting)

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
        self._note(action)
        match action:
            case SetAction(values=values):
                self.done.append(action)
                self._set({name: self.text(template) for name, template in values.items()})
            case GotoAction(route=name):
                self.done.append(action)
                self._left = list(next(route.actions for route in self._plan.routes if route.name == name))
            case MenuAction() | CollectAction():
                self.done += [action, *([self._heard(action.prompt)] if action.prompt else [])]
                self._choice, self._tries, self._digits = action, action.tries, ""
                self.standing = Standing.ASKING
            case HookAction():
                self.done.append(action)
                self._choice, self.standing = action, Standing.HOOKED
            case SessionAction(name=name):
                self.done += [*self._protected(name), action]
                self.resumed += [len(self.done) - 1] if name == self._session else []
                self._session, self._left, self.standing = name, [], Standing.TALKING
            case RejectAction() | HangUpAction():
                self.done.append(action)
                self._end()
            case TransferAction() | QueueAction():
                self.done.append(action)
                self._transfer(action, waiting)
            case SayAction():
                self.done.append(self._heard(action))
            case HangUpAfterAction():
                self.done.append(action)
                self._is_leaving = True
            case _:
                self.done.append(action)

    def _note(self, action: Action) -> None:
        if isinstance(action, _LASTING) and not is_protected(action):
            self._moment = _Moment(
                action=action, left=tuple(self._left), variables=dict(self.variables), session=self._session
            )

    def _heard(self, prompt: Prompt) -> Prompt:
        """What is heard now, whatever becomes of the variables later."""
        if not isinstance(prompt, SayAction):
            return prompt
        return replace(prompt, text=Template(parts=(self.text(prompt.text),)))

    def _protected(self, session: str) -> list[Prompt]:
        """What is heard before a session, once in a call."""
        new = [prompt for prompt in self._plan.sessions[session].protected if prompt not in self._told]
        self._told += new
        return [self._heard(prompt) for prompt in new]

    def _transfer(self, action: TransferAction | QueueAction, waiting: list[ExampleEvent]) -> None:
        contact, self._refused, mailbox = self._grant(action)
        if contact is None:
            self._leave_message(mailbox)
            return
        told = waiting[0] if waiting and isinstance(waiting[0], TransferEnd) else None
        if told is not None:
            waiting.pop(0)
        self._moment = None
        self.called.append(contact.name)
        self._granted[contact.name] += 1
        if told is TransferEnd.ANSWERED:
            self._end()
        elif told is None:
            self._session, self._unknown = None, contact.name
        else:
            self._leave_message(contact.mailbox)

    def _grant(self, action: TransferAction | QueueAction) -> tuple[Contact | None, str, str | None]:
        """Who is called; or None, why nobody is, and the mailbox that takes the caller instead."""
        resolved = self._plan.resolve_transfer(action.contact, self._facts.at)
        if isinstance(resolved, TransferRefused):
            return None, resolved.message, resolved.mailbox
        contact = self._plan.contacts[resolved.contact]
        if contact.pattern is not None:
            written = action.number if isinstance(action, TransferAction) else None
            number = "" if written is None else self.text(written)
            if contact.target_of(number) is None:
                return None, f"{contact.name} takes other numbers than {shown(number)!r}", None
        per_call = contact.quota.per_call
        if per_call is not None and self._granted[contact.name] >= per_call:
            at_most = counted(per_call, "transfer")
            return None, f"no more than {at_most} to {contact.name} in one call (quota.per_call)", None
        return contact, "", None

    def _leave_message(self, mailbox: str | None) -> None:
        """A message is taken in the place of whoever was not reached; the caller does not go back to the model."""
        if mailbox is not None:
            self._session = None
            self._do(VoicemailAction(mailbox=mailbox), [])

    def _set(self, values: Mapping[str, str]) -> None:
        self.variables |= {name: text[:MAX_VALUE_CHARACTERS] for name, text in values.items()}

    def _end(self) -> None:
        self._session, self._left, self.standing = None, [], Standing.OVER

    # What happens.

    def _happen(self, event: ExampleEvent, waiting: list[ExampleEvent]) -> None:
        moment, self._moment = self._moment, None
        if isinstance(event, KeyPressed | DigitsEntered):
            self._is_leaving = False
        if isinstance(event, KeyPressed) and moment is not None and self._is_within(moment, event):
            self._go_back(moment)
            self._escalate_by_key(event, moment.action)
            return
        if isinstance(event, KeyPressed) and self._is_free(event.digit) and self._escalate_by_key(event, self._choice):
            return
        match self.standing, self._choice, event:
            case Standing.ASKING, MenuAction() as menu, KeyPressed() | NothingDone():
                self._choose(menu, event)
            case Standing.ASKING, MenuAction(words=words) as menu, WordsSaid() if words:
                self._choose(menu, event)
            case Standing.ASKING, CollectAction() as collect, DigitsEntered() | KeyPressed() | NothingDone():
                self._collect(collect, event)
            case Standing.HOOKED, HookAction() as hook, HookAnswer():
                self._follow(hook, event)
            case Standing.TALKING, _, _:
                self._talk(event, waiting)
            case _:
                self.problem = self._refusal(event)

    def _escalate_by_key(self, event: KeyPressed, under_way: Action | None) -> bool:
        """Whether an escalation waits for the key, and fires while `under_way` is done."""
        escalation = self._first(event)
        if escalation is None:
            return False
        if keeps_talking(escalation.actions):
            self._do_besides(escalation, under_way)
        else:
            self._fire(escalation)
        return True

    def _do_besides(self, escalation: Escalation, under_way: Action | None) -> None:
        """Its actions end nothing: what is under way goes on, or begins again where something is said."""
        left = self._left
        if any(isinstance(action, SayAction) for action in escalation.actions):
            self._fire(escalation)
            self._left += [*([under_way] if under_way is not None else []), *left]
            return
        self._fired.add(escalation.name)
        self.done, self.called, self.resumed = [], [], []
        for action in escalation.actions:
            self._do(action, [])

    def _is_within(self, moment: _Moment, event: KeyPressed) -> bool:
        """Whether the key was pressed then: the call is over, and an escalation waited for it."""
        is_own = isinstance(moment.action, VoicemailAction) and event.digit == _END_OF_MESSAGE
        is_past = self.standing is Standing.OVER and not self._unknown and not is_own
        return is_past and self._first(event, session=moment.session) is not None

    def _go_back(self, moment: _Moment) -> None:
        """The call is not over: `moment` is now."""
        self.variables, self._session = dict(moment.variables), moment.session
        self._left, self._choice, self.standing = list(moment.left), None, Standing.DOING

    def _is_free(self, digit: str) -> bool:
        """Whether what is under way has no use for this key, which is then an escalation's, session or not."""
        match self.standing, self._choice:
            case Standing.ASKING, MenuAction(choices=choices):
                return digit not in choices
            case Standing.ASKING, CollectAction(end=end):
                return not digit.isdigit() and digit != end
            case standing, _:
                return standing is Standing.HOOKED

    def _refusal(self, event: ExampleEvent) -> str:
        what = event_text(event)
        if isinstance(event, TransferEnd) and self._refused:
            return f"{what} happens, but nobody is called: {self._refused}"
        if self.standing is Standing.TALKING:
            return f"{what} happens in a session, where nothing waits for it"
        if self.standing is Standing.ASKING:
            asked = ("menu without words" if isinstance(event, WordsSaid) else "menu") if self._is_menu else "collect"
            return f"{what} happens while the caller is asked by {asked}"
        if self.standing is Standing.HOOKED:
            return f"{what} happens while a hook is asked; expected hook: ... before it"
        if self._unknown:
            end = f"what became of the transfer to {self._unknown}"
            return f"{what} happens, and nobody said {end}; expected transfer: busy, for example, before it"
        return f"{what} happens outside a session, where nothing reacts"

    @property
    def _is_menu(self) -> bool:
        return isinstance(self._choice, MenuAction)

    def _choose(self, menu: MenuAction, event: KeyPressed | WordsSaid | NothingDone) -> None:
        if isinstance(event, NothingDone):
            self._go_on(menu.timeout)
            return
        prompt = self.text(menu.prompt.text) if isinstance(menu.prompt, SayAction) else ""
        if isinstance(event, WordsSaid) and is_echo(event.text, prompt):
            self.problem = f"{event_text(event)} holds words of the prompt alone, and counts as its echo"
            return
        key = event.digit if isinstance(event, KeyPressed) else key_for(event.text, menu.words)
        chosen = None if key is None else menu.choices.get(key)
        if chosen is None:
            self._fail(menu.otherwise)
        else:
            self._go_on(chosen)
        if isinstance(event, WordsSaid) and self._choice is None:
            self._is_leaving = False

    def _collect(self, collect: CollectAction, event: DigitsEntered | KeyPressed | NothingDone) -> None:
        """Keys come one by one; a number that is entered is followed by a pause, and by nothing more."""
        keys = event.digit if isinstance(event, KeyPressed) else getattr(event, "digits", "")
        for key in keys:
            self._digits += key if key.isdigit() else ""
            if key == collect.end or len(self._digits) >= collect.most:
                self._settle(collect)
                return
        if not isinstance(event, KeyPressed):
            self._tries = 0 if isinstance(event, NothingDone) else self._tries
            self._settle(collect)

    def _settle(self, collect: CollectAction) -> None:
        digits, self._digits = self._digits, ""
        if len(digits) >= collect.least:
            self._set({collect.into: digits})
            self._go_on(None)
        else:
            self._fail(collect.failed)

    def _follow(self, hook: HookAction, answer: HookAnswer) -> None:
        self._set(answer.values)
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
            self.problem = self._refusal(event)
        elif isinstance(event, NothingDone):
            self.done.append(HangUpAction())
            self._end()
        elif isinstance(event, ProviderLost) or is_used_up(event):
            self._lose(event)
        else:
            if isinstance(event, KeyPressed | WordsSaid):
                self._is_leaving = False
            self._set_off(event)
            self._fire_due(waiting)

    def _lose(self, event: ExampleEvent) -> None:
        """The model is gone: what the plan has for that follows, else nothing does."""
        for level in levels(self._plan, event):
            escalation = self._first(event, level)
            if escalation is not None and (isinstance(event, ProviderLost) or level == 1):
                self._session = None
                self._fire(escalation)
                return
        self._end()

    def _set_off(self, event: ExampleEvent) -> None:
        """One escalation, of what is counted one for each step of the way: of several the first in the plan."""
        for level in levels(self._plan, event):
            if (escalation := self._first(event, level)) is not None:
                self._due.append(escalation)

    def _fire_due(self, waiting: list[ExampleEvent]) -> None:
        """What was set off is done one after the other, each while the caller is with the model."""
        while self._due and self.standing is Standing.TALKING and not self.problem:
            self._fire(self._due.pop(0))
            self._carry_on(waiting)

    def _fire(self, escalation: Escalation) -> None:
        self._fired.add(escalation.name)
        self.done, self.called, self.resumed = [], [], []
        self._left, self._choice = list(escalation.actions), None
        self.standing = Standing.DOING

    def _first(
        self, event: ExampleEvent, level: Decimal | None = None, session: str | None = None
    ) -> Escalation | None:
        """The first escalation of the plan that `event` sets off; in `session`, if the call is over."""
        at = session or self._session
        return next((e for e in self._plan.escalations if sets_off(e, event, level) and self._is_armed(e, at)), None)

    def _is_armed(self, escalation: Escalation, session: str | None) -> bool:
        is_repeated = isinstance(escalation.trigger, DigitPressed | SilentFor)
        is_due = is_repeated or (escalation.name not in self._fired and escalation not in self._due)
        return is_due and self._plan.holds(escalation.circumstances, self._facts, self._facts.at, session)


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
