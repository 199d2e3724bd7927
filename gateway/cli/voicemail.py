"""``gateway voicemail``: what callers have left in mailboxes, for whoever has no eyes for a folder of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.dialplan.messages import Message, MessageKind, NoticeState
from gateway.errors import ConfigurationError, GatewayError, Problem, counted, shown
from gateway.located import hint
from gateway.records.message_files import list_messages, remove_message

app = typer.Typer(help="Messages that callers have left: list, show, delete.", no_args_is_help=True)

ConfigOption = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
NameArgument = Annotated[str, typer.Argument(help="The message, as the list names it: MAILBOX/NAME.")]


class NoMessage(GatewayError):
    """There is none of that name, or no folder for any."""


@app.command(name="list")
def list_(
    config: ConfigOption,
    mailbox: Annotated[str, typer.Option(help="Of this mailbox alone.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the messages, the oldest first."""
    folder = _folder(config)
    messages, unreadable = list_messages(folder, mailbox)
    if mailbox and not messages:
        _check_mailbox(config, folder, mailbox)
    if as_json:
        typer.echo(json.dumps([_facts(message) for message in messages], ensure_ascii=False))
    else:
        for message in messages:
            typer.echo(_line(message))
        typer.echo(counted(len(messages), "message"))
    for name in unreadable:
        typer.echo(f"gateway: {shown(name)} is no message that can be read", err=True)


@app.command()
def show(config: ConfigOption, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show a message: who left it when, its words, where its sound is, who was told."""
    message = _message(_folder(config), name)
    if as_json:
        typer.echo(json.dumps(_facts(message), ensure_ascii=False))
        return
    facts = message.facts()
    for key, value in facts.items():
        if key != "text" and value is not None:
            typer.echo(f"{key}: {shown(str(value), 4096)}")
    for notice in message.notices:
        why = f" ({shown(notice.why)})" if notice.why else ""
        to = f" {notice.to}" if notice.to else ""
        typer.echo(f"notice: {notice.way}{to} {notice.state.value}, {counted(notice.tries, 'try', 'tries')}{why}")
    if words := message.text or _wordless(message):
        typer.echo("\n" + "\n".join(shown(line, 4096) for line in words.splitlines()))


@app.command()
def delete(config: ConfigOption, names: Annotated[list[str], typer.Argument(help="Messages: MAILBOX/NAME.")]) -> None:
    """Delete messages, with their sound. Who was not told of them yet is not told any more."""
    folder = _folder(config)
    for name in names:
        _message(folder, name)
    for name in names:
        remove_message(folder, name)
        typer.echo(f"{name} deleted")


def _folder(config: Path) -> Path:
    from gateway.config import load_configuration  # noqa: PLC0415 - what only some commands need

    options = load_configuration(config).records.voicemail.options()
    if options is None:
        raise NoMessage(f"{config} keeps no messages (expected records.voicemail.folder there)")
    return options.folder


def _check_mailbox(config: Path, folder: Path, mailbox: str) -> None:
    """Raises: `ConfigurationError` where neither a plan nor the folder has that mailbox, and all plans can be read."""
    from gateway.cli.service import load_plans  # noqa: PLC0415 - as above
    from gateway.config import load_configuration  # noqa: PLC0415

    known = {path.name for path in folder.glob("*") if path.is_dir()}
    configuration = load_configuration(config)
    try:
        plans = load_plans(configuration) if configuration.dialplans else ()
    except ConfigurationError:
        typer.echo("gateway: the mailboxes of the dialplans are not known; gateway check tells why", err=True)
        return
    known |= {name for plan in plans for name in plan.mailboxes}
    if mailbox not in known:
        message = f"no dialplan and no folder has a mailbox {shown(mailbox)}"
        raise ConfigurationError([Problem(file="--mailbox", message=message, expected=hint(mailbox, known))])


def _wordless(message: Message) -> str:
    """What is told in the place of the words of a message that has none; "" where it has none by its kind."""
    if message.kind is not MessageKind.VOICEMAIL or message.text:
        return ""
    return "(not transcribed)" if message.is_transcribed is False else "(no words)"


def _message(folder: Path, name: str) -> Message:
    messages, _ = list_messages(folder)
    found = next((message for message in messages if message.name == name), None)
    if found is None:
        raise NoMessage(f"there is no message {shown(name)} (expected one of those that gateway voicemail list shows)")
    return found


def _facts(message: Message) -> dict[str, object]:
    notices = [
        {
            "way": notice.way,
            "to": notice.to or None,
            "state": notice.state.value,
            "tries": notice.tries,
            "why": notice.why,
        }
        for notice in message.notices
    ]
    return message.facts() | {"notices": notices}


def _line(message: Message) -> str:
    states = [notice.state for notice in message.notices]
    told = "" if not states else f", told {states.count(NoticeState.DELIVERED)} of {len(states)}"
    length = f", {message.seconds:.0f} s" if message.seconds else ""
    who = shown(message.callback or message.caller) or "withheld"
    words = shown(" ".join(message.text.split()), 60) or _wordless(message)
    return f"{message.name}  {message.kind.value} from {who}{length}{told}" + (f"  {words}" if words else "")
