"""What a web service answers to a plan's ``hook``: actions in the words of the plan, and values of variables.

::

    {"do": [{"say": "One moment, {vars.name}."}, {"transfer": "sales"}], "set": {"name": "Ann"}}

An answer is from outside. It is checked as a plan is: names have to be the plan's, and so do the files it plays. It
cannot ask a further web service, and it is taken as a whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import Field

from gateway.dialplan.action_source import Actions, ActionSource
from gateway.dialplan.actions import Action, PlayAction, walk
from gateway.dialplan.load_actions import ActionLoader
from gateway.dialplan.load_phrases import unspeakable
from gateway.dialplan.loading import Loading
from gateway.dialplan.model import Dialplan
from gateway.dialplan.source import PlanSource
from gateway.dialplan.source_values import VariableName
from gateway.errors import shown
from gateway.located import Document, Items, Node, Place, Scalar, Section, Table, examine

MAX_ACTIONS = 100
"""Of one answer, those of its menus among them."""
_FILE = "the answer"
_NOTHING: tuple[object, ...] = ([], {}, None)
_NOWHERE = Place(1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """What is to be done next, and which variables get a value before."""

    actions: tuple[Action, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HookRefusal:
    """Why an answer cannot be followed, in words for the log."""

    reason: str


class AnswerSource(Section):
    """The members of an answer, both optional."""

    do: Actions = Field(default=(), description="Actions, as in the plan.")
    set: dict[VariableName, str] = Field(default_factory=dict, description="Values of variables, as they stand.")


def read_hook_answer(plan: Dialplan, value: object) -> HookAnswer | HookRefusal:
    """The answer that `value`, any JSON, is under `plan`. None and {} are answers that want nothing."""
    if value is None:
        return HookAnswer()
    if not isinstance(value, Mapping):
        return HookRefusal('the answer is not {"do": [...], "set": {...}}')
    try:
        document = Document(file=_FILE, root=_node({key: item for key, item in value.items() if item not in _NOTHING}))
    except RecursionError:
        return HookRefusal("the answer is too deep")
    examined = examine(AnswerSource, document)
    if examined.problems or examined.value is None:
        return _refusal(problem.message for problem in examined.problems)
    written = examined.value
    names = _names(plan) | ({"do": value["do"]} if written.do else {})
    loading = _AnswerLoading(
        plan=PlanSource.model_validate(_names(plan)),
        document=document,
        whole=Document(file=_FILE, root=_node(names)),
        folder=plan.file.absolute().parent,
    )
    loading.files = frozenset(_files(plan))
    if _asks_further(written.do):
        return HookRefusal("the answer has a hook of its own")
    actions = ActionLoader(loading=loading, in_session=True).load(("do",), written.do, is_answered=False)
    for name in written.set:
        loading.refer_variable(name, ("set", name), is_set=True)
    if loading.problems:
        return _refusal(problem.message for problem in loading.problems)
    if lacking := unspeakable(plan.phrases, actions):
        return HookRefusal(f"the plan has no phrases in {plan.language!r} for {', '.join(lacking)}")
    if sum(1 for _ in walk(actions)) > MAX_ACTIONS:
        return HookRefusal(f"the answer has more than {MAX_ACTIONS} actions")
    return HookAnswer(actions=actions, values=MappingProxyType(dict(written.set)))


class _AnswerLoading(Loading):
    """An answer that is being loaded: it plays what the plan plays."""

    files: frozenset[Path] = frozenset()

    def sound(self, path: Sequence[str | int], name: str) -> Path:
        """One of the plan's own files."""
        file = self.folder / name
        if file not in self.files:
            self.note(path, f"{shown(name)!r} is no file that the plan plays")
        return file


def _refusal(messages: Iterable[str]) -> HookRefusal:
    return HookRefusal("; ".join(dict.fromkeys(messages)) or "the answer cannot be read")


def _node(value: object) -> Node:
    """A JSON value as what was read of a file, at no place in particular."""
    if isinstance(value, Mapping):
        entries = tuple((_scalar(str(key), is_plain=False), _node(item)) for key, item in value.items())
        return Table(entries=entries, file=_FILE, place=_NOWHERE)
    if isinstance(value, list | tuple):
        return Items(values=tuple(_node(item) for item in value), file=_FILE, place=_NOWHERE)
    return _scalar(value, is_plain=False) if isinstance(value, str) else _scalar(json.dumps(value), is_plain=True)


def _scalar(text: str, *, is_plain: bool) -> Scalar:
    return Scalar(text=text, written=text, is_plain=is_plain, file=_FILE, place=_NOWHERE)


def _names(plan: Dialplan) -> dict[str, object]:
    """The names of `plan`, as a plan that says no more."""
    return {
        "version": "1",
        "name": plan.name,
        "timezone": "UTC",
        "vars": dict.fromkeys(plan.settable, ""),
        "hours": {name: {} for name in plan.hours},
        "contacts": {
            name: {"pattern": "/0/"} if contact.pattern else {"dial": ["sip:0"]}
            for name, contact in plan.contacts.items()
        },
        "mailboxes": {name: {} for name in plan.mailboxes},
        "sessions": {
            name: {"use": session.use} | ({"record": {"consent": "given"}} if session.record else {})
            for name, session in plan.sessions.items()
        },
        "routes": [{"name": route.name, "do": [{"hang_up": True}]} for route in plan.routes],
    }


def _files(plan: Dialplan) -> Iterable[Path]:
    lists = [*(route.actions for route in plan.routes), *(escalation.actions for escalation in plan.escalations)]
    prompts = [session.protected for session in plan.sessions.values()]
    return (action.file for actions in (*lists, *prompts) for action in walk(actions) if isinstance(action, PlayAction))


def _asks_further(written: Sequence[ActionSource]) -> bool:
    for action in written:
        if action.word == "hook":
            return True
        further: list[Sequence[ActionSource]] = []
        if action.word == "menu":
            further = [*action.menu.choices.values(), action.menu.other, action.menu.timeout]
        if action.word == "collect":
            further = [action.collect.failed]
        if any(_asks_further(actions) for actions in further):
            return True
    return False
