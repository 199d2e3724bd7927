"""The same key told in two ways counts once; keys told in one way all count."""

import pytest

from gateway.calls.lines.keys import COPY_S, DtmfMode, PressedKeys

MEDIA, INFO = False, True


def news(*told):
    """Of (time, digit, duration in ms, way) those that are no copies."""
    keys = PressedKeys()
    return "".join(
        digit
        for at_s, digit, duration_ms, way in told
        if not keys.is_copy(digit, duration_ms, is_signalled=way, now=at_s)
    )


@pytest.mark.parametrize("way", [MEDIA, INFO])
def test_equal_keys_in_one_way_are_as_many_keys(way):
    assert news(*((i * 0.08, "5", 40, way) for i in range(4))) == "5555"


@pytest.mark.parametrize(
    ("info_s", "media_s", "duration_ms"),
    [(0.0, 0.1, 100), (0.1, 0.1, 100), (0.3, 0.1, 100), (0.0, 4.0, 4000)],
    ids=["pressed", "let go", "late", "held long"],
)
def test_a_key_by_info_and_in_the_media_is_one(info_s, media_s, duration_ms):
    told = sorted([(info_s, "7", 100, INFO), (media_s, "7", duration_ms, MEDIA)])
    assert news(*told) == "7"


def test_a_number_in_both_ways_at_once_is_told_once_in_order():
    told = [
        copy
        for i, digit in enumerate("1122#")
        for copy in ((i * 0.2, digit, 100, INFO), (i * 0.2 + 0.12, digit, 100, MEDIA))
    ]
    assert news(*told) == "1122#"


def test_all_of_one_way_before_all_of_the_other_are_copies_too():
    told = [(i * 0.1, digit, 60, MEDIA) for i, digit in enumerate("113")]
    told += [(0.5 + i * 0.1, digit, 60, INFO) for i, digit in enumerate("113")]
    assert news(*told) == "113"


def test_the_same_key_later_in_the_other_way_is_another_one():
    assert news((0.0, "5", 100, MEDIA), (0.1 + COPY_S + 0.1, "5", 100, INFO)) == "55"


def test_modes_say_what_is_agreed_on():
    assert [mode.takes_events for mode in DtmfMode] == [True, True, False, True]
    assert [mode.takes_tones for mode in DtmfMode] == [True, False, True, False]
