"""Which response runs, what it answers, and to whom the voice's audio belongs.

At most one response runs in the default conversation; those out of band run beside it. A response waits while a turn's
words are not known yet, then answers everything that came in since the assistant last spoke.

What is asked out of band never counts in the dialogue. Instructions for it ask a menu for the only thing it can tell
about a conversation, an account of it (`account.py`); a language model follows them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.embedded.account import account
from gateway.embedded.audio import WireFormat
from gateway.embedded.brain import Call, Dialogue, Heard, Reply, Say, ToolResult, quoted_text
from gateway.embedded.chat import Think, chat_request
from gateway.embedded.events import Identities, ServerEvents
from gateway.embedded.history import History
from gateway.embedded.items import FunctionCallOutput, Item, ItemReference, Message, Tokens, item_tokens, text_tokens
from gateway.embedded.protocol import RefusedEvent, ResponseParameters
from gateway.embedded.response import Response, ResponseOptions, ResponseState, Speak
from gateway.embedded.sections import ChatSection
from gateway.embedded.session import FunctionTool, NamedTool, SessionConfig, ToolChoice

MAX_RESPONSES = 32
"""Responses that may run at once, in the conversation and out of band: they share one voice with all other clients."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A response that runs, what was asked of it, and the items it answers where they were given."""

    response: Response
    parameters: ResponseParameters
    given: Sequence[Item] | None


class Responder:
    """All responses of one conversation. `request` takes the sentences to speak, and what a `chat` model is asked."""

    def __init__(
        self,
        *,
        dialogue: Dialogue,
        history: History,
        events: ServerEvents,
        identities: Identities,
        request: Callable[[Speak | Think], None],
        chat: ChatSection | None = None,
    ) -> None:
        self.default: Response | None = None
        self.has_made_audio = False
        self._dialogue = dialogue
        self._history = history
        self._events = events
        self._identities = identities
        self._request = request
        self._chat = chat
        self._thoughts: dict[int, Response] = {}
        self._conversation_id = identities.new("conv")
        self._running: dict[str, _Order] = {}
        self._sentences: dict[int, Response] = {}
        self._numbers = itertools.count(1)
        self._known_tokens = Tokens()
        self._audio_ms = 0

    # --- Life of a response ------------------------------------------------------------------------------------------

    def create(self, parameters: ResponseParameters, config: SessionConfig, *, words_are_known: bool) -> None:
        """Begin a response; it waits until `go_on` where the words of a turn are still being made out.

        Raises:
            RefusedEvent: one is running in the default conversation, too many are, or an item that is referred to does
                not exist.
        """
        is_in_conversation = parameters.conversation == "auto"
        if is_in_conversation and self.default is not None:
            message = (
                f"Conversation already has an active response in progress: {self.default.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise RefusedEvent("conversation_already_has_active_response", message)
        if len(self._running) >= MAX_RESPONSES:
            message = f"{len(self._running)} responses are in progress. Wait until one of them is finished."
            raise RefusedEvent("rate_limit_exceeded", message)
        given = self._given_items(parameters, WireFormat(config.audio.input.format.type))
        response = self._open(parameters, config, given)
        if is_in_conversation:
            self.default = response
        if words_are_known or not is_in_conversation:
            self._answer(response, config)

    def say(self, reply: Reply, config: SessionConfig) -> None:
        """Begin a response of the server's own accord, while none is running."""
        self.default = self._open(ResponseParameters(), config)
        self._perform(self.default, reply, config)

    def go_on(self, config: SessionConfig) -> None:
        """The words of all turns are known: a response that waited for them speaks now."""
        if self.default is not None and self.default.state is ResponseState.WAITING:
            self._answer(self.default, config)

    def interrupt(self) -> None:
        """The caller speaks: stop the default conversation's response."""
        if self.default is not None:
            self.default.cancel("turn_detected")
            self._sweep()

    def cancel(self, response_id: str | None) -> None:
        """Carry out `response.cancel`.

        Raises:
            RefusedEvent: no such response is running.
        """
        if response_id is None:
            response = self.default
        else:
            response = self._running[response_id].response if response_id in self._running else None
        if response is None:
            raise RefusedEvent("response_cancel_not_active", "Cancellation failed: no active response found")
        response.cancel("client_cancelled")
        self._sweep()

    # --- The voice ---------------------------------------------------------------------------------------------------

    def is_wanted(self, sentence: int) -> bool:
        """Whether a response still waits for this sentence's audio."""
        return sentence in self._sentences

    def spoken(self, sentence: int, audio: bytes) -> None:
        """Audio of a sentence."""
        if sentence in self._sentences:
            self.has_made_audio = True
            self._sentences[sentence].hear_voice(audio)

    def sentence_ended(self, sentence: int, *, has_failed: bool) -> None:
        """The voice is through with a sentence."""
        response = self._sentences.pop(sentence, None)
        if response is None:
            return
        if has_failed:
            response.fail("server_error", "The voice failed.")
        else:
            response.sentence_ended()
        self._sweep()

    def _ask_voice(self, response: Response, text: str) -> None:
        number = next(self._numbers)
        self._sentences[number] = response
        options = response.options
        self._request(Speak(number, text, options.voice_name, options.speed, options.wire_format))

    # --- The model ---------------------------------------------------------------------------------------------------

    def is_awaited(self, number: int) -> bool:
        """Whether a response still waits for this reply of the model."""
        return number in self._thoughts

    def thought(self, number: int, reply: Reply, *, is_whole: bool) -> None:
        """More of the model's reply."""
        response = self._thoughts.get(number)
        if response is None:
            return
        if is_whole:
            del self._thoughts[number]
        response.extend(reply, is_whole=is_whole)
        self._sweep()

    def thought_failed(self, number: int) -> None:
        """The model gives no answer, or not the rest of it: the caller hears what the dialogue says to that.

        Who asked out of band is given what a dialogue would tell.
        """
        response = self._thoughts.get(number)
        if response is None:
            return
        if response.is_in_conversation:
            reply = self._dialogue.answer(None, ())
        else:
            reply = self._beside(self._running[response.id], ())
        self.thought(number, reply, is_whole=True)

    def _think(self, response: Response, config: SessionConfig) -> None:
        if self._chat is None:
            return
        parameters = self._running[response.id].parameters
        given = self._running[response.id].given
        instructions = config.instructions if parameters.instructions is None else parameters.instructions
        request = chat_request(
            self._chat,
            instructions=instructions,
            items=self._history.ledger if given is None else given,
            tools=_tools(parameters, config),
            tool_choice=config.tool_choice if parameters.tool_choice is None else parameters.tool_choice,
        )
        self._perform(response, (), config, is_whole=False)
        number = next(self._numbers)
        self._thoughts[number] = response
        self._request(Think(number=number, request=request))

    def _is_for_model(self, order: _Order, items: Sequence[Item]) -> bool:
        """Whether the model is asked: not for words that are given, the greeting, and what was not understood."""
        instructions = order.parameters.instructions
        if self._chat is None or quoted_text(instructions) is not None:
            return False
        if instructions and not order.response.is_in_conversation:
            return True
        if not items:
            return bool(instructions) or self._history.has_spoken
        return any(not isinstance(item, Message) or item.text for item in items)

    # --- What to say -------------------------------------------------------------------------------------------------

    def _answer(self, response: Response, config: SessionConfig) -> None:
        order = self._running[response.id]
        parameters = order.parameters
        tools = _tools(parameters, config)
        items = self._history.unanswered() if order.given is None else order.given
        if self._is_for_model(order, items):
            self._think(response, config)
            return
        if response.is_in_conversation:
            reply = self._reply(parameters.instructions, items, tools, self._dialogue)
        else:
            reply = self._beside(order, tools)
        choice = config.tool_choice if parameters.tool_choice is None else parameters.tool_choice
        self._perform(response, constrained(reply, choice, tools), config)

    def _beside(self, order: _Order, tools: Sequence[FunctionTool]) -> Reply:
        """What is answered out of band: an account where instructions, or words that mean nothing else, ask for it."""
        instructions, given = order.parameters.instructions, order.given
        if quoted_text(instructions) is None:
            texts = [item.text for item in given or () if isinstance(item, Message) and item.role == "user"]
            is_request = any(texts) and not any(self._dialogue.understands(text, tools) for text in texts)
            if instructions or is_request:
                is_of_conversation = given is None or (is_request and len(given) == 1)
                return (Say(account(self._history.ledger if is_of_conversation else given or ())),)
        items = self._history.unanswered() if given is None else given
        return self._reply(instructions, items, tools, self._dialogue.aside())

    def _reply(
        self, instructions: str | None, items: Sequence[Item], tools: Sequence[FunctionTool], dialogue: Dialogue
    ) -> Reply:
        if (text := quoted_text(instructions)) is not None:
            return (Say(text),)
        if not items:
            return dialogue.prompt() if self._history.has_spoken else dialogue.greet()
        reply: list[Say | Call] = []
        heard: list[Heard] = []
        for item in items:
            if isinstance(item, FunctionCallOutput):
                call = self._history.call(item.call_id)
                if call is not None:
                    reply.extend(dialogue.report(ToolResult(call.name, call.arguments, item.output)))
            elif isinstance(item, Message) and item.role == "system":
                reply.extend(dialogue.notice(item.text, tools))
            elif isinstance(item, Message) and item.role == "user":
                heard.append(Heard(item.text, item.is_certain))
        if heard:
            # Of a turn that came in pieces, the last piece that means something counts.
            understood = [words for words in heard if dialogue.understands(words.text, tools)]
            reply.extend(dialogue.answer(understood[-1] if understood else None, tools))
        return tuple(reply)

    def _given_items(self, parameters: ResponseParameters, input_format: WireFormat) -> list[Item] | None:
        """The items that a response is to answer instead of the conversation's; None where it gives none."""
        if parameters.input is None:
            return None
        items: list[Item] = []
        for given in parameters.input:
            if not isinstance(given, ItemReference):
                items.append(self._history.item_of(given, self._identities.new("item"), input_format))
            elif (item := self._history.ledger.get(given.id)) is not None:
                items.append(item)
            else:
                message = f"Item with item_id not found: {given.id}"
                raise RefusedEvent("invalid_value", message, parameter="response.input")
        return items

    # --- Bookkeeping -------------------------------------------------------------------------------------------------

    def _open(
        self, parameters: ResponseParameters, config: SessionConfig, given: Sequence[Item] | None = None
    ) -> Response:
        output = parameters.audio.output if parameters.audio else None
        options = ResponseOptions(
            is_text=(parameters.output_modalities or config.output_modalities)[0] == "text",
            voice=(output.voice if output else None) or config.audio.output.voice,
            format=(output.format if output else None) or config.audio.output.format,
            speed=config.audio.output.speed,
            max_output_tokens=parameters.max_output_tokens or config.max_output_tokens,
            metadata=parameters.metadata,
            conversation_id=self._conversation_id if parameters.conversation == "auto" else None,
        )
        response = Response(
            options,
            events=self._events,
            identities=self._identities,
            ledger=self._history.ledger,
            request=self._ask_voice,
        )
        self._running[response.id] = _Order(response, parameters, given)
        return response

    def _perform(self, response: Response, reply: Reply, config: SessionConfig, *, is_whole: bool = True) -> None:
        order = self._running[response.id]
        tokens = self._input_tokens(order, config)
        known = Tokens()
        if order.given is None:
            known, self._known_tokens = self._known_tokens, tokens
        response.perform(
            reply,
            input_tokens=tokens,
            known_tokens=Tokens(text=min(known.text, tokens.text), audio=min(known.audio, tokens.audio)),
            is_whole=is_whole,
        )
        self._sweep()

    def _input_tokens(self, order: _Order, config: SessionConfig) -> Tokens:
        """What a response reads: instructions, tools, and the whole conversation or what it was given instead."""
        instructions, tools = order.parameters.instructions, order.parameters.tools
        prompt = config.instructions if instructions is None else instructions
        prompt += "".join(tool.model_dump_json() for tool in (config.tools if tools is None else tools))
        items = self._history.ledger if order.given is None else order.given
        return sum(map(item_tokens, items), Tokens(text=text_tokens(prompt)))

    @property
    def audio_ms_to_play(self) -> int:
        """Length of the last reply in the default conversation, until `take_audio_ms` is told."""
        return self._audio_ms

    def take_audio_ms(self) -> int:
        """The same, once."""
        taken, self._audio_ms = self._audio_ms, 0
        return taken

    def _sweep(self) -> None:
        """Forget responses that are done, and the sentences nobody waits for any more."""
        for response in [order.response for order in self._running.values()]:
            if response.state is not ResponseState.DONE:
                continue
            del self._running[response.id]
            self._sentences = {n: r for n, r in self._sentences.items() if r is not response}
            self._thoughts = {n: r for n, r in self._thoughts.items() if r is not response}
            if response is self.default:
                self.default = None
                self._audio_ms = response.audio_ms


def _tools(parameters: ResponseParameters, config: SessionConfig) -> tuple[FunctionTool, ...]:
    given = config.tools if parameters.tools is None else parameters.tools
    return tuple(tool for tool in given if isinstance(tool, FunctionTool))


def constrained(reply: Reply, choice: ToolChoice, tools: Sequence[FunctionTool]) -> Reply:
    """`reply` as the tool choice allows it: without calls, or with the call that is required."""
    if choice == "none":
        return tuple(action for action in reply if not isinstance(action, Call))
    if choice == "auto" or any(isinstance(action, Call) for action in reply):
        return reply
    wanted = choice.name if isinstance(choice, NamedTool) else None
    tool = next((tool for tool in tools if wanted in (None, tool.name)), None)
    return (*reply, Call(tool.name, "{}")) if tool else reply
