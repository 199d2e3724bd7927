"""What `Call` answers at once to the model's call of a tool: at another time, at no time, or after a question; pure."""

from __future__ import annotations

from gateway.calls.events import Command, ReplyToTool, RunTool, ToolAsked
from gateway.dialplan.model import Dialplan
from gateway.dialplan.tools import SessionTool


class ToolAnswers:
    """The model's calls of one telephone call. One is answered once, whatever the provider tells again."""

    def __init__(self, plan: Dialplan) -> None:
        self._plan = plan
        self._known: set[str] = set()

    def is_repeated(self, event: ToolAsked) -> bool:
        """Whether this call was told before."""
        is_known = event.call_id in self._known
        self._known.add(event.call_id)
        return is_known

    def is_offered(self, event: ToolAsked, session: str | None) -> bool:
        """Whether the session that is open has such a tool."""
        return session is not None and self._plan.offers(session, event.name)

    def while_leaving(self, event: ToolAsked, session: str | None) -> list[Command]:
        """The call is about to end, or to be transferred: what is for people to read later is still taken."""
        if self.is_offered(event, session) and event.name in (SessionTool.NOTE, SessionTool.TAKE_MESSAGE):
            return [run(event)]
        return [refusal(event, "the call is already being transferred or ended", respond=False)]

    def while_unheard(self, event: ToolAsked) -> list[Command]:
        """The caller hears something else: the model must not wait for a result, nor speak because of one."""
        return [refusal(event, "the caller is not with you at present", respond=False)]


def run(event: ToolAsked) -> RunTool:
    """Let the tool do its work beside the call."""
    return RunTool(call_id=event.call_id, name=event.name, arguments=event.arguments, response_id=event.response_id)


def refusal(event: ToolAsked, why: str, *, respond: bool = True) -> ReplyToTool:
    """The tool is not run; with `respond` the model goes on at once."""
    return ReplyToTool(call_id=event.call_id, output={"status": "refused", "reason": why}, respond=respond)


def question(event: ToolAsked, contact: str) -> ReplyToTool:
    """The caller has to confirm the transfer first."""
    reason = (
        f"Nobody is called yet. Ask the caller whether they want to be connected with {contact}, wait for their "
        "answer, and only if it is yes call transfer again with confirmed: true."
    )
    return ReplyToTool(call_id=event.call_id, output={"status": "confirmation needed", "reason": reason})
