"""Requests with arguments: where ``{number}`` stands, a tool call's argument goes in, and changes nothing around it.

What a model passes on may be a caller's words. So an argument can neither choose the host nor the shape of the path: it
stands in one segment of the path, in a value of the query, or in a value of the JSON body, and is encoded for that
place (RFC 3986 2.1, 3.3; RFC 8259). What does not fit is refused before anything is sent.

``{caller.number}``, ``{caller.name}``, ``{called.number}`` and ``{call.id}`` are facts of the call, which no model can
choose; ``{{x}}`` is the text ``{x}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from gateway.located import WrongValue

FACTS = ("caller.number", "caller.name", "called.number", "call.id")
MAX_URL_ARGUMENT_CHARACTERS = 256

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][\w.-]*)\}\}|\{([A-Za-z_][\w.-]*)\}")
_URL = re.compile(r"(https?://[^/?#{}@\s]+)(/[^?#]*)?(?:\?([^#]*))?", re.IGNORECASE)


class UnfitArgument(ValueError):
    """An argument that cannot stand where the request has it; the text is for the model."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The place of an argument, or of a fact of the call."""

    name: str


Values = Mapping[str, object]
"""Arguments and facts by name; what is optional may be missing."""


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text in pieces, in their order."""

    parts: tuple[str | Placeholder, ...] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arguments and facts in it."""
        return tuple(part.name for part in self.parts if isinstance(part, Placeholder))

    @property
    def only(self) -> str | None:
        """The argument that is all of it, which then keeps its type in JSON, and may be missing."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only.name if isinstance(only, Placeholder) else None

    def render(self, values: Values) -> str:
        """The text; an argument that is missing leaves a gap. Raises: UnfitArgument."""
        return "".join(
            part if isinstance(part, str) else _text(part.name, values.get(part.name, "")) for part in self.parts
        )


def parse_text_template(text: str) -> TextTemplate:
    """The template of `text`. Braces around anything but a name are text."""
    parts: list[str | Placeholder] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(text[end : match.start()])
        parts.append("{" + match[1] + "}" if match[1] else Placeholder(match[2]))
        end = match.end()
    parts.append(text[end:])
    return TextTemplate(tuple(part for part in parts if part) or ("",))


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlTemplate:
    """An address whose scheme, host and port are fixed. ``query`` is what the URL itself has behind its ``?``."""

    origin: str
    path: TextTemplate
    query: TextTemplate

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arguments and facts in it."""
        return (*self.path.names, *self.query.names)

    def render(self, values: Values, further: Mapping[str, TextTemplate]) -> str:
        """The address, with `further` parameters. Raises: UnfitArgument."""
        path = "".join(
            part if isinstance(part, str) else _segment(part.name, values.get(part.name)) for part in self.path.parts
        )
        # RFC 3986 5.2.4: dot segments, encoded ones too, would take parts of the path away.
        if any(unquote(segment) in (".", "..") for segment in path.split("/")):
            raise UnfitArgument("an argument may not be . or ..")
        query = [
            "".join(
                part if isinstance(part, str) else _encoded(part.name, _text(part.name, values.get(part.name, "")))
                for part in self.query.parts
            )
        ]
        for key, template in further.items():
            if template.only is None or values.get(template.only) is not None:
                query.append(f"{quote(key, safe='')}={_encoded(key, template.render(values))}")
        asked = "&".join(piece for piece in query if piece)
        return f"{self.origin}{path}" + (f"?{asked}" if asked else "")


def parse_url_template(text: str) -> UrlTemplate:
    """The template of a URL. Raises: WrongValue, which never shows the URL, as that may hold a secret."""
    match = _URL.fullmatch(text)
    if match is None or not _is_address(match[1]):
        expected = "expected https://HOST/PATH, arguments in the path or behind ? only, no user@ and no #"
        raise WrongValue("is no URL whose host is fixed", expected=expected)
    path = parse_text_template(match[2] or "/")
    if any(unquote(segment) in (".", "..") for segment in (match[2] or "").split("/")):
        raise WrongValue("holds . or .. in its path", expected="expected the path it leads to")
    return UrlTemplate(origin=match[1], path=path, query=parse_text_template(match[3] or ""))


def _is_address(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        return bool(parts.hostname) and parts.port != 0 and origin.isascii()
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class JsonTemplate:
    """A JSON value whose texts are templates: ``tree`` holds a `TextTemplate` for each of them."""

    tree: object = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arguments and facts in it."""
        return tuple(name for template in _templates(self.tree) for name in template.names)

    def render(self, values: Values) -> object:
        """The value; members and items whose whole text is a missing argument are left out. Raises: UnfitArgument."""
        return _rendered(self.tree, values)


def parse_json_template(value: object) -> JsonTemplate:
    """The template of a JSON value."""
    return JsonTemplate(_parsed(value))


def _parsed(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _parsed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_parsed(item) for item in value)
    return parse_text_template(value) if isinstance(value, str) else value


def _templates(tree: object) -> Iterator[TextTemplate]:
    if isinstance(tree, TextTemplate):
        yield tree
    elif isinstance(tree, Mapping | tuple):
        for item in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _templates(item)


def _is_missing(tree: object, values: Values) -> bool:
    return isinstance(tree, TextTemplate) and tree.only is not None and tree.only not in values


def _rendered(tree: object, values: Values) -> object:
    if isinstance(tree, Mapping):
        return {key: _rendered(item, values) for key, item in tree.items() if not _is_missing(item, values)}
    if isinstance(tree, tuple):
        return [_rendered(item, values) for item in tree if not _is_missing(item, values)]
    if isinstance(tree, TextTemplate):
        return values.get(tree.only) if tree.only is not None else tree.render(values)
    return tree


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UnfitArgument(f"{name} has to be text or a number here")


def _encoded(name: str, text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise UnfitArgument(f"{name} holds what is no character") from None


def _segment(name: str, value: object) -> str:
    """One argument within a segment of a path. Many servers take an encoded slash for a slash, so there is none."""
    text = _text(name, "" if value is None else value)
    if not text:
        raise UnfitArgument(f"{name} may not be empty")
    if len(text) > MAX_URL_ARGUMENT_CHARACTERS:
        raise UnfitArgument(f"{name} has more than {MAX_URL_ARGUMENT_CHARACTERS} characters")
    if not text.isprintable() or "/" in text or "\\" in text:
        raise UnfitArgument(f"{name} may hold no slash, backslash or control character")
    return _encoded(name, text)
