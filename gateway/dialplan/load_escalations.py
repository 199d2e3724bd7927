"""The section ``escalations`` into escalations, or into what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from gateway.dialplan.actions import Action, AnswersAction, SessionAction
from gateway.dialplan.load_actions import ActionLoader
from gateway.dialplan.load_routes import load_patterns
from gateway.dialplan.load_sessions import need_price
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.model import ReferenceKind
from gateway.dialplan.pattern import parse_caller, parse_number
from gateway.dialplan.source import SessionSource
from gateway.dialplan.tools import SessionTool
from gateway.dialplan.trigger_source import WhenSource
from gateway.dialplan.triggers import (
    NEEDS_WORDS,
    BudgetUsed,
    Circumstances,
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

SPENT = BudgetUsed(1.0)
NEEDS_TRANSCRIPT = "expected realtime.{}.transcription there"


def load_escalations(loading: Loading) -> tuple[Escalation, ...]:
    """All escalations of the plan."""
    written = loading.plan.escalations
    loading.note_repeated("escalation", "escalations", (escalation.name for escalation in written))
    escalations: list[Escalation] = []
    for index, escalation in enumerate(written):
        path: Way = ("escalations", index)
        trigger = _trigger(loading, (*path, "when"), escalation.when)
        circumstances = _circumstances(loading, (*path, "when"), escalation.when)
        escalations.append(Escalation(name=escalation.name, trigger=trigger, actions=(), circumstances=circumstances))
        _check_repeated(loading, (*path, "when"), escalations)
        is_answered = not (isinstance(trigger, ProviderDown) or trigger == SPENT)
        loader = ActionLoader(loading=loading, in_session=True, hours=escalation.when.hours)
        actions = loader.load((*path, "do"), escalation.do, is_answered=is_answered)
        _check_money(loading, path, trigger, actions)
        _check_sessions(loading, path, escalation.when)
        _check_language(loading, path, trigger, circumstances)
        if isinstance(trigger, NEEDS_WORDS):
            _need_words(loading, (*path, "when", escalation.when.trigger), circumstances)
        escalations[-1] = replace(escalations[-1], actions=actions)
    if escalations and not loading.whole.keys(("sessions",)):
        loading.note(("escalations",), "'escalations' never fire without a session", "expected sessions", at_key=True)
    return tuple(escalations)


def _check_repeated(loading: Loading, path: Way, escalations: Sequence[Escalation]) -> None:
    """Note the last of `escalations` where an earlier one answers all that it waits for."""
    *earlier, last = escalations
    for known in earlier:
        if known.trigger == last.trigger and known.circumstances in (Circumstances(), last.circumstances):
            message = f"escalation {last.name!r} never fires: {known.name!r} answers the same event"
            loading.note(path, message, "expected each event once")
            return


def _trigger(loading: Loading, path: Way, when: WhenSource) -> Trigger:
    if when.webhook is not None:
        return VerdictGiven(loading.tools().request((*path, "webhook"), when.webhook, facts=loading.facts))
    return _TRIGGERS[when.trigger](when)


_TRIGGERS: Mapping[str, Callable[[WhenSource], Trigger]] = {
    "dtmf": lambda when: DigitPressed(when.dtmf),
    "said": lambda when: Said(when.said),
    "failed_tools": lambda when: ToolsFailed(when.failed_tools),
    "repeats": lambda when: Repeated(when.repeats),
    "silence": lambda when: SilentFor(when.silence),
    "not_understood": lambda when: NotUnderstood(when.not_understood),
    "minutes": lambda when: LastedFor(when.minutes),
    "cost_over": lambda when: CostOver(when.cost_over),
    "budget": lambda when: BudgetUsed(when.budget),
    "language": lambda when: LanguageHeard(when.language),
    "sentiment": lambda when: SentimentReported(tuple(kind.casefold() for kind in when.sentiment)),
    "provider_down": lambda _: ProviderDown(),
}


def _circumstances(loading: Loading, path: Way, when: WhenSource) -> Circumstances:
    if when.hours:
        loading.refer("hours", when.hours, (*path, "hours"))
    for index, session in enumerate(when.session):
        loading.refer("sessions", session, (*path, "session", index))
    return Circumstances(
        from_=load_patterns(loading, (*path, "from"), when.from_, parse_caller),
        to=load_patterns(loading, (*path, "to"), when.to, parse_number),
        hours=when.hours or None,
        sessions=when.session,
    )


def _check_sessions(loading: Loading, path: Way, when: WhenSource) -> None:
    """Note what no session of the plan can come to."""
    known = loading.plan.sessions
    if set(known) != set(loading.whole.keys(("sessions",))):
        return
    sessions = [session for name, session in known.items() if not when.session or name in when.session]
    if when.trigger == "failed_tools" and sessions and not any(session.tools for session in sessions):
        message = "'failed_tools' never happens: no session has tools"
        loading.note((*path, "when", "failed_tools"), message, "expected tools in a session")
    limits = [session.limits.minutes for session in sessions]
    if when.trigger == "minutes" and limits and all(limit is not None and limit <= when.minutes for limit in limits):
        message = "'minutes' never come: every session ends before"
        loading.note((*path, "when", "minutes"), message, "expected less than limits.minutes")


def _need_words(loading: Loading, path: Way, circumstances: Circumstances) -> None:
    """What callers say has to be written down in the sessions where an escalation goes by it."""
    for use in dict.fromkeys(session.use for session in _sessions(loading, circumstances)):
        message = f"realtime session {use!r} does not write down what callers say, which {path[-1]!r} needs"
        expected = NEEDS_TRANSCRIPT.format(use)
        loading.need(ReferenceKind.TRANSCRIPT, path, message, expected, name=use, at_key=True)


def _check_language(loading: Loading, path: Way, trigger: Trigger, circumstances: Circumstances) -> None:
    """Note languages that no session goes over to."""
    if not isinstance(trigger, LanguageHeard) or set(loading.plan.sessions) != set(loading.whole.keys(("sessions",))):
        return
    switching = (s for s in _sessions(loading, circumstances) if SessionTool.SWITCH_LANGUAGE in s.tools)
    known = {language for session in switching for language in session.languages}
    for index, language in enumerate(trigger.languages):
        if language not in known:
            message = f"no session goes over to the language {language!r}"
            expected = f"expected tools: [switch_language] and languages: […, {language}] in one"
            loading.note((*path, "when", "language", index), message, expected)


def _sessions(loading: Loading, circumstances: Circumstances) -> tuple[SessionSource, ...]:
    """Those in which an escalation may fire."""
    plans = loading.plan.sessions
    return tuple(plans[name] for name in circumstances.sessions or tuple(plans) if name in plans)


def _check_money(loading: Loading, path: Way, trigger: Trigger, actions: Sequence[Action]) -> None:
    """Note what cannot be counted, and what nothing is left for."""
    if isinstance(trigger, CostOver):
        for name in dict.fromkeys(session.use for session in loading.plan.sessions.values()):
            need_price(loading, name, (*path, "when", "cost_over"))
    if trigger != SPENT:
        return
    for index, action in enumerate(actions):
        if isinstance(action, SessionAction | AnswersAction):
            word = "session" if isinstance(action, SessionAction) else "answers"
            message = f"{word!r} comes too late: the budget is used up"
            loading.note((*path, "do", index), message, "expected it at a smaller share, such as budget: 80%")
