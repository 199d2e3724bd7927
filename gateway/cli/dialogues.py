"""``gateway dialplan test --live``: the dialogues of plans, a few at a time, and what they share: the speech models.

A plan's realtime sessions are those of a configuration, or, without one, embedded ones with the receptionist that
ships. One server serves all dialogues with the same brain. Each dialogue has a gateway of its own (`Stage`), since
each begins at a time of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.cli.dialogue_stage import Stage
from gateway.cli.embedded import EmbeddedOptions, EmbeddedServer
from gateway.config import Configuration
from gateway.config.sections import RealtimeSection, TurnDetectionSection
from gateway.dialplan.dialogue import BargeIn, Dialogue, Say
from gateway.dialplan.model import Dialplan, ExampleCall, ReferenceKind
from gateway.embedded.voice import speak
from gateway.errors import ConfigurationError, GatewayError
from gateway.simulate.dialogue_caller import Patience
from gateway.simulate.dialogue_report import DialogueReport, DialoguesReport

AT_ONCE = 2
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


class Rig:
    """What all dialogues share: the embedded servers. ``async with Rig(options, plans) as rig``."""

    def __init__(self, options: LiveOptions, plans: Sequence[Dialplan]) -> None:
        """Raises: `ConfigurationError` where a plan names what the configuration has not."""
        self._options = options
        self._realtime = _realtime(options.configuration, plans)
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
        servers: dict[Path | None, EmbeddedServer] = {}
        for name, section in self._realtime.items():
            if not section.is_embedded_here:
                continue
            if section.brain not in servers:
                server = servers[section.brain] = await EmbeddedServer.start(EmbeddedOptions(brain=section.brain))
                self._stack.push_async_callback(server.stop)
            self._realtime[name] = section.model_copy(update={"url": servers[section.brain].url})

    async def hold(self, plan: Dialplan, example: ExampleCall, dialogue: Dialogue) -> DialogueReport:
        """Hold one dialogue, when there is room for it."""
        async with self._room:
            voices = await asyncio.to_thread(_spoken, dialogue)
            began_s = time.monotonic()
            options = self._options
            stage = Stage(plan, example, dialogue, self._realtime, wav=options.wav, patience=options.patience)
            try:
                return await stage.hold(voices)
            except GatewayError as error:
                failure = str(error)
            except TimeoutError:
                failure = "the gateway did not start or end in time"
            return stage.report(time.monotonic() - began_s, failure=failure)


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
