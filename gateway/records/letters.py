"""What a letter about a message says."""

from __future__ import annotations

from pathlib import PurePosixPath

from gateway.dialplan.messages import Message, MessageKind, legible
from gateway.errors import shown
from gateway.transport.mail import Letter

_TITLES = {
    MessageKind.VOICEMAIL: "Message",
    MessageKind.CALLBACK: "Callback wanted",
    MessageKind.TAKEN: "Message",
}


def letter_of(message: Message, *, to: str, subject: str, sound: bytes | None) -> Letter:
    """The letter to one person; `subject` "" names mailbox and caller."""
    written = subject or f"{_TITLES[message.kind]} in {message.mailbox} from {_caller(message)}"
    return Letter(
        to=to,
        subject=written,
        text=_text(message),
        reference=message.name,
        written_at=message.left_at,
        sound=sound,
        sound_name=f"{PurePosixPath(message.name).name}.wav",
    )


def _caller(message: Message) -> str:
    number = shown(message.caller) or "a withheld number"
    return f"{shown(message.caller_name)} ({number})" if message.caller_name else number


def _text(message: Message) -> str:
    lines = [
        f"{_TITLES[message.kind]}: {message.mailbox} ({message.plan})",
        f"From: {_caller(message)}",
        f"Called: {shown(message.called)}",
        f"Time: {message.left_at:%Y-%m-%d %H:%M:%S %z}",
    ]
    if message.callback:
        lines.append(f"Call back: {shown(message.callback)}")
    if message.seconds:
        lines.append(f"Length: {message.seconds:.0f} s")
    words = legible(message.text) or ("(no transcript)" if message.kind is MessageKind.VOICEMAIL else "")
    return "\n".join([*lines, *(["", words] if words else []), "", f"Call: {shown(message.call_id)}", ""])
