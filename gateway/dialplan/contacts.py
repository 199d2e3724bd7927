"""Who may be called, how, and how often. Frozen; what may be a secret is left out of every ``repr``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gateway.dialplan.pattern import Pattern
from gateway.dialplan.targets import DialTarget, TargetKind
from gateway.dialplan.tools import HttpRequest

ACCEPT_KEY, REFUSE_KEY = "1", "2"
ACCEPT_WAIT_S = 10.0
_NUMBER = re.compile(r"\+?[0-9]{1,20}")
_PLUS = re.compile(r"\\\+|\[[^]]*\+")
"""A plus sign of an expression that is one: escaped, or in a class of characters."""


class TransferMode(Enum):
    """How a caller is handed to a contact."""

    BLIND = "blind"
    """The PBX is asked to connect them, and whether a human answered stays its secret."""
    ATTENDED = "attended"
    """The contact is called first; the caller is handed over when a human has answered."""
    WARM = "warm"
    """As attended, and the human hears who calls and why, and takes the call by a key."""


class SummaryWay(Enum):
    """How a contact learns what the call is about."""

    WHISPER = "whisper"
    """It is spoken to them before they hear the caller."""
    HEADER = "header"
    """It goes along in the INVITE."""
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The contact has to press a key: ``key`` takes the call, ``refuse`` or ``wait_s`` without a key does not."""

    key: str = ACCEPT_KEY
    refuse: str = REFUSE_KEY
    wait_s: float = ACCEPT_WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How often a contact may be called: within one call, and within an hour by all calls. None: no limit."""

    per_call: int | None = None
    per_hour: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Somebody who may be called: ``targets`` one after the other, each for ``ring_s``, in the way of ``mode``.

    Outside ``hours`` the contact ``otherwise`` takes the call, or nobody; ``mailbox`` takes a message instead.
    ``description`` is for the model. One with a ``pattern`` has no targets: whoever asks for it names a number, digits
    that the pattern takes as a whole.
    """

    name: str
    description: str
    targets: tuple[DialTarget, ...]
    ring_s: float
    mode: TransferMode = TransferMode.BLIND
    confirm: bool = False
    """A model has to ask the caller first, and the caller to answer."""
    hours: str | None = None
    otherwise: str | None = None
    mailbox: str | None = None
    """Where callers leave a message outside the hours, or where nobody answers."""
    pattern: Pattern | None = None
    trunk: str | None = None
    """The trunk that dials it; None: the one that the caller came by."""
    acceptance: Acceptance | None = None
    summary: frozenset[SummaryWay] = frozenset()
    webhook: HttpRequest | None = None
    music: Path | None = None
    """What the caller hears meanwhile, of a transfer that is not blind: WAV as for `PlayAction`; None: ring-back."""
    quota: Quota = Quota()

    @property
    def ways(self) -> frozenset[SummaryWay]:
        """The ways in which whoever is called learns what the call is about; where none is named, all that there are
        without a header.
        """
        whisper = {SummaryWay.WHISPER} if self.mode is TransferMode.WARM else set()
        return self.summary or frozenset(whisper | ({SummaryWay.WEBHOOK} if self.webhook is not None else set()))

    def target_of(self, number: str) -> DialTarget | None:
        """Where to dial `number`, somebody's words, for a contact with a pattern; None: the pattern does not take it.

        ASCII digits alone, as a whole, and a leading + where the pattern has one.
        """
        if self.pattern is None or not _NUMBER.fullmatch(number):
            return None
        is_international = number.startswith("+")
        if (is_international and not _has_plus(self.pattern)) or not self.pattern.matches(number):
            return None
        return DialTarget(kind=TargetKind.TELEPHONE if is_international else TargetKind.EXTENSION, user=number)


def _has_plus(pattern: Pattern) -> bool:
    """Whether `pattern` means the character; in an expression it repeats what stands before, unless it is escaped."""
    return _PLUS.search(pattern.text) is not None if pattern.regex is not None else "+" in pattern.text
