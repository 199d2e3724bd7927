"""YAML text into located nodes, within bounds.

PyYAML scans and parses; its composer and constructors are bypassed: they recurse without bound, drop duplicate keys and
build whatever a tag asks for. Where the text stops being YAML, reading stops; everything else is noted and read on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import yaml

from gateway.errors import ConfigurationError, Problem, shown
from gateway.located.nodes import Comment, Document, Items, Node, Place, Scalar, Table
from gateway.located.syntax import Lines, place_behind, syntax_problem

MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlLimits:
    """How much a file may ask of this process. A value counts again wherever an alias repeats it."""

    max_bytes: int = MAX_BYTES
    max_depth: int = 32
    max_values: int = 50_000


def load_yaml(source: Path | str | bytes, file: str | None = None, limits: YamlLimits | None = None) -> Document:
    """Read `source`: a `Path` is opened, text and bytes are the YAML itself. `file` is the name problems carry.

    An empty document is an empty table.

    Raises:
        ConfigurationError: the file cannot be read, or is not YAML within `limits`.
    """
    limits = limits or YamlLimits()
    file = file or (str(source) if isinstance(source, Path) else "<text>")
    text = read_text(source, file, limits.max_bytes) if not isinstance(source, str) else source
    if len(text) > limits.max_bytes:
        raise ConfigurationError([_too_large(file, limits.max_bytes)])
    return _Composer(text, file, limits).compose()


def read_text(source: Path | bytes, file: str, max_bytes: int = MAX_BYTES) -> str:
    """The UTF-8 text of a file that the operator named; a byte order mark is dropped.

    Raises:
        ConfigurationError: it cannot be opened, is larger than `max_bytes`, or is not UTF-8.
    """
    try:
        data = source if isinstance(source, bytes) else _read_bytes(source, max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            [Problem(file=file, message=f"cannot be read: {reason}", expected="expected a readable file")]
        ) from error
    if len(data) > max_bytes:
        raise ConfigurationError([_too_large(file, max_bytes)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The decoder of utf-8-sig counts from behind the mark, that of utf-8 from the start of `data`.
        start = error.start + len(data) - len(error.object)
        place = place_behind(data[:start].decode("utf-8-sig", "replace"))
        problem = Problem(
            file=file,
            line=place.line,
            column=place.column,
            message=f"byte 0x{data[start]:02x} is not UTF-8 text",
            expected="save the file as UTF-8",
        )
        raise ConfigurationError([problem]) from error


def _read_bytes(path: Path, limit: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(limit)


def _too_large(file: str, max_bytes: int) -> Problem:
    return Problem(file=file, message="is too large", expected=f"expected at most {max_bytes} bytes")


_COMMENT = re.compile(r"#[^\r\n\x85\u2028\u2029]*")
_CUT = re.compile(r"[ \t]#[^\r\n\x85\u2028\u2029]*")
_BLANKS = re.compile(r"[ \t]*")


class _Loader(yaml.SafeLoader):
    """PyYAML's, which notes where what it reads is: the `comments` that it skips, and the `quoted` texts.

    Each is (first, behind the last) character.
    """

    def __init__(self, text: str) -> None:
        self.comments: list[tuple[int, int]] = []
        self.quoted: list[tuple[int, int]] = []
        self._text = text
        super().__init__(text)

    def scan_to_next_token(self) -> None:
        """Skip blanks, ends of lines and comments."""
        start = self.index
        super().scan_to_next_token()
        self.comments += [match.span() for match in _COMMENT.finditer(self._text, start, self.index)]

    def scan_flow_scalar(self, style: str) -> yaml.ScalarToken:
        """Read a text between quotes."""
        start = self.index
        token: yaml.ScalarToken = super().scan_flow_scalar(style)
        self.quoted.append((start, self.index))
        return token


@dataclass(slots=True)
class _Composed:
    """A node under construction and what an alias to it would cost: levels below it, values in all."""

    node: Node
    height: int = 0
    values: int = 1


@dataclass(slots=True)
class _Composer:
    """Parser events into nodes. PyYAML's own composer is bypassed: it recurses without bound and drops duplicates."""

    text: str
    file: str
    limits: YamlLimits
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, _Composed | None] = field(default_factory=dict)
    values: int = 0
    comments: list[tuple[int, int]] = field(default_factory=list)
    lines: Lines = field(init=False)

    def __post_init__(self) -> None:
        self.lines = Lines(self.text)

    def compose(self) -> Document:
        """Read the one document of the text. Raises: ConfigurationError where reading has to stop."""
        events = self._events()
        root: Node = Table(entries=(), file=self.file, place=Place(1, 1))
        started = False
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if started:
                    self._stop(event, "a second document begins here", "expected one document a file")
                started = True
                top = self._node(next(events), events, depth=1).node
                root = root if isinstance(top, Scalar) and top.is_null else top
        comments = tuple(Comment(self.text[start:end], self.lines.place_at(start)) for start, end in self.comments)
        return Document(file=self.file, root=root, problems=tuple(self.problems), comments=comments)

    def _events(self) -> Iterator[yaml.Event]:
        loader = None
        try:
            loader = _Loader(self.text)
            self.comments = loader.comments
            while event := loader.get_event():  # type: ignore[no-untyped-call]  # typeshed leaves it bare
                yield event
        except yaml.MarkedYAMLError as error:
            quoted = loader.quoted if loader else []
            raise ConfigurationError(
                [*self.problems, syntax_problem(error, self.lines, self.comments, quoted, self.file)]
            ) from error
        except yaml.reader.ReaderError as error:
            place = place_behind(self.text[: error.position])
            message = f"character {shown(chr(error.character))} is not allowed here"
            raise ConfigurationError([self._problem(place, message, "remove it")]) from error
        except (ValueError, OverflowError) as error:
            # PyYAML converts \U escapes and %YAML versions without looking at their size.
            place = self.lines.place(loader.get_mark() if loader else None)
            raise ConfigurationError([*self.problems, self._problem(place, "a number is too large", "")]) from error
        finally:
            if loader:
                loader.dispose()

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> _Composed:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._count(event, 1, depth)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._note(event, f"tag {shown(tag)} is not allowed", "write the value without a tag")
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is not None:
            self.anchors[anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            composed = _Composed(self._scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            composed = self._items(event, events, depth)
        else:
            composed = self._table(event, events, depth)
        if anchor is not None:
            self.anchors[anchor] = composed
        return composed

    def _alias(self, event: yaml.AliasEvent, depth: int) -> _Composed:
        if event.anchor not in self.anchors:
            self._stop(
                event, f"alias *{shown(event.anchor)} has no anchor", "put quotes around text that begins with *"
            )
        target = self.anchors[event.anchor]
        if target is None:
            self._stop(event, f"alias *{shown(event.anchor)} contains itself", "expected an anchor that ends before it")
        self._count(event, target.values, depth + target.height)
        return target

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        if re.search(r"[\x00\ud800-\udfff]", event.value):
            self._note(event, "the text holds a NUL or half a surrogate pair", "expected text")
        is_plain = event.style is None and event.tag is None
        cut = self._cut(event) if is_plain else ""
        place = self.lines.place(event.start_mark)
        return Scalar(text=event.value, written=event.value, is_plain=is_plain, file=self.file, place=place, cut=cut)

    def _cut(self, event: yaml.ScalarEvent) -> str:
        """The comment that ends a text without quotes after one blank; of no text at all, after any."""
        end = event.end_mark.index if event.end_mark else len(self.text)
        if not event.value and (blanks := _BLANKS.match(self.text, end)):
            end = max(blanks.end() - 1, end)
        match = _CUT.match(self.text, end)
        return match[0][1:] if match else ""

    def _items(self, start: yaml.Event, events: Iterator[yaml.Event], depth: int) -> _Composed:
        children = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            children.append(self._node(event, events, depth + 1))
        node = Items(
            values=tuple(child.node for child in children), file=self.file, place=self.lines.place(start.start_mark)
        )
        return _composed(node, children)

    def _table(self, start: yaml.Event, events: Iterator[yaml.Event], depth: int) -> _Composed:
        entries: dict[str, tuple[Scalar, Node]] = {}
        children = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, depth + 1).node
            children.append(self._node(next(events), events, depth + 1))
            if not isinstance(key, Scalar):
                self._note(event, "a key is a list or a table", "expected text as key")
            elif key.text == "<<" and key.is_plain:
                self._note(event, "'<<' merges nothing here", "write the keys out; *NAME stands for a whole value")
            elif key.text in entries:
                first = entries[key.text][0].place.line
                self._note(event, f"key {shown(key.text)!r} appears twice", f"the first is in line {first}")
            else:
                entries[key.text] = (key, children[-1].node)
        place, is_flow = self.lines.place(start.start_mark), bool(getattr(start, "flow_style", False))
        node = Table(entries=tuple(entries.values()), file=self.file, place=place, is_flow=is_flow)
        return _composed(node, children)

    def _count(self, event: yaml.Event, values: int, depth: int) -> None:
        self.values += values
        if depth > self.limits.max_depth:
            self._stop(event, "nested too deeply", f"expected at most {self.limits.max_depth} levels")
        if self.values > self.limits.max_values:
            self._stop(
                event,
                "too many values",
                f"expected at most {self.limits.max_values}; an alias counts as all it repeats",
            )

    def _problem(self, place: Place, message: str, expected: str) -> Problem:
        return Problem(file=self.file, line=place.line, column=place.column, message=message, expected=expected)

    def _note(self, event: yaml.Event, message: str, expected: str) -> None:
        self.problems.append(self._problem(self.lines.place(event.start_mark), message, expected))

    def _stop(self, event: yaml.Event, message: str, expected: str) -> NoReturn:
        raise ConfigurationError([*self.problems, self._problem(self.lines.place(event.start_mark), message, expected)])


def _composed(node: Node, children: Sequence[_Composed]) -> _Composed:
    height = 1 + max((child.height for child in children), default=0)
    return _Composed(node, height, 1 + sum(child.values for child in children))
