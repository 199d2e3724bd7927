from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError, NegotiationError
from gateway.sip.message import Address, parse_message
from gateway.sip.sdes import CryptoLine, SrtpPolicy, SrtpTerms
from gateway.sip.sdp import (
    AudioStream,
    Codec,
    Direction,
    LocalMedia,
    MediaDescription,
    SessionDescription,
    accept_answer,
    make_offer,
    negotiate,
)
from tests.support.device_messages import DEVICE_INVITES

PCMU, PCMA, G722 = Codec(0, "PCMU", 8000), Codec(8, "PCMA", 8000), Codec(9, "G722", 8000)
US = LocalMedia(address="192.0.2.2", port=20000, session_id=77, version=5)
EVENT_LINES = ("a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")


def description(*lines: str, connection: str | None = "IN IP4 192.0.2.1") -> SessionDescription:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", *([f"c={connection}"] if connection else []), "t=0 0"]
    return SessionDescription.parse("".join(f"{line}\r\n" for line in (*head, *lines)).encode())


def agree(*lines: str, local: LocalMedia = US) -> tuple[MediaDescription, AudioStream]:
    answer, stream = negotiate(description(*lines), local)
    assert SessionDescription.parse(answer.to_bytes()) == answer
    assert answer.audio is not None
    return answer.audio, stream


class TestAnswer:
    def test_whole(self) -> None:
        answer, stream = negotiate(description("m=audio 4000 RTP/AVP 8 0 101", *EVENT_LINES, "a=sendrecv"), US)
        assert answer.to_bytes().decode().split("\r\n") == [
            "v=0",
            "o=- 77 5 IN IP4 192.0.2.2",
            "s=-",
            "c=IN IP4 192.0.2.2",
            "t=0 0",
            "m=audio 20000 RTP/AVP 8 0 101",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=ptime:20",
            "a=sendrecv",
            "",
        ]
        assert stream == AudioStream(
            remote=Address("192.0.2.1", 4000),
            codec=PCMA,
            receive_codecs=(PCMA, PCMU),
            telephone_event_payload_type=101,
            receive_telephone_event_payload_type=101,
            ptime_ms=20,
            direction=Direction.SENDRECV,
        )

    def test_the_order_is_the_offerers_whatever_ours(self) -> None:
        local = replace(US, codecs=("PCMA", "PCMU"))
        assert agree("m=audio 4000 RTP/AVP 0 8", local=local)[1].codec == PCMU
        assert agree("m=audio 4000 RTP/AVP 8 0", local=local)[1].codec == PCMA

    def test_codecs_we_lack_are_left_out(self) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 9 18 96 3 0", "a=rtpmap:96 opus/48000/2")
        assert audio.formats == ("0",)
        assert stream.receive_codecs == (PCMU,)

    def test_only_the_codecs_of_the_trunk_are_taken(self) -> None:
        local = replace(US, codecs=("pcma",))
        assert agree("m=audio 4000 RTP/AVP 0 8", local=local)[1].receive_codecs == (PCMA,)
        assert agree("m=audio 4000 RTP/AVP 9 0", local=replace(US, codecs=("G722",)))[1].codec == G722

    def test_a_dynamic_number_for_a_static_codec_is_mirrored(self) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 98", "a=rtpmap:98 pcmu/8000")
        assert audio.formats == ("98",)
        assert stream.codec == Codec(98, "pcmu", 8000)

    @pytest.mark.parametrize("mapping", ["PCMU/16000", "PCMU/8000/2", "L16/8000", "PCMUX/8000"])
    def test_the_same_name_at_another_rate_is_another_codec(self, mapping: str) -> None:
        with pytest.raises(NegotiationError, match="no codec in common"):
            agree("m=audio 4000 RTP/AVP 98", f"a=rtpmap:98 {mapping}")

    def test_the_time_is_that_of_the_offer(self) -> None:
        offer = replace(description("m=audio 4000 RTP/AVP 0"), timing="3034423619 3042462419")
        assert negotiate(offer, US)[0].timing == "3034423619 3042462419"

    def test_ice_bundles_and_keys_are_not_answered(self) -> None:
        audio, _ = agree("a=group:BUNDLE 0", "m=audio 4000 RTP/AVP 0", "a=mid:0", "a=rtcp-mux", "a=crypto:1 X inline:x")
        assert audio.attributes == ()


class TestTelephoneEvents:
    @pytest.mark.parametrize("number", [96, 100, 101, 127])
    def test_the_offers_number_is_mirrored(self, number: int) -> None:
        audio, stream = agree(f"m=audio 4000 RTP/AVP 0 {number}", f"a=rtpmap:{number} telephone-event/8000")
        assert audio.formats == ("0", str(number))
        assert audio.codecs[1] == Codec(number, "telephone-event", 8000, 1, "0-15")
        assert stream.telephone_event_payload_type == stream.receive_telephone_event_payload_type == number

    def test_of_several_the_one_at_8000_is_taken(self) -> None:
        lines = ("a=rtpmap:96 telephone-event/48000", "a=rtpmap:97 Telephone-Event/8000")
        assert agree("m=audio 4000 RTP/AVP 0 96 97", *lines)[1].telephone_event_payload_type == 97

    def test_at_another_clock_there_are_none(self) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/48000")
        assert audio.formats == ("0",)
        assert stream.telephone_event_payload_type is None

    def test_without_our_consent_there_are_none(self) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 0 101", *EVENT_LINES, local=replace(US, telephone_events=False))
        assert audio.formats == ("0",)
        assert stream.receive_telephone_event_payload_type is None

    def test_alone_they_are_no_audio(self) -> None:
        with pytest.raises(NegotiationError, match="no codec in common"):
            agree("m=audio 4000 RTP/AVP 101", *EVENT_LINES)


class TestDirection:
    @pytest.mark.parametrize(
        ("offered", "willing", "agreed"),
        [
            ("sendrecv", Direction.SENDRECV, Direction.SENDRECV),
            ("sendonly", Direction.SENDRECV, Direction.RECVONLY),
            ("recvonly", Direction.SENDRECV, Direction.SENDONLY),
            ("inactive", Direction.SENDRECV, Direction.INACTIVE),
            ("sendrecv", Direction.SENDONLY, Direction.SENDONLY),
            ("sendrecv", Direction.RECVONLY, Direction.RECVONLY),
            ("sendonly", Direction.SENDONLY, Direction.INACTIVE),
            ("recvonly", Direction.RECVONLY, Direction.INACTIVE),
            ("sendrecv", Direction.INACTIVE, Direction.INACTIVE),
        ],
    )
    def test_is_the_reverse_within_what_we_are_willing_to_do(
        self, offered: str, willing: Direction, agreed: Direction
    ) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 0", f"a={offered}", local=replace(US, direction=willing))
        assert audio.direction is stream.direction is agreed

    @pytest.mark.parametrize(
        ("attribute", "agreed"),
        [("sendrecv", Direction.RECVONLY), ("sendonly", Direction.RECVONLY), ("inactive", Direction.INACTIVE)],
    )
    def test_an_unspecified_address_is_a_hold(self, attribute: str, agreed: Direction) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0", f"a={attribute}")
        assert audio.direction is stream.direction is agreed
        assert stream.remote == Address("0.0.0.0", 4000)  # noqa: S104 -- nobody binds to it

    def test_hold_and_resume(self) -> None:
        directions = [
            agree("m=audio 4000 RTP/AVP 0", *lines)[1].direction
            for lines in ([], ["a=sendonly"], ["a=sendrecv"], ["c=IN IP4 0.0.0.0"], [])
        ]
        assert [direction.sends for direction in directions] == [True, False, True, False, True]
        assert all(direction.receives for direction in directions)


class TestSeveralLines:
    def test_each_offered_line_is_answered_in_its_place(self) -> None:
        offer = description(
            "m=video 5000 RTP/AVP 31 96",
            "m=audio 4000 RTP/SAVP 0",
            "m=audio 4002 RTP/AVP 18",
            "m=audio 4004 RTP/AVP 8",
            "m=audio 4006 RTP/AVP 0",
            "m=image 0 udptl t38",
        )
        answer, stream = negotiate(offer, US)
        assert [(line.kind, line.port, line.profile, line.formats) for line in answer.media] == [
            ("video", 0, "RTP/AVP", ("31", "96")),
            ("audio", 0, "RTP/SAVP", ("0",)),
            ("audio", 0, "RTP/AVP", ("18",)),
            ("audio", 20000, "RTP/AVP", ("8",)),
            ("audio", 0, "RTP/AVP", ("0",)),
            ("image", 0, "udptl", ("t38",)),
        ]
        assert stream.remote == ("192.0.2.1", 4004)
        assert SessionDescription.parse(answer.to_bytes()) == answer

    @pytest.mark.parametrize(
        ("lines", "reason"),
        [
            ((), "no audio offered"),
            (("m=video 5000 RTP/AVP 31",), "no audio offered"),
            (("m=audio 0 RTP/AVP 0",), "disabled"),
            (("m=audio 4000 RTP/SAVP 0",), "RTP/SAVP"),
            (("m=audio 4000 UDP/TLS/RTP/SAVPF 0",), "UDP/TLS/RTP/SAVPF"),
            (("m=audio 4000 udp 0",), "udp"),
            (("m=audio 4000 RTP/AVP 18 96", "a=rtpmap:96 opus/48000/2"), "no codec in common: 18 96"),
            (("m=audio 4000 RTP/AVP 97",), "no codec in common"),
        ],
    )
    def test_nothing_suits(self, lines: tuple[str, ...], reason: str) -> None:
        with pytest.raises(NegotiationError, match=reason) as caught:
            negotiate(description(*lines), US)
        assert caught.value.sip_status == 488

    def test_feedback_profile_is_answered_in_kind_without_feedback(self) -> None:
        audio, _ = agree("m=audio 4000 RTP/AVPF 0", "a=rtcp-fb:* nack")
        assert (audio.profile, audio.attributes) == ("RTP/AVPF", ())


class TestAddress:
    def test_the_lines_own_address_goes_before_that_of_the_session(self) -> None:
        assert agree("m=audio 4000 RTP/AVP 0", "c=IN IP4 198.51.100.9")[1].remote == ("198.51.100.9", 4000)

    def test_ipv6(self) -> None:
        offer = description("m=audio 4000 RTP/AVP 0", connection="IN IP6 2001:db8::1")
        answer, stream = negotiate(offer, replace(US, address="2001:db8::2"))
        assert stream.remote == ("2001:db8::1", 4000)
        assert b"\r\nc=IN IP6 2001:db8::2\r\n" in answer.to_bytes()
        assert b"\r\no=- 77 5 IN IP6 2001:db8::2\r\n" in answer.to_bytes()

    def test_an_unspecified_ipv6_address_is_a_hold(self) -> None:
        offer = description("m=audio 4000 RTP/AVP 0", connection="IN IP6 ::")
        assert negotiate(offer, replace(US, address="2001:db8::2"))[1].direction is Direction.RECVONLY

    @pytest.mark.parametrize(
        "connection",
        [
            None,
            "IN IP4 phone.example.com",
            "IN IP4 224.2.1.1/127",
            "IN IP4 224.2.1.1",
            "IN IP4 239.255.0.1",
            "IN IP4 255.255.255.255",
            "IN IP6 ff02::1",
            "IN IP6 fe80::1%eth0",
            "IN IP6 2001:db8::1",
            "IN IP4 192.0.2.300",
        ],
    )
    def test_only_the_number_of_one_host_of_our_family_is_sent_to(self, connection: str | None) -> None:
        with pytest.raises(NegotiationError, match="address"):
            negotiate(description("m=audio 4000 RTP/AVP 0", connection=connection), US)


class TestPacketDuration:
    @pytest.mark.parametrize(
        ("lines", "possible", "ptime_ms"),
        [
            ((), (), 20),
            (("a=ptime:30",), (), 20),
            (("a=ptime:30",), (30,), 30),
            (("a=ptime:10", "a=maxptime:60"), (10, 40), 10),
            (("a=maxptime:10",), (10, 40), 10),
            (("a=ptime:40", "a=maxptime:30"), (10, 40), 20),
            (("a=maxptime:10",), (), 20),
        ],
    )
    def test_is_the_peers_wish_where_we_can(
        self, lines: tuple[str, ...], possible: tuple[int, ...], ptime_ms: int
    ) -> None:
        audio, stream = agree("m=audio 4000 RTP/AVP 0", *lines, local=replace(US, other_ptimes_ms=possible))
        assert audio.ptime_ms == stream.ptime_ms == ptime_ms


class TestOffer:
    def test_whole(self) -> None:
        offer = make_offer(US)
        assert offer.to_bytes().decode().split("\r\n")[5:] == [
            "m=audio 20000 RTP/AVP 0 8 101",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=ptime:20",
            "a=sendrecv",
            "",
        ]
        assert SessionDescription.parse(offer.to_bytes()) == offer

    def test_the_order_is_ours(self) -> None:
        offer = make_offer(replace(US, codecs=("PCMA", "G722", "PCMU"), telephone_events=False))
        assert offer.media[0].formats == ("8", "9", "0")

    def test_a_hold_keeps_session_and_raises_the_version(self) -> None:
        first = make_offer(US)
        held = make_offer(replace(US, direction=Direction.SENDONLY)).following(first)
        assert (held.origin.session_id, held.origin.version) == (77, 6)
        assert held.media[0].direction is Direction.SENDONLY
        assert make_offer(US).following(held).origin.version == 7
        assert make_offer(replace(US, direction=Direction.SENDONLY)).following(held).origin.version == 6

    def test_a_codec_we_cannot_number_is_our_mistake(self) -> None:
        with pytest.raises(ValueError, match="opus"):
            replace(US, codecs=("opus",))


class TestAcceptAnswer:
    def test_we_send_under_the_answers_numbers_and_receive_under_our_own(self) -> None:
        answer = description(
            "m=audio 4000 RTP/AVP 98 100", "a=rtpmap:98 PCMA/8000", "a=rtpmap:100 telephone-event/8000"
        )
        assert accept_answer(make_offer(US), answer) == AudioStream(
            remote=Address("192.0.2.1", 4000),
            codec=Codec(98, "PCMA", 8000),
            receive_codecs=(PCMU, PCMA),
            telephone_event_payload_type=100,
            receive_telephone_event_payload_type=101,
            ptime_ms=20,
            direction=Direction.SENDRECV,
        )

    def test_the_answers_first_codec_that_we_offered_is_taken(self) -> None:
        assert accept_answer(make_offer(US), description("m=audio 4000 RTP/AVP 18 8 0")).codec == PCMA

    def test_without_telephone_events_in_the_answer_none_are_sent(self) -> None:
        stream = accept_answer(make_offer(US), description("m=audio 4000 RTP/AVP 0"))
        assert stream.telephone_event_payload_type is None

    def test_telephone_events_that_we_did_not_offer_are_not_sent(self) -> None:
        offer = make_offer(replace(US, telephone_events=False))
        stream = accept_answer(offer, description("m=audio 4000 RTP/AVP 0 101", *EVENT_LINES))
        assert stream.telephone_event_payload_type is None

    @pytest.mark.parametrize(
        ("offered", "answered", "agreed"),
        [
            (Direction.SENDRECV, "sendrecv", Direction.SENDRECV),
            (Direction.SENDRECV, "recvonly", Direction.SENDONLY),
            (Direction.SENDRECV, "inactive", Direction.INACTIVE),
            (Direction.SENDONLY, "recvonly", Direction.SENDONLY),
            (Direction.SENDONLY, "sendrecv", Direction.SENDONLY),
            (Direction.INACTIVE, "sendrecv", Direction.INACTIVE),
        ],
    )
    def test_the_direction_is_the_answers_reverse_within_our_offer(
        self, offered: Direction, answered: str, agreed: Direction
    ) -> None:
        offer = make_offer(replace(US, direction=offered))
        answer = description("m=audio 4000 RTP/AVP 0", f"a={answered}")
        assert accept_answer(offer, answer).direction is agreed

    def test_an_answer_on_hold_is_sent_nothing(self) -> None:
        answer = description("m=audio 4000 RTP/AVP 0", connection="IN IP4 0.0.0.0")
        assert accept_answer(make_offer(US), answer).direction is Direction.RECVONLY

    def test_lines_too_many_are_let_pass(self) -> None:
        answer = description("m=audio 4000 RTP/AVP 0", "m=video 0 RTP/AVP 31")
        assert accept_answer(make_offer(US), answer).codec == PCMU

    @pytest.mark.parametrize(
        ("lines", "reason"),
        [
            ((), "no line"),
            (("m=audio 0 RTP/AVP 0",), "disabled"),
            (("m=video 4000 RTP/AVP 31", "m=audio 4000 RTP/AVP 0"), "video where audio should be"),
            (("m=audio 4000 RTP/SAVP 0",), "RTP/SAVP"),
            (("m=audio 4000 RTP/AVP 9",), "none of our codecs"),
            (("m=audio 4000 RTP/AVP 101", *EVENT_LINES), "none of our codecs"),
            (("m=audio 4000 RTP/AVP 0", "c=IN IP4 224.0.0.1"), "address"),
            (("m=audio 4000 RTP/AVP 0", "c=IN IP6 ::1"), "address of another family"),
        ],
    )
    def test_an_answer_that_is_none_is_refused(self, lines: tuple[str, ...], reason: str) -> None:
        with pytest.raises(NegotiationError, match=reason):
            accept_answer(make_offer(US), description(*lines))

    def test_an_offer_without_audio_has_no_answer(self) -> None:
        with pytest.raises(NegotiationError, match="we offered no audio"):
            accept_answer(description(), description("m=audio 4000 RTP/AVP 0"))


class TestProperties:
    @settings(deadline=None)
    @given(
        ours=st.lists(st.sampled_from(["PCMU", "PCMA", "G722"]), min_size=1, unique=True).map(tuple),
        theirs=st.lists(st.sampled_from(["PCMU", "PCMA", "G722"]), min_size=1, unique=True).map(tuple),
        our_will=st.sampled_from(Direction),
        their_will=st.sampled_from(Direction),
    )
    def test_both_sides_conclude_the_same(
        self, ours: tuple[str, ...], theirs: tuple[str, ...], our_will: Direction, their_will: Direction
    ) -> None:
        """One offers, the other answers: each sends what the other expects, and both know who sends."""
        caller = replace(US, codecs=ours, direction=our_will)
        callee = LocalMedia(address="192.0.2.1", port=4000, session_id=1, codecs=theirs, direction=their_will)
        offer = make_offer(caller)
        if not set(ours) & set(theirs):
            with pytest.raises(NegotiationError):
                negotiate(offer, callee)
            return
        answer, at_callee = negotiate(offer, callee)
        at_caller = accept_answer(offer, answer)
        assert at_caller.codec == at_callee.codec
        assert at_caller.codec in at_callee.receive_codecs
        assert at_callee.codec in at_caller.receive_codecs
        assert at_caller.direction is at_callee.direction.reversed
        assert (at_caller.remote, at_callee.remote) == (Address("192.0.2.1", 4000), Address("192.0.2.2", 20000))


@pytest.mark.parametrize(
    ("device", "codecs", "event", "remote"),
    [
        ("asterisk", (PCMA, PCMU), 101, ("198.51.100.20", 14822)),
        ("kamailio", (PCMU, PCMA), 96, ("203.0.113.5", 30110)),
        ("cisco", (PCMU, PCMA), 101, ("198.51.100.31", 24618)),
        ("yealink", (PCMU, PCMA), 101, ("192.0.2.61", 11798)),
        ("twilio", (PCMU, PCMA), 101, ("203.0.113.90", 18824)),
    ],
)
def test_devices(device: str, codecs: tuple[Codec, ...], event: int, remote: tuple[str, int]) -> None:
    offer = SessionDescription.parse(parse_message(DEVICE_INVITES[device]).body)
    answer, stream = negotiate(offer, US)
    assert (stream.receive_codecs, stream.telephone_event_payload_type, stream.remote) == (codecs, event, remote)
    assert stream.direction is Direction.SENDRECV
    assert accept_answer(offer, answer).codec == stream.codec


THEIR_KEY = Random(1).randbytes(30)
THEIR_LINE = CryptoLine.of(3, "AES_CM_128_HMAC_SHA1_80", THEIR_KEY)
CRYPTO = f"a=crypto:{THEIR_LINE.text}"
OTHER_CRYPTO = "a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:x"


def with_srtp(policy: str, *, seed: int = 5, may_carry_keys: bool = True) -> LocalMedia:
    terms = SrtpTerms.draw(SrtpPolicy(policy), Random(seed).randbytes, may_carry_keys=may_carry_keys)
    return replace(US, srtp=terms)


class TestSrtpAnswer:
    @pytest.mark.parametrize(
        ("policy", "profile", "lines", "agreed"),
        [
            ("off", "RTP/AVP", (), "plain"),
            ("off", "RTP/AVP", (CRYPTO,), "plain"),
            ("off", "RTP/SAVP", (CRYPTO,), "profile RTP/SAVP: SRTP is off"),
            ("off", "RTP/SAVPF", (CRYPTO,), "profile RTP/SAVPF: SRTP is off"),
            ("optional", "RTP/AVP", (), "plain"),
            ("optional", "RTP/AVP", (CRYPTO,), "srtp"),
            ("optional", "RTP/AVPF", (CRYPTO,), "srtp"),
            ("optional", "RTP/AVP", (OTHER_CRYPTO,), "plain"),
            ("optional", "RTP/AVP", (OTHER_CRYPTO, CRYPTO), "srtp"),
            ("optional", "RTP/SAVP", (CRYPTO,), "srtp"),
            ("optional", "RTP/SAVPF", (CRYPTO,), "srtp"),
            ("optional", "RTP/SAVP", (), "no SRTP key that we can use: no a=crypto line"),
            ("optional", "RTP/SAVP", (OTHER_CRYPTO,), r"AES_256_CM_HMAC_SHA1_80 \(unknown suite\)"),
            ("optional", "UDP/TLS/RTP/SAVP", (CRYPTO,), "profile UDP/TLS/RTP/SAVP"),
            ("required", "RTP/AVP", (), "no SRTP key that we can use: no a=crypto line"),
            ("required", "RTP/AVP", (CRYPTO,), "srtp"),
            ("required", "RTP/AVP", (OTHER_CRYPTO,), "unknown suite"),
            ("required", "RTP/SAVP", (CRYPTO,), "srtp"),
            ("required", "RTP/SAVPF", (CRYPTO,), "srtp"),
            ("required", "RTP/SAVP", (OTHER_CRYPTO,), "unknown suite"),
        ],
    )
    def test_policy_and_offer(self, policy: str, profile: str, lines: tuple[str, ...], agreed: str) -> None:
        offer, local = (f"m=audio 4000 {profile} 0", *lines), with_srtp(policy)
        if agreed not in ("plain", "srtp"):
            with pytest.raises(NegotiationError, match=agreed):
                agree(*offer, local=local)
            return
        audio, stream = agree(*offer, local=local)
        assert audio.profile == profile
        if agreed == "plain":
            assert (audio.crypto, stream.srtp) == ((), None)
        else:
            assert stream.srtp is not None
            assert audio.crypto == (CryptoLine.of(3, THEIR_LINE.suite, stream.srtp.local_key),)
            assert stream.srtp.remote_key == THEIR_KEY

    @pytest.mark.parametrize(
        ("policy", "profile", "agreed"),
        [
            ("optional", "RTP/AVP", "plain"),
            ("optional", "RTP/SAVP", "profile RTP/SAVP: SRTP is off"),
            ("required", "RTP/AVP", "may not be sent in clear"),
            ("required", "RTP/SAVP", "may not be sent in clear"),
        ],
    )
    def test_over_a_transport_that_may_not_carry_keys(self, policy: str, profile: str, agreed: str) -> None:
        local = with_srtp(policy, may_carry_keys=False)
        if agreed == "plain":
            audio, stream = agree(f"m=audio 4000 {profile} 0", CRYPTO, local=local)
            assert (audio.crypto, stream.srtp) == ((), None)
        else:
            with pytest.raises(NegotiationError, match=agreed):
                agree(f"m=audio 4000 {profile} 0", CRYPTO, local=local)

    @pytest.mark.parametrize(("policy", "port"), [("off", 4000), ("optional", 4002), ("required", 4002)])
    def test_of_two_lines_the_one_with_keys_is_taken_unless_srtp_is_off(self, policy: str, port: int) -> None:
        lines = ("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0", CRYPTO)
        answer, stream = negotiate(description(*lines), with_srtp(policy))
        assert stream.remote.port == port
        assert [media.port > 0 for media in answer.media] == [port == 4000, port == 4002]

    def test_refused_lines_tell_no_key(self) -> None:
        answer, _ = negotiate(
            description("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/SAVP 0", CRYPTO), with_srtp("off")
        )
        assert b"crypto" not in answer.to_bytes()

    def test_two_looks_at_one_offer_give_the_same_answer(self) -> None:
        offer, local = description("m=audio 4000 RTP/SAVP 0", CRYPTO), with_srtp("required")
        assert negotiate(offer, local) == negotiate(offer, local)


class TestSrtpOffer:
    @pytest.mark.parametrize(
        ("caller", "callee", "profile", "is_srtp"),
        [
            ("off", "off", "RTP/AVP", False),
            ("off", "optional", "RTP/AVP", False),
            ("off", "required", None, False),
            ("optional", "off", "RTP/AVP", False),
            ("optional", "optional", "RTP/AVP", True),
            ("optional", "required", "RTP/AVP", True),
            ("required", "off", None, False),
            ("required", "optional", "RTP/SAVP", True),
            ("required", "required", "RTP/SAVP", True),
        ],
    )
    def test_both_sides_conclude_the_same(self, caller: str, callee: str, profile: str | None, is_srtp: bool) -> None:
        offer = SessionDescription.parse(make_offer(with_srtp(caller, seed=1)).to_bytes())
        if profile is None:
            with pytest.raises(NegotiationError):
                negotiate(offer, with_srtp(callee, seed=2))
            return
        answer, theirs = negotiate(offer, with_srtp(callee, seed=2))
        ours = accept_answer(offer, SessionDescription.parse(answer.to_bytes()))
        assert answer.media[0].profile == profile
        assert (ours.srtp is not None, theirs.srtp is not None) == (is_srtp, is_srtp)
        if ours.srtp and theirs.srtp:
            assert ours.srtp.suite == theirs.srtp.suite
            assert (ours.srtp.local_key, ours.srtp.remote_key) == (theirs.srtp.remote_key, theirs.srtp.local_key)
            assert ours.srtp.local_key != ours.srtp.remote_key

    @pytest.mark.parametrize(
        ("policy", "answer", "told"),
        [
            ("required", ("m=audio 4000 RTP/SAVP 0",), "RTP/SAVP without a key"),
            ("required", ("m=audio 4000 RTP/AVP 0",), "RTP/AVP without a key, where we offered RTP/SAVP"),
            ("required", ("m=audio 4000 RTP/SAVP 0", CRYPTO), "not offered"),
            ("optional", ("m=audio 4000 RTP/SAVP 0",), "RTP/SAVP without a key, where we offered RTP/AVP"),
            ("optional", ("m=audio 4000 RTP/AVP 0", CRYPTO), "not offered"),
            ("off", ("m=audio 4000 RTP/SAVP 0", CRYPTO), "where we offered RTP/AVP"),
        ],
    )
    def test_an_answer_that_leaves_open_what_is_sealed_is_refused(
        self, policy: str, answer: tuple[str, ...], told: str
    ) -> None:
        with pytest.raises(NegotiationError, match=told):
            accept_answer(make_offer(with_srtp(policy)), description(*answer))

    def test_keys_nobody_asked_for_are_left_alone(self) -> None:
        stream = accept_answer(make_offer(US), description("m=audio 4000 RTP/AVP 0", CRYPTO))
        assert stream.srtp is None

    def test_required_where_no_key_may_be_told_makes_no_offer(self) -> None:
        with pytest.raises(NegotiationError, match="in clear"):
            make_offer(with_srtp("required", may_carry_keys=False))


class TestSecrecy:
    def test_no_repr_of_description_or_stream_shows_a_key(self) -> None:
        encoded = THEIR_LINE.text.partition("inline:")[2]
        offer = description(
            f"a=crypto:{THEIR_LINE.text}", "m=audio 4000 RTP/SAVP 0", CRYPTO, f"a=acap:1 crypto:{THEIR_LINE.text}"
        )
        answer, stream = negotiate(offer, with_srtp("required"))
        shown = f"{offer!r} {answer!r} {stream!r} {with_srtp('required')!r}"
        assert encoded not in shown
        assert answer.media[0].crypto[0].text.partition("inline:")[2] not in shown
        assert encoded.encode() in offer.to_bytes()

    @pytest.mark.parametrize("garbled", [f" {CRYPTO}", f"{CRYPTO}\0", f"A{CRYPTO.replace('inline', 'INLINE')}"])
    def test_no_error_about_a_garbled_line_shows_a_key(self, garbled: str) -> None:
        with pytest.raises(MessageError) as error:
            description("m=audio 4000 RTP/SAVP 0", garbled)
        assert THEIR_LINE.text[-20:] not in str(error.value)
