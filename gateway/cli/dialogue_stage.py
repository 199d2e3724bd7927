"""One dialogue of a plan, held: a gateway, a PBX, web services and a caller of its own, over real SIP and RTP.

::

    DialogueCaller ── SimulatedPbx ──SIP/RTP──> Service ──WebSocket──> embedded realtime server, or another
                           ▲ contacts              │  its wall clock begins at the test's `at`
                           └────────SIP/RTP────────┤
                                                   └──HTTP──> CannedWeb, in the place of the plan's web services
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.calls.record import CallRecord, Speech
from gateway.calls.task import CallTask
from gateway.calls.transfers.state import TransferState
from gateway.cli.service import Service
from gateway.config import Configuration
from gateway.config.sections import RealtimeSection
from gateway.config.values import EMBEDDED
from gateway.dialplan.dialogue import Behaviour, Dialogue
from gateway.dialplan.examples import ExampleCall
from gateway.dialplan.facts import CallFacts
from gateway.dialplan.messages import MessageKind
from gateway.dialplan.model import Dialplan, ReferenceKind
from gateway.dialplan.targets import parse_target
from gateway.dialplan.triggers import Escalation
from gateway.embedded.brain import load_script
from gateway.embedded.voice import DEFAULT_VOICE, VOICES, sentences
from gateway.simulate.canned_web import CannedWeb
from gateway.simulate.dialogue_caller import DialogueCaller, Patience
from gateway.simulate.dialogue_report import DialogueReport, transcript_of
from gateway.simulate.expectations import Facts
from gateway.simulate.pbx import Extension, PbxOptions, SimulatedPbx
from gateway.simulate.phone import free_sip_port
from gateway.simulate.phone_call import PhoneCall, write_wav
from gateway.simulate.sentence_check import is_sentence_heard
from gateway.sip.message import Address
from gateway.sip.uri import escape_user

HOST = "127.0.0.1"
DEFAULT_TRUNK = "pbx"
GATEWAY_PORTS, PBX_PORTS = "44000-45999", (46000, 47999)
SHORTEST_TEXT = 12
"""Characters of a sentence whose sound can be told from others."""
START_LIMIT_S, END_LIMIT_S = 40.0, 5.0
_CONNECTED = (TransferState.HANDED_OVER, TransferState.BRIDGED)
_CALLING = (
    TransferState.REQUESTED,
    TransferState.ACCEPTED,
    TransferState.RINGING,
    TransferState.WHISPERING,
    TransferState.ANSWERED,
    TransferState.RELEASED,
)


@dataclass(slots=True)
class Witness:
    """Sees the one call of a gateway."""

    plan: Dialplan
    service: Service | None = None
    call: PhoneCall | None = None
    record: CallRecord | None = None
    speeches: list[Speech] = field(default_factory=list)
    _task: CallTask | None = None

    def call_started(self, record: CallRecord) -> None:
        self.record = record

    def spoken(self, _record: CallRecord, speech: Speech) -> None:
        self.speeches.append(speech)

    def party_changed(self, record: CallRecord) -> None:
        pass

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        pass

    def call_ended(self, record: CallRecord) -> None:
        pass

    def facts(self) -> Facts:
        """What has been decided by now."""
        record = self.record
        refused = self.call.refused if self.call is not None else None
        if record is None:
            return Facts(reject=refused)
        if self._task is None and self.service is not None:
            self._task = next(iter(self.service.calls.calls), None)
        notes = record if self._task is None or record.outcome is not None else self._task.notes
        is_connected = notes.transfer_state in _CONNECTED
        return Facts(
            route=record.route,
            session=notes.session,
            tools=tuple(record.tool_names),
            escalations=tuple(notes.escalations),
            transfer=notes.transfer_target if is_connected else None,
            reached_for=None if is_connected else notes.transfer_target,
            is_calling=record.outcome is None and notes.transfer_state in _CALLING,
            messages=tuple(message.text for message in record.messages),
            voicemails=[left.mailbox for left in record.left if left.kind is MessageKind.VOICEMAIL],
            callbacks=[left.mailbox for left in record.left if left.kind is MessageKind.CALLBACK],
            vars={} if self._task is None else self._task.variables,
            reject=refused,
            outcome=None if record.outcome is None else record.outcome.value,
        )


class Stage:
    """One dialogue. `realtime` are the sessions, by name, with the addresses of their servers."""

    def __init__(
        self,
        plan: Dialplan,
        example: ExampleCall,
        dialogue: Dialogue,
        realtime: Mapping[str, RealtimeSection],
        *,
        wav: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`wav` is the folder of the recordings; None: none are kept."""
        self._wav, self._patience = wav, patience
        self._realtime = realtime
        self._plan, self._example, self._dialogue = plan, example, dialogue
        self._began_s = time.monotonic()
        self._witness = Witness(plan)
        self._pbx: SimulatedPbx | None = None
        self._caller: DialogueCaller | None = None

    async def hold(self, voices: Mapping[str, NDArray[np.int16]]) -> DialogueReport:
        """Hold it. `voices` are what the caller says, spoken.

        Raises: `GatewayError` where there is no port for it, TimeoutError where the gateway does not start.
        """
        gateway = Address(HOST, free_sip_port(HOST))
        facts, witness = self._example.facts, self._witness
        options = PbxOptions(
            gateway=gateway,
            extension=lambda number: extension_of(self._plan, self._dialogue, number),
            trunks=_trunks(self._plan, facts.trunk),
            rtp_ports=PBX_PORTS,
        )
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-dialogue-")))
            web = await stack.enter_async_context(CannedWeb(self._dialogue.tools, self._dialogue.hooks))
            pbx = self._pbx = await stack.enter_async_context(SimulatedPbx(options))
            configuration = self._configuration(gateway, pbx, folder)
            plan = web.divert(self._plan)
            service = Service(configuration, witness, [plan], wall_clock=_clock_from(facts.at))
            async with asyncio.timeout(START_LIMIT_S):
                await stack.enter_async_context(service)
            witness.service = service
            begin = self._be_called(service, pbx, plan) if facts.is_outgoing else self._call(pbx)
            call = witness.call = await begin
            self._caller = DialogueCaller(
                call, witness, is_heard=self._is_heard, voices=voices, patience=self._patience
            )
            try:
                await self._caller.play(self._dialogue.turns)
            finally:
                call.hang_up()
                await service.calls.drain(END_LIMIT_S)
            wav = self._keep(call, pbx)
        return self.report(wav=wav)

    async def _call(self, pbx: SimulatedPbx) -> PhoneCall:
        facts = self._example.facts
        return pbx.dial(
            facts.trunk or DEFAULT_TRUNK,
            facts.to,
            caller=facts.from_,
            display_name=facts.display_name,
            headers=_headers(facts),
        )

    async def _be_called(self, service: Service, pbx: SimulatedPbx, plan: Dialplan) -> PhoneCall:
        """Let the gateway place the call, and take it. Raises: `ResourceError`, TimeoutError."""
        facts, target = self._example.facts, parse_target(self._example.facts.to)
        awaited = pbx.await_call(target.user)
        service.calls.place(facts.trunk or DEFAULT_TRUNK, target, plan, variables=facts.given)
        return await asyncio.wait_for(awaited, START_LIMIT_S)

    def report(self, *, failure: str = "", wav: Path | None = None) -> DialogueReport:
        """What came of it, as far as it came."""
        witness = self._witness
        said_ms = witness.call.said_ms if witness.call is not None and self._writes_words() else []
        attempts = self._pbx.attempts if self._pbx else []
        return DialogueReport(
            name=self._example.name,
            line=self._example.line,
            turns=tuple(self._caller.reports) if self._caller else (),
            total=len(self._dialogue.turns),
            seconds=time.monotonic() - self._began_s,
            transcript=transcript_of(witness.speeches, said_ms),
            attempts=tuple((_who(self._plan, attempt.number), attempt.number, attempt.outcome) for attempt in attempts),
            failure=failure,
            wav=wav,
        )

    def _configuration(self, gateway: Address, pbx: SimulatedPbx, folder: Path) -> Configuration:
        trunks = {name: {"peer": f"{peer.host}:{peer.port}"} for name, peer in pbx.addresses.items()}
        written = Configuration.model_validate(
            {
                "sip": {"listen": f"{gateway.host}:{gateway.port}", "trunks": trunks},
                "media": {"rtp": {"ports": GATEWAY_PORTS}},
                # Whether a dialogue is right does not depend on how busy this machine is.
                "limits": {"cpu": "0", "lag": "0"},
                "records": {kind: {"folder": str(folder / kind)} for kind in ("recordings", "voicemail")},
                "dialplans": [str(self._plan.file)],
            }
        )
        return written.model_copy(update={"realtime": dict(self._realtime)})

    async def _is_heard(self, heard: NDArray[np.int16], speech: Speech) -> bool:
        """By its sound, where the voice is one that we can speak with."""
        voice = self._voice()
        sentence = max(sentences(speech.text), key=len, default="")
        if voice is None or speech.heard_text is not None or len(sentence) < SHORTEST_TEXT:
            return True
        return await asyncio.to_thread(is_sentence_heard, heard, sentence, (), voice=voice)

    def _voice(self) -> str | None:
        """The agent's, where it is one of ours."""
        section = self._section()
        if section is None or section.provider != EMBEDDED:
            return None
        voice = section.voice or DEFAULT_VOICE
        if voice not in VOICES:
            return None
        return None if section.brain is not None and load_script(section.brain).voices else voice

    def _section(self) -> RealtimeSection | None:
        """What serves the session that was opened last, or else speaks the plan's texts."""
        session = self._plan.sessions.get(self._witness.facts().session or "")
        return self._realtime.get(session.use if session else self._plan.use)

    def _writes_words(self) -> bool:
        """Whether the words of the caller are known."""
        section = self._section()
        return section is not None and (section.provider == EMBEDDED or bool(section.transcription))

    def _keep(self, call: PhoneCall, pbx: SimulatedPbx) -> Path | None:
        """Write down what was said and heard; the caller's recording."""
        folder = self._wav
        if folder is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        stem = re.sub(r"[^\w-]+", "-", f"{self._plan.name}-{self._example.name}").strip("-")[:100]
        for number, leg in enumerate(pbx.consultations, start=1):
            write_wav(folder / f"{stem}.contact-{number}.wav", leg.recording())
        file = folder / f"{stem}.wav"
        write_wav(file, call.recording())
        return file


def extension_of(plan: Dialplan, dialogue: Dialogue, number: str) -> Extension | None:
    """Who has `number` at the PBX, and what they do; None where nobody has it.

    Of several contacts with one number the one counts whose behaviour the dialogue tells.
    """
    found = [
        (contact, index)
        for contact in sorted(plan.contacts.values(), key=lambda contact: contact.name not in dialogue.contacts)
        for index, target in enumerate(contact.targets)
        if target.user == number
    ] or [(contact, 0) for contact in plan.contacts.values() if contact.pattern and contact.pattern.matches(number)]
    if not found:
        return None
    contact, index = found[0]
    behaviours = dialogue.contacts.get(contact.name) or (Behaviour.ACCEPTS,)
    acceptance = contact.acceptance
    return Extension(
        contact=contact.name,
        behaviour=behaviours[min(index, len(behaviours) - 1)],
        accept_key=acceptance.key if acceptance else "",
        refuse_key=acceptance.refuse if acceptance else "",
    )


def _headers(facts: CallFacts) -> tuple[tuple[str, str], ...]:
    """Those of the INVITE."""
    told = [("Diversion", f"<sip:{escape_user(facts.diversion)}@pbx.invalid>")] if facts.diversion else []
    spoken = [("Accept-Language", ", ".join(facts.languages))] if facts.languages else []
    return (*facts.headers.items(), *told, *spoken)


def _who(plan: Dialplan, number: str) -> str:
    """The contacts that have `number`, by their names."""
    return ", ".join(
        contact.name
        for contact in plan.contacts.values()
        if any(target.user == number for target in contact.targets)
        or (contact.pattern is not None and contact.pattern.matches(number))
    )


def _trunks(plan: Dialplan, called_by: str) -> tuple[str, ...]:
    """The trunks that a gateway with `plan` has: those that it names, and the one the call comes by."""
    named = [reference.name for reference in plan.references if reference.kind is ReferenceKind.TRUNK]
    return tuple(dict.fromkeys([called_by or DEFAULT_TRUNK, *named]))


def _clock_from(at: datetime) -> Callable[[], datetime]:
    """A clock that shows `at` now."""
    began_s = time.monotonic()
    return lambda: at + timedelta(seconds=time.monotonic() - began_s)
