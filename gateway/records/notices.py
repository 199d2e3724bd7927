"""Tells of messages: by requests to web services and by letters, again and again until they are taken.

::

    MessageStore ──on_kept(message)──> Notifier.take ─> one task for each notice ─> webhook | Mailer
                 <──update(message)──  DELIVERED, or another try after a pause that grows; FAILED in the end

A notice is told at least once: what was sent when the process died may be sent again, a letter under the same
Message-ID. Of a message that is deleted nobody is told any more. Nothing in here is waited for by a call.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from gateway.dialplan.mailboxes import EmailNotice, Notice, WebhookNotice
from gateway.dialplan.messages import AUDIO_FACT, Message, NoticeRecord, NoticeState
from gateway.dialplan.model import Dialplan
from gateway.dialplan.tools import HttpRequest
from gateway.errors import shown
from gateway.records.letters import letter_of
from gateway.transport.mail import Mailer, MailError

FIRST_PAUSE_S = 10.0
PAUSE_GROWTH = 3.0
LONGEST_PAUSE_S = 3600.0
MAX_TRIES = 24
"""Some 18 hours."""
MAX_AT_ONCE = 8
"""Requests that are on their way at the same time, and as many letters: one does not wait for the other."""
SEND_LIMIT_S = 120.0
"""For one letter, its turn behind others included."""

_log = structlog.stdlib.get_logger("gateway.records")


class Undeliverable(Exception):
    """A notice was not taken. ``is_final``: it never will be."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        super().__init__(why)


class Keeper(Protocol):
    """Who keeps the messages."""

    def update(self, message: Message, /) -> None:
        """Keep another state of its notices."""

    def is_there(self, message: Message, /) -> bool:
        """Whether nobody has deleted it; may block."""


Tell = Callable[[HttpRequest, Mapping[str, object], Mapping[str, str]], Awaitable[str]]
"""Sends a request with news and facts of a call; why it was not taken, or ""."""


@dataclass(slots=True)
class NoticeCounts:
    """What became of notices since the start."""

    delivered: int = 0
    retried: int = 0
    failed: int = 0


class Notifier:
    """Tells of the messages of one folder. For one event loop; `take` alone is for any thread."""

    def __init__(
        self, keeper: Keeper, tell: Tell, mailer: Mailer | None, pauses_s: Sequence[float] | None = None
    ) -> None:
        """`mailer` None: there is no mail server. `pauses_s` are those between the tries, in the place of our own."""
        self._keeper = keeper
        self._tell = tell
        self._mailer = mailer
        self._pauses_s = tuple(pauses_of()) if pauses_s is None else tuple(pauses_s)
        self._plans: tuple[Dialplan, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._messages: dict[str, Message] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_AT_ONCE))
        self._closing = asyncio.Event()
        self.counts = NoticeCounts()

    def use(self, plans: Iterable[Dialplan]) -> None:
        """Tell as the mailboxes of `plans` say, from now on."""
        self._plans = tuple(plans)

    def take(self, message: Message) -> None:
        """Tell of `message` whom it is still to be told. For any thread; nothing after the loop has gone."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, message)

    async def close(self, patience_s: float = 2.0) -> None:
        """Let those that are on their way arrive, for `patience_s` at most; the others are for the next start."""
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, message: Message) -> None:
        if self._closing.is_set():
            return
        self._messages[message.name] = message
        for index, notice in enumerate(message.notices):
            if notice.state is NoticeState.PENDING:
                task = self._loop.create_task(self._pursue(message.name, index), name=f"notice {message.name} {index}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _pursue(self, name: str, index: int) -> None:
        """Try until it is taken, or given up."""
        while True:
            message = self._messages[name]
            if not await asyncio.to_thread(self._keeper.is_there, message):
                self._messages.pop(name, None)
                return
            record = await self._try(message, index)
            self._note(name, index, record)
            if record.state is not NoticeState.PENDING or await self._pause(self._pauses_s[record.tries - 1]):
                return

    async def _pause(self, seconds: float) -> bool:
        """Wait for so long, or until it closes; whether it does."""
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _try(self, message: Message, index: int) -> NoticeRecord:
        """What becomes of the notice by one more try."""
        record = message.notices[index]
        tried = replace(record, tries=record.tries + 1)
        facts = {"mailbox": message.mailbox, "call_id": message.call_id, "way": record.way, "tries": tried.tries}
        try:
            async with self._turns[record.way]:
                await self._attempt(message, index)
        except Undeliverable as error:
            is_over = error.is_final or tried.tries > len(self._pauses_s)
            log = _log.error if is_over else _log.warning
            log("notice failed" if is_over else "notice not taken", **facts, why=str(error))
            state = NoticeState.FAILED if is_over else NoticeState.PENDING
            return replace(tried, state=state, why=str(error))
        _log.info("notice delivered", **facts)
        return replace(tried, state=NoticeState.DELIVERED, why="")

    def _note(self, name: str, index: int, record: NoticeRecord) -> None:
        """Remember it, here and on the disk."""
        match record.state:
            case NoticeState.DELIVERED:
                self.counts.delivered += 1
            case NoticeState.FAILED:
                self.counts.failed += 1
            case NoticeState.PENDING:
                self.counts.retried += 1
        message = self._messages[name] = self._messages[name].with_notice(index, record)
        self._keeper.update(message)
        if not message.is_pending:
            del self._messages[name]

    async def _attempt(self, message: Message, index: int) -> None:
        """Raises: `Undeliverable`, whatever went wrong."""
        try:
            await self._deliver(message, index)
        except Undeliverable:
            raise
        except Exception as error:
            _log.exception("notice broke", call_id=message.call_id)
            raise Undeliverable(type(error).__name__) from error

    async def _deliver(self, message: Message, index: int) -> None:
        """Raises: `Undeliverable`."""
        match self._notice(message, index):
            case WebhookNotice() as notice:
                await self._request(message, notice)
            case EmailNotice() as notice:
                await self._write(message, notice, message.notices[index].to)
            case None:
                raise Undeliverable("the dialplan has this notice no longer", is_final=True)

    def _notice(self, message: Message, index: int) -> Notice | None:
        """What the plan, as it is now, says of it."""
        plan = next((plan for plan in self._plans if plan.name == message.plan), None)
        mailbox = None if plan is None else plan.mailboxes.get(message.mailbox)
        if mailbox is None:
            return None
        record = message.notices[index]
        if record.way == "email":
            letters = (notice for notice in mailbox.notices if isinstance(notice, EmailNotice))
            return next((notice for notice in letters if record.to in notice.to), None)
        earlier = sum(other.way == record.way for other in message.notices[:index])
        hooks = [notice for notice in mailbox.notices if isinstance(notice, WebhookNotice)]
        return hooks[earlier] if earlier < len(hooks) else None

    async def _request(self, message: Message, notice: WebhookNotice) -> None:
        news = message.facts()
        if notice.attaches:
            sound = await asyncio.to_thread(_sound_of, message.audio)
            news[AUDIO_FACT] = None if sound is None else base64.b64encode(sound).decode()
        facts = {
            "caller.number": message.caller,
            "caller.name": message.caller_name,
            "called.number": message.called,
            "call.id": message.call_id,
        }
        if why := await self._tell(notice.request, news, facts):
            raise Undeliverable(why)

    async def _write(self, message: Message, notice: EmailNotice, to: str) -> None:
        if self._mailer is None:
            raise Undeliverable("the configuration names no mail server (mail)")
        sound = await asyncio.to_thread(_sound_of, message.audio) if notice.attaches else None
        letter = letter_of(message, to=to, subject=notice.subject, sound=sound)
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._mailer.send(letter)), SEND_LIMIT_S)
        except MailError as error:
            raise Undeliverable(str(error), is_final=error.is_final) from None
        except TimeoutError:
            raise Undeliverable("the mail server is too slow") from None


def pauses_of() -> Iterable[float]:
    """Seconds between the tries, one after the other."""
    return (min(FIRST_PAUSE_S * PAUSE_GROWTH**number, LONGEST_PAUSE_S) for number in range(MAX_TRIES - 1))


def _sound_of(file: Path | None) -> bytes | None:
    """The recording; None where there is none, or none any more."""
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        _log.warning("recording of a message cannot be read", file=shown(str(file)), why=error.strerror)
        return None
