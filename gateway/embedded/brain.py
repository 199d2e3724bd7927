"""What the embedded server says: a dialogue written in YAML, one file for the recogniser and for the replies.

::

    greeting, fallback            said first, and where nothing was understood
    intents: name: phrases        what callers say (notation: `grammar.py`); also the keys they press
                   reply          what they hear; {slot} is filled in
                   call           a tool of the session to call behind the reply, while it is offered
    slots: name: [values]         or `tool: NAME`: the values are what that tool's enum parameter allows, so a session
                                  whose `transfer` tool names contacts can be asked for each of them

`Dialogue` is one conversation's state. It is pure: words and tool results in, a `Reply` out.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gateway.embedded.grammar import Grammar, Meaning, Node, PhraseError, normalize, parse_phrase, slots_of
from gateway.embedded.sections import ChatSection, RecognizerSection, VoiceSection
from gateway.embedded.session import FunctionTool
from gateway.located import Section, Substitution, WrongValue, hint, load_yaml, validate

RECEPTION = Path(__file__).parent / "brains" / "reception.yaml"
"""The dialogue that ships: the receptionist of a company that does not exist."""

_QUOTED = re.compile(r"[\"“](.+)[\"”]", re.DOTALL)
_FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_KEYS_PRESSED = re.compile(r"\bkeys?:?\s+([0-9A-D*#](?:\s*[0-9A-D*#])*)\s*$")


@dataclass(frozen=True, slots=True)
class Say:
    """Speak a text."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function; `arguments` is JSON."""

    name: str
    arguments: str


Reply = tuple[Say | Call, ...]
"""What one response says and does, in order."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller said or wrote; `is_certain` where it can be acted on without asking."""

    text: str
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered: the call it belongs to, and its output, JSON or not."""

    name: str
    arguments: str
    output: str


def _phrase(text: str) -> str:
    try:
        parse_phrase(text)
    except PhraseError as error:
        raise WrongValue(str(error), expected="expected words, [optional], (this | that), {slot}") from error
    return text


Phrase = Annotated[str, AfterValidator(_phrase)]


class ToolCallPlan(Section):
    """A tool to call. Without `arguments` the slots that come from the tool fill it."""

    tool: str
    prefer: tuple[str, ...] = ()
    """Values for the tool's enum parameter when no slot names one: the first that is offered."""


class Intent(Section):
    """One thing that callers want."""

    phrases: tuple[Phrase, ...]
    keys: tuple[str, ...] = ()
    """Telephone keys that mean the same."""
    reply: str
    call: ToolCallPlan | None = None
    without_tool: str = ""
    """Said instead where the session does not offer the tool; empty: the reply alone."""
    succeeded: str = ""
    """Said when the tool has answered; empty: nothing, the tool did all there was to do."""
    failed: str = ""
    """Said when the tool reports a failure."""


class SlotSource(Section):
    """Values that a tool's enum parameter allows."""

    tool: str


class Script(Section):
    """A brain file."""

    name: str
    greeting: str
    fallback: Annotated[tuple[str, ...], Field(min_length=1)]
    """Said in turn where nothing was understood."""
    prompt: str = "What can I do for you?"
    """Said when the client asks for a response and nothing new was said."""
    idle: str = "Are you still there?"
    result: str = "Thank you, that is done."
    """Said for tools that no intent speaks about."""
    trouble: str = "I am sorry, that did not work. Is there anything else I can do for you?"
    question: str = ""
    """Asked, with {phrase} for what was heard, before a tool is called on words that were not clear; empty: never."""
    affirmative: str = ""
    """Name of the intent that answers the question with yes."""
    negative: str = ""
    """Name of the intent that answers the question with no."""
    courtesies: tuple[str, ...] = ()
    """Words that may stand before and behind every phrase."""
    greetings: tuple[str, ...] = ()
    """Words that may stand before every phrase."""
    slots: dict[str, tuple[str, ...] | SlotSource] = Field(default_factory=dict)
    intents: dict[str, Intent] = Field(default_factory=dict)
    chat: ChatSection | None = None
    """A language model that answers in the place of the intents, whose phrases remain what the recogniser hears."""
    recognizer: RecognizerSection | None = None
    voices: dict[str, VoiceSection] = Field(default_factory=dict)
    """Voices of other engines, by the names that sessions ask for."""

    @model_validator(mode="after")
    def _has_answers(self) -> Script:
        if not self.intents and self.chat is None:
            raise WrongValue("has neither intents nor a chat model", expected="expected intents, or chat")
        return self

    @model_validator(mode="after")
    def _answers_are_known(self) -> Script:
        for name in filter(None, (self.affirmative, self.negative)):
            if name not in self.intents:
                raise WrongValue(f"names an intent {name!r} that is not there", expected=hint(name, self.intents))
        return self

    @model_validator(mode="after")
    def _slots_are_known(self) -> Script:
        for name, intent in self.intents.items():
            for phrase in intent.phrases:
                for slot in sorted(slots_of(parse_phrase(phrase)) - set(self.slots)):
                    raise WrongValue(f"has an unknown slot {slot!r} in intent {name!r}", expected="see slots")
        return self

    @cached_property
    def parsed_phrases(self) -> tuple[tuple[str, Node], ...]:
        """Every phrase with its intent's name."""
        return tuple((name, parse_phrase(phrase)) for name, intent in self.intents.items() for phrase in intent.phrases)

    def slot_values(self, tools: Iterable[FunctionTool]) -> dict[str, tuple[str, ...]]:
        """What may be said in each slot while `tools` are offered."""
        offered = {tool.name: tool for tool in tools}
        values: dict[str, tuple[str, ...]] = {}
        for name, source in self.slots.items():
            if isinstance(source, SlotSource):
                tool = offered.get(source.tool)
                values[name] = tuple(map(spoken_name, _enum_values(tool))) if tool else ()
            else:
                values[name] = tuple(map(normalize, source))
        return values


def load_script(path: Path) -> Script:
    """Read a brain file.

    Raises:
        ConfigurationError: with every problem in it, at its place.
    """
    script = validate(Script, load_yaml(path).with_texts(Substitution(os.environ), below=("chat",)))
    return script.model_copy(
        update={
            "recognizer": script.recognizer.beside(path.parent) if script.recognizer else None,
            "voices": {name: voice.beside(path.parent) for name, voice in script.voices.items()},
        }
    )


class Dialogue:
    """One conversation by a script; `grammar` gives what may be said while certain tools are offered."""

    def __init__(self, script: Script, grammar: Callable[[Sequence[FunctionTool]], Grammar]) -> None:
        self._script = script
        self._grammar = grammar
        self._fallbacks = 0
        self._asked: Meaning | None = None

    def aside(self) -> Dialogue:
        """The same conversation at the same point, to answer something that is not to count in it."""
        return copy.copy(self)

    def greet(self) -> Reply:
        """Open the conversation."""
        return (Say(self._script.greeting),)

    def prompt(self) -> Reply:
        """Go on although nothing new was said."""
        return (Say(self._script.prompt),)

    def idle(self) -> Reply:
        """The caller has been silent for long."""
        return (Say(self._script.idle),)

    @property
    def expected(self) -> frozenset[str]:
        """The intents that answer what the caller was asked; none where nothing was."""
        if self._asked is None:
            return frozenset()
        return frozenset(filter(None, (self._script.affirmative, self._script.negative)))

    def understands(self, text: str, tools: Sequence[FunctionTool]) -> bool:
        """Whether `text` means anything to the script."""
        return self._grammar(tools).interpret(text) is not None

    def answer(self, heard: Heard | None, tools: Sequence[FunctionTool]) -> Reply:
        """Answer what the caller said or wrote; None where it could not be made out."""
        meaning = self._grammar(tools).interpret(heard.text) if heard else None
        asked, self._asked = self._asked, None
        if heard is None or meaning is None:
            return self._fall_back()
        if asked is not None and meaning.intent == self._script.affirmative:
            return self._carry_out(asked, tools)
        if asked is not None and meaning.intent == self._script.negative:
            return self.prompt()
        if not heard.is_certain and self._script.question and self._script.intents[meaning.intent].call is not None:
            self._asked = meaning
            return (Say(fill(self._script.question, {"phrase": heard.text})),)
        return self._carry_out(meaning, tools)

    def notice(self, text: str, tools: Sequence[FunctionTool]) -> Reply:
        """React to a fact told by the system: keys that were pressed, or trouble."""
        pressed = _KEYS_PRESSED.search(text)
        if pressed is None:
            failed = "fail" in text.lower()
            return (Say(self._script.trouble if failed else self._script.result),)
        keys = pressed.group(1).replace(" ", "")
        for name, intent in self._script.intents.items():
            if keys in intent.keys:
                return self._carry_out(Meaning(intent=name), tools)
        return self._fall_back()

    def report(self, result: ToolResult) -> Reply:
        """Tell the caller what came of a tool call."""
        intent = next((i for i in self._script.intents.values() if i.call and i.call.tool == result.name), None)
        fields = _fields_of(result)
        if is_failure(result.output):
            text = (intent.failed if intent else "") or self._script.trouble
        else:
            text = intent.succeeded if intent else self._script.result
        return (Say(fill(text, fields)),) if text else ()

    def _fall_back(self) -> Reply:
        text = self._script.fallback[self._fallbacks % len(self._script.fallback)]
        self._fallbacks += 1
        return (Say(text),)

    def _carry_out(self, meaning: Meaning, tools: Sequence[FunctionTool]) -> Reply:
        intent = self._script.intents[meaning.intent]
        if intent.call is None:
            return (Say(fill(intent.reply, meaning.slots)),)
        tool = next((tool for tool in tools if tool.name == intent.call.tool), None)
        if tool is None:
            return (Say(fill(intent.without_tool or intent.reply, meaning.slots)),)
        arguments = _arguments(tool, meaning, intent.call)
        slots = dict(meaning.slots)
        for name, source in self._script.slots.items():
            if isinstance(source, SlotSource) and source.tool == tool.name and name not in slots:
                chosen = (spoken_name(value) for value in _enum_values(tool) if value in arguments.values())
                slots[name] = next(chosen, "")
        return (Say(fill(intent.reply, slots)), Call(tool.name, json.dumps(arguments)))


def quoted_text(instructions: str | None) -> str | None:
    """The words that instructions give in quotation marks, from the first mark to the last."""
    found = _QUOTED.search(instructions) if instructions else None
    return found.group(1).strip() if found else None


def spoken_name(value: str) -> str:
    """How a contact or another enum value is said: `front_desk` as "front desk"."""
    return normalize(re.sub(r"[_\-./]+", " ", value))


def fill(text: str, fields: Mapping[str, str]) -> str:
    """`text` with `{name}` replaced where the field is known, and left out where it is not."""
    return _FIELD.sub(lambda match: fields.get(match.group(1), ""), text)


def is_failure(output: str) -> bool:
    """Whether a tool's output says that it did not do what was asked."""
    try:
        data = json.loads(output)
    except ValueError:
        return "error" in output.lower() or "failed" in output.lower()
    if not isinstance(data, dict):
        return False
    status = str(data.get("status", data.get("result", ""))).lower()
    return bool(data.get("error")) or data.get("ok") is False or status in ("failed", "refused", "error", "busy")


def _fields_of(result: ToolResult) -> dict[str, str]:
    fields: dict[str, str] = {}
    for text in (result.arguments, result.output):
        try:
            data = json.loads(text)
        except ValueError:
            data = {"output": text}
        # A client may put what the tool gave into "result", beside what it says about it.
        inner = data.get("result") if isinstance(data, dict) else None
        for known in (data, inner):
            if isinstance(known, dict):
                fields |= {name: spoken_name(value) for name, value in known.items() if isinstance(value, str)}
    return fields


def _properties(tool: FunctionTool) -> Iterator[tuple[str, Mapping[str, object]]]:
    properties = (tool.parameters or {}).get("properties")
    if isinstance(properties, dict):
        yield from ((name, schema) for name, schema in properties.items() if isinstance(schema, dict))


def _enum_parameter(tool: FunctionTool) -> tuple[str, tuple[str, ...]] | None:
    """The tool's first parameter that allows named values only, and these."""
    for name, schema in _properties(tool):
        values = schema.get("enum")
        if isinstance(values, list):
            return name, tuple(value for value in values if isinstance(value, str))
    return None


def _enum_values(tool: FunctionTool) -> tuple[str, ...]:
    found = _enum_parameter(tool)
    return found[1] if found else ()


def _arguments(tool: FunctionTool, meaning: Meaning, plan: ToolCallPlan) -> dict[str, str]:
    """Arguments for `tool`: its enum parameter from the slots or the plan, other required texts from the meaning."""
    arguments: dict[str, str] = {}
    if found := _enum_parameter(tool):
        name, values = found
        asked = [value for value in values if spoken_name(value) in meaning.slots.values()]
        preferred = [value for value in plan.prefer if value in values]
        if chosen := [*asked, *preferred, *values][:1]:
            arguments[name] = chosen[0]
    required = (tool.parameters or {}).get("required")
    for name, schema in _properties(tool):
        is_missing_text = schema.get("type") == "string" and name not in arguments
        if is_missing_text and isinstance(required, list) and name in required:
            arguments[name] = f"The caller asked for {meaning.slots.get('contact', meaning.intent)}."
    return arguments
