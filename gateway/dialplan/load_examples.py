"""The section ``tests`` into example calls, or into what is wrong with them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from gateway.dialplan.actions import HookAction, walk
from gateway.dialplan.example_source import CallSource, CaseSource, ExpectSource, HappeningSource
from gateway.dialplan.examples import (
    Advised,
    DigitsEntered,
    ExampleCall,
    ExampleEvent,
    Expectation,
    Happening,
    HookAnswer,
    KeyPressed,
    LanguageChanged,
    MoodReported,
    NothingDone,
    ProviderLost,
    Reached,
    WordsSaid,
)
from gateway.dialplan.facts import CallFacts
from gateway.dialplan.hours import parse_instant
from gateway.dialplan.load_actions import ActionLoader
from gateway.dialplan.load_dialogue import load_dialogue, refer_listed
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.model import NO_ROUTE
from gateway.dialplan.source_values import days
from gateway.errors import shown
from gateway.located import WrongValue, hint

DEFAULT_INSTANT = datetime(2000, 1, 3, 12, 0)  # noqa: DTZ001 - the plan's zone is put in; only plans without hours use it


def load_examples(loading: Loading) -> tuple[ExampleCall, ...]:
    """All tests of the plan."""
    return tuple(_example(loading, number, case) for number, case in enumerate(loading.plan.tests))


def _example(loading: Loading, number: int, case: CaseSource) -> ExampleCall:
    path: Way = ("tests", number)
    events = tuple(_event(loading, (*path, "then", index), event) for index, event in enumerate(case.then))
    if case.then and case.expect is None:
        loading.note((*path, "then"), "'then' proves nothing without 'expect'", "expected expect: {...}", at_key=True)
    return ExampleCall(
        name=case.name or f"{case.call.to or 'nobody'} called by {case.call.from_ or 'anonymous'}",
        line=loading.document.locate(path).line,
        facts=_facts(loading, (*path, "call"), case.call),
        events=events,
        expected=None if case.expect is None else _expectation(loading, (*path, "expect"), case.expect),
        dialogue=load_dialogue(loading, path, case),
    )


def _facts(loading: Loading, path: Way, call: CallSource) -> CallFacts:
    at = _instant(loading, path, call.at)
    if call.vars and call.direction != "outgoing":
        message = "'vars' are given to calls that we place"
        loading.note((*path, "vars"), message, "expected direction: outgoing", at_key=True)
    for name in call.vars:
        if name not in (known := loading.whole.keys(("vars",))):
            message = f"the plan begins with no variable {shown(name)!r}"
            loading.note((*path, "vars", name), message, hint(name, known), at_key=True)
    return CallFacts(
        to=call.to,
        from_=call.from_,
        at=at,
        display_name=call.name,
        trunk=call.trunk,
        headers=MappingProxyType(call.header),
        diversion=call.diversion,
        languages=call.language,
        last_seen=last_seen(call.seen, at),
        is_outgoing=call.direction == "outgoing",
        given=MappingProxyType(call.vars),
    )


def last_seen(text: str, at: datetime) -> datetime | None:
    """When somebody called before: ``true`` a day before `at`, ``30d`` so many days before, ``false`` never."""
    seen = days(text)
    if seen is False:
        return None
    return at - timedelta(days=1 if seen is True else seen)


def _instant(loading: Loading, path: Way, text: str) -> datetime:
    if not text:
        if loading.whole.keys(("hours",)):
            loading.note((*path, "at"), "key 'at' is missing", "expected it in every test of a plan with hours")
        return DEFAULT_INSTANT.replace(tzinfo=loading.zone)
    try:
        return parse_instant(text, loading.zone)
    except WrongValue as error:
        loading.note_wrong((*path, "at"), error, text)
        return DEFAULT_INSTANT.replace(tzinfo=loading.zone)


def _event(loading: Loading, path: Way, written: HappeningSource) -> ExampleEvent:
    match written.word:
        case "dtmf":
            return KeyPressed(written.dtmf)
        case "digits":
            return DigitsEntered(written.digits)
        case "said":
            return WordsSaid(written.said)
        case "timeout":
            return NothingDone()
        case "language":
            return LanguageChanged(written.language)
        case "sentiment":
            return MoodReported(written.sentiment.casefold())
        case "provider_down":
            return ProviderLost()
        case "webhook":
            _refer_advised(loading, written.webhook, (*path, "webhook"))
            return Advised(written.webhook)
        case "transfer":
            return written.transfer
        case "hook":
            return _hook_answer(loading, (*path, "hook"), written)
        case word:
            return Reached(Happening(word), Decimal(str(getattr(written, word))))


def _hook_answer(loading: Loading, path: Way, written: HappeningSource) -> HookAnswer:
    if written.hook.failed:
        return HookAnswer()
    loader = ActionLoader(loading=loading, in_session=True)
    actions = loader.load((*path, "do"), written.hook.do, is_answered=False)
    if any(isinstance(action, HookAction) for action in walk(actions)):
        message = "'do' has a hook of its own, which the gateway takes for no answer"
        loading.note((*path, "do"), message, "expected other actions, or hook: failed")
    for name in written.hook.set:
        loading.refer_variable(name, (*path, "set", name), is_set=True)
    return HookAnswer(actions=actions, values=MappingProxyType(written.hook.set))


def _expectation(loading: Loading, path: Way, expect: ExpectSource) -> Expectation:
    if expect.route:
        loading.refer_route(expect.route, (*path, "route"), [NO_ROUTE])
    named = [
        ("sessions", "session", expect.session),
        ("contacts", "transfer", expect.transfer),
        ("contacts", "queue", expect.queue),
        ("mailboxes", "voicemail", expect.voicemail),
        ("mailboxes", "callback", expect.callback),
    ]
    for section, key, name in named:
        if name:
            loading.refer(section, name, (*path, key))
    for name in expect.vars:
        loading.refer_variable(name, (*path, "vars", name))
    return Expectation(
        route=expect.route or None,
        session=expect.session or None,
        transfer=expect.transfer or None,
        reject=expect.reject or None,
        play=loading.sound((*path, "play"), expect.play) if expect.play else None,
        say=expect.say or None,
        hang_up=expect.hang_up or None,
        queue=expect.queue or None,
        voicemail=expect.voicemail or None,
        callback=expect.callback or None,
        recording=expect.recording,
        answers=expect.answers,
        variables=MappingProxyType(expect.vars),
    )


def _refer_advised(loading: Loading, name: str, path: Way) -> None:
    """Only an escalation whose trigger is a web service can be told by one."""
    refer_listed(loading, "escalation", "escalations", name, path)
    if any(known.name == name and known.when.webhook is None for known in loading.plan.escalations):
        loading.note(path, f"escalation {shown(name)!r} asks no web service", "expected one with when: {webhook: ...}")
