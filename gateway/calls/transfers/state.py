"""One attempt to transfer a caller to one target, as a machine.

::

    blind      REQUESTED ─> ACCEPTED ─> RINGING ─> HANDED_OVER          REFER; the PBX's NOTIFYs decide (RFC 3515)
    attended   REQUESTED ─> ACCEPTED ─> RINGING ─> ANSWERED ─> HANDED_OVER
                   │            │          │          │  └───> BRIDGED   the PBX takes no Replaces
    warm       REQUESTED ─> ACCEPTED ─> RINGING ─> WHISPERING ─> ANSWERED, then as attended
                   └────────────┴──────────┴──────────┴─> FAILED, TIMED_OUT, CALLER_GONE, CALL_ENDED

A blind attempt never gets to ANSWERED: a PBX reports 200 when it has taken the caller over, and Asterisk does so as
soon as ring-back or hold music flows. In an attended attempt we call the target ourselves, so its 200 is a telephone
that was picked up; then the caller's leg is sent a REFER whose Replaces names that call (RFC 5589 7), and the PBX joins
the two. In a warm attempt whoever picks up hears who calls, and ANSWERED is the key by which they take the call: what
picks up without pressing one (an answering machine) has not answered.

``TRANSFER_TRANSITIONS`` is the whole machine. News without a row for the present state changes nothing.
"""

from __future__ import annotations

from enum import Enum

from gateway.dialplan.contacts import TransferMode


class TransferState(Enum):
    """Where an attempt stands."""

    REQUESTED = "requested"
    """REFER or INVITE was sent."""
    ACCEPTED = "accepted"
    """The PBX is at work."""
    RINGING = "ringing"
    WHISPERING = "whispering"
    """Somebody has picked up our call, hears who calls, and has not pressed a key yet."""
    ANSWERED = "answered"
    """Somebody has picked up our call, of a warm transfer by a key too; the PBX was asked to join the caller with them.
    """
    RELEASED = "released"
    """Their call to us has ended: because they were joined, or because they hung up. The REFER's result will tell, or,
    where a PBX gives none, the caller's audio, which comes to us still.
    """
    HANDED_OVER = "handed-over"
    """The PBX has the caller, and we are out."""
    BRIDGED = "bridged"
    """Both talk, and their audio goes through us."""
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CALLER_GONE = "caller-gone"
    """The caller hung up."""
    CALL_ENDED = "call-ended"
    """The caller's call ended otherwise: the gateway ended it, or it was lost."""


class TransferNews(Enum):
    """What an attempt hears of."""

    ACCEPTED = "accepted"
    RINGING = "ringing"
    ANSWERED = "answered"
    TAKEN = "taken"
    """By a key."""
    REFUSED = "refused"
    EXPIRED = "expired"
    JOINED = "joined"
    """The PBX has taken the caller over."""
    NOT_JOINED = "not-joined"
    """The PBX did not put the caller in our place towards the target."""
    TARGET_LEFT = "target-left"
    CALLER_FOUND = "caller-found"
    """With us, where a PBX that has joined them would have taken them away."""
    CALLER_LEFT = "caller-left"
    CALL_ENDED = "call-ended"
    """Not by the caller."""


_S, _N = TransferState, TransferNews
_PENDING = (_S.REQUESTED, _S.ACCEPTED, _S.RINGING)
_CALLED = (TransferMode.ATTENDED, TransferMode.WARM)
"""Modes in which we call the target ourselves."""
_LEFT = {_N.CALLER_LEFT: _S.CALLER_GONE, _N.CALL_ENDED: _S.CALL_ENDED}

TRANSFER_TRANSITIONS: dict[tuple[TransferMode, TransferState, TransferNews], TransferState] = {
    **{(mode, _S.REQUESTED, _N.ACCEPTED): _S.ACCEPTED for mode in TransferMode},
    **{(mode, state, _N.RINGING): _S.RINGING for mode in TransferMode for state in (_S.REQUESTED, _S.ACCEPTED)},
    **{(mode, state, _N.REFUSED): _S.FAILED for mode in TransferMode for state in _PENDING},
    **{(mode, state, _N.EXPIRED): _S.TIMED_OUT for mode in TransferMode for state in _PENDING},
    **{(mode, state, news): end for mode in TransferMode for state in _PENDING for news, end in _LEFT.items()},
    **{(TransferMode.BLIND, state, _N.JOINED): _S.HANDED_OVER for state in _PENDING},
    **{(TransferMode.ATTENDED, state, _N.ANSWERED): _S.ANSWERED for state in _PENDING},
    **{(TransferMode.WARM, state, _N.ANSWERED): _S.WHISPERING for state in _PENDING},
    (TransferMode.WARM, _S.WHISPERING, _N.TAKEN): _S.ANSWERED,
    (TransferMode.WARM, _S.WHISPERING, _N.REFUSED): _S.FAILED,
    (TransferMode.WARM, _S.WHISPERING, _N.TARGET_LEFT): _S.FAILED,
    (TransferMode.WARM, _S.WHISPERING, _N.EXPIRED): _S.TIMED_OUT,
    **{(TransferMode.WARM, _S.WHISPERING, news): end for news, end in _LEFT.items()},
    **{(mode, _S.ANSWERED, _N.JOINED): _S.HANDED_OVER for mode in _CALLED},
    **{(mode, _S.ANSWERED, _N.NOT_JOINED): _S.BRIDGED for mode in _CALLED},
    **{(mode, _S.ANSWERED, _N.TARGET_LEFT): _S.RELEASED for mode in _CALLED},
    **{(mode, _S.ANSWERED, news): end for mode in _CALLED for news, end in _LEFT.items()},
    **{(mode, _S.RELEASED, _N.JOINED): _S.HANDED_OVER for mode in _CALLED},
    **{(mode, _S.RELEASED, _N.NOT_JOINED): _S.FAILED for mode in _CALLED},
    **{(mode, _S.RELEASED, _N.CALLER_FOUND): _S.FAILED for mode in _CALLED},
    **{(mode, _S.RELEASED, news): end for mode in _CALLED for news, end in _LEFT.items()},
}
"""(mode, state, news) -> the state that follows."""
