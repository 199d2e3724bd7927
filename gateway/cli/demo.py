"""``gateway demo``: a caller, the gateway, and a human to be transferred to, all on this machine, all real.

::

    caller (Phone) ──SIP/RTP──> gateway ──WebSocket──> embedded realtime server (child process)
        └── REFER followed ──SIP/RTP──> human (Phone)

The caller listens: what the agent said is taken from the caller's own recording, and compared by its sound with how
that sentence and others sound. Nothing is believed because a program said it was sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from gateway.calls.record import CallRecord, Speaker, Speech
from gateway.cli.service import Service, load_plans
from gateway.cli.shipped import shipped
from gateway.config import Configuration
from gateway.dialplan.triggers import Escalation
from gateway.embedded.voice import speak
from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.simulate.phone_call import PhoneCall, write_wav
from gateway.simulate.sentence_check import is_sentence_heard
from gateway.sip.message import Address

HOST = "127.0.0.1"
EXTENSIONS = ("6001", "6002")
QUESTION = "What are your opening hours?"
LONG_QUESTION = "Where are you located?"
INTERRUPTION = "I would like to speak to sales."
HUMAN_SAYS = "Acme, good morning. You are speaking to a human now."
HUMAN_VOICE = "verse"
CALLER_THANKS = "Wonderful, thank you."

ANSWER_LIMIT_S = 15.0
SPEECH_LIMIT_S = 40.0
TRANSFER_LIMIT_S = 20.0
PAUSE_MS = 700
INTERRUPT_AFTER_MS = 1200
FAREWELL_MS = 400


@dataclass(slots=True)
class DemoResult:
    """What came of the call; times in ms, `transcript` in the order of the call."""

    transcript: list[Speech] = field(default_factory=list)
    route: str = ""
    answer_heard: bool = False
    human_heard: bool = False
    was_transferred: bool = False
    first_audio_ms: int | None = None
    barge_in_ms: int | None = None
    transfer_ms: int | None = None
    setup_ms: int | None = None
    sent: int = 0
    received: int = 0
    lost: int = 0
    late: int = 0
    failure: str = ""
    wav: Path | None = None
    is_transfer_expected: bool = True

    @property
    def is_ok(self) -> bool:
        """The spoken answer was heard at the caller's end, and so was the human where one was asked for."""
        return not self.failure and self.answer_heard and (self.human_heard or not self.is_transfer_expected)

    def as_json(self) -> dict[str, object]:
        """The public form of the result."""
        return {
            "ok": self.is_ok,
            "transcript": [
                {"who": speech.speaker.value, "text": speech.text, "at_ms": speech.at_ms}
                for speech in sorted(self.transcript, key=lambda speech: speech.at_ms)
            ],
            "route": self.route,
            "first_audio_ms": self.first_audio_ms,
            "barge_in_ms": self.barge_in_ms,
            "transfer_ms": self.transfer_ms,
            "rtp": {"sent": self.sent, "received": self.received, "lost": self.lost, "late": self.late},
            **({"failure": self.failure} if self.failure else {}),
        }

    def summary(self) -> str:
        """The one result line."""
        if not self.is_ok:
            return f"demo failed: {self.failure or 'the answer was not heard at the telephone'}"
        parts = ["demo ok: the spoken answer was heard at the telephone"]
        if self.first_audio_ms is not None:
            parts.append(f"answer after {self.first_audio_ms} ms")
        if self.barge_in_ms is not None:
            parts.append(f"silent {self.barge_in_ms} ms after an interruption")
        if self.was_transferred:
            parts.append("transferred to a human")
            if self.transfer_ms is not None:
                parts[-1] += f" {self.transfer_ms / 1000:.1f} s after asking for it"
        parts.append(f"{self.received} packets heard, {self.lost} lost")
        if self.wav is not None:
            parts.append(f"recording in {self.wav}")
        return ", ".join(parts)


class DemoObserver:
    """Collects the transcript, and shows it live."""

    def __init__(self, result: DemoResult, console: Console | None) -> None:
        self._result = result
        self._console = console

    def call_started(self, record: CallRecord) -> None:
        """Note the route."""
        self._result.route = record.route

    def spoken(self, _record: CallRecord, speech: Speech) -> None:
        """Show a line; of one that was cut off, what was heard."""
        self._result.transcript.append(speech)
        if self._console is not None:
            style = "cyan" if speech.speaker is Speaker.CALLER else "green"
            cut = f"  [dim](interrupted: {speech.heard_ms} ms heard)[/]" if speech.heard_ms is not None else ""
            words = speech.text if speech.heard_text is None else speech.heard_text
            self.show(f"[{style}]{speech.speaker.value:>7}[/]  {escape(words)}{cut}")

    def party_changed(self, record: CallRecord) -> None:
        """Nobody else is ever named in a demonstration."""

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        """Who watches hears what follows from it."""

    def call_ended(self, record: CallRecord) -> None:
        """Note the figures."""
        self._result.setup_ms = record.setup_ms

    def show(self, line: str) -> None:
        """Print a line where anything is printed."""
        if self._console is not None:
            self._console.print(line, highlight=False, soft_wrap=True)


async def run_demo(*, sentences: tuple[str, ...], number: str, wav: Path, is_quiet: bool) -> DemoResult:
    """Place the call; `sentences` are said in turn, by default a question, an interruption and a transfer.

    Raises:
        ResourceError: the speech engines are not installed, or no port is free.
    """
    result = DemoResult(is_transfer_expected=not sentences)
    observer = DemoObserver(result, None if is_quiet else Console())
    gateway = Address(HOST, free_sip_port(HOST))
    async with Phone(PhoneOptions(user="human", peers={"caller": Address(HOST, 0)}, answers=True)) as human:
        peers = {"gateway": gateway, **dict.fromkeys(EXTENSIONS, human.address)}
        async with Phone(PhoneOptions(user="1001", peers=peers, rtp_ports=(42000, 43999))) as phone:
            configuration = demo_configuration(gateway, phone.address)
            observer.show("[dim]starting the gateway with its embedded realtime server …[/]")
            async with Service(configuration, observer, load_plans(configuration)) as service:
                call = phone.dial("gateway", number)
                attendant = asyncio.ensure_future(_attend(human))
                try:
                    await _converse(call, sentences, result, observer)
                except TimeoutError as error:
                    result.failure = str(error) or "nothing was heard in time"
                finally:
                    attendant.cancel()
                    _take_figures(call, result)
                    await _hang_up(call)
                    await service.calls.drain(2.0)
                result.wav = wav
                write_wav(wav, _recording(call))
    return result


def demo_configuration(gateway: Address, caller: Address) -> Configuration:
    """The gateway as `config/gateway.yaml` has it, on ports of its own."""
    return Configuration.model_validate(
        {
            "sip": {
                "listen": f"{gateway.host}:{gateway.port}",
                "trunks": {"phones": {"peer": f"{caller.host}:{caller.port}"}},
            },
            "media": {"rtp": {"ports": "44000-45999"}},
            "realtime": {"default": {"provider": "embedded", "turn_detection": {"silence_duration_ms": 300}}},
            "dialplans": [str(shipped("dialplans/reception.yaml"))],
        }
    )


async def _converse(call: PhoneCall, sentences: tuple[str, ...], result: DemoResult, observer: DemoObserver) -> None:
    await _answered(call)
    await call.wait_for_speech(from_ms=0, within_s=ANSWER_LIMIT_S)
    await call.wait_for_silence(lasting_ms=PAUSE_MS, within_s=SPEECH_LIMIT_S)
    if not sentences:
        await _ask(call, QUESTION, result, observer)
        await _interrupt(call, result, observer)
    else:
        for sentence in sentences:
            if not (call.ended.is_set() or call.transfer_requested.is_set()):
                await _ask(call, sentence, result, observer)
    await _follow_transfer(call, result, observer)


async def _answered(call: PhoneCall) -> None:
    async with asyncio.timeout(ANSWER_LIMIT_S):
        while not call.answered.is_set():
            if call.ended.is_set():
                raise TimeoutError(f"the gateway refused the call with {call.refused}")
            await asyncio.sleep(0.01)


async def _ask(call: PhoneCall, sentence: str, result: DemoResult, observer: DemoObserver) -> None:
    """Say `sentence`, and listen to the answer until it is over."""
    call.say(speak(sentence))
    asked_ms = call.said_until_ms
    start_ms = await call.wait_for_speech(from_ms=asked_ms, within_s=ANSWER_LIMIT_S)
    if result.first_audio_ms is None:
        result.first_audio_ms = start_ms - asked_ms
    observer.show(f"[dim]         the agent is heard {start_ms - asked_ms} ms after the caller's last word[/]")
    await call.wait_for_silence(lasting_ms=PAUSE_MS, within_s=SPEECH_LIMIT_S)
    if not result.answer_heard:
        result.answer_heard = is_heard(call.heard(asked_ms), result.transcript)


async def _interrupt(call: PhoneCall, result: DemoResult, observer: DemoObserver) -> None:
    """Ask, and speak again while the agent still answers: it has to fall silent."""
    call.say(speak(LONG_QUESTION))
    start_ms = await call.wait_for_speech(from_ms=call.said_until_ms, within_s=ANSWER_LIMIT_S)
    await call.wait_until(start_ms + INTERRUPT_AFTER_MS, within_s=ANSWER_LIMIT_S)
    interrupted_ms = call.time_ms
    call.say(speak(INTERRUPTION))
    silent_ms = await call.wait_for_pause(from_ms=interrupted_ms, lasting_ms=300, within_s=ANSWER_LIMIT_S)
    result.barge_in_ms = silent_ms - interrupted_ms
    observer.show(f"[dim]         the agent is silent {result.barge_in_ms} ms after the caller's first word[/]")


def is_heard(heard: NDArray[np.int16], transcript: list[Speech]) -> bool:
    """Whether the agent's last sentence is what `heard` sounds like, rather than any other sentence."""
    said = [speech.text for speech in transcript if speech.speaker is Speaker.AGENT]
    if not said:
        return False
    return is_sentence_heard(heard, said[-1], said[:-1])


async def _follow_transfer(call: PhoneCall, result: DemoResult, observer: DemoObserver) -> None:
    """Once the gateway has sent a REFER: talk to the human, and hear them."""
    if not result.is_transfer_expected and not call.transfer_requested.is_set():
        return
    async with asyncio.timeout(TRANSFER_LIMIT_S):
        await call.transfer_requested.wait()
        result.transfer_ms = call.time_ms - call.said_until_ms
        new = call.transfer
        if new is None:
            raise TimeoutError("the transfer named nobody who can be called")
        observer.show(
            "[dim]         the model has called the tool transfer: the caller's telephone is sent on (REFER), "
            f"{result.transfer_ms} ms after the caller's last word[/]"
        )
        await new.answered.wait()
        result.was_transferred = True
        await call.ended.wait()
    await new.wait_for_speech(from_ms=0, within_s=ANSWER_LIMIT_S)
    await new.wait_for_silence(lasting_ms=PAUSE_MS, within_s=SPEECH_LIMIT_S)
    result.human_heard = is_sentence_heard(new.heard(), HUMAN_SAYS, voice=HUMAN_VOICE)
    observer.show(f"[magenta]{'human':>7}[/]  {HUMAN_SAYS}")
    thanks = speak(CALLER_THANKS)
    new.say(thanks)
    await new.wait_until(new.said_until_ms + FAREWELL_MS, within_s=ANSWER_LIMIT_S)


async def _attend(human: Phone) -> None:
    """The human takes the call and says who is there."""
    call = await human.incoming.get()
    await call.answered.wait()
    await call.wait_until(400, within_s=ANSWER_LIMIT_S)
    call.say(speak(HUMAN_SAYS, voice=HUMAN_VOICE))


async def _hang_up(call: PhoneCall) -> None:
    for leg in (call, call.transfer):
        if leg is not None:
            leg.hang_up()


def _take_figures(call: PhoneCall, result: DemoResult) -> None:
    statistics = call.current_statistics()
    if statistics is not None:
        result.sent, result.received = statistics.packets_sent, statistics.packets_received
        result.lost, result.late = statistics.packets_lost, statistics.packets_late


def _recording(call: PhoneCall) -> NDArray[np.int16]:
    parts = [leg.recording() for leg in (call, call.transfer) if leg is not None]
    return np.concatenate(parts)
