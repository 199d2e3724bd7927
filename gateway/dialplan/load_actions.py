"""Actions as a plan writes them into actions, or into what is wrong with them: ``do`` and every way out of a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.dialplan.action_source import (
    NO_KEY,
    TONE_S,
    ActionSource,
    CollectSource,
    HookSource,
    MenuSource,
    TransferSource,
)
from gateway.dialplan.actions import (
    Action,
    AnswerAction,
    AnswersAction,
    CallbackAction,
    CollectAction,
    GotoAction,
    HangUpAction,
    HangUpAfterAction,
    HookAction,
    MenuAction,
    PlayAction,
    QueueAction,
    RecordingAction,
    RejectAction,
    RingAction,
    SayAction,
    SessionAction,
    SetAction,
    TellAction,
    Tone,
    ToneAction,
    TransferAction,
    VoicemailAction,
    WaitAction,
)
from gateway.dialplan.hours import may_coincide
from gateway.dialplan.load_contacts import load_prompt
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.phrases import words_of
from gateway.dialplan.source_values import counts
from gateway.errors import shown
from gateway.located import hint

BEEP_S = 0.4

UNANSWERED = (
    RingAction,
    SetAction,
    HookAction,
    CallbackAction,
    RecordingAction,
    AnswersAction,
    TellAction,
    HangUpAfterAction,
    GotoAction,
    RejectAction,
)
"""What needs no answered call."""
LAST = (SessionAction, RejectAction, HangUpAction, GotoAction)
"""What nothing of the same list can follow."""
_OF_SESSIONS = ("tell", "hang_up_after")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLoader:
    """`in_session`: a session is open while they are done, as in escalations. `hours`: they are done in these alone."""

    loading: Loading
    in_session: bool = False
    hours: str = ""

    def load(self, path: Way, written: Sequence[ActionSource], *, is_answered: bool) -> tuple[Action, ...]:
        """The actions of the list at `path`. `is_answered`: the call surely has been, when they are done."""
        actions: list[Action] = []
        for index, action in enumerate(written):
            place = (*path, index)
            self._check_place(place, action, is_answered=is_answered, is_first=not index)
            loaded = self._action(place, action, is_answered=is_answered)
            if actions and is_last(actions[-1]):
                message = "an action that is never reached: the one before it is the last"
                self.loading.note(place, message, "expected it further up, or not at all")
            actions.append(loaded)
            is_answered = is_answered or answers(loaded)
        return tuple(actions)

    def _check_place(self, path: Way, action: ActionSource, *, is_answered: bool, is_first: bool) -> None:
        word = action.word
        if word == "reject" and is_answered:
            message, expected = "'reject' comes too late: the call has been answered", "expected hang_up: true"
            self.loading.note(path, message, expected)
        if word == "ring" and is_answered:
            message, expected = "'ring' comes too late: the call has been answered", "expected tone: ringing"
            self.loading.note(path, message, expected)
        if word == "answer" and is_answered:
            expected = "expected it first, or not at all" if is_first else "expected it further up, or not at all"
            self.loading.note(path, "'answer' has no effect: the call has been answered", expected)
        if word in _OF_SESSIONS and not self.in_session:
            self.loading.note(path, f"{word!r} has no session to act on", "expected it in an escalation")

    def _action(self, path: Way, action: ActionSource, *, is_answered: bool) -> Action:
        at = (*path, action.word)
        match action.word:
            case "menu":
                return self._menu(at, action.menu)
            case "collect":
                return self._collect(at, action.collect)
            case "hook":
                return self._hook(at, action.hook, is_answered=is_answered)
            case "session" | "goto" | "transfer" | "queue" | "voicemail" | "callback":
                return self._way(at, action)
            case "play" | "say" | "tone" | "ring" | "answer" | "wait":
                return self._sound(at, action)
            case _:
                return self._change(at, action)

    def _sound(self, path: Way, action: ActionSource) -> Action:
        match action.word:
            case "play":
                file = self.loading.sound((*path, "file"), action.play.file)
                return PlayAction(file=file, is_protected=action.play.protect)
            case "say":
                if action.say.protect or not self.in_session:
                    self.loading.need_voice(path)
                text = self.loading.text((*path, "text"), action.say.text)
                return SayAction(text=text, is_protected=action.say.protect)
            case "tone":
                default = BEEP_S if action.tone.name is Tone.BEEP else TONE_S
                return ToneAction(tone=action.tone.name, seconds=action.tone.for_ or default)
            case "ring":
                return RingAction(seconds=action.ring)
            case "wait":
                return WaitAction(seconds=action.wait)
            case _:
                return AnswerAction()

    def _way(self, path: Way, action: ActionSource) -> Action:
        match action.word:
            case "session":
                self.loading.refer("sessions", action.session, path)
                return SessionAction(name=action.session)
            case "goto":
                self.loading.refer_route(action.goto, path)
                return GotoAction(route=action.goto)
            case "queue":
                self.loading.refer("contacts", action.queue, path)
                self._check_dialled(path, action.queue)
                self._check_hours(path, action.queue)
                return QueueAction(contact=action.queue)
            case "voicemail":
                self.loading.refer("mailboxes", action.voicemail, path)
                return VoicemailAction(mailbox=action.voicemail)
            case "callback":
                return self._callback(path, action)
            case _:
                return self._transfer(path, action.transfer)

    def _change(self, path: Way, action: ActionSource) -> Action:
        match action.word:
            case "reject":
                return RejectAction(status=action.reject.code, reason=action.reject.reason)
            case "hang_up_after":
                return HangUpAfterAction(seconds=action.hang_up_after)
            case "tell":
                return TellAction(text=self.loading.text(path, action.tell))
            case "recording":
                if not any(session.record for session in self.loading.plan.sessions.values()):
                    message = "'recording' has nothing to change"
                    self.loading.note(path, message, "expected a session with record")
                return RecordingAction(change=action.recording)
            case "answers":
                return AnswersAction(length=action.answers)
            case "set":
                values = {name: self.loading.text((*path, name), text) for name, text in action.set.items()}
                return SetAction(values=MappingProxyType(values))
            case _:
                return HangUpAction()

    def _menu(self, path: Way, menu: MenuSource) -> MenuAction:
        choices = menu.choices
        if not choices:
            expected = "expected a key and its actions, such as 1: [{transfer: NAME}]"
            self.loading.note(path, "'menu' has no choice", expected, at_key=True)
        for key in menu.words:
            if key not in choices:
                message = f"key {key!r} has words and no actions"
                self.loading.note((*path, "words", key), message, hint(key, choices), at_key=True)
        self._check_words(path, menu)
        if menu.words:
            self.loading.need_voice((*path, "words"))
        return MenuAction(
            prompt=load_prompt(self.loading, path, menu),
            choices=MappingProxyType(
                {key: self.load((*path, key), actions, is_answered=True) for key, actions in choices.items()}
            ),
            words=MappingProxyType(dict(menu.words)),
            otherwise=self._way_out((*path, "other"), menu.other),
            timeout=self._way_out((*path, "timeout"), menu.timeout),
            wait_s=menu.wait,
            tries=menu.tries,
        )

    def _check_words(self, path: Way, menu: MenuSource) -> None:
        taken: dict[str, str] = {}
        for key, phrases in menu.words.items():
            for index, phrase in enumerate(phrases):
                said = " ".join(words_of(phrase))
                if taken.setdefault(said, key) != key:
                    message = f"{shown(phrase)!r} is said for {taken[said]!r} and {key!r}"
                    self.loading.note((*path, "words", key, index), message, "expected each phrase once")

    def _collect(self, path: Way, collect: CollectSource) -> CollectAction:
        least, most = counts(collect.digits)
        return CollectAction(
            prompt=load_prompt(self.loading, path, collect),
            into=collect.into,
            least=least,
            most=most,
            end="" if collect.end == NO_KEY else collect.end,
            wait_s=collect.wait,
            tries=collect.tries,
            failed=self._way_out((*path, "failed"), collect.failed),
        )

    def _hook(self, path: Way, hook: HookSource, *, is_answered: bool) -> HookAction:
        return HookAction(
            request=self.loading.tools().request(path, hook, facts=self.loading.facts),
            failed=self._way_out((*path, "failed"), hook.failed, is_answered=is_answered),
        )

    def _way_out(
        self, path: Way, written: Sequence[ActionSource], *, is_answered: bool = True
    ) -> tuple[Action, ...] | None:
        return self.load(path, written, is_answered=is_answered) if written else None

    def _transfer(self, path: Way, transfer: TransferSource) -> TransferAction:
        whole = "number" in transfer.model_fields_set
        place = (*path, "to")
        if self.loading.refer("contacts", transfer.to, place) and not whole:
            self._check_dialled(place, transfer.to)
        self._check_hours(place, transfer.to)
        contact = self.loading.plan.contacts.get(transfer.to)
        if whole and contact and not contact.pattern:
            message = f"contact {transfer.to!r} has numbers of its own"
            self.loading.note((*path, "number"), message, "expected no number, or a contact with pattern", at_key=True)
        number = self.loading.text((*path, "number"), transfer.number) if whole else None
        return TransferAction(contact=transfer.to, number=number)

    def _check_dialled(self, path: Way, name: str) -> None:
        """Note a contact that takes any number, where nobody names one."""
        if (contact := self.loading.plan.contacts.get(name)) and contact.pattern:
            message = f"contact {name!r} has a pattern, and nobody names its number"
            self.loading.note(path, message, 'expected {to: NAME, number: "{vars.NAME}"}, or a contact with dial')

    def _check_hours(self, path: Way, name: str) -> None:
        """Note a contact that is closed, with all its stand-ins, whenever these actions are done."""
        contacts, opening = self.loading.plan.contacts, self.loading.hours
        chain: list[str] = []
        while (contact := contacts.get(name)) and name not in chain:
            known = opening.get(contact.when)
            if self.hours not in opening or known is None or may_coincide(opening[self.hours], known):
                return
            chain.append(name)
            name = contact.else_
        if chain and name not in self.loading.whole.keys(("mailboxes",)):
            message = f"contact {chain[0]!r} is never open while {self.hours!r} is"
            self.loading.note(path, message, "expected another contact, or else: NAME beside its when")

    def _callback(self, path: Way, action: ActionSource) -> CallbackAction:
        self.loading.refer("mailboxes", action.callback.mailbox, (*path, "mailbox"))
        number = action.callback.number
        return CallbackAction(
            mailbox=action.callback.mailbox,
            number=self.loading.text((*path, "number"), number) if number else None,
        )


def answers(action: Action) -> bool:
    """Whether the call surely has been answered when this is done."""
    return not isinstance(action, UNANSWERED)


def is_last(action: Action) -> bool:
    """Whether nothing behind it is ever reached: it ends the list, or each way out of it does."""
    if isinstance(action, MenuAction):
        ways = [*action.choices.values(), action.otherwise, action.timeout]
        return all(way and is_last(way[-1]) for way in ways)
    return isinstance(action, LAST)
