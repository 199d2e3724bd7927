"""The files of messages: which there are of one, how they are read, and how they go.

::

    FOLDER/MAILBOX/NAME.json     the message
                   NAME.wav      what was said
                   NAME.open     it is being left, or somebody is still to be told (its facts, as they were known first)
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from gateway.dialplan.messages import Message, dump_message, parse_message
from gateway.records.audio_file import FILE_MODE
from gateway.records.folder import sync_folder

AUDIO, SIDECAR, OPEN, PART, NEW = ".wav", ".json", ".open", ".part", ".new"


def write_whole(file: Path, message: Message) -> None:
    """A new file with the message, on the disk when this returns. Raises: OSError, FileExistsError among them."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(dump_message(message))
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:
        file.unlink(missing_ok=True)
        raise


def read_message(folder: Path, name: str, suffix: str = SIDECAR) -> Message:
    """The message of that name (MAILBOX/NAME). Raises: OSError, ValueError."""
    audio = folder / (name + AUDIO)
    message = parse_message((folder / (name + suffix)).read_bytes())
    return replace(message, name=name, audio=audio if audio.exists() else None)


def list_messages(folder: Path, mailbox: str = "") -> tuple[list[Message], list[str]]:
    """All messages, of one mailbox or of all, the oldest first; and the names of those that cannot be read."""
    messages, unreadable = [], []
    for file in folder.glob(f"*/*{SIDECAR}"):
        name = f"{file.parent.name}/{file.name.removesuffix(SIDECAR)}"
        try:
            messages.append(read_message(folder, name))
        except FileNotFoundError:
            continue  # it was deleted a moment ago
        except (OSError, ValueError):
            unreadable.append(name)
    chosen = [message for message in messages if mailbox in ("", message.mailbox)]
    return sorted(chosen, key=lambda message: message.left_at), sorted(unreadable)


def remove_message(folder: Path, name: str) -> bool:
    """Take all files of a message away, its sidecar last; whether there was one. Raises: OSError."""
    sidecar = folder / (name + SIDECAR)
    was_there = sidecar.exists()
    for suffix in (OPEN, AUDIO, AUDIO + PART, SIDECAR + NEW, SIDECAR):
        (folder / (name + suffix)).unlink(missing_ok=True)
    if sidecar.parent.is_dir():
        sync_folder(sidecar.parent)
    return was_there
