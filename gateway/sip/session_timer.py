"""The session timer of a leg (RFC 4028): proof, at agreed intervals, that the other side is still there.

One side, the refresher, repeats UPDATE or re-INVITE at half the interval. The other ends the call when no refresh came
by the end, less 32 s or a third of the interval. As server we let the peer refresh wherever RFC 4028 table 2 leaves the
choice to us and it asked for the timer; as client we leave it open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.sip.core import HeaderFields, listed
from gateway.sip.events import EndCause
from gateway.sip.invite_usage import InviteUsage
from gateway.sip.message import Request, Response
from gateway.sip.timers import Alarm

_RETRY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What the last refresh agreed on."""

    interval_s: int
    is_ours: bool
    """Whether we refresh."""


class SessionTimer:
    """The timer of one leg. `refresh` sends a refresh; its outcome comes back through `accept` or `refresh_failed`."""

    def __init__(self, usage: InviteUsage) -> None:
        self._usage = usage
        self._options = usage.core.options
        self._agreement: Agreement | None = None
        self._min_se_s = self._options.min_session_expires_s
        self._refresh: Alarm | None = None
        self._expiry: Alarm | None = None
        self.refresh: Callable[[float], None] = lambda now: None
        usage.on_end.append(lambda now: self._stop())

    def answer(self, request: Request, now: float) -> HeaderFields:
        """Agree to what `request`, INVITE or UPDATE, asks for; the headers of our 2xx."""
        asked_s, refresher = read_session_expires(request)
        is_known = _knows_timer(request)
        if asked_s is None:
            if not is_known or not self._options.session_expires_s:
                self._stop()
                return ()
            # Who did not ask may never refresh, so that we do.
            asked_s, refresher = max(self._options.session_expires_s, read_min_se(request)), "uas"
        # RFC 4028 table 2: a peer without the extension cannot refresh; one that names the refresher gets its wish.
        refresher = (refresher or "uac") if is_known else "uas"
        interval_s = max(asked_s, self._options.min_session_expires_s)
        self._start(Agreement(interval_s=interval_s, is_ours=refresher == "uas"), now)
        fields = [("Session-Expires", f"{interval_s};refresher={refresher}")]
        if refresher == "uac":
            fields.append(("Require", "timer"))
        return tuple(fields)

    def ask(self) -> HeaderFields:
        """The headers of an INVITE or UPDATE of ours: a new wish, or what holds already (RFC 4028 7.1, 7.4)."""
        agreement = self._agreement
        if agreement is None:
            if not self._options.session_expires_s:
                return ()
            interval_s = max(self._options.session_expires_s, self._min_se_s)
            return (("Session-Expires", str(interval_s)), ("Min-SE", str(self._min_se_s)))
        refresher = "uac" if agreement.is_ours else "uas"
        interval_s = max(agreement.interval_s, self._min_se_s)
        return (("Session-Expires", f"{interval_s};refresher={refresher}"), ("Min-SE", str(self._min_se_s)))

    def lengthen(self, response: Response) -> bool:
        """Take the Min-SE of a 422; False where it is nothing new, so that asking again would be in vain (7.3)."""
        least_s = read_min_se(response)
        if least_s <= max(self._min_se_s, self._options.session_expires_s):
            return False
        self._min_se_s = least_s
        return True

    def accept(self, response: Response, now: float) -> None:
        """Agree to what a 2xx to our INVITE or UPDATE says (RFC 4028 7.2)."""
        interval_s, refresher = read_session_expires(response)
        if interval_s is None:
            self._stop()
            return
        self._start(Agreement(interval_s=max(interval_s, 1), is_ours=refresher != "uas"), now)

    def refresh_failed(self, now: float) -> None:
        """A refresh was refused; try again while there is time."""
        if self._agreement is not None and self._agreement.is_ours and self._expiry is not None:
            self._schedule(now + min(_RETRY_S, self._agreement.interval_s / 4))

    def _start(self, agreement: Agreement, now: float) -> None:
        self._stop()
        self._agreement = agreement
        interval_s = agreement.interval_s
        # RFC 4028 10: BYE before the end, by the smaller of 32 s and a third of the interval.
        self._expiry = self._usage.core.timers.start(now + interval_s - min(32.0, interval_s / 3), self._expire)
        if agreement.is_ours:
            self._schedule(now + interval_s / 2)

    def _schedule(self, deadline: float) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
        self._refresh = self._usage.core.timers.start(deadline, self.refresh)

    def _stop(self) -> None:
        self._agreement = None
        for alarm in (self._refresh, self._expiry):
            if alarm is not None:
                alarm.cancel()
        self._refresh = self._expiry = None

    def _expire(self, now: float) -> None:
        if not self._usage.is_over:
            self._usage.abort(EndCause.SESSION_EXPIRED, 408, "session timer expired", now)


def refuse_interval(request: Request, minimum_s: int) -> HeaderFields | None:
    """The headers of a 422, where `request` asks for a shorter interval than `minimum_s` (RFC 4028 9)."""
    asked_s, _ = read_session_expires(request)
    if asked_s is None or asked_s >= minimum_s or not _knows_timer(request):
        return None
    return (("Min-SE", str(minimum_s)),)


def read_session_expires(message: Request | Response) -> tuple[int | None, str | None]:
    """Interval in seconds and refresher, ``uac`` or ``uas``; None for what is not there or no number."""
    value, *parameters = (message.headers.get("Session-Expires") or "").split(";")
    refresher = None
    for parameter in parameters:
        name, _, content = parameter.partition("=")
        if name.strip().lower() == "refresher" and content.strip().lower() in ("uac", "uas"):
            refresher = content.strip().lower()
    return _read_seconds(value), refresher


def read_min_se(message: Request | Response) -> int:
    """Min-SE in seconds; 90 where it is not there (RFC 4028 5)."""
    seconds = _read_seconds((message.headers.get("Min-SE") or "").partition(";")[0])
    return 90 if seconds is None else seconds


def _knows_timer(request: Request) -> bool:
    return "timer" in map(str.lower, listed(request, "Supported"))


def _read_seconds(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
