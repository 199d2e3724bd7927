"""What the embedded server understands of callers on the telephone: the rows "a call" of ``gateway bench embedded``.

::

    callers (Phone) ──SIP, RTP, mu-law──> gateway, a process ──WebSocket──> embedded server
        ^  a sentence, the answer to its end,   │                           the receptionist; a grammar of departments
        │  the next sentence                    │
        └───── transcript, a line of JSON each ─┘

Each call says up to ten sentences of one set by one voice; several calls run at once. What was understood is what the
gateway's transcript has of the caller: nothing where the server asked back. Nobody is transferred, which every request
for it is told at once, and nobody is hung up on, so that a call lives through its "no".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from gateway.calls.record import CallRecord, Speaker, Speech
from gateway.cli.logs import configure_logs
from gateway.cli.service import Service, load_plans
from gateway.config import load_configuration
from gateway.dialplan.triggers import Escalation
from gateway.embedded.brain import RECEPTION, load_script
from gateway.errors import ResourceError
from gateway.simulate.bench_hearing import (
    CONTACTS,
    DEPARTMENTS,
    HearingRow,
    Samples,
    dry,
    reception,
    sentence_sets,
    told,
)
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.message import Address

HOST: Final = "127.0.0.1"
LINE: Final = "a call"
CALLS_PER_CORE: Final = 3
SENTENCES_PER_CALL: Final = 10
QUESTION: Final = "Did you say"
_GREETING: Final = "Hello."
_TERSE: Final = "All right."
_FALLBACK: Final = "Pardon me?"
_START_LIMIT_S: Final = 60.0
_ANSWER_LIMIT_S: Final = 20.0
_ANSWER_BEGINS_S: Final = 8.0
_PAUSE_MS: Final = 800


@dataclass(slots=True, kw_only=True)
class Turn:
    """A sentence said in a call, and what came of it."""

    sentences: str
    voice: str
    text: str
    meant: str
    speech: Samples = field(default_factory=lambda: np.zeros(0, np.int16))
    """How it sounds: `int16[n]` at 8 kHz."""
    heard: list[str] = field(default_factory=list)
    """What the gateway's transcript has of the caller, piece by piece."""
    answers: list[str] = field(default_factory=list)

    @property
    def is_unsure(self) -> bool:
        """Whether the caller was asked whether that was what they said."""
        return any(answer.startswith(QUESTION) for answer in self.answers)

    @property
    def understood(self) -> str:
        """The meaning of what was heard: of pieces, the last that has one, as for the server."""
        if self.sentences == "departments":
            return self.heard[-1] if self.heard else ""
        meanings = [told(reception().grammar.interpret(piece)) for piece in self.heard]
        return next((meaning for meaning in reversed(meanings) if meaning), "")

    @property
    def is_right(self) -> bool:
        """Whether it was answered as what it meant; off topic that is being asked back."""
        return bool(self.answers) and self.understood == self.meant


class Teller:
    """Prints the gateway's transcript: number called, who spoke, words."""

    def call_started(self, record: CallRecord) -> None:
        """Nothing was said yet."""

    def spoken(self, record: CallRecord, speech: Speech) -> None:
        """A line of JSON."""
        _tell({"called": record.called, "speaker": speech.speaker.value, "text": speech.text})

    def party_changed(self, record: CallRecord) -> None:
        """Nobody else is ever named."""

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        """No plan of these calls escalates."""

    def call_ended(self, record: CallRecord) -> None:
        """All its words have been told."""


class Listener:
    """The gateway's transcript, by the number that was called; each call has a turn under way."""

    def __init__(self) -> None:
        self.turns: dict[str, Turn] = {}

    async def listen(self, lines: asyncio.StreamReader) -> None:
        """Note what is told until the gateway ends."""
        while line := await lines.readline():
            told_of = json.loads(line)
            if (turn := self.turns.get(told_of["called"])) is not None:
                is_caller = told_of["speaker"] == Speaker.CALLER.value
                (turn.heard if is_caller else turn.answers).append(told_of["text"])


async def measure_calls(voices: tuple[str, ...], at_once: int | None = None) -> tuple[HearingRow, ...]:
    """Every set of sentences by every voice, over calls of which `at_once` (None: three a core) run side by side.

    Raises:
        ResourceError: the `local` extra is not installed, or no port is free.
    """
    turns = [turn for voice in voices for turn in _turns(voice)]
    for turn in turns:  # before anybody calls: whoever speaks in time has no time to learn it
        turn.speech = dry(turn.text, turn.voice)
    places = asyncio.Semaphore(at_once or CALLS_PER_CORE * len(os.sched_getaffinity(0)))
    address, listener = Address(HOST, free_sip_port(HOST)), Listener()
    async with (
        Phone(PhoneOptions(user="caller", peers={"gateway": address}, rtp_ports=(46000, 47999))) as phone,
        _gateway(address, phone.address, listener),
        asyncio.TaskGroup() as tasks,
    ):
        for index, group in enumerate(_calls(turns)):
            number = f"{8 if group[0].sentences == 'departments' else 7}{index:03}"
            tasks.create_task(_call(phone, number, group, listener, places))
    return tuple(_rows(turns))


@contextlib.asynccontextmanager
async def _gateway(address: Address, caller: Address, listener: Listener) -> AsyncIterator[None]:
    """A gateway in a process of its own, whose transcript goes to `listener`."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_configuration(Path(folder), address, caller)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            __name__,
            str(file),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None  # noqa: S101 - pipes were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            if not await asyncio.wait_for(process.stdout.readline(), _START_LIMIT_S):
                raise ResourceError("the gateway did not start; its message stands above")
            listening = asyncio.create_task(listener.listen(process.stdout))
            yield
            process.stdin.close()
            await listening
        finally:
            process.stdin.close()
            await process.wait()


def _turns(voice: str) -> Iterator[Turn]:
    for name, _, meant in sentence_sets():
        yield from (Turn(sentences=name, voice=voice, text=text, meant=meaning) for text, meaning in meant.items())


def _calls(turns: list[Turn]) -> Iterator[tuple[Turn, ...]]:
    """What is said in each call."""
    for key in dict.fromkeys((turn.sentences, turn.voice) for turn in turns):
        of = [turn for turn in turns if (turn.sentences, turn.voice) == key]
        yield from (tuple(of[start : start + SENTENCES_PER_CALL]) for start in range(0, len(of), SENTENCES_PER_CALL))


async def _call(
    phone: Phone,
    number: str,
    turns: tuple[Turn, ...],
    listener: Listener,
    places: asyncio.Semaphore,
) -> None:
    """One call; where it does not come about, or breaks off, the rest of its sentences count as not understood."""
    async with places:
        call = phone.dial("gateway", number)
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                await call.answered.wait()
                await _listen(call, 0)
            for turn in turns:
                listener.turns[number] = turn
                call.say(turn.speech)
                await call.wait_until(call.said_until_ms, within_s=_ANSWER_LIMIT_S)
                # What gets no answer was not heard; the next sentence may be.
                with contextlib.suppress(TimeoutError):
                    await _listen(call, call.said_until_ms)
        except TimeoutError:
            pass
        finally:
            listener.turns.pop(number, None)
            call.hang_up()


async def _listen(call: PhoneCall, from_ms: int) -> None:
    """The agent's answer, to its end."""
    start_ms = await call.wait_for_speech(from_ms=from_ms, within_s=_ANSWER_BEGINS_S)
    await call.wait_for_pause(from_ms=start_ms, lasting_ms=_PAUSE_MS, within_s=_ANSWER_LIMIT_S)


def _rows(turns: list[Turn]) -> Iterator[HearingRow]:
    for voice in dict.fromkeys(turn.voice for turn in turns):
        for name in dict.fromkeys(turn.sentences for turn in turns):
            of = [turn for turn in turns if (turn.sentences, turn.voice) == (name, voice)]
            is_off_topic = not any(turn.meant for turn in of)
            yield HearingRow(
                sentences=name,
                voice=voice,
                line=LINE,
                total=len(of),
                right=sum(turn.is_right for turn in of),
                unsure=sum(turn.is_right is not is_off_topic and turn.is_unsure for turn in of),
            )


def write_configuration(folder: Path, gateway: Address, caller: Address) -> Path:
    """The file of a gateway with the receptionist at 7…, and a grammar of department names alone at 8…."""
    for name, brain in (("reception", _short_reception()), ("departments", _departments_brain())):
        (folder / f"{name}.yaml").write_text(json.dumps(brain), encoding="utf-8")
    (folder / "plan.yaml").write_text(json.dumps(_plan()), encoding="utf-8")
    embedded = {"provider": "embedded", "speed": 1.5, "transcription": "on"}
    configuration = {
        "sip": {
            "listen": f"{gateway.host}:{gateway.port}",
            "trunks": {"phones": {"peer": f"{caller.host}:{caller.port}"}},
        },
        "media": {"rtp": {"ports": "48000-49999"}},
        "realtime": {name: {**embedded, "brain": f"{name}.yaml"} for name in ("reception", "departments")},
        "dialplans": ["plan.yaml"],
        "limits": {"transfers_per_call": 0, "cpu": 0, "lag": 0},
    }
    (file := folder / "gateway.yaml").write_text(json.dumps(configuration), encoding="utf-8")
    return file


def _plan() -> dict[str, object]:
    shared = {"greeting": _GREETING, "instructions": "You answer the telephone.", "tools": ["transfer"]}
    return {
        "version": 1,
        "name": "hearing",
        "timezone": "UTC",
        "contacts": {name: {"dial": ["sip:6001"], "description": name} for name in CONTACTS},
        "sessions": {name: {"use": name, **shared} for name in ("reception", "departments")},
        "routes": [
            {"name": "departments", "match": {"to": "8*"}, "do": [{"session": "departments"}]},
            {"name": "reception", "do": [{"session": "reception"}]},
        ],
    }


def _short_reception() -> dict[str, object]:
    """The receptionist that ships, who hears all that she hears and says little: what is measured is what is heard."""
    script = load_script(RECEPTION)
    terse = {"reply": _TERSE, "without_tool": _TERSE, "failed": "Sorry."}
    intents = {name: intent.model_copy(update=terse) for name, intent in script.intents.items()}
    told_of = script.model_copy(update={"intents": intents, "fallback": (_FALLBACK,), "prompt": _TERSE})
    return told_of.model_dump(mode="json", exclude_defaults=True)


def _departments_brain() -> dict[str, object]:
    """Each name an intent with a tool that nobody offers, so that what is unsure is asked about."""
    call = {"tool": "put_through"}
    return {
        "name": "departments",
        "greeting": _GREETING,
        "fallback": [_FALLBACK],
        "question": f"{QUESTION} {{phrase}}?",
        "intents": {
            f"department_{index}": {"phrases": [name], "reply": _TERSE, "call": call}
            for index, name in enumerate(DEPARTMENTS)
        },
    }


def _tell(what: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _serve(file: Path) -> None:
    """The gateway's process: until its standard input ends."""
    configuration = load_configuration(file)
    async with Service(configuration, Teller(), load_plans(configuration)) as service:
        _tell({"ready": True})
        await asyncio.to_thread(sys.stdin.read)
        await service.calls.drain(2.0)


if __name__ == "__main__":
    configure_logs("error", sys.stderr)
    asyncio.run(_serve(Path(sys.argv[1])))
