"""Keys of realtime sessions that a hosted model alone can use: tools it calls itself, and what it forgets when full."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from gateway.located import Section, WrongValue
from gateway.realtime.session import ContextTruncation, HostedServer, Secret

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%")
_EXPECTED = "expected auto, disabled, or the share that is kept, as 80%"


def _approvals(value: object) -> object:
    if isinstance(value, str) and value not in ("always", "never"):
        raise WrongValue(expected="expected always, never, or a list of the tools that may be called")
    return value


Approvals = Annotated[Literal["always", "never"] | tuple[str, ...], BeforeValidator(_approvals)]


class HostedServerSection(Section):
    """A server of tools (MCP) that the provider calls."""

    label: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
    url: str = ""
    connector: str = ""
    authorization: str = Field(default="", repr=False)
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    description: str = ""
    tools: tuple[str, ...] | None = None
    require_approval: Literal["always", "never"] = "always"
    approve: Approvals = "never"

    @model_validator(mode="after")
    def _has_one_place(self) -> HostedServerSection:
        if bool(self.url) == bool(self.connector):
            raise WrongValue("has no url or two places", expected="expected url: https://HOST/…, or connector")
        if self.url and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", self.url):
            raise WrongValue("has no url that can be called", expected="expected url: https://HOST/…")
        return self

    def options(self) -> HostedServer:
        """As the session is asked for it."""
        return HostedServer(
            label=self.label,
            url=self.url,
            connector_id=self.connector,
            authorization=Secret(self.authorization) if self.authorization else None,
            headers=tuple(self.headers.items()),
            description=self.description,
            allowed_tools=self.tools,
            require_approval=self.require_approval,
            approves=self.approve,
        )


def _truncation(value: object) -> object:
    if value is None or value in ("auto", "disabled"):
        return value
    share = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if share is None or not 0 < float(share[1]) <= 100:
        raise WrongValue(expected=_EXPECTED)
    return value


Truncation = Annotated[str | None, BeforeValidator(_truncation)]


def truncation_of(text: str | None) -> ContextTruncation | None:
    """What `Truncation` says."""
    if text is None:
        return None
    if text == "auto":
        return ContextTruncation(policy="auto")
    if text == "disabled":
        return ContextTruncation(policy="disabled")
    return ContextTruncation(policy="retention_ratio", retention_ratio=float(text.rstrip(" %")) / 100)
