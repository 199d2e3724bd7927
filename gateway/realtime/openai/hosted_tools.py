"""Tools on servers that the provider calls itself (MCP): what is approved, and what is told of those that fail.

The provider lists the tools of each server when the session is configured and calls them within a reply; nothing of it
passes through the gateway but the question whether a call may be made. It is answered by configuration alone, since
nobody of the operator's listens to the call. Arguments and results are the caller's affair and are never logged.

Source: Realtime API reference, MCP items and events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import shown
from gateway.realtime.fields import Fields
from gateway.realtime.session import HostedServer, SessionStatistics

_log = logging.getLogger(__name__)

MAX_ITEMS = 64
"""Items whose server is remembered."""

_LISTING: Final = "mcp_list_tools"
_CALL: Final = "mcp_call"
APPROVAL_REQUEST: Final = "mcp_approval_request"
APPROVAL_RESPONSE: Final = "mcp_approval_response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The answer to a request for approval."""

    request_id: str
    approves: bool


class HostedTools:
    """The servers of one session. `scrub` takes credentials out of what is logged."""

    def __init__(
        self, servers: Sequence[HostedServer], statistics: SessionStatistics, scrub: Callable[[str], str]
    ) -> None:
        self._servers = {server.label: server for server in servers}
        self._statistics = statistics
        self._scrub = scrub
        self._labels: dict[str, str] = {}  # of items, by their id

    def note(self, item: Fields) -> None:
        """An item has appeared: what failed is told by its id alone."""
        if item.text("type", "") not in (_LISTING, _CALL):
            return
        self._labels[item.text("id")] = item.text("server_label", "")
        if len(self._labels) > MAX_ITEMS:
            del self._labels[next(iter(self._labels))]

    def fail_listing(self, item_id: str) -> None:
        """The tools of a server could not be listed: the model goes without them."""
        self._statistics.hosted_failures += 1
        label = self._label(self._labels.get(item_id, ""))
        _log.warning("the provider could not list the tools of the MCP server %s", label)

    def end_call(self, *, is_failed: bool) -> None:
        """The provider has called a tool; why it failed stands in the item."""
        self._statistics.hosted_calls += 1
        self._statistics.hosted_failures += is_failed

    def log_failure(self, item: Fields) -> None:
        """Tell why a call failed, if `item` is one that did."""
        error = item.fields("error") if item.text("type", "") == _CALL else Fields({})
        if error:
            kind, code = error.text("type", ""), error.members.get("code")
            _log.warning(
                "a tool of the MCP server %s failed: %s: %s%s: %s",
                self._label(item.text("server_label", "")),
                shown(item.text("name", "")),
                shown(kind),
                f" {code}" if isinstance(code, int) else "",
                shown(self._scrub(error.text("message", "")), 200),
            )

    def decide(self, request: Fields, *, is_wanted: bool) -> Approval:
        """Whether a call may be made. A server that we did not name gets nothing approved.

        Nor does what is not wanted any more, since the caller interrupted the reply that asked.
        """
        label, tool = request.text("server_label", ""), request.text("name", "")
        server = self._servers.get(label)
        approves = is_wanted and server is not None and server.does_approve(tool)
        if not approves:
            self._statistics.denied_approvals += 1
        _log.info("%s %s of the MCP server %s", "approved:" if approves else "denied:", shown(tool), self._label(label))
        return Approval(request_id=request.text("id"), approves=approves)

    def _label(self, told: str) -> str:
        """The server's label; where the provider does not tell it, the only one there is."""
        if not told and len(self._servers) == 1:
            told = next(iter(self._servers))
        return shown(told) or "(not told)"
