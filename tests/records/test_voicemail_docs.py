"""docs/voicemail.md tells the truth: its fragments load, its tables name every key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.config import load_configuration
from gateway.config.mail import MailSection
from gateway.config.sections import VoicemailSection
from gateway.dialplan.contact_source import MailboxSource
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.mailboxes import EmailNotice, WebhookNotice
from gateway.dialplan.messages import MESSAGE_FACTS
from tests.records.test_docs import keys_of
from tests.records.test_voicemail import MESSAGE

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "voicemail.md").read_text("utf-8")
PLAN, CONFIGURATION = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)


def test_the_fragment_of_a_dialplan_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_TOKEN", "secret")
    (tmp_path / "plan.yaml").write_text(f"version: 1\nname: docs\ntimezone: UTC\n{PLAN}")
    plan = load_dialplan(tmp_path / "plan.yaml")
    mailbox = plan.mailboxes["night"]
    assert (mailbox.limit_s, mailbox.silence_s, mailbox.has_transcript) == (180, 5, True)
    assert [type(notice) for notice in mailbox.notices] == [WebhookNotice, EmailNotice]
    lacks = [str(p) for p in plan.check_references(["default"], [], keeps_messages=False, sends_mail=False)]
    assert [text.partition(": ")[2] for text in lacks] == [
        "the configuration keeps no messages (expected records.voicemail.folder there)",
        "the configuration has no mail server (expected mail: {host: ..., from: ...} there)",
    ]
    assert plan.check_references(["default"], []) == ()


def test_the_fragment_of_a_configuration_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "secret")
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    configuration = load_configuration(tmp_path / "gateway.yaml")
    options, mail = configuration.records.voicemail.options(), configuration.mail.options()
    assert options is not None
    assert mail is not None
    assert (options.min_free_bytes, options.keep_days) == (1_000_000_000, 90)
    assert (mail.host, mail.security, mail.password, mail.sender) == (
        "mail.example.com",
        "starttls",
        "secret",
        "gateway@example.com",
    )
    assert "secret" not in repr(mail) + repr(configuration)


def test_relative_paths_begin_at_the_configurations_folder(tmp_path: Path) -> None:
    text = "records: {voicemail: {folder: kept}}\nmail: {host: a, from: a@b, ca_file: ca.pem}\n"
    (tmp_path / "gateway.yaml").write_text(text)
    configuration = load_configuration(tmp_path / "gateway.yaml", {})
    options, mail = configuration.records.voicemail.options(), configuration.mail.options()
    assert options is not None
    assert mail is not None
    assert (options.folder, mail.ca_file) == (tmp_path / "kept", tmp_path / "ca.pem")


def test_every_key_is_in_the_tables() -> None:
    mailbox, kept = DOCS.split("## In the configuration")
    assert keys_of(mailbox) == set(MailboxSource.model_fields)
    mail = {field.alias or name for name, field in MailSection.model_fields.items()}
    assert keys_of(kept) == set(VoicemailSection.model_fields) | mail


def test_the_body_of_a_webhook_is_as_told() -> None:
    (body,) = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    assert tuple(json.loads(body)) == tuple(MESSAGE.facts()) == MESSAGE_FACTS


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("{host: a}", "has a host and no from"),
        ("{host: a, from: a@b, user: x}", "has user or password alone"),
        ("{host: a, from: a@b, user: x, password: y, security: none}", "tells a password without TLS"),
        ("{from: 'a@b\\n'}", "expected a mail address"),
        ("{host: a, from: nobody}", "expected a mail address"),
        ("{host: a, from: a@b, security: ssl}", "expected one of"),
    ],
)
def test_a_mail_server_that_cannot_be_meant_is_told(tmp_path: Path, section: str, told: str) -> None:
    from gateway.errors import ConfigurationError

    (tmp_path / "gateway.yaml").write_text(f"mail: {section}\n")
    with pytest.raises(ConfigurationError, match=told):
        load_configuration(tmp_path / "gateway.yaml")
