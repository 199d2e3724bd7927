"""Which response runs, what it answers, and to whom the voice's audio belongs.

At most one response runs in the default conversation; those out of band run beside it. A response waits while a turn's
words are not known yet, then answers everything that came in since the assistant last spoke.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from gateway.embedded.audio import WireFormat
from gateway.embedded.brain import Call, Dialogue, Heard, Reply, Say, ToolResult, quoted_text
from gateway.embedded.events import Identities, ServerEvents
from gateway.embedded.history import History
from gateway.embedded.items import FunctionCallOutput, Item, ItemReference, Message, Tokens, text_tokens
from gateway.embedded.protocol import RefusedEvent, ResponseParameters
from gateway.embedded.response import Response, ResponseOptions, ResponseState, Speak
from gateway.embedded.session import FunctionTool, NamedTool, SessionConfig, ToolChoice


class Responder:
    """All responses of one conversation. `request` takes the sentences to be spoken."""

    def __init__(
        self,
        *,
        dialogue: Dialogue,
        history: History,
        events: ServerEvents,
        identities: Identities,
        request: Callable[[Speak], None],
    ) -> None:
        self.default: Response | None = None
        self.has_made_audio = False
        self._dialogue = dialogue
        self._history = history
        self._events = events
        self._identities = identities
        self._request = request
        self._conversation_id = identities.new("conv")
        self._parameters: dict[str, ResponseParameters] = {}
        self._running: dict[str, Response] = {}
        self._sentences: dict[int, Response] = {}
        self._numbers = itertools.count(1)
        self._known_tokens = Tokens()
        self._audio_ms = 0

    # --- Life of a response ------------------------------------------------------------------------------------------

    def create(self, parameters: ResponseParameters, config: SessionConfig, *, words_are_known: bool) -> None:
        """Begin a response; it waits until `go_on` where the words of a turn are still being made out.

        Raises:
            RefusedEvent: one is running in the default conversation, or an item that is referred to does not exist.
        """
        if parameters.conversation == "none":
            reply = self._reply_out_of_band(parameters, config)
            self._perform(self._open(parameters, config), reply, config)
            return
        if self.default is not None:
            message = (
                f"Conversation already has an active response in progress: {self.default.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise RefusedEvent("conversation_already_has_active_response", message)
        self.default = self._open(parameters, config)
        if words_are_known:
            self.go_on(config)

    def say(self, reply: Reply, config: SessionConfig) -> None:
        """Begin a response of the server's own accord, while none is running."""
        self.default = self._open(ResponseParameters(), config)
        self._perform(self.default, reply, config)

    def go_on(self, config: SessionConfig) -> None:
        """The words of all turns are known: a response that waited for them speaks now."""
        response = self.default
        if response is not None and response.state is ResponseState.WAITING:
            parameters = self._parameters[response.id]
            tools = _tools(parameters, config)
            choice = parameters.tool_choice if parameters.tool_choice is not None else config.tool_choice
            reply = self._reply(parameters.instructions, self._history.unanswered(), tools)
            self._perform(response, constrained(reply, choice, tools), config)

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
        response = self._running.get(response_id) if response_id else self.default
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

    # --- What to say -------------------------------------------------------------------------------------------------

    def _reply(self, instructions: str | None, items: Sequence[Item], tools: Sequence[FunctionTool]) -> Reply:
        if (text := quoted_text(instructions)) is not None:
            return (Say(text),)
        reply: list[Say | Call] = []
        heard: list[Heard] = []
        for item in items:
            if isinstance(item, FunctionCallOutput):
                call = self._history.call(item.call_id)
                if call is not None:
                    reply.extend(self._dialogue.report(ToolResult(call.name, call.arguments, item.output)))
            elif isinstance(item, Message) and item.role == "system":
                reply.extend(self._dialogue.notice(item.text, tools))
            elif isinstance(item, Message) and item.role == "user":
                heard.append(Heard(item.text, item.is_certain))
        if heard:
            # Of a turn that came in pieces, the last piece that means something counts.
            understood = [words for words in heard if self._dialogue.understands(words.text, tools)]
            reply.extend(self._dialogue.answer(understood[-1] if understood else None, tools))
        if not items:
            return self._dialogue.prompt() if self._history.has_spoken else self._dialogue.greet()
        return tuple(reply)

    def _reply_out_of_band(self, parameters: ResponseParameters, config: SessionConfig) -> Reply:
        items: list[Item] = self._history.unanswered() if parameters.input is None else []  # type: ignore[assignment]
        input_format = WireFormat(config.audio.input.format.type)
        for given in parameters.input or ():
            if not isinstance(given, ItemReference):
                items.append(self._history.item_of(given, self._identities.new("item"), input_format))
            elif (item := self._history.ledger.get(given.id)) is not None:
                items.append(item)
            else:
                message = f"Item with item_id not found: {given.id}"
                raise RefusedEvent("invalid_value", message, parameter="response.input")
        tools = _tools(parameters, config)
        choice = parameters.tool_choice if parameters.tool_choice is not None else config.tool_choice
        return constrained(self._reply(parameters.instructions, items, tools), choice, tools)

    # --- Bookkeeping -------------------------------------------------------------------------------------------------

    def _open(self, parameters: ResponseParameters, config: SessionConfig) -> Response:
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
        self._running[response.id] = response
        self._parameters[response.id] = parameters
        return response

    def _perform(self, response: Response, reply: Reply, config: SessionConfig) -> None:
        prompt = config.instructions + "".join(tool.model_dump_json() for tool in config.tools)
        tokens = Tokens(text=text_tokens(prompt)) + self._history.tokens()
        known, self._known_tokens = self._known_tokens, tokens
        response.perform(
            reply,
            input_tokens=tokens,
            known_tokens=Tokens(text=min(known.text, tokens.text), audio=min(known.audio, tokens.audio)),
        )
        self._sweep()

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
        for response in [r for r in self._running.values() if r.state is ResponseState.DONE]:
            del self._running[response.id], self._parameters[response.id]
            self._sentences = {n: r for n, r in self._sentences.items() if r is not response}
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
