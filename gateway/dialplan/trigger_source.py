"""The escalations of a dialplan file as they are written: what sets them off, and under which circumstances."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from gateway.dialplan.action_source import Actions
from gateway.dialplan.source_values import (
    Callers,
    Digit,
    Languages,
    Name,
    Names,
    Numbers,
    OnlyTrue,
    Phrases,
    Share,
    Usd,
)
from gateway.dialplan.tool_source import RequestSource
from gateway.located import Seconds, Section, WrongValue

TRIGGERS = (
    "dtmf",
    "said",
    "failed_tools",
    "repeats",
    "silence",
    "not_understood",
    "minutes",
    "cost_over",
    "budget",
    "language",
    "sentiment",
    "provider_down",
    "webhook",
)
Times = Annotated[int, Field(ge=1, le=100)]
Moods = Phrases


class WhenSource(Section):
    """Exactly one thing that happens during a session, and what has to hold besides."""

    dtmf: Digit = Field(default="", description="The caller presses this key.")
    said: Phrases = Field(default=(), description="The caller's words hold one of these phrases.")
    failed_tools: Times = Field(default=1, description="So many tools of the model have failed.")
    repeats: Annotated[int, Field(ge=2, le=100)] = Field(
        default=2, description="The caller has said much the same so many times in a row."
    )
    silence: Annotated[Seconds, Field(ge=1, le=3600)] = Field(
        default=1, description="Neither caller nor model has been heard for so long."
    )
    not_understood: Times = Field(default=1, description="So many turns of the caller in a row gave no words.")
    minutes: Annotated[float, Field(gt=0, le=1440)] = Field(
        default=1, description="The caller has been with the session for so long."
    )
    cost_over: Usd = Field(default=Decimal(1), description="The call has cost more than this, in USD.")
    budget: Share = Field(default=1, description="This share of the nearest limit on spending is used up.")
    language: Languages = Field(default=(), description="The conversation has gone over to one of these languages.")
    sentiment: Moods = Field(default=(), description="The model reports that the caller is one of these.")
    provider_down: OnlyTrue = Field(default=False, description="The model cannot be reached or is lost.")
    webhook: RequestSource | None = Field(
        default=None, description='A web service that is told each turn, and answers {"escalate": true}.'
    )

    from_: Callers = Field(default=(), alias="from", description="Only for these callers.")
    to: Numbers = Field(default=(), description="Only where one of these numbers was called.")
    hours: Name = Field(default="", description="Only in these opening hours.")
    session: Names = Field(default=(), description="Only in these sessions.")

    @model_validator(mode="after")
    def _has_one_trigger(self) -> Self:
        written = [name for name in TRIGGERS if name in self.model_fields_set]
        if len(written) != 1:
            raise WrongValue(
                f"has {' and '.join(written) or 'no trigger'}",
                expected=f"expected exactly one of {', '.join(TRIGGERS)}",
            )
        return self

    @property
    def trigger(self) -> str:
        """The one of `TRIGGERS` that is there."""
        return next(name for name in TRIGGERS if name in self.model_fields_set)


class EscalationSource(Section):
    """What happens on an event, whatever the model thinks."""

    name: Name = Field(description="Which the log and tests name.")
    when: WhenSource = Field(description="What sets it off.")
    do: Actions = Field(description="What is done.")
