"""The section ``phrases`` of a dialplan file as it is written."""

from __future__ import annotations

from pydantic import Field

from gateway.dialplan.source_values import Line
from gateway.located import Section


class PhrasesSource(Section):
    """What the gateway itself says, in the place of the shipped phrases of the plan's language."""

    call_from: Line = Field(default="", description="To a contact: who calls, {caller}.")
    withheld: Line = Field(default="", description="{caller} where the number is withheld.")
    keys: Line = Field(default="", description="To a contact: {key} takes the call, {refuse} does not.")
    star: Line = Field(default="", description="How the key * is called.")
    hash: Line = Field(default="", description="How the key # is called.")
    message: Line = Field(default="", description="Of a summary: a message of the caller, {text}.")
    said: Line = Field(default="", description="Of a summary: the caller's last words, {text}.")
    callback: Line = Field(default="", description="To a caller: they will be called back.")
    callback_withheld: Line = Field(default="", description="To a caller: they will not, as their number is withheld.")
    callback_invalid: Line = Field(default="", description="To a caller: they will not, as it is no valid number.")
