"""Who may open a session, and which: decided from the request, refused as the real server does, within the socket.

The upgrade always succeeds; a client that may not come in is told by one `error` event and a close code of the 3000s or
4000s, which no client tries again. Keys come by header or, from browsers, by subprotocol.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from gateway.embedded.client_secrets import PREFIX, ClientSecrets
from gateway.embedded.session import AnyConfig, SessionConfig, TranscriptionConfig
from gateway.errors import GatewayError

INVALID_KEY_CLOSE = 3000
INVALID_REQUEST_CLOSE = 4000

_KEY_PROTOCOL = "openai-insecure-api-key."
_SHOWN_KEY_CHARACTERS = 4


class NotAdmitted(GatewayError):
    """A client that gets no session: the code and message of its `error` event, and how its socket is closed."""

    def __init__(self, code: str, message: str, close_code: int = INVALID_REQUEST_CLOSE) -> None:
        self.code = code
        self.message = message
        self.close_code = close_code
        super().__init__(f"{code}: {message}")

    @property
    def close_reason(self) -> str:
        """Reason of the close: the error's type and code."""
        return f"invalid_request_error.{self.code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request shows of its sender."""

    keys: tuple[str, ...]

    @classmethod
    def of(cls, authorizations: Iterable[str], protocols: Iterable[str]) -> Credentials:
        """Those in `Authorization` and `Sec-WebSocket-Protocol` headers."""
        keys = [value.strip()[7:].strip() for value in authorizations if value.strip()[:7].lower() == "bearer "]
        offered = (name.strip() for value in protocols for name in value.split(","))
        keys += [name.removeprefix(_KEY_PROTOCOL) for name in offered if name.startswith(_KEY_PROTOCOL)]
        return cls(keys=tuple(keys))

    def show(self, api_key: str) -> bool:
        """Whether `api_key` is among them."""
        return any(hmac.compare_digest(key.encode(), api_key.encode()) for key in self.keys)

    @property
    def ephemeral(self) -> str | None:
        """The ephemeral key among them."""
        return next((key for key in self.keys if key.startswith(PREFIX)), None)


class Admission:
    """The rules of one server. Without an `api_key` everybody may come in; ephemeral keys are always looked at."""

    def __init__(self, api_key: str | None, secrets: ClientSecrets) -> None:
        self._api_key = api_key
        self._secrets = secrets

    def is_owner(self, credentials: Credentials) -> bool:
        """Whether the key is shown that makes ephemeral ones."""
        return self._api_key is None or credentials.show(self._api_key)

    def admit(self, target: str, credentials: Credentials, *, beta: str, now: float) -> AnyConfig:
        """The session that a request for `target` gets; `beta` is its `OpenAI-Beta` header, `now` the Unix time.

        Raises:
            NotAdmitted: a wrong or outdated key, the beta protocol, no model, or somebody else's call.
        """
        if "realtime=v1" in beta:
            message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
            raise NotAdmitted("beta_api_shape_disabled", message)
        config = self._config_of_key(credentials, now)
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        if "call_id" in query:
            message = f"No call '{query['call_id'][:80]}': this server has WebSockets only."
            raise NotAdmitted("invalid_call_id", message)
        if config is not None:
            return _with_model(config, query)
        if query.get("intent") == "transcription":
            return TranscriptionConfig()
        if "model" not in query:
            message = "You must provide a model parameter, for example ws://127.0.0.1:8765/v1/realtime?model=embedded."
            raise NotAdmitted("missing_model", message)
        return SessionConfig(model=query["model"])

    def _config_of_key(self, credentials: Credentials, now: float) -> AnyConfig | None:
        """The session that an ephemeral key stands for; None where the key says nothing of it."""
        if (ephemeral := credentials.ephemeral) is not None:
            config = self._secrets.session_of(ephemeral, now)
            if config is None:
                raise _wrong_key(ephemeral)
            return config
        if not self.is_owner(credentials):
            raise _wrong_key(next(iter(credentials.keys), ""))
        return None


def _with_model(config: AnyConfig, query: Mapping[str, str]) -> AnyConfig:
    if isinstance(config, SessionConfig) and "model" in query:
        return config.model_copy(update={"model": query["model"]})
    return config


def _wrong_key(key: str) -> NotAdmitted:
    shown = f"{key[:_SHOWN_KEY_CHARACTERS]}***" if len(key) > 2 * _SHOWN_KEY_CHARACTERS else "***"
    message = f"Incorrect API key provided: {shown}" if key else "No API key provided."
    return NotAdmitted("invalid_api_key", message, INVALID_KEY_CLOSE)
