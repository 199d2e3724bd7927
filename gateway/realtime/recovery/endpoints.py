"""All providers' endpoints of a process: makes sessions that recover, and knows how each provider is doing."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from gateway.realtime.options import Secret, SessionOptions
from gateway.realtime.recovery.circuit import Circuit, CircuitOpened, CircuitState, ReconnectPace
from gateway.realtime.recovery.link_maker import Surroundings
from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.recovery.session import RecoveringSession
from gateway.realtime.session import RealtimeSession

DEFAULTS = RecoveryOptions()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endurance:
    """What one kind of session may fall back on."""

    fallbacks: tuple[str, ...] = ()
    """Names of the kinds of sessions that take over, in this order."""
    recovery: RecoveryOptions = DEFAULTS
    max_sessions: int | None = None
    """Sessions at once with this endpoint and key; None: as many as there are calls."""


class Endpoints:
    """`endurances` are by the name of the kind of session, `clock` gives the event loop's time."""

    def __init__(
        self,
        endurances: Mapping[str, Endurance],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        seed: int | None = None,
    ) -> None:
        rng = random.Random(seed)
        self._endurances = endurances
        self._clock = clock
        self._circuits: dict[tuple[str, str, Secret | None], Circuit] = {}
        self._labels: dict[Circuit, str] = {}
        self._around = Surroundings(
            pace=ReconnectPace(rng), rng=rng, wall_clock=wall_clock, on_circuit=self._on_circuit
        )

    def fallbacks(self, name: str) -> tuple[str, ...]:
        """Who takes over from the sessions called `name`."""
        return self._endurances[name].fallbacks if name in self._endurances else ()

    def session(self, names: Sequence[str], chain: Sequence[SessionOptions]) -> RealtimeSession:
        """A session that recovers, over the kinds called `names` as `chain` has them. Raises: `ProviderRefused`."""
        first = self._endurances.get(names[0], Endurance())
        circuits = [self._circuit(name, options) for name, options in zip(names, chain, strict=True)]
        alike = [_alike(options, chain[0]) for options in chain]
        return RecoveringSession(alike, circuits, first.recovery, self._around)

    def status(self) -> dict[str, dict[str, object]]:
        """How each provider is doing, by the first name it is used under."""
        now = self._clock()
        return {
            label: {
                "state": circuit.state(now).value,
                "sessions": circuit.sessions,
                "max_sessions": circuit.max_sessions,
                "code": circuit.code if circuit.state(now) is not CircuitState.CLOSED else None,
            }
            for circuit, label in self._labels.items()
        }

    def _circuit(self, name: str, options: SessionOptions) -> Circuit:
        endurance = self._endurances.get(name, Endurance())
        key = (options.provider, urlsplit(options.url).netloc, options.api_key)
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = Circuit()
            self._labels[circuit] = name
        if endurance.max_sessions is not None:
            known = circuit.max_sessions
            circuit.max_sessions = endurance.max_sessions if known is None else min(known, endurance.max_sessions)
        return circuit

    def _on_circuit(self, circuit: Circuit, news: CircuitOpened) -> None:
        _log.warning(
            "provider of session %s: new calls are not sent there for %.0f s (%s)",
            self._labels.get(circuit, "?"),
            news.for_s,
            news.code,
        )


def _alike(options: SessionOptions, first: SessionOptions) -> SessionOptions:
    """A call keeps its formats, and has one way to be interrupted, whoever speaks."""
    turns = replace(options.turn_detection, interrupts_response=first.turn_detection.interrupts_response)
    return replace(options, turn_detection=turns, input_format=first.input_format, output_format=first.output_format)
