"""Carrying out `session.update`: merged member by member, validated as a whole, refused where something is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from gateway.embedded.protocol import RefusedEvent, refusal
from gateway.embedded.session import AnyConfig, SessionConfig, TranscriptionConfig, merged_session

Config = TypeVar("Config", SessionConfig, TranscriptionConfig)


def updated_session(current: AnyConfig, update: Mapping[str, Any], *, has_spoken: bool) -> AnyConfig:
    """The session as it would be after `update`. `has_spoken`: the assistant was heard, whose voice is fixed then.

    Raises:
        RefusedEvent: something in it is unknown, invalid or fixed.
    """
    if "type" not in update:
        message = "Missing required parameter: 'session.type'."
        raise RefusedEvent("missing_required_parameter", message, parameter="session.type")
    if isinstance(current, TranscriptionConfig):
        return validated_session(current, update)
    config = validated_session(current, update)
    if has_spoken and config.audio.output.voice != current.audio.output.voice:
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise RefusedEvent("cannot_update_voice", message, parameter="session.audio.output.voice")
    if config.model != current.model:
        message = f"Invalid value: '{config.model}'. The model of a session cannot be changed."
        raise RefusedEvent("invalid_value", message, parameter="session.model")
    return config


def validated_session(base: Config, update: Mapping[str, Any]) -> Config:
    """`base` with `update` laid over it.

    Raises:
        RefusedEvent: something in it is unknown or invalid.
    """
    merged = merged_session(base, update)
    try:
        return type(base).model_validate(merged)
    except ValidationError as error:
        raise refusal(error, merged, prefix="session") from error
