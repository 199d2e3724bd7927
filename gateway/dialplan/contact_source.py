"""The sections ``contacts`` and ``mailboxes`` of a dialplan file as they are written."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.dialplan.action_source import PromptSource
from gateway.dialplan.contacts import ACCEPT_KEY, ACCEPT_WAIT_S, REFUSE_KEY, SummaryWay, TransferMode
from gateway.dialplan.mailboxes import MESSAGE_LIMIT_S, MESSAGE_SILENCE_S
from gateway.dialplan.source_values import LIST, Digit, Emails, Line, Name, OneOf, Target, TextPattern, one_or_more
from gateway.dialplan.tool_source import RequestSource
from gateway.located import Seconds, Section, WrongValue

Count = Annotated[int, Field(ge=1, le=10_000)]
Ways = Annotated[
    tuple[SummaryWay, ...],
    LIST,
    BeforeValidator(one_or_more, json_schema_input_type=SummaryWay | tuple[SummaryWay, ...]),
]


def _confirmation(value: object) -> object:
    """``true``, ``false``, or ``dtmf``."""
    words = {"true": True, "false": False, "dtmf": "dtmf"}
    if isinstance(value, str) and value.casefold() not in words:
        raise WrongValue(expected="expected true, false or dtmf")
    return words[value.casefold()] if isinstance(value, str) else value


Confirmation = Annotated[
    bool | Literal["dtmf"], BeforeValidator(_confirmation), WithJsonSchema({"enum": [True, False, "dtmf"]})
]


class AcceptSource(Section):
    """The key by which a contact takes a call."""

    key: Digit = Field(default=ACCEPT_KEY, description="Takes the call.")
    refuse: Digit = Field(default=REFUSE_KEY, description="Does not take it.")
    wait: Annotated[Seconds, Field(ge=1, le=60)] = Field(
        default=ACCEPT_WAIT_S, description="How long a key is waited for; none is a refusal."
    )


class QuotaSource(Section):
    """How often a contact may be called."""

    per_call: Count | None = Field(default=None, description="Within one call.")
    per_hour: Count | None = Field(default=None, description="Within an hour, by all calls.")


class ContactSource(Section):
    """Somebody a call may be sent to."""

    dial: Annotated[tuple[Target, ...], LIST] = Field(
        default=(), description="Where to call, one after the other: sip:6001 is an extension of the trunk's PBX."
    )
    pattern: TextPattern = Field(
        default="", description="Numbers that may be asked for instead: digits that match as a whole, /[1-7][0-9]{3}/."
    )
    description: str = Field(default="", max_length=300, description="What the model is told about the contact.")
    when: Name = Field(default="", description="Opening hours outside which the contact is not called.")
    else_: Name = Field(
        default="", alias="else", description="The contact or mailbox that takes the call where this one does not."
    )
    ring: Annotated[Seconds, Field(ge=1, le=300)] = Field(default=20.0, description="How long each target rings.")
    mode: TransferMode | None = Field(
        default=None,
        description="blind: the PBX connects. attended: the contact is called first. warm: and told what about.",
    )
    trunk: Name = Field(default="", description="The trunk that dials; the caller's own unless given.")
    confirm: Confirmation = Field(
        default=False, description="true: the model has to ask the caller first. dtmf: the contact presses a key."
    )
    accept: AcceptSource | None = Field(default=None, description="The key by which the contact takes the call.")
    summary: Ways = Field(default=(), description="How the contact learns what it is about: whisper, header, webhook.")
    webhook: RequestSource | None = Field(default=None, description="The web service that gets the summary.")
    music: str = Field(default="", min_length=1, description="What the caller hears meanwhile: a WAV file.")
    quota: QuotaSource = Field(default=QuotaSource(), description="How often the contact may be called.")

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if bool(self.dial) == bool(self.pattern):
            has = "dial and pattern" if self.dial else "neither dial nor pattern"
            raise WrongValue(f"has {has}", expected="expected exactly one of them")
        return self


class EmailSource(Section):
    """A letter that tells of a message."""

    to: Emails = Field(description="Who gets it.")
    subject: Line = Field(default="", description="One that names mailbox and caller unless given.")
    attach: bool = Field(default=True, description="Whether the recording goes along.")


class WebhookSource(RequestSource):
    """A request that tells of a message. Its facts may stand in it: ``{text}``, ``{callback}``, ``{caller.number}``."""

    attach: bool = Field(default=False, description="Whether the recording goes along, as base64 in ``audio``.")


class NoticeSource(OneOf):
    """Who is told of a message."""

    webhook: WebhookSource = Field(default=None, description="A web service.")  # type: ignore[assignment]
    email: EmailSource = Field(default=None, description="A letter by the mail server of the configuration.")  # type: ignore[assignment]


class MailboxSource(PromptSource):
    """Where callers leave messages."""

    beep: bool = Field(default=True, description="Whether a beep begins the message.")
    limit: Annotated[Seconds, Field(ge=5, le=1800)] = Field(default=MESSAGE_LIMIT_S, description="Longest message.")
    silence: Annotated[Seconds, Field(ge=1, le=60)] = Field(
        default=MESSAGE_SILENCE_S, description="How much silence ends it."
    )
    transcript: bool = Field(default=True, description="Whether its words are written down.")
    notify: tuple[NoticeSource, ...] = Field(default=(), description="Who is told: webhook, email.")
