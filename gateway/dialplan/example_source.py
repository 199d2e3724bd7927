"""The section ``tests`` of a dialplan file as it is written: calls, what happens in them, what has to come of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from gateway.dialplan.action_source import ActionSource
from gateway.dialplan.actions import AnswerLength, RecordingChange
from gateway.dialplan.dialogue_source import Behaviours, TurnSource, WebAnswer
from gateway.dialplan.examples import TransferEnd
from gateway.dialplan.source_values import (
    Days,
    Digit,
    Digits,
    FactText,
    HeaderName,
    Language,
    Languages,
    Name,
    OneOf,
    OnlyTrue,
    Said,
    Share,
    Usd,
    VariableName,
)
from gateway.dialplan.tool_source import FunctionName
from gateway.located import Seconds, Section, WrongValue


def _hook(value: object) -> object:
    return {"failed": True} if value == "failed" else value


class CallSource(Section):
    """The call of a test."""

    to: FactText = Field(description="The number called.")
    from_: FactText = Field(default="", alias="from", description="The number calling; none is withheld.")
    at: str = Field(default="", description="Date and time, in the plan's time zone unless it has an offset.")
    name: str = Field(default="", description="The caller's display name.")
    trunk: Name = Field(default="", description="The trunk the call comes in on.")
    header: dict[HeaderName, FactText] = Field(default_factory=dict, description="SIP headers and their values.")
    direction: Literal["incoming", "outgoing"] = Field(default="incoming", description="outgoing: we place it.")
    vars: dict[VariableName, FactText] = Field(
        default_factory=dict, description="Values that an outgoing call is given for variables of the plan."
    )
    diversion: FactText = Field(default="", description="The number that was called first.")
    language: Languages = Field(default=(), description="Of Accept-Language, the best first.")
    seen: Days = Field(default="false", description="true: has called before; 30d: so long ago.")


class HookAnswerSource(Section):
    """What a hook answers in a test: the words of a real answer, or that there is none."""

    do: tuple[ActionSource, ...] = Field(default=(), description="Actions.")
    set: dict[VariableName, Said] = Field(default_factory=dict, description="Values of variables.")
    failed: OnlyTrue = Field(default=False, description="There is no usable answer.")


HookAnswer = Annotated[
    HookAnswerSource, BeforeValidator(_hook, json_schema_input_type=Literal["failed"] | HookAnswerSource)
]


class HappeningSource(OneOf):
    """Something that happens during the call of a test."""

    dtmf: Digit = Field(default="", description="The caller presses this key.")
    digits: Digits = Field(default="", description="The caller enters these digits.")
    said: Said = Field(default="", description="The caller says this.")
    timeout: OnlyTrue = Field(default=False, description="The caller does nothing until a menu or collect gives up.")
    failed_tools: Annotated[int, Field(ge=1)] = Field(default=1, description="So many tools have failed by now.")
    repeats: Annotated[int, Field(ge=1)] = Field(default=1, description="The caller has said it so many times.")
    silence: Annotated[Seconds, Field(gt=0)] = Field(default=1, description="Nobody has been heard for so long.")
    not_understood: Annotated[int, Field(ge=1)] = Field(default=1, description="So many turns gave no words.")
    minutes: Annotated[float, Field(gt=0)] = Field(default=1, description="The session has lasted so long.")
    cost_over: Usd = Field(default=Decimal(1), description="The call has cost so much, in USD.")
    budget: Share = Field(default=1, description="So much of the nearest limit is used up.")
    language: Language = Field(default="", description="The conversation goes over to this language.")
    sentiment: Said = Field(default="", description="The model reports this of the caller.")
    provider_down: OnlyTrue = Field(default=False, description="The model cannot be reached or is lost.")
    webhook: Name = Field(default="", description="The web service of this escalation says: escalate.")
    hook: HookAnswer = Field(default=HookAnswerSource(), description="What a hook answers.")
    transfer: TransferEnd = Field(default=TransferEnd.ANSWERED, description="What becomes of the transfer under way.")


class ExpectSource(Section):
    """What a test expects: each key given has to hold."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    route: str = Field(default="", description="The route that takes the call; '(no route)' for none.")
    session: Name = Field(default="", description="The session that is opened.")
    transfer: Name = Field(default="", description="The contact that is called in the end, after when and else.")
    reject: Annotated[int, Field(ge=400, le=699)] = Field(default=0, description="The status of a refusal.")
    play: str = Field(default="", description="A file that is played.")
    say: str = Field(default="", description="A text that is spoken, its variables filled in.")
    hang_up: OnlyTrue = Field(default=False, description="The call is ended.")
    queue: Name = Field(default="", description="The contact whose queue it goes to.")
    voicemail: Name = Field(default="", description="The mailbox that takes a message.")
    callback: Name = Field(default="", description="The mailbox that notes a wish to be called back.")
    recording: RecordingChange | None = Field(default=None, description="pause, resume or stop.")
    answers: AnswerLength | None = Field(default=None, description="short.")
    vars: dict[VariableName, FactText] = Field(default_factory=dict, description="Variables and their values.")

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not self.model_fields_set:
            words = ", ".join(type(self).model_fields)
            raise WrongValue("is empty", expected=f"expected one of {words}")
        return self


class CaseSource(Section):
    """A call and what has to become of it."""

    name: str = Field(default="", description="What the report calls it.")
    call: CallSource = Field(description="The call.")
    then: tuple[HappeningSource, ...] = Field(default=(), description="What happens during the call, in order.")
    expect: ExpectSource | None = Field(default=None, description="What has to become of it.")
    dialogue: tuple[TurnSource, ...] = Field(
        default=(), description="A conversation, held by `gateway dialplan test --live`."
    )
    contacts: dict[Name, Behaviours] = Field(
        default_factory=dict, description="What contacts do in the dialogue, one or one for each of their targets."
    )
    tools: dict[FunctionName, WebAnswer] = Field(
        default_factory=dict, description="What web services answer to tools in the dialogue, as JSON; or failed."
    )
    hooks: tuple[WebAnswer, ...] = Field(
        default=(), description="What web services answer to hooks in the dialogue, in turn, as JSON; or failed."
    )

    @model_validator(mode="after")
    def _proves_something(self) -> Self:
        if self.expect is None and not self.dialogue:
            raise WrongValue("has neither expect nor dialogue", expected="expected one of them")
        return self
