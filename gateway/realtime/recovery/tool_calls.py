"""Each tool call runs once, whatever happens to the session that asked for it.

A session that takes another's place may ask again for what is still running, or repeat a call with its old id: such a
call is not told, and gets the result of the one that runs. A result that comes when the asking session is gone reaches
the next one as a message.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from gateway.realtime.events import ToolCall

MAX_REMEMBERED = 256


@dataclass(slots=True, kw_only=True)
class _Run:
    call: ToolCall
    arguments: str
    link: int
    output: str | None = None
    is_cancelled: bool = False
    waiting: set[tuple[int, str]] = field(default_factory=set)
    """Sessions that asked, by number, and the id they gave it."""

    @property
    def is_open(self) -> bool:
        """Whether it runs, for somebody who waits."""
        return self.output is None and not self.is_cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """To be run, under this id."""

    call: ToolCall
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCall:
    """Was run before, or is being run: ``output`` None."""

    output: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A result, and under which ids the present session waits for it; none: it is told in words."""

    name: str
    output: str
    call_ids: tuple[str, ...]


class ToolCalls:
    """The tool calls of one call, over all its sessions; these are numbered."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._answered: list[str] = []

    @property
    def open_count(self) -> int:
        """Calls that still run."""
        return sum(run.is_open for run in self._runs.values())

    @property
    def mark(self) -> int:
        """The place behind all results that are here."""
        return len(self._answered)

    def ask(self, call: ToolCall, link: int) -> NewCall | KnownCall:
        """Session number `link` asks for `call`."""
        arguments = json.dumps(call.arguments, sort_keys=True, ensure_ascii=False)
        known = self._same(call, arguments, link)
        if known is not None:
            known.waiting.add((link, call.call_id))
            return KnownCall(output=known.output)
        told = call if call.call_id not in self._runs else replace(call, call_id=f"r{link}~{call.call_id}")
        self._runs[told.call_id] = _Run(call=told, arguments=arguments, link=link, waiting={(link, call.call_id)})
        self._trim()
        return NewCall(call=told, arguments=arguments)

    def _same(self, call: ToolCall, arguments: str, link: int) -> _Run | None:
        """The call that this one repeats: by its id, or, of an earlier session, one like it that still runs."""
        for run in self._runs.values():
            is_alike = run.call.name == call.name and run.arguments == arguments
            is_repeated = (link, call.call_id) in run.waiting or run.call.call_id == call.call_id
            if is_alike and (is_repeated or (run.is_open and run.link < link)):
                return run
        return None

    def answer(self, call_id: str, output: str, link: int) -> Result | None:
        """The result of a call is here, while session number `link` is up; None when nobody waits for it."""
        run = self._runs.get(call_id)
        if run is None or run.output is not None:
            return None
        run.output = output
        if run.is_cancelled:
            return None
        self._answered.append(call_id)
        waiting = tuple(sorted(asked for number, asked in run.waiting if number == link))
        return Result(name=run.call.name, output=output, call_ids=waiting)

    def cancel(self, raw_id: str, link: int) -> str:
        """A session does not wait for a call any more; the id under which it was told, empty where it may go on."""
        for call_id, run in self._runs.items():
            if (link, raw_id) in run.waiting and run.is_open:
                run.waiting.discard((link, raw_id))
                run.is_cancelled = not any(number == link for number, _ in run.waiting)
                return call_id if run.is_cancelled else ""
        return ""

    def since(self, mark: int) -> tuple[Result, ...]:
        """Results that came after a `mark`, in words."""
        runs = [self._runs[call_id] for call_id in self._answered[mark:] if call_id in self._runs]
        return tuple(Result(name=run.call.name, output=run.output or "", call_ids=()) for run in runs)

    def _trim(self) -> None:
        if len(self._runs) > MAX_REMEMBERED:
            oldest = next((key for key, run in self._runs.items() if not run.is_open), None)
            if oldest is not None:
                del self._runs[oldest]
