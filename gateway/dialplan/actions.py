"""What a plan can do with a call: the entries of ``do``, frozen.

An action that ends in a choice (`MenuAction`, `CollectAction`, `HookAction`) holds the actions of each way out; those
are carried out first, and then what stands behind the choice. A call that has no action left is ended, or goes back to
the session that is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from gateway.dialplan.template import Template
from gateway.dialplan.tools import HttpRequest

MENU_WAIT_S = 5.0
MENU_TRIES = 2
COLLECT_WAIT_S = 5.0
MAX_COLLECTED = 32
"""Digits that one `CollectAction` takes at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionAction:
    """Answer and connect the caller with the session of the plan that has this name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayAction:
    """Answer and play a file: WAV, 16-bit PCM, mono, 8000 Hz. The path is complete."""

    file: Path
    is_protected: bool = False
    """Whether the caller hears it to its end, whatever they press meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SayAction:
    """Speak a text: by the session that is open, else by a realtime session of the configuration, after the answer.

    One that ``is_protected`` is never left to a session that is open: the caller hears it to its end.
    """

    text: Template
    is_protected: bool = False
    use: str = field(default="", compare=False)
    """The realtime session of the configuration whose voice it has; the plan's ``use`` unless given."""


Prompt: TypeAlias = SayAction | PlayAction
"""What a caller hears before something is asked of them."""


class Tone(Enum):
    """A sound of the telephone network."""

    RINGING = "ringing"
    BUSY = "busy"
    CONGESTION = "congestion"
    BEEP = "beep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToneAction:
    """Answer and play a tone for so long."""

    tone: Tone
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RingAction:
    """Let it ring for so long before anything else is done. Nothing where the call is answered."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAction:
    """Answer now. Most actions do so by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitAction:
    """Answer and be silent for so long."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferAction:
    """Connect with a contact. Where that fails, the action behind it (or the session it was in) goes on."""

    contact: str
    number: Template | None = None
    """What a contact with a pattern dials; digits once it is filled in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueAction:
    """Put the caller into a queue of the PBX, which is what the contact's number leads to: a blind transfer."""

    contact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectAction:
    """Refuse the call, status 400 to 699. "" leaves the reason phrase to the status. Ends a call already answered."""

    status: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpAction:
    """End the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpAfterAction:
    """End the call after so long, unless the caller speaks or presses a key before. The conversation goes on."""

    seconds: float


class RecordingChange(Enum):
    """What becomes of a recording that is under way."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingAction:
    """Interrupt the recording, go on with it, or end it for the rest of the call. Nothing where none is made."""

    change: RecordingChange


class AnswerLength(Enum):
    """How long a model's answers are to be."""

    SHORT = "short"
    """One sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersAction:
    """Let the model answer in this length from now on. Nothing where no session is open."""

    length: AnswerLength


@dataclass(frozen=True, slots=True, kw_only=True)
class TellAction:
    """Put a fact into the conversation, and let the model react. Nothing where no session is open."""

    text: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAction:
    """Give variables of the call a value: ``{vars.NAME}`` from then on."""

    values: Mapping[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class GotoAction:
    """Go on with the actions of another route, whatever it matches. What stands behind is dropped."""

    route: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuAction:
    """Let the caller choose by a key, or by saying one of its ``words``.

    ``choices`` are by key. ``otherwise`` follows a key (or words) without a choice, and ``timeout`` no key at all,
    each after the last of ``tries``; None goes on behind the menu. ``wait_s`` counts from the end of the prompt.
    """

    prompt: Prompt | None
    choices: Mapping[str, tuple[Action, ...]]
    words: Mapping[str, tuple[str, ...]]
    otherwise: tuple[Action, ...] | None = None
    timeout: tuple[Action, ...] | None = None
    wait_s: float = MENU_WAIT_S
    tries: int = MENU_TRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectAction:
    """Let the caller enter ``least`` to ``most`` digits, which become the variable ``into``.

    ``end`` is the key that ends them early, "" for none; ``wait_s`` the longest pause between two keys and before the
    first. ``failed`` follows too few digits after the last of ``tries``; None goes on behind it.
    """

    prompt: Prompt | None
    into: str
    least: int = 1
    most: int = MAX_COLLECTED
    end: str = "#"
    wait_s: float = COLLECT_WAIT_S
    tries: int = MENU_TRIES
    failed: tuple[Action, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAction:
    """Ask a web service what is to be done: its answer holds actions, values of variables, or both.

    ``failed`` follows where there is no usable answer; None goes on behind it.
    """

    request: HttpRequest
    failed: tuple[Action, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicemailAction:
    """Let the caller leave a message in a mailbox of the plan."""

    mailbox: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAction:
    """Note in a mailbox that the caller wants to be called back; ``number`` None is the number they call from."""

    mailbox: str
    number: Template | None = None


Action: TypeAlias = (
    SessionAction
    | PlayAction
    | SayAction
    | ToneAction
    | RingAction
    | AnswerAction
    | WaitAction
    | TransferAction
    | QueueAction
    | RejectAction
    | HangUpAction
    | HangUpAfterAction
    | RecordingAction
    | AnswersAction
    | TellAction
    | SetAction
    | GotoAction
    | MenuAction
    | CollectAction
    | HookAction
    | VoicemailAction
    | CallbackAction
)

WORDS: Mapping[type[Action], str] = {
    SessionAction: "session",
    PlayAction: "play",
    SayAction: "say",
    ToneAction: "tone",
    RingAction: "ring",
    AnswerAction: "answer",
    WaitAction: "wait",
    TransferAction: "transfer",
    QueueAction: "queue",
    RejectAction: "reject",
    HangUpAction: "hang_up",
    HangUpAfterAction: "hang_up_after",
    RecordingAction: "recording",
    AnswersAction: "answers",
    TellAction: "tell",
    SetAction: "set",
    GotoAction: "goto",
    MenuAction: "menu",
    CollectAction: "collect",
    HookAction: "hook",
    VoicemailAction: "voicemail",
    CallbackAction: "callback",
}
"""How a plan writes each action."""


def walk(actions: Sequence[Action]) -> Iterator[Action]:
    """Each of `actions`, the prompts of its choices, and all that a choice may lead to."""
    for action in actions:
        yield action
        match action:
            case MenuAction(prompt=prompt):
                yield from () if prompt is None else (prompt,)
                for ways in (*action.choices.values(), action.otherwise, action.timeout):
                    yield from walk(ways or ())
            case CollectAction(prompt=prompt, failed=failed):
                yield from () if prompt is None else (prompt,)
                yield from walk(failed or ())
            case HookAction(failed=failed):
                yield from walk(failed or ())


KEEPS_TALKING = (SayAction, TellAction, HangUpAfterAction, RecordingAction, AnswersAction, SetAction)
"""What an escalation may do while caller and model go on talking; anything else interrupts them."""


def keeps_talking(actions: Sequence[Action]) -> bool:
    """Whether the conversation goes on, or whatever the caller is asked."""
    return all(isinstance(action, KEEPS_TALKING) and not is_protected(action) for action in actions)


def is_protected(action: Action) -> bool:
    """Whether the caller hears it to its end, whatever they say or press."""
    return isinstance(action, PlayAction | SayAction) and action.is_protected
