"""Regular expressions for numbers, matched in one pass and without backtracking.

A caller chooses the text and an operator the expression; Python's ``re`` lets the two together stop the process
((a+)+ against forty letters). Here an expression becomes Glushkov's position automaton: one bit for each place in the
expression, one step for each character of the text, whatever either holds; both are bounded in length. There is nothing
to escape from: no references, no look-around, no anchors (the whole text has to match).

Syntax: a character stands for itself; ``.`` any; ``\\d`` a digit; ``[0-9a-f]`` and ``[^...]`` sets; ``( )`` groups;
``|`` or; ``*``, ``+``, ``?``, ``{3}``, ``{3,}``, ``{3,6}`` repeat; ``\\`` takes the meaning from a special character.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from gateway.errors import shown
from gateway.located import WrongValue

MAX_CHARACTERS = 200
MAX_POSITIONS = 500
MAX_TEXT_CHARACTERS = 256
MAX_ATOMS = 5000
MAX_GROUPS = 20
_SPECIAL = "\\.[](){}|*+?^$/"


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """Characters by inclusive ranges of code points; ``is_negated`` means all others."""

    ranges: tuple[tuple[int, int], ...]
    is_negated: bool = False

    def __contains__(self, character: str) -> bool:
        codes = {ord(character), *(ord(c) for c in (character.upper(), character.lower()) if len(c) == 1)}
        return any(low <= code <= high for code in codes for low, high in self.ranges) is not self.is_negated


_ANY = CharacterSet((), is_negated=True)
_DIGIT = CharacterSet(((ord("0"), ord("9")),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """A compiled expression. Bit n stands for position n; ``follows[n]`` are the positions that may come after it."""

    text: str
    sets: tuple[CharacterSet, ...]
    first: int
    last: int
    follows: tuple[int, ...]
    takes_empty: bool
    known: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    """The positions that take an ASCII character, once that has been asked for."""

    def fullmatch(self, text: str) -> bool:
        """Whether the whole of `text` matches; letters match in either case. A text beyond 256 characters does not."""
        if not text:
            return self.takes_empty
        if len(text) > MAX_TEXT_CHARACTERS:
            return False
        reachable, here = self.first, 0
        for character in text:
            places = self.known.get(character)
            here = reachable & (self._places(character) if places is None else places)
            if not here:
                return False
            reachable = 0
            for bit in _bits(here):
                reachable |= self.follows[bit.bit_length() - 1]
        return bool(here & self.last)

    def _places(self, character: str) -> int:
        places = sum(1 << place for place, characters in enumerate(self.sets) if character in characters)
        if character.isascii():
            self.known[character] = places
        return places


def compile_regex(text: str) -> Regex:
    """The expression `text` (without its slashes).

    Raises:
        WrongValue: not of the syntax above, or too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise WrongValue("holds a long expression", expected=f"expected at most {MAX_CHARACTERS} characters")
    parser = _Parser(text)
    whole = parser.alternatives()
    if parser.at < len(text):
        parser.fail(f"{text[parser.at]!r} closes nothing")
    return Regex(
        text=text,
        sets=tuple(parser.sets),
        first=whole.first,
        last=whole.last,
        follows=tuple(parser.follows),
        takes_empty=whole.takes_empty,
    )


def _bits(mask: int) -> list[int]:
    bits = []
    while mask:
        bit = mask & -mask
        bits.append(bit)
        mask ^= bit
    return bits


@dataclass(frozen=True, slots=True)
class _Part:
    """What Glushkov's construction knows of a part: where it may begin and end, whether it may be empty."""

    first: int = 0
    last: int = 0
    takes_empty: bool = True


@dataclass(slots=True)
class _Parser:
    """Recursive descent over the expression; positions are numbered as they are met."""

    text: str
    at: int = 0
    depth: int = 0
    atoms: int = 0
    sets: list[CharacterSet] = field(default_factory=list)
    follows: list[int] = field(default_factory=list)

    def alternatives(self) -> _Part:
        part = self.sequence()
        while self.takes("|"):
            other = self.sequence()
            part = _Part(part.first | other.first, part.last | other.last, part.takes_empty or other.takes_empty)
        return part

    def sequence(self) -> _Part:
        part = _Part()
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            part = self.joined(part, self.repeated())
        return part

    def repeated(self) -> _Part:
        begin = self.at
        part = self.atom()
        end = self.at
        least, most = self.quantifier()
        if self.at < len(self.text) and self.text[self.at] in "*+?{" and self.at > end:
            self.fail("a repetition is repeated")
        return part if (least, most) == (1, 1) else self.copies(part, begin, end, least, most)

    def copies(self, part: _Part, begin: int, end: int, least: int, most: int | None) -> _Part:
        """`part` `least` to `most` times; each further copy is read again from the text, to get its own positions."""
        copies = [part]
        after = self.at
        for _ in range(max(least, most or 1) - 1):
            self.at = begin
            copies.append(self.atom())
        self.at = after
        if most is None:
            self.link(copies[-1].last, copies[-1].first)
        if most == 0:
            return _Part()
        whole = _Part()
        for number, copy in enumerate(copies):
            is_optional = number >= least
            whole = self.joined(whole, _Part(copy.first, copy.last, copy.takes_empty or is_optional))
        return whole

    def quantifier(self) -> tuple[int, int | None]:
        if self.takes("*"):
            return 0, None
        if self.takes("+"):
            return 1, None
        if self.takes("?"):
            return 0, 1
        return self.braces() if self.takes("{") else (1, 1)

    def braces(self) -> tuple[int, int | None]:
        inside, closing, _ = self.text[self.at :].partition("}")
        least, comma, most = inside.partition(",")
        if not (closing and _is_count(least) and (not most or _is_count(most))):
            self.fail("'{' begins no count such as {3}, {3,} or {3,6}")
        self.at += len(inside) + 1
        bounds = int(least), (int(most) if most else None) if comma else int(least)
        if bounds[1] is not None and bounds[1] < bounds[0]:
            self.fail("a count ends before it begins")
        return bounds

    def atom(self) -> _Part:
        self.atoms += 1
        if self.atoms > MAX_ATOMS:
            self.fail("the expression repeats too much")
        if self.takes("("):
            return self.group()
        character = self.next()
        if character == "[":
            return self.position(self.set_of_characters())
        if character == "\\":
            return self.position(self.escaped())
        if character == ".":
            return self.position(_ANY)
        if character in _SPECIAL:
            self.fail(f"{character!r} is not usable here", back=1)
        return self.position(_single(character))

    def group(self) -> _Part:
        self.depth += 1
        if self.depth > MAX_GROUPS:
            self.fail("groups are nested too deeply")
        if self.text.startswith("?", self.at):
            self.fail("'(?' is not supported")
        part = self.alternatives()
        if not self.takes(")"):
            self.fail("')' is missing")
        self.depth -= 1
        return part

    def set_of_characters(self) -> CharacterSet:
        is_negated = self.takes("^")
        ranges: list[tuple[int, int]] = []
        while not self.takes("]"):
            low = self.member()
            if self.text.startswith("-", self.at) and not self.text.startswith("-]", self.at):
                self.at += 1
                high = self.member()
                if low[0][0] != low[0][1] or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    self.fail("a range in [] has no order")
                ranges.append((low[0][0], high[0][1]))
            else:
                ranges.extend(low)
        if not ranges:
            self.fail("[] is empty")
        return CharacterSet(tuple(ranges), is_negated)

    def member(self) -> tuple[tuple[int, int], ...]:
        character = self.next("']' is missing")
        return self.escaped().ranges if character == "\\" else _single(character).ranges

    def escaped(self) -> CharacterSet:
        character = self.next("nothing follows '\\'")
        if character == "d":
            return _DIGIT
        if character.isalnum():
            self.fail(f"'\\{character}' is not supported", back=1)
        return _single(character)

    def position(self, characters: CharacterSet) -> _Part:
        if len(self.sets) >= MAX_POSITIONS:
            self.fail("the expression repeats too much")
        bit = 1 << len(self.sets)
        self.sets.append(characters)
        self.follows.append(0)
        return _Part(bit, bit, takes_empty=False)

    def joined(self, left: _Part, right: _Part) -> _Part:
        self.link(left.last, right.first)
        return _Part(
            left.first | (right.first if left.takes_empty else 0),
            right.last | (left.last if right.takes_empty else 0),
            left.takes_empty and right.takes_empty,
        )

    def link(self, last: int, first: int) -> None:
        for bit in _bits(last):
            self.follows[bit.bit_length() - 1] |= first

    def takes(self, character: str) -> bool:
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def next(self, problem: str = "the expression ends early") -> str:
        if self.at >= len(self.text):
            self.fail(problem)
        self.at += 1
        return self.text[self.at - 1]

    def fail(self, problem: str, back: int = 0) -> NoReturn:
        message = f"holds a bad expression: {problem}, at character {self.at - back + 1}"
        raise WrongValue(shown(message, 200), expected="docs/dialplan.md has the syntax")


def _single(character: str) -> CharacterSet:
    return CharacterSet(((ord(character), ord(character)),))


def _is_count(text: str) -> bool:
    return 0 < len(text) <= 3 and text.isascii() and text.isdigit()
