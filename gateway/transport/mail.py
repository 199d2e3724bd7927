"""Letters by a mail server (RFC 5321): one thread sends them, one after the other, so that no server holds up a call.

TLS is verified, and where it is asked for nothing is said without it: a server that does not offer STARTTLS
(RFC 3207) is told neither password nor letter. What strangers chose (names, words) cannot add a header or a recipient:
headers are encoded by `email`, which refuses line breaks, and recipients are told apart from them.
"""

from __future__ import annotations

import hashlib
import queue
import re
import smtplib
import socket
import ssl
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Literal, TypeAlias

from gateway.errors import GatewayError, shown

MailSecurity: TypeAlias = Literal["tls", "starttls", "none"]

PORTS: dict[MailSecurity, int] = {"tls": 465, "starttls": 587, "none": 25}
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*")
MAX_ADDRESS_CHARACTERS = 254
PERMANENT = 500
"""RFC 5321 4.2.1: replies from here on are for good."""


class MailError(GatewayError):
    """A letter was not taken. ``is_final``: the same letter never will be."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOptions:
    """The server that takes our letters."""

    host: str
    sender: str
    """address that letters come from"""
    security: MailSecurity = "starttls"
    port: int | None = None
    """TCP; None: the usual one of ``security``"""
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    """whose certificates are trusted; None: whom the system trusts"""
    timeout_s: float = 10.0
    """for each of the server's answers"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A letter to one person. ``reference`` is the same for one that is sent again; ``written_at`` is aware."""

    to: str
    subject: str
    text: str
    reference: str
    written_at: datetime
    sound: bytes | None = field(default=None, repr=False)
    """A WAV file that goes along as ``sound_name``."""
    sound_name: str = "message.wav"


def is_address(text: str) -> bool:
    """Whether it is a plain address (RFC 5321 4.1.2, without quoted and literal forms)."""
    return len(text) <= MAX_ADDRESS_CHARACTERS and _ADDRESS.fullmatch(text) is not None


class Mailer:
    """Sends letters. `close` blocks, nothing else does."""

    def __init__(self, options: MailOptions) -> None:
        self._options = options
        self._letters: queue.SimpleQueue[tuple[Letter, Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def send(self, letter: Letter) -> Future[None]:
        """Done when the server has taken it; fails with `MailError`."""
        taken: Future[None] = Future()
        self._letters.put((letter, taken))
        return taken

    def close(self, patience_s: float = 5.0) -> None:
        """Send what is being sent, for `patience_s` at most; what waits is left."""
        self._drop_waiting()
        self._letters.put(None)
        self._thread.join(patience_s)

    def _drop_waiting(self) -> None:
        while True:
            try:
                entry = self._letters.get_nowait()
            except queue.Empty:
                return
            if entry is not None:
                entry[1].cancel()

    def _run(self) -> None:
        while (entry := self._letters.get()) is not None:
            letter, taken = entry
            if not taken.set_running_or_notify_cancel():
                continue
            try:
                deliver(self._options, letter)
            except MailError as error:
                taken.set_exception(error)
            except Exception as error:  # noqa: BLE001 - one letter must not cost the others
                taken.set_exception(MailError(type(error).__name__))
            else:
                taken.set_result(None)


def deliver(options: MailOptions, letter: Letter) -> None:
    """Hand `letter` to the server; blocks. Raises: `MailError`, which holds no secret."""
    try:
        written = _written(options, letter).as_bytes()
        with _connected(options) as server:
            server.sendmail(options.sender, [letter.to], written)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        raise _refused("the recipient is refused", code, text) from None
    except smtplib.SMTPSenderRefused as error:
        raise _refused("the sender is refused", error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPDataError as error:
        raise _refused("the letter is refused", error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPAuthenticationError as error:
        raise MailError(f"user or password is refused: {error.smtp_code}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise MailError(f"the server does not offer what is needed: {error}") from None
    except ssl.SSLError as error:
        raise MailError(f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise MailError(f"the server cannot be reached: {shown(str(error) or type(error).__name__)}") from None
    except ValueError as error:
        raise MailError(f"the letter cannot be written: {shown(str(error))}", is_final=True) from None


def _refused(what: str, code: int, text: bytes | str) -> MailError:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    return MailError(f"{what}: {code} {shown(said)}", is_final=code >= PERMANENT)


def _connected(options: MailOptions) -> smtplib.SMTP:
    """A server that has let us in; over TLS where that is asked for."""
    port = options.port or PORTS[options.security]
    name, timeout_s = _own_name(), options.timeout_s
    server: smtplib.SMTP
    if options.security == "tls":
        context = ssl.create_default_context(cafile=options.ca_file)
        server = smtplib.SMTP_SSL(options.host, port, local_hostname=name, timeout=timeout_s, context=context)
    else:
        server = smtplib.SMTP(options.host, port, local_hostname=name, timeout=timeout_s)
    try:
        if options.security == "starttls":
            server.starttls(context=ssl.create_default_context(cafile=options.ca_file))
        if options.user:
            server.login(options.user, options.password)
    except BaseException:
        server.close()
        raise
    return server


def _own_name() -> str:
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "localhost"


def _written(options: MailOptions, letter: Letter) -> EmailMessage:
    """The letter with its headers. Raises: ValueError."""
    written = EmailMessage(policy=SMTP)
    written["From"] = options.sender
    written["To"] = letter.to
    written["Subject"] = letter.subject
    written["Date"] = format_datetime(letter.written_at)
    reference = hashlib.sha256(f"{letter.reference} {letter.to}".encode()).hexdigest()[:32]
    written["Message-ID"] = f"<{reference}@{options.sender.rpartition('@')[2]}>"
    written["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: no answering machine answers
    written.set_content(letter.text)
    if letter.sound is not None:
        written.add_attachment(letter.sound, maintype="audio", subtype="wav", filename=letter.sound_name)
    return written
