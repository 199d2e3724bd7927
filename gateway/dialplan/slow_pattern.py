r"""Which patterns of a JSON Schema could stop the process.

Python's ``re`` goes back and forth over a text that a caller has chosen; ``(a+)+`` against forty letters takes hours.
So the ways are counted in which a pattern could divide a text of `MAX_TEXT_CHARACTERS`: those of a sequence are
multiplied, those of a choice added, and a repetition may be taken each number of times. The count is never too low, and
a pattern with more than `MAX_WAYS` is slow. What may begin anywhere has to be tried at each character. Of repetitions
without end that follow each other, the second has on the average half of the text left, the third a third.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_TEXT_CHARACTERS = 256
MAX_WAYS = 3 << 20
"""Three repetitions without end; some 80 ms in the worst case, and mostly 5."""

SHORT = 16
"""A repetition that is shorter than a text by no more than so many is as good as endless."""

_NO_END = float("inf")
_MANY = 32
"""Nothing that has two ways may be repeated as often as this."""
_TOKEN = re.compile(
    r"""
    (?P<escape>\\(?:[1-9]|.)) | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]) | (?P<open>\((?:\?(?::|<?[=!]|P<\w+>))?) |
    (?P<close>\)) | (?P<repeat>[*+?]|\{(?=[\d,])(?P<least>\d*)(?P<comma>,?)(?P<most>\d*)\}) | (?P<choice>\|) | .
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class _Group:
    """What is open: the ways of its choices so far, of the sequence that is read, and of the last thing in that."""

    choices: float = 0
    sequence: float = 1
    last: float | None = None
    is_group: bool = False  # the last thing is one
    is_repeated: bool = False  # the last thing is that already
    endless: int = 0  # repetitions without end in the sequence
    most_endless: int = 0

    def add(self, ways: float, *, is_group: bool = False) -> None:
        """Take in the next thing."""
        self.sequence = _bounded(self.sequence * (1 if self.last is None else self.last))
        self.last, self.is_group, self.is_repeated = ways, is_group, False

    def choose(self) -> None:
        """Another choice begins."""
        self.choices, self.sequence, self.last, self.endless = self.ways, 1, None, 0

    def repeat(self, ways: float, *, is_shared: bool) -> None:
        """Let the last thing be repeated; `is_shared`: it takes from the text what others before it have left."""
        if is_shared:
            self.endless += 1
            self.most_endless = max(self.most_endless, self.endless)
            ways /= self.endless
        self.last, self.is_repeated = _bounded(ways), True

    @property
    def ways(self) -> float:
        """Of all of it."""
        return _bounded(self.choices + self.sequence * (1 if self.last is None else self.last))


def slowness(pattern: str) -> str:
    """Why `pattern` may be slow; "" where it is not. One that is no expression is for others to refuse."""
    return _judge(pattern, MAX_TEXT_CHARACTERS)[0]


@lru_cache(maxsize=1024)
def ways(pattern: str, longest: int) -> float:
    """In how many ways a pattern that is not slow could divide a text of up to `longest` characters, at the most."""
    return _judge(pattern, longest)[1]


def _judge(pattern: str, longest: int) -> tuple[str, float]:
    groups = [_Group()]
    for token in _TOKEN.finditer(pattern):
        group, is_repeat = groups[-1], token["repeat"] is not None
        if token["escape"] is not None and token["escape"][1:].isdigit():
            return "it refers back to a group", _NO_END
        if token["open"] is not None:
            groups.append(_Group())
        elif token["choice"] is not None:
            group.choose()
        elif token["close"] is not None and len(groups) > 1:
            groups.pop()
            groups[-1].add(group.ways, is_group=True)
        elif is_repeat and group.last is not None:
            if group.is_repeated and token["repeat"] == "?":  # the sign of a repetition that takes as little as it can
                continue
            count, had = _repeated(group, token, longest), group.last
            is_shared = len(groups) == 1 and had == 1 and longest - SHORT <= count < _NO_END
            group.repeat(longest if is_shared else count, is_shared=is_shared)
            if group.last == _NO_END and had > 1:
                return "it repeats what holds a repetition or a choice; expected a set such as [ab]", _NO_END
        elif not is_repeat:
            group.add(1)
    is_anchored = pattern.startswith("^") and not groups[0].choices
    starts = 1 if is_anchored else max(longest, 1) / (groups[0].most_endless + 1)
    total = _bounded(groups[-1].ways * starts)
    if total == _NO_END or len(groups) > 1:
        return "it could match in too many ways; expected fewer or shorter repetitions, and ^ in front", _NO_END
    return "", total


def _bounded(ways: float) -> float:
    return ways if ways <= MAX_WAYS else _NO_END


def _repeated(group: _Group, token: re.Match[str], longest: int) -> float:
    """The ways of the last thing when it is repeated."""
    least, most = _times(token)
    ways = 1 if group.last is None else group.last
    if least > MAX_TEXT_CHARACTERS:
        return _NO_END
    if ways == 1:
        # A group may be empty, and is gone through however often it has to be there.
        return _bounded(max(min(most, longest) - least + 1, 1) * (max(least, 1) if group.is_group else 1))
    if most >= _MANY:
        return _NO_END
    total = 0.0
    for times in range(least, int(most) + 1):
        total = _bounded(total + ways**times)
    return total


def _times(token: re.Match[str]) -> tuple[int, float]:
    """How often, at least and at most."""
    match token["repeat"]:
        case "*":
            return 0, _NO_END
        case "+":
            return 1, _NO_END
        case "?":
            return 0, 1
    least = int(token["least"] or 0)
    if not token["comma"]:
        return least, least
    return least, int(token["most"]) if token["most"] else _NO_END
