"""Located nodes into pydantic models, and pydantic's verdicts into problems with a place and a remedy.

Pydantic names the path of a mistake; the place comes from the document, the nearest known word from the model's fields.
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gateway.errors import ConfigurationError, Problem, shown
from gateway.located.nodes import Document, Items, Key, Node, Scalar, Table, WrongValue, follow
from gateway.located.syntax import MISSING_BLANK

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """Base of the models of files: frozen, unknown keys are errors, no NaN; a field's alias is its key in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined(Generic[M]):
    """What `examine` found. ``value`` holds the usable rest, ``document`` the same rest with its places."""

    value: M | None
    document: Document
    problems: tuple[Problem, ...]


def validate(model: type[M], document: Document) -> M:
    """The `model` that `document` describes.

    Raises:
        ConfigurationError: with every problem of the document, in its order.
    """
    examined = examine(model, document)
    if examined.problems or examined.value is None:
        raise ConfigurationError(examined.problems)
    return examined.value


def examine(model: type[M], document: Document) -> Examined[M]:
    """Like `validate`, for callers with checks of their own: the problems, and a model of what is left without them.

    A mistake costs the entry of the second level that it stands in (one contact, one route), so that a half-read entry
    is never taken for a whole one. Nothing is left where a top-level key is missing.
    """
    value, errors = _attempt(model, document.root)
    problems = (*document.problems, *_problems(model, document, errors))
    rest = document
    while errors:
        doomed = {_path(rest.root, error)[:2] for error in errors}
        if () in doomed:
            return Examined(value=None, document=document, problems=in_order(problems, document.file))
        for path in sorted(doomed, key=_removal_order):
            rest = rest.without(path)
        value, errors = _attempt(model, rest.root)
    return Examined(value=value, document=rest, problems=in_order(problems, document.file))


def in_order(problems: Iterable[Problem], file: str) -> tuple[Problem, ...]:
    """Each of `problems` once, those of `file` first, by their place."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.file != file, p.file, p.line, p.column)))


def hint(word: str, known: Iterable[str]) -> str:
    """The known word nearest to a wrong one, or all of them where none is near, or all are numbers.

    What begins with a number is near to what holds the same one: 60 to 60ms, but 30ms to nothing else.
    """
    known = sorted(set(known), key=_by_number)
    if not known:
        return "there are none"
    if all(_FLOAT.fullmatch(name) for name in known):
        return f"expected {shown(' or '.join(known), 200)}"
    if near := difflib.get_close_matches(word.casefold(), [name.casefold() for name in known], n=1):
        nearest = next(name for name in known if name.casefold() == near[0])
        if not word[:1].isdigit() or _DIGITS.findall(word) == _DIGITS.findall(nearest):
            return f"did you mean {nearest!r}?"
    return _expected_one_of(known)


def _by_number(word: str) -> list[str | int]:
    """Sorts by the letters, and what is between them by its value: 20ms before 100ms."""
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(word))]


def _expected_one_of(words: Sequence[str]) -> str:
    return f"expected one of {shown(', '.join(words), 200)}" if len(words) > 1 else f"expected {shown(words[0])!r}"


# Values --------------------------------------------------------------------------------------------------------------


class _Plain(str):
    """Text that stood without quotes: what the core schema may resolve. Pydantic takes it as any other text."""

    __slots__ = ()


def _data(node: Node) -> object:
    if isinstance(node, Table):
        return {key.text: _data(value) for key, value in node.entries}
    if isinstance(node, Items):
        return [_data(value) for value in node.values]
    if node.is_null:
        return None
    return _Plain(node.text) if node.is_plain else node.text


_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIGITS = re.compile(r"([0-9]{1,18})")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MAX_DIGITS = 300


def core_schema(value: object) -> object:
    """`value` with plain scalars resolved by the YAML 1.2 core schema, as JSON has them: no infinity, no NaN."""
    if isinstance(value, Mapping):
        return {str(key): core_schema(item) for key, item in value.items()}
    if isinstance(value, list):
        return [core_schema(item) for item in value]
    return _resolved(value) if isinstance(value, _Plain) else value


def _resolved(text: _Plain) -> object:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) <= _MAX_DIGITS and _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return str(text)


JsonValue = Annotated[object, BeforeValidator(core_schema)]
"""A field that takes any JSON: a tool's parameter schema, a provider's own options."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|)")


def _seconds(value: object) -> object:
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or not (match := _DURATION.fullmatch(value)):
        raise WrongValue(expected="expected a time such as 20s, 500ms or 2m")
    return float(match[1]) * _UNITS_S[match[2]]


Seconds = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=str | float)]
"""A span of time: ``20s``, ``500ms``, ``2m``, ``1h``; a bare number is seconds."""


# Verdicts ------------------------------------------------------------------------------------------------------------


def _attempt(model: type[M], root: Node) -> tuple[M | None, list[ErrorDetails]]:
    try:
        return model.model_validate(_data(root)), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _path(root: Node, error: ErrorDetails) -> tuple[Key, ...]:
    """The part of the error's path that exists in the file."""
    raised = error.get("ctx", {}).get("error")
    inside = raised.at if isinstance(raised, WrongValue) else ()
    return tuple(step.taken for step in follow(root, (*error["loc"], *inside)) if step.taken is not None)


def _removal_order(path: tuple[Key, ...]) -> tuple[str, int]:
    """Later items of a list first, so that the earlier ones keep their index."""
    last = path[-1]
    return str(path[0]), -last if isinstance(last, int) else 0


def _problems(model: type[BaseModel], document: Document, errors: Iterable[ErrorDetails]) -> list[Problem]:
    return [_problem(model, document, error) for error in errors if not _follows_from_others(document.root, error)]


def _follows_from_others(root: Node, error: ErrorDetails) -> bool:
    """Whether a list is too short only for pydantic, which does not count the items that have mistakes of their own."""
    if error["type"] != "too_short":
        return False
    node = follow(root, _path(root, error))[-1].node
    written = node.values if isinstance(node, Items) else node.entries if isinstance(node, Table) else (node,)
    return len(written) >= int(error.get("ctx", {})["min_length"])


def _problem(model: type[BaseModel], document: Document, error: ErrorDetails) -> Problem:
    path = _path(document.root, error)
    node = follow(document.root, path)[-1].node
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        known = str(error["loc"][-1])
        return document.problem(path, f"key {known!r} is missing", f"expected it in {_subject(path, 'the file')}")
    if kind == "extra_forbidden":
        word = str(error["loc"][-1])
        expected = hint(word, _known_keys(model, path[:-1]))
        is_near = " " not in word and expected.startswith("did you mean")
        if not is_near and _is_rest_of_text(document.root, path):
            expected = "put quotes around text that holds a comma"
        return document.problem(path, f"unknown key {shown(word)!r}", expected, at_key=True)
    subject = _subject(path, "the file")
    raised = context.get("error")
    if error["loc"][-1:] == ("[key]",):
        expected = raised.expected if isinstance(raised, WrongValue) else str(raised)
        return document.problem(path, f"{subject} is not usable as key", expected, at_key=True)
    if isinstance(raised, WrongValue):
        return document.problem(path, f"{subject} {str(raised) or _described(node)}", raised.expected)
    if isinstance(raised, ValueError):
        return document.problem(path, f"{subject} {_described(node)}", str(raised))
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        text = node.written if isinstance(node, Scalar) else ""
        expected = hint(text, words) if words else f"expected {context.get('expected', '')}"
        return document.problem(path, f"{subject} {_described(node)}", expected)
    expected = MISSING_BLANK if kind in _LISTS and _has_tight_dash(node) else _expectation(error)
    # Where a table is expected, text may be a secret that stands one level too high.
    is_text = expected == _EXPECTATIONS["model"] and isinstance(node, Scalar) and not node.is_null
    if is_text and path:
        expected += _form(_models(model, path))
    return document.problem(path, f"{subject} {'is text' if is_text else _described(node)}", expected)


def _is_rest_of_text(root: Node, path: Sequence[Key]) -> bool:
    """Whether the key at `path` stands between braces without a value, as what follows a comma in a text does."""
    *_, above, last = follow(root, path)
    is_bare = isinstance(last.node, Scalar) and last.node.is_plain and not last.node.text
    return (
        is_bare and last.key is not None and last.key.is_plain and isinstance(above.node, Table) and above.node.is_flow
    )


_LISTS = ("list_type", "tuple_type", "set_type", "frozen_set_type")


def _has_tight_dash(node: Node) -> bool:
    """Whether what stands in the place of a list was to be one, and lacks the blank behind its dash."""
    first = node.entries[0][0] if isinstance(node, Table) and node.entries else node
    return isinstance(first, Scalar) and first.is_plain and first.text.startswith("-")


def _subject(path: Sequence[Key], whole: str) -> str:
    if not path:
        return whole
    last = path[-1]
    return repr(shown(last)) if isinstance(last, str) else f"item {last + 1} of {_subject(path[:-1], whole)}"


def _described(node: Node) -> str:
    if isinstance(node, Table):
        return "is a table of keys" if node.entries else "is an empty table"
    if isinstance(node, Items):
        return "is a list" if node.values else "is an empty list"
    if node.is_null:
        return "is empty, as # without quotes begins a comment" if node.cut else "is empty"
    return f"is {shown(node.written)!r}"


_EXPECTATIONS = {
    "bool": "expected true or false",
    "date": "expected a date such as 2026-12-24",
    "dict": "expected a table of keys",
    "finite": "expected a finite number",
    "float": "expected a number",
    "frozen": "expected a list",
    "int": "expected a whole number",
    "list": "expected a list",
    "mapping": "expected a table of keys",
    "model": "expected a table of keys",
    "set": "expected a list",
    "string": "expected text",
    "tuple": "expected a list",
}


def _expectation(error: ErrorDetails) -> str:
    """What would have fitted: our words for a wrong type, pydantic's for a broken bound."""
    kind, _, detail = error["type"].partition("_")
    if detail.startswith(("type", "parsing", "number", "from", "attributes")) and kind in _EXPECTATIONS:
        return _EXPECTATIONS[kind]
    if error["type"] in ("too_short", "too_long"):
        at_least = error["type"] == "too_short"
        bound = error.get("ctx", {})["min_length" if at_least else "max_length"]
        return f"expected at {'least' if at_least else 'most'} {bound} of them"
    message = re.sub(r"^(Input|Value|String|Tuple|List|Dictionary) should (be |have |match )?", "", error["msg"])
    return "expected " + message[:1].lower() + message[1:]


def _known_keys(model: type[BaseModel], path: Iterable[Key]) -> list[str]:
    """The keys the model takes at `path`."""
    return [info.alias or name for kind in _models(model, path) for name, info in kind.model_fields.items()]


def _models(model: type[BaseModel], path: Iterable[Key]) -> list[type[BaseModel]]:
    """The models of which the value at `path` may be."""
    kinds: set[object] = {model}
    for key in path:
        kinds = {inner for kind in kinds for inner in _inner(kind, key)}
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _form(models: Sequence[type[BaseModel]]) -> str:
    """How a table of the model is written, behind what was expected: with the keys it must have, or else its first."""
    if len(models) != 1 or not (fields := models[0].model_fields):
        return ""
    required = [info.alias or name for name, info in fields.items() if info.is_required()]
    keys = required or [info.alias or name for name, info in fields.items()][:1]
    written = "{" + ", ".join(f"{key}: …" for key in keys) + "}"
    return f", as {written}" if required or not _may_be_empty(models[0]) else f", as {{}} or {written}"


def _may_be_empty(model: type[BaseModel]) -> bool:
    try:
        model.model_validate({})
    except ValidationError:
        return False
    return True


def _inner(kind: object, key: Key) -> set[object]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = (info.annotation for name, info in kind.model_fields.items() if (info.alias or name) == key)
        return {inner for annotation in fields for inner in _members(annotation)}
    arguments = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
    is_table = typing.get_origin(kind) in _TABLES
    return {inner for argument in arguments[1 if is_table else 0 :] for inner in _members(argument)}


_TABLES = (dict, Mapping)


def _members(annotation: object) -> set[object]:
    """`annotation` without Annotated, and each member of a union."""
    if typing.get_origin(annotation) is Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {inner for member in typing.get_args(annotation) for inner in _members(member)}
    return {annotation}
