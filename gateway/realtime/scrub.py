"""Credentials out of what a provider tells: it may repeat what it was sent, in an error or as the reason of an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.realtime.options import Secret, SessionOptions

MIN_CHARACTERS: Final = 8
"""Of a header's word that is taken for a credential; a tenant's number must not blot out every digit of an error."""


def scrubber(options: SessionOptions) -> Callable[[str], str]:
    """Takes each credential of `options` out of a text: keys, and the words of headers that may be some."""
    keys = [key for key in (options.api_key, *(server.authorization for server in options.hosted_servers)) if key]
    headers = [*options.headers, *(header for server in options.hosted_servers for header in server.headers)]
    words = {word for _, value in headers for word in value.split() if len(word) >= MIN_CHARACTERS}
    secrets = keys + [Secret(word) for word in sorted(words, key=len, reverse=True)]

    def scrub(text: str) -> str:
        for secret in secrets:
            text = secret.scrub(text)
        return text

    return scrub
