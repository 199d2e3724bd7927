"""The running gateway: every part made and tied together here, started in order and ended in the opposite one.

::

    configuration ─> names located ─> embedded server ─> sockets (SIP, RTP) ─> user agent, media ─> calls ─> REGISTER
    SIGTERM       ─> un-register, 503 to new calls ─> calls end by themselves ─> BYE the rest ─> sockets closed
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import structlog

import gateway
from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.manager import CallManager, TrunkPolicy
from gateway.calls.record import CallObserver
from gateway.calls.services import CallServices
from gateway.calls.speaking.sounds import load_sounds
from gateway.calls.spending import Accounting
from gateway.calls.tools.services import ToolServices
from gateway.cli.embedded import EmbeddedOptions, EmbeddedServer
from gateway.cli.messages import Messages
from gateway.cli.placed import placed, tls_of
from gateway.cli.status import report_sources, watch_signalling
from gateway.config import Configuration
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan
from gateway.errors import ConfigurationError, Problem, ResourceError, shown
from gateway.media.engine import MediaEngine
from gateway.media.pacing import append_ms_for
from gateway.realtime.day_ledger import DayLedger
from gateway.realtime.recovery.endpoints import Endpoints
from gateway.records.callers import Callers
from gateway.records.day_file import DayFile
from gateway.records.recordings import Recordings, problem_of
from gateway.sip import events as sip_events
from gateway.sip.hop import SIP_PORT, Hop
from gateway.sip.message import Address
from gateway.sip.user_agent import UserAgent
from gateway.transport import sip_trace
from gateway.transport.load_watch import LoadWatch
from gateway.transport.locator import Locator, locate_apart
from gateway.transport.media_loop import MediaLoop
from gateway.transport.resolver import NameServiceError, Resolver
from gateway.transport.rtp_ports import RtpPorts
from gateway.transport.sip_endpoint import SipEndpoint
from gateway.transport.stall_watch import StallWatch
from gateway.transport.tls import TlsContexts

UNREGISTER_LIMIT_S = 2.0
FAREWELL_LIMIT_S = 1.5
PRODUCT = f"sip-voice-gateway/{gateway.__version__}"

UNLOCATED = Hop("unlocated.invalid", SIP_PORT)
"""Stands for the servers of a trunk until they are found. RFC 6761 6.4: nobody will ever be there."""

_log = structlog.stdlib.get_logger("gateway.service")


def load_plans(configuration: Configuration) -> tuple[Dialplan, ...]:
    """The dialplans a configuration names, each checked against its realtime sessions.

    Raises:
        ConfigurationError: with the problems of all of them.
    """
    problems: list[Problem] = []
    plans: list[Dialplan] = []
    for index, file in enumerate(configuration.dialplans):
        try:
            plan = load_dialplan(file)
        except ConfigurationError as error:
            problems += [_named_by(configuration, index, problem) for problem in error.problems]
            continue
        problems += plan.check_references(
            configuration.realtime,
            configuration.sip.trunks,
            keeps_recordings=configuration.records.recordings.folder is not None,
            keeps_callers=configuration.records.callers.file is not None,
            keeps_messages=configuration.records.voicemail.folder is not None,
            sends_mail=configuration.mail.host is not None,
            unpriced=configuration.unpriced(),
            untranscribed=configuration.untranscribed(),
        )
        load_sounds(plan)
        plans.append(plan)
    if not configuration.dialplans:
        problems.append(configuration.problem(("dialplans",), "no dialplan is named", "expected dialplans: [FILE]"))
    if problems:
        raise ConfigurationError(problems)
    return tuple(plans)


def _named_by(configuration: Configuration, index: int, problem: Problem) -> Problem:
    """A `problem` of the dialplan of that index; of one that cannot be read, at the line that names it."""
    if problem.line or problem.file != str(configuration.dialplans[index]):
        return problem
    return configuration.problem(
        ("dialplans", index), f"{shown(problem.file, 200)} {problem.message}", problem.expected
    )


class Service:
    """One gateway process: ``async with Service(configuration, observer) as service: await service.…``"""

    def __init__(
        self,
        configuration: Configuration,
        observer: CallObserver,
        plans: Sequence[Dialplan],
        *,
        takes_calls: bool = True,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """One that takes no calls does not register, and refuses what comes all the same. `wall_clock` is aware."""
        self._configuration = configuration
        self._takes_calls = takes_calls
        self._wall_clock = wall_clock
        self._observer = observer
        self._plans = tuple(plans)
        self._stack = AsyncExitStack()
        self._greetings = GreetingCache()
        self._registered: set[str] = set()  # trunks whose registrar may know us
        self._unregistered = asyncio.Event()  # none of them does any more
        self.media: MediaLoop
        self.user_agent: UserAgent
        self.services: CallServices
        self.calls: CallManager
        self.load: LoadWatch
        self._tools = ToolServices()
        self._recordings: Recordings | None = None
        self._messages: Messages | None = None
        self._callers: Callers | None = None
        self.stalls = StallWatch()
        self.started_at = time.monotonic()
        self._endpoint: SipEndpoint
        self._locator: Locator
        self._locating: asyncio.Task[None]
        self._hops: dict[str, tuple[Hop, ...]]
        self._policies: dict[str, TrunkPolicy]
        self._tasks: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        configuration = self._configuration
        await self._locate(configuration)
        tasks = self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        urls = await self._start_embedded(tasks)
        await self._start_sip(configuration)
        self._start_media(configuration)
        await self._start_records(configuration)
        accounting = await self._start_accounting(configuration)
        self.services = self._services(configuration, urls, accounting)
        self._watch_load(configuration)
        await self._open_calls(configuration, tasks)
        self._start_watches(configuration, tasks)
        self._note_addresses()
        if self._takes_calls:
            self._register(configuration)
        trunks = {name: [str(hop) for hop in hops] for name, hops in self._hops.items()}
        listen = [str(hop) for hop in self._endpoint.listening]
        _log.info("gateway ready", listen=listen, trunks=trunks, version=gateway.__version__)

    async def _start_sip(self, configuration: Configuration) -> None:
        self.user_agent = UserAgent(configuration.user_agent_options(self._hops_or_placeholders(), PRODUCT))
        self._endpoint = SipEndpoint(
            self.user_agent,
            configuration.listeners(),
            self._on_event,
            tls=await self._load_tls(),
            server_names=self._server_names,
        )
        self._endpoint.start()
        self._stack.callback(self._endpoint.close)
        self._stack.push_async_callback(self.await_farewells)

    def _start_media(self, configuration: Configuration) -> None:
        ports = RtpPorts(configuration.rtp_port_options())
        self.media = MediaLoop(MediaEngine(configuration.media_options()), ports)
        self.media.start()
        self._stack.callback(self.media.stop)

    async def _start_records(self, configuration: Configuration) -> None:
        """Begin to keep what is kept of calls, and what their tools and notices go out by."""
        self._start_recordings(configuration)
        await self._start_callers(configuration)
        self._tools.use(self._plans)
        self._stack.push_async_callback(self._tools.close)
        self._messages = Messages.start(configuration, self._plans, self._tools.http)
        if self._messages is not None:
            self._stack.push_async_callback(self._messages.close)

    async def _open_calls(self, configuration: Configuration, tasks: asyncio.TaskGroup) -> None:
        self.calls = CallManager(
            configuration.call_options(),
            self.services,
            self._policies,
            self._plans,
            self.load.refusal,
            takes_calls=self._takes_calls,
        )
        tasks.create_task(self.calls.run(), name="calls")
        await self.calls.wait_until_open()

    def _start_watches(self, configuration: Configuration, tasks: asyncio.TaskGroup) -> None:
        """Watch signalling and where trunks are; what is ended first when the service ends."""
        watch = tasks.create_task(
            watch_signalling(
                self.user_agent,
                self._endpoint.counters.as_dict,
                masks_numbers=configuration.log.mask_numbers,
            ),
            name="watch signalling",
        )
        self._stack.callback(report_sources, self.user_agent)
        self._stack.callback(watch.cancel)
        self._stack.callback(self._end_calls)
        self._locating = tasks.create_task(self._locator.run(), name="locate trunks")
        self._stack.callback(self._locating.cancel)

    async def _locate(self, configuration: Configuration) -> None:
        resolver = Resolver(configuration.resolver_options())
        targets = {name: trunk.targets for name, trunk in configuration.sip.trunks.items()}
        locate = locate_apart(resolver, configuration.families)
        self._locator = Locator(targets, locate, self, seed=secrets.randbits(64))
        try:
            self._hops = await self._locator.start()
        except NameServiceError as error:
            raise placed(configuration, error) from error
        self._policies = configuration.trunk_policies(self._hops_or_placeholders())

    def _hops_or_placeholders(self) -> dict[str, tuple[Hop, ...]]:
        return {name: hops or (UNLOCATED,) for name, hops in self._hops.items()}

    async def _load_tls(self) -> TlsContexts | None:
        """The contexts that the files give now. Raises: `ResourceError`."""
        return await asyncio.to_thread(tls_of, self._configuration)

    def _server_names(self, hop: Hop) -> tuple[str, ...]:
        """Whom the certificate of the server at `hop` may name."""
        trunk = self.user_agent.trunk_at(hop)
        return () if trunk is None else self._configuration.sip.trunks[trunk].server_names

    def _watch_load(self, configuration: Configuration) -> None:
        on_cpu = self._pace_appends if configuration.media.append == "auto" else None
        self.load = LoadWatch(configuration.load_limits(), stall_watch=self.stalls, on_cpu=on_cpu)
        self.load.start()
        self._stack.callback(self.load.stop)

    def _services(self, configuration: Configuration, urls: Mapping[str, str], accounting: Accounting) -> CallServices:
        return CallServices(
            user_agent=self.user_agent,
            transmit=self._endpoint.transmit,
            media=self.media,
            sessions=configuration.session_options(urls),
            observer=self._observer,
            greetings=self._greetings,
            max_call_s=configuration.limits.max_call,
            media_timeout_s=configuration.media.rtp.timeout,
            media_start_timeout_s=configuration.media.rtp.start_timeout,
            has_rtcp=configuration.media.rtcp.enabled,
            reports_are_life=configuration.media.rtcp.counts_as_life,
            media_hosts=configuration.media_hosts,
            clock=time.monotonic,
            wall_clock=self._wall_clock,
            recordings=self._recordings,
            messages=None if self._messages is None else self._messages.store,
            callers=self._callers,
            tools=self._tools,
            endpoints=Endpoints(configuration.endurances()),
            accounting=accounting,
        )

    async def _start_accounting(self, configuration: Configuration) -> Accounting:
        """Begin to count what calls spend, from where the day stands."""
        budget = configuration.limits.budget
        ledger = DayLedger(budget.day_budgets())
        if budget.state is not None:
            file = DayFile(budget.state)
            ledger = DayLedger(budget.day_budgets(), file.save)
            ledger.restore(await asyncio.to_thread(file.load))
            file.start()
            self._stack.push_async_callback(asyncio.to_thread, file.close)
        return Accounting(
            prices=configuration.session_prices(),
            call=budget.call.budget(),
            ledger=ledger,
        )

    def _start_recordings(self, configuration: Configuration) -> None:
        """Begin to keep recordings. A folder that cannot be used costs recordings, not calls."""
        options = configuration.recording_options()
        if options is None:
            return
        if problem := problem_of(options):
            _log.error("nothing can be recorded", folder=str(options.folder), reason=problem)
        recordings = self._recordings = Recordings(options)
        recordings.start()
        self._stack.push_async_callback(asyncio.to_thread, recordings.close)

    async def _start_callers(self, configuration: Configuration) -> None:
        """Begin to keep who has called. A file that cannot be used costs that memory, not calls."""
        if (options := configuration.records.callers.options()) is None:
            return
        callers = self._callers = Callers(options)
        await asyncio.to_thread(callers.start, self._wall_clock())
        self._stack.push_async_callback(asyncio.to_thread, callers.close)

    async def _start_embedded(self, tasks: asyncio.TaskGroup) -> dict[str, str]:
        """Start one embedded server for each dialogue that is asked for; their addresses by session name."""
        servers: dict[Path | None, EmbeddedServer] = {}
        urls: dict[str, str] = {}
        for name, section in self._configuration.realtime.items():
            if not section.is_embedded_here:
                continue
            if section.brain not in servers:
                server = await EmbeddedServer.start(EmbeddedOptions(brain=section.brain))
                watch = tasks.create_task(server.watch(), name=f"embedded server {name}")
                self._stack.push_async_callback(server.stop)
                self._stack.callback(watch.cancel)
                servers[section.brain] = server
            urls[name] = servers[section.brain].url
        return urls

    def _register(self, configuration: Configuration) -> None:
        now = time.monotonic()
        for name, trunk in configuration.sip.trunks.items():
            if trunk.registrar is not None and self._hops[name]:
                self.user_agent.register(name, now)
        self.user_agent.watch_peers(now)
        self._endpoint.transmit()

    # Where trunks are.

    def relocated(self, trunk: str, hops: tuple[Hop, ...]) -> None:
        """Send to `hops` from now on; register where that had to wait for them."""
        now, was_located = time.monotonic(), bool(self._hops[trunk])
        self._hops[trunk] = hops
        self._note_addresses()
        self._policies |= self._configuration.trunk_policies(self._hops_or_placeholders())
        _log.info("trunk located", trunk=trunk, servers=[str(hop) for hop in hops])
        self.user_agent.relocate(trunk, hops, now)
        has_registrar = self._configuration.sip.trunks[trunk].registrar is not None
        if self._takes_calls and has_registrar and not was_located:
            self.user_agent.register(trunk, now)
        self._endpoint.transmit()

    def _note_addresses(self) -> None:
        """Tell those who judge by the trunks' addresses."""
        self.media.ports.trust(self._configuration.trusted_media_networks(self._hops))
        sip_trace.limit_to(self._configuration.traced_networks(self._hops))

    def not_located(self, trunk: str, error: NameServiceError, retry_in_s: float) -> None:
        """Say why, once a reason; the locator goes on by itself."""
        facts = {"trunk": trunk, "reason": str(error), "retry_in_s": round(retry_in_s, 1)}
        registrar = self._configuration.sip.trunks[trunk].registrar
        if known := self._locator.hops(trunk):
            _log.warning("trunk not located again", **facts, servers=[str(hop) for hop in known])
        elif registrar is not None:
            state = sip_events.RegistrationState.FAILED.value
            _log.warning("registration failed", **facts, registrar=registrar[0], state=state)
        else:
            _log.warning("trunk not located", **facts)

    # Life.

    async def await_farewells(self) -> None:
        """Give the last BYEs a moment to be answered, or sent again."""
        deadline_s = time.monotonic() + FAREWELL_LIMIT_S
        while self.user_agent.leg_count and time.monotonic() < deadline_s:  # noqa: ASYNC110 - legs tell no end
            await asyncio.sleep(0.02)

    def _end_calls(self) -> None:
        self.calls.end_all()
        self.calls.close()

    @property
    def listen(self) -> Address:
        """Where SIP is received."""
        return self._endpoint.address

    async def drain(self, patience_s: float) -> None:
        """Un-register, refuse new calls, let the others end for `patience_s`, BYE the rest."""
        _log.info("draining", calls=self.calls.call_count, patience_s=patience_s)
        self._locating.cancel()
        now = time.monotonic()
        for name, trunk in self._configuration.sip.trunks.items():
            if trunk.registrar is not None:
                self.user_agent.unregister(name, now)
        self._endpoint.transmit()
        await self.calls.drain(patience_s)
        if self._registered:
            try:
                await asyncio.wait_for(self._unregistered.wait(), UNREGISTER_LIMIT_S)
            except TimeoutError:
                _log.warning("registrar did not confirm that we are gone")

    def _pace_appends(self, cpu_percent: float) -> None:
        engine = self.media.engine
        engine.append_ms = append_ms_for(cpu_percent, engine.append_ms)

    def media_figures(self) -> dict[str, float | int]:
        """How punctual audio left, in ms behind its deadline; what went wrong in the media loop; what is still held."""
        late = self.media.send_lateness
        return {
            "rtp_packets": late.count,
            "late_p50_ms": round(late.p50_ms, 2),
            "late_p99_ms": round(late.p99_ms, 2),
            "late_max_ms": round(late.max_ms, 2),
            "ticks_missed": self.media.clock.missed,
            "media_failures": self.media.failures,
            "legs_left": self.user_agent.leg_count,
            "transactions_left": self.user_agent.transaction_count,
            "rtp_ports_left": self.media.ports.open_count,
            "calls_left": self.calls.call_count,
        }

    def reload(self) -> None:
        """Read dialplans and TLS files again, all or nothing; calls and connections under way keep theirs."""
        self._tasks.create_task(self._reload(), name="reload")

    async def _reload(self) -> None:
        try:
            plans = await asyncio.to_thread(load_plans, self._configuration)
            tls = await self._load_tls()
        except ConfigurationError as error:
            for problem in error.problems:
                _log.error("reload refused", problem=str(problem))
            return
        except ResourceError as error:
            _log.error("reload refused", problem=str(error))
            return
        options = self._configuration.tls_options()
        if tls is not None:
            self._endpoint.replace_tls(tls)
        self._plans = plans
        self._tools.use(plans)
        if self._messages is not None:
            self._messages.use(plans)
        self._greetings.clear()
        self.services.speech.cache.clear()
        self.calls.replace_plans(plans)
        _log.info(
            "dialplans reloaded",
            files=[str(file) for file in self._configuration.dialplans],
            certificate=str(options.certificate) if options is not None and options.certificate else None,
        )

    @property
    def connection_count(self) -> int:
        """Connections to and from peers."""
        return self._endpoint.connection_count

    def _on_event(self, event: sip_events.Event) -> None:
        if isinstance(event, sip_events.RegistrationChanged):
            self._on_registration(event)
        elif isinstance(event, sip_events.PeerChanged):
            is_lost = event.state is sip_events.PeerState.UNREACHABLE
            tell = _log.warning if is_lost else _log.info
            tell(f"peer {event.state.value}", trunk=event.trunk, server=str(event.server))
        else:
            self.calls.dispatch(event)

    def _on_registration(self, event: sip_events.RegistrationChanged) -> None:
        registrars = self._configuration.sip.trunks[event.trunk].registrar or ("",)
        facts = {
            "trunk": event.trunk,
            "registrar": registrars[0],
            "server": str(event.server),
            "state": event.state.value,
        }
        match event.state:
            case sip_events.RegistrationState.REGISTERED:
                self._registered.add(event.trunk)
                _log.info("registered", **facts, expires_s=event.expires_s)
            case sip_events.RegistrationState.FAILED:
                retry_in_s = round(event.retry_in_s, 1) if event.retry_in_s is not None else None
                _log.warning(
                    "registration failed", **facts, status=event.status, reason=event.reason, retry_in_s=retry_in_s
                )
            case sip_events.RegistrationState.UNREGISTERED:
                self._registered.discard(event.trunk)
                if not self._registered:
                    self._unregistered.set()
                _log.info("unregistered", **facts)
            case _:
                _log.info("registering", **facts)
