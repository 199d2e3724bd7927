"""The published schemas of the OpenAI Realtime events, as a check of what we send and of what our doubles send."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jsonschema

SCHEMA_FILE = Path(__file__).parents[1] / "data" / "openai-realtime.schema.json"


@functools.cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return document


@functools.cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": _document()["$defs"]})


def assert_valid(event: Mapping[str, Any], side: Literal["client", "server"]) -> None:
    """Fail unless `event` is what its type demands. Null members are pruned: the real server sends them, too."""
    name = _document()["types"][side].get(event["type"])
    assert name, f"the protocol has no {side} event {event['type']}"
    problems = [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(_pruned(event))]
    assert not problems, f"{event['type']}: {problems}"


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _pruned(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_pruned(element) for element in value]
    return value
