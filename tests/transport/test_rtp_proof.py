"""Five seconds for whoever has not shown that audio is wanted."""

from __future__ import annotations

from gateway.transport.rtp_proof import UNPROVEN_PACKETS, Proof


def test_a_silent_address_gets_its_share_and_no_more() -> None:
    proof = Proof()
    proof.begin("192.0.2.1", is_trusted=False)
    assert sum(proof.spend() for _ in range(1000)) == UNPROVEN_PACKETS


def test_a_trusted_address_and_one_that_was_heard_get_all() -> None:
    trusted, heard = Proof(), Proof()
    trusted.begin("192.0.2.1", is_trusted=True)
    heard.begin("192.0.2.2", is_trusted=False)
    heard.is_given = True
    assert all(trusted.spend() and heard.spend() for _ in range(1000))


def test_the_same_address_again_changes_nothing() -> None:
    proof = Proof()
    proof.begin("192.0.2.1", is_trusted=False)
    proof.is_given = True
    proof.begin("192.0.2.1", is_trusted=False)
    assert proof.is_given


def test_another_address_has_to_prove_itself_and_gets_what_is_left() -> None:
    proof = Proof()
    proof.begin("192.0.2.1", is_trusted=False)
    assert sum(proof.spend() for _ in range(100)) == 100
    proof.begin("192.0.2.2", is_trusted=False)
    assert sum(proof.spend() for _ in range(1000)) == UNPROVEN_PACKETS - 100
