"""The tool calls of a Gemini session: which are out, which were told, and how their results go back."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.realtime.fields import Fields
from gateway.realtime.gemini import codec

MAX_CALLS = 256
"""Calls remembered; what is older was answered long ago."""

_PACED_BY_ITSELF = "extended-thinking"
"""Models of this name place results by themselves, and end the session (1007) when they are told how."""


@dataclass(slots=True, kw_only=True)
class _Call:
    wire_id: str | None
    name: str
    is_open: bool = True


class ToolCalls:
    """Of one session with `model`."""

    def __init__(self, model: str) -> None:
        self._can_schedule = _PACED_BY_ITSELF not in model
        self._calls: dict[str, _Call] = {}
        self._count = 0

    @property
    def has_open(self) -> bool:
        """Whether the model waits for a result."""
        return any(call.is_open for call in self._calls.values())

    def take(self, call: Fields) -> str | None:
        """Note a ``FunctionCall``; its id, made here where Gemini gives none. None when it was told before."""
        self._count += 1
        wire_id, name = call.text("id", "") or None, call.text("name")
        call_id = wire_id or f"call_{self._count}"
        if call_id in self._calls:
            return None
        self._calls[call_id] = _Call(wire_id=wire_id, name=name)
        if len(self._calls) > MAX_CALLS:
            del self._calls[next(iter(self._calls))]
        return call_id

    def cancel(self, call_id: object) -> bool:
        """The model does not wait for it any more; False when it did not anyway."""
        call = self._calls.get(call_id) if isinstance(call_id, str) else None
        if call is None or not call.is_open:
            return False
        call.is_open = False
        return True

    def answer(self, call_id: str, output: str, *, respond: bool) -> codec.JsonObject | None:
        """The message that answers a call; None when nobody waits for it.

        A result that is to be met with silence says so (``scheduling``); only models that talk while a tool runs heed
        it, the others answer every result.
        """
        call = self._calls.get(call_id)
        if call is None or not call.is_open:
            return None
        call.is_open = False
        scheduling = "SILENT" if not respond and self._can_schedule else None
        return codec.tool_response(call.wire_id, call.name, output, scheduling)
