"""Reading: the file, the environment and flags over it, secrets put in, every problem with its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gateway.config.file import Configuration
from gateway.errors import ConfigurationError, Problem, shown
from gateway.located import Document, Section, Substitution, examine, in_order, load_yaml

ENVIRONMENT_PREFIX = "GATEWAY__"

_BRACKETED_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]")


def load_configuration(
    file: Path, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Configuration:
    """The configuration of `file`, with the environment and flags (``section.key`` to text) put over it.

    Relative paths in it are taken from the file's folder.

    Raises:
        ConfigurationError: with every problem found.
    """
    environment = os.environ if environment is None else environment
    document = load_yaml(file)
    problems = _misspelt(environment)
    for name, text in _overrides(environment, flags or {}):
        document, problem = _overridden(document, name, text)
        problems += problem
    substitution = Substitution(environment)
    document = document.with_texts(substitution)
    examined = examine(Configuration, document)
    problems += examined.problems
    if examined.value is not None:
        problems += _unpriced(examined.value, examined.document)
    if problems or examined.value is None:
        raise ConfigurationError(in_order(problems, str(file)))
    overlooked = _overlooked(examined.value, [name for name in environment if name not in substitution.used])
    return _with_paths(examined.value, file.parent).read_from(document, overlooked)


def _unpriced(configuration: Configuration, document: Document) -> list[Problem]:
    """Models that no money limit can hold, because nobody knows what they cost."""
    limits = configuration.limits.budget.money_limits
    problems = []
    for name in configuration.unpriced() if limits else ():
        section = configuration.realtime[name]
        is_model = configuration.session_prices()[name].model is None
        key, model = ("model", section.model) if is_model else ("transcription", section.transcription or "")
        message = f"nobody knows what {shown(model) or 'a model without a name'} costs, and {limits[0]} counts money"
        remedy = "prices" if is_model else "prices with transcription"
        expected = f"expected realtime.{name}.{remedy}, see docs/budget.md"
        problems.append(document.problem(("realtime", name, key), message, expected))
    return problems


def _overrides(environment: Mapping[str, str], flags: Mapping[str, str]) -> list[tuple[str, str]]:
    chosen = [(name, text) for name, text in environment.items() if name.startswith(ENVIRONMENT_PREFIX)]
    as_flags = [(ENVIRONMENT_PREFIX + path.replace(".", "__"), text) for path, text in flags.items()]
    return [*sorted(chosen), *as_flags]


def _misspelt(environment: Mapping[str, str]) -> list[Problem]:
    """Variables that were meant for us, and would be passed over in silence."""
    near = [name for name in environment if re.match(r"GATEWAY_[A-Z0-9]+__", name)]
    return [
        Problem(
            file=name,
            message="has one underscore behind GATEWAY",
            expected=f"did you mean {name.replace('_', '__', 1)}?",
        )
        for name in sorted(near)
    ]


def _overlooked(configuration: Configuration, names: Sequence[str]) -> list[Problem]:
    """Variables that name a key with underscores of another number: they may be meant for us, or for somebody else."""
    keys = {"_".join(path).upper(): ENVIRONMENT_PREFIX + "__".join(path).upper() for path in _paths(configuration)}
    found = {name: keys.get(re.sub("_+", "_", name).removeprefix("GATEWAY_")) for name in sorted(names)}
    return [
        Problem(file=name, message="is not heeded", expected=f"did you mean {key}?")
        for name, key in found.items()
        if key is not None and re.match(r"GATEWAY_(?!_)", name)
    ]


def _paths(section: Section) -> Iterator[tuple[str, ...]]:
    """The ways to all keys that have no keys below them."""
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        below = value if isinstance(value, Mapping) else {"": value}
        for entry, inner in below.items():
            way = tuple(filter(None, (info.alias or name, str(entry))))
            if isinstance(inner, Section):
                yield from ((*way, *rest) for rest in _paths(inner))
            else:
                yield way


def _overridden(document: Document, name: str, text: str) -> tuple[Document, list[Problem]]:
    """`document` with the value of one variable; YAML where it is written as a list or table, else plain text."""
    path: list[str] = []
    for word in name.removeprefix(ENVIRONMENT_PREFIX).split("__"):
        known = document.keys(path)
        same = next((key for key in known if key.casefold() == word.casefold()), None)
        counted = known[int(word)] if same is None and word.isdigit() and int(word) < len(known) else None
        path.append(same or counted or word.lower())
    try:
        value = load_yaml(text if _is_flow_form(text) else f"{_quoted(text)}\n", name)
    except ConfigurationError as error:
        return document, list(error.problems)
    return document.with_value(path, value), []


def _is_flow_form(text: str) -> bool:
    """Whether `text` is a list or table. ``[::1]:5060`` and ``[::1]`` are neither."""
    return text[:1] + text.rstrip()[-1:] in ("[]", "{}") and not _BRACKETED_IPV6.fullmatch(text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _with_paths(configuration: Configuration, folder: Path) -> Configuration:
    realtime = {
        name: section.model_copy(update={"brain": folder / section.brain}) if section.brain else section
        for name, section in configuration.realtime.items()
    }
    plans = tuple(folder / plan for plan in configuration.dialplans)
    tls = configuration.sip.tls
    files = {name: folder / file for name in ("certificate", "key", "ca") if (file := getattr(tls, name)) is not None}
    sip = configuration.sip.model_copy(update={"tls": tls.model_copy(update=files)})
    records = configuration.records
    if records.recordings.folder is not None:
        kept = records.recordings.model_copy(update={"folder": folder / records.recordings.folder})
        records = records.model_copy(update={"recordings": kept})
    if records.callers.file is not None:
        known = records.callers.model_copy(update={"file": folder / records.callers.file})
        records = records.model_copy(update={"callers": known})
    if records.voicemail.folder is not None:
        left = records.voicemail.model_copy(update={"folder": folder / records.voicemail.folder})
        records = records.model_copy(update={"voicemail": left})
    mail = configuration.mail
    if mail.ca_file is not None:
        mail = mail.model_copy(update={"ca_file": folder / mail.ca_file})
    limits, budget = configuration.limits, configuration.limits.budget
    if budget.state is not None:
        limits = limits.model_copy(update={"budget": budget.model_copy(update={"state": folder / budget.state})})
    return configuration.model_copy(
        update={
            "dialplans": plans,
            "realtime": realtime,
            "sip": sip,
            "records": records,
            "mail": mail,
            "limits": limits,
        }
    )
