"""The dialplan file as it is written: its keys, their types, and the JSON Schema that editors complete from.

These models know one value at a time. What names refer to, which routes can be reached and which files exist is checked
by `gateway.dialplan.load`, which also turns them into `gateway.dialplan.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway.dialplan.action_source import Actions
from gateway.dialplan.contact_source import ContactSource, MailboxSource
from gateway.dialplan.example_source import CaseSource
from gateway.dialplan.model import AGREE_KEY, CONSENT_WAIT_S, DECLINE_KEY, Consent
from gateway.dialplan.phrase_source import PhrasesSource
from gateway.dialplan.source_values import (
    LIST,
    Callers,
    Closed,
    Days,
    Digit,
    FactText,
    Greeting,
    HeaderName,
    Language,
    Languages,
    Name,
    Names,
    Numbers,
    Part,
    Saids,
    TextPatterns,
    TimeRanges,
    Usd,
    VariableName,
    Version,
)
from gateway.dialplan.tool_source import FunctionName, McpSource, ToolSource
from gateway.dialplan.trigger_source import EscalationSource
from gateway.located import Seconds, Section, WrongValue

_DAY = "(mon|tue|wed|thu|fri|sat|sun)"
_KEYS_OF_HOURS = f"^({_DAY}(-{_DAY})?(, ?{_DAY}(-{_DAY})?)*|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|except)$"


class HoursSource(Section):
    """Opening hours: weekdays ("mon-fri", "sat", "mon,wed") or dates with their times, and what is closed."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": {"pattern": _KEYS_OF_HOURS}})
    __pydantic_extra__: dict[str, TimeRanges] = Field(init=False)

    except_: Closed = Field(
        default=(),
        alias="except",
        description="What is closed: dates, ranges of dates, the public holidays of a country or part of it (DE-BE).",
    )

    @model_validator(mode="before")
    @classmethod
    def _has_days(cls, written: object) -> object:
        if isinstance(written, Mapping) and "holidays" in written:
            raise WrongValue("names no day", expected="expected public holidays in except: [DE-BE]", at=("holidays",))
        return written

    @property
    def week(self) -> Mapping[str, tuple[str, ...]]:
        """Times of day by the weekdays and dates as written."""
        return self.__pydantic_extra__


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
    protect: Saids = Field(
        default=(),
        description="Heard before all else, to its end: a text, a file ending in .md or .txt, a sound ending in .wav.",
    )
    greeting: Greeting = Field(default="", description="Spoken first, as it stands.")
    instructions: str = Field(default="", description="The text, or a file ending in .md or .txt.")
    tools: tuple[str, ...] = Field(default=(), description="What the model may do: built in, or named in tools or mcp.")
    languages: tuple[Language, ...] = Field(
        default=(), description="Those that switch_language takes, the first first."
    )
    record: RecordSource | None = Field(default=None, description="Callers are recorded; without it they are not.")
    limits: LimitsSource = Field(default=LimitsSource(), description="What one call may spend here.")
    mailbox: Name = Field(default="", description="Where messages go that the model takes (take_message).")


class MatchSource(Section):
    """What a route asks of a call: all of it."""

    to: Numbers = Field(default=(), description="The number called.")
    from_: Callers = Field(default=(), alias="from", description="The number calling, or anonymous.")
    name: TextPatterns = Field(default=(), description="The display name of the caller.")
    hours: Name = Field(default="", description="Opening hours in which the route holds.")
    trunk: Names = Field(default=(), description="The trunk the call comes in on.")
    header: dict[HeaderName, TextPatterns] = Field(default_factory=dict, description="SIP headers and their values.")
    diversion: Numbers = Field(default=(), description="The number that was called first, of a call sent on to us.")
    language: Languages = Field(default=(), description="A language that the caller's telephone asks for.")
    seen: Days = Field(default="true", description="Whether the caller has called before; 30d: within so many days.")
    direction: Literal["incoming", "outgoing"] = Field(
        default="incoming", description="outgoing: of the calls that we place, which no other route takes."
    )
    split: Part = Field(default=1, description="A share of the callers, each always on the same side.")


class RouteSource(Section):
    """A rule: the first one that matches takes the call."""

    name: Name = Field(description="Which the log and tests name.")
    match: MatchSource = Field(default_factory=MatchSource, description="Without it the route takes every call.")
    do: Actions = Field(description="What is done with the call.")


class PlanSource(Section):
    """A dialplan: who may be called, when, what to say, when to give up and fetch a human."""

    version: Version = Field(description="Of the language.")
    name: Name = Field(description="Of the plan.")
    timezone: str = Field(description="Of all times in the plan, such as Europe/Berlin.")
    use: Name = Field(
        default="default", description="The realtime session that speaks and listens where no session is open."
    )
    language: Language = Field(default="en", description="Of what the plan itself says and listens for.")
    phrases: PhrasesSource = Field(
        default_factory=PhrasesSource, description="What the gateway itself says, in place of what is shipped."
    )
    lists: dict[Name, Callers] = Field(default_factory=dict, description='Lists of callers: "@NAME" in from and to.')
    vars: dict[VariableName, FactText] = Field(
        default_factory=dict, description="Variables that every call begins with: {vars.NAME}."
    )
    hours: dict[Name, HoursSource] = Field(default_factory=dict, description="Named opening hours.")
    contacts: dict[Name, ContactSource] = Field(
        default_factory=dict, description="The only places a call may ever be sent to."
    )
    mailboxes: dict[Name, MailboxSource] = Field(default_factory=dict, description="Where callers leave messages.")
    sessions: dict[Name, SessionSource] = Field(default_factory=dict, description="What callers talk to.")
    tools: dict[FunctionName, ToolSource] = Field(default_factory=dict, description="What sessions may do.")
    mcp: dict[FunctionName, McpSource] = Field(default_factory=dict, description="Servers whose tools they may use.")
    routes: Annotated[tuple[RouteSource, ...], LIST] = Field(description="First match wins.")
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
