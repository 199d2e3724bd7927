"""Ephemeral keys: `POST /v1/realtime/client_secrets`, which a server asks for and hands to a browser.

A key stands for a session's settings and opens any number of sessions until it expires; those that are open then go on.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from gateway.embedded.events import Identities
from gateway.embedded.protocol import RefusedEvent, is_shallow, parsed_json, refusal
from gateway.embedded.session import AnyConfig, SessionConfig, Strict, TranscriptionConfig
from gateway.embedded.session_update import validated_session

PREFIX = "ek_"
MAX_SECRETS = 10_000
"""Keys remembered at once; the oldest is forgotten first."""
_DEFAULT_MODEL = "embedded"


class ExpiresAfter(Strict):
    """How long a key is good for, from when it is made."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class SecretRequest(Strict):
    """Body of the request; every member may be left out."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Secret:
    config: AnyConfig
    expires_at: float


class ClientSecrets:
    """All keys of one server. `now` is the Unix time."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._secrets: dict[str, _Secret] = {}

    def session_of(self, key: str, now: float) -> AnyConfig | None:
        """The settings that `key` stands for; None once it has expired, and where it never was."""
        secret = self._secrets.get(key)
        return secret.config if secret is not None and now < secret.expires_at else None

    def answer(self, body: bytes, now: float) -> dict[str, Any]:
        """Make a key; returns what its owner is told.

        Raises:
            RefusedEvent: the body is not what it should be.
        """
        request = _request_of(body)
        config = _config_of(request.session)
        expires_at = int(now) + request.expires_after.seconds
        value = PREFIX + secrets.token_hex(16)
        self._forget(now)
        self._secrets[value] = _Secret(config, expires_at)
        session = config.to_wire(self._identities.new("sess"), 0)
        return {"value": value, "expires_at": expires_at, "session": session}

    def _forget(self, now: float) -> None:
        """Drop what has expired, and the oldest where there are too many."""
        self._secrets = {key: secret for key, secret in self._secrets.items() if now < secret.expires_at}
        while len(self._secrets) >= MAX_SECRETS:
            del self._secrets[next(iter(self._secrets))]


def _request_of(body: bytes) -> SecretRequest:
    data = parsed_json(body) if body.strip() else {}
    if not isinstance(data, dict) or not is_shallow(data):
        raise RefusedEvent("invalid_value", "Expected a JSON object.")
    try:
        return SecretRequest.model_validate(data)
    except ValidationError as error:
        raise refusal(error, data) from error


def _config_of(session: dict[str, Any]) -> AnyConfig:
    if session.get("type") == "transcription":
        return validated_session(TranscriptionConfig(), session)
    return validated_session(SessionConfig(model=_DEFAULT_MODEL), session)
