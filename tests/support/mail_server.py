"""A mail server on loopback (RFC 5321) with STARTTLS, AUTH PLAIN and LOGIN, and the refusals that the test asks for."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Self, cast

MAX_LETTER_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Received:
    """One letter, and how it came."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    is_encrypted: bool
    user: str

    @property
    def letter(self) -> EmailMessage:
        return cast("EmailMessage", message_from_bytes(self.content, policy=default))

    @property
    def text(self) -> str:
        body = self.letter.get_body(("plain",))
        assert body is not None
        return str(body.get_content()).replace("\r\n", "\n")

    @property
    def sound(self) -> bytes | None:
        return next((bytes(part.get_content()) for part in self.letter.iter_attachments()), None)


@dataclass
class MailServer:
    """`tls` offers STARTTLS, or speaks TLS at once where `is_implicit`; `users` are those that may log in."""

    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    users: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, str] = field(default_factory=dict)
    """Replies to RCPT by recipient, such as ``550 no such user``."""
    refuses_letters: list[str] = field(default_factory=list)
    """Replies to the letters to come, one each."""
    is_silent: bool = False
    port: int = 0
    received: list[Received] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        tls = self.tls if self.is_implicit else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls, limit=MAX_LETTER_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def letters(self, count: int, patience_s: float = 10.0) -> list[Received]:
        """All letters, once there are so many."""
        async with asyncio.timeout(patience_s):
            while len(self.received) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.received

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await _Dialogue(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


class _Dialogue:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._is_encrypted = server.is_implicit
        self._user = self._sender = ""
        self._recipients: list[str] = []

    async def run(self) -> None:
        if self._server.is_silent:
            await asyncio.Event().wait()
        self._reply("220 mail.example ESMTP")
        while line := await self._reader.readline():
            text = line.decode("latin-1").strip()
            self._server.commands.append(text)
            if not await self._do(text):
                return

    def _reply(self, text: str) -> None:
        self._writer.write(f"{text}\r\n".encode())

    async def _do(self, line: str) -> bool:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                self._greet()
            case "STARTTLS":
                self._reply("220 go ahead")
                await self._writer.drain()
                assert self._server.tls is not None
                await self._writer.start_tls(self._server.tls)
                self._is_encrypted = True
            case "AUTH":
                await self._authenticate(rest)
            case "MAIL":
                is_welcome = bool(self._user) or not self._server.users
                self._sender, self._recipients = _path(rest), []
                self._reply("250 ok" if is_welcome else "530 log in first")
            case "RCPT":
                refusal = self._server.refuses.get(_path(rest))
                if refusal is None:
                    self._recipients.append(_path(rest))
                self._reply(refusal or "250 ok")
            case "DATA":
                await self._take_letter()
            case "QUIT":
                self._reply("221 bye")
                return False
            case "RSET" | "NOOP":
                self._reply("250 ok")
            case _:
                self._reply("500 what?")
        return True

    def _greet(self) -> None:
        offers = ["mail.example", "SIZE 10000000", "8BITMIME"]
        offers += ["STARTTLS"] if self._server.tls is not None and not self._is_encrypted else []
        offers += ["AUTH PLAIN LOGIN"] if self._server.users else []
        for offer in offers[:-1]:
            self._reply(f"250-{offer}")
        self._reply(f"250 {offers[-1]}")

    async def _authenticate(self, rest: str) -> None:
        kind, _, first = rest.partition(" ")
        if kind.upper() == "PLAIN":
            _, user, password = base64.b64decode(first).decode().split("\0")
        else:
            user = base64.b64decode(first).decode() if first else await self._ask("Username:")
            password = await self._ask("Password:")
        is_good = self._server.users.get(user) == password
        self._user = user if is_good else ""
        self._reply("235 welcome" if is_good else "535 no")

    async def _ask(self, question: str) -> str:
        self._reply(f"334 {base64.b64encode(question.encode()).decode()}")
        return base64.b64decode(await self._reader.readline()).decode()

    async def _take_letter(self) -> None:
        if not self._recipients:
            self._reply("503 to whom?")
            return
        self._reply("354 go ahead")
        raw = await self._reader.readuntil(b"\r\n.\r\n")
        if self._server.refuses_letters:
            self._reply(self._server.refuses_letters.pop(0))
            return
        content = raw[:-3].replace(b"\r\n..", b"\r\n.")
        self._server.received.append(
            Received(self._sender, tuple(self._recipients), content, self._is_encrypted, self._user)
        )
        self._reply("250 taken")


def _path(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
