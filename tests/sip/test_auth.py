from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.auth import HEADER_NAMES, DigestChallenge, DigestCredentials, parse_challenges, select_challenge
from gateway.sip.grammar import quote
from tests.support.step_counter import count_lines

RFC_2617_NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
RFC_2617 = (
    f'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="{RFC_2617_NONCE}", '
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
RFC_7616_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
RFC_7616_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def rfc_7616(algorithm: str) -> DigestChallenge:
    return DigestChallenge.parse(
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="{RFC_7616_NONCE}", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )


def credentials(challenge: DigestChallenge) -> DigestCredentials:
    return DigestCredentials(challenge, "bob", "zanzibar", lambda: "0a4f113b")


def parameter(authorization: str, name: str) -> str | None:
    found = re.search(rf'(?<![a-z]){name}=(?:"((?:[^"\\]|\\.)*)"|([^, ]*))', authorization)
    return None if found is None else found[1] if found[1] is not None else found[2]


def digest(text: str, name: str = "md5") -> str:
    return hashlib.new(name, text.encode()).hexdigest()


class TestVectors:
    """The worked examples of the standards; RFC 2069's with its published correction."""

    def test_rfc_2617_md5_with_qop(self) -> None:
        answer = DigestCredentials(DigestChallenge.parse(RFC_2617), "Mufasa", "Circle Of Life", lambda: "0a4f113b")
        value = answer.authorization("GET", "/dir/index.html")
        assert parameter(value, "response") == "6629fae49393a05397450978507c4ef1"
        assert parameter(value, "nc") == "00000001"

    def test_rfc_2069_without_qop(self) -> None:
        challenge = DigestChallenge(realm="testrealm@host.com", nonce=RFC_2617_NONCE)
        value = DigestCredentials(challenge, "Mufasa", "CircleOfLife").authorization("GET", "/dir/index.html")
        assert parameter(value, "response") == "1949323746fe6a43ef61f9606e7febea"

    @pytest.mark.parametrize(
        ("algorithm", "response"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_rfc_7616(self, algorithm: str, response: str) -> None:
        answer = DigestCredentials(rfc_7616(algorithm), "Mufasa", "Circle of Life", lambda: RFC_7616_CNONCE)
        value = answer.authorization("GET", "/dir/index.html")
        assert parameter(value, "response") == response
        assert parameter(value, "algorithm") == algorithm

    def test_sha_512_256_of_rfc_8760(self) -> None:
        answer = credentials(rfc_7616("SHA-512-256"))
        hashed = "sha512_256"
        key = digest("bob:http-auth@example.org:zanzibar", hashed)
        request = digest("REGISTER:sip:pbx", hashed)
        expected = digest(f"{key}:{RFC_7616_NONCE}:00000001:0a4f113b:auth:{request}", hashed)
        assert parameter(answer.authorization("REGISTER", "sip:pbx"), "response") == expected

    def test_session_algorithms_bind_the_key_to_nonce_and_cnonce(self) -> None:
        answer = credentials(DigestChallenge.parse('Digest realm="r", nonce="n", qop="auth", algorithm=md5-sess'))
        key = digest(f"{digest('bob:r:zanzibar')}:n:0a4f113b")
        for count in ("00000001", "00000002"):
            value = answer.authorization("REGISTER", "sip:pbx")
            expected = digest(f"{key}:n:{count}:0a4f113b:auth:{digest('REGISTER:sip:pbx')}")
            assert parameter(value, "response") == expected
            assert parameter(value, "algorithm") == "MD5-sess"


class TestChallenge:
    def test_parts(self) -> None:
        assert DigestChallenge.parse(RFC_2617) == DigestChallenge(
            realm="testrealm@host.com",
            nonce=RFC_2617_NONCE,
            qop=("auth", "auth-int"),
            opaque="5ccc069c403ebaf9f0171e9517f40e41",
        )

    def test_commas_in_a_quoted_nonce_belong_to_it(self) -> None:
        challenge = DigestChallenge.parse('Digest nonce="a,b=c, realm=x",realm="r, s",stale=TRUE')
        assert (challenge.nonce, challenge.realm, challenge.stale) == ("a,b=c, realm=x", "r, s", True)

    def test_names_ignore_case_and_space_around(self) -> None:
        challenge = DigestChallenge.parse('dIGEST  Realm = "r" ,NONCE="n" , Algorithm="sha-256", QOP=auth')
        assert challenge == DigestChallenge(realm="r", nonce="n", algorithm="SHA-256", qop=("auth",))

    def test_quoted_pairs_are_resolved_for_the_hash_and_written_again(self) -> None:
        challenge = DigestChallenge.parse('Digest realm="a\\"b\\\\c", nonce="n"')
        assert challenge.realm == 'a"b\\c'
        value = DigestCredentials(challenge, 'b"ob', "zanzibar").authorization("REGISTER", "sip:pbx")
        assert value.startswith('Digest username="b\\"ob", realm="a\\"b\\\\c", ')
        key = digest('b"ob:a"b\\c:zanzibar')
        assert parameter(value, "response") == digest(f"{key}:n:{digest('REGISTER:sip:pbx')}")

    def test_the_first_of_two_equal_parameters_counts(self) -> None:
        assert DigestChallenge.parse('Digest realm="mine", nonce="n", realm="other"').realm == "mine"

    @pytest.mark.parametrize(
        "value",
        [
            "", "Digest", "Digest realm", 'Digest realm="r"', 'Digest nonce="n"', 'Basic realm="r", nonce="n"',
            'Digest realm="r, nonce="n"', 'Digest realm="r", nonce="n', "Negotiate YII=", 'Digest r m="r"',
            'Digest =x, realm="r", nonce="n"', 'realm="r", nonce="n"',
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, value: str) -> None:
        with pytest.raises(MessageError):
            DigestChallenge.parse(value)

    @settings(deadline=None)
    @given(st.text() | st.text('Digest ",=\\realmnonce').map(lambda text: f'Digest realm="r", nonce="n", {text}'))
    def test_any_text_is_a_challenge_or_refused(self, value: str) -> None:
        try:
            challenge = DigestChallenge.parse(value)
        except MessageError:
            return
        assert f"realm={quote(challenge.realm)}" in DigestCredentials(
            DigestChallenge(realm=challenge.realm, nonce=challenge.nonce), "u", "p"
        ).authorization("REGISTER", "sip:pbx")

    @pytest.mark.parametrize("piece", ['"', ",", "a=", 'a="",', "a ", "\\", "<", "Digest a=b,"])
    def test_work_grows_no_faster_than_the_text(self, piece: str) -> None:
        # 60 KB of letters hung the expression of a well-known library for longer than a call lasts.
        small, large = (
            count_lines(lambda value=f"Digest {piece * size}": DigestChallenge.parse(value), MessageError)
            for size in (500, 2_000)
        )
        assert large < 4.5 * small + 100


class TestSelection:
    def test_several_challenges_on_one_line_and_on_several(self) -> None:
        values = ['Basic realm="b", Digest realm="r", nonce="1,", qop="auth", Digest realm="r", nonce="2"', "Digest x"]
        assert [challenge.nonce for challenge in parse_challenges(values)] == ["1,", "2"]

    @pytest.mark.parametrize("values", [[], ['Basic realm="r"'], ["Bearer"], ['Digest realm="r']])
    def test_other_schemes_and_broken_ones_are_left_out(self, values: list[str]) -> None:
        assert parse_challenges(values) == []

    def test_the_strongest_wins_and_the_topmost_of_equals(self) -> None:
        weak, first, second = rfc_7616("MD5"), rfc_7616("SHA-256"), rfc_7616("sha-256")
        assert select_challenge([weak, first, second]) is first
        assert select_challenge([first, rfc_7616("SHA-512-256"), weak]).algorithm == "SHA-512-256"  # type: ignore[union-attr]
        assert select_challenge([]) is None

    @pytest.mark.parametrize(
        ("algorithm", "qop", "is_answerable"),
        [
            (None, (), True),
            ("MD5", ("auth",), True),
            ("MD5", ("auth-int", "auth"), True),
            ("MD5", ("auth-int",), False),
            ("MD5", ("token",), False),
            ("MD5-sess", ("auth",), True),
            ("MD5-sess", (), False),
            ("SHA-1", (), False),
            ("AKAv1-MD5", ("auth",), False),
        ],
    )
    def test_what_we_can_answer(self, algorithm: str | None, qop: tuple[str, ...], is_answerable: bool) -> None:
        challenge = DigestChallenge(realm="r", nonce="n", algorithm=algorithm, qop=qop)
        assert challenge.is_answerable is is_answerable
        assert (select_challenge([challenge]) is challenge) is is_answerable
        if not is_answerable:
            with pytest.raises(ValueError, match="cannot be answered"):
                credentials(challenge)

    def test_only_the_realm_of_the_account(self) -> None:
        foreign, own = DigestChallenge(realm="x", nonce="1"), DigestChallenge(realm="r", nonce="2")
        assert select_challenge([foreign, own], realm="r") is own
        assert select_challenge([foreign], realm="r") is None

    def test_no_weaker_hash_than_demanded(self) -> None:
        assert select_challenge([rfc_7616("MD5")], minimum_algorithm="SHA-256") is None
        assert select_challenge([rfc_7616("SHA-256")], minimum_algorithm="SHA-256") is not None


class TestCredentials:
    def test_all_parameters_in_their_form(self) -> None:
        value = credentials(DigestChallenge.parse(RFC_2617)).authorization("REGISTER", "sip:pbx.example.com")
        response = parameter(value, "response")
        assert value == (
            f'Digest username="bob", realm="testrealm@host.com", nonce="{RFC_2617_NONCE}", uri="sip:pbx.example.com", '
            f'qop=auth, nc=00000001, cnonce="0a4f113b", response="{response}", '
            'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        )

    def test_without_qop_nothing_of_qop_is_sent(self) -> None:
        value = credentials(DigestChallenge(realm="r", nonce="n", opaque="")).authorization("REGISTER", "sip:pbx")
        assert [parameter(value, name) for name in ("qop", "nc", "cnonce", "algorithm")] == [None] * 4
        assert parameter(value, "opaque") == ""

    def test_every_answer_counts_up_under_one_cnonce(self) -> None:
        answer = DigestCredentials(DigestChallenge.parse(RFC_2617), "bob", "zanzibar")
        values = [answer.authorization("INVITE", "sip:a@b") for _ in range(17)]
        assert [parameter(value, "nc") for value in values[:2]] == ["00000001", "00000002"]
        assert parameter(values[16], "nc") == "00000011"
        assert len({parameter(value, "cnonce") for value in values}) == 1
        assert len({parameter(value, "response") for value in values}) == 17

    def test_cnonces_of_different_challenges_differ(self) -> None:
        challenge = DigestChallenge.parse(RFC_2617)
        values = [DigestCredentials(challenge, "bob", "x").authorization("INVITE", "sip:a") for _ in range(2)]
        assert len({parameter(value, "cnonce") for value in values}) == 2

    def test_the_password_is_in_no_text(self) -> None:
        answer = credentials(DigestChallenge.parse(RFC_2617))
        assert "zanzibar" not in repr(answer) + answer.authorization("INVITE", "sip:a@b")

    def test_names_that_are_not_ascii_are_hashed_as_utf8(self) -> None:
        value = DigestCredentials(DigestChallenge(realm="é", nonce="n"), "ü", "ß").authorization("INVITE", "sip:a")
        assert parameter(value, "response") == digest(f"{digest('ü:é:ß')}:n:{digest('INVITE:sip:a')}")

    def test_header_names_by_status(self) -> None:
        assert HEADER_NAMES[401] == ("WWW-Authenticate", "Authorization")
        assert HEADER_NAMES[407] == ("Proxy-Authenticate", "Proxy-Authorization")
