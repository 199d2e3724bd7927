"""The sections ``tools`` and ``mcp`` of a dialplan file as they are written.

What names and templates in them refer to is checked by `gateway.dialplan.tool_load`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from gateway.dialplan.tools import FILLER_AFTER_S, TOOL_TIMEOUT_CAP_S, TOOL_TIMEOUT_S, VERIFY_TRIES, plain_code
from gateway.located import JsonValue, Seconds, Section, WrongValue

MAX_FILLER_CHARACTERS = 300
MAX_DESCRIPTION_CHARACTERS = 1000
_FUNCTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,47}")


def _function_name(text: str) -> str:
    if not _FUNCTION_NAME.fullmatch(text):
        raise WrongValue(expected="expected letters a to z, digits, - and _, a letter first, at most 48")
    return text


def _field_name(text: str) -> str:
    # RFC 9110 5.1: token.
    if not re.fullmatch(r"[A-Za-z0-9.!%*_+`'~^|$&#-]{1,64}", text):
        raise WrongValue(expected="expected the name of an HTTP header, such as Authorization")
    return text


def _field_value(text: str) -> str:
    # RFC 9110 5.5. The value may be a secret: it is not shown.
    if not text.isprintable() or not text.isascii():
        raise WrongValue("holds what a header cannot carry", expected="expected printable ASCII on one line")
    return text


def _code(text: str) -> str:
    if not 4 <= len(plain_code(text)) <= 32:
        raise WrongValue("is too short or too long", expected="expected 4 to 32 characters beside spaces and dashes")
    return text


FunctionName = Annotated[
    str, AfterValidator(_function_name), WithJsonSchema({"type": "string", "pattern": f"^{_FUNCTION_NAME.pattern}$"})
]
Headers = dict[Annotated[str, AfterValidator(_field_name)], Annotated[str, AfterValidator(_field_value)]]
Code = Annotated[str, AfterValidator(_code), WithJsonSchema({"type": ["string", "number"]})]
Mark = Annotated[str, AfterValidator(_function_name)]
Timeout = Annotated[Seconds, Field(gt=0, le=TOOL_TIMEOUT_CAP_S)]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
FillerText = Annotated[str, Field(max_length=MAX_FILLER_CHARACTERS)]
FillerAfter = Annotated[Seconds, Field(ge=0, le=TOOL_TIMEOUT_CAP_S)]


class RequestSource(Section):
    """A request to a web service of yours. ``{caller.number}`` and ``{vars.NAME}`` may stand in it."""

    method: Method = Field(default="POST", description="GET, POST, PUT, PATCH or DELETE.")
    url: str = Field(description="https://HOST/PATH; what is filled in cannot choose the host.")
    query: dict[str, str] = Field(default_factory=dict, description="Parameters behind the ?.")
    json_: JsonValue = Field(default=None, alias="json", description="The body, instead of the usual one.")
    headers: Headers = Field(default_factory=dict, description="Secrets as ${env:NAME} or ${file:/path}.")
    timeout: Timeout = Field(default=TOOL_TIMEOUT_S, description="For everything, retries included.")
    retries: Annotated[int, Field(ge=0, le=3)] = Field(default=1, description="Where it is safe to ask again.")
    idempotent: bool = Field(default=False, description="A POST or PATCH that may be sent twice.")
    ca_file: str = Field(default="", min_length=1, description="Certificates to trust instead of the system's.")


class HttpSource(RequestSource):
    """A request to a web service. ``{argument}`` may stand in the path, the query and the body."""

    method: Method = Field(default="GET", description="GET, POST, PUT, PATCH or DELETE.")
    result: str = Field(default="", description="The part of the answer that the model gets, as order.status.")
    result_schema: JsonValue = Field(default=None, description="JSON Schema of the result.")


class VerifySource(Section):
    """A code that the caller has to know."""

    codes: Annotated[tuple[Code, ...], Field(min_length=1)] = Field(description="As ${env:NAME} or ${file:/path}.")
    tries: Annotated[int, Field(ge=1, le=10)] = Field(default=VERIFY_TRIES, description="In one call.")


class ToolSource(Section):
    """Something the model may do."""

    description: str = Field(min_length=1, max_length=MAX_DESCRIPTION_CHARACTERS, description="For the model.")
    parameters: JsonValue = Field(default=None, description="Arguments and their JSON Schema.")
    optional: tuple[str, ...] = Field(default=(), description="Arguments that may be missing.")
    http: HttpSource | None = Field(default=None, description="A request to a web service.")
    verify: VerifySource | None = Field(default=None, description="A code that the caller has to know.")
    filler: FillerText = Field(default="", description="Said when the result is long in coming.")
    filler_after: FillerAfter = Field(default=FILLER_AFTER_S, description="How long that is.")
    after: Mark | None = Field(default=None, description="The mark without which it is not offered.")
    grants: Mark | None = Field(default=None, description="The mark that the caller has when it has succeeded.")

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if (self.http is None) == (self.verify is None):
            has = "http and verify" if self.http else "neither http nor verify"
            raise WrongValue(f"has {has}", expected="expected exactly one of them")
        return self


class McpSource(Section):
    """A server of the Model Context Protocol."""

    command: str = Field(default="", min_length=1, description="The program that is run: stdio.")
    args: tuple[str, ...] = Field(default=(), description="Its arguments.")
    env: dict[str, str] = Field(default_factory=dict, description="Beside a few harmless variables of ours.")
    url: str = Field(default="", min_length=1, description="Streamable HTTP.")
    headers: Headers = Field(default_factory=dict, description="Secrets as ${env:NAME} or ${file:/path}.")
    ca_file: str = Field(default="", min_length=1, description="Certificates to trust instead of the system's.")
    tools: tuple[str, ...] | None = Field(default=None, description="Those that are offered; all without it.")
    timeout: Timeout = Field(default=TOOL_TIMEOUT_S, description="Of one call.")
    filler: FillerText = Field(default="", description="Said when a result is long in coming.")
    filler_after: FillerAfter = Field(default=FILLER_AFTER_S, description="How long that is.")
    after: Mark | None = Field(default=None, description="The mark without which its tools are not offered.")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if bool(self.command) == bool(self.url):
            has = "command and url" if self.url else "neither command nor url"
            raise WrongValue(f"has {has}", expected="expected exactly one of them")
        useless = ("headers", "ca_file") if self.command else ("args", "env")
        for key in useless:
            if key in self.model_fields_set:
                raise WrongValue(
                    f"has {key} beside {'command' if self.command else 'url'}", expected="expected no such"
                )
        return self
