"""What statuses mean for a person who is being transferred."""

import pytest

from gateway.calls.transfer import TransferOutcome, outcome_of


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, TransferOutcome.SUCCEEDED),
        (202, TransferOutcome.SUCCEEDED),
        (486, TransferOutcome.BUSY),
        (600, TransferOutcome.BUSY),
        (480, TransferOutcome.NO_ANSWER),
        (603, TransferOutcome.DECLINED),
        (404, TransferOutcome.NOT_FOUND),
        (503, TransferOutcome.UNREACHABLE),
        (403, TransferOutcome.REFUSED),
        (408, TransferOutcome.TIMED_OUT),
        (302, TransferOutcome.FAILED),
        (699, TransferOutcome.FAILED),
    ],
)
def test_status_has_a_meaning_a_receptionist_would_tell(status: int, outcome: TransferOutcome) -> None:
    assert outcome_of(status) is outcome
