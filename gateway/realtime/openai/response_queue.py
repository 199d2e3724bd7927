"""When the model may be asked to speak.

A provider of the OpenAI family runs one reply at a time and refuses the request for a second one. Three parties ask for
replies: the call (a greeting), the tools (their results are in) and the provider itself (the caller's turn ended). This
queue lets one request out at a time and holds at most one back::

    respond() ──────────────┐
    all results of a reply ─┴─> wanted ──(no reply asked for or under way)──> requested ──> active ──> idle
                                  ^                                               │
                                  └─────── refused: another reply is active ──────┘

Tool results wait for one thing more. While the caller speaks, the provider is going to begin a reply by itself when
the turn ends; a reply of ours would talk over the caller and leave that turn unanswered. If the provider confirmed all
results before it began its own reply, that reply has seen them and ours is not needed any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedResponse:
    """A reply to ask for."""

    instructions: str | None = None
    is_for_tools: bool = False


@dataclass(slots=True)
class _Calls:
    """Tool calls of one reply."""

    unanswered: set[str] = field(default_factory=set)
    wants_response: bool = False
    is_response_over: bool = False


class ResponseQueue:
    """Replies and tool calls of one session; no input or output of its own."""

    def __init__(self, *, has_automatic_responses: bool) -> None:
        self._has_automatic_responses = has_automatic_responses
        self._active: str | None = None
        self._is_requested = False
        self._last_request: tuple[str, WantedResponse | None] | None = None
        self._wanted: WantedResponse | None = None
        self._is_refused = False
        self._is_turn_under_way = False
        self._calls: dict[str, _Calls] = {}
        self._response_of: dict[str, str] = {}
        self._told: set[str] = set()
        self._unconfirmed: set[str] = set()

    @property
    def active(self) -> str | None:
        """Id of the reply under way."""
        return self._active

    @property
    def is_requested(self) -> bool:
        """A reply was asked for and has neither begun nor been refused."""
        return self._is_requested

    # --- asking -------------------------------------------------------------------------------------------------------

    def want(self, instructions: str | None) -> None:
        """The call asks for a reply. One request waits at most: the latest with instructions."""
        if instructions is not None or self._wanted is None:
            self._wanted = WantedResponse(instructions=instructions)

    def due(self) -> WantedResponse | None:
        """What to ask the provider for now, if anything."""
        if self._wanted is None or self._active is not None or self._is_requested or self._is_refused:
            return None
        return None if self._wanted.is_for_tools and self._is_turn_under_way else self._wanted

    def request(self, event_id: str, wanted: WantedResponse) -> None:
        """`wanted` was sent as `event_id`."""
        self._wanted = None
        self._is_requested = True
        self._last_request = (event_id, wanted)

    def cancel(self) -> None:
        """The call does not want the reply any more that it asked for: neither now nor when a refused one may be."""
        if self._wanted is not None and not self._wanted.is_for_tools:
            self._wanted = None
        if self._last_request is not None:
            event_id, wanted = self._last_request
            self._last_request = (event_id, wanted if wanted is not None and wanted.is_for_tools else None)

    # --- what the provider says ---------------------------------------------------------------------------------------

    def begin_turn(self) -> None:
        """The caller began to speak."""
        self._is_turn_under_way = self._has_automatic_responses

    def begin(self, response_id: str) -> None:
        """A reply began, whoever asked for it: the request may still turn out to have been refused for this one."""
        has_seen_results = self._is_turn_under_way and not self._unconfirmed
        if self._wanted is not None and self._wanted.is_for_tools and has_seen_results:
            self._wanted = None
        self._is_requested = False
        self._is_turn_under_way = False
        self._active = response_id

    def end(self, response_id: str) -> None:
        """A reply ended, however."""
        if self._active in (response_id, None):
            self._active = None
            self._is_refused = False
        calls = self._calls.get(response_id)
        if calls is not None:
            calls.is_response_over = True
            self._settle(response_id, calls)

    def refuse(self, event_id: str, *, is_busy: bool) -> bool:
        """The request `event_id` was refused; asked again after the next reply's end if the provider `is_busy`.

        An empty `event_id` means the latest request: not every peer says which. False when it was none of ours.
        """
        if self._last_request is None or event_id not in ("", self._last_request[0]):
            return False
        if is_busy:
            self._wanted = self._wanted or self._last_request[1]  # None when it was cancelled
            self._is_refused = True
        self._is_requested = False
        self._last_request = None
        return True

    # --- tool calls ---------------------------------------------------------------------------------------------------

    def tell(self, call_id: str, response_id: str) -> bool:
        """Note a tool call; False when it was told before."""
        if call_id in self._told:
            return False
        self._told.add(call_id)
        self._response_of[call_id] = response_id
        calls = self._calls.setdefault(response_id, _Calls(is_response_over=self._active != response_id))
        calls.unanswered.add(call_id)
        return True

    def is_told(self, call_id: str) -> bool:
        """Whether a call was told before."""
        return call_id in self._told

    def answer(self, call_id: str, *, respond: bool) -> bool:
        """Note a tool's result; False when the call is unknown or was answered."""
        response_id = self._response_of.pop(call_id, None)
        if response_id is None:
            return False
        calls = self._calls[response_id]
        calls.unanswered.discard(call_id)
        calls.wants_response |= respond
        self._unconfirmed.add(call_id)
        self._settle(response_id, calls)
        return True

    def confirm(self, call_id: str) -> None:
        """The provider has the result of a call in its conversation."""
        self._unconfirmed.discard(call_id)

    def _settle(self, response_id: str, calls: _Calls) -> None:
        """All results in and the calling reply over: one request for all of them."""
        if calls.unanswered or not calls.is_response_over:
            return
        del self._calls[response_id]
        if calls.wants_response and self._wanted is None:
            self._wanted = WantedResponse(is_for_tools=True)
