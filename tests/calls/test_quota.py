"""Transfers of one caller in an hour."""

from __future__ import annotations

from gateway.calls.transfers import quota
from gateway.calls.transfers.quota import ContactQuota, TransferQuota


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_one_beyond_the_limit_is_denied_until_the_first_is_an_hour_old() -> None:
    clock = Clock()
    transfers = TransferQuota(20, clock)
    taken = []
    for _ in range(21):
        taken.append(transfers.take("1001"))
        clock.now += 1
    assert taken == [True] * 20 + [False]
    clock.now = 100.0 + 3599
    assert not transfers.take("1001")
    clock.now = 100.0 + 3600
    assert transfers.take("1001")
    assert not transfers.take("1001")


def test_a_denied_transfer_does_not_count() -> None:
    clock = Clock()
    transfers = TransferQuota(1, clock)
    assert transfers.take("1001")
    clock.now += 3000
    assert not transfers.take("1001")
    clock.now += 600
    assert transfers.take("1001")


def test_callers_do_not_use_up_each_others_transfers() -> None:
    transfers = TransferQuota(1, Clock())
    assert transfers.take("1001")
    assert transfers.take("1002")
    assert not transfers.take("1001")


def test_the_book_of_callers_does_not_grow_for_ever() -> None:
    transfers = TransferQuota(1, Clock())
    for number in range(quota.MAX_CALLERS + 5):
        transfers.take(str(number))
    assert len(transfers._taken) == quota.MAX_CALLERS
    assert not transfers.take(str(quota.MAX_CALLERS + 4))


def test_a_contact_is_called_so_often_within_an_hour_by_all_callers_together() -> None:
    clock = Clock()
    contacts = ContactQuota(clock)
    sales = ("plan", "sales")
    for _ in range(3):
        assert contacts.has_room(sales, 3)
        contacts.count(sales)
        clock.now += 60
    assert not contacts.has_room(sales, 3)
    assert contacts.has_room(sales, 4)  # the plan was changed meanwhile
    assert contacts.has_room(("other", "sales"), 3)
    clock.now = 100.0 + 3600
    assert contacts.has_room(sales, 3)
    contacts.count(sales)
    assert not contacts.has_room(sales, 3)
