"""How a session is kept alive: what an operator can set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryOptions:
    """One kind of session's endurance."""

    attempts: int = 5
    """Connections tried, of one provider, when one was lost; the first at once."""
    window_s: float = 15.0
    """No try begins later than this after the first of that provider."""
    keep_audio_s: float = 5.0
    """Caller's audio kept of a gap, and of what the lost connection may not have taken."""
    roll_over_before_s: float = 300.0
    """How long before its end a session is replaced, in a pause; of a short-lived one a quarter of its life at most."""
    no_event_s: float = 8.0
    """Silence of the connection after a request at which it is taken for dead."""
    prompt_after_s: float = 8.0
    """The caller waits for a reply: they are told to wait, ..."""
    reconnect_after_s: float = 20.0
    """... the connection is replaced, ..."""
    give_up_after_s: float = 40.0
    """... the next provider takes over, or the dialplan's ``provider_down``."""
    longest_reply_s: float = 60.0
    """Speech of one reply at which it is ended."""
    reply_retries: int = 3
    """Replies that failed for a passing reason and are asked for again, within one call."""
