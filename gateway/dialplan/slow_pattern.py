r"""Which patterns of a JSON Schema could stop the process.

Python's ``re`` goes back and forth over a text that a caller has chosen; ``(a+)+`` against forty letters takes hours.
The judgement is simple and strict. With texts of at most `MAX_TEXT_CHARACTERS` a pattern is fast if nothing that is
repeated holds a long repetition or a choice, and if it has no more than `MAX_LONG` long repetitions.
"""

from __future__ import annotations

import re

MAX_TEXT_CHARACTERS = 256
MAX_LONG = 3
LONG = 16
"""A repetition of up to so many is a short one."""

_TOKEN = re.compile(
    r"""
    (?P<escape>\\(?:[1-9]|.)) | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]) | (?P<open>\((?:\?(?::|<?[=!]|P<\w+>))?) |
    (?P<close>\)) | (?P<repeat>[*+]|\?(?=[^*+])|\?$|\{(?P<least>\d*),?(?P<most>\d*)\}) | (?P<choice>\|) | .
    """,
    re.VERBOSE | re.DOTALL,
)


def slowness(pattern: str) -> str:
    """Why `pattern` may be slow; "" where it is not. One that is no expression is for others to refuse."""
    groups = [False]  # whether the groups that are open hold a long repetition or a choice
    is_risky = False  # whether what was read last does
    long_repeats = 0
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup if token.lastgroup not in ("least", "most") else "repeat"
        if kind == "escape" and token["escape"][1:].isdigit():
            return "it refers back to a group"
        if kind == "open":
            groups.append(False)
        elif kind == "choice":
            groups[-1] = True
        elif kind == "close" and len(groups) > 1:
            is_risky = groups.pop()
            groups[-1] = groups[-1] or is_risky
            continue
        elif kind == "repeat":
            most = _most(token)
            if most > 1 and is_risky:
                return "it repeats what holds a repetition or a choice; expected a set such as [ab]"
            if most > LONG:
                long_repeats += 1
                groups[-1] = True
        is_risky = False
    if long_repeats > MAX_LONG:
        return f"it has more than {MAX_LONG} long repetitions; expected bounds such as {{1,{LONG}}}"
    return ""


def _most(token: re.Match[str]) -> float:
    """How often a repetition may happen."""
    text = token["repeat"]
    if text in ("*", "+"):
        return float("inf")
    if text == "?":
        return 1
    if "," in text:
        return int(token["most"]) if token["most"] else float("inf")
    return int(token["least"] or 0)
