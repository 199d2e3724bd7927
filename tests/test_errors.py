from __future__ import annotations

import pytest

from gateway.errors import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 tries"), (1, "1 try"), (2, "2 tries"), (1.0, "1 try"), (0.5, "0.5 tries")]
)
def test_a_number_goes_with_one_or_many(number: float, text: str) -> None:
    assert counted(number, "try", "tries") == text


def test_many_is_one_and_an_s() -> None:
    assert (counted(1, "trunk"), counted(1_000_000, "trunk")) == ("1 trunk", "1000000 trunks")
