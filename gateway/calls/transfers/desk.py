"""Carries out what a `Transfer` decides: REFER, our call to the contact, what both hear meanwhile.

::

    Transfer ──Refer──────────> REFER on the caller's line                                blind
             ──CallTarget─────> Consultation: INVITE ──TargetAnswered──> Transfer         attended, warm
             ──Whisper────────> Introduction ──samples──> Consultation ──TargetPressed──> Transfer   warm
             ──HandOver───────> REFER on the caller's line, Replaces: the consultation
             ──JoinTarget─────> caller's line <──audio──> consultation
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway.calls import events as call_events
from gateway.calls.brief import TrunkWay
from gateway.calls.events.transfer import TransferCommand
from gateway.calls.lines.line import Line
from gateway.calls.services import CallServices
from gateway.calls.speaking.sounds import RINGING, Samples, load_sound
from gateway.calls.transfers.consultation import Consultation
from gateway.calls.transfers.introduction import Introduction, IntroductionLinks
from gateway.calls.transfers.refusal import Refusal
from gateway.calls.transfers.transfer import TransferAttempt
from gateway.dialplan.contacts import Acceptance, TransferMode
from gateway.dialplan.targets import DialTarget
from gateway.errors import ConfigurationError, GatewayError, StateError
from gateway.media.codec import AudioFormat
from gateway.sip.message import Uri

RINGING_ITEM = "ringing"
LOST_CALLER_S = 3.0
STRAGGLERS_S = 0.5
"""Packets that come so long after a failed transfer's report do not prove that the caller is still here."""
HEARD_S = 1.0
"""A caller of whom nothing has come for so long is not surely here."""
CARRIED, CARRIED_WIDEBAND = AudioFormat.PCM16_8K, AudioFormat.PCM16_16K
"""The format in which audio goes from one line to the other; the second where both are wideband."""


class TransferDesk:
    """Owns the consultation of one call, and what is told there. `line` is the caller's.

    `way` tells how somebody is called by a trunk, `trunk` is the caller's; `who` is what the contact's telephone shows.
    """

    def __init__(
        self,
        services: CallServices,
        line: Line,
        dispatch: Callable[[call_events.Event], None],
        *,
        trunk: str,
        way: Callable[[str], TrunkWay],
        who: str,
        links: IntroductionLinks,
    ) -> None:
        self._services = services
        self._dispatch = dispatch
        self._trunk = trunk
        self._way = way
        self._who = who
        self._links = links
        self._introduction: Introduction | None = None
        self._work: set[asyncio.Task[Any]] = set()  # what is waited for before a call, or whispered during one
        self._consultation: Consultation | None = None
        self._is_joined = False
        self._waiting_sound: Samples | None = None  # what the caller hears meanwhile, again and again
        self._headers: tuple[tuple[str, str], ...] = ()  # of our calls to the contact
        self._was_steady = False  # the caller sent without pauses before the PBX was asked to move them
        self._caller_watch: asyncio.TimerHandle | None = None
        self.line = line

    def do(self, command: TransferCommand) -> None:
        """Do it. Raises: `ResourceError` and `StateError`, as the user agent and the ports do."""
        match command:
            case call_events.Refer(target=target):
                self._stop_watching()
                self._was_steady = self.line.is_steady
                self._refer(self._uri(target))
            case call_events.AskSummary(contact=contact, mode=mode):
                self._introduce(contact, mode)
            case call_events.AwaitSummary():
                self._begin(self._await_summary(), "call summary")
            case call_events.CallTarget(target=target, trunk=trunk):
                self._stop_watching()
                self._call(target, trunk or self._trunk)
            case call_events.PlayRinging(is_on=is_on, music=music):
                self._play_waiting(_sound(music) if is_on else None)
            case call_events.Whisper(acceptance=acceptance):
                self._begin(self._whisper(acceptance), "whisper")
            case call_events.HandOver(target=target):
                self._hand_over(target)
            case call_events.SeekCaller():
                self._seek_caller()
            case call_events.JoinTarget():
                self._join()
            case call_events.ReleaseTarget():
                self._release_target()

    def note(self, attempt: TransferAttempt) -> None:
        """An attempt of the transfer has come so far."""
        if self._introduction is not None:
            self._introduction.note(attempt)

    def release(self) -> None:
        """End our call to the contact, and all that is told there; safe to repeat."""
        self._release_target()
        if self._introduction is not None:
            self._introduction.close()

    def _release_target(self) -> None:
        self._stop_working()
        self._stop_watching()
        consultation, self._consultation = self._consultation, None
        self._is_joined = False
        if consultation is not None:
            consultation.release()

    # What the contact gets to know.

    def _introduce(self, contact: str, mode: TransferMode) -> None:
        if self._introduction is not None:
            self._introduction.close()
        self._headers = ()
        self._introduction = Introduction(self._links.plan.contacts[contact], mode, self._links)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._links.spawn(work, name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _stop_working(self) -> None:
        for task in self._work:
            task.cancel()

    async def _await_summary(self) -> None:
        if self._introduction is not None:
            self._headers = await self._introduction.headers()
        self._dispatch(call_events.SummaryReady())

    async def _whisper(self, acceptance: Acceptance) -> None:
        consultation, introduction = self._consultation, self._introduction
        if consultation is None or introduction is None:
            return
        async with contextlib.aclosing(introduction.sentences(acceptance)) as sentences:
            async for sentence in sentences:
                consultation.whisper(sentence)
        consultation.end_whisper()

    def _end_whisper(self, consultation: Consultation) -> None:
        """The contact has taken the call: what they have not heard of the whisper is dropped."""
        self._stop_working()
        consultation.line.flush()

    # The caller meanwhile.

    def _stop_watching(self) -> None:
        self._was_steady = False
        if self._caller_watch is not None:
            self._caller_watch.cancel()

    def on_reported(self, *, has_failed: bool) -> None:
        """The PBX has told of its REFER. After a failure look whether it has left us the caller.

        Asterisk has not where it reports 486 or 503 (but where it reports 404): it hangs up on the caller, keeps our
        call open without sending anything more, and says nothing about it.
        """
        self.line.listen_anew()
        if has_failed and self._was_steady:
            loop = asyncio.get_running_loop()
            self._caller_watch = loop.call_later(LOST_CALLER_S, self._look_for_caller)

    def _look_for_caller(self) -> None:
        if self.line.silent_s() > LOST_CALLER_S - STRAGGLERS_S:
            self._dispatch(call_events.MediaLost(cause="the PBX kept the caller of a transfer that failed"))

    def _seek_caller(self) -> None:
        """A caller whom a PBX has moved sends nothing here; one who is heard was not moved."""
        heard_s, now = self.line.last_heard_s, self._services.clock()
        if heard_s is None or now - heard_s >= HEARD_S:
            return
        try:
            self._services.user_agent.give_up_transfer(self.line.leg_id, now)
        except StateError:  # hung up a moment ago; the news of it waits behind this command
            return
        self._dispatch(call_events.CallerFound())

    def patience_left_s(self) -> float:
        """How long until a contact whose audio we carry, and who sends nothing, counts as gone."""
        return self._consultation.line.patience_left_s() if self._is_joined and self._consultation else math.inf

    def on_audio(self, audio: bytes) -> None:
        """The caller's audio: the contact's, once both are joined here."""
        if self._is_joined and self._consultation is not None:
            self._consultation.line.carry(audio)

    def on_digit(self, digit: str, duration_ms: int, *, is_audible: bool) -> None:
        """A key of the caller: the contact's, likewise. `is_audible`: its tones are in the caller's audio."""
        if self._is_joined and self._consultation is not None:
            self._consultation.line.press(digit, duration_ms, is_audible=is_audible)

    def on_ringing_played(self) -> None:
        """One cadence of the ring-back tone is over, or the music."""
        if self._waiting_sound is not None:
            self._play(self._waiting_sound)

    def _uri(self, target: DialTarget) -> Uri:
        return Uri.parse(target.uri(self._way(self._trunk).referral_host))

    def _call(self, target: DialTarget, trunk: str) -> None:
        """Call the contact; where that cannot be (no port or leg to spare), it is as if they could not be reached."""
        try:
            way = self._way(trunk)
            dtmf = self.line.dtmf if trunk == self._trunk else way.dtmf
            self._consultation = Consultation(self._services, way.open_media, self._dispatch, dtmf)
            self._consultation.call(trunk, Uri.parse(target.uri(way.referral_host)), self._who, self._headers)
        except GatewayError as error:
            self._consultation = None
            refusal = call_events.TargetRefused(refusal=Refusal.FAILED, status=error.sip_status, reason=str(error))
            self._dispatch(refusal)

    def _refer(self, refer_to: Uri) -> None:
        try:
            self._services.user_agent.refer(self.line.leg_id, refer_to, self._services.clock())
        except StateError as error:  # the caller hung up a moment ago; the news of it waits behind this command
            self._dispatch(call_events.TransferReported(status=481, reason=str(error), is_final=True))

    def _hand_over(self, target: DialTarget) -> None:
        """REFER the caller to the contact in our place (RFC 3891, RFC 5589 7)."""
        try:
            if self._consultation is None:
                raise StateError("nobody was called")
            self._end_whisper(self._consultation)
            replaces = self._services.user_agent.replaces_value(self._consultation.line.leg_id)
        except StateError:  # hung up a moment ago; the news of it waits behind this command
            self._dispatch(call_events.TargetLeft())
            self._dispatch(call_events.TransferReported(status=410, reason="the contact hung up", is_final=True))
            return
        self._refer(self._uri(target).with_header("Replaces", replaces))

    def _join(self) -> None:
        """Carry the audio between caller and contact."""
        if self._consultation is None:
            raise StateError("nobody was called")
        self._end_whisper(self._consultation)
        self.line.flush()
        lines = (self.line, self._consultation.line)
        carried = CARRIED_WIDEBAND if all(line.is_wideband for line in lines) else CARRIED
        for line in lines:
            line.formats = (carried, carried)
        self._consultation.join(self.line)
        self._is_joined = True

    def _play_waiting(self, sound: Samples | None) -> None:
        """Let the caller hear `sound` again and again, from its beginning unless it is heard already; None: silence."""
        if sound is self._waiting_sound:
            return
        if self._waiting_sound is not None:
            self.line.flush()
        self._waiting_sound = sound
        if sound is not None:
            self._play(sound)

    def _play(self, sound: Samples) -> None:
        if self.line.leg is not None:
            self._services.media.engine.play_pcm(self.line.leg, RINGING_ITEM, sound)
            self._services.media.engine.end_item(self.line.leg, RINGING_ITEM)


def _sound(music: Path | None) -> Samples:
    """What a caller hears who waits. A file that has gone since the plan was loaded is the ring-back tone."""
    if music is None:
        return RINGING
    try:
        return load_sound(music)
    except ConfigurationError:
        return RINGING
