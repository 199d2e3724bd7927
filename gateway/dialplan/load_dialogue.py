"""The dialogue of a test, or what is wrong with it: names that lead nowhere, contacts that cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from gateway.dialplan.dialogue import (
    BargeIn,
    BeSilent,
    Dialogue,
    Expect,
    Expected,
    HangUp,
    Hear,
    Press,
    Say,
    Turn,
    WebAnswer,
)
from gateway.dialplan.dialogue_source import FAILED, TurnExpectSource, TurnSource
from gateway.dialplan.example_source import CaseSource
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.model import NO_ROUTE
from gateway.errors import shown
from gateway.located import hint


def load_dialogue(loading: Loading, path: Way, case: CaseSource) -> Dialogue | None:
    """The dialogue of the test at `path`; None where it has none."""
    if not case.dialogue:
        for key in ("contacts", "tools", "hooks"):
            if getattr(case, key):
                message = f"{key!r} has no effect without 'dialogue'"
                loading.note((*path, key), message, "expected dialogue: [...]", at_key=True)
        return None
    _check_contacts(loading, (*path, "contacts"), case)
    for name in case.tools:
        _check_tool(loading, (*path, "tools", name), name)
    turns = [
        turn
        for index, written in enumerate(case.dialogue)
        for turn in _turns(loading, (*path, "dialogue", index), written)
    ]
    return Dialogue(
        turns=tuple(turns),
        contacts=MappingProxyType(case.contacts),
        tools=MappingProxyType({name: _answer(content) for name, content in case.tools.items()}),
        hooks=tuple(map(_answer, case.hooks)),
    )


def _answer(content: object) -> WebAnswer:
    return WebAnswer(is_failure=True) if content == FAILED else WebAnswer(content=content)


def _check_contacts(loading: Loading, path: Way, case: CaseSource) -> None:
    """Each is there, and no two are behind one number and do different things: the PBX could not tell them apart."""
    at: dict[str, str] = {}
    for name, behaviours in case.contacts.items():
        known = loading.whole.keys(("contacts",))
        if name not in known:
            loading.note((*path, name), f"there is no contact {shown(name)!r}", hint(name, known), at_key=True)
        contact = loading.plan.contacts.get(name)
        for target in contact.dial if contact else ():
            other = at.setdefault(target, name)
            if case.contacts[other] != behaviours:
                message = f"{name!r} and {other!r} are both {shown(target)!r}, and cannot do different things"
                loading.note((*path, name), message, "expected the same of both, or one of them", at_key=True)
                break


def _check_tool(loading: Loading, path: Way, name: str) -> None:
    known = loading.whole.keys(("tools",))
    if name not in known:
        loading.note(path, f"there is no tool {shown(name)!r}", hint(name, known), at_key=True)
    elif (tool := loading.plan.tools.get(name)) is not None and tool.http is None:
        loading.note(path, f"{name!r} asks no web service", "expected a tool with http", at_key=True)


def _turns(loading: Loading, path: Way, written: TurnSource) -> Iterator[Turn]:
    line = loading.document.locate(path).line
    match written.word:
        case "hear":
            for text in written.hear:
                yield Hear(line=line, text=text)
        case "say":
            yield Say(line=line, text=written.say)
        case "barge_in":
            yield BargeIn(line=line, text=written.barge_in)
        case "dtmf":
            yield Press(line=line, keys=written.dtmf)
        case "silence":
            yield BeSilent(line=line, seconds=written.silence)
        case "hang_up":
            yield HangUp(line=line)
        case _:
            yield Expect(line=line, expected=_expected(loading, (*path, "expect"), written.expect))


def _expected(loading: Loading, path: Way, written: TurnExpectSource) -> Expected:
    if not written.model_fields_set:
        words = ", ".join(type(written).model_fields)
        loading.note(path, "'expect' is empty", f"expected one of {words}")
    if written.route:
        loading.refer_route(written.route, (*path, "route"), [NO_ROUTE])
    if written.session:
        loading.refer("sessions", written.session, (*path, "session"))
    if written.transfer:
        loading.refer("contacts", written.transfer, (*path, "transfer"))
    for key in ("voicemail", "callback"):
        if name := getattr(written, key):
            loading.refer("mailboxes", name, (*path, key))
    if written.escalation:
        refer_listed(loading, "escalation", "escalations", written.escalation, (*path, "escalation"))
    for name in written.vars:
        loading.refer_variable(name, (*path, "vars", name))
    return Expected(
        route=written.route or None,
        session=written.session or None,
        tools=written.tools,
        escalation=written.escalation or None,
        transfer=written.transfer or None,
        message=written.message or None,
        voicemail=written.voicemail or None,
        callback=written.callback or None,
        vars=MappingProxyType(written.vars),
        reject=written.reject or None,
        outcome=written.outcome or None,
    )


def refer_listed(loading: Loading, kind: str, section: str, name: str, path: Way) -> None:
    """Note a name that no entry of the list `section` has."""
    known = loading.whole.texts((section,), "name")
    if name not in known:
        loading.note(path, f"there is no {kind} {shown(name)!r}", hint(name, known))
