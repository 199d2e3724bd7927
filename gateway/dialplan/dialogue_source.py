"""The ``dialogue`` of a test as it is written: turns of a caller, and the world around them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gateway.dialplan.dialogue import OUTCOMES, Behaviour
from gateway.dialplan.phrases import words_of
from gateway.dialplan.source_values import Digits, FactText, Name, OneOf, OnlyTrue, Said, VariableName, one_or_more
from gateway.located import JsonValue, Seconds, Section, WrongValue, hint

FAILED = "failed"
MOST_SILENCE_S = 600


def _with_words(text: str) -> str:
    if not words_of(text):
        raise WrongValue("has no words", expected="expected what is said")
    return text


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise WrongValue(expected=hint(text, OUTCOMES))
    return text


Words = Annotated[Said, AfterValidator(_with_words)]
OneOrMoreWords = Annotated[
    tuple[Words, ...],
    Field(min_length=1),
    BeforeValidator(one_or_more, json_schema_input_type=Words | tuple[Words, ...]),
]
Behaviours = Annotated[
    tuple[Behaviour, ...],
    Field(min_length=1),
    BeforeValidator(one_or_more, json_schema_input_type=Behaviour | tuple[Behaviour, ...]),
]
WebAnswer = JsonValue
"""What a web service answers, any JSON; the word ``failed`` stands for no usable answer."""
OutcomeName = Annotated[str, AfterValidator(_outcome), WithJsonSchema({"enum": list(OUTCOMES)})]


class TurnExpectSource(Section):
    """What has to be so at this point of a dialogue, or soon."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    route: str = Field(default="", description="The route that has taken the call; '(no route)' for none.")
    session: Name = Field(default="", description="The session that has been opened last.")
    tools: tuple[str, ...] = Field(default=(), description="Tools the model has used, in this order.")
    escalation: Name = Field(default="", description="An escalation that has fired.")
    transfer: Name = Field(default="", description="The contact that the caller has been connected with.")
    message: Words = Field(default="", description="Words of a message that the caller has left with the model.")
    voicemail: Name = Field(default="", description="The mailbox in which a message has been left.")
    callback: Name = Field(default="", description="The mailbox that has noted a wish to be called back.")
    vars: dict[VariableName, FactText] = Field(default_factory=dict, description="Variables and their values.")
    reject: Annotated[int, Field(ge=400, le=699)] = Field(default=0, description="The status of a refusal.")
    outcome: OutcomeName = Field(default="", description="How the call has ended.")


class TurnSource(OneOf):
    """One turn of a dialogue."""

    hear: OneOrMoreWords = Field(default=(), description="Words that the agent says next, one after the other.")
    say: Words = Field(default="", description="What the caller says, once the agent has finished.")
    barge_in: Words = Field(default="", description="What the caller says while the agent speaks.")
    dtmf: Digits = Field(default="", description="Keys that the caller presses.")
    silence: Annotated[Seconds, Field(gt=0, le=MOST_SILENCE_S)] = Field(
        default=1.0, description="How long the caller does nothing."
    )
    hang_up: OnlyTrue = Field(default=False, description="The caller hangs up.")
    expect: TurnExpectSource = Field(default=TurnExpectSource(), description="What has to be so now, or soon.")
