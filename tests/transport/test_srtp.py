from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.sdes import SUITES, SrtpKeys, SrtpPolicy, SrtpTerms
from gateway.transport.srtp import MAX_KEYS, MAX_PACKET_BYTES, MAX_SOURCES, WINDOW_PACKETS, Dropped, SrtpContext

TAG_BYTES = {
    "AES_CM_128_HMAC_SHA1_80": 10,
    "AES_CM_128_HMAC_SHA1_32": 4,
    "AEAD_AES_128_GCM": 16,
    "AEAD_AES_256_GCM": 16,
}
SUITE = SUITES[0]


def keys_for(suite: str = SUITE, *, local: int = 1, remote: int = 2, mki: bytes = b"") -> SrtpKeys:
    """Keys drawn from seeds: two sides understand each other where one's local seed is the other's remote one."""
    drawn = [
        dict(SrtpTerms.draw(SrtpPolicy.REQUIRED, Random(seed).randbytes).fresh_keys)[suite] for seed in (local, remote)
    ]
    return SrtpKeys(suite=suite, local_key=drawn[0], remote_key=drawn[1], remote_mki=mki)


def pair(suite: str = SUITE) -> tuple[SrtpContext, SrtpContext]:
    """Us and the peer."""
    return SrtpContext(keys_for(suite)), SrtpContext(keys_for(suite, local=2, remote=1))


def rtp(sequence: int, payload: bytes = b"\x55" * 160, ssrc: int = 0xCAFE) -> memoryview:
    """A packet of 20 ms by number, counted on beyond 65535."""
    number, timestamp = sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF
    header = b"\x80\x00" + number.to_bytes(2, "big") + timestamp.to_bytes(4, "big") + ssrc.to_bytes(4, "big")
    return memoryview(header + payload)


def opened(context: SrtpContext, packet: bytes) -> bytes | Dropped:
    return context.open(memoryview(packet))


class TestVector:
    def test_a_packet_under_the_test_vectors_of_rfc_3711(self) -> None:
        """RFC 3711 B.3 has the master key; the packet is of libsrtp's own test (srtp_driver, srtp_validate)."""
        key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE41390EC675AD498AFEEBB6960B3AABE6")
        context = SrtpContext(SrtpKeys(suite=SUITE, local_key=key, remote_key=key))
        packet = bytes.fromhex("800f1234decafbadcafebabe") + b"\xab" * 16
        sealed = context.seal(memoryview(packet))
        assert sealed.hex() == "800f1234decafbadcafebabe" + (
            "4e55dc4ce79978d88ca4d215949d2402" + "b78d6acc99ea179b8dbb"
        )
        assert opened(context, sealed) == packet


@pytest.mark.parametrize("suite", SUITES)
class TestEverySuite:
    def test_what_one_seals_the_other_opens(self, suite: str) -> None:
        us, peer = pair(suite)
        for sequence in range(3):
            sealed = us.seal(rtp(sequence))
            assert len(sealed) == len(rtp(0)) + TAG_BYTES[suite]
            assert bytes(rtp(0)[12:]) not in sealed
            assert opened(peer, sealed) == rtp(sequence)

    def test_any_bit_changed_is_a_forgery(self, suite: str) -> None:
        us, peer = pair(suite)
        sealed = us.seal(rtp(1, b"\x55" * 8))
        for bit in range(8, 8 * len(sealed)):
            forged = bytearray(sealed)
            forged[bit // 8] ^= 1 << bit % 8
            assert opened(peer, bytes(forged)) in (Dropped.FORGERY, Dropped.RTCP)
        assert opened(peer, sealed) == rtp(1, b"\x55" * 8)

    def test_a_wrong_key_opens_nothing(self, suite: str) -> None:
        us, _ = pair(suite)
        stranger = SrtpContext(keys_for(suite, local=3, remote=4))
        assert opened(stranger, us.seal(rtp(1))) is Dropped.FORGERY

    def test_packets_with_an_mki_are_opened(self, suite: str) -> None:
        _, peer = pair(suite)
        us = SrtpContext(keys_for(suite, mki=b"\1\2"))
        sealed = peer.seal(rtp(1))
        end = len(sealed) - (0 if "GCM" in suite else TAG_BYTES[suite])
        assert opened(us, sealed[:end] + b"\1\2" + sealed[end:]) == rtp(1)
        sealed = peer.seal(rtp(2))
        assert opened(us, sealed[:end] + b"\1\3" + sealed[end:]) is Dropped.FORGERY


class TestReplay:
    def test_a_packet_is_opened_once(self) -> None:
        us, peer = pair()
        sealed = us.seal(rtp(1))
        assert opened(peer, sealed) == rtp(1)
        assert opened(peer, sealed) is Dropped.REPLAY

    def test_late_packets_are_taken_within_the_window(self) -> None:
        us, peer = pair()
        sealed = [us.seal(rtp(sequence)) for sequence in range(WINDOW_PACKETS + 2)]
        assert opened(peer, sealed[-1]) == rtp(WINDOW_PACKETS + 1)
        assert opened(peer, sealed[2]) == rtp(2)
        assert opened(peer, sealed[0]) is Dropped.REPLAY


class TestRollOver:
    @pytest.mark.parametrize("suite", SUITES)
    def test_the_counter_goes_on_over_three_wraps(self, suite: str) -> None:
        us, peer = pair(suite)
        for sequence in range(65000, 4 * 65536, 1000):
            assert opened(peer, us.seal(rtp(sequence))) == rtp(sequence)

    def test_a_wrap_lost_and_reordered(self) -> None:
        us, peer = pair()
        sealed = {sequence: us.seal(rtp(sequence)) for sequence in range(65500, 65600)}
        for sequence in (65500, 65510, 65537, 65535, 65536, 65511, 65599):
            assert opened(peer, sealed[sequence]) == rtp(sequence)

    def test_the_counter_survives_the_same_keys_told_again(self) -> None:
        us, peer = pair()
        for sequence in range(65000, 66000, 100):
            opened(peer, us.seal(rtp(sequence)))
        us.renew(keys_for())
        peer.renew(keys_for(local=2, remote=1))
        assert opened(peer, us.seal(rtp(66000))) == rtp(66000)
        assert opened(peer, us.seal(rtp(66001))) == rtp(66001)

    def test_a_stream_that_comes_back_has_its_counter_still(self) -> None:
        us, peer = pair()
        for sequence in range(65000, 66000, 100):
            opened(peer, us.seal(rtp(sequence)))
        for sequence in range(10):
            assert opened(peer, us.seal(rtp(sequence, ssrc=0xBEEF))) == rtp(sequence, ssrc=0xBEEF)
        assert opened(peer, us.seal(rtp(66100))) == rtp(66100)


class TestSources:
    def test_only_so_many_are_remembered(self) -> None:
        us, peer = pair()
        first = us.seal(rtp(1, ssrc=1))
        assert opened(peer, first) == rtp(1, ssrc=1)
        for ssrc in range(2, MAX_SOURCES + 1):
            assert opened(peer, us.seal(rtp(1, ssrc=ssrc))) == rtp(1, ssrc=ssrc)
        assert opened(peer, first) is Dropped.REPLAY
        assert opened(peer, us.seal(rtp(1, ssrc=99))) == rtp(1, ssrc=99)
        assert opened(peer, first) == rtp(1, ssrc=1)  # forgotten, so it is new
        assert len(peer._inbound._sources) == MAX_SOURCES

    def test_forgeries_are_not_remembered(self) -> None:
        us, _ = pair()
        for ssrc in range(100):
            assert opened(us, bytes(rtp(1, ssrc=ssrc)) + bytes(10)) is Dropped.FORGERY
        assert not us._inbound._sources


class TestNewKeys:
    def test_counters_begin_anew(self) -> None:
        us, peer = pair()
        for sequence in range(65000, 66000, 100):
            opened(peer, us.seal(rtp(sequence)))
        us.renew(keys_for(local=3, remote=4))
        fresh = SrtpContext(keys_for(local=4, remote=3))
        assert opened(fresh, us.seal(rtp(66000))) == rtp(66000)

    def test_packets_under_the_old_key_are_taken_until_one_under_the_new_comes(self) -> None:
        us, peer = pair()
        in_flight = [us.seal(rtp(sequence)) for sequence in range(3)]
        peer.renew(keys_for(local=2, remote=3))
        assert opened(peer, in_flight[0]) == rtp(0)
        us.renew(keys_for(local=3, remote=2))
        assert opened(peer, us.seal(rtp(3))) == rtp(3)
        assert opened(peer, in_flight[1]) is Dropped.FORGERY

    def test_garbage_does_not_end_the_time_of_the_old_key(self) -> None:
        us, peer = pair()
        sealed = us.seal(rtp(1))
        peer.renew(keys_for(local=2, remote=3))
        assert opened(peer, bytes(100)) is Dropped.FORGERY
        assert opened(peer, sealed) == rtp(1)

    def test_another_suite_takes_over(self) -> None:
        us, peer = pair()
        us.renew(keys_for("AEAD_AES_256_GCM"))
        peer.renew(keys_for("AEAD_AES_256_GCM", local=2, remote=1))
        assert opened(peer, us.seal(rtp(1))) == rtp(1)

    def test_the_direction_whose_key_stays_keeps_its_window(self) -> None:
        us, peer = pair()
        sealed = peer.seal(rtp(1))
        assert opened(us, sealed) == rtp(1)
        us.renew(keys_for(local=9))
        assert opened(us, sealed) is Dropped.REPLAY


class TestHostile:
    @settings(deadline=None)
    @given(st.binary(max_size=MAX_PACKET_BYTES + 50))
    def test_no_bytes_of_a_stranger_are_opened(self, packet: bytes) -> None:
        us, peer = pair()
        assert isinstance(opened(us, packet), Dropped)
        assert opened(us, peer.seal(rtp(1))) == rtp(1)

    @pytest.mark.parametrize("size", [MAX_PACKET_BYTES, MAX_PACKET_BYTES + 1, 2047])
    def test_packets_of_any_length_are_dropped_not_raised(self, size: int) -> None:
        assert opened(pair()[0], b"\x80\x00" + bytes(size - 2)) is Dropped.FORGERY

    def test_rtcp_is_told_from_forgeries(self) -> None:
        assert opened(pair()[0], b"\x80\xc8" + bytes(60)) is Dropped.RTCP

    def test_what_cannot_be_sealed_is_an_error_of_one_kind(self) -> None:
        us, _ = pair()
        for packet in (b"", bytes(1400)):
            with pytest.raises(ValueError, match=r"."):
                us.seal(memoryview(packet))


def test_what_was_recorded_under_a_key_stays_a_replay_when_the_peer_comes_back_to_it() -> None:
    us, peer = pair()
    recorded = [peer.seal(rtp(sequence)) for sequence in range(65_530, 65_540)]
    assert all(isinstance(opened(us, packet), bytes) for packet in recorded)
    for _ in range(3):
        us.renew(keys_for(remote=3))
        us.renew(keys_for())
    assert {opened(us, packet) for packet in recorded} == {Dropped.REPLAY}
    assert opened(us, peer.seal(rtp(65_540))) == rtp(65_540)


def test_only_so_many_keys_of_a_peer_are_remembered() -> None:
    us, _ = pair()
    for seed in range(3, 20):
        us.renew(keys_for(remote=seed))
    assert len(us._retired) == MAX_KEYS


REPORT = bytes.fromhex("80c90001 0000cafe 81ca0003 0000cafe 01036162 63000000")


class TestRtcp:
    @pytest.mark.parametrize("suite", SUITES)
    def test_what_one_seals_the_other_opens_once(self, suite: str) -> None:
        us, peer = pair(suite)
        for _ in range(3):
            sealed = us.seal_rtcp(REPORT)
            assert len(sealed) == len(REPORT) + 4 + (16 if "GCM" in suite else 10)
            assert REPORT[8:] not in sealed
            assert peer.open_rtcp(memoryview(sealed)) == REPORT
            assert peer.open_rtcp(memoryview(sealed)) is Dropped.REPLAY

    @pytest.mark.parametrize("suite", SUITES)
    def test_any_bit_changed_is_a_forgery(self, suite: str) -> None:
        us, peer = pair(suite)
        sealed = us.seal_rtcp(REPORT)
        for bit in range(8 * len(sealed)):
            forged = bytearray(sealed)
            forged[bit // 8] ^= 1 << bit % 8
            assert peer.open_rtcp(memoryview(forged)) is Dropped.FORGERY
        assert peer.open_rtcp(memoryview(sealed)) == REPORT

    @pytest.mark.parametrize("suite", SUITES)
    def test_packets_with_an_mki_are_opened(self, suite: str) -> None:
        _, peer = pair(suite)
        us = SrtpContext(keys_for(suite, mki=b"\1\2"))
        sealed = peer.seal_rtcp(REPORT)
        end = len(sealed) - (0 if "GCM" in suite else 10)
        assert us.open_rtcp(memoryview(sealed[:end] + b"\1\2" + sealed[end:])) == REPORT

    def test_reports_and_audio_of_one_source_go_side_by_side(self) -> None:
        us, peer = pair()
        for sequence in range(5):
            assert opened(peer, us.seal(rtp(sequence))) == rtp(sequence)
            assert peer.open_rtcp(memoryview(us.seal_rtcp(REPORT))) == REPORT

    def test_reports_in_flight_under_the_former_key_are_taken(self) -> None:
        us, peer = pair()
        sealed = us.seal_rtcp(REPORT)
        peer.renew(keys_for(local=2, remote=3))
        assert peer.open_rtcp(memoryview(sealed)) == REPORT

    @given(st.binary(max_size=200))
    def test_garbage_is_a_forgery(self, garbage: bytes) -> None:
        _, peer = pair()
        assert peer.open_rtcp(memoryview(garbage)) in (Dropped.FORGERY, Dropped.REPLAY)

    def test_a_flood_of_sources_is_forgotten_again(self) -> None:
        us, peer = pair()
        for source in range(3 * MAX_SOURCES):
            report = REPORT[:4] + source.to_bytes(4, "big")
            assert peer.open_rtcp(memoryview(us.seal_rtcp(report))) == report
        assert len(peer._inbound._sources) == MAX_SOURCES
