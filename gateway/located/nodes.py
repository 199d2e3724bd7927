"""What a YAML file holds: scalars, lists and tables that know their place, and the document around them.

Nodes are immutable; a change (a substituted text, a value from elsewhere, an entry left out) makes a new document whose
nodes keep the file and place they came from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.errors import Problem

Key = str | int
"""One step of a path: a key of a table, or the index of a list's item."""


class Place(NamedTuple):
    """A position in a file, both counted from 1."""

    line: int
    column: int


class Comment(NamedTuple):
    """What YAML leaves out: from ``#`` to the end of its line."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value as text. ``written`` is what the file says where a substitution put other text in its stead.

    ``cut`` is the comment, its # included, that ends a text without quotes after a single blank, or stands where
    there is none.
    """

    text: str
    written: str
    is_plain: bool
    file: str
    place: Place
    cut: str = ""

    @property
    def is_null(self) -> bool:
        """Nothing was written, or a bare ``~`` or ``null``."""
        return self.is_plain and self.text in _NULLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list."""

    values: tuple[Node, ...]
    file: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Keys and values, in the order of the file; no key twice. ``is_flow``: between braces."""

    entries: tuple[tuple[Scalar, Node], ...]
    file: str
    place: Place
    is_flow: bool = False

    def entry(self, key: str) -> tuple[Scalar, Node] | None:
        """The entry named `key`."""
        return next((entry for entry in self.entries if entry[0].text == key), None)


Node = Scalar | Items | Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file that is YAML. ``problems`` are those that do not keep the rest from being checked."""

    file: str
    root: Node
    problems: tuple[Problem, ...] = ()
    comments: tuple[Comment, ...] = ()

    def locate(self, path: Iterable[Key]) -> Place:
        """Where the value at `path` stands; its nearest ancestor that exists, where it does not."""
        return follow(self.root, path)[-1].node.place

    def problem(self, path: Iterable[Key], message: str, expected: str = "", *, at_key: bool = False) -> Problem:
        """A problem at the value of `path`, or at the key that leads to it."""
        step = follow(self.root, path)[-1]
        node = step.key if at_key and step.key else step.node
        return Problem(
            file=node.file, line=node.place.line, column=node.place.column, message=message, expected=expected
        )

    def keys(self, path: Iterable[Key] = ()) -> tuple[str, ...]:
        """The keys of the table at `path`; none where there is no table."""
        path = tuple(path)
        steps = follow(self.root, path)
        node = steps[-1].node
        return tuple(key.text for key, _ in node.entries) if len(steps) > len(path) and isinstance(node, Table) else ()

    def texts(self, path: Iterable[Key], key: str) -> tuple[str, ...]:
        """What the tables of the list at `path` hold under `key`, where that is text."""
        node = follow(self.root, path)[-1].node
        tables = [item for item in node.values if isinstance(item, Table)] if isinstance(node, Items) else []
        values = (entry[1] for table in tables if (entry := table.entry(key)))
        return tuple(value.text for value in values if isinstance(value, Scalar))

    def with_value(self, path: Sequence[str], value: Document) -> Document:
        """This document with `value`'s root at `path`; tables that lack on the way are made."""
        return replace(self, root=_put(self.root, tuple(path), value.root), problems=(*self.problems, *value.problems))

    def with_texts(
        self, substitute: Callable[[str], str], *, below: Collection[str] | None = None, under: Collection[str] = ()
    ) -> Document:
        """This document with every value's text put through `substitute`.

        `below`: only in these sections, and in what stands under one of the keys `under`, however deep.

        A `WrongValue` that it raises becomes a problem of the document. Messages go on showing the text as
        written, so a secret put in here is never shown.
        """
        problems = list(self.problems)
        root = self.root
        if below is None:
            root = _substituted(root, substitute, problems)
        elif isinstance(root, Table):
            entries = tuple(
                (key, _substituted(value, substitute, problems, None if key.text in below else under))
                for key, value in root.entries
            )
            root = replace(root, entries=entries)
        return replace(self, root=root, problems=tuple(problems))

    def without(self, path: Sequence[Key]) -> Document:
        """This document without the entry or item at `path`."""
        return replace(self, root=_removed(self.root, tuple(path)))


class WrongValue(ValueError):
    """A validator's verdict, for models of files.

    ``message`` continues "'key' ..."; without one the value is shown as the file has it. ``expected`` says what would
    have fitted. ``at`` is the way from what was validated to what is wrong in it.
    """

    def __init__(self, message: str = "", *, expected: str = "", at: Sequence[Key] = ()) -> None:
        self.expected = expected
        self.at = tuple(at)
        super().__init__(message)


_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


@dataclass(frozen=True, slots=True)
class _Step:
    """A node on the way of a path, and the key or index that led to it."""

    node: Node
    key: Scalar | None = None
    taken: Key | None = None


def _child(node: Node, key: Key) -> _Step | None:
    if isinstance(node, Table) and isinstance(key, str) and (entry := node.entry(key)):
        return _Step(entry[1], entry[0], key)
    if isinstance(node, Items) and isinstance(key, int) and 0 <= key < len(node.values):
        return _Step(node.values[key], None, key)
    return None


def follow(root: Node, path: Iterable[Key]) -> list[_Step]:
    """The nodes along `path`, `root` first; steps that lead nowhere (pydantic names union members so) are skipped."""
    steps = [_Step(root)]
    for key in path:
        if step := _child(steps[-1].node, key):
            steps.append(step)
    return steps


def _put(node: Node, path: tuple[str, ...], value: Node) -> Node:
    if not path:
        return value
    table = node if isinstance(node, Table) else Table(entries=(), file=value.file, place=value.place)
    key, below = table.entry(path[0]) or (
        Scalar(text=path[0], written=path[0], is_plain=False, file=value.file, place=value.place),
        Table(entries=(), file=value.file, place=value.place),
    )
    entry = (key, _put(below, path[1:], value))
    is_new = table.entry(path[0]) is None
    others = tuple(entry if known[0].text == path[0] else known for known in table.entries)
    return replace(table, entries=(*others, entry) if is_new else others)


def _removed(node: Node, path: tuple[Key, ...]) -> Node:
    head, *rest = path
    if isinstance(node, Table):
        kept = (
            (key, _removed(value, tuple(rest)) if rest and key.text == head else value) for key, value in node.entries
        )
        return replace(node, entries=tuple(entry for entry in kept if rest or entry[0].text != head))
    if isinstance(node, Items):
        values = (_removed(v, tuple(rest)) if rest and i == head else v for i, v in enumerate(node.values))
        return replace(node, values=tuple(v for i, v in enumerate(values) if rest or i != head))
    return node


def _substituted(
    node: Node, substitute: Callable[[str], str], problems: list[Problem], under: Collection[str] | None = None
) -> Node:
    """`node` with its texts substituted: all of them, or those that stand under one of the keys `under`."""
    if isinstance(node, Table):
        entries = tuple(
            (key, _substituted(value, substitute, problems, None if under is None or key.text in under else under))
            for key, value in node.entries
        )
        return replace(node, entries=entries)
    if isinstance(node, Items):
        return replace(node, values=tuple(_substituted(value, substitute, problems, under) for value in node.values))
    if under is not None:
        return node
    try:
        text = substitute(node.text)
    except WrongValue as error:
        line, column = node.place
        problems.append(Problem(file=node.file, line=line, column=column, message=str(error), expected=error.expected))
        return node
    # What a variable holds is text: an empty one is the empty text, not nothing.
    return node if text == node.text else replace(node, text=text, is_plain=node.is_plain and bool(text))
