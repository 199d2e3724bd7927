"""Where reading stopped because a text is not YAML, and what its author is to do about it.

PyYAML tells in its own words what it met; here they become what is wrong with a line: its indentation, its colon, a
character that wants quotes.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Protocol

import yaml

from gateway.errors import Problem, shown
from gateway.located.nodes import Place

_REMEDIES = {
    "\t": "indent with spaces, not tabs",
    ":": "put quotes around text that holds ': '",
    **{opener: f"put quotes around text that begins with {opener}" for opener in "*&!%@`"},
    **{inner: f"put quotes around text that holds {inner}" for inner in "?[{"},
}
"""What to do about the character where reading stopped."""
_OPENERS = {"while scanning an alias": "*", "while scanning an anchor": "&"}
"""What began what could not be read, where that is the trouble."""
_BARE_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]*::")

_NO_KEY = "expected <block end>, but found '<scalar>'"
_NO_COLON = "could not find expected ':'"
_NO_KEY_HERE = "mapping values are not allowed here"
_BLOCKS = ("while parsing a block mapping", "while parsing a block collection")
_STRANGERS = tuple(
    f"expected <block end>, but found {what!r}" for what in ("<block mapping start>", "<block sequence start>", "-")
)
"""What stands in the place of a block's next entry, or of its end, where a line is indented amiss."""
_FIRST_KEY = re.compile(r"[ ]*(- +)*[^\s:#\"'&*!|>%@`{}\[\],?-][^:#]*")
"""A line up to the colon behind its first key."""
_AMISS = "the indentation does not fit"
_DASH = re.compile(r"[ ]*(-)[\w{\[\"']")
"""A line that was meant as the item of a list."""
MISSING_BLANK = "begin the items of a list with - and a blank"
_FLOW_OPENERS = ("[", "{")
_FLOWS = {"while parsing a flow sequence": "[ ]", "while parsing a flow mapping": "{ }"}
_UNCLOSED_QUOTES = "while scanning a quoted scalar"
_CLOSERS = {
    "}": _REMEDIES["*"].replace("*", "{"),
    "]": _REMEDIES["*"].replace("*", "["),
    '"': 'put quotes around the whole text; within "…", \\" is one "',
    "'": "put quotes around the whole text; within '…', '' is one '",
}
"""What to do where a text goes on behind what seemed to be all of it."""


class Mark(Protocol):
    """A position of PyYAML: characters from the start of the text."""

    index: int


class Lines:
    """A text by its lines, as editors and YAML 1.2 count them; PyYAML also ends lines at U+0085, U+2028 and U+2029."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts: Sequence[int] = [0, *(match.end() for match in re.finditer(r"\r\n?|\n", text))]

    def place(self, mark: Mark | None) -> Place:
        """Where `mark` is; the beginning where there is none."""
        return Place(1, 1) if mark is None else self.place_at(mark.index)

    def place_at(self, index: int) -> Place:
        """Where the character of that index is."""
        line = bisect.bisect_right(self._starts, index)
        return Place(line, index - self._starts[line - 1] + 1)

    def line(self, number: int) -> str:
        """The line of that number, from 1."""
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[self._starts[number - 1] : end].rstrip("\r\n")


def place_behind(text_before: str) -> Place:
    """Where a file goes on that begins with `text_before`."""
    return Lines(text_before).place_at(len(text_before))


def syntax_problem(
    error: yaml.MarkedYAMLError,
    lines: Lines,
    comments: Sequence[tuple[int, int]],
    quoted: Sequence[tuple[int, int]],
    file: str,
) -> Problem:
    """What is to be said of `error`, which PyYAML raised where `file` with those `lines` stopped being YAML.

    `comments` and `quoted` texts: their first characters, and those behind the last, up to there.
    """
    mark = error.problem_mark or error.context_mark
    place = lines.place(mark)
    context = f"{error.context} of line {lines.place(error.context_mark).line}" if error.context_mark else ""
    message = f"not YAML: {error.problem or error.context or 'cannot be read'}"
    unclosed = _unclosed_quotes(error, lines, quoted) or _unclosed_bracket(error, lines, place)
    if found := _misread_comment(error, lines, comments) or unclosed:
        place, message, remedy = found
    elif error.context in _OPENERS:
        remedy = _REMEDIES[_OPENERS[error.context]]
    elif found := _line_problem(error, lines, place):
        place, message, remedy = found
    else:
        remedy = (_remedy(mark.index, lines) if mark else "") or context
    return Problem(file=file, line=place.line, column=place.column, message=message, expected=remedy)


def _remedy(index: int, lines: Lines) -> str:
    if _BARE_IPV6.search(lines.line(lines.place_at(index).line)):
        return 'put quotes around an IPv6 address, as "[::1]:5060"'
    before, character = lines.text[:index].rstrip(" ")[-1:], lines.text[index : index + 1]
    if before in _CLOSERS and (character.isalnum() or character in _FLOW_OPENERS):
        is_next = character in _FLOW_OPENERS and before in "]}"
        return "put a comma between one and the next" if is_next else _CLOSERS[before]
    return _REMEDIES.get(character, "")


_Found = tuple[Place, str, str]
"""Where, what, and what to do."""


def _unclosed_quotes(error: yaml.MarkedYAMLError, lines: Lines, quoted: Sequence[tuple[int, int]]) -> _Found | None:
    """The quotes that were never closed, or only by those that were to open the next text, where the error is."""
    if error.context == _UNCLOSED_QUOTES and error.context_mark and "end of stream" in (error.problem or ""):
        quotes = lines.text[error.context_mark.index]
        return (
            lines.place(error.context_mark),
            f"not YAML: this {quotes} is never closed",
            "close it where the text ends",
        )
    marks = [mark.index for mark in (error.problem_mark, error.context_mark) if mark]
    for at in marks:
        start, end = next((span for span in reversed(quoted) if span[1] <= at), (0, 0))
        begun, ended = lines.place_at(start), lines.place_at(end)
        if begun.line < ended.line and not lines.text[end:at].strip(" "):
            message = f"not YAML: the text that this {lines.text[start]} begins goes on to line {ended.line}"
            return begun, message, "close it where the text ends"
    return None


def _unclosed_bracket(error: yaml.MarkedYAMLError, lines: Lines, place: Place) -> _Found | None:
    """The bracket that nothing closes before a line which is not indented as what belongs to it."""
    if error.context not in _FLOWS or not error.context_mark:
        return None
    opened = lines.place(error.context_mark)
    is_inside = _indent(lines.line(place.line)) > _indent(lines.line(opened.line))
    if place.line == opened.line or (is_inside and "<stream end>" not in (error.problem or "")):
        return None
    opener, closer = _FLOWS[error.context].split()
    return opened, f"not YAML: this {opener} is not closed before line {place.line}", f"close it with {closer}"


def _misread_comment(error: yaml.MarkedYAMLError, lines: Lines, comments: Sequence[tuple[int, int]]) -> _Found | None:
    """The last comment that was meant to be read: it has the brackets that lack, or ends a text which goes on in the
    next line, where the error is.
    """
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark else 0
    goes_on = lines.place(error.context_mark if error.problem == _NO_COLON else mark).line
    is_text = error.problem in (_NO_COLON, _NO_KEY)
    for start, end in reversed(comments):
        at, comment = lines.place_at(start), lines.text[start:end]
        if start >= index or not lines.line(at.line)[: at.column - 1].strip():
            continue
        closes = _balance(comment) < 0
        if closes or (is_text and at.line == goes_on - 1 and not lines.text[start - 2].isspace()):
            message = (
                f"not YAML: {shown(comment)!r} is a comment, and {'closes nothing' if closes else 'ends the text'}"
            )
            return at, message, "put quotes around text that holds ' #' or begins with #"
    return None


def _line_problem(error: yaml.MarkedYAMLError, lines: Lines, place: Place) -> _Found | None:
    """What is wrong with a line as a whole, where that is the trouble: how far it is indented, or its colon."""
    if error.problem in (_NO_COLON, _NO_KEY_HERE, *_STRANGERS) and (found := _tight_dash(lines, place)):
        return found
    if error.problem == _NO_COLON:
        return _keyless(lines.place(error.context_mark))
    if error.problem == _NO_KEY_HERE:
        return _continuation(lines, place)
    if error.context not in _BLOCKS or error.problem not in _STRANGERS:
        return None
    block = lines.place(error.context_mark)
    if place.column == block.column:
        message = f"{_AMISS}: an item of a list stands among the keys that begin in line {block.line}"
        return place, message, "indent the list below its key"
    message = f"{_AMISS}: column {place.column} here, column {block.column} in line {block.line}"
    return place, message, "begin what belongs together in the same column"


def _tight_dash(lines: Lines, place: Place) -> _Found | None:
    """An item of a list, in that line or the one above it, that begins right behind its dash."""
    for number in (place.line, _written_above(lines, place.line)):
        if number and (match := _DASH.match(lines.line(number))):
            return Place(number, match.start(1) + 1), "not YAML: a blank is missing behind -", MISSING_BLANK
    return None


def _continuation(lines: Lines, colon: Place) -> _Found | None:
    """Of a key where YAML reads on in the text above it; None where it is no key, but text that holds ': '."""
    line = lines.line(colon.line)
    above = _written_above(lines, colon.line)
    if not above or not _FIRST_KEY.fullmatch(line, 0, colon.column - 1):
        return None
    before, begun = lines.line(above), lines.line(_written_above(lines, above) or above)
    if not re.search(r":(\s|$)", before):
        is_text = re.search(r":\s+\S", begun) and _indent(begun) < _indent(before)  # of several lines
        return None if is_text else _keyless(Place(above, _indent(before) + 1))
    message = f"{_AMISS}: this line is indented as if it went on with the text of line {above}"
    return Place(colon.line, _indent(line) + 1), message, "begin keys that belong together in the same column"


def _written_above(lines: Lines, number: int) -> int:
    """The nearest line above that holds something; 0 where there is none."""
    return next((above for above in range(number - 1, 0, -1) if lines.line(above).strip()), 0)


def _keyless(place: Place) -> _Found:
    return place, "not YAML: text where a key is due", "put a colon behind the key"


def _balance(text: str) -> int:
    """How many brackets are opened more than closed."""
    return sum((character in "[{") - (character in "]}") for character in text)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
