"""``gateway run``: the service under its signals.

SIGTERM or SIGINT drains (un-register, refuse, wait, BYE), a second one ends at once; SIGHUP reads the dialplans and
the TLS files again; SIGUSR1 switches the SIP trace on and off; SIGUSR2 logs the status.
"""

from __future__ import annotations

import asyncio
import signal

import structlog

from gateway.calls.logbook import CallLogbook
from gateway.cli.service import Service, load_plans
from gateway.cli.status import log_status
from gateway.config import Configuration
from gateway.media.g722 import WIDEBAND_REMEDY
from gateway.transport import sip_trace
from gateway.transport.media_clock import freeze_garbage

_log = structlog.stdlib.get_logger("gateway.service")


async def run_service(configuration: Configuration) -> None:
    """Run until a signal ends it.

    Raises:
        ConfigurationError: a dialplan cannot be used.
        ResourceError: a port is taken, or the embedded server does not start.
    """
    plans = load_plans(configuration)
    for trunk, codec in configuration.missing_codecs():
        _log.warning("codec left out", trunk=trunk, codec=codec, remedy=WIDEBAND_REMEDY)
    for problem in configuration.overlooked:
        _log.warning("variable not heeded", variable=problem.file, remedy=problem.expected)
    logbook = CallLogbook(masks_numbers=configuration.log.mask_numbers)
    leaving, hurried = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave() -> None:
        (hurried if leaving.is_set() else leaving).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    async with Service(configuration, logbook, plans) as service:
        loop.add_signal_handler(signal.SIGHUP, service.reload)
        loop.add_signal_handler(signal.SIGUSR1, _switch_trace, configuration)
        loop.add_signal_handler(signal.SIGUSR2, log_status, service)
        freeze_garbage()
        await leaving.wait()
        await _drain(service, configuration.limits.drain, hurried)
        await service.await_farewells()
        figures = service.media_figures()
    _log.info("gateway stopped", **figures)


def _switch_trace(configuration: Configuration) -> None:
    is_on = not sip_trace.is_logged()
    sip_trace.switch(is_on=is_on)
    _log.info("sip trace", is_on=is_on, only=list(configuration.log.sip_trace_only))


async def _drain(service: Service, patience_s: float, hurried: asyncio.Event) -> None:
    """Drain, but no longer than until somebody is in a hurry."""
    draining = asyncio.ensure_future(service.drain(patience_s))
    hurry = asyncio.ensure_future(hurried.wait())
    done, _ = await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if draining not in done:
        _log.warning("ending at once", calls_cut=service.calls.call_count)
        service.calls.end_all()
        draining.cancel()
    hurry.cancel()
    await asyncio.gather(draining, hurry, return_exceptions=True)
