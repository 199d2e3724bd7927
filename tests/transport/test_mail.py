"""Letters against a mail server: over TLS or not at all, to whom they are for and nobody else."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.transport.mail import Letter, Mailer, MailError, MailOptions, is_address
from tests.support.certificates import Authority
from tests.support.mail_server import MailServer

LETTER = Letter(
    to="desk@office.example",
    subject="Message from Ada",
    text="Please call back.\n.\nFrom here on it's Grüße.\n",
    reference="night/1",
    written_at=datetime(2026, 11, 30, 9, tzinfo=UTC),
    sound=b"RIFF....WAVE" * 20_000,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def served(authority: Authority, host: str = "127.0.0.1") -> ssl.SSLContext:
    identity = authority.issue("mail", ips=[host])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def options(server: MailServer, **fields: object) -> MailOptions:
    known = {"security": "none", **fields}
    return MailOptions(host="127.0.0.1", port=server.port, sender="gateway@office.example", **known)  # type: ignore[arg-type]


async def send(chosen: MailOptions, letter: Letter = LETTER) -> None:
    mailer = Mailer(chosen)
    mailer.start()
    try:
        await asyncio.wait_for(asyncio.wrap_future(mailer.send(letter)), 15)
    finally:
        await asyncio.to_thread(mailer.close)


async def test_letter_arrives_as_it_was_written() -> None:
    async with MailServer() as server:
        await send(options(server))
        (received,) = server.received
    assert (received.sender, received.recipients) == ("gateway@office.example", ("desk@office.example",))
    assert (received.text, received.sound) == (LETTER.text, LETTER.sound)
    headers = received.letter
    assert (headers["From"], headers["To"]) == ("gateway@office.example", "desk@office.example")
    assert (headers["Subject"], headers["Auto-Submitted"]) == ("Message from Ada", "auto-generated")
    assert headers["Date"] == "Mon, 30 Nov 2026 09:00:00 +0000"


async def test_letter_that_is_sent_again_has_the_same_number_and_another_one_has_not() -> None:
    async with MailServer() as server:
        for letter in (LETTER, LETTER, replace(LETTER, reference="night/2"), replace(LETTER, to="b@office.example")):
            await send(options(server), letter)
        first, again, *others = (received.letter["Message-ID"] for received in server.received)
    assert first == again
    assert len({first, *others}) == 3


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_letter_and_password_go_over_tls(authority: Authority, security: str) -> None:
    users = {"gateway": "open sesame"}
    async with MailServer(tls=served(authority), is_implicit=security == "tls", users=users) as server:
        secure = options(server, security=security, ca_file=authority.ca, user="gateway", password="open sesame")
        await send(secure)
        (received,) = server.received
        assert (received.is_encrypted, received.user) == (True, "gateway")
        with pytest.raises(MailError, match="user or password is refused: 535") as refused:
            await send(replace(secure, password="other"))
        assert not refused.value.is_final
        assert "other" not in str(refused.value) + repr(secure)
    before = server.commands[: server.commands.index("STARTTLS")] if security == "starttls" else []
    assert [line for line in before if not line.lower().startswith("ehlo")] == []


async def test_nothing_is_told_to_a_server_without_starttls() -> None:
    async with MailServer(users={"gateway": "open sesame"}) as server:
        with pytest.raises(MailError, match="STARTTLS"):
            await send(options(server, security="starttls", user="gateway", password="open sesame"))
        assert server.received == []
        assert [line for line in server.commands if not line.lower().startswith(("ehlo", "quit", "rset"))] == []


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_nothing_is_told_to_a_server_that_cannot_show_who_it_is(
    authority: Authority, tmp_path: Path, security: str
) -> None:
    stranger = Authority(tmp_path, "stranger")
    for context in (served(stranger), served(authority, "127.0.0.9")):
        async with MailServer(tls=context, is_implicit=security == "tls") as server:
            with pytest.raises(MailError, match=r"TLS: .*(self-signed|unable|mismatch|not valid)"):
                await send(options(server, security=security, ca_file=authority.ca))
            assert server.received == []


@pytest.mark.parametrize(("reply", "is_final"), [("550 no such user", True), ("451 come back later", False)])
async def test_refused_recipient_is_told_with_whether_that_is_for_good(reply: str, is_final: bool) -> None:
    async with MailServer(refuses={LETTER.to: reply}) as server:
        with pytest.raises(MailError, match=f"the recipient is refused: {reply}") as refused:
            await send(options(server))
    assert refused.value.is_final is is_final


@pytest.mark.parametrize(("reply", "is_final"), [("554 too large", True), ("452 full", False)])
async def test_refused_letter_is_told_with_whether_that_is_for_good(reply: str, is_final: bool) -> None:
    async with MailServer(refuses_letters=[reply]) as server:
        with pytest.raises(MailError, match=f"the letter is refused: {reply}") as refused:
            await send(options(server))
    assert refused.value.is_final is is_final


async def test_server_that_is_not_there_or_says_nothing_can_be_tried_again() -> None:
    async with MailServer(is_silent=True) as server:
        with pytest.raises(MailError, match=r"cannot be reached: .*timed out") as silent:
            await send(options(server, timeout_s=0.1))
    with pytest.raises(MailError, match="cannot be reached") as gone:
        await send(options(server))
    assert not silent.value.is_final
    assert not gone.value.is_final


@pytest.mark.parametrize("field", ["subject", "to"])
async def test_a_line_break_adds_no_header(field: str) -> None:
    evil = replace(LETTER, **{field: "desk@office.example\r\nBcc: thief@evil.example"})
    async with MailServer() as server:
        with pytest.raises(MailError, match="cannot be written") as refused:
            await send(options(server), evil)
        assert server.received == []
    assert refused.value.is_final


async def test_foreign_letters_in_the_subject_survive() -> None:
    async with MailServer() as server:
        await send(options(server), replace(LETTER, subject="Nachricht von Zoë 山田"))
    assert server.received[0].letter["Subject"] == "Nachricht von Zoë 山田"


async def test_a_server_that_hangs_holds_the_end_up_for_so_long_and_no_longer() -> None:
    async with MailServer(is_silent=True) as server:
        mailer = Mailer(options(server, timeout_s=30))
        mailer.start()
        hanging, waiting = mailer.send(LETTER), mailer.send(LETTER)
        while not hanging.running():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(mailer.close, 0.05)
        assert asyncio.get_running_loop().time() - began < 5
    assert waiting.cancelled()
    assert not hanging.done() or hanging.exception() is not None


GOOD = ("a@b", "desk@office.example", "first.last+tag@mail.office-1.example")
BAD = ("", "desk", "@b", "a@", "a b@c", "a@b\n", "a@b,c@d", "<a@b>", "a@-b", f"{'x' * 65}@b", "ä@b", "a@b..c")


@pytest.mark.parametrize(("text", "is_good"), [*((text, True) for text in GOOD), *((text, False) for text in BAD)])
def test_what_is_an_address(text: str, is_good: bool) -> None:
    assert is_address(text) is is_good
