"""What a model costs: the shipped table of prices, an operator's own, and how usage is priced.

::

    prices.yaml ──shipped_prices()──> PriceTable ──find(provider, model)──> Price ──cost(usage)──> USD
    configuration: realtime.NAME.prices ──> SessionPrices ─────────────────────┘

cost = sum over the modalities of (tokens - cached) * input + cached * cached + output * output, per million tokens
(OpenAI: `usage` of response.done; cached tokens are part of the input), plus seconds for those who bill by time. Money
is `Decimal` and exact. Where a provider leaves open of which kind tokens are, they are priced as the dearest: a limit
is rather met too early than too late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.located import Section, WrongValue, load_yaml, validate
from gateway.realtime.events import Usage

CURRENCY = "USD"
SHIPPED_PRICES = Path(__file__).with_name("prices.yaml")
FREE = Decimal(0)

_MILLION = Decimal(1_000_000)
_MINUTE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per million tokens of one modality."""

    input: Decimal
    cached: Decimal
    output: Decimal = FREE


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model costs. Tokens of a modality without rates of its own are priced at the dearest there are."""

    text: Rates | None = None
    audio: Rates | None = None
    image: Rates | None = None
    per_second: Decimal = FREE
    """USD for each second that a session is open, or that a transcript is of."""
    includes_transcription: bool = False
    """The provider bills nothing apart for writing down what callers say."""

    def cost(self, usage: Usage) -> Decimal:
        """USD for the tokens of `usage`; what is billed by time comes apart."""
        rates = [rate for rate in (self.text, self.audio, self.image) if rate is not None]
        if not rates:
            return FREE
        dearest = Rates(
            input=max(rate.input for rate in rates),
            cached=max(rate.cached for rate in rates),
            output=max(rate.output for rate in rates),
        )
        return (_input_cost(self, dearest, usage) + _output_cost(self, dearest, usage)) / _MILLION


def _input_cost(price: Price, dearest: Rates, usage: Usage) -> Decimal:
    """In millionths of a dollar. Cached tokens of no named kind are taken where they save least."""
    told = (
        (price.text, usage.input_text_tokens, usage.cached_text_tokens),
        (price.image, usage.input_image_tokens, usage.cached_image_tokens),
        (price.audio, usage.input_audio_tokens, usage.cached_audio_tokens),
    )
    untold = max(0, usage.input_tokens - sum(tokens for _, tokens, _ in told))
    cached_untold = max(0, usage.cached_tokens - sum(cached for _, _, cached in told))
    kinds = [(rates or dearest, tokens, min(cached, tokens)) for rates, tokens, cached in told]
    cost = FREE
    for rates, tokens, cached in sorted(
        [*kinds, (dearest, untold, 0)], key=lambda kind: kind[0].input - kind[0].cached
    ):
        more = min(cached_untold, tokens - cached)
        cached_untold -= more
        cost += (tokens - cached - more) * rates.input + (cached + more) * rates.cached
    return cost


def _output_cost(price: Price, dearest: Rates, usage: Usage) -> Decimal:
    """In millionths of a dollar. What a model thinks is text, whether its provider counts it there or beside."""
    text, audio = usage.output_text_tokens, usage.output_audio_tokens
    untold = max(0, usage.output_tokens - text - audio)
    thought = min(untold, usage.reasoning_tokens)
    return (
        (text + thought) * (price.text or dearest).output
        + audio * (price.audio or dearest).output
        + (untold - thought) * dearest.output
    )


# Files ---------------------------------------------------------------------------------------------------------------


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Usd = Annotated[Decimal, Field(ge=0)]
_Patterns = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_one_or_more)]


class RatesSection(Section):
    """USD per million tokens; what is cached costs as much as what is not, unless given."""

    input: _Usd
    cached: _Usd | None = None
    output: _Usd = FREE

    def rates(self) -> Rates:
        """The same, to count with."""
        return Rates(input=self.input, cached=self.input if self.cached is None else self.cached, output=self.output)


class PriceSection(Section):
    """What a model costs."""

    text: RatesSection | None = None
    audio: RatesSection | None = None
    image: RatesSection | None = None
    per_minute: _Usd | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.text, self.audio, self.image, self.per_minute) == (None, None, None, None):
            raise WrongValue("holds no price", expected="expected text, audio, image or per_minute")
        return self

    def price(self) -> Price:
        """The same, to count with."""
        return Price(
            text=self.text.rates() if self.text else None,
            audio=self.audio.rates() if self.audio else None,
            image=self.image.rates() if self.image else None,
            per_second=(self.per_minute or FREE) / _MINUTE_S,
        )


class _EntrySection(PriceSection):
    """One line of a table of prices."""

    provider: _Patterns
    model: _Patterns
    includes_transcription: bool = False


class _TableSection(Section):
    """A whole table."""

    currency: str
    read: str
    source: str
    prices: tuple[_EntrySection, ...]


class SessionPricesSection(PriceSection):
    """What an operator pays for a session's model, and for its transcription."""

    transcription: PriceSection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices by patterns of provider and model; the first that fits counts."""

    entries: tuple[tuple[tuple[str, ...], tuple[str, ...], Price], ...]
    """Patterns of the provider, of the model, and what it costs."""
    read: str
    """When the prices were looked up, an ISO date."""

    def find(self, provider: str, model: str) -> Price | None:
        """What `model` costs; None where the table does not know it."""
        return next(
            (price for providers, models, price in self.entries if _fits(provider, providers) and _fits(model, models)),
            None,
        )


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def load_prices(file: Path) -> PriceTable:
    """The table in `file`. Raises: `ConfigurationError`."""
    table = validate(_TableSection, load_yaml(file))
    entries = tuple(
        (entry.provider, entry.model, replace(entry.price(), includes_transcription=entry.includes_transcription))
        for entry in table.prices
    )
    return PriceTable(entries=entries, read=table.read)


@cache
def shipped_prices() -> PriceTable:
    """The table that comes with the gateway."""
    return load_prices(SHIPPED_PRICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPrices:
    """What one kind of realtime session costs. None: nobody knows."""

    model: Price | None
    transcription: Price | None
    """FREE where nothing is written down."""


UNKNOWN_PRICES = SessionPrices(model=None, transcription=None)


def session_prices(
    provider: str, model: str, transcription: str | None, own: SessionPricesSection | None = None
) -> SessionPrices:
    """What the sessions of `model` cost that are written down by the model `transcription`; `own` prices come first."""
    table = shipped_prices()
    listed = table.find(provider, model)
    known = own.price() if own is not None else listed
    if own is not None and own.transcription is not None:
        written: Price | None = own.transcription.price()
    elif transcription is None or (listed is not None and listed.includes_transcription):
        written = Price()
    else:
        written = table.find(provider, transcription)
    return SessionPrices(model=known, transcription=written)
