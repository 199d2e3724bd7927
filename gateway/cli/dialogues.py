"""``gateway dialplan test --live``: the dialogues of plans, a few at a time, and what they share: the speech models.

A plan's realtime sessions are those of a configuration, or, without one, embedded ones with the receptionist that
ships. One server serves all dialogues with the same brain. Each dialogue has a gateway of its own (`Stage`), since
each begins at a time of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.cli.dialogue_stage import Stage
from gateway.cli.embedded import EmbeddedOptions, EmbeddedServer
from gateway.cli.logs import configure_logs
from gateway.config import Configuration
from gateway.config.sections import RealtimeSection, TurnDetectionSection
from gateway.dialplan.dialogue import BargeIn, Dialogue, Say
from gateway.dialplan.examples import ExampleCall
from gateway.dialplan.model import Dialplan, ReferenceKind
from gateway.embedded.voice import speak
from gateway.errors import ConfigurationError, GatewayError
from gateway.simulate.cpu_watch import CpuWatch
from gateway.simulate.dialogue_caller import Patience
from gateway.simulate.dialogue_report import DialogueReport, DialoguesReport
from gateway.transport import event_loop

AT_ONCE = 3
TRIES = 3
BUSY_PERCENT = 10.0
"""Of the time, in which the gateway or the model was ready to run and others had the processor."""
PAUSE_THAT_ENDS_A_TURN_MS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """How dialogues are held. `realtime` of the configuration serves; of a plan's sessions that it lacks, ours."""

    configuration: Configuration | None = None
    wav: Path | None = None
    """Folder of the recordings; None: none are kept."""
    only: tuple[str, ...] = ()
    """Names of tests; none: all."""
    at_once: int = AT_ONCE
    patience: Patience = field(default_factory=Patience)
    on_held: Callable[[Path, DialogueReport], None] = lambda _file, _report: None
    """Told of each dialogue as soon as it is over, with the plan's file."""


class Rig:
    """What all dialogues share: the embedded servers. ``async with Rig(options, plans) as rig``."""

    def __init__(self, options: LiveOptions, plans: Sequence[Dialplan]) -> None:
        """Raises: `ConfigurationError` where a plan names what the configuration has not."""
        self._options = options
        self._realtime = _realtime(options.configuration, plans)
        self._servers: dict[Path | None, EmbeddedServer] = {}
        self._stack = AsyncExitStack()
        self._room = asyncio.Semaphore(options.at_once)

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
        servers = self._servers
        for name, section in self._realtime.items():
            if not section.is_embedded_here:
                continue
            if section.brain not in servers:
                server = servers[section.brain] = await EmbeddedServer.start(EmbeddedOptions(brain=section.brain))
                self._stack.push_async_callback(server.stop)
            self._realtime[name] = section.model_copy(update={"url": servers[section.brain].url})

    async def hold(self, plan: Dialplan, example: ExampleCall, dialogue: Dialogue) -> DialogueReport:
        """Hold one dialogue, when there is room for it; again where it failed and the machine was too busy for it.

        Audio is nothing that can wait: on a machine that others use the model hears sentences with holes in them.
        """
        async with self._room:
            voices = await asyncio.to_thread(_spoken, dialogue)
            held = 0
            while True:
                held += 1
                watch = CpuWatch({"here": lambda: [os.getpid(), *(server.pid for server in self._servers.values())]})
                watch.look()
                report = await self._hold(self._stage(plan, example, dialogue), voices)
                watch.look()
                is_busy = watch.overall("here").waited >= BUSY_PERCENT
                if report.is_passed or not is_busy or held == TRIES:
                    report = replace(report, held=held, at_once=self._options.at_once)
                    self._options.on_held(plan.file, report)
                    return report

    def _stage(self, plan: Dialplan, example: ExampleCall, dialogue: Dialogue) -> Stage:
        options = self._options
        return Stage(plan, example, dialogue, self._realtime, wav=options.wav, patience=options.patience)

    async def _hold(self, stage: Stage, voices: Mapping[str, NDArray[np.int16]]) -> DialogueReport:
        try:
            return await stage.hold(voices)
        except GatewayError as error:
            return stage.report(failure=str(error))
        except TimeoutError:
            return stage.report(failure="the gateway did not start in time")


def hold_dialogues(plans: Sequence[Dialplan], options: LiveOptions) -> list[DialoguesReport]:
    """As `run_dialogues`, on an event loop of its own; of what happens inside only errors are logged."""
    configure_logs("error", sys.stderr)
    return event_loop.run(run_dialogues(plans, options))


async def run_dialogues(plans: Sequence[Dialplan], options: LiveOptions) -> list[DialoguesReport]:
    """Hold the dialogues of `plans`; a report for each of them, in their order.

    Raises:
        ConfigurationError: a plan names a realtime session that the configuration has not.
        ResourceError: the embedded server does not start, or the speech engines are not installed.
    """
    chosen = {plan.file: [example for example in plan.examples if _is_chosen(example, options)] for plan in plans}
    if not any(chosen.values()):
        return [DialoguesReport(file=plan.file, plan=plan.name, dialogues=()) for plan in plans]
    async with Rig(options, plans) as rig, asyncio.TaskGroup() as tasks:
        held = {
            file: [tasks.create_task(_hold(rig, plan, example)) for example in chosen[file]]
            for plan in plans
            for file in (plan.file,)
        }
    return [
        DialoguesReport(file=plan.file, plan=plan.name, dialogues=tuple(task.result() for task in held[plan.file]))
        for plan in plans
    ]


async def _hold(rig: Rig, plan: Dialplan, example: ExampleCall) -> DialogueReport:
    assert example.dialogue is not None  # noqa: S101 - only such examples are chosen
    return await rig.hold(plan, example, example.dialogue)


def _is_chosen(example: ExampleCall, options: LiveOptions) -> bool:
    return example.dialogue is not None and (not options.only or example.name in options.only)


def _realtime(configuration: Configuration | None, plans: Sequence[Dialplan]) -> dict[str, RealtimeSection]:
    """The realtime sessions. Raises: `ConfigurationError` where a plan names one that `configuration` has not."""
    named = [
        reference for plan in plans for reference in plan.references if reference.kind is ReferenceKind.REALTIME_SESSION
    ]
    if configuration is not None:
        problems = [reference.problem for reference in named if reference.name not in configuration.realtime]
        if problems:
            raise ConfigurationError(problems)
        return dict(configuration.realtime)
    ours = RealtimeSection(turn_detection=TurnDetectionSection(silence_duration_ms=PAUSE_THAT_ENDS_A_TURN_MS))
    return dict.fromkeys([*(plan.use for plan in plans), *(reference.name for reference in named)], ours)


def _spoken(dialogue: Dialogue) -> dict[str, NDArray[np.int16]]:
    """What the caller says, spoken. Raises: `ResourceError`."""
    return {turn.text: speak(turn.text) for turn in dialogue.turns if isinstance(turn, Say | BargeIn)}
