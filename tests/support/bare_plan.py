"""A dialplan with nothing in it."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.dialplan.model import Dialplan

BARE_PLAN = Dialplan(
    file=Path("plan.yaml"),
    name="bare",
    zone=ZoneInfo("UTC"),
    hours={},
    contacts={},
    sessions={},
    routes=(),
    escalations=(),
)
