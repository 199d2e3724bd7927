"""What may become of a call, as a tree: each action with what it comes to, each choice, each stand-in, each escalation.

An escalation stands below the session that it may fire in, and one by a key below the first step that the key ends.

Pure, and at one instant: opening hours are as they stand then. A route that is told already is not told again, so a
circle of choices ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.dialplan.actions import (
    WORDS,
    Action,
    CallbackAction,
    CollectAction,
    GotoAction,
    HookAction,
    MenuAction,
    PlayAction,
    Prompt,
    QueueAction,
    SayAction,
    SessionAction,
    SetAction,
    ToneAction,
    TransferAction,
    VoicemailAction,
    WaitAction,
    is_protected,
)
from gateway.dialplan.contacts import Contact
from gateway.dialplan.facts import CallFacts
from gateway.dialplan.mailboxes import EmailNotice, Mailbox
from gateway.dialplan.model import Dialplan
from gateway.dialplan.narration import argument_of, text_of, trigger_text
from gateway.dialplan.template import Template
from gateway.dialplan.triggers import DigitPressed, Escalation
from gateway.errors import counted, shown

_INDENT = "  "
_END_OF_MESSAGE = "#"
_LASTING = (PlayAction, SayAction, ToneAction, WaitAction, CallbackAction, HookAction)
"""What has no use for any key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the story, and what may follow from it. ``kind`` is a word of the plan, ``name`` what it is about."""

    kind: str
    name: str = ""
    details: tuple[str, ...] = ()
    follows: tuple[Step, ...] = ()

    @property
    def text(self) -> str:
        """The line."""
        head = f"{self.kind} {self.name}".strip()
        return f"{head}: {'; '.join(self.details)}" if self.details else head

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The line and those of all that may follow, set in."""
        yield f"{_INDENT * depth}{self.text}"
        for step in self.follows:
            yield from step.lines(depth + 1)

    def document(self) -> Mapping[str, object]:
        """The same for JSON."""
        document: dict[str, object] = {"kind": self.kind, "name": self.name, "details": list(self.details)}
        return {**document, "follows": [step.document() for step in self.follows]} if self.follows else document


@dataclass(slots=True)
class Story:
    """Tells what `plan` may do with a call. `told` are the routes that have been gone to, sessions and escalations."""

    plan: Dialplan
    facts: CallFacts
    told: set[str] = field(default_factory=set)
    variables: dict[str, str] = field(default_factory=dict)
    """Those that are surely set by what has been told so far."""
    named: set[str] = field(default_factory=set)
    """The escalations that are told for what comes before on the way here."""

    def tell(self, actions: Sequence[Action], session: str | None = None) -> tuple[Step, ...]:
        """A step for each action. `session`: the one that is open while they are done."""
        before, named = dict(self.variables), set(self.named)
        steps = tuple(self._step_with_keys(action, session) for action in actions)
        self.variables, self.named = before, named
        return steps

    def _step_with_keys(self, action: Action, session: str | None) -> Step:
        keys = self._keys(action) if session is None else ()
        step = self._step(action, session)
        return replace(step, follows=(*keys, *step.follows))

    def _keys(self, action: Action) -> tuple[Step, ...]:
        """The escalations whose keys end `action`, though there is no session; those of steps before apart."""
        first: dict[str, Escalation] = {}
        for known in self.plan.escalations:
            if isinstance(known.trigger, DigitPressed) and self._may_fire(known, None):
                first.setdefault(known.trigger.digit, known)
        return tuple(
            self._escalation(known, None)
            for digit, known in first.items()
            if _is_ended_by(action, digit) and known.name not in self.named
        )

    def _step(self, action: Action, session: str | None) -> Step:
        word = WORDS[type(action)]
        match action:
            case GotoAction(route=name):
                return self._goto(name, session)
            case MenuAction():
                return self._menu(action, session)
            case CollectAction():
                least = "" if action.least == action.most else f"{action.least} to "
                amount = least + counted(action.most, "digit")
                details = (*self._prompt(action.prompt), amount, *_patience(action.wait_s, action.tries))
                details += (f"ends with {action.end}",) if action.end else ()
                ways = self._ways({"failed": action.failed}, session)
                return Step(kind=word, name=action.into, details=details, follows=ways)
            case HookAction():
                details = (f"{action.request.method}, within {action.request.timeout_s:g}s",)
                return Step(kind=word, details=details, follows=self._ways({"failed": action.failed}, session))
            case TransferAction(contact=name, number=number):
                dialled = () if number is None else (f"number {self._text(number)}",)
                return self._contact(word, self.plan.contacts[name], dialled)
            case QueueAction(contact=name):
                return self._contact(word, self.plan.contacts[name], ())
            case VoicemailAction(mailbox=name) | CallbackAction(mailbox=name):
                return self._mailbox(word, self.plan.mailboxes[name])
            case SessionAction(name=name):
                return self._session(name)
            case _:
                name = argument_of(self.plan, action, self.facts, self.variables)
                if isinstance(action, SetAction):
                    self.variables |= {key: self._text(text) for key, text in action.values.items()}
                return Step(kind=word, name=name, details=("to its end",) if is_protected(action) else ())

    def _text(self, template: Template) -> str:
        return text_of(self.plan, template, self.facts, self.variables)

    def _goto(self, name: str, session: str | None) -> Step:
        if name in self.told:
            return Step(kind="goto", name=name, details=("as told already",))
        self.told.add(name)
        route = next(route for route in self.plan.routes if route.name == name)
        return Step(kind="goto", name=name, follows=self.tell(route.actions, session))

    # Choices.

    def _menu(self, menu: MenuAction, session: str | None) -> Step:
        choices = tuple(
            Step(
                kind="key",
                name=key,
                details=(f"or {', '.join(menu.words[key])}",) if key in menu.words else (),
                follows=self.tell(actions, session),
            )
            for key, actions in menu.choices.items()
        )
        ways = self._ways({"other": menu.otherwise, "timeout": menu.timeout}, session)
        details = (*self._prompt(menu.prompt), *_patience(menu.wait_s, menu.tries))
        return Step(kind="menu", details=details, follows=choices + ways)

    def _ways(self, ways: Mapping[str, Sequence[Action] | None], session: str | None) -> tuple[Step, ...]:
        return tuple(
            Step(kind=way, details=("goes on behind it",))
            if actions is None
            else Step(kind=way, follows=self.tell(actions, session))
            for way, actions in ways.items()
        )

    def _prompt(self, prompt: Prompt | None) -> tuple[str, ...]:
        match prompt:
            case SayAction(text=text):
                return (f"says {shown(self._text(text))!r}",)
            case PlayAction(file=file):
                return (f"plays {file}",)
            case _:
                return ()

    # People and mailboxes.

    def _contact(self, word: str, contact: Contact, more: tuple[str, ...], chain: tuple[str, ...] = ()) -> Step:
        details = (*self._way_to(contact), *more)
        if contact.hours is not None:
            local = self.facts.at.astimezone(self.plan.zone)
            details += (f"{contact.hours} {self.plan.hours[contact.hours].state(local)}",)
        return Step(kind=word, name=contact.name, details=details, follows=self._stand_ins(contact, chain))

    def _way_to(self, contact: Contact) -> tuple[str, ...]:
        dialled = ", ".join(str(target) for target in contact.targets) or (
            contact.pattern.text if contact.pattern else ""
        )
        details = [f"{contact.mode.value} to {dialled}", f"each rings {contact.ring_s:g}s"]
        details += [f"by trunk {contact.trunk}"] if contact.trunk else []
        details += ["the model asks the caller first"] if contact.confirm else []
        if contact.acceptance:
            accept = contact.acceptance
            details.append(f"{accept.key} takes the call within {accept.wait_s:g}s, {accept.refuse} does not")
        details += [f"told by {', '.join(sorted(way.value for way in contact.ways))}"] if contact.ways else []
        details += [f"at most {counted(contact.quota.per_call, 'time')} a call"] if contact.quota.per_call else []
        details += [f"at most {counted(contact.quota.per_hour, 'time')} an hour"] if contact.quota.per_hour else []
        return tuple(details)

    def _stand_ins(self, contact: Contact, chain: tuple[str, ...]) -> tuple[Step, ...]:
        if contact.mailbox is not None:
            keys = self._keys(VoicemailAction(mailbox=contact.mailbox))
            step = self._mailbox("else", self.plan.mailboxes[contact.mailbox])
            return (replace(step, follows=(*keys, *step.follows)),)
        if contact.otherwise is None or contact.otherwise in chain:
            return ()
        return (self._contact("else", self.plan.contacts[contact.otherwise], (), (*chain, contact.name)),)

    def _mailbox(self, word: str, mailbox: Mailbox) -> Step:
        details = [*self._prompt(mailbox.prompt)]
        details += ["beep"] if mailbox.has_beep else []
        details += [f"at most {mailbox.limit_s:g}s", f"ends after {mailbox.silence_s:g}s of silence"]
        details += ["written down"] if mailbox.has_transcript else []
        notices = tuple(
            Step(kind="email", name=", ".join(notice.to), details=("with the recording",) if notice.attaches else ())
            if isinstance(notice, EmailNotice)
            else Step(kind="webhook", details=(notice.request.method,))
            for notice in mailbox.notices
        )
        name = f"{'mailbox ' if word == 'else' else ''}{mailbox.name}"
        is_wish = word == "callback"
        return Step(kind=word, name=name, details=() if is_wish else tuple(details), follows=notices)

    # Sessions.

    def _session(self, name: str) -> Step:
        session = self.plan.sessions[name]
        details = [f"uses {session.use}"]
        details += [f"first {told}, to its end" for prompt in session.protected for told in self._prompt(prompt)]
        details += [f"greets {shown(session.greeting)!r}"] if session.greeting else []
        details += [f"tools {', '.join(session.tools)}"] if session.tools else []
        details += [f"recorded (consent: {session.record.consent.value})"] if session.record else []
        details += (
            [f"at most {counted(session.limits.minutes, 'minute')}"] if session.limits.minutes is not None else []
        )
        details += [f"at most {session.limits.money} USD"] if session.limits.money is not None else []
        may_fire = [known for known in self.plan.escalations if self._may_fire(known, name)]
        if f"session {name}" in self.told:
            return Step(kind="session", name=name, details=(*details, "as told already"))
        self.told.add(f"session {name}")
        self.named |= {known.name for known in may_fire}
        return Step(
            kind="session",
            name=name,
            details=tuple(details),
            follows=tuple(self._escalation(known, name) for known in may_fire),
        )

    def _may_fire(self, escalation: Escalation, session: str | None) -> bool:
        return self.plan.holds(escalation.circumstances, self.facts, self.facts.at, session)

    def _escalation(self, escalation: Escalation, session: str | None) -> Step:
        details = (f"when {trigger_text(escalation.trigger)}",)
        name = f"escalation {escalation.name}"
        self.named.add(escalation.name)
        if name in self.told:
            return Step(kind="escalation", name=escalation.name, details=(*details, "as told already"))
        self.told.add(name)
        follows = self.tell(escalation.actions, session)
        return Step(kind="escalation", name=escalation.name, details=details, follows=follows)


def _is_ended_by(action: Action, digit: str) -> bool:
    """Whether a key that an escalation waits for ends `action`."""
    match action:
        case MenuAction(choices=choices):
            return digit not in choices
        case CollectAction(end=end):
            return not digit.isdigit() and digit != end
        case VoicemailAction():
            return digit != _END_OF_MESSAGE
        case _:
            return isinstance(action, _LASTING) and not is_protected(action)


def _patience(wait_s: float, tries: int) -> tuple[str, ...]:
    return f"waits {wait_s:g}s", counted(tries, "try", "tries")
