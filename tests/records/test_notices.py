"""Messages that are told by web requests and letters, to services that fail, come back, or never do."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.calls.tools.http_tool import HttpClients, tell_service
from gateway.dialplan.mailboxes import EmailNotice, Mailbox, Notice, WebhookNotice
from gateway.dialplan.messages import Message, MessageKind, NoticeState, notices_of
from gateway.dialplan.model import Dialplan
from gateway.dialplan.request_template import parse_json_template, parse_url_template
from gateway.dialplan.tools import HttpRequest
from gateway.records.letters import letter_of
from gateway.records.message_files import list_messages, remove_message
from gateway.records.notices import LONGEST_PAUSE_S, MAX_AT_ONCE, MAX_TRIES, Notifier, pauses_of
from gateway.records.voicemail import MessageStore, VoicemailOptions
from gateway.transport.mail import Mailer, MailOptions
from tests.records.test_voicemail import MESSAGE, left
from tests.support.bare_plan import BARE_PLAN
from tests.support.http_server import RESET, HttpServer, answer
from tests.support.mail_server import MailServer

SOON_S = 0.01
PATIENCE_S = 15.0
DELIVERED, FAILED, PENDING = NoticeState.DELIVERED, NoticeState.FAILED, NoticeState.PENDING


@dataclass
class House:
    """A store, who tells of its messages, and the mailbox of a plan."""

    folder: Path
    notices: tuple[Notice, ...]
    mail_port: int | None = None
    pauses_s: tuple[float, ...] = (SOON_S,) * 3
    clients: HttpClients = field(default_factory=HttpClients)

    @property
    def plan(self) -> Dialplan:
        return replace(BARE_PLAN, name="office", mailboxes={"night": self.mailbox})

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(name="night", notices=self.notices)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[MessageStore, Notifier]]:
        mailer = None
        if self.mail_port is not None:
            options = MailOptions(host="127.0.0.1", port=self.mail_port, security="none", sender="gw@office.example")
            mailer = Mailer(options)
            mailer.start()
        store = MessageStore(VoicemailOptions(folder=self.folder, min_free_bytes=0))
        notifier = Notifier(store, partial(tell_service, self.clients), mailer, self.pauses_s)
        notifier.use([self.plan])
        store.start(notifier.take)
        try:
            yield store, notifier
        finally:
            await notifier.close()
            if mailer is not None:
                await asyncio.to_thread(mailer.close, 1.0)
            await asyncio.to_thread(store.close)
            await self.clients.close()
            self.clients = HttpClients()

    async def leave(self, store: MessageStore, text: str = "call me") -> Message:
        message = replace(MESSAGE, notices=notices_of(self.mailbox))
        return await asyncio.to_thread(left, store, 1.0, message, text)

    async def states(self, is_done: Callable[[list[NoticeState]], bool]) -> list[NoticeState]:
        """Those of the one message that is kept, once they are as wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                (message,), _ = await asyncio.to_thread(list_messages, self.folder)
                states = [notice.state for notice in message.notices]
                if is_done(states):
                    return states
                await asyncio.sleep(0.01)

    async def settled(self) -> list[NoticeState]:
        return await self.states(lambda states: PENDING not in states)

    def kept(self) -> Message:
        (message,), _ = list_messages(self.folder)
        return message


def open_in(folder: Path) -> list[Path]:
    return list(folder.glob("*/*.open"))


def hook(server: HttpServer, *, attaches: bool = False, **fields: object) -> WebhookNotice:
    url = parse_url_template(f"{server.url}/message")
    return WebhookNotice(request=HttpRequest(method="POST", url=url, retries=0, **fields), attaches=attaches)  # type: ignore[arg-type]


async def test_web_service_is_told_the_facts_and_may_answer_anything(tmp_path: Path) -> None:
    async with HttpServer([answer(b"<p>ok", kind="text/html")]) as server:
        house = House(tmp_path, (hook(server),))
        async with house.open() as (store, notifier):
            kept = await house.leave(store)
            assert await house.settled() == [DELIVERED]
    (asked,) = server.asked
    assert asked.json() == {
        "kind": "voicemail",
        "mailbox": "night",
        "dialplan": "office",
        "message": kept.name,
        "time": "2026-11-30T09:00:00+00:00",
        "caller": "+49301",
        "caller_name": "Ada",
        "called": "7000",
        "callback": None,
        "seconds": 1.0,
        "text": "call me",
        "call_id": MESSAGE.call_id,
        "file": str(kept.audio),
    }
    assert (notifier.counts.delivered, notifier.counts.retried, notifier.counts.failed) == (1, 0, 0)
    assert open_in(tmp_path) == []


async def test_each_web_service_of_a_mailbox_is_told_by_its_own_request(tmp_path: Path) -> None:
    async with HttpServer() as one, HttpServer() as other:
        house = House(tmp_path, (hook(one), EmailNotice(to=("a@b.example",)), hook(other)), pauses_s=())
        async with house.open() as (store, _):
            await house.leave(store)
            assert await house.settled() == [DELIVERED, FAILED, DELIVERED]
    assert (len(one.asked), len(other.asked)) == (1, 1)


async def test_recording_goes_along_where_the_plan_says_so(tmp_path: Path) -> None:
    async with HttpServer() as server:
        house = House(tmp_path, (hook(server, attaches=True),))
        async with house.open() as (store, _):
            kept = await house.leave(store)
            await house.settled()
    told = server.asked[0].json()
    assert isinstance(told, dict)
    assert kept.audio is not None
    assert base64.b64decode(told["audio"]) == kept.audio.read_bytes()


async def test_body_is_the_plans_own_where_it_has_one(tmp_path: Path) -> None:
    body = parse_json_template({"chat": "{mailbox}: {text}", "who": "{caller.number}", "length": "{seconds}"})
    async with HttpServer() as server:
        house = House(tmp_path, (hook(server, body=body),))
        async with house.open() as (store, _):
            await house.leave(store)
            await house.settled()
    assert server.asked[0].json() == {"chat": "night: call me", "who": "+49301", "length": 1.0}


async def test_letter_has_words_and_recording_for_each_recipient_alone(tmp_path: Path) -> None:
    letters = (EmailNotice(to=("a@b.example", "c@d.example")), EmailNotice(to=("e@f.example",), attaches=False))
    async with MailServer() as server:
        house = House(tmp_path, letters, mail_port=server.port)
        async with house.open() as (store, _):
            kept = await house.leave(store)
            assert await house.settled() == [DELIVERED] * 3
    received = {letter.recipients: letter for letter in server.received}
    assert set(received) == {("a@b.example",), ("c@d.example",), ("e@f.example",)}
    first = received["a@b.example",]
    assert kept.audio is not None
    assert first.sound == kept.audio.read_bytes()
    assert received["e@f.example",].sound is None
    assert first.letter["Subject"] == "Message in night from Ada (+49301)"
    assert first.letter["To"] == "a@b.example"
    assert "call me" in first.text


async def test_services_that_are_down_are_told_when_they_are_up(tmp_path: Path) -> None:
    async with HttpServer([answer(status=503), RESET, answer({})]) as web:
        async with MailServer() as gone:
            port = gone.port
        house = House(tmp_path, (hook(web), EmailNotice(to=("a@b.example",))), mail_port=port, pauses_s=(0.05,) * 200)
        with capture_logs() as lines:
            async with house.open() as (store, notifier):
                await house.leave(store)
                await house.states(lambda states: states == [DELIVERED, PENDING])
                async with MailServer(port=port) as server:
                    assert await house.settled() == [DELIVERED, DELIVERED]
        assert len(server.received) == 1
        assert len(web.asked) == 3
    assert notifier.counts.retried >= 3
    assert {"notice not taken", "notice delivered"} == {line["event"] for line in lines}
    assert "503" in " ".join(str(line) for line in lines)


async def test_notice_that_nobody_takes_is_given_up(tmp_path: Path) -> None:
    async with HttpServer([answer(status=500)]) as server:
        house = House(tmp_path, (hook(server),))
        with capture_logs() as lines:
            async with house.open() as (store, notifier):
                await house.leave(store)
                assert await house.settled() == [FAILED]
        assert len(server.asked) == 4
    assert (notifier.counts.failed, notifier.counts.retried) == (1, 3)
    assert lines[-1]["event"] == "notice failed"
    notice = house.kept().notices[0]
    assert (notice.tries, notice.why) == (4, "the service answered 500 Internal Server Error")
    assert open_in(tmp_path) == []


async def test_refused_recipient_is_not_asked_again_and_the_other_is_told(tmp_path: Path) -> None:
    async with MailServer(refuses={"no@b.example": "550 no such user"}) as server:
        house = House(tmp_path, (EmailNotice(to=("no@b.example", "a@b.example")),), mail_port=server.port)
        async with house.open() as (store, _):
            await house.leave(store)
            assert await house.settled() == [FAILED, DELIVERED]
    assert house.kept().notices[0].tries == 1
    assert [letter.recipients for letter in server.received] == [("a@b.example",)]


async def test_restart_goes_on_with_what_nobody_took(tmp_path: Path) -> None:
    async with HttpServer([answer(status=503)]) as server:
        house = House(tmp_path, (hook(server),), pauses_s=(60.0,) * 9)
        async with house.open() as (store, _):
            kept = await house.leave(store)
            async with asyncio.timeout(PATIENCE_S):
                while not house.kept().notices[0].tries:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        server.answers[:] = [answer({})]
        async with house.open():
            assert await house.settled() == [DELIVERED]
    assert house.kept().notices[0].tries == 2
    first, second = (asked.json() for asked in server.asked)
    assert isinstance(second, dict)
    assert first == second
    assert second["message"] == kept.name


async def test_closing_waits_for_no_service(tmp_path: Path) -> None:
    async with HttpServer(is_silent=True) as server:
        house = House(tmp_path, (hook(server, timeout_s=60.0),))
        async with house.open() as (store, notifier):
            await house.leave(store)
            async with asyncio.timeout(PATIENCE_S):
                while not server.asked:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            await notifier.close(patience_s=0.05)
            assert asyncio.get_running_loop().time() - began < 5
    assert house.kept().notices[0].state is PENDING


async def test_mail_server_that_hangs_keeps_no_web_service_waiting(tmp_path: Path) -> None:
    async with MailServer(is_silent=True) as silent, HttpServer() as web:
        letters = EmailNotice(to=tuple(f"a{number}@b.example" for number in range(MAX_AT_ONCE + 1)))
        house = House(tmp_path, (letters, hook(web)), mail_port=silent.port)
        async with house.open() as (store, _):
            await house.leave(store)
            async with asyncio.timeout(5):  # the mail server is given up after 10 s
                assert (await house.states(lambda states: states[-1] is not PENDING))[-1] is DELIVERED
    assert house.kept().notices[0].state is PENDING


async def test_letter_is_sent_whatever_a_model_has_written(tmp_path: Path) -> None:
    async with MailServer() as server:
        house = House(tmp_path, (EmailNotice(to=("a@b.example",)),), mail_port=server.port)
        async with house.open() as (store, _):
            await house.leave(store, "half a \ud83d smile")
            assert await house.settled() == [DELIVERED]
    assert "half a ? smile" in server.received[0].text


async def test_nobody_is_told_of_a_deleted_message(tmp_path: Path) -> None:
    async with HttpServer([answer(status=503)]) as server:
        house = House(tmp_path, (hook(server),), pauses_s=(1.0,) * 9)
        async with house.open() as (store, _):
            kept = await house.leave(store)
            async with asyncio.timeout(PATIENCE_S):
                while not server.asked:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            remove_message(tmp_path, kept.name)
            told = len(server.asked)
            await asyncio.sleep(1.3)
        assert len(server.asked) == told == 1
    assert list_messages(tmp_path) == ([], [])


async def test_plan_that_has_changed_decides_who_is_told(tmp_path: Path) -> None:
    async with HttpServer([answer(status=503)]) as server:
        house = House(tmp_path, (hook(server), EmailNotice(to=("a@b.example",))), pauses_s=(SOON_S,) * 500)
        async with house.open() as (store, notifier):
            await house.leave(store)
            await house.states(lambda _: len(server.asked) > 1)
            notifier.use([replace(house.plan, mailboxes={"night": Mailbox(name="night")})])
            assert await house.settled() == [FAILED, FAILED]
    assert {notice.why for notice in house.kept().notices} == {"the dialplan has this notice no longer"}


def test_pauses_grow_and_end() -> None:
    pauses = list(pauses_of())
    assert pauses[:3] == [10.0, 30.0, 90.0]
    assert (max(pauses), len(pauses)) == (LONGEST_PAUSE_S, MAX_TRIES - 1)
    assert pauses == sorted(pauses)


@pytest.mark.parametrize(
    ("change", "subject", "parts"),
    [
        (
            {},
            "Message in night from Ada (+49301)",
            ["From: Ada (+49301)", "Time: 2026-11-30 09:00:00", "(no transcript)"],
        ),
        ({"caller": "", "caller_name": ""}, "Message in night from a withheld number", ["From: a withheld number"]),
        (
            {"kind": MessageKind.CALLBACK, "callback": "+49302"},
            "Callback wanted in night from Ada (+49301)",
            ["Call back: +49302"],
        ),
        ({"caller_name": "Ada\r\nBcc: x@y"}, r"Message in night from Ada\x0d\x0aBcc: x@y (+49301)", []),
    ],
)
def test_letter_says_who_called(change: dict[str, object], subject: str, parts: list[str]) -> None:
    letter = letter_of(replace(MESSAGE, name="night/1", **change), to="a@b.example", subject="", sound=None)  # type: ignore[arg-type]
    assert letter.subject == subject
    assert all(part in letter.text for part in parts)
    assert letter_of(MESSAGE, to="a@b.example", subject="Night", sound=None).subject == "Night"
