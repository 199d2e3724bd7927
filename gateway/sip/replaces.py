"""The Replaces header (RFC 3891): the dialog that a new INVITE takes the place of, named as its recipient knows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeGuard

from gateway.errors import MessageError, shown
from gateway.sip.grammar import find_parameter, parse_parameters

_call_id = re.compile(r"[!-:<-~]++")
# RFC 3891 6.1 wants tokens; base64 is let pass as in From and To. What needs quotes would be another value unquoted.
_tag = re.compile(r"[!#-+\--:=?-~]++")
NO_TAG = "0"
"""Stands for the tag of a peer of RFC 2543, which has none (RFC 3891 6.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaces:
    """One value. `to_tag` is the tag of whoever receives it, `from_tag` that of the third party in its dialog."""

    call_id: str
    to_tag: str
    from_tag: str
    is_early_only: bool = False
    """Whether a dialog that is answered already must be left alone."""

    @classmethod
    def parse(cls, text: str) -> Replaces:
        """Raises: `MessageError` where Call-ID or a tag is missing or broken."""
        call_id, semicolon, rest = text.partition(";")
        parameters = parse_parameters(semicolon + rest)
        to_tag, from_tag = find_parameter(parameters, "to-tag"), find_parameter(parameters, "from-tag")
        call_id = call_id.strip()
        if not _call_id.fullmatch(call_id) or not _is_tag(to_tag) or not _is_tag(from_tag):
            raise MessageError(f"not a Replaces: {shown(text)}")
        is_early_only = any(name.lower() == "early-only" for name, _ in parameters)
        return cls(call_id=call_id, to_tag=to_tag, from_tag=from_tag, is_early_only=is_early_only)

    def __str__(self) -> str:
        early_only = ";early-only" if self.is_early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early_only}"


def _is_tag(text: str | None) -> TypeGuard[str]:
    return text is not None and _tag.fullmatch(text) is not None
