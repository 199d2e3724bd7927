"""Realtime sessions with OpenAI, and with every provider that speaks its protocol, each in its dialect.

`OpenAIProtocol` decides, `DialectProtocol` translates what it says and hears, `SocketSession` moves text; here stand
the address, the key, and what keeps a session alive.
"""

from __future__ import annotations

import asyncio
import functools
import uuid

from gateway.realtime.address import is_token
from gateway.realtime.openai.codec import realtime_url
from gateway.realtime.openai.dialects import DIALECTS, NEW_ID, OPENAI, Auth, Dialect
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.openai.session_object import safety_identifier
from gateway.realtime.openai.translated import DialectProtocol
from gateway.realtime.profile import ProviderProfile, register_profile
from gateway.realtime.session import (
    EventCallback,
    SessionClosed,
    SessionEvent,
    SessionOptions,
    register_provider,
)
from gateway.realtime.socket_session import SocketSession

CAPABILITIES = OPENAI.capabilities
"""What OpenAI itself offers."""


class OpenAIRealtimeSession(SocketSession):
    """`gateway.realtime.session.RealtimeSession` for the OpenAI protocol family."""

    def __init__(self, options: SessionOptions, *, dialect: Dialect = OPENAI) -> None:
        self._openai = _protocol(options, dialect)
        super().__init__(
            options,
            protocol=self._openai,
            capabilities=dialect.capabilities,
            url=_url(options, dialect),
            headers=_headers(options, dialect),
        )
        self._keepalive_s = dialect.keepalive_s
        self._keepalive: asyncio.TimerHandle | None = None

    async def connect(self, on_event: EventCallback) -> None:
        """See `RealtimeSession.connect`."""
        if self._keepalive_s is None:
            await super().connect(on_event)
            return

        def hear(event: SessionEvent) -> None:
            if isinstance(event, SessionClosed) and self._keepalive is not None:
                self._keepalive.cancel()
            on_event(event)

        await super().connect(hear)
        self._keep_alive(self._keepalive_s)

    def _keep_alive(self, seconds: float) -> None:
        """Send an empty append now and each so many seconds, whatever else is sent."""
        if not self._is_over:
            self.append_audio(b"")
            self._keepalive = asyncio.get_running_loop().call_later(seconds, self._keep_alive, seconds)

    def clear_audio(self) -> None:
        """Forget the caller's audio that was not committed; for turns that are ours to find."""
        if not self._is_over:
            self._openai.clear_audio()
            self._transmit()

    def retrieve_item(self, item_id: str) -> None:
        """Ask what the provider has of an item; `ItemRetrieved` follows where it has it."""
        if not self._is_over:
            self._openai.retrieve_item(item_id)
            self._transmit()


def _protocol(options: SessionOptions, dialect: Dialect) -> OpenAIProtocol:
    return OpenAIProtocol(options) if dialect.is_original else DialectProtocol(options, dialect)


def _url(options: SessionOptions, dialect: Dialect) -> str:
    query = [(name, uuid.uuid4().hex if value == NEW_ID else value) for name, value in dialect.query]
    return realtime_url(options, path=dialect.path, query=query, has_model=dialect.model_in == "query")


def _headers(options: SessionOptions, dialect: Dialect) -> list[tuple[str, str]]:
    headers = [_credential(options.api_key.reveal().strip(), dialect.auth)] if options.api_key else []
    if options.caller and dialect.is_original:
        headers.append(("OpenAI-Safety-Identifier", safety_identifier(options)))
    return headers


def _credential(key: str, auth: Auth) -> tuple[str, str]:
    """The header that shows the key, or a token in its place."""
    if auth == "xi-api-key" or (auth == "azure" and not is_token(key)):
        return "api-key" if auth == "azure" else auth, key
    return "Authorization", f"{'Basic' if auth == 'basic' and not is_token(key) else 'Bearer'} {key}"


def register() -> None:
    """Make every dialect a provider."""
    for name, dialect in DIALECTS.items():
        register_provider(name, functools.partial(OpenAIRealtimeSession, dialect=dialect))
        profile = ProviderProfile(capabilities=dialect.capabilities, url=dialect.url, lacks=dialect.lacks)
        register_profile(name, profile)
