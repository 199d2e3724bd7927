"""Messages on real disks: whole, full, slow, shared by processes, and what a crash leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.dialplan.messages import Message, MessageKind, NoticeRecord, NoticeState, dump_message, parse_message
from gateway.records.audio_file import Samples, WavFile
from gateway.records.message_files import list_messages, remove_message
from gateway.records.voicemail import MessageStore, VoicemailOptions
from tests.support.listening import tone, tone_seconds

NINE = datetime(2026, 11, 30, 9, tzinfo=UTC)
DEADLINE_S = 20.0
TOLD = NoticeRecord(way="email")
MESSAGE = Message(
    kind=MessageKind.VOICEMAIL,
    plan="office",
    mailbox="night",
    call_id="call-1@pbx/../x",
    left_at=NINE,
    caller="+49301",
    caller_name="Ada",
    called="7000",
)
NAME = "night/2026-11-30-090000-call-1_pbx____x"


def speech(seconds: float) -> list[Samples]:
    """A tone in pieces of 40 ms."""
    whole = tone(440, seconds)
    return [whole[start : start + 320] for start in range(0, len(whole), 320)]


def nobody(_message: Message) -> None:
    """Is told of messages."""


def started(folder: Path, on_kept: Callable[[Message], None] = nobody, **options: object) -> MessageStore:
    chosen = VoicemailOptions(folder=folder, **{"min_free_bytes": 0, **options})  # type: ignore[arg-type]
    store = MessageStore(chosen)
    store.start(on_kept)
    return store


def left(store: MessageStore, seconds: float, message: Message = MESSAGE, text: str | None = "") -> Message:
    draft = store.open(message)
    for piece in speech(seconds):
        draft.write(piece)
    return draft.keep(text).result(DEADLINE_S)


def files_in(folder: Path) -> list[str]:
    found = (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return sorted(name for name in found if name != ".claims")


def heard(file: Path | None) -> Samples:
    assert file is not None
    with wave.open(str(file)) as sound:
        assert sound.getparams()[:3] == (1, 2, 8000)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voicemail"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB: 4 s of a message."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_message_is_one_wav_with_the_very_samples_and_one_sidecar(folder: Path) -> None:
    store = started(folder)
    kept = left(store, 2.5, text="call me")
    store.close()
    assert (kept.name, kept.audio, kept.seconds) == (NAME, folder / f"{NAME}.wav", 2.5)
    assert files_in(folder) == [f"{NAME}.json", f"{NAME}.wav"]
    assert np.array_equal(heard(kept.audio), tone(440, 2.5))
    assert list_messages(folder) == ([kept], [])
    sidecar = json.loads((folder / f"{NAME}.json").read_text())
    assert sidecar == {
        "kind": "voicemail",
        "mailbox": "night",
        "dialplan": "office",
        "time": "2026-11-30T09:00:00+00:00",
        "caller": "+49301",
        "caller_name": "Ada",
        "called": "7000",
        "callback": None,
        "seconds": 2.5,
        "text": "call me",
        "transcribed": True,
        "call_id": "call-1@pbx/../x",
        "notices": [],
    }


def test_files_are_for_their_owner_alone(folder: Path) -> None:
    store = started(folder)
    left(store, 1.0)
    store.close()
    assert {file.stat().st_mode & 0o777 for file in folder.rglob("*") if file.is_file()} == {0o600}
    assert {place.stat().st_mode & 0o777 for place in (folder, folder / "night")} == {0o700}


def test_two_messages_of_one_second_have_names_of_their_own(folder: Path) -> None:
    store = started(folder)
    names = {left(store, 1.0).name for _ in range(3)}
    store.close()
    assert names == {NAME, f"{NAME}-2", f"{NAME}-3"}
    assert len(list_messages(folder, "night")[0]) == 3
    assert list_messages(folder, "day") == ([], [])


def test_discarded_message_leaves_nothing(folder: Path) -> None:
    store = started(folder)
    draft = store.open(MESSAGE)
    for piece in speech(2.0):
        draft.write(piece)
    draft.discard()
    store.open(MESSAGE).discard()
    store.close()
    assert files_in(folder) == []


def test_message_is_kept_whatever_a_caller_or_a_model_calls_it(folder: Path) -> None:
    store = started(folder)
    kept = left(store, 1.0, replace(MESSAGE, caller_name="M\udcfcller", called="\ud83d"), "half a \ud83d smile")
    store.close()
    (read,), unreadable = list_messages(folder)
    assert (read.caller_name, read.text, unreadable) == ("M?ller", "half a ? smile", [])
    assert files_in(folder) == [f"{kept.name}.json", f"{kept.name}.wav"]


def test_wish_without_audio_is_a_sidecar_alone(folder: Path) -> None:
    store = started(folder)
    wish = replace(MESSAGE, kind=MessageKind.CALLBACK, callback="+49302")
    kept = store.open(wish).keep().result(DEADLINE_S)
    store.close()
    assert kept == replace(wish, name=NAME)
    assert files_in(folder) == [f"{NAME}.json"]


def test_message_stays_open_until_everybody_is_told(folder: Path) -> None:
    told: list[Message] = []
    store = started(folder, told.append)
    kept = left(store, 1.0, replace(MESSAGE, notices=(TOLD, TOLD)))
    assert told == [kept]
    store.update(first := kept.with_notice(0, replace(TOLD, state=NoticeState.DELIVERED, tries=2)))
    store.close()
    assert files_in(folder) == [f"{NAME}.json", f"{NAME}.open", f"{NAME}.wav"]
    told.clear()
    again = started(folder, told.append)
    again.update(first.with_notice(1, replace(TOLD, state=NoticeState.FAILED, why="refused")))
    again.close()
    assert told == [first]
    assert files_in(folder) == [f"{NAME}.json", f"{NAME}.wav"]
    started(folder, told.append).close()
    assert told == [first]


def test_deleted_message_is_not_written_again(folder: Path) -> None:
    store = started(folder)
    kept = left(store, 1.0, replace(MESSAGE, notices=(TOLD,)))
    assert store.is_there(kept)
    assert remove_message(folder, kept.name)
    assert not store.is_there(kept)
    store.update(kept.with_notice(0, replace(TOLD, tries=1)))
    store.close()
    assert files_in(folder) == []
    assert not remove_message(folder, kept.name)


def test_nobody_is_recorded_below_the_space_that_has_to_stay_free_and_the_words_are_kept(folder: Path) -> None:
    told: list[Message] = []
    store = started(folder, told.append, min_free_bytes=1 << 62)
    with capture_logs() as lines:
        kept = left(store, 3.0, replace(MESSAGE, notices=(TOLD,)), text="it burns")
    store.close()
    assert (kept.audio, kept.seconds, kept.text) == (None, 0.0, "it burns")
    assert [(line["event"], "min_free" in line["why"]) for line in lines] == [("message cut short", True)]
    assert told == [kept]


def test_full_disk_keeps_what_it_took_and_tells_of_it(tiny_disk: Path) -> None:
    told: list[Message] = []
    store = started(tiny_disk, told.append)
    with capture_logs() as lines:
        kept = left(store, 10.0, replace(MESSAGE, notices=(TOLD,)))
        other = left(store, 2.0, replace(MESSAGE, call_id="other", notices=(TOLD,)), text="words")
    store.close()
    assert 2.0 <= kept.seconds < 4.0
    assert tone_seconds(heard(kept.audio), 440) == pytest.approx(kept.seconds, abs=0.05)
    assert lines[0]["event"] == "message cut short"
    assert {line["event"] for line in lines} <= {"message cut short", "message not kept"}
    assert [message.call_id for message in told] == [MESSAGE.call_id, "other"]
    assert (other.audio, other.text) == (None, "words")


def test_disk_that_hangs_holds_nobody_up(folder: Path) -> None:
    goes_on = threading.Event()

    class HangingFile(WavFile):
        def write(self, samples: Samples) -> None:
            goes_on.wait(DEADLINE_S)
            super().write(samples)

    store = MessageStore(
        VoicemailOptions(folder=folder, min_free_bytes=0), open_audio=lambda path: HangingFile(path, 8000, channels=1)
    )
    store.start(nobody)
    draft = store.open(MESSAGE)
    for piece in speech(3.0):
        draft.write(piece)
    kept = draft.keep()
    with capture_logs() as lines:
        store.close(patience_s=0.05)
    assert [line["event"] for line in lines] == ["messages not written"]
    goes_on.set()
    assert kept.result(DEADLINE_S).seconds == 3.0


def test_audio_that_waits_for_a_slow_disk_has_an_end(folder: Path) -> None:
    store = MessageStore(VoicemailOptions(folder=folder, min_free_bytes=0))  # whose thread does not run yet
    draft = store.open(MESSAGE)
    with capture_logs() as lines:
        for _ in range(1200):
            draft.write(np.zeros(8000, np.int16))
    assert [line["event"] for line in lines] == ["messages lose audio"]
    assert store._thread.waiting_bytes <= 16 << 20
    store.start(nobody)
    draft.discard()
    store.close(DEADLINE_S)


WRITER = """
import sys, time
from pathlib import Path
from dataclasses import replace
from gateway.dialplan.messages import NoticeRecord
from tests.records.test_voicemail import MESSAGE, TOLD, left, speech, started
store = started(Path(sys.argv[1]))
told = left(store, 1.0, replace(MESSAGE, call_id="told", notices=(TOLD,)))
short = store.open(replace(MESSAGE, call_id="short"))
draft = store.open(replace(MESSAGE, notices=(TOLD,)))
for piece in speech(0.5):
    short.write(piece)
for piece in speech(5.5):
    draft.write(piece)
store.open(replace(MESSAGE, call_id="last")).keep().result()
print("written", flush=True)
time.sleep(60)
"""


def test_killed_process_loses_half_a_second_and_the_next_one_tells_what_was_left(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    meanwhile: list[Message] = []
    started(folder, meanwhile.append).close()
    assert meanwhile == []  # it is at work on them itself
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE_S)
    process.stdout.close()
    told: list[Message] = []
    with capture_logs() as lines:
        started(folder, told.append).close()
    assert {message.call_id: message.seconds for message in told} == {MESSAGE.call_id: 5.2, "told": 1.0}
    assert [line["event"] for line in lines] == ["message recovered"]
    recovered = next(message for message in told if message.call_id == MESSAGE.call_id)
    assert tone_seconds(heard(recovered.audio), 440) == pytest.approx(5.2, abs=0.05)
    assert [name for name in files_in(folder) if name.endswith(".part") or "short" in name] == []
    assert len(list_messages(folder)[0]) == 3


def test_beginning_without_content_is_cleared_away(folder: Path) -> None:
    (folder / "night").mkdir(parents=True)
    (folder / "night" / "x.open").write_bytes(b"")
    with capture_logs() as lines:
        started(folder).close()
    assert files_in(folder) == []
    assert lines == []


def test_folder_that_cannot_be_used_costs_messages_and_no_call(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[Message] = []
    with capture_logs() as lines:
        store = started(tmp_path / "file" / "voicemail", told.append)
        kept = left(store, 2.0, replace(MESSAGE, notices=(TOLD,)), text="words")
        store.close()
    assert told == [kept]
    assert (kept.text, store.is_there(kept)) == ("words", True)
    assert [line["event"] for line in lines] == ["message not kept", "message cut short", "message not kept"]


def test_messages_are_deleted_when_their_days_are_over(folder: Path) -> None:
    store = started(folder)
    left(store, 1.0)
    store.close()
    (folder / "notes.txt").write_text("mine")
    options = VoicemailOptions(folder=folder, min_free_bytes=0, keep_days=7)
    for days, files in ((6, 3), (8, 1)):
        then = (folder / f"{NAME}.json").stat().st_mtime + days * 86400
        later = MessageStore(options, wall_clock=lambda then=then: then)  # type: ignore[misc]
        later.start(nobody)
        later.close()
        assert len(files_in(folder)) == files


@pytest.mark.parametrize(
    "spoiled",
    [b"", b"[]", b"{}", b"null", b"\xff", dump_message(MESSAGE).replace(b"voicemail", b"x")],
    ids=["empty", "list", "object", "null", "no text", "unknown kind"],
)
def test_foreign_sidecars_are_told_apart(folder: Path, spoiled: bytes) -> None:
    (folder / "night").mkdir(parents=True)
    (folder / "night" / "x.json").write_bytes(spoiled)
    with pytest.raises(ValueError, match=r"\w"):
        parse_message(spoiled)
    assert list_messages(folder) == ([], ["night/x"])


def test_sidecar_is_read_as_it_was_written() -> None:
    message = replace(
        MESSAGE,
        kind=MessageKind.TAKEN,
        callback="+4930",
        text="Grüße\n“x”",
        seconds=1.25,
        notices=(TOLD, NoticeRecord(way="webhook", state=NoticeState.FAILED, tries=9, why="503")),
    )
    assert parse_message(dump_message(message)) == message
