"""What YAML takes for a comment, and a plan may have meant: a key written as ``#:``, and the end of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.errors import Problem, shown
from gateway.located import Document, Node, Scalar, Table

TEXTS = ("say", "text", "protect", "tell", "greeting", "instructions", "description", "filler", "subject", "reason")
"""Keys whose values, or each of them, are spoken, told or shown, and may hold any character."""
TABLES_OF_TEXTS = ("set", "phrases")
_KEY = re.compile(r"#:(\s|$)")


def lost_in_comments(document: Document) -> tuple[Problem, ...]:
    """A problem for each part of the plan that is missing because ``#`` without quotes begins a comment."""
    keys = [
        Problem(
            file=document.file,
            line=comment.place.line,
            column=comment.place.column,
            message="'#:' begins a comment: the key and what stands behind it are left out",
            expected='put quotes around the key: "#":',
        )
        for comment in document.comments
        if _KEY.match(comment.text)
    ]
    return (*keys, *_cut_texts(document.root))


def _cut_texts(node: Node, *, is_text: bool = False) -> Iterator[Problem]:
    if isinstance(node, Scalar):
        if is_text and node.cut and not node.is_null:
            message = f"the text ends before {shown(node.cut)!r}, which is a comment"
            expected = "put quotes around the text, or two blanks before a comment"
            line, column = node.place
            yield Problem(file=node.file, line=line, column=column, message=message, expected=expected)
    elif isinstance(node, Table):
        for key, value in node.entries:
            if key.text in TABLES_OF_TEXTS and isinstance(value, Table):
                for _, text in value.entries:
                    yield from _cut_texts(text, is_text=True)
            else:
                yield from _cut_texts(value, is_text=key.text in TEXTS)
    else:
        for value in node.values:
            yield from _cut_texts(value, is_text=is_text)
