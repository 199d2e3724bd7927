"""What callers leave in mailboxes, frozen, and the JSON in which it is kept and told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from pathlib import Path

from gateway.dialplan.mailboxes import Mailbox, WebhookNotice

MESSAGE_FACTS = (
    "kind",
    "mailbox",
    "dialplan",
    "message",
    "time",
    "caller",
    "caller_name",
    "called",
    "callback",
    "seconds",
    "text",
    "call_id",
    "file",
)
"""What is told of a message, by name."""
AUDIO_FACT = "audio"
"""The recording as base64, where it goes along."""


class MessageKind(Enum):
    """How a message came about."""

    VOICEMAIL = "voicemail"
    """The caller spoke after the beep."""
    CALLBACK = "callback"
    """The caller wants to be called back."""
    TAKEN = "taken"
    """A model wrote it down (the tool ``take_message``)."""


class NoticeState(Enum):
    """How far somebody is told of a message."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRecord:
    """One of the mailbox's notices of one message: ``way`` is ``webhook`` or ``email``, ``why`` the last failure."""

    way: str
    to: str = ""
    """Of a letter: to whom; each recipient has a letter of their own."""
    state: NoticeState = NoticeState.PENDING
    tries: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message. ``left_at`` is aware; ``caller`` "" is withheld; ``callback`` is the number to call, or "".

    ``text`` is what was said as far as it was understood, or what a model wrote down. ``is_transcribed`` is of a
    recording: whether somebody listened for its words; None where that is not known. ``name`` (MAILBOX/FILE) and
    ``audio`` (a WAV file) are given by whoever keeps it.
    """

    kind: MessageKind
    plan: str
    mailbox: str
    call_id: str
    left_at: datetime
    caller: str = ""
    caller_name: str = ""
    called: str = ""
    callback: str = ""
    seconds: float = 0.0
    text: str = ""
    is_transcribed: bool | None = None
    notices: tuple[NoticeRecord, ...] = ()
    name: str = ""
    audio: Path | None = None

    @property
    def is_pending(self) -> bool:
        """Whether somebody is still to be told."""
        return any(notice.state is NoticeState.PENDING for notice in self.notices)

    def with_notice(self, index: int, notice: NoticeRecord) -> Message:
        """The same with another state of one of its notices."""
        return replace(self, notices=(*self.notices[:index], notice, *self.notices[index + 1 :]))

    def facts(self) -> dict[str, object]:
        """What is told of it, as JSON values.

        Halves of surrogate pairs, as the JSON of a model may bring, are question marks: no message is lost for them.
        """
        facts: dict[str, object] = {
            "kind": self.kind.value,
            "mailbox": self.mailbox,
            "dialplan": self.plan,
            "message": self.name,
            "time": self.left_at.isoformat(timespec="seconds"),
            "caller": self.caller or None,
            "caller_name": self.caller_name or None,
            "called": self.called,
            "callback": self.callback or None,
            "seconds": round(self.seconds, 1),
            "text": self.text,
            "call_id": self.call_id,
            "file": None if self.audio is None else str(self.audio),
        }
        return {name: legible(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


def legible(text: str) -> str:
    """`text` in characters that can be written down."""
    return text.encode(errors="replace").decode()


def notices_of(mailbox: Mailbox) -> tuple[NoticeRecord, ...]:
    """Whom a new message of `mailbox` is to be told."""
    records: list[NoticeRecord] = []
    for notice in mailbox.notices:
        if isinstance(notice, WebhookNotice):
            records.append(NoticeRecord(way="webhook"))
        else:
            records += [NoticeRecord(way="email", to=address) for address in notice.to]
    return tuple(records)


def dump_message(message: Message) -> bytes:
    """The message as it is kept; its name and audio are those of the file's neighbours."""
    kept = message.facts() | {
        "seconds": message.seconds,
        "time": message.left_at.isoformat(),
        "transcribed": message.is_transcribed,
        "notices": [
            {"way": notice.way, "to": notice.to, "state": notice.state.value, "tries": notice.tries, "why": notice.why}
            for notice in message.notices
        ],
    }
    kept = {key: value for key, value in kept.items() if key not in ("message", "file")}
    return json.dumps(kept, indent=1, ensure_ascii=False).encode() + b"\n"


def parse_message(data: bytes) -> Message:
    """What `dump_message` gave. Raises: ValueError: somebody else has written it."""
    try:
        kept = json.loads(data)
        left_at = datetime.fromisoformat(kept["time"])
        if left_at.utcoffset() is None:
            raise ValueError("its time has no zone")
        return Message(
            kind=MessageKind(kept["kind"]),
            plan=str(kept["dialplan"]),
            mailbox=str(kept["mailbox"]),
            call_id=str(kept["call_id"]),
            left_at=left_at,
            caller=str(kept["caller"] or ""),
            caller_name=str(kept["caller_name"] or ""),
            called=str(kept["called"]),
            callback=str(kept["callback"] or ""),
            seconds=float(kept["seconds"]),
            text=str(kept["text"]),
            is_transcribed=None if kept.get("transcribed") is None else bool(kept["transcribed"]),
            notices=tuple(_notice(notice) for notice in kept["notices"]),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"is no message: {error!r}") from error


def _notice(kept: Mapping[str, object]) -> NoticeRecord:
    state, tries = NoticeState(kept["state"]), int(str(kept["tries"]))
    return NoticeRecord(way=str(kept["way"]), to=str(kept["to"]), state=state, tries=tries, why=str(kept["why"]))
