"""A dialplan file into a `Dialplan`, or into every problem it has.

::

    file -> load_yaml -> Document -> examine(PlanSource) -> what is usable -> load_hours, load_contacts, … -> Dialplan
                                         └ wrong types        names, files, hours, reach, circles ┘

The types are checked first, then what they mean: names that lead nowhere, files that are not there, hours that overlap,
routes no call reaches. An entry with a wrong type is left out of the second part, but its name counts as known, so one
mistake is reported once. A plan that is returned has no loose end; nobody has to look again during a call.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gateway.dialplan.hours import parse_zone
from gateway.dialplan.load_comments import lost_in_comments
from gateway.dialplan.load_contacts import load_contacts, load_mailboxes
from gateway.dialplan.load_escalations import load_escalations
from gateway.dialplan.load_examples import load_examples
from gateway.dialplan.load_hours import load_hours
from gateway.dialplan.load_phrases import load_phrases
from gateway.dialplan.load_routes import load_routes
from gateway.dialplan.load_sessions import load_sessions
from gateway.dialplan.loading import UTC, Loading
from gateway.dialplan.model import Dialplan
from gateway.dialplan.source import PlanSource, RouteSource
from gateway.dialplan.source_values import VERSION, Name, Version
from gateway.errors import ConfigurationError
from gateway.located import Document, Examined, Substitution, WrongValue, examine, in_order, load_yaml

SECTIONS_WITH_SECRETS = ("tools", "mcp")
KEYS_WITH_SECRETS = ("hook", "webhook")


def load_dialplan(path: Path, environment: Mapping[str, str] | None = None) -> Dialplan:
    """Read and check the plan at `path`; what it names is relative to its folder, secrets are in `environment`.

    Raises:
        ConfigurationError: with every problem of the file and of the prompts it names, each at its place.
    """
    return build_dialplan(load_yaml(path), path, environment)


class _AnyPlan(PlanSource):
    """A plan of which nothing is needed, so that all that is there is looked at, whatever lacks or is wrong."""

    version: Version = VERSION
    name: Name = "plan"
    timezone: str = UTC.key
    routes: tuple[RouteSource, ...] = ()


def build_dialplan(document: Document, path: Path, environment: Mapping[str, str] | None = None) -> Dialplan:
    """Like `load_dialplan`, from a document already read; `path` is where it lies."""
    secrets = Substitution(os.environ if environment is None else environment)
    document = document.with_texts(secrets, below=SECTIONS_WITH_SECRETS, under=KEYS_WITH_SECRETS)
    examined = examine(PlanSource, document)
    usable: Examined[PlanSource] | Examined[_AnyPlan] = examined
    if examined.value is None:
        usable = examine(_AnyPlan, document)
    if usable.value is None:
        raise ConfigurationError(examined.problems)
    loading = Loading(plan=usable.value, document=usable.document, whole=document, folder=path.absolute().parent)
    dialplan = _plan(loading, path)
    problems = (*examined.problems, *loading.problems, *lost_in_comments(document))
    if problems:
        raise ConfigurationError(in_order(problems, document.file))
    return dialplan


def _plan(loading: Loading, path: Path) -> Dialplan:
    """The plan; it may be used only where `loading` has no problems."""
    plan = loading.plan
    loading.zone = _zone(loading)
    loading.hours = load_hours(loading)
    tools = loading.tools()
    contacts, mailboxes, sessions = load_contacts(loading), load_mailboxes(loading), load_sessions(loading)
    routes, escalations = load_routes(loading), load_escalations(loading)
    actions = [action for rule in routes for action in rule.actions]
    actions += [action for escalation in escalations for action in escalation.actions]
    return Dialplan(
        file=path,
        name=plan.name,
        zone=loading.zone,
        use=plan.use,
        language=plan.language,
        hours=loading.hours,
        variables=MappingProxyType(loading.plan.vars),
        settable=loading.variables,
        phrases=load_phrases(loading, contacts.values(), actions),
        contacts=contacts,
        mailboxes=mailboxes,
        sessions=sessions,
        tool_plans=MappingProxyType(tools.tools(plan.tools, plan.mcp)),
        mcp=MappingProxyType(tools.servers(plan.mcp)),
        routes=routes,
        escalations=escalations,
        examples=load_examples(loading),
        references=tuple(loading.references),
    )


def _zone(loading: Loading) -> ZoneInfo:
    try:
        return parse_zone(loading.plan.timezone)
    except WrongValue as error:
        loading.note_wrong(("timezone",), error, loading.plan.timezone)
        return UTC
