"""Asks web services what is to be done with a call, and reads their answers: the dialplan's ``hook``.

::

    AskHook ─> request: the call, its variables, its keys ─> {"do": […], "set": {…}} ─> checked ─> HookAnswered
                      └─ no answer, or one that the plan does not allow ────────────────────────> HookFailed

The log tells why; of the address, the headers and what a service has sent it shows names at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from gateway.calls.brief import CallBrief
from gateway.calls.events import Event
from gateway.calls.events.steps import AskHook, HookAnswered, HookFailed
from gateway.calls.tools.http_tool import HttpClients, run_request
from gateway.calls.tools.outcome import Failure
from gateway.dialplan.hook_answer import HookAnswer, HookRefusal, read_hook_answer

_log = structlog.stdlib.get_logger("gateway.calls")


class HookDesk:
    """One call's. `dispatch` is told of the answer; `tasks` owns what is begun here."""

    def __init__(
        self,
        brief: CallBrief,
        clients: HttpClients,
        tasks: Callable[[], asyncio.TaskGroup],
        dispatch: Callable[[Event], None],
    ) -> None:
        self._brief = brief
        self._clients = clients
        self._tasks = tasks
        self._dispatch = dispatch
        self._asking: asyncio.Task[None] | None = None
        self._log = _log.bind(call_id=brief.start.call_id)

    def ask(self, command: AskHook) -> None:
        """Ask; nobody waits for an answer before this one any more."""
        self.drop()
        self._asking = self._tasks().create_task(self._ask(command), name=f"hook {self._brief.start.call_id}")

    def drop(self) -> None:
        """The answer is of no interest any more; safe to repeat."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    async def _ask(self, command: AskHook) -> None:
        try:
            answer = await self._answer(command)
        except Exception as error:  # noqa: BLE001 - a fault of the service's must not end the call
            self._log.debug("the answer to a hook could not be read", exc_info=True)
            answer = Failure(f"a fault while it was asked or read ({type(error).__name__})")
        self._asking = None
        if isinstance(answer, HookAnswer):
            self._dispatch(HookAnswered(actions=answer.actions, values=answer.values))
            return
        self._log.warning("hook failed", reason=answer.reason)
        self._dispatch(HookFailed())

    async def _answer(self, command: AskHook) -> HookAnswer | HookRefusal | Failure:
        outcome = await run_request(self._clients, command.request, self._body(command), self._facts(command))
        return outcome if isinstance(outcome, Failure) else read_hook_answer(self._brief.plan, outcome.value)

    def _body(self, command: AskHook) -> Mapping[str, object]:
        """What is sent where the plan does not say."""
        facts = self._brief.facts
        return {
            "call": {"id": self._brief.start.call_id, "trunk": facts.trunk, "route": self._brief.route},
            "caller": {"number": facts.from_, "name": facts.display_name},
            "called": {"number": facts.to},
            "vars": dict(command.values),
            "keys": command.keys,
        }

    def _facts(self, command: AskHook) -> Mapping[str, str]:
        """What the plan's own request may be filled with."""
        facts = self._brief.facts
        known = {
            "caller.number": facts.from_,
            "caller.name": facts.display_name,
            "called.number": facts.to,
            "call.id": self._brief.start.call_id,
        }
        return known | {f"vars.{name}": text for name, text in command.values.items()}
