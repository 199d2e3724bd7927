"""What a plan's tools are: built in, a request to a web service, a check of a code, a server that speaks MCP.

Everything here is frozen; `gateway.calls.tools` runs it. What may be a secret (headers, addresses, codes, the
environment of a command) is left out of every ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gateway.dialplan.arguments import Checker
from gateway.dialplan.request_template import JsonTemplate, TextTemplate, UrlTemplate

FILLER_AFTER_S = 0.7
MAX_DIGITS = 32
MAX_NOTE_CHARACTERS = 2000
TOOL_TIMEOUT_S, TOOL_TIMEOUT_CAP_S = 4.0, 10.0
VERIFY_TRIES = 3

IDEMPOTENT_METHODS = ("GET", "PUT", "DELETE")
"""RFC 9110 9.2.2, of the methods there are here."""


class SessionTool(StrEnum):
    """What a session's model may do besides talking, without anything from outside."""

    TRANSFER = "transfer"
    HANG_UP = "hang_up"
    SEND_DTMF = "send_dtmf"
    TAKE_MESSAGE = "take_message"
    NOTE = "note"
    SWITCH_LANGUAGE = "switch_language"
    REPORT_SENTIMENT = "report_sentiment"
    """Offered where an escalation asks for it, listed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDefinition:
    """A tool as models are told of it: ``parameters`` is a JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request to a web service. ``select`` is the way to the part of the answer that is the result."""

    method: str
    url: UrlTemplate = field(repr=False)
    query: Mapping[str, TextTemplate] = field(default_factory=dict, repr=False)
    body: JsonTemplate | None = field(default=None, repr=False)
    """None: the arguments, where the method has a body."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float = TOOL_TIMEOUT_S
    """For everything, retries included."""
    retries: int = 1
    is_idempotent: bool = True
    """It may be sent twice, though the first may have done its work."""
    ca_file: Path | None = None
    select: tuple[str, ...] = ()
    result: Checker | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCheck:
    """Whether the argument ``code`` is one of the codes, in at most ``tries`` tries a call."""

    codes: tuple[str, ...] = field(repr=False)
    tries: int = VERIFY_TRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """What is said when a result is longer in coming than ``after_s``."""

    text: str
    after_s: float = FILLER_AFTER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPlan:
    """One tool of a plan. Offered once the caller has the mark ``after``; success gives the caller ``grants``."""

    definition: ToolDefinition
    arguments: Checker = field(repr=False)
    run: HttpRequest | CodeCheck
    filler: Filler | None = None
    after: str | None = None
    grants: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPlan:
    """A server of the Model Context Protocol: a ``command`` that is run, or a ``url`` (streamable HTTP).

    ``tools`` None: all that it has. Two plans that say the same share one server.
    """

    name: str
    command: tuple[str, ...] = field(default=(), repr=False)
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    folder: Path | None = None
    url: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    tools: tuple[str, ...] | None = None
    timeout_s: float = TOOL_TIMEOUT_S
    filler: Filler | None = None
    after: str | None = None


def plain_code(code: str) -> str:
    """A code as it is compared: spaces, dashes, upper and lower case do not count."""
    return "".join(c for c in code.casefold() if c not in " -")


def function_name(server: str, tool: str) -> str:
    """The name under which models know a tool of an MCP server: unique, of the characters that providers take."""
    return f"{server}_" + "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in tool)


def _definition(name: SessionTool, description: str, properties: Mapping[str, object]) -> ToolDefinition:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key != "callback"],
        "additionalProperties": False,
    }
    return ToolDefinition(name=name.value, description=description, parameters=parameters)


HANG_UP = _definition(SessionTool.HANG_UP, "End the call. Use it after you and the caller have said goodbye.", {})
SEND_DTMF = _definition(
    SessionTool.SEND_DTMF,
    "Press telephone keys towards the person or machine at the other end.",
    {"digits": {"type": "string", "pattern": "^[0-9*#A-D]+$", "minLength": 1, "maxLength": MAX_DIGITS}},
)
TAKE_MESSAGE = _definition(
    SessionTool.TAKE_MESSAGE,
    "Take a message for the people here. Read it back to the caller first.",
    {
        "text": {"type": "string", "minLength": 1, "maxLength": MAX_NOTE_CHARACTERS},
        "callback": {
            "type": "string",
            "pattern": "^[+]?[0-9][0-9 ()/.-]{0,31}$",
            "description": "The number to call back, where it is another one than the caller's own.",
        },
    },
)
NOTE = _definition(
    SessionTool.NOTE,
    "Write down what a colleague who takes the call over has to know. The caller does not hear it.",
    {"text": {"type": "string", "minLength": 1, "maxLength": MAX_NOTE_CHARACTERS}},
)


def switch_language(languages: Sequence[str]) -> ToolDefinition:
    """The tool that changes the conversation's language."""
    return _definition(
        SessionTool.SWITCH_LANGUAGE,
        "Go on in another language, when the caller speaks or wants it.",
        {"language": {"type": "string", "enum": list(languages), "description": "ISO 639-1"}},
    )


def report_sentiment(kinds: Sequence[str]) -> ToolDefinition:
    """The tool by which the model tells how the caller is: one of the plan's words for it."""
    return _definition(
        SessionTool.REPORT_SENTIMENT,
        "Report at once that the caller shows one of these. The caller does not hear it; go on as before.",
        {"sentiment": {"type": "string", "enum": list(kinds)}},
    )
