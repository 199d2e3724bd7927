"""The exception tree. Each error knows its verdict, so that nobody decides by its text.

::

    GatewayError
    ├── ConfigurationError     the operator's files: every problem with file, line, column and remedy
    ├── ResourceError          this machine: a port is taken, descriptors or RTP ports have run out
    ├── SipError
    │   ├── MessageError       the peer sent bytes that are not SIP or SDP as its RFC has them
    │   ├── NegotiationError   the peer's offer and ours have nothing in common (RFC 3264)
    │   └── StateError         we asked for what the call's state does not allow: our fault, never the peer's
    └── ProviderError
        ├── ProviderUnavailable    nobody there, too slow, overloaded: another try may succeed
        └── ProviderRefused        bad key, no quota, unknown model: another try cannot succeed

``sip_status`` is what a call that fails for this reason is answered with (RFC 3261 21); ``is_retryable`` says whether
the same attempt may succeed later without anybody changing anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

SHOWN_CHARACTERS = 80
LONGEST_PATH_CHARACTERS = 4096


def shown(value: object, limit: int = SHOWN_CHARACTERS) -> str:
    """`value` fit for an error or a log line: printable characters on one line, cut at `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def shown_path(file: object) -> str:
    """A file's path as `shown`, but whole: who is to mend it must find it."""
    return shown(str(file), LONGEST_PATH_CHARACTERS)


def counted(number: float, one: str, many: str = "") -> str:
    """``1 trunk``, ``2 trunks``; `many` where it is not `one` and an s."""
    text = str(number) if isinstance(number, int) else f"{number:g}"
    return f"{text} {one if number == 1 else many or one + 's'}"


class GatewayError(Exception):
    """Base of all errors this package raises on purpose."""

    sip_status: ClassVar[int] = 500
    is_retryable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong in a file. ``line`` and ``column`` count from 1; 0 where the whole file is meant."""

    file: str
    line: int = 0
    column: int = 0
    message: str
    expected: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f" ({self.expected})" if self.expected else "")


class ConfigurationError(GatewayError):
    """Files or flags that cannot be used; carries every problem found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ResourceError(GatewayError):
    """This machine lacks what the call needs (a port, a descriptor, memory)."""

    sip_status = 503
    is_retryable = True


class SipError(GatewayError):
    """Base of everything that went wrong on the telephone side."""


class MessageError(SipError):
    """The peer sent bytes that are not a message. ``status`` is what a request with this flaw is answered with."""

    sip_status = 400

    def __init__(self, reason: str, *, status: int = 400) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"{status} {reason}")


class NegotiationError(SipError):
    """Offer and answer have nothing in common (RFC 3264 6): 488 Not Acceptable Here."""

    sip_status = 488


class StateError(SipError):
    """A command that the call's or transaction's state does not allow. Ours to mend."""


class ProviderError(GatewayError):
    """Base of everything that went wrong on the model side. ``code`` is the provider's own word for it.

    ``retry_after_s`` is the wait that the provider asks for before the next try; None where it names none.
    """

    sip_status = 503

    def __init__(self, message: str, *, code: str = "", retry_after_s: float | None = None) -> None:
        self.code = code
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ProviderUnavailable(ProviderError):
    """Not reachable, too slow, overloaded or gone; the same attempt may succeed later."""

    is_retryable = True


class ProviderRefused(ProviderError):
    """Refused for good: credentials, quota, model, account. Nobody tries again by itself."""
