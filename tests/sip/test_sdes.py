from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NegotiationError
from gateway.sip.sdes import (
    MAXIMUM_CRYPTO_CHARACTERS,
    NO_SRTP,
    OFFERED_SUITES,
    SUITES,
    CryptoLine,
    SrtpKeys,
    SrtpPolicy,
    SrtpTerms,
    accept_lines,
    explain,
)
from tests.support.step_counter import count_lines

KEY_80 = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"  # of the examples in RFC 4568
KEY_32 = "NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj"
SIZES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}


def random_bytes(seed: int) -> Callable[[int], bytes]:
    return Random(seed).randbytes


def line(tag: int = 1, suite: str = "AES_CM_128_HMAC_SHA1_80", seed: int = 1) -> CryptoLine:
    return CryptoLine.of(tag, suite, Random(seed).randbytes(SIZES[suite]))


def terms(policy: SrtpPolicy = SrtpPolicy.OPTIONAL, seed: int = 7) -> SrtpTerms:
    return SrtpTerms.draw(policy, random_bytes(seed))


class TestLine:
    def test_example_of_the_rfc(self) -> None:
        parsed = CryptoLine.parse(f"2 AES_CM_128_HMAC_SHA1_32 inline:{KEY_32}|2^20|1:32")
        assert (parsed.tag, parsed.suite, parsed.flaw) == (2, "AES_CM_128_HMAC_SHA1_32", "")
        assert parsed.key == base64.b64decode(KEY_32)
        assert parsed.mki == bytes(31) + b"\1"

    def test_example_of_the_rfc_with_forward_error_correction_is_not_used(self) -> None:
        text = f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}|2^20|1:4 FEC_ORDER=FEC_SRTP"
        assert CryptoLine.parse(text).flaw == "session parameter FEC_ORDER"

    @pytest.mark.parametrize("suite", SUITES)
    def test_a_line_of_ours_is_understood_as_it_was_meant(self, suite: str) -> None:
        ours = line(3, suite)
        assert CryptoLine.parse(ours.text) == ours
        assert len(ours.key) == SIZES[suite]

    @pytest.mark.parametrize(
        ("rest", "mki"),
        [
            ("", b""),
            ("|2^48", b""),
            ("|1048576", b""),
            ("|1:1", b"\1"),
            ("|2^31|258:2", b"\1\2"),
            ("|2^0|0:4", bytes(4)),
        ],
    )
    def test_lifetime_and_mki_may_be_there_or_not(self, rest: str, mki: bytes) -> None:
        parsed = CryptoLine.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}{rest}")
        assert (parsed.flaw, parsed.mki) == ("", mki)

    @pytest.mark.parametrize("parameters", ["WSH=64", "WSH=1024", "-NEW", "-NEW=1 WSH=128", "   WSH=64"])
    def test_parameters_that_change_no_packet_are_let_pass(self, parameters: str) -> None:
        assert CryptoLine.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80} {parameters}").flaw == ""

    @pytest.mark.parametrize(
        "parameter",
        ["KDR=1", "UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "FEC_ORDER=SRTP_FEC",
         "FEC_KEY=inline:x", "WSH=63", "WSH=", "WSH=x", "NEW", "WSH=64 NEW"],
    )  # fmt: skip
    def test_any_other_parameter_spoils_its_line(self, parameter: str) -> None:
        parsed = CryptoLine.parse(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80} {parameter}")
        assert parsed.flaw.startswith("session parameter")
        assert parsed.key == b""

    @pytest.mark.parametrize(
        ("keys", "flaw"),
        [
            (f"inline:{KEY_80}|2^49", "no lifetime of a key"),
            (f"inline:{KEY_80}|281474976710657", "no lifetime of a key"),
            (f"inline:{KEY_80}|0", "no lifetime of a key"),
            (f"inline:{KEY_80}|2^20|2^20", "no lifetime of a key"),
            (f"inline:{KEY_80}|", "no lifetime of a key"),
            (f"inline:{KEY_80}|2^20|1:0", "no MKI"),
            (f"inline:{KEY_80}|1:129", "no MKI"),
            (f"inline:{KEY_80}|256:1", "no MKI"),
            (f"inline:{KEY_80}|:1", "no MKI"),
            (f"inline:{KEY_80}|1:1;inline:{KEY_32}|2:1", "several keys"),
            (f"uri:{KEY_80}", "unknown key method"),
            ("inline:", "key of 0 octets, not 30"),
            (f"inline:{KEY_80[:-4]}", "key of 27 octets, not 30"),
            (f"inline:{KEY_80}AAAA", "key of 33 octets, not 30"),
            (f"inline:{KEY_80[:-1]}*", "key that is not base64"),
            (f"inline:{KEY_80[:-1]}\u00e9", "key that is not base64"),
        ],
    )
    def test_a_key_that_cannot_be_used_has_a_flaw_that_does_not_name_it(self, keys: str, flaw: str) -> None:
        parsed = CryptoLine.parse(f"1 AES_CM_128_HMAC_SHA1_80 {keys}")
        assert (parsed.flaw, parsed.key) == (flaw, b"")
        assert KEY_80[:8] not in explain([parsed])

    @pytest.mark.parametrize("suite", ["AES_256_CM_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80", "AES_CM_128_NULL_AUTH", "X"])
    def test_a_suite_that_the_library_lacks_is_told_by_name(self, suite: str) -> None:
        parsed = CryptoLine.parse(f"1 {suite} inline:{KEY_80}")
        assert explain([parsed]) == f"{suite} (unknown suite)"

    @pytest.mark.parametrize("padding", ["", "=="])
    def test_padding_is_optional(self, padding: str) -> None:
        text = base64.b64encode(bytes(28)).decode().rstrip("=")
        assert CryptoLine.parse(f"1 AEAD_AES_128_GCM inline:{text}{padding}").key == bytes(28)

    @pytest.mark.parametrize(
        "text",
        ["", "1", "1 AES_CM_128_HMAC_SHA1_80", f"x AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}",
         f"01 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}", f"1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}",
         f"\u0661 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}", f"1 A(B) inline:{KEY_80}",
         f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}" + " WSH=64" * MAXIMUM_CRYPTO_CHARACTERS],
    )  # fmt: skip
    def test_what_is_no_line_is_kept_and_not_used(self, text: str) -> None:
        parsed = CryptoLine.parse(text)
        assert (parsed.flaw, parsed.tag, parsed.key, parsed.text) == ("not a crypto attribute", -1, b"", text)

    @given(text=st.text(max_size=200) | st.from_regex(r"[0-9]{1,9} (AES_CM_128_HMAC_SHA1_80|X) inline:.{0,60}"))
    def test_any_text_is_a_usable_line_or_has_a_flaw(self, text: str) -> None:
        parsed = CryptoLine.parse(text)
        assert parsed.text == text
        assert bool(parsed.flaw) != (len(parsed.key) == SIZES.get(parsed.suite))

    @given(
        tag=st.integers(0, 999_999_999),
        suite=st.sampled_from(SUITES),
        lifetime=st.sampled_from(["", "|2^31", "|99"]),
        mki=st.none() | st.tuples(st.integers(0, 255), st.integers(1, 128)),
        data=st.data(),
    )
    def test_every_line_of_the_grammar_is_read(
        self, tag: int, suite: str, lifetime: str, mki: tuple[int, int] | None, data: st.DataObject
    ) -> None:
        key = data.draw(st.binary(min_size=SIZES[suite], max_size=SIZES[suite]))
        told = f"|{mki[0]}:{mki[1]}" if mki else ""
        parsed = CryptoLine.parse(f"{tag} {suite} inline:{base64.b64encode(key).decode()}{lifetime}{told}")
        expected_mki = mki[0].to_bytes(mki[1], "big") if mki else b""
        assert (parsed.tag, parsed.suite, parsed.key, parsed.mki, parsed.flaw) == (tag, suite, key, expected_mki, "")

    @pytest.mark.parametrize("unit", ["|1:1", ";inline:x", " WSH=64", "=", " -A", "A"])
    def test_the_longest_lines_are_read_in_few_steps(self, unit: str) -> None:
        text = (f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_80}" + unit * 1000)[:MAXIMUM_CRYPTO_CHARACTERS]
        assert count_lines(lambda: CryptoLine.parse(text)) < 3 * MAXIMUM_CRYPTO_CHARACTERS


class TestSecrecy:
    def test_no_repr_shows_a_key(self) -> None:
        ours = line()
        keys = SrtpKeys(suite=ours.suite, local_key=ours.key, remote_key=ours.key)
        drawn = replace(terms(), current=keys)
        shown = f"{ours!r} {ours} {keys!r} {keys} {drawn!r} {drawn}"
        assert ours.text.partition("inline:")[2] not in shown
        assert repr(ours.key)[2:-1] not in shown
        assert all(repr(key)[2:-1] not in shown for _, key in drawn.fresh_keys)


class TestTerms:
    def test_keys_are_drawn_for_every_suite_and_are_all_different(self) -> None:
        keys = dict(terms().fresh_keys)
        assert {suite: len(key) for suite, key in keys.items()} == SIZES
        assert len({key[:16] for key in keys.values()}) == len(SIZES)

    def test_where_no_key_may_be_told_optional_is_plain(self) -> None:
        assert SrtpTerms.draw(SrtpPolicy.OPTIONAL, random_bytes(1), may_carry_keys=False) == NO_SRTP

    def test_where_no_key_may_be_told_required_has_no_offer(self) -> None:
        required = SrtpTerms.draw(SrtpPolicy.REQUIRED, random_bytes(1), may_carry_keys=False)
        with pytest.raises(NegotiationError, match="in clear"):
            required.offer()
        assert required.answer([line()], "RTP/SAVP") is None

    def test_off_draws_nothing(self) -> None:
        assert SrtpTerms.draw(SrtpPolicy.OFF, random_bytes(1)).offer() == ("RTP/AVP", ())

    @pytest.mark.parametrize(
        ("policy", "profile"), [(SrtpPolicy.OPTIONAL, "RTP/AVP"), (SrtpPolicy.REQUIRED, "RTP/SAVP")]
    )
    def test_offer_has_the_suite_everybody_has_first(self, policy: SrtpPolicy, profile: str) -> None:
        told, lines = terms(policy).offer()
        assert told == profile
        assert [(one.tag, one.suite) for one in lines] == list(enumerate(OFFERED_SUITES, start=1))
        assert OFFERED_SUITES[0] == "AES_CM_128_HMAC_SHA1_80"

    def test_first_usable_line_is_answered_under_its_tag_with_our_own_key(self) -> None:
        broken = CryptoLine.parse(f"1 AES_256_CM_HMAC_SHA1_80 inline:{KEY_80}")
        theirs = line(9, "AES_CM_128_HMAC_SHA1_32")
        agreed = terms().answer([broken, theirs, line(10)], "RTP/SAVP")
        assert agreed is not None
        answer, keys = agreed
        assert (answer.tag, answer.suite, answer.key) == (9, theirs.suite, keys.local_key)
        assert keys.remote_key == theirs.key
        assert keys.local_key == dict(terms().fresh_keys)[theirs.suite]

    def test_nothing_usable_is_no_agreement(self) -> None:
        assert terms().answer([CryptoLine.parse("nonsense")], "RTP/SAVP") is None
        assert terms().answer([CryptoLine.parse(f"{line().text} UNENCRYPTED_SRTP")], "RTP/SAVP") is None

    def test_key_stays_as_long_as_the_peers_does(self) -> None:
        agreed = terms().answer([line()], "RTP/SAVP")
        assert agreed is not None
        again = terms().renew(agreed[1], random_bytes(8)).answer([line(tag=4)], "RTP/SAVP")
        assert again is not None
        assert again[1] == agreed[1]
        assert again[0].tag == 4

    @pytest.mark.parametrize("changed", [line(seed=2), line(suite="AES_CM_128_HMAC_SHA1_32")], ids=["key", "suite"])
    def test_key_changes_with_the_peers_key_or_suite(self, changed: CryptoLine) -> None:
        agreed = terms().answer([line()], "RTP/SAVP")
        assert agreed is not None
        again = terms().renew(agreed[1], random_bytes(8)).answer([changed], "RTP/SAVP")
        assert again is not None
        assert again[1].local_key not in {key for _, key in terms().fresh_keys}
        assert again[1].remote_key == changed.key

    @pytest.mark.parametrize("suite", SUITES)
    def test_later_offer_keeps_what_is_in_force(self, suite: str) -> None:
        agreed = terms().answer([line(suite=suite)], "RTP/SAVPF")
        assert agreed is not None
        profile, lines = terms().renew(agreed[1], random_bytes(8)).offer()
        assert profile == "RTP/SAVPF"
        assert (lines[0].suite, lines[0].key) == (suite, agreed[1].local_key)
        assert sorted({one.suite for one in lines}) == sorted({suite, *OFFERED_SUITES})
        assert len(lines) == len({one.suite for one in lines}) == len({one.tag for one in lines})

    def test_terms_without_keys_stay_without(self) -> None:
        assert NO_SRTP.renew(None, random_bytes(1)) == NO_SRTP


class TestAcceptedAnswer:
    def test_our_key_is_that_of_the_line_the_answer_names(self) -> None:
        _, offered = terms().offer()
        theirs = line(2, "AEAD_AES_256_GCM")
        keys = accept_lines(offered, [theirs], "RTP/AVP")
        assert (keys.suite, keys.local_key, keys.remote_key) == (theirs.suite, offered[1].key, theirs.key)

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (line(tag=2), r"AES_CM_128_HMAC_SHA1_80 \(not offered\)"),
            (line(suite="AES_CM_128_HMAC_SHA1_32"), "not offered"),
            (line(tag=4), "not offered"),
            (CryptoLine.parse(f"{line().text} KDR=3"), "session parameter KDR"),
            (CryptoLine.parse(""), "not a crypto attribute"),
        ],
        ids=["tag of another", "suite not offered", "tag not offered", "flaw", "no line"],
    )
    def test_an_answer_that_names_no_line_of_ours_is_refused(self, answer: CryptoLine, told: str) -> None:
        with pytest.raises(NegotiationError, match=told):
            accept_lines(terms().offer()[1], [answer], "RTP/AVP")
