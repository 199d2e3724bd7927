"""The session that a call has at present, if it has one: opened, heard, left for another one.

::

    OpenSession ──> CallSession ──options (plan, caller, tools, law, who takes over)──> SessionBridge ──> provider
    Greet, BridgeAudio, BargeIn, ReplyToTool, … ──────────────────────────────────────────^

What is asked of a session that is not there is lost. Where a leg and a session meet is `SessionBridge`'s to say; who
decides is `Call`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.calls.brief import CallBrief
from gateway.calls.conversation.bridge import SessionBridge
from gateway.calls.conversation.keywords import awaited_phrases, expecting
from gateway.calls.escalation.events import Interject
from gateway.calls.events import (
    BargeIn,
    BridgeAudio,
    CloseSession,
    Event,
    Greet,
    OpenSession,
    ReplyToTool,
    ShortenAnswers,
    TellModel,
)
from gateway.calls.events.session import SessionCommand
from gateway.calls.lines.line import Line
from gateway.calls.record import CallRecord
from gateway.calls.services import CallServices
from gateway.calls.spending import CallSpending
from gateway.calls.tools.desk import ToolDesk
from gateway.realtime.session import SessionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLinks:
    """What a call's session needs of the call. `on_quiet` hears when the model may have nothing more to say."""

    line: Callable[[], Line]  # to the caller, at present
    dispatch: Callable[[Event], None]
    on_quiet: Callable[[], None]


class CallSession:
    """Owns the session of one call, and lets go of one before the next is opened."""

    def __init__(
        self,
        services: CallServices,
        brief: CallBrief,
        record: CallRecord,
        links: SessionLinks,
        *,
        tools: ToolDesk,
        spending: CallSpending,
        tasks: Callable[[], asyncio.TaskGroup],
    ) -> None:
        """`tasks` owns what is begun here."""
        self._services = services
        self._brief = brief
        self._record = record
        self._links = links
        self._tools = tools
        self._spending = spending
        self._tasks = tasks
        self._bridge: SessionBridge | None = None
        self._options: SessionOptions | None = None
        self._opening: asyncio.Task[None] | None = None

    def do(self, command: SessionCommand | Interject) -> None:
        """Carry out what the call has decided."""
        match command:
            case OpenSession(name=name, variables=variables):
                self._open(name, variables)
            case CloseSession():
                self._leave()
                self._bridge = None
            case BargeIn():
                self.barge_in()
            case _ if self._bridge is not None:
                self._ask(self._bridge, command)
            case _:
                pass

    def _ask(self, bridge: SessionBridge, command: SessionCommand | Interject) -> None:
        match command:
            case Greet():
                self._greet(bridge)
            case BridgeAudio(is_open=is_open, keeps_caller=keeps_caller):
                if keeps_caller or (is_open and bridge.has_started):
                    self._speak_format()
                bridge.set_open(
                    is_open=is_open,
                    lets_finish=command.lets_finish,
                    keeps_caller=keeps_caller,
                    keeps_said=command.keeps_said,
                )
            case ReplyToTool():
                bridge.reply_to_tool(command.call_id, command.output, respond=command.respond)
            case TellModel(text=text):
                bridge.tell(text)
            case ShortenAnswers():
                bridge.shorten_answers()
            case Interject(text=text):
                bridge.say(text)
            case _:
                pass

    @property
    def silent_since(self) -> float | None:
        """Since when neither caller nor model has been heard (s); None where one is, or they are not together."""
        return None if self._bridge is None else self._bridge.silent_since

    def note_key(self) -> None:
        """The caller has pressed a key."""
        if self._bridge is not None:
            self._bridge.note_key()

    @property
    def is_speaking(self) -> bool:
        """Whether the caller hears the session, and it has more to say (what is queued at the leg apart)."""
        return self._bridge is not None and self._bridge.has_started and not self._bridge.is_quiet

    def ask(self, instructions: str, hear: Callable[[str], None]) -> None:
        """Let the model write about the conversation; `hear` is told what, "" where there is none."""
        if self._bridge is None:
            hear("")
        else:
            self._bridge.ask(instructions, hear)

    def append_audio(self, audio: bytes) -> None:
        """The caller's audio, in the session's input format."""
        if self._bridge is not None:
            self._bridge.append_audio(audio)

    def note_heard(self, item_id: str) -> None:
        """An item was heard to its end."""
        if self._bridge is not None:
            self._bridge.note_heard(item_id)

    def note_prompt(self, text: str) -> None:
        """A text of the plan was heard to its end."""
        if self._bridge is not None:
            self._bridge.note_prompt(text)

    def barge_in(self) -> None:
        """Silence what the caller hears, the model or a file."""
        if self._bridge is not None and self._bridge.has_started:
            self._bridge.barge_in()
        else:
            self._links.line().flush()

    def move(self, leg: int) -> None:
        """Go on with another leg."""
        if self._bridge is not None:
            self._bridge.move(leg)

    def stop_opening(self) -> None:
        """The call is over: nobody waits for a session any more."""
        if self._opening is not None:
            self._opening.cancel()

    def abandon(self) -> None:
        """The leg is gone: nothing is played any more; safe to repeat."""
        if self._bridge is not None:
            self._bridge.abandon(self._links.line().leg)

    async def close(self) -> None:
        """Let the session go; safe to repeat."""
        if self._bridge is not None:
            await self._bridge.close()

    def _open(self, name: str, variables: Mapping[str, str]) -> None:
        """Begin to connect; the telephone rings meanwhile. A session before this one is left."""
        self._leave()
        services, session = self._services, self._brief.plan.sessions[name]
        uses = services.chain(session.use)
        chain = self._chain(name, uses, variables)
        self._options = chain[0]
        self._bridge = SessionBridge(
            options=self._options,
            greeting=session.greeting,
            media=services.media,
            greetings=services.greetings,
            record=self._record,
            observer=services.observer,
            dispatch=self._links.dispatch,
            on_quiet=self._links.on_quiet,
            clock=services.clock,
            on_tool_cancelled=self._tools.cancel,
            open_session=lambda: services.open_session(uses, chain),
            overhear=self._spending.session(session, chain, uses).hear,
        )
        self._tools.attend(name, self._bridge, self._options.instructions)
        self._opening = self._tasks().create_task(self._bridge.open(), name=f"session {self._record.call_id}")

    def _chain(self, name: str, uses: Sequence[str], variables: Mapping[str, str]) -> list[SessionOptions]:
        """The options of a session, for each of the kinds `uses` that serve in turn."""
        offered, caller = self._brief.offered, self._brief.facts.from_
        law = self._links.line().law(None if offered is None else offered.offer)
        instructions = self._brief.plan.instructions(name, self._brief.facts, variables)
        tools = self._tools.offered(name, self._services.wall_clock())
        phrases = awaited_phrases(self._brief.plan, name)
        return [
            replace(
                expecting(base.in_law(law), phrases),
                instructions="\n\n".join(text for text in (base.instructions, instructions) if text),
                caller=caller if base.identifies_callers else "",
                tools=tools,
            )
            for base in (self._services.sessions[use] for use in uses)
        ]

    def _greet(self, bridge: SessionBridge) -> None:
        """Let the session be heard; a leg that was opened for another session speaks this one's format first."""
        line = self._links.line()
        if line.leg is None or self._options is None:
            return
        self._speak_format()
        bridge.start(line.leg)

    def _speak_format(self) -> None:
        """The leg takes and gives the session's formats, whatever somebody else has spoken in meanwhile."""
        if self._options is not None:
            self._links.line().formats = (self._options.input_format, self._options.output_format)

    def _leave(self) -> None:
        self._tools.leave()
        self.stop_opening()
        self._spending.leave()
        if self._bridge is not None:
            self._bridge.retire()
            self.barge_in()
            self._tasks().create_task(self._bridge.close(), name=f"leave session {self._record.call_id}")
