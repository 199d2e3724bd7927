"""The states of a call. The table of what leads from one to another is `gateway.calls.call.CALL_TRANSITIONS`."""

from __future__ import annotations

from enum import Enum


class CallState(Enum):
    """Where a call stands."""

    NEW = "new"
    PREPARING = "preparing"  # 180 sent (or already answered); the session is being opened
    DIALLING = "dialling"  # our INVITE is out
    RINGING = "ringing"  # it rings there, or early media is heard
    ANSWERING = "answering"  # 200 sent; the ACK is outstanding
    CONSENTING = "consenting"  # the caller is told that they are recorded, or asked whether they may be
    TALKING = "talking"  # caller and model hear each other
    ACTING = "acting"  # a step of the dialplan is under way: a file is played, a menu asked, a time waited
    ANNOUNCING = "announcing"  # a transfer was asked for; the model finishes its sentence
    TRANSFERRING = "transferring"  # REFER sent, or the target of an attended transfer is called
    JOINED = "joined"  # caller and target talk, and we carry their audio
    CONCLUDING = "concluding"  # a budget is used up; the model finishes its sentence, then the dialplan goes on
    CLOSING = "closing"  # the model asked to hang up and finishes its sentence
    ENDED = "ended"


ALIVE = tuple(state for state in CallState if state is not CallState.ENDED)
"""All states in which something can still happen to a call."""

HEARD_STATES = (
    CallState.CONSENTING,
    CallState.TALKING,
    CallState.ACTING,
    CallState.ANNOUNCING,
    CallState.CONCLUDING,
    CallState.CLOSING,
    CallState.JOINED,
)
"""States in which a caller who sends nothing is missed; a PBX that moves the caller may well be silent."""

INTERRUPTED = (CallState.TALKING, CallState.ANNOUNCING, CallState.CONCLUDING, CallState.CLOSING)
"""States in which the model talks, or says its last sentence: what a fact has set off breaks it off, as a key does."""
