"""A PBX without telephones: the other end of a gateway's trunks, whose extensions do what they are told.

::

    caller ──┐                                       INVITE, by the trunk the test names
             ├─ SimulatedPbx ──SIP/RTP, one Phone a trunk──> gateway
    desk ────┘      ▲ INVITE: an extension rings, answers, presses a key, or refuses by its `Behaviour`
                    ▲ REFER: 202, NOTIFY 100, 180 and a final one; the caller is the extension's, or stays ours
                    ▲ REFER with Replaces: the caller and the gateway's own call to the extension are joined, both
                      legs are over for the gateway

It behaves as Asterisk does where that succeeds (the gateway is left to hang up), and as the better PBXs do where a
transfer fails: the caller stays on the line. Everything is real SIP and RTP; that extensions have no legs of their own
inside is the one thing pretended. `attempts` tells who was called and what came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gateway.dialplan.dialogue import Behaviour
from gateway.embedded.voice import speak
from gateway.errors import StateError
from gateway.simulate.phone import Phone, PhoneOptions
from gateway.simulate.phone_call import PhoneCall
from gateway.sip.events import CallOffered, TransferRequested
from gateway.sip.message import Address, Uri
from gateway.sip.uri import unescape

HOST = "127.0.0.1"
GATEWAY = "gateway"
EXTENSION_VOICE = "verse"
RING_S = 0.4
"""How long an extension rings before it does what it does."""
GIVE_UP_S = 4.0
"""How long the PBX lets an extension ring that a REFER has named, and nobody picks up."""
LISTEN_LIMIT_S, PAUSE_MS = 12.0, 600
"""A key is pressed in the first pause of what is heard, or when nothing has been heard for so long."""
LEAVE_S = 2.0
"""How long the gateway is given to hang up when the caller has been handed over."""

STATUSES: Mapping[Behaviour, tuple[int, str]] = {
    Behaviour.BUSY: (486, "Busy Here"),
    Behaviour.DECLINES: (603, "Decline"),
    Behaviour.UNREACHABLE: (404, "Not Found"),
    Behaviour.NO_ANSWER: (480, "Temporarily Unavailable"),
}
"""How calls end that nobody takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One telephone behind the PBX: whose it is, what it does, and the keys that take and refuse a call."""

    contact: str
    behaviour: Behaviour
    accept_key: str = ""
    """"" where no key is asked for."""
    refuse_key: str = ""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """The gateway's try to reach an extension; ``outcome`` in one word, "" as long as it is open."""

    number: str
    by_refer: bool
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PbxOptions:
    """One PBX. `trunks` are the gateway's names for its ways to it; `extension` finds who has a number."""

    gateway: Address
    extension: Callable[[str], Extension | None]
    trunks: tuple[str, ...] = ("pbx",)
    rtp_ports: tuple[int, int] = (46000, 47999)


@dataclass(slots=True)
class _Consultation:
    """The gateway's own call to an extension."""

    call_id: str
    phone: Phone
    call: PhoneCall
    attempt: Attempt
    has_accepted: bool = field(default=True)


class SimulatedPbx:
    """``async with SimulatedPbx(options) as pbx: call = pbx.dial("pbx", "7000", caller="+49301")``."""

    def __init__(self, options: PbxOptions) -> None:
        self._options = options
        # Each trunk has a port of its own, by which the gateway tells them apart.
        self._phones = {
            name: Phone(PhoneOptions(user=GATEWAY, peers={GATEWAY: options.gateway}, rtp_ports=options.rtp_ports), self)
            for name in options.trunks
        }
        self.attempts: list[Attempt] = []
        """In their order."""
        self.consultations: list[PhoneCall] = []
        """What extensions said and heard, of calls that the gateway placed."""
        self._joinable: list[_Consultation] = []
        self._awaited: dict[str, asyncio.Future[PhoneCall]] = {}
        self._ringing: dict[str, tuple[asyncio.Task[None], Attempt]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for phone in self._phones.values():
            await phone.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for phone in self._phones.values():
            await phone.__aexit__(kind, error, trace)

    @property
    def addresses(self) -> dict[str, Address]:
        """Where the gateway finds its trunks."""
        return {name: phone.address for name, phone in self._phones.items()}

    def dial(
        self,
        trunk: str,
        number: str,
        *,
        caller: str,
        display_name: str = "",
        headers: Sequence[tuple[str, str]] = (),
    ) -> PhoneCall:
        """Let `caller` call the gateway's `number`; "" for a withheld number."""
        phone = self._phones[trunk]
        return phone.dial(
            GATEWAY, number, tuple(headers), caller=caller or "anonymous", display_name=display_name or None
        )

    def await_call(self, number: str) -> asyncio.Future[PhoneCall]:
        """The next call of the gateway to `number`, which is taken: by whoever holds the result."""
        self._awaited[number] = asyncio.get_running_loop().create_future()
        return self._awaited[number]

    # What the gateway asks for.

    def on_offered(self, phone: Phone, offered: CallOffered) -> None:
        """The gateway calls an extension."""
        number = offered.request_uri.unescaped_user or ""
        if (awaited := self._awaited.pop(number, None)) is not None:
            phone.ring(offered.leg_id)
            if (call := phone.take(offered)) is not None and not awaited.done():
                awaited.set_result(call)
            return
        extension = self._options.extension(number)
        attempt = self._note(number, by_refer=False)
        task = self._spawn(self._be_called(phone, offered, extension, attempt))
        self._ringing[offered.leg_id] = (task, attempt)
        task.add_done_callback(lambda _task: self._ringing.pop(offered.leg_id, None))

    def on_cancelled(self, leg_id: str) -> None:
        """The gateway does not want to wait for an extension any more."""
        if leg_id in self._ringing:
            task, attempt = self._ringing.pop(leg_id)
            attempt.outcome = "not answered in time"
            task.cancel()

    def on_transfer(self, phone: Phone, call: PhoneCall, requested: TransferRequested) -> None:
        """The gateway sends the caller on."""
        uri = requested.refer_to.uri
        number = uri.unescaped_user or ""
        if (replaced := _replaced_call_id(uri)) is not None:
            self._spawn(self._join(phone, call, replaced))
            return
        extension = self._options.extension(number)
        self._spawn(self._hand_over(phone, call, extension, self._note(number, by_refer=True)))

    def _note(self, number: str, *, by_refer: bool) -> Attempt:
        attempt = Attempt(number=number, by_refer=by_refer)
        self.attempts.append(attempt)
        return attempt

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # A call to an extension.

    async def _be_called(
        self, phone: Phone, offered: CallOffered, extension: Extension | None, attempt: Attempt
    ) -> None:
        behaviour = extension.behaviour if extension else Behaviour.UNREACHABLE
        if extension is None or behaviour is Behaviour.UNREACHABLE:
            self._refuse(phone, offered.leg_id, Behaviour.UNREACHABLE, attempt)
            return
        if behaviour is not Behaviour.BUSY:
            phone.ring(offered.leg_id)
        if behaviour is Behaviour.NO_ANSWER:
            await asyncio.Event().wait()  # until the gateway gives up
        await asyncio.sleep(RING_S)
        if behaviour in STATUSES:
            self._refuse(phone, offered.leg_id, behaviour, attempt)
            return
        call = phone.take(offered)
        if call is None:
            attempt.outcome = "no common codec"
            return
        attempt.outcome = "answered"
        self.consultations.append(call)
        self._joinable.append(_Consultation(offered.call_id, phone, call, attempt))
        await self._talk(call, extension)

    def _refuse(self, phone: Phone, leg_id: str, behaviour: Behaviour, attempt: Attempt) -> None:
        status, reason = STATUSES[behaviour]
        attempt.outcome = f"{status} {reason}"
        phone.refuse(leg_id, status)

    async def _talk(self, call: PhoneCall, extension: Extension) -> None:
        """Pick up, say who is there, and press what the extension presses."""
        voice = await asyncio.to_thread(speak, f"Hello, {extension.contact} speaking.", voice=EXTENSION_VOICE)
        await call.answered.wait()
        key = {Behaviour.ACCEPTS: extension.accept_key, Behaviour.REFUSES: extension.refuse_key}
        pressed = key.get(extension.behaviour, "")
        if not pressed:
            call.say(voice)
            return
        try:
            await call.wait_for_speech(from_ms=0, within_s=LISTEN_LIMIT_S)
            await call.wait_for_silence(lasting_ms=PAUSE_MS, within_s=LISTEN_LIMIT_S)
        except TimeoutError:
            pass
        call.press(pressed)

    # Transfers.

    async def _hand_over(self, phone: Phone, call: PhoneCall, extension: Extension | None, attempt: Attempt) -> None:
        """Call an extension in the caller's place, and report (RFC 3515 2.4.4)."""
        behaviour = extension.behaviour if extension else Behaviour.UNREACHABLE
        if behaviour not in (Behaviour.UNREACHABLE, Behaviour.BUSY):
            self._report(phone, call, 180, "Ringing")
        await asyncio.sleep(GIVE_UP_S if behaviour is Behaviour.NO_ANSWER else RING_S)
        status, reason = STATUSES.get(behaviour, (200, "OK"))
        attempt.outcome = "answered" if status == 200 else f"{status} {reason}"
        self._report(phone, call, status, reason)
        if status == 200:
            await self._leave(call)

    async def _join(self, phone: Phone, call: PhoneCall, call_id: str) -> None:
        """Join the caller with the call that the gateway has to an extension (RFC 3891)."""
        consultation = next((one for one in self._joinable if one.call_id == call_id), None)
        if consultation is None or consultation.call.ended.is_set():
            self._report(phone, call, 481, "Call/Transaction Does Not Exist")
            return
        consultation.attempt.outcome = "joined with the caller"
        self._report(phone, call, 200, "OK")
        consultation.call.hang_up()
        await self._leave(call)

    def _report(self, phone: Phone, call: PhoneCall, status: int, reason: str) -> None:
        try:
            phone.report(call, status, reason)
        except StateError:
            return  # the gateway has hung up meanwhile

    async def _leave(self, call: PhoneCall) -> None:
        """The caller speaks with somebody else now: leave hanging up to the gateway, for a while."""
        try:
            await asyncio.wait_for(call.ended.wait(), LEAVE_S)
        except TimeoutError:
            call.hang_up()


def _replaced_call_id(uri: Uri) -> str | None:
    """The Call-ID of the call that a Refer-To wants to be replaced (RFC 3891 6.1); None where it names none."""
    fields = (field.partition("=") for field in uri.headers.split("&"))
    values = [unescape(value) for name, _, value in fields if unescape(name).casefold() == "replaces"]
    return values[0].partition(";")[0] if values else None
