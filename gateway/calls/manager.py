"""All calls of a process: who is let in, who hears which news, and how the last of them leave.

::

    SipEndpoint ──event──> CallManager.dispatch ──CallOffered──> admission, negotiation, dialplan ──> CallTask
                                               └──anything else──> the CallTask of its leg

A call that cannot be taken is refused before it costs anything: 503 with Retry-After where this machine is full, 488
where there is no common codec or encryption, and what the dialplan says for all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from gateway.calls import events as call_events
from gateway.calls.facts import NumberPolicy, facts_of
from gateway.calls.task import CallBrief, CallServices, CallTask
from gateway.dialplan.model import NO_ROUTE, CallFacts, Decision, Dialplan
from gateway.errors import GatewayError, NegotiationError, ResourceError, StateError, shown
from gateway.sip import events as sip_events
from gateway.sip.hop import Hop
from gateway.sip.reject_reason import RejectReason
from gateway.sip.sdes import SrtpPolicy, SrtpTerms
from gateway.sip.sdp import LocalMedia, make_offer, negotiate

RETRY_AFTER_S = 10

_log = structlog.stdlib.get_logger("gateway.calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Limits of all calls together."""

    max_calls: int = 200
    """Calls at once; the next is refused by 503 with Retry-After."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkPolicy:
    """What calls of one trunk are given."""

    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """Names of the codecs spoken there, none else is agreed to."""
    numbers: NumberPolicy
    referral_host: str
    """host[:port] of the PBX, put behind the extensions that transfers name."""
    srtp: SrtpPolicy = SrtpPolicy.OPTIONAL
    """Whether audio is encrypted."""
    srtp_over_plain: bool = False
    """Tell SRTP keys over UDP and TCP, too, where whoever sees them can listen; otherwise over TLS alone."""

    def srtp_terms(self, hop: Hop) -> SrtpTerms:
        """What a call whose signalling goes by `hop` brings to its negotiation, with keys of its own."""
        may_carry_keys = hop.transport.is_secure or self.srtp_over_plain
        return SrtpTerms.draw(self.srtp, secrets.token_bytes, may_carry_keys=may_carry_keys)


class NotAdmitted(ResourceError):
    """A limit of this machine forbids the call; which one is `reason`."""

    def __init__(self, message: str, reason: RejectReason) -> None:
        self.reason = reason
        super().__init__(message)


def reason_of(error: GatewayError) -> RejectReason:
    """What a call refused by `error` is counted as."""
    match error:
        case NotAdmitted():
            return error.reason
        case NegotiationError():
            return RejectReason.NO_CODEC
        case ResourceError():
            return RejectReason.PORTS
    return RejectReason.INTERNAL


class CallManager:
    """The registry of calls. `run` must be running while `dispatch` is called.

    `overload` says why the machine cannot take a call beside so many others; None where it can.
    """

    def __init__(
        self,
        options: CallOptions,
        services: CallServices,
        trunks: Mapping[str, TrunkPolicy],
        plans: Sequence[Dialplan],
        overload: Callable[[int], RejectReason | None] = lambda calls: None,
    ) -> None:
        self._overload = overload
        self._options = options
        self._services = services
        self._trunks = trunks
        self._plans = tuple(plans)
        self._calls: dict[str, CallTask] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing = asyncio.Event()

    @property
    def call_count(self) -> int:
        """Calls that have not released everything yet."""
        return len(self._calls)

    async def run(self) -> None:
        """Carry calls until `close`; every call's task is a child of this one."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._closing.wait()
            self._tasks = None

    async def drain(self, patience_s: float) -> None:
        """Take and place no new call, let those there are end by themselves for `patience_s`, then end them by BYE."""
        self._services.user_agent.refuse_calls(503, RETRY_AFTER_S)
        for call in list(self._calls.values()):
            call.dispatch(call_events.DrainBegan())
        try:
            await asyncio.wait_for(self._empty.wait(), patience_s)
        except TimeoutError:
            _log.info("draining ended", calls_cut=len(self._calls))
            self.end_all()
        await self._empty.wait()

    def end_all(self) -> None:
        """End every call now."""
        for call in list(self._calls.values()):
            call.dispatch(call_events.DrainEnded())

    def replace_plans(self, plans: Sequence[Dialplan]) -> None:
        """Use `plans` for new calls; calls under way keep theirs."""
        self._plans = tuple(plans)

    def close(self) -> None:
        """Let `run` return as soon as the last call has gone."""
        self._closing.set()

    def dispatch(self, event: sip_events.Event) -> None:
        """Hand an event of the user agent to the call it belongs to."""
        if isinstance(event, sip_events.CallOffered):
            self._offer(event)
            return
        leg_id = getattr(event, "leg_id", None)
        call = self._calls.get(leg_id) if leg_id is not None else None
        if call is not None:
            call.on_signalling(event)

    def _offer(self, offered: sip_events.CallOffered) -> None:
        try:
            brief = self._admit(offered)
        except GatewayError as error:
            self._refuse(offered, error)
            return
        if not brief.decision.is_routed:
            self._services.user_agent.counters.rejected.add(RejectReason.NO_ROUTE)
        call = self._calls[offered.leg_id] = CallTask(self._services, brief)
        self._empty.clear()
        assert self._tasks is not None  # noqa: S101 - `_admit` has looked
        self._tasks.create_task(self._carry(offered.leg_id, call), name=f"call {offered.leg_id}")

    def _admit(self, offered: sip_events.CallOffered) -> CallBrief:
        """Everything that can refuse a call, the cheap before the dear; the port is bound before it is promised."""
        services, trunk = self._services, self._trunks[offered.trunk]
        self._check_capacity()
        port = services.media.ports.open()
        now = services.wall_clock()
        try:
            local = LocalMedia(
                address=services.media_host,
                port=port.port,
                codecs=trunk.codecs,
                session_id=int(now.timestamp()),
                version=1,
                srtp=trunk.srtp_terms(offered.source),
            )
            if offered.offer is None:
                make_offer(local)
            else:
                negotiate(offered.offer, local)
            facts = facts_of(offered, trunk.numbers, now)
            plan, decision = self._decide(facts)
        except BaseException:
            services.media.ports.close(port, services.clock())
            raise
        return CallBrief(
            offered=offered,
            facts=facts,
            plan=plan,
            decision=decision,
            port=port,
            local=local,
            referral_host=trunk.referral_host,
        )

    def _check_capacity(self) -> None:
        """Whether there is room, before anything is bound, parsed or looked up. Raises: NotAdmitted."""
        calls = len(self._calls)
        if self._tasks is None:
            raise NotAdmitted("the gateway is going down", RejectReason.DRAINING)
        if calls >= self._options.max_calls:
            text = f"{calls} calls are up, limits.max_calls is {self._options.max_calls}"
            raise NotAdmitted(text, RejectReason.TOO_MANY_CALLS)
        reason = self._overload(calls)
        if reason is not None:
            raise NotAdmitted(f"beside {calls} calls this machine has reached limits.{reason.value}", reason)

    def _decide(self, facts: CallFacts) -> tuple[Dialplan, Decision]:
        """The first dialplan with a route for this call; the last one's refusal when none has."""
        for plan in self._plans:
            decision = plan.decide(facts)
            if decision.route != NO_ROUTE:
                break
        return plan, decision

    def _refuse(self, offered: sip_events.CallOffered, error: GatewayError) -> None:
        headers = (("Retry-After", str(RETRY_AFTER_S)),) if error.is_retryable else ()
        code = reason_of(error)
        _log.info(
            "call refused",
            call_id=shown(offered.call_id),
            trunk=offered.trunk,
            status=error.sip_status,
            reason_code=code.value,
            reason=str(error),
        )
        services = self._services
        services.user_agent.counters.rejected.add(code)
        services.user_agent.reject(offered.leg_id, error.sip_status, services.clock(), headers=headers)
        services.transmit()

    async def _carry(self, leg_id: str, call: CallTask) -> None:
        try:
            await call.run()
        except Exception:  # noqa: BLE001 - one call's fault must not end the others
            _log.exception("call failed", call_id=call.record.call_id)
            with contextlib.suppress(StateError):  # the leg may have ended as well
                self._services.user_agent.bye(leg_id, self._services.clock())
            self._services.transmit()
        finally:
            del self._calls[leg_id]
            if not self._calls:
                self._empty.set()
