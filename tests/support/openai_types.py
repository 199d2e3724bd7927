"""The typed events of the official client, as a check of what we send and of what our doubles send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel


def _by_type(union: object) -> dict[str, type[BaseModel]]:
    """The classes of a union of events by their ``type``."""
    annotated, *_ = get_args(union)
    return {get_args(event.model_fields["type"].annotation)[0]: event for event in get_args(annotated)}


CLIENT_EVENTS = _by_type(RealtimeClientEvent)
SERVER_EVENTS = _by_type(RealtimeServerEvent)


def assert_typed(event: Mapping[str, Any], side: Literal["client", "server"]) -> None:
    """Fail unless `event` is what the official client has for its type, each value as it must be.

    Of ours each member must be known as well. Those of a server may have more: it tells a session's ``id``, for which
    the official client has no name.
    """
    kind = (CLIENT_EVENTS if side == "client" else SERVER_EVENTS)[event["type"]]
    unknown = list(_unknown(kind.model_validate(event), event["type"]))
    assert side == "server" or not unknown, f"the official client knows no {unknown}"


def _unknown(value: object, path: str) -> Iterator[str]:
    """Members that no class names; the classes take them silently."""
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for element in value:
            yield from _unknown(element, path)
