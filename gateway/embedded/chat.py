"""A language model in the place of the dialogue: what is asked of a chat endpoint, and its answer as it comes.

Any endpoint of the form of OpenAI's Chat Completions will do: `POST BASE_URL/chat/completions` with `stream: true`,
answered as server-sent events. The conversation's items become the messages, the session's functions the tools. The
answer is handed on a sentence at a time, so that the first is spoken while the model writes the second. No I/O here;
`chat_client.py` is the shell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.embedded.brain import Call, Reply, Say
from gateway.embedded.items import FunctionCall, FunctionCallOutput, Item, Message
from gateway.embedded.sections import ChatSection
from gateway.embedded.session import FunctionTool, NamedTool, ToolChoice
from gateway.embedded.voice import LONGEST_SENTENCE
from gateway.errors import GatewayError

MAX_REPLY_CHARACTERS = 20_000
"""Length at which an answer is given up: a model that does not end would speak for half an hour."""

_SENTENCE_END = re.compile(r"[.!?;:\n][\"')\]]*\s+|\n")
_MARKS = re.compile(r"[*_`#]+")
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_CUT_OFF = "(The caller interrupted; what was heard of this is not known.)"


class ChatError(GatewayError):
    """A chat endpoint did not answer, or not as it should; the message says what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Think:
    """Ask the model for a reply; answered with `Conversation.thought`."""

    number: int
    request: Mapping[str, Any]


def chat_request(
    section: ChatSection,
    *,
    instructions: str,
    items: Iterable[Item],
    tools: Sequence[FunctionTool],
    tool_choice: ToolChoice,
) -> dict[str, Any]:
    """The body of a request; `instructions` are those of the session, or of the response where it has its own."""
    system = "\n\n".join(text for text in (section.instructions, instructions) if text)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.extend(_messages(items))
    request: dict[str, Any] = {"model": section.model, "messages": messages, "stream": True}
    if section.temperature is not None:
        request["temperature"] = section.temperature
    if section.max_tokens is not None:
        request["max_tokens"] = section.max_tokens
    if tools and tool_choice != "none":
        request["tools"] = [_tool(tool) for tool in tools]
        request["tool_choice"] = _choice(tool_choice)
    return request | section.extra


def _messages(items: Iterable[Item]) -> Iterator[dict[str, Any]]:
    """Each item as a message; calls that follow each other are one message, whose answers have to follow at once."""
    waiting: dict[str, FunctionCall] = {}
    for item in items:
        if isinstance(item, FunctionCall):
            waiting[item.call_id] = item
        elif isinstance(item, FunctionCallOutput):
            call = waiting.pop(item.call_id, None)
            if call is not None:
                yield {"role": "assistant", "tool_calls": [_call(call)]}
                yield {"role": "tool", "tool_call_id": item.call_id, "content": item.output}
        elif text := _words(item):
            yield {"role": item.role, "content": text}


def _words(message: Message) -> str:
    """What was said; of an assistant's words that were cut, that they were."""
    return message.text or (_CUT_OFF if message.role == "assistant" and message.content else "")


def _call(call: FunctionCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    return {"id": call.call_id, "type": "function", "function": function}


def _tool(tool: FunctionTool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.name}} if choice.name else "required"
    return choice


class SentenceCutter:
    """Text in pieces of any size, sentences out: what a voice can begin with before the rest is written."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, text: str) -> list[str]:
        """Add a piece; the sentences that are complete now."""
        self._text += text
        if "<think>" in self._text and "</think>" not in self._text:
            return []
        self._text = _THOUGHTS.sub("", self._text)
        found: list[str] = []
        while place := self._next_cut():
            found.append(self._text[:place])
            self._text = self._text[place:]
        return _spoken(found)

    def _next_cut(self) -> int:
        """Where the first sentence ends, or a line too long for a sentence is cut; 0 where that is not known yet."""
        end = _SENTENCE_END.search(self._text, 0, LONGEST_SENTENCE)
        if end is not None:
            return end.end()
        if len(self._text) <= LONGEST_SENTENCE:
            return 0
        return self._text.rfind(" ", 0, LONGEST_SENTENCE) + 1 or LONGEST_SENTENCE

    def finish(self) -> list[str]:
        """The rest."""
        rest, self._text = _THOUGHTS.sub("", self._text), ""
        return _spoken([rest])


def _spoken(sentences: Iterable[str]) -> list[str]:
    """As a voice should read them: models write for screens, with stars and hashes."""
    return [text for sentence in sentences if (text := " ".join(_MARKS.sub("", sentence).split()))]


@dataclass(slots=True)
class _PartialCall:
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class ChatReader:
    """The lines of a streamed answer, turned into what is said and called.

    Raises:
        ChatError: in `feed` and `finish`, where the endpoint reports an error, breaks off, or writes no JSON.
    """

    is_finished: bool = False
    """Whether the endpoint has said that this was all."""
    _cutter: SentenceCutter = field(default_factory=SentenceCutter)
    _calls: dict[int, _PartialCall] = field(default_factory=dict)
    _characters: int = 0

    def feed(self, line: str) -> Reply:
        """One line of the stream; the sentences that it completes."""
        if not line.startswith("data:"):
            return ()  # comments that keep the connection alive, and names of events
        data = line[5:].strip()
        if data == "[DONE]":
            self.is_finished = True
            return ()
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise ChatError(f"the stream holds no JSON: {data[:80]!r}") from error
        if not isinstance(chunk, dict):
            raise ChatError(f"the stream holds no object: {data[:80]!r}")
        if chunk.get("error"):
            raise ChatError(f"the model reports: {str(chunk['error'])[:200]}")
        return tuple(Say(text) for choice in _objects(chunk.get("choices"))[:1] for text in self._read(choice))

    def finish(self) -> Reply:
        """The stream has ended: its last words, then the calls."""
        if not self.is_finished:
            raise ChatError("the stream broke off")
        calls = tuple(Call(call.name, _arguments(call)) for _, call in sorted(self._calls.items()) if call.name)
        return (*(Say(text) for text in self._cutter.finish()), *calls)

    def _read(self, choice: Mapping[str, Any]) -> list[str]:
        if choice.get("finish_reason"):
            self.is_finished = True  # some endpoints send no [DONE]
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return []
        for position, piece in enumerate(_objects(delta.get("tool_calls"))):
            index = piece.get("index")
            call = self._calls.setdefault(index if isinstance(index, int) else position, _PartialCall())
            function = piece.get("function")
            if isinstance(function, dict):
                call.name += str(function.get("name") or "")
                call.arguments += str(function.get("arguments") or "")
                self._count(call.arguments)
        content = delta.get("content")
        if not isinstance(content, str):
            return []
        self._characters += len(content)
        self._count("")
        return self._cutter.feed(content)

    def _count(self, text: str) -> None:
        if self._characters + len(text) > MAX_REPLY_CHARACTERS:
            raise ChatError(f"the answer is longer than {MAX_REPLY_CHARACTERS} characters")


def _objects(value: object) -> list[dict[str, Any]]:
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def _arguments(call: _PartialCall) -> str:
    """The arguments, which must be an object in JSON; a model that wrote none meant the empty one."""
    text = call.arguments.strip() or "{}"
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise ChatError(f"the model called {call.name[:80]} with arguments that are no object: {text[:80]!r}")
    return text
