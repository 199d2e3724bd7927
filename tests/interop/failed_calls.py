"""Transfers that fail, all of them at once: each caller pressed another key, which named another contact."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import Pbx, wait_until

STAY_S = 20


@dataclass(frozen=True)
class FailedCalls:
    """What the gateway has written down of them."""

    gateway: GatewayProcess
    calls: dict[str, str]
    """The call's id by the name of its escalation."""

    def line(self, escalation: str, event: str, **fields: Any) -> dict[str, Any]:
        """The first `event` of that call."""
        [line, *_] = self.gateway.found(event, call_id=self.calls[escalation], **fields)
        return line


def call_in_vain(pbx: Pbx, gateway: GatewayProcess, keys: Collection[str]) -> FailedCalls:
    """Let a caller press each of `keys`, and hang up when all of them are back with the model."""
    mark = gateway.mark()
    for key in keys:
        pbx.originate("7000", keys=key, delay_s=1, stay_s=STAY_S)
    back = {"old": "transferring", "new": "talking"}
    wait_until(lambda: len(gateway.found("= state", since=mark, **back)) == len(keys), "all callers back", STAY_S)
    pbx.hang_up_all()
    wait_until(lambda: len(gateway.found("call ended", since=mark)) == len(keys), "the end of all calls", 10)
    ended = gateway.found("call ended", since=mark)
    return FailedCalls(gateway, {line["escalations"][0]: str(line["call_id"]) for line in ended})
