"""What the loaders of a plan's sections share: the file, its folder, and the list of what is wrong.

Nothing here raises: `Loading.note` is told each problem by the path of its place. Names that only the configuration
knows are collected as `Loading.references`.
"""

from __future__ import annotations

import wave
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.dialplan.hours import OpeningHours
from gateway.dialplan.model import Reference, ReferenceKind
from gateway.dialplan.request_template import FACTS
from gateway.dialplan.source import PlanSource
from gateway.dialplan.source_values import is_variable_name
from gateway.dialplan.template import (
    CallVariable,
    HoursState,
    Template,
    Variable,
    offset_of,
    parse_template,
)
from gateway.dialplan.tool_load import ToolLoader
from gateway.errors import Problem, counted, shown
from gateway.located import Document, Items, Key, Node, Place, Scalar, Table, WrongValue, hint, place_behind

SOUND_FORMAT = "expected WAV, 16 bit, mono, 8 kHz; sox IN -b 16 -c 1 -r 8000 OUT.wav makes one"
UTC = ZoneInfo("UTC")
_NONE_OF = {
    "hours": "are no opening hours",
    "contacts": "is no contact",
    "sessions": "is no session",
    "mailboxes": "is no mailbox",
    "lists": "is no list",
}

Way = tuple[Key, ...]


@dataclass(kw_only=True)
class Loading:
    """A plan that is being loaded. ``whole`` has the names of entries that were left out, too."""

    plan: PlanSource
    document: Document
    whole: Document
    folder: Path
    problems: list[Problem] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    zone: ZoneInfo = UTC
    hours: Mapping[str, OpeningHours] = field(default_factory=dict)
    """Those of the plan, once they are loaded."""

    # Problems.

    def note(self, path: Sequence[Key], message: str, expected: str = "", *, at_key: bool = False) -> None:
        """Take down a problem."""
        self.problems.append(self.document.problem(path, message, expected, at_key=at_key))

    def note_wrong(self, path: Sequence[Key], error: WrongValue, value: str, *, at_key: bool = False) -> None:
        """Take down a value that a parser does not take."""
        self.note(path, f"{_subject(path)} {str(error) or f'is {shown(value)!r}'}", error.expected, at_key=at_key)

    def refer(self, section: str, name: str, path: Sequence[Key]) -> bool:
        """Whether `section` has that name; where not, that is noted."""
        known = self.whole.keys((section,))
        if name not in known:
            self.note(path, f"there {_NONE_OF[section]} {shown(name)!r}", hint(name, known))
        return name in known

    def refer_route(self, name: str, path: Sequence[Key], more: Iterable[str] = ()) -> None:
        """Note a name that no route of the file has, nor `more`; a file without routes has a mistake enough."""
        routes = self.whole.texts(("routes",), "name")
        if routes and name not in (known := (*routes, *more)):
            self.note(path, f"there is no route {shown(name)!r}", hint(name, known))

    def note_repeated(self, kind: str, section: str, names: Iterable[str]) -> None:
        """Note names of a list's entries that are there twice."""
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            if name in seen:
                first = self.document.locate((section, seen[name], "name")).line
                message = f"{kind} {shown(name)!r} appears twice"
                self.note((section, index, "name"), message, f"the first is in line {first}")
            seen.setdefault(name, index)

    def leave(self, kind: ReferenceKind, name: str, path: Sequence[Key]) -> None:
        """Leave a name to the configuration."""
        problem = self.document.problem(path, f"the configuration has no {kind.value} {shown(name)!r}")
        self.references.append(Reference(kind=kind, name=name, problem=problem))

    def need(
        self,
        kind: ReferenceKind,
        path: Sequence[Key],
        message: str,
        expected: str,
        *,
        name: str = "",
        at_key: bool = True,
    ) -> None:
        """Leave it to the configuration to have what this place needs."""
        problem = self.document.problem(path, message, expected, at_key=at_key)
        self.references.append(Reference(kind=kind, name=name, problem=problem))

    def need_voice(self, path: Sequence[Key]) -> None:
        """The plan itself speaks or listens here, by its realtime session ``use``."""
        if all(
            known.kind is not ReferenceKind.REALTIME_SESSION or known.name != self.plan.use for known in self.references
        ):
            place = ("use",) if "use" in self.plan.model_fields_set else path
            self.leave(ReferenceKind.REALTIME_SESSION, self.plan.use, place)

    # Names.

    @cached_property
    def variables(self) -> frozenset[str]:
        """The variables that the plan sets anywhere, or says that a hook sets; what its tests say sets nothing."""
        found = set(self.whole.keys(("vars",)))
        for section, node in self.whole.root.entries if isinstance(self.whole.root, Table) else ():
            parts = [(section.text, node)]
            if section.text == "tests":
                # Of the answers that a web service would give, the actions alone.
                parts = [(key, value) for key, value in _entries(node) if key == "do"]
            for part in parts:
                for key, value in (part, *_entries(part[1])):
                    found |= _set_by(key, value)
        return frozenset(found)

    def lacks_variable(self, name: str) -> bool:
        """Whether surely nothing sets it; where a name is no name, that one may have been meant."""
        return name not in self.variables and all(is_variable_name(known) for known in self.variables)

    def refer_variable(self, name: str, path: Sequence[Key], *, is_set: bool = False) -> None:
        """Note a variable that the plan does not know, at the key that names it; `is_set`: which gives it a value."""
        if self.lacks_variable(name):
            message = f"the plan has no variable {shown(name)!r}" if is_set else _never_set(name)
            self.note(path, message, self.variable_hint(name), at_key=True)

    def variable_hint(self, name: str) -> str:
        """What may have been meant by a variable that nothing sets."""
        nearest = hint(name, self.variables)
        return nearest if nearest.startswith("did") else f"{nearest}; a hook says by 'sets' which ones it sets"

    @property
    def facts(self) -> tuple[str, ...]:
        """What may be filled into a request that no model makes."""
        return (*FACTS, *(f"vars.{name}" for name in sorted(self.variables)))

    def tools(self) -> ToolLoader:
        """The loader of tools and requests."""
        is_whole = len(self.plan.tools) == len(self.whole.keys(("tools",)))
        return ToolLoader(note=self.note, folder=self.folder, is_whole=is_whole)

    # Texts and sounds.

    def text(self, path: Sequence[Key], text: str) -> Template:
        """The template of a text of the plan."""
        template, problems = self.template(text)
        for _, message, expected in problems:
            self.note(path, message, expected)
        return template

    def prompt(self, file: Path, text: str) -> Template:
        """The template of a text that stands in a `file` of its own, whose problems are shown there."""
        template, problems = self.template(text)
        for offset, message, expected in problems:
            place: Place = place_behind(text[:offset])
            self.problems.append(
                Problem(file=str(file), line=place.line, column=place.column, message=message, expected=expected)
            )
        return template

    def template(self, text: str) -> tuple[Template, list[tuple[int, str, str]]]:
        """The template of `text`, and (offset, message, expectation) of each variable that nobody fills in."""
        template, unknown = parse_template(text)
        hours = self.whole.keys(("hours",))
        problems = [
            (variable.offset, f"unknown variable {{{shown(variable.name)}}}", self._hint(variable.name))
            for variable in unknown
        ]
        for part in dict.fromkeys(part for part in template.parts if isinstance(part, HoursState | CallVariable)):
            if isinstance(part, HoursState) and part.name not in hours:
                message = f"there {_NONE_OF['hours']} {shown(part.name)!r}"
                problems.append((offset_of(text, part), message, hint(part.name, hours)))
            if isinstance(part, CallVariable) and self.lacks_variable(part.name):
                problems.append((offset_of(text, part), _never_set(part.name), self.variable_hint(part.name)))
        return template, problems

    def _hint(self, name: str) -> str:
        known: list[str] = [variable.value for variable in Variable]
        known += [f"hours.{hours}" for hours in self.whole.keys(("hours",))]
        known += [f"vars.{variable}" for variable in sorted(self.variables)]
        return hint(name, known)

    def sound(self, path: Sequence[Key], name: str) -> Path:
        """The file of a sound, which has to be there and to fit the telephone."""
        file = self.folder / name
        if trouble := sound_problem(file):
            self.note(path, f"{shown(name)!r} {trouble}", SOUND_FORMAT)
        return file


def _subject(path: Sequence[Key]) -> str:
    last = path[-1]
    return repr(shown(last)) if isinstance(last, str) else f"item {last + 1} of {_subject(path[:-1])}"


def _entries(node: Node) -> Iterator[tuple[str, Node]]:
    """Every key of every table, and what it leads to."""
    if isinstance(node, Table):
        for key, value in node.entries:
            yield key.text, value
            yield from _entries(value)
    elif isinstance(node, Items):
        for value in node.values:
            yield from _entries(value)


def _set_by(key: str, node: Node) -> set[str]:
    """The variables that what stands under `key` sets."""
    if key == "set" and isinstance(node, Table):
        return {name.text for name, _ in node.entries}
    if key in ("into", "sets"):
        names = node.values if isinstance(node, Items) else (node,)
        return {name.text for name in names if isinstance(name, Scalar)}
    return set()


def _never_set(name: str) -> str:
    return f"variable {{vars.{shown(name)}}} is never set"


def sound_problem(file: Path) -> str:
    """Why `file` cannot be played to a caller; "" where it can."""
    try:
        if not file.is_file():
            return "is not a file"
        with wave.open(str(file), "rb") as sound:
            shape = sound.getsampwidth() * 8, sound.getnchannels(), sound.getframerate()
    except (OSError, EOFError, ValueError, wave.Error) as error:
        return f"cannot be played: {shown(str(error) or 'it ends early')}"
    return "" if shape == (16, 1, 8000) else f"has {shape[0]} bit, {counted(shape[1], 'channel')}, {shape[2]} Hz"
