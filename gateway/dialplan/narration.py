"""Actions and triggers in few words, as a plan writes them: for reports and for the log."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dialplan.actions import (
    Action,
    AnswersAction,
    CallbackAction,
    CollectAction,
    GotoAction,
    HangUpAfterAction,
    HookAction,
    MenuAction,
    PlayAction,
    QueueAction,
    RecordingAction,
    RejectAction,
    RingAction,
    SayAction,
    SetAction,
    TellAction,
    ToneAction,
    VoicemailAction,
    WaitAction,
)
from gateway.dialplan.facts import EMPTY
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.template import CallVariable, Template
from gateway.dialplan.triggers import (
    TRIGGER_WORDS,
    BudgetUsed,
    CostOver,
    DigitPressed,
    LanguageHeard,
    LastedFor,
    NotUnderstood,
    Repeated,
    Said,
    SentimentReported,
    SilentFor,
    ToolsFailed,
    Trigger,
)


def text_of(plan: Dialplan, template: Template, facts: CallFacts, variables: Mapping[str, str] = EMPTY) -> str:
    """A text of the plan; a variable of the call that is not known yet stands as it is written."""
    unknown = {part.name: f"{{vars.{part.name}}}" for part in template.parts if isinstance(part, CallVariable)}
    return plan.text(template, facts, {**unknown, **variables})


def argument_of(plan: Dialplan, action: Action, facts: CallFacts, variables: Mapping[str, str] = EMPTY) -> str:  # noqa: C901, PLR0912
    """What stands behind the word, in short."""
    match action:
        case RejectAction(status=status, reason=reason):
            return f"{status} {reason}".rstrip()
        case PlayAction(file=file):
            return str(file)
        case SayAction(text=text) | TellAction(text=text):
            return text_of(plan, text, facts, variables)
        case ToneAction(tone=tone, seconds=seconds):
            return f"{tone.value} {seconds:g}s"
        case RingAction(seconds=seconds) | WaitAction(seconds=seconds) | HangUpAfterAction(seconds=seconds):
            return f"{seconds:g}s"
        case RecordingAction(change=change):
            return change.value
        case AnswersAction(length=length):
            return length.value
        case GotoAction(route=name) | QueueAction(contact=name) | VoicemailAction(mailbox=name):
            return name
        case CallbackAction(mailbox=name, number=number):
            return name if number is None else f"{name} {text_of(plan, number, facts, variables)}"
        case SetAction(values=values):
            return ", ".join(f"{name}={text_of(plan, text, facts, variables)!r}" for name, text in values.items())
        case MenuAction(choices=choices):
            return ", ".join(choices)
        case CollectAction(into=name):
            return name
        case HookAction(request=request):
            return request.method
        case _:
            return ""


def trigger_text(trigger: Trigger) -> str:
    """A trigger as a plan writes it, without what a web service is asked."""
    return f"{TRIGGER_WORDS[type(trigger)]} {_amount(trigger)}".rstrip()


def _amount(trigger: Trigger) -> str:
    match trigger:
        case DigitPressed(digit=digit):
            return digit
        case Said(phrases=words) | LanguageHeard(languages=words) | SentimentReported(kinds=words):
            return ", ".join(words)
        case ToolsFailed(count=number) | Repeated(times=number) | NotUnderstood(turns=number):
            return str(number)
        case SilentFor(seconds=seconds):
            return f"{seconds:g}s"
        case LastedFor(minutes=minutes):
            return f"{minutes:g}"
        case CostOver(usd=usd):
            return str(usd)
        case BudgetUsed(share=share):
            return f"{share * 100:g}%"
        case _:
            return ""
