"""Why a message or a call was not taken: one table, for metrics, the log and whoever asks "why does it not ring?".

Each reason is counted where the decision falls and nowhere else, so that the counts add up.
"""

from __future__ import annotations

from enum import Enum


class RejectReason(Enum):
    """The reasons. The value is the name in metrics and in the log's ``reason_code``."""

    STRANGER = "stranger"
    """In no trunk's ACL: dropped unread."""
    BANNED = "banned"
    """A stranger too often, or too many wrong passwords: dropped unread for a while."""
    MALFORMED = "malformed"
    """Not SIP as the RFC has it; answered 400 where an answer is due."""
    UNSUITABLE = "unsuitable"
    """A method, extension, body or URI that is not served here (405, 415, 416, 420 and the like)."""
    UNKNOWN_DIALOG = "unknown_dialog"
    """Within a dialog that does not exist: 481."""
    RATE = "rate"
    """More messages or calls a second than the trunk may send: 503."""
    OVERLOAD = "overload"
    """Too many transactions are open: 503."""
    TOO_MANY_CALLS = "too_many_calls"
    """`limits.max_calls`, or the user agent's own limit: 503."""
    CPU = "cpu"
    """This process uses more of its core than `limits.cpu`: 503."""
    LAG = "lag"
    """The event loop is later than `limits.lag`: 503."""
    DESCRIPTORS = "descriptors"
    """Nearly all file descriptors are in use (`limits.descriptors`): 503."""
    PORTS = "ports"
    """No RTP port could be opened: 503."""
    BUDGET = "budget"
    """A day's `limits.budget` is used up: 503, unless the dialplan has an escalation for it."""
    DRAINING = "draining"
    """The gateway is going down: 503."""
    UNAUTHORIZED = "unauthorized"
    """No credentials, or such as are too old: 401. Every first request of an authenticated trunk counts here."""
    WRONG_CREDENTIALS = "wrong_credentials"
    """Unknown user or wrong password: 401."""
    NO_CODEC = "no_codec"
    """No audio in common: 488."""
    NO_ROUTE = "no_route"
    """No route of a dialplan matches: 404."""
    INTERNAL = "internal"
    """A fault of ours: 500."""


class RejectTable:
    """How often each reason occurred since the start."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = dict.fromkeys(RejectReason, 0)

    def add(self, reason: RejectReason) -> None:
        """Count one."""
        self._counts[reason] += 1

    def __getitem__(self, reason: RejectReason) -> int:
        return self._counts[reason]

    @property
    def total(self) -> int:
        """Of all reasons."""
        return sum(self._counts.values())

    def as_dict(self) -> dict[str, int]:
        """All reasons by name, those that never occurred included: metrics want their zeros."""
        return {reason.value: count for reason, count in self._counts.items()}
