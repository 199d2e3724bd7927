"""Which escalations an event of a plan's ``tests`` sets off: each by its trigger, of what is counted at its step."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from gateway.dialplan.examples import (
    Advised,
    ExampleEvent,
    Happening,
    KeyPressed,
    LanguageChanged,
    MoodReported,
    ProviderLost,
    Reached,
    WordsSaid,
)
from gateway.dialplan.model import Dialplan
from gateway.dialplan.phrases import parse_phrase
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


def levels(plan: Dialplan, event: ExampleEvent) -> Sequence[Decimal | None]:
    """The steps by which it came to `event`, of what is counted; one step of anything else."""
    if not isinstance(event, Reached):
        return [None]
    reached = {
        _threshold(known.trigger) for known in plan.escalations if _COUNTED.get(type(known.trigger)) is event.what
    }
    passed = {threshold for threshold in reached if threshold is not None and threshold <= event.amount}
    return sorted(passed | ({event.amount} if event.what in _COME_AGAIN and passed else set()))


def sets_off(escalation: Escalation, event: ExampleEvent, level: Decimal | None) -> bool:
    """Whether `escalation` waits for `event`, of what is counted at its step `level`."""
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
        case _, Reached(what=what) if level is not None and _COUNTED.get(type(trigger)) is what:
            threshold = _threshold(trigger)
            return threshold is not None and (threshold <= level if what in _GO_ON else threshold == level)
        case _:
            return False


_COUNTED: dict[type[Trigger], Happening] = {
    ToolsFailed: Happening.FAILED_TOOLS,
    Repeated: Happening.REPEATS,
    SilentFor: Happening.SILENCE,
    NotUnderstood: Happening.NOT_UNDERSTOOD,
    LastedFor: Happening.MINUTES,
    CostOver: Happening.COST_OVER,
    BudgetUsed: Happening.BUDGET,
}
_COME_AGAIN = (Happening.FAILED_TOOLS, Happening.REPEATS, Happening.NOT_UNDERSTOOD)
"""What comes one by one."""
_GO_ON = (*_COME_AGAIN, Happening.MINUTES)
"""What sets off an escalation that waits for less, too, if it has not fired. The rest comes at its mark alone."""


def is_used_up(event: ExampleEvent) -> bool:
    """Whether a budget is, which ends the session."""
    return isinstance(event, Reached) and event.what is Happening.BUDGET and event.amount >= 1


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
