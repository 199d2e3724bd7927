"""Where a provider is, as the configuration says it: a URL with or without a path, of a WebSocket or of the web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from gateway.errors import ProviderRefused

_SCHEMES: Final[Mapping[str, str]] = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def split_url(url: str) -> SplitResult:
    """The URL in its parts.

    Raises:
        ProviderRefused: it has no scheme we know, no host, no usable port, or somebody's password. The URL itself is
            not shown, its query may hold a key.
    """
    try:
        parts = urlsplit(url.strip())
        is_usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ProviderRefused("realtime url: expected ws, wss, http or https, a host, and no user name", code="url")
    return parts


def websocket_url(parts: SplitResult, *, path: str, query: str) -> str:
    """The WebSocket's URL at the same host."""
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, query, ""))


def is_token(credential: str) -> bool:
    """Whether it is a JWT (RFC 7519); no provider's keys look like one."""
    return credential.startswith("eyJ") and credential.count(".") == 2
