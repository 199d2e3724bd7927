"""Reasons are counted one by one, and none is missing from what metrics read."""

from __future__ import annotations

from gateway.sip.reject_reason import RejectReason, RejectTable


def test_each_reason_has_a_count_of_its_own() -> None:
    table = RejectTable()
    table.add(RejectReason.RATE)
    table.add(RejectReason.RATE)
    table.add(RejectReason.NO_CODEC)
    assert [table[RejectReason.RATE], table[RejectReason.NO_CODEC], table[RejectReason.CPU]] == [2, 1, 0]
    assert table.total == 3


def test_metrics_see_the_reasons_that_never_occurred() -> None:
    assert RejectTable().as_dict() == {reason.value: 0 for reason in RejectReason}
