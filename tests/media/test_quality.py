"""The E-model, against figures that G.107 and G.113 print and that can be reckoned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.quality import burst_ratio, opinion, rating


@pytest.mark.parametrize(("r", "score"), [(93.2, 4.41), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58)])
def test_opinions_are_those_of_the_table_in_g_107_annex_b(r: float, score: float) -> None:
    assert opinion(r) == pytest.approx(score, abs=0.01)


def test_a_perfect_line_has_the_default_rating() -> None:
    assert rating(delay_ms=0, loss=0) == 93.2


def test_one_percent_of_chance_loss_costs_what_g_113_says() -> None:
    assert rating(delay_ms=0, loss=0.01) == pytest.approx(93.2 - 95 / 26.1)


def test_bursts_cost_more_than_chance() -> None:
    assert rating(delay_ms=0, loss=0.05, burst=2) == pytest.approx(93.2 - 95 * 5 / (2.5 + 25.1))


def test_delay_costs_little_up_to_177_ms_and_much_beyond() -> None:
    assert rating(delay_ms=150, loss=0) == pytest.approx(93.2 - 3.6)
    assert rating(delay_ms=400, loss=0) == pytest.approx(93.2 - 9.6 - 0.11 * 222.7)


def test_burst_ratio_compares_with_chance() -> None:
    assert burst_ratio(lost=0, bursts=0, expected=1000) == 1
    assert burst_ratio(lost=100, bursts=90, expected=1000) == pytest.approx(1.0)
    assert burst_ratio(lost=100, bursts=20, expected=1000) == pytest.approx(4.5)
    assert burst_ratio(lost=10, bursts=90, expected=1000) == 1


@given(st.floats(-10, 1e4), st.floats(-1, 2), st.floats(1, 50))
def test_any_figures_give_a_score_within_the_scale(delay_ms: float, loss: float, burst: float) -> None:
    assert 1.0 <= opinion(rating(delay_ms=delay_ms, loss=loss, burst=burst)) <= 4.5
