"""``gateway call``: one call to a number, as a dialplan's route or session says, in a gateway started for the purpose.

It takes no calls and registers nowhere, so a gateway that runs beside it keeps the PBX's calls; a PBX that asks for a
password at the INVITE is given it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from gateway.calls.call import CallState
from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord, Speaker, Speech
from gateway.calls.task import CallTask
from gateway.cli.service import Service, load_plans
from gateway.config import Configuration
from gateway.dialplan.facts import EMPTY, CallFacts
from gateway.dialplan.model import Dialplan
from gateway.dialplan.targets import DialTarget
from gateway.dialplan.triggers import Escalation
from gateway.errors import ConfigurationError, Problem, ResourceError, shown
from gateway.simulate.phone import free_sip_port

_ORDERLY = (Outcome.CALLEE_HUNG_UP, Outcome.GATEWAY_HUNG_UP, Outcome.TRANSFERRED)
_TOLD = {
    CallState.DIALLING: "dialling",
    CallState.RINGING: "ringing",
    CallState.ACTING: "answered",
    CallState.TALKING: "answered",
    CallState.TRANSFERRING: "transferring",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCall:
    """What came of the call."""

    number: str
    record: CallRecord
    transcript: tuple[Speech, ...]

    @property
    def is_ok(self) -> bool:
        """Whether it was answered, and ended in order."""
        return self.record.established_s is not None and self.record.outcome in _ORDERLY

    def as_json(self) -> dict[str, object]:
        """The document of ``--json``."""
        record = self.record
        return {
            "ok": self.is_ok,
            "number": self.number,
            "call_id": record.call_id,
            "route": record.route,
            "outcome": record.outcome.value if record.outcome else "failed",
            "refusal": record.refusal.value if record.refusal else None,
            "cause": record.cause,
            "setup_ms": record.setup_ms,
            "first_audio_ms": record.first_audio_ms,
            "duration_s": round(record.duration_s, 1),
            "transfer": record.transfer_target,
            "transcript": [
                {"who": _who(said), "text": said.text, "heard": self._heard(said), "at_ms": said.at_ms}
                for said in self.transcript
            ],
        }

    def _heard(self, speech: Speech) -> str:
        """What of it was heard: nothing of the agent's where nobody answered."""
        is_lost = speech.speaker is Speaker.AGENT and self.record.established_s is None
        return "" if is_lost else _heard(speech)

    def summary(self) -> str:
        """One line for people."""
        record = self.record
        if record.outcome is Outcome.CANCELLED:
            return f"{self.number}: cancelled"
        if record.established_s is None:
            return f"{self.number}: {record.cause}"
        outcome = record.outcome.value if record.outcome else "failed"
        return f"{self.number}: {outcome} after {record.duration_s:.1f} s ({record.cause})"


@dataclass
class _Witness:
    """A `CallObserver` of the one call. What is said before somebody answers is told when they do, if they do."""

    say: Callable[[str], None]
    is_answered: bool = False
    said: list[Speech] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def call_started(self, record: CallRecord) -> None:
        """Nothing that the caller of the command does not know."""

    def spoken(self, _record: CallRecord, speech: Speech) -> None:
        """Words of either side; of a sentence of the agent that was cut off, what was heard."""
        self.said.append(speech)
        if self.is_answered:
            self._tell(speech)

    def answered(self) -> None:
        """Somebody hears what was prepared for them."""
        if not self.is_answered:
            self.is_answered = True
            for speech in self.said:
                self._tell(speech)

    def _tell(self, speech: Speech) -> None:
        if heard := _heard(speech):
            self.say(f"{_who(speech)}: {heard}")

    def party_changed(self, record: CallRecord) -> None:
        """Of no interest to whoever dialled."""

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        """Told by the log."""

    def call_ended(self, _record: CallRecord) -> None:
        """The record is final."""
        self.ended.set()


def choose_plan(
    plans: tuple[Dialplan, ...], name: str | None, facts: CallFacts, variables: Mapping[str, str]
) -> tuple[Dialplan, str | None]:
    """The dialplan that the call is placed under, and the session that is asked for by `name`.

    Without a name it is the first plan with a route for the call, and no session; where none has one, the only session
    that there is.

    Raises: `ConfigurationError` where there is none, or several, or where the plan does not begin with one of
    `variables`.
    """
    known = [(plan, session) for plan in plans for session in plan.sessions]
    names = [session for _, session in known]
    if name is None:
        routed = [(plan, None) for plan in plans if plan.decide(facts).is_routed]
        if not routed and len(known) > 1:
            raise _unrouted(facts.to, names)
        chosen = next(iter([*routed, *known]), None)
    else:
        chosen = next(((plan, session) for plan, session in known if session == name), None)
    if chosen is None:
        raise _unknown("--session", f"no dialplan has a session {name}" if name else "no dialplan has a session", names)
    for variable in variables:
        if variable not in chosen[0].variables:
            message = f"dialplan {chosen[0].name} does not begin with a variable {shown(variable)}"
            raise _unknown("--set", message, list(chosen[0].variables))
    return chosen


def choose_trunk(configuration: Configuration, name: str | None) -> str:
    """The trunk of that name, else the first there is. Raises: `ConfigurationError`."""
    trunks = list(configuration.sip.trunks)
    if not trunks or name not in (None, *trunks):
        message = f"the configuration has no trunk {name}" if name else "the configuration has no trunk"
        raise _unknown("--trunk", message, trunks)
    return name or trunks[0]


async def place_call(
    configuration: Configuration,
    target: DialTarget,
    *,
    session: str | None,
    trunk: str | None,
    say: Callable[[str], None],
    variables: Mapping[str, str] = EMPTY,
) -> PlacedCall:
    """Place the call and stay until it has ended; SIGINT and SIGTERM end it. `say` is told how it goes.

    Raises:
        ConfigurationError: there is no such session, trunk or variable, or a dialplan cannot be used.
        ResourceError: a port is taken, or the embedded server does not start.
    """
    plans = load_plans(configuration)
    trunk = choose_trunk(configuration, trunk)
    witness = _Witness(say)

    told: list[str] = []

    def tell(state: CallState) -> None:
        is_prepared = state is CallState.ACTING and not told  # what is done before anybody is called
        if state in _TOLD and _TOLD[state] not in told[-1:] and not is_prepared:
            told.append(_TOLD[state])
            say(told[-1])
            if told[-1] == "answered":
                witness.answered()

    async with AsyncExitStack() as stack:
        try:
            service = await stack.enter_async_context(Service(configuration, witness, plans, takes_calls=False))
        except ResourceError as error:
            raise ResourceError(f"{error}. {_elsewhere(configuration)}") from error
        facts = service.calls.placement_facts(trunk, target, variables)
        plan, session = choose_plan(plans, session, facts, variables)
        call = service.calls.place(trunk, target, plan, session, variables=variables, on_state=tell)
        _end_by_signal(call)
        await witness.ended.wait()
    return PlacedCall(
        number=str(target), record=call.record, transcript=tuple(sorted(witness.said, key=lambda said: said.at_ms))
    )


def _unrouted(number: str, sessions: list[str]) -> ConfigurationError:
    message = f"no dialplan has a route for an outgoing call to {shown(number)}"
    remedy = f"expected --session with one of {shown(', '.join(dict.fromkeys(sessions)), 200)}, "
    remedy += "or a route with match: {direction: outgoing}"
    return ConfigurationError([Problem(file="NUMBER", message=message, expected=remedy)])


def _unknown(option: str, message: str, known: list[str]) -> ConfigurationError:
    expected = f"expected one of {shown(', '.join(known))}" if known else "expected one in the configuration"
    return ConfigurationError([Problem(file=option, message=message, expected=expected)])


def _end_by_signal(call: CallTask) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, call.hang_up)


def _elsewhere(configuration: Configuration) -> str:
    host = configuration.listen.host
    shown_host = f"[{host}]" if ":" in host else host
    port = free_sip_port(host)
    return (
        f"Beside a gateway that runs, call from another port: GATEWAY__SIP__LISTEN={shown_host}:{port} gateway call …"
    )


def _who(speech: Speech) -> str:
    return "agent" if speech.speaker is Speaker.AGENT else "callee"


def _heard(speech: Speech) -> str:
    return speech.text if speech.heard_text is None else speech.heard_text
