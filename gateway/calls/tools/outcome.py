"""How a tool call went, and the JSON that the model is given: data, one member, never longer than it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from gateway.errors import shown

MAX_RESULT_CHARACTERS = 8192
"""Of a result as JSON: some 2000 tokens, which the model reads again at each of its replies."""
MAX_REASON_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Result:
    """It worked; ``value`` is JSON."""

    value: object


@dataclass(frozen=True, slots=True)
class Failure:
    """It did not; ``reason`` is for the model and the log, and holds nothing that is secret."""

    reason: str


Outcome: TypeAlias = Result | Failure


def limited(outcome: Outcome) -> Outcome:
    """`outcome`, or the failure of one that is no JSON or too long. Nothing is cut: half a result misleads."""
    if isinstance(outcome, Failure):
        return outcome
    try:
        size = len(json.dumps(outcome.value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return Failure("the result is no JSON")
    return outcome if size <= MAX_RESULT_CHARACTERS else Failure(f"the result is too long: {size} characters")


def output_of(outcome: Outcome) -> Mapping[str, object]:
    """What the model is given."""
    if isinstance(outcome, Failure):
        return {"error": shown(outcome.reason, MAX_REASON_CHARACTERS)}
    return {"result": outcome.value}
