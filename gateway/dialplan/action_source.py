"""The actions of a dialplan file as they are written: the entries of ``do``, and of every way out of a choice."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.dialplan.actions import (
    COLLECT_WAIT_S,
    MENU_TRIES,
    MENU_WAIT_S,
    AnswerLength,
    RecordingChange,
    Tone,
)
from gateway.dialplan.model import NO_ROUTE_STATUS
from gateway.dialplan.source_values import (
    LIST,
    Counts,
    Digit,
    Name,
    OneOf,
    OnlyTrue,
    Phrases,
    Said,
    Status,
    VariableName,
    VariableNames,
    reason_phrase,
)
from gateway.dialplan.tool_source import RequestSource
from gateway.located import Seconds, Section, WrongValue

Pause = Annotated[Seconds, Field(gt=0, le=120)]
Patience = Annotated[Seconds, Field(ge=0.5, le=60)]
Tries = Annotated[int, Field(ge=1, le=10)]
TONE_S = 3.0


def _rejection(value: object) -> object:
    return {"code": value} if isinstance(value, str) else value


def _say(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


def _play(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


def _tone(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _transfer(value: object) -> object:
    return {"to": value} if isinstance(value, str) else value


def _callback(value: object) -> object:
    return {"mailbox": value} if isinstance(value, str) else value


def _end_key(text: str) -> str:
    if text.casefold() == NO_KEY:
        return NO_KEY
    if len(text) != 1 or text.upper() not in "*#ABCD":
        raise WrongValue(expected='expected "#", "*", A to D, or none: a digit would be collected')
    return text.upper()


NO_KEY = "none"
EndKey = Annotated[str, AfterValidator(_end_key), WithJsonSchema({"enum": ["#", "*", *"ABCD", NO_KEY]})]


class RejectSource(Section):
    """A refusal with a reason phrase of its own."""

    code: Status = Field(description="SIP status, 400 to 699.")
    reason: Annotated[str, AfterValidator(reason_phrase)] = Field(
        default="", description="Phrase; the status's own without."
    )


class SaySource(Section):
    """A text that callers hear."""

    text: Said = Field(description="Spoken; may hold variables.")
    protect: bool = Field(default=False, description="Whether it is heard to its end, whatever the caller presses.")


class PlaySource(Section):
    """A sound that callers hear."""

    file: Annotated[str, Field(min_length=1)] = Field(description="A WAV file, relative to the plan.")
    protect: bool = Field(default=False, description="Whether it is heard to its end, whatever the caller presses.")


class ToneSource(Section):
    """A sound of the telephone network."""

    name: Tone = Field(description="beep, busy, congestion or ringing.")
    for_: Pause | None = Field(default=None, alias="for", description="How long; a beep has a length of its own.")


class TransferSource(Section):
    """A transfer to a contact that takes a number."""

    to: Name = Field(description="A contact.")
    number: Said = Field(default="", description="What a contact with a pattern dials; may hold variables.")


class CallbackSource(Section):
    """A wish to be called back."""

    mailbox: Name = Field(description="The mailbox that notes it.")
    number: Said = Field(default="", description="The number to call; the caller's own unless given.")


class PromptSource(Section):
    """What is heard before the caller is to do something: a text or a file, or nothing."""

    say: Said = Field(default="", description="Spoken; may hold variables.")
    play: str = Field(default="", min_length=1, description="A WAV file, relative to the plan.")

    @model_validator(mode="after")
    def _has_one_voice(self) -> Self:
        if self.say and self.play:
            raise WrongValue("has say and play", expected="expected one of them")
        return self


class MenuSource(PromptSource):
    """A choice by a key, or by words; each key has the actions that it leads to."""

    key_0: Actions = Field(default=(), alias="0", description="What 0 leads to.")
    key_1: Actions = Field(default=(), alias="1", description="What 1 leads to.")
    key_2: Actions = Field(default=(), alias="2", description="What 2 leads to.")
    key_3: Actions = Field(default=(), alias="3", description="What 3 leads to.")
    key_4: Actions = Field(default=(), alias="4", description="What 4 leads to.")
    key_5: Actions = Field(default=(), alias="5", description="What 5 leads to.")
    key_6: Actions = Field(default=(), alias="6", description="What 6 leads to.")
    key_7: Actions = Field(default=(), alias="7", description="What 7 leads to.")
    key_8: Actions = Field(default=(), alias="8", description="What 8 leads to.")
    key_9: Actions = Field(default=(), alias="9", description="What 9 leads to.")
    key_star: Actions = Field(default=(), alias="*", description="What the star leads to.")
    key_hash: Actions = Field(default=(), alias="#", description="What the hash leads to.")
    key_a: Actions = Field(default=(), alias="A", description="What A leads to.")
    key_b: Actions = Field(default=(), alias="B", description="What B leads to.")
    key_c: Actions = Field(default=(), alias="C", description="What C leads to.")
    key_d: Actions = Field(default=(), alias="D", description="What D leads to.")
    words: dict[Digit, Phrases] = Field(
        default_factory=dict, description="What may be said instead of a key: its phrases."
    )
    other: Actions = Field(default=(), description="After the last wrong key; without it the list goes on.")
    timeout: Actions = Field(default=(), description="After the last time without a key; without it the list goes on.")
    wait: Patience = Field(default=MENU_WAIT_S, description="How long a key is waited for, from the prompt's end.")
    tries: Tries = Field(default=MENU_TRIES, description="How often the caller may choose.")

    @property
    def choices(self) -> dict[str, tuple[ActionSource, ...]]:
        """Actions by key."""
        fields = type(self).model_fields
        return {
            fields[name].alias or name: getattr(self, name) for name in fields if name in self.model_fields_set & _KEYS
        }


class CollectSource(PromptSource):
    """Digits that the caller enters."""

    into: VariableName = Field(description="The variable that gets them: {vars.NAME}.")
    digits: Counts = Field(default="1-32", description="How many: 6, or 4-8.")
    end: EndKey = Field(default="#", description="The key that ends them early; none for no key.")
    wait: Patience = Field(default=COLLECT_WAIT_S, description="The longest pause before a key.")
    tries: Tries = Field(default=MENU_TRIES, description="How often the caller may try.")
    failed: Actions = Field(default=(), description="After too few digits; without it the list goes on.")


class HookSource(RequestSource):
    """A web service that says what is to be done: {"do": [actions], "set": {NAME: text}}."""

    sets: VariableNames = Field(default=(), description="Variables that its answers set: {vars.NAME}.")
    failed: Actions = Field(default=(), description="Where there is no usable answer; without it the list goes on.")


Rejection = Annotated[RejectSource, BeforeValidator(_rejection, json_schema_input_type=Status | RejectSource)]
SayText = Annotated[SaySource, BeforeValidator(_say, json_schema_input_type=Said | SaySource)]
PlayFile = Annotated[PlaySource, BeforeValidator(_play, json_schema_input_type=str | PlaySource)]
ToneChoice = Annotated[ToneSource, BeforeValidator(_tone, json_schema_input_type=Tone | ToneSource)]
TransferTo = Annotated[TransferSource, BeforeValidator(_transfer, json_schema_input_type=Name | TransferSource)]
CallbackTo = Annotated[CallbackSource, BeforeValidator(_callback, json_schema_input_type=Name | CallbackSource)]
Values = Annotated[dict[VariableName, Said], LIST]


class ActionSource(OneOf):
    """One thing to do."""

    session: Name = Field(default="", description="Connect the caller with a session of this plan.")
    play: PlayFile = Field(default=PlaySource(file="x"), description="Play a WAV file, relative to the plan.")
    say: SayText = Field(default=SaySource(text="x"), description="Speak a text; may hold variables.")
    tone: ToneChoice = Field(default=ToneSource(name=Tone.BEEP), description="Play a tone.")
    ring: Pause = Field(default=1, description="Let it ring before anything else is done.")
    answer: OnlyTrue = Field(default=False, description="Answer now; most actions do so by themselves.")
    wait: Pause = Field(default=1, description="Be silent for so long.")
    menu: MenuSource = Field(default=None, description="Let the caller choose.")  # type: ignore[assignment]
    collect: CollectSource = Field(default=None, description="Let the caller enter digits.")  # type: ignore[assignment]
    set: Values = Field(default_factory=dict, description="Give variables a value: {vars.NAME}.")
    goto: Name = Field(default="", description="Go on with the actions of another route.")
    hook: HookSource = Field(default=None, description="Ask a web service what to do.")  # type: ignore[assignment]
    transfer: TransferTo = Field(default=TransferSource(to="x"), description="Connect the caller with a contact.")
    queue: Name = Field(default="", description="Put the caller into the PBX's queue that a contact stands for.")
    voicemail: Name = Field(default="", description="Let the caller leave a message in a mailbox.")
    callback: CallbackTo = Field(
        default=CallbackSource(mailbox="x"), description="Note in a mailbox that the caller wants to be called back."
    )
    reject: Rejection = Field(default=RejectSource(code=NO_ROUTE_STATUS), description="Refuse the call.")
    hang_up: OnlyTrue = Field(default=False, description="End the call.")
    hang_up_after: Pause = Field(
        default=1, description="End the call unless the caller says something before; of escalations."
    )
    tell: Said = Field(default="", description="Put a fact into the conversation; of escalations.")
    recording: RecordingChange = Field(
        default=RecordingChange.STOP, description="Pause, resume or stop the recording that is under way."
    )
    answers: AnswerLength = Field(default=AnswerLength.SHORT, description="short: the model answers in one sentence.")


Actions = Annotated[tuple[ActionSource, ...], LIST]
_KEYS = frozenset(name for name in MenuSource.__annotations__ if name.startswith("key_"))

for _source in (MenuSource, CollectSource, HookSource, ActionSource):
    _source.model_rebuild()
