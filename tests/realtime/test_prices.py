"""Usage in dollars, against figures worked out by hand, for each kind of price and each gap in the usage."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.located import load_yaml, validate
from gateway.realtime.prices import (
    Price,
    Rates,
    SessionPricesSection,
    load_prices,
    session_prices,
    shipped_prices,
)
from gateway.realtime.session import Usage

REPLY = Usage(
    input_tokens=132,
    output_tokens=121,
    input_text_tokens=119,
    input_audio_tokens=13,
    cached_tokens=64,
    cached_text_tokens=64,
    output_text_tokens=30,
    output_audio_tokens=91,
)


def price_of(model: str, provider: str = "openai") -> Price:
    price = shipped_prices().find(provider, model)
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        # 55 * 4 + 64 * 0.40 + 13 * 32 + 30 * 24 + 91 * 64 millionths
        ("gpt-realtime-2.1", "0.0072056"),
        ("gpt-realtime-2", "0.0072056"),
        # 55 * 0.60 + 64 * 0.06 + 13 * 10 + 30 * 2.40 + 91 * 20
        ("gpt-realtime-2.1-mini", "0.00205884"),
        ("gpt-realtime-mini-2025-10-06", "0.00205884"),
        # 55 * 4 + 64 * 0.40 + 13 * 32 + 30 * 16 + 91 * 64
        ("gpt-realtime", "0.0069656"),
        ("gpt-realtime-2025-08-28", "0.0069656"),
        ("gpt-realtime-1.5", "0.0069656"),
    ],
)
def test_a_reply_costs_what_the_price_page_says(model: str, dollars: str) -> None:
    assert price_of(model).cost(REPLY) == Decimal(dollars)


@pytest.mark.parametrize(
    ("model", "heard", "said"), [("gpt-realtime-2.1", "0.0192", "0.0768"), ("gpt-realtime-2.1-mini", "0.006", "0.024")]
)
def test_a_minute_of_speech_costs_what_it_should(model: str, heard: str, said: str) -> None:
    price = price_of(model)
    assert price.cost(Usage(input_tokens=600, input_audio_tokens=600)) == Decimal(heard)
    assert price.cost(Usage(output_tokens=1200, output_audio_tokens=1200)) == Decimal(said)


def test_cached_audio_and_images_have_prices_of_their_own() -> None:
    usage = Usage(
        input_tokens=2000,
        input_audio_tokens=1000,
        input_image_tokens=1000,
        cached_tokens=1400,
        cached_audio_tokens=900,
        cached_image_tokens=500,
    )
    # 100 * 32 + 900 * 0.40 + 500 * 5 + 500 * 0.50
    assert price_of("gpt-realtime-2.1").cost(usage) == Decimal("0.00631")


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        pytest.param(Usage(input_tokens=1000, output_tokens=1000), "0.096", id="no details: as if it were speech"),
        pytest.param(
            Usage(input_tokens=1000, input_text_tokens=500, input_audio_tokens=500, cached_tokens=600),
            # 500 text cached, 100 audio cached
            f"{(500 * Decimal('0.4') + 400 * 32 + 100 * Decimal('0.4')) / 1_000_000}",
            id="cached, but not of what kind: where it saves least",
        ),
        pytest.param(
            Usage(output_tokens=150, output_text_tokens=50, reasoning_tokens=100),
            "0.0036",
            id="thoughts beside the text",
        ),
        pytest.param(
            Usage(output_tokens=150, output_text_tokens=150, reasoning_tokens=100), "0.0036", id="thoughts in the text"
        ),
        pytest.param(
            Usage(input_tokens=10, input_text_tokens=10, cached_tokens=99, cached_text_tokens=99),
            "0.000004",
            id="more cached than there was",
        ),
    ],
)
def test_what_a_provider_leaves_open_is_not_taken_for_cheap(usage: Usage, dollars: str) -> None:
    assert price_of("gpt-realtime-2.1").cost(usage) == Decimal(dollars)


_COUNT = st.integers(0, 100_000)


@given(text=_COUNT, audio=_COUNT, cached_text=_COUNT, cached_audio=_COUNT, said_text=_COUNT, said_audio=_COUNT)
def test_fully_detailed_usage_costs_the_sum_over_its_modalities(
    *, text: int, audio: int, cached_text: int, cached_audio: int, said_text: int, said_audio: int
) -> None:
    cached_text, cached_audio = min(cached_text, text), min(cached_audio, audio)
    usage = Usage(
        input_tokens=text + audio,
        output_tokens=said_text + said_audio,
        input_text_tokens=text,
        input_audio_tokens=audio,
        cached_tokens=cached_text + cached_audio,
        cached_text_tokens=cached_text,
        cached_audio_tokens=cached_audio,
        output_text_tokens=said_text,
        output_audio_tokens=said_audio,
    )
    ten_millionths = (
        (text - cached_text) * 40
        + (audio - cached_audio) * 320
        + (cached_text + cached_audio) * 4
        + said_text * 240
        + said_audio * 640
    )
    assert price_of("gpt-realtime-2.1").cost(usage) == Decimal(ten_millionths) / 10_000_000


def test_modality_without_a_rate_of_its_own_costs_the_dearest_there_is() -> None:
    price = Price(audio=Rates(input=Decimal(3), cached=Decimal(3), output=Decimal(12)))
    assert price.cost(Usage(input_tokens=1_000_000, input_text_tokens=1_000_000)) == 3


@pytest.mark.parametrize(
    ("provider", "model", "per_minute"),
    [("openai-live", "gpt-live-1", "0.05"), ("xai", "grok-voice-latest", "0.08"), ("openai", "embedded", "0")],
)
def test_those_who_bill_by_time_do_so(provider: str, model: str, per_minute: str) -> None:
    assert round(price_of(model, provider).per_second * 60, 12) == Decimal(per_minute)


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "my-deployment"), ("openai", ""), ("azure", "gpt-realtime")]
)
def test_what_is_not_in_the_table_has_no_price(provider: str, model: str) -> None:
    assert shipped_prices().find(provider, model) is None


def test_operators_own_price_goes_before_the_table() -> None:
    own = validate(SessionPricesSection, load_yaml("audio: {input: 1, output: 2}\ntranscription: {per_minute: 0.6}\n"))
    prices = session_prices("openai", "gpt-realtime-2.1", "whisper-1", own)
    assert prices.model is not None
    assert prices.model.cost(Usage(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=1_000_000)) == 3
    assert prices.transcription == Price(per_second=Decimal("0.01"))


def test_transcription_is_free_where_there_is_none_and_unknown_where_its_model_is() -> None:
    assert session_prices("openai", "gpt-realtime", None).transcription == Price()
    assert session_prices("openai", "gpt-realtime", "whisper-9").transcription is None
    assert session_prices("xai", "grok-voice-latest", "any").transcription == Price()
    assert session_prices("openai", "gpt-realtime", "whisper-1").transcription == price_of("whisper-1")


def test_a_table_with_a_mistake_is_refused_at_its_place(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("currency: USD\nread: x\nsource: x\nprices:\n  - {provider: a, model: b}\n")
    with pytest.raises(ConfigurationError) as refused:
        load_prices(file)
    assert f"{file}:5:5: " in str(refused.value)
    assert "holds no price" in str(refused.value)
