"""``gateway dialplan``: what a plan would do with a call, whether its tests hold, and its JSON Schema.

No network but that of this machine, and that for dialogues alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.dialplan.explain import route_report
from gateway.dialplan.hours import parse_instant
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.load_examples import last_seen
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.proof import run_tests
from gateway.dialplan.source import schema
from gateway.errors import ConfigurationError, Problem
from gateway.located import WrongValue, hint

app = typer.Typer(help="Ask a dialplan what it would do, and test it.", no_args_is_help=True)

WITHHELD = ("anonymous", "")


@app.command()
def route(
    file: Annotated[Path, typer.Argument(help="Dialplan file.")],
    to: Annotated[str, typer.Option("--to", help="Number dialled.")],
    from_: Annotated[str, typer.Option("--from", help="Calling number; `anonymous` where it is withheld.")],
    at: Annotated[str | None, typer.Option("--at", help="ISO 8601, in the plan's time zone; now by default.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", help="SIP header as NAME=VALUE.")] = None,
    trunk: Annotated[str, typer.Option("--trunk", help="Trunk the call comes by.")] = "",
    name: Annotated[str, typer.Option("--name", help="Display name of the caller.")] = "",
    diversion: Annotated[str, typer.Option("--diversion", help="Number called first, of a call sent on.")] = "",
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Language the telephone asks for; the best first.")
    ] = None,
    seen: Annotated[str, typer.Option("--seen", help="true: has called before; 30d: so long ago.")] = "false",
    outgoing: Annotated[bool, typer.Option("--outgoing", help="A call that we place.")] = False,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, given to a call that we place.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Show the route of a call, every rule tried and why, and all that may follow. Exit status 1: no route takes it."""
    plan = load_dialplan(file)
    try:
        when = datetime.now(UTC) if at is None else parse_instant(at, plan.zone)
    except WrongValue as error:
        raise _bad_flag("--at", f"{at!r} {error}".strip(), error.expected) from error
    facts = CallFacts(
        to=to,
        from_="" if from_.casefold() in WITHHELD else from_,
        at=when,
        display_name=name,
        trunk=trunk,
        headers=dict(_pair("--header", pair) for pair in header or ()),
        diversion=diversion,
        languages=tuple(language or ()),
        last_seen=_last_seen(seen, when),
        is_outgoing=outgoing,
        given=dict(_pair("--set", pair) for pair in values or ()),
    )
    report = route_report(plan, facts)
    typer.echo(report.json() if as_json else report.text())
    if not report.is_routed:
        sys.exit(1)


@app.command(name="test")
def run_examples(
    files: Annotated[list[Path], typer.Argument(help="Dialplan files.")],
    live: Annotated[
        bool, typer.Option("--live", help="Hold the dialogues, too, with a gateway on this machine.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="With --live: whose realtime sessions speak; embedded ones by default."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="The test of this name alone; may be repeated.")
    ] = None,
    wav: Annotated[Path | None, typer.Option("--wav", help="With --live: folder of stereo recordings.")] = None,
    at_once: Annotated[int, typer.Option(min=1, max=8, help="With --live: dialogues held at once.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a file, a line each.")] = False,
) -> None:
    """Run the `tests:` of dialplans. Exit status 1: a case failed."""
    plans = _all_plans(files)
    if not live and (config is not None or wav is not None):
        raise _bad_flag("test", "-c and --wav are for dialogues", "expected --live beside them")
    _check_names(plans, only or [], live=live)
    reports = [run_tests(plan, only or ()) for plan in plans]
    if not live:
        for report in reports:
            if text := report.json() if as_json else report.text():
                typer.echo(text)
        if not all(report.is_passed for report in reports):
            sys.exit(1)
        return
    from gateway.cli.dialogues import LiveOptions, hold_dialogues
    from gateway.config import load_configuration

    configuration = None if config is None else load_configuration(config)
    options = LiveOptions(configuration=configuration, wav=wav, only=tuple(only or ()), at_once=at_once)
    if not as_json:  # minutes may pass until all have been held
        options = replace(options, on_held=lambda file, report: typer.echo(report.headline(file), err=True))
    held = hold_dialogues(plans, options)
    for report, dialogues in zip(reports, held, strict=True):
        if as_json:
            passed = {"passed": report.is_passed and dialogues.is_passed}
            typer.echo(json.dumps({**report.document(), **passed, "dialogues": dialogues.documents()}))
        elif text := "\n".join(filter(None, [report.text(has_live=False), dialogues.text()])):
            typer.echo(text)
    if not (all(report.is_passed for report in reports) and all(dialogues.is_passed for dialogues in held)):
        sys.exit(1)


@app.command(name="schema")
def print_schema() -> None:
    """Print the JSON Schema of the dialplan format, for editors."""
    typer.echo(json.dumps(schema(), indent=2))


def _all_plans(files: Sequence[Path]) -> list[Dialplan]:
    """The plans of `files`; the problems of all of them when one has any."""
    plans: list[Dialplan] = []
    problems: list[Problem] = []
    for file in files:
        try:
            plans.append(load_dialplan(file))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return plans


def _check_names(plans: Sequence[Dialplan], names: Sequence[str], *, live: bool) -> None:
    """Whether each of `names` is a test; with `live`, one with a dialogue. Raises: `ConfigurationError`."""
    examples = [example for plan in plans for example in plan.examples if example.dialogue is not None or not live]
    known = [example.name for example in examples]
    for name in names:
        if name not in known:
            raise _bad_flag("--only", f"there is no {'dialogue' if live else 'test'} {name!r}", hint(name, known))


def _pair(flag: str, pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise _bad_flag(flag, f"{pair!r} gives nothing a value", "expected NAME=VALUE")
    return name, value


def _last_seen(text: str, at: datetime) -> datetime | None:
    try:
        return last_seen(text, at)
    except WrongValue as error:
        raise _bad_flag("--seen", f"{text!r} {error}".strip(), error.expected) from error


def _bad_flag(flag: str, message: str, expected: str) -> ConfigurationError:
    return ConfigurationError([Problem(file=flag, message=message, expected=expected)])
