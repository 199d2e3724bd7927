"""``gateway voicemail``: what callers have left, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from gateway.dialplan.messages import Message, NoticeRecord, NoticeState
from gateway.errors import ConfigurationError
from tests.records.test_voicemail import MESSAGE, files_in, left, nobody, started

TOLD = NoticeRecord(way="email", to="a@b.example", state=NoticeState.DELIVERED, tries=2)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Message]:
    (tmp_path / "gateway.yaml").write_text("records: {voicemail: {folder: kept}}\n")
    store = started(tmp_path / "kept", nobody)
    yield left(store, 2.0, replace(MESSAGE, notices=(TOLD,)), text="call me\nsoon")
    store.close()


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["voicemail", *arguments, "-c", str(folder / "gateway.yaml")])


def test_messages_are_listed_with_who_left_them_and_who_was_told(tmp_path: Path, kept: Message) -> None:
    listed = run(tmp_path, "list").stdout.splitlines()
    assert listed == [f"{kept.name}  voicemail from +49301, 2 s, told 1 of 1  call me soon", "1 message"]
    (facts,) = json.loads(run(tmp_path, "list", "--json").stdout)
    assert (facts["message"], facts["text"], facts["file"]) == (kept.name, "call me\nsoon", str(kept.audio))


def test_a_mailbox_that_nobody_has_is_told_with_the_nearest(tmp_path: Path, kept: Message) -> None:
    refused = run(tmp_path, "list", "--mailbox", "nihgt").exception
    assert isinstance(refused, ConfigurationError)
    assert str(refused) == "--mailbox: no dialplan and no folder has a mailbox nihgt (did you mean 'night'?)"
    with (tmp_path / "gateway.yaml").open("a") as file:
        file.write("dialplans: [plan.yaml]\nrealtime: {default: {provider: embedded}}\n")
    (tmp_path / "plan.yaml").write_text(
        "{version: 1, name: p, timezone: UTC, mailboxes: {day: {transcribe: false}}, "
        "routes: [{name: all, do: [{voicemail: day}]}]}"
    )
    assert run(tmp_path, "list", "--mailbox", "day").stdout.splitlines() == ["0 messages"]
    (tmp_path / "plan.yaml").write_text("version: 2")
    unknown = run(tmp_path, "list", "--mailbox", "dya")
    assert unknown.stdout.splitlines() == ["0 messages"]
    assert "gateway check tells why" in unknown.stderr
    assert len(run(tmp_path, "list", "--mailbox", "night").stdout.splitlines()) == 2


@pytest.mark.parametrize(("text", "told"), [("", "(no words)"), (None, "(not transcribed)")])
def test_a_message_without_words_says_whether_anybody_listened(tmp_path: Path, text: str | None, told: str) -> None:
    (tmp_path / "gateway.yaml").write_text("records: {voicemail: {folder: kept}}\n")
    store = started(tmp_path / "kept", nobody)
    message = left(store, 2.0, text=text)
    store.close()
    assert run(tmp_path, "list").stdout.splitlines()[0].endswith(f"  {told}")
    assert run(tmp_path, "show", message.name).stdout.endswith(f"\n{told}\n")


def test_one_that_cannot_be_read_is_told_and_hides_no_other(tmp_path: Path, kept: Message) -> None:
    (tmp_path / "kept" / "night" / "x.json").write_text("{}")
    result = run(tmp_path, "list")
    assert "night/x is no message that can be read" in result.stderr
    assert kept.name in result.stdout


def test_a_message_is_shown_whole(tmp_path: Path, kept: Message) -> None:
    shown = run(tmp_path, "show", kept.name).stdout
    assert f"file: {kept.audio}" in shown
    assert "notice: email a@b.example delivered, 2 tries" in shown
    assert shown.endswith("\ncall me\nsoon\n")
    notices = json.loads(run(tmp_path, "show", kept.name, "--json").stdout)["notices"]
    assert notices == [{"way": "email", "to": "a@b.example", "state": "delivered", "tries": 2, "why": ""}]


def test_a_message_is_deleted_with_its_sound(tmp_path: Path, kept: Message) -> None:
    assert run(tmp_path, "delete", kept.name).stdout == f"{kept.name} deleted\n"
    assert files_in(tmp_path / "kept") == []


@pytest.mark.parametrize("name", ["night/none", "../gateway", "night/../../gateway"])
@pytest.mark.parametrize("command", ["show", "delete"])
def test_what_is_no_message_is_not_touched(tmp_path: Path, kept: Message, command: str, name: str) -> None:
    before = files_in(tmp_path)
    result = run(tmp_path, command, name)
    assert "there is no message" in str(result.exception)
    assert files_in(tmp_path) == before
    assert kept.audio is not None


def test_a_configuration_without_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("log: {level: info}\n")
    assert "expected records.voicemail.folder" in str(run(tmp_path, "list").exception)
