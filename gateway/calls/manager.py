"""All calls of a process: who is let in, who hears which news, and how the last of them leave.

::

    SipEndpoint ──event──> CallManager.dispatch ──CallOffered──> admission, negotiation, dialplan ──> CallTask
                                               ├──… with Replaces──> the CallTask of the leg it replaces
                                               └──anything else──> whoever listens to its leg
    operator ──place──> CallTask ──INVITE──> telephone

A call that cannot be taken is refused before it costs anything: 503 with Retry-After where this machine is full, 503
where a budget is used up, 488 where there is no common codec or encryption, and what the dialplan says for all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from gateway.calls import events as call_events
from gateway.calls.answering import AnswerDetector
from gateway.calls.brief import CallBrief, Placement, TrunkWay
from gateway.calls.call import CallState
from gateway.calls.facts import NumberPolicy, facts_of
from gateway.calls.lines.keys import DtmfMode
from gateway.calls.services import CallServices
from gateway.calls.spending import BudgetSpent
from gateway.calls.task import CallTask
from gateway.calls.transfers.grant import TransferLimits
from gateway.calls.transfers.quota import ContactQuota, TransferQuota
from gateway.dialplan.actions import SessionAction
from gateway.dialplan.facts import EMPTY
from gateway.dialplan.model import NO_ROUTE, CallFacts, Decision, Dialplan
from gateway.dialplan.targets import DialTarget
from gateway.errors import GatewayError, NegotiationError, ResourceError, StateError, counted, shown
from gateway.sip import events as sip_events
from gateway.sip.hop import Hop
from gateway.sip.message import Uri
from gateway.sip.reject_reason import RejectReason
from gateway.sip.sdes import SrtpPolicy, SrtpTerms
from gateway.sip.sdp import LocalMedia, make_offer, negotiate
from gateway.transport.rtp_ports import RtpPort

RETRY_AFTER_S = 10
PLACED = "(placed)"
"""The route of a call that we place. No route can have this name."""

_log = structlog.stdlib.get_logger("gateway.calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Limits of all calls together."""

    max_calls: int = 200
    """Calls at once; the next is refused by 503 with Retry-After."""
    transfers_per_call: int = 3
    """Transfers that one call may ask for."""
    transfers_per_hour: int = 20
    """Transfers that calls from one number may ask for within an hour."""


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
    dtmf: DtmfMode = DtmfMode.AUTO
    """How keys are sent."""
    follow_refers: bool = False
    """Whether the PBX may make us call somebody else in the caller's place (REFER)."""

    def srtp_terms(self, hop: Hop) -> SrtpTerms:
        """What a call whose signalling goes by `hop` brings to its negotiation, with keys of its own."""
        may_carry_keys = hop.transport.is_secure or self.srtp_over_plain
        return SrtpTerms.draw(self.srtp, secrets.token_bytes, may_carry_keys=may_carry_keys)


class NotAdmitted(ResourceError):
    """A limit of this machine forbids the call; which one is `reason`."""

    def __init__(self, message: str, reason: RejectReason) -> None:
        self.reason = reason
        super().__init__(message)


class NoRoute(StateError):
    """No dialplan says what is to be done with a call of ours."""


class CallGone(StateError):
    """A call that is to take the place of another came too late."""

    sip_status = 481


def reason_of(error: GatewayError) -> RejectReason:
    """What a call refused by `error` is counted as."""
    match error:
        case NotAdmitted():
            return error.reason
        case BudgetSpent():
            return RejectReason.BUDGET
        case CallGone():
            return RejectReason.UNKNOWN_DIALOG
        case NegotiationError():
            return RejectReason.NO_CODEC
        case ResourceError():
            return RejectReason.PORTS
    return RejectReason.INTERNAL


class CallManager:
    """The registry of calls. `run` must be running while `dispatch` is called.

    `overload` says why the machine cannot take a call beside so many others; None where it can. One that does not take
    calls only places them.
    """

    def __init__(
        self,
        options: CallOptions,
        services: CallServices,
        trunks: Mapping[str, TrunkPolicy],
        plans: Sequence[Dialplan],
        overload: Callable[[int], RejectReason | None] = lambda calls: None,
        *,
        takes_calls: bool = True,
    ) -> None:
        self._overload = overload
        self._takes_calls = takes_calls
        self._options = options
        self._services = services
        self._trunks = trunks
        self._plans = tuple(plans)
        self._quota = TransferQuota(options.transfers_per_hour, services.clock)
        self._contact_quota = ContactQuota(services.clock)
        self._calls: set[CallTask] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._open = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def call_count(self) -> int:
        """Calls that have not released everything yet."""
        return len(self._calls)

    @property
    def calls(self) -> tuple[CallTask, ...]:
        """Those calls."""
        return tuple(self._calls)

    async def run(self) -> None:
        """Carry calls until `close`; every call's task is a child of this one."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._open.set()
            await self._closing.wait()
            self._tasks = None

    async def wait_until_open(self) -> None:
        """Wait until `run` takes calls."""
        await self._open.wait()

    async def drain(self, patience_s: float) -> None:
        """Take and place no new call, let those there are end by themselves for `patience_s`, then end them by BYE."""
        self._services.user_agent.refuse_calls(503, RETRY_AFTER_S)
        for call in list(self._calls):
            call.dispatch(call_events.DrainBegan())
        try:
            await asyncio.wait_for(self._empty.wait(), patience_s)
        except TimeoutError:
            _log.info("draining ended", calls_cut=len(self._calls))
            self.end_all()
        await self._empty.wait()

    def end_all(self) -> None:
        """End every call now."""
        for call in list(self._calls):
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
            if event.replaces is None:
                self._offer(event)
            elif not self._services.legs.tell(event.replaces, event):
                self._refuse(event, CallGone("the call that it replaces has ended"))
            return
        leg_id = getattr(event, "leg_id", None)
        if leg_id is not None:
            self._services.legs.tell(leg_id, event)

    def place(
        self,
        trunk: str,
        target: DialTarget,
        plan: Dialplan,
        session: str | None = None,
        *,
        variables: Mapping[str, str] = EMPTY,
        detector: AnswerDetector | None = None,
        on_state: Callable[[CallState], None] = lambda _state: None,
    ) -> CallTask:
        """Call `target` through `trunk` and connect them with the session of `plan` that has this name.

        Without one, `plan`'s first route for outgoing calls that matches says what is done; `variables` are given to
        it. `on_state` hears of each state that the call enters. How it ended is in the record that observers get.
        Raises: `ResourceError` where no more calls can be carried, or paid; `NoRoute`.
        """
        policy, services = self._trunks[trunk], self._services
        facts = self.placement_facts(trunk, target, variables)
        decision = plan.decide(facts) if session is None else None
        if decision is not None and not decision.is_routed:
            raise NoRoute(f"dialplan {plan.name} has no route for a call of ours to {target}")
        tasks = self._open_tasks()
        services.accounting.admit(policy.numbers.contact_user, target.user, services.wall_clock())
        port, local = self._open_media(policy, services.user_agent.hop_of(trunk))
        start = Placement(
            call_id=secrets.token_hex(16),
            trunk=trunk,
            target=Uri.parse(target.uri(policy.referral_host)),
            detector=detector,
        )
        brief = CallBrief(
            start=start,
            facts=facts,
            plan=plan,
            route=PLACED if decision is None else decision.route,
            actions=(SessionAction(name=session or ""),) if decision is None else decision.actions,
            port=port,
            local=local,
            further_media=self._further_media(trunk),
            way=self._way,
            limits=self._limits(target.user, plan),
            own_numbers=frozenset({policy.numbers.contact_user}),
            follows_refers=policy.follow_refers,
            dtmf=policy.dtmf,
        )
        return self._begin(CallTask(services, brief, on_state), tasks)

    def placement_facts(self, trunk: str, target: DialTarget, variables: Mapping[str, str] = EMPTY) -> CallFacts:
        """What dialplans are told of a call to `target` through `trunk`."""
        return CallFacts(
            to=target.user,
            from_=self._trunks[trunk].numbers.contact_user,
            trunk=trunk,
            at=self._services.wall_clock(),
            is_outgoing=True,
            given=variables,
        )

    def _begin(self, call: CallTask, tasks: asyncio.TaskGroup) -> CallTask:
        self._calls.add(call)
        self._empty.clear()
        tasks.create_task(self._carry(call), name=f"call {call.record.call_id}")
        return call

    def _open_tasks(self) -> asyncio.TaskGroup:
        """Where one more call may run. Raises: `NotAdmitted`."""
        self._check_capacity()
        assert self._tasks is not None  # noqa: S101 - that was looked at
        return self._tasks

    def _limits(self, caller: str, plan: Dialplan) -> TransferLimits:
        quota = self._contact_quota
        return TransferLimits(
            per_call=self._options.transfers_per_call,
            take=lambda: self._quota.take(caller),
            has_room=lambda contact, per_hour: quota.has_room((plan.name, contact), per_hour),
            count=lambda contact: quota.count((plan.name, contact)),
        )

    def _way(self, trunk: str) -> TrunkWay:
        if trunk not in self._trunks:
            raise ResourceError(f"there is no trunk {shown(trunk)!r}")
        policy, further = self._trunks[trunk], self._further_media(trunk)
        return TrunkWay(
            trunk=trunk, referral_host=policy.referral_host, dtmf=policy.dtmf, open_media=lambda: further(None)
        )

    def _further_media(self, trunk: str) -> Callable[[Hop | None], tuple[RtpPort, LocalMedia]]:
        policy, agent = self._trunks[trunk], self._services.user_agent
        return lambda hop: self._open_media(policy, hop or agent.hop_of(trunk))

    def _open_media(self, policy: TrunkPolicy, hop: Hop) -> tuple[RtpPort, LocalMedia]:
        """A port for a call whose signalling goes by `hop`, and what is offered or answered there, with fresh keys.

        Raises: `ResourceError`.
        """
        host = self._services.media_hosts.towards(hop)
        now, srtp = self._services.wall_clock(), policy.srtp_terms(hop)
        port = self._services.media.ports.open(host.bind)
        return port, LocalMedia(
            address=host.advertise,
            port=port.port,
            codecs=policy.codecs,
            session_id=int(now.timestamp()),
            version=1,
            telephone_events=policy.dtmf.takes_events,
            srtp=srtp,
            rtcp=self._services.has_rtcp,
        )

    def _offer(self, offered: sip_events.CallOffered) -> None:
        try:
            if not self._takes_calls:
                raise NotAdmitted("this gateway only places a call", RejectReason.DRAINING)
            tasks = self._open_tasks()
            brief = self._admit(offered)
        except GatewayError as error:
            self._refuse(offered, error)
            return
        if brief.route == NO_ROUTE:
            self._services.user_agent.counters.rejected.add(RejectReason.NO_ROUTE)
        call = CallTask(self._services, brief)
        self._services.legs.enter(offered.leg_id, call.on_signalling)
        self._begin(call, tasks)

    def _admit(self, offered: sip_events.CallOffered) -> CallBrief:
        """Everything that can refuse a call, the cheap before the dear; the port is bound before it is promised."""
        services, policy = self._services, self._trunks[offered.trunk]
        port, local = self._open_media(policy, offered.source)
        try:
            if offered.offer is None:
                make_offer(local)
            else:
                negotiate(offered.offer, local)
            facts = self._remembered(facts_of(offered, policy.numbers, services.wall_clock()))
            plan, decision = self._decide(facts)
            actions = services.accounting.actions(plan, decision.actions, facts)
        except BaseException:
            services.media.ports.close(port, services.clock())
            raise
        return CallBrief(
            start=offered,
            facts=facts,
            plan=plan,
            route=decision.route,
            actions=actions,
            port=port,
            local=local,
            further_media=self._further_media(offered.trunk),
            way=self._way,
            limits=self._limits(facts.from_, plan),
            own_numbers=frozenset({facts.to, policy.numbers.contact_user}),
            follows_refers=policy.follow_refers,
            dtmf=policy.dtmf,
        )

    def _remembered(self, facts: CallFacts) -> CallFacts:
        """`facts` with the time of the caller's last call, which this one is from now on."""
        if (callers := self._services.callers) is None:
            return facts
        facts = replace(facts, last_seen=callers.last_seen(facts.from_))
        callers.note(facts.from_, facts.at)
        return facts

    def _check_capacity(self) -> None:
        """Whether there is room, before anything is bound, parsed or looked up. Raises: NotAdmitted."""
        calls = len(self._calls)
        if self._tasks is None:
            raise NotAdmitted("the gateway is going down", RejectReason.DRAINING)
        if calls >= self._options.max_calls:
            verb = "is" if calls == 1 else "are"
            text = f"{counted(calls, 'call')} {verb} up, limits.max_calls is {self._options.max_calls}"
            raise NotAdmitted(text, RejectReason.TOO_MANY_CALLS)
        reason = self._overload(calls)
        if reason is not None:
            raise NotAdmitted(f"beside {counted(calls, 'call')} this machine has reached limits.{reason.value}", reason)

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

    async def _carry(self, call: CallTask) -> None:
        try:
            await call.run()
        except Exception:  # noqa: BLE001 - one call's fault must not end the others
            _log.exception("call failed", call_id=call.record.call_id)
            with contextlib.suppress(StateError):  # the leg may have ended as well
                call.abandon()
            self._services.transmit()
        finally:
            self._calls.discard(call)
            if not self._calls:
                self._empty.set()
