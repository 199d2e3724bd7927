"""The dialplan file as it is written: its keys, their types, and the JSON Schema that editors complete from.

These models know one value at a time. What names refer to, which routes can be reached and which files exist is checked
by `gateway.dialplan.load`, which also turns them into `gateway.dialplan.model`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway.dialplan.actions import AnswerLength, RecordingChange
from gateway.dialplan.contacts import TransferMode
from gateway.dialplan.hours import parse_date_range, parse_time_range
from gateway.dialplan.model import AGREE_KEY, CONSENT_WAIT_S, DECLINE_KEY, NO_ROUTE_STATUS, Consent
from gateway.dialplan.pattern import parse_caller, parse_number, parse_text
from gateway.dialplan.targets import parse_target
from gateway.dialplan.tool_source import FunctionName, McpSource, ToolSource
from gateway.located import Seconds, Section, WrongValue

VERSION = 1
MAX_GREETING_CHARACTERS = 1000
MAX_REASON_CHARACTERS = 100
_NAME = re.compile(r"\w[\w-]{0,63}")
_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
_DAYS_OR_EXCEPT = f"^({_DAY}(-{_DAY})?(, ?{_DAY}(-{_DAY})?)*|except)$"
_TIMES = "^[0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2}$"
_DATES = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(\.\.[0-9]{4}-[0-9]{2}-[0-9]{2})?$"
_DIGITS = "0123456789*#ABCD"
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?) ?%")


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Text that `parse` takes; kept as text, so that the file's words stay at hand."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise WrongValue(expected="expected letters, digits, - and _, at most 64")
    return text


def _version(value: int) -> int:
    if value != VERSION:
        raise WrongValue(f"is {value}, which is not known here", expected=f"expected {VERSION}")
    return value


def _digit(text: str) -> str:
    if len(text) != 1 or text.upper() not in _DIGITS:
        raise WrongValue(expected='expected one telephone key: 0 to 9, "*", "#" or A to D')
    return text.upper()


def _only_true(value: bool) -> bool:
    if not value:
        raise WrongValue("is false", expected="expected true; leave the key out for the contrary")
    return value


def _rejection(value: object) -> object:
    return {"code": value} if isinstance(value, str) else value


def _status(value: int) -> int:
    if not 400 <= value <= 699:
        raise WrongValue(f"is {value}", expected="expected a SIP status between 400 and 699")
    if value in (401, 407):
        raise WrongValue(f"is {value}, which asks for a password", expected="expected another status, such as 403")
    return value


def _reason(text: str) -> str:
    if not text.isprintable() or len(text) > MAX_REASON_CHARACTERS:
        raise WrongValue(expected=f"expected one line of at most {MAX_REASON_CHARACTERS} characters")
    return text


def _greeting(text: str) -> str:
    if not text.strip() or len(text) > MAX_GREETING_CHARACTERS:
        raise WrongValue("is empty or too long", expected=f"expected 1 to {MAX_GREETING_CHARACTERS} characters")
    return text


def _language(text: str) -> str:
    if not re.fullmatch("[a-z]{2}", text):
        raise WrongValue(expected="expected two letters of ISO 639-1, such as de")
    return text


def _header_name(text: str) -> str:
    # RFC 3261 25.1: token.
    if not re.fullmatch(r"[A-Za-z0-9.!%*_+`'~-]{1,64}", text):
        raise WrongValue(expected="expected the name of a SIP header, such as X-Queue")
    return text


def _share(value: object) -> object:
    """``80%``, as a share."""
    if not isinstance(value, str):
        return value
    if not (match := _SHARE.fullmatch(value)) or not 0 < float(match[1]) <= 100:
        raise WrongValue(expected="expected a share of the budget such as 80%, at most 100%")
    return float(match[1]) / 100


# An unquoted number is text in these files; an editor's schema has to allow both.
_NUMBER_OR_TEXT = {"type": ["string", "number"]}
Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\w[\w-]{0,63}$"})
]
Version = Annotated[int, AfterValidator(_version), WithJsonSchema({"const": VERSION})]
Status = Annotated[int, AfterValidator(_status), WithJsonSchema({"type": "integer", "minimum": 400, "maximum": 699})]
Greeting = Annotated[str, AfterValidator(_greeting)]
Language = Annotated[str, AfterValidator(_language), WithJsonSchema({"type": "string", "pattern": "^[a-z]{2}$"})]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Digit = Annotated[str, AfterValidator(_digit), WithJsonSchema({"enum": [*_DIGITS, *range(10)]})]
Share = Annotated[
    float, BeforeValidator(_share), WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})? ?%$"})
]
Usd = Annotated[Decimal, Field(gt=0, le=1_000_000), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
OnlyTrue = Annotated[bool, AfterValidator(_only_true), WithJsonSchema({"const": True})]
Number = Annotated[str, _checked(parse_number), WithJsonSchema(_NUMBER_OR_TEXT)]
Caller = Annotated[str, _checked(parse_caller), WithJsonSchema(_NUMBER_OR_TEXT)]
HeaderPattern = Annotated[str, _checked(parse_text), WithJsonSchema(_NUMBER_OR_TEXT)]
Target = Annotated[str, _checked(parse_target), WithJsonSchema(_NUMBER_OR_TEXT)]
TimeRangeText = Annotated[str, _checked(parse_time_range), WithJsonSchema({"type": "string", "pattern": _TIMES})]
DateRangeText = Annotated[str, _checked(parse_date_range), WithJsonSchema({"type": "string", "pattern": _DATES})]
FactText = Annotated[str, WithJsonSchema(_NUMBER_OR_TEXT)]
_LIST = Field(min_length=1)
Numbers = Annotated[
    tuple[Number, ...], _LIST, BeforeValidator(_one_or_more, json_schema_input_type=Number | tuple[Number, ...])
]
Callers = Annotated[
    tuple[Caller, ...], _LIST, BeforeValidator(_one_or_more, json_schema_input_type=Caller | tuple[Caller, ...])
]
Names = Annotated[
    tuple[Name, ...], _LIST, BeforeValidator(_one_or_more, json_schema_input_type=Name | tuple[Name, ...])
]
HeaderPatterns = Annotated[
    tuple[HeaderPattern, ...],
    _LIST,
    BeforeValidator(_one_or_more, json_schema_input_type=HeaderPattern | tuple[HeaderPattern, ...]),
]
TimeRanges = Annotated[
    tuple[TimeRangeText, ...],
    _LIST,
    BeforeValidator(_one_or_more, json_schema_input_type=TimeRangeText | tuple[TimeRangeText, ...]),
]
DateRanges = Annotated[
    tuple[DateRangeText, ...],
    BeforeValidator(_one_or_more, json_schema_input_type=DateRangeText | tuple[DateRangeText, ...]),
]


class _OneOf(Section):
    """A table with exactly one of its keys."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Self:
        keys = [self._key(name) for name in type(self).model_fields if name in self.model_fields_set]
        expected = "expected exactly one of " + ", ".join(self._key(name) for name in type(self).model_fields)
        if len(keys) != 1:
            raise WrongValue(f"has {' and '.join(keys) or 'no key'}", expected=expected)
        return self

    @classmethod
    def _key(cls, name: str) -> str:
        return cls.model_fields[name].alias or name


class HoursSource(Section):
    """Opening hours: weekdays ("mon-fri", "sat", "mon,wed") with their times, and the dates that are closed."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": {"pattern": _DAYS_OR_EXCEPT}})
    __pydantic_extra__: dict[str, TimeRanges] = Field(init=False)

    except_: DateRanges = Field(default=(), alias="except", description="Dates or ranges of dates that are closed.")

    @property
    def week(self) -> Mapping[str, tuple[str, ...]]:
        """Times of day by the weekdays as written."""
        return self.__pydantic_extra__


class ContactSource(Section):
    """Somebody a call may be sent to."""

    dial: Annotated[tuple[Target, ...], _LIST] = Field(
        description="Where to call, one after the other: sip:6001 is an extension of the trunk's PBX."
    )
    description: str = Field(default="", max_length=300, description="What the model is told about the contact.")
    when: Name = Field(default="", description="Opening hours outside which the contact is not called.")
    else_: Name = Field(default="", alias="else", description="The contact that is called instead outside the hours.")
    ring: Annotated[Seconds, Field(ge=1, le=300)] = Field(default=20.0, description="How long each target rings.")
    mode: TransferMode = Field(default=TransferMode.BLIND, description="blind: REFER. attended: the contact is called.")
    confirm: bool = Field(default=False, description="The model has to ask the caller first.")


class RecordSource(Section):
    """That callers are recorded, once they agree."""

    consent: Consent = Field(
        description="announce: they are told. ask: they press a key. given: they agreed elsewhere."
    )
    play: str = Field(default="", min_length=1, description="The announcement or question: a WAV file.")
    agree: Digit = Field(default=AGREE_KEY, description="The key of those who agree.")
    decline: Digit = Field(default=DECLINE_KEY, description="The key of those who do not.")
    wait: Annotated[Seconds, Field(ge=1, le=60)] = Field(
        default=CONSENT_WAIT_S, description="How long a key is waited for when the question has been played."
    )
    contacts: bool = Field(default=False, description="Whether contacts are recorded, whose audio the gateway carries.")


class LimitsSource(Section):
    """What one call may spend in a session."""

    minutes: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Minutes with the model.")
    money: Usd | None = Field(default=None, description="USD for the model.")


class SessionSource(Section):
    """What the caller talks to."""

    use: Name = Field(description="A realtime session of the configuration.")
    greeting: Greeting = Field(default="", description="Spoken first, as it stands.")
    instructions: str = Field(default="", description="The text, or a file ending in .md or .txt.")
    tools: tuple[str, ...] = Field(default=(), description="What the model may do: built in, or named in tools or mcp.")
    languages: tuple[Language, ...] = Field(
        default=(), description="Those that switch_language takes, the first first."
    )
    record: RecordSource | None = Field(default=None, description="Callers are recorded; without it they are not.")
    limits: LimitsSource = Field(default=LimitsSource(), description="What one call may spend here.")


class MatchSource(Section):
    """What a route asks of a call: all of it."""

    to: Numbers = Field(default=(), description="The number called.")
    from_: Callers = Field(default=(), alias="from", description="The number calling, or anonymous.")
    hours: Name = Field(default="", description="Opening hours in which the route holds.")
    trunk: Names = Field(default=(), description="The trunk the call comes in on.")
    header: dict[HeaderName, HeaderPatterns] = Field(default_factory=dict, description="SIP headers and their values.")


class RejectSource(Section):
    """A refusal with a reason phrase of its own."""

    code: Status
    reason: Annotated[str, AfterValidator(_reason)] = ""


Rejection = Annotated[RejectSource, BeforeValidator(_rejection, json_schema_input_type=Status | RejectSource)]


class ActionSource(_OneOf):
    """One thing to do."""

    session: Name = Field(default="", description="Connect the caller with a session of this plan.")
    play: str = Field(default="", min_length=1, description="Play a WAV file, relative to the plan.")
    transfer: Name = Field(default="", description="Connect the caller with a contact.")
    reject: Rejection = Field(default=RejectSource(code=NO_ROUTE_STATUS), description="Refuse the call.")
    hang_up: OnlyTrue = Field(default=False, description="End the call.")
    recording: RecordingChange = Field(
        default=RecordingChange.STOP, description="Pause, resume or stop the recording that is under way."
    )
    answers: AnswerLength = Field(default=AnswerLength.SHORT, description="short: the model answers in one sentence.")


class EventSource(_OneOf):
    """Something that happens during a session."""

    dtmf: Digit = Field(default="", description="The caller presses this key.")
    provider_down: OnlyTrue = Field(default=False, description="The model cannot be reached or is lost.")
    budget: Share = Field(default=1, description="This share of the nearest limit on spending is used up.")
    cost_over: Usd = Field(default=Decimal(1), description="The call has cost more than this, in USD.")


Actions = Annotated[tuple[ActionSource, ...], _LIST]


class RouteSource(Section):
    """A rule: the first one that matches takes the call."""

    name: Name
    match: MatchSource = Field(default_factory=MatchSource, description="Without it the route takes every call.")
    do: Actions


class EscalationSource(Section):
    """What happens on an event, whatever the model thinks."""

    name: Name
    when: EventSource
    do: Actions


class CallSource(Section):
    """The call of a test."""

    to: FactText
    from_: FactText = Field(default="", alias="from")
    at: str = Field(default="", description="Date and time, in the plan's time zone unless it has an offset.")
    name: str = Field(default="", description="The caller's display name.")
    trunk: Name = ""
    header: dict[HeaderName, FactText] = Field(default_factory=dict)


class ExpectSource(Section):
    """What a test expects: each key given has to hold."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    route: str = Field(default="", description="The route that takes the call; '(no route)' for none.")
    session: Name = ""
    transfer: Name = Field(default="", description="The contact that is called in the end, after when and else.")
    reject: Annotated[int, Field(ge=400, le=699)] = 0
    play: str = ""
    hang_up: OnlyTrue = False
    recording: RecordingChange | None = None
    answers: AnswerLength | None = None

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not self.model_fields_set:
            raise WrongValue(
                "is empty", expected="expected route, session, transfer, reject, play, hang_up, recording or answers"
            )
        return self


class CaseSource(Section):
    """A call and what has to become of it."""

    name: str = ""
    call: CallSource
    then: tuple[EventSource, ...] = Field(default=(), description="What happens during the session, in order.")
    expect: ExpectSource


class PlanSource(Section):
    """A dialplan: who may be called, when, what to say, when to give up and fetch a human."""

    version: Version
    name: Name
    timezone: str = Field(description="Of all times in the plan, such as Europe/Berlin.")
    hours: dict[Name, HoursSource] = Field(default_factory=dict, description="Named opening hours.")
    contacts: dict[Name, ContactSource] = Field(
        default_factory=dict, description="The only places a call may ever be sent to."
    )
    sessions: dict[Name, SessionSource] = Field(default_factory=dict, description="What callers talk to.")
    tools: dict[FunctionName, ToolSource] = Field(default_factory=dict, description="What sessions may do.")
    mcp: dict[FunctionName, McpSource] = Field(default_factory=dict, description="Servers whose tools they may use.")
    routes: Annotated[tuple[RouteSource, ...], _LIST] = Field(description="First match wins.")
    escalations: tuple[EscalationSource, ...] = Field(default=(), description="Decided here, not by the model.")
    tests: tuple[CaseSource, ...] = Field(default=(), description="Calls and what has to become of them.")


class _EditorSchema(GenerateJsonSchema):
    """Without what only this module needs: titles made from names, and defaults that stand for "not given"."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return (
            super().default_schema(schema)
            if isinstance(schema.get("default"), float)
            else self.generate_inner(schema["schema"])
        )


def schema() -> dict[str, JsonValue]:
    """The JSON Schema (2020-12) of a dialplan file, for editors."""
    document = PlanSource.model_json_schema(schema_generator=_EditorSchema)
    return {"$schema": GenerateJsonSchema.schema_dialect, **document}
