from __future__ import annotations

import string
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.description import (
    MAXIMUM_FORMATS,
    MAXIMUM_LINES,
    MAXIMUM_MEDIA,
    Codec,
    Direction,
    MediaDescription,
    Origin,
    SessionDescription,
)
from gateway.sip.message import parse_message
from gateway.sip.sdes import MAXIMUM_CRYPTO_LINES, CryptoLine
from gateway.sip.vocabulary import STATIC_CODECS
from tests.support.device_messages import DEVICE_INVITES
from tests.support.sip_strategies import hosts, tokens
from tests.support.step_counter import count_lines

HEAD = ("v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0")


def sdp(*lines: str, head: tuple[str, ...] = HEAD, line_end: str = "\r\n") -> bytes:
    return "".join(line + line_end for line in (*head, *lines)).encode()


def parse(*lines: str) -> SessionDescription:
    return SessionDescription.parse(sdp(*lines))


def media(*lines: str) -> MediaDescription:
    (only,) = parse(*lines).media
    return only


class TestSession:
    def test_parts(self) -> None:
        description = SessionDescription.parse(
            sdp(
                "a=group:BUNDLE 0",
                "a=ice-lite",
                head=("v=0", "o=bob 9 8 IN IP6 ::1", "s=A B", "c=IN IP6 2001:db8::1", "t=1 2"),
            )
        )
        assert description == SessionDescription(
            origin=Origin("bob", 9, 8, "::1"),
            connection="2001:db8::1",
            name="A B",
            timing="1 2",
            attributes=(("group", "BUNDLE 0"), ("ice-lite", None)),
        )

    def test_lines_may_end_with_a_line_feed_alone(self) -> None:
        lines = ("m=audio 9 RTP/AVP 0", "a=sendonly")
        assert SessionDescription.parse(sdp(*lines, line_end="\n")) == parse(*lines)

    def test_a_description_without_name_and_time_is_read(self) -> None:
        description = SessionDescription.parse(sdp(head=HEAD[:2]))
        assert (description.name, description.timing, description.connection) == ("-", "0 0", None)

    def test_lines_that_mean_nothing_to_a_call_are_read_over(self) -> None:
        lines = (
            "i=x",
            "u=http://x",
            "e=a@b",
            "p=+1",
            "b=AS:64",
            "r=1",
            "z=0",
            "k=clear:x",
            "m=audio 9 RTP/AVP 0",
            "i=y",
        )
        assert parse(*lines) == parse("m=audio 9 RTP/AVP 0")

    def test_a_user_name_may_hold_blanks(self) -> None:
        head = ("v=0", "o=Old Phone 1 2 IN IP4 192.0.2.1")
        assert SessionDescription.parse(sdp(head=head)).origin.username == "Old Phone"

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"\r\n", b"v=0", b"v=1\r\no=- 1 2 IN IP4 h", b"o=- 1 2 IN IP4 h\r\nv=0", sdp("x=1"), sdp("M=audio"),
            sdp("m"), sdp("=1"), sdp("", "m=audio 9 RTP/AVP 0"), sdp("a=x\0y"), sdp("a=x\ry"), sdp("c=IN IP4"),
            sdp("c=IN IP5 h"), sdp("c=ATM IP4 h"), sdp("c=IN IP4 2001:db8::1"), sdp("c=IN IP6 192.0.2.1"),
            sdp(head=("v=0", "o=- 1 IN IP4 h")), sdp(head=("v=0", "o=- a 2 IN IP4 h")),
            sdp(head=("v=0", "o=- 1 -2 IN IP4 h")), sdp(head=("v=0", f"o=- 1 {10**20} IN IP4 h")),
            sdp(head=("v=0", "o= 1 2 IN IP4 h")),
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, body: bytes) -> None:
        with pytest.raises(MessageError):
            SessionDescription.parse(body)


class TestMedia:
    def test_parts(self) -> None:
        assert media(
            "m=audio 4000 RTP/AVP 0 96 101",
            "c=IN IP4 192.0.2.9",
            "a=rtpmap:96 opus/48000/2",
            "a=fmtp:96 useinbandfec=1; stereo=0",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-16",
            "a=ptime:30",
            "a=maxptime:60",
            "a=recvonly",
            "a=rtcp:4001",
            "a=rtcp-mux",
        ) == MediaDescription(
            kind="audio",
            port=4000,
            profile="RTP/AVP",
            formats=("0", "96", "101"),
            connection="192.0.2.9",
            codecs=(
                Codec(0, "PCMU", 8000),
                Codec(96, "opus", 48000, 2, "useinbandfec=1; stereo=0"),
                Codec(101, "telephone-event", 8000, 1, "0-16"),
            ),
            ptime_ms=30,
            maxptime_ms=60,
            direction=Direction.RECVONLY,
            attributes=(("rtcp", "4001"), ("rtcp-mux", None)),
        )

    def test_static_types_need_no_map_and_a_map_overrides_them(self) -> None:
        assert media("m=audio 9 RTP/AVP 8 9 18").codecs == (
            Codec(8, "PCMA", 8000),
            Codec(9, "G722", 8000),
            Codec(18, "G729", 8000),
        )
        assert media("m=audio 9 RTP/AVP 0", "a=rtpmap:0 L16/16000/2").codecs == (Codec(0, "L16", 16000, 2),)

    def test_a_dynamic_type_without_a_map_is_known_as_a_format_only(self) -> None:
        line = media("m=audio 9 RTP/AVP 97 0")
        assert line.formats == ("97", "0")
        assert line.codecs == (Codec(0, "PCMU", 8000),)

    @pytest.mark.parametrize(
        "attribute",
        [
            "rtpmap:97", "rtpmap:97 ", "rtpmap:97 opus", "rtpmap:97 opus/0", "rtpmap:97 opus/x",
            "rtpmap:97 opus/8000/0", "rtpmap:97 opus/8000/1/1", "rtpmap:97 o s/8000",
            "rtpmap:98 opus/48000", "rtpmap:x", "rtpmap", "fmtp:97",
            "fmtp:98 x", "ptime:0", "ptime:x", "ptime:20.5", "ptime:99999", "ptime", "maxptime:-1", "sendrecv:1", "",
        ],
    )  # fmt: skip
    def test_a_senseless_attribute_is_kept_and_left_alone(self, attribute: str) -> None:
        line = media("m=audio 9 RTP/AVP 97 0", f"a={attribute}")
        name, colon, value = attribute.partition(":")
        assert line.attributes == ((name, value if colon else None),)
        assert line.codecs == (Codec(0, "PCMU", 8000),)
        assert (line.ptime_ms, line.maxptime_ms, line.direction) == (None, None, Direction.SENDRECV)

    @pytest.mark.parametrize(
        "number", ["128", "-1", "00", "031", "0x0", "\N{ARABIC-INDIC DIGIT ZERO}", "1000000000000000000000", "pcmu"]
    )
    def test_a_format_that_is_no_payload_type_has_no_codec(self, number: str) -> None:
        assert media(f"m=audio 9 RTP/AVP {number}", f"a=rtpmap:{number} PCMU/8000").codecs == ()

    def test_the_direction_of_the_session_holds_where_the_media_has_none(self) -> None:
        description = parse("a=sendonly", "m=audio 9 RTP/AVP 0", "m=audio 9 RTP/AVP 0", "a=inactive")
        assert [line.direction for line in description.media] == [Direction.SENDONLY, Direction.INACTIVE]

    def test_several_ports_and_odd_transports(self) -> None:
        lines = parse(
            "m=audio 4000/2 RTP/AVP 0", "m=image 0 udptl t38", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"
        ).media
        assert [(line.kind, line.port, line.profile, line.formats) for line in lines] == [
            ("audio", 4000, "RTP/AVP", ("0",)),
            ("image", 0, "udptl", ("t38",)),
            ("application", 9, "UDP/DTLS/SCTP", ("webrtc-datachannel",)),
        ]

    def test_a_disabled_line_may_list_no_format(self) -> None:
        assert media("m=video 0 RTP/AVP").refused().formats == ("0",)

    @pytest.mark.parametrize(
        "line",
        ["m=audio", "m=audio 9", "m= 9 RTP/AVP 0", "m=audio x RTP/AVP 0", "m=audio 65536 RTP/AVP 0",
         "m=audio -1 RTP/AVP 0", "m=audio 9  0", "m=audio 9 RTP//AVP 0", "m=au\u00e9 9 RTP/AVP 0"],
    )  # fmt: skip
    def test_a_broken_media_line_is_refused(self, line: str) -> None:
        with pytest.raises(MessageError):
            parse(line)

    @pytest.mark.parametrize(
        ("line", "is_usable"),
        [
            ("m=audio 9 RTP/AVP 0", True),
            ("m=audio 9 RTP/AVPF 0", True),
            ("m=audio 0 RTP/AVP 0", False),
            ("m=audio 9 RTP/SAVP 0", True),
            ("m=audio 9 UDP/TLS/RTP/SAVPF 0", False),
            ("m=video 9 RTP/AVP 31", False),
        ],
    )
    def test_audio_is_the_first_enabled_line_of_rtp_or_srtp(self, line: str, is_usable: bool) -> None:
        description = parse("m=video 9 RTP/AVP 31", line)
        assert description.audio == (description.media[1] if is_usable else None)


class TestCrypto:
    def test_lines_are_read_in_their_order_and_written_as_they_were(self) -> None:
        lines = ("a=crypto:1 X inline:a|1:1 KDR=1", "a=crypto:nonsense", "a=crypto:2  AES_CM_128_HMAC_SHA1_80  uri:b ")
        audio = media("m=audio 9 RTP/SAVP 0", *lines)
        assert [f"a=crypto:{line.text}" for line in audio.crypto] == list(lines)
        assert [text for text in audio.lines() if "crypto" in text] == list(lines)

    def test_lines_that_are_too_many_are_not_read(self) -> None:
        audio = media("m=audio 9 RTP/SAVP 0", *["a=crypto:1 X inline:a"] * (MAXIMUM_CRYPTO_LINES + 1))
        assert len(audio.crypto) == 32

    def test_a_change_of_key_is_a_new_version(self) -> None:
        first, second = (parse("m=audio 9 RTP/SAVP 0", f"a=crypto:1 X inline:{key}") for key in "ab")
        assert first.following(first).origin.version == 2
        assert second.following(first).origin.version == 3


class TestBounds:
    def test_media_lines(self) -> None:
        assert len(parse(*["m=audio 9 RTP/AVP 0"] * MAXIMUM_MEDIA).media) == 64
        with pytest.raises(MessageError, match="65 media"):
            parse(*["m=audio 9 RTP/AVP 0"] * (MAXIMUM_MEDIA + 1))

    def test_formats(self) -> None:
        assert len(media(f"m=audio 9 RTP/AVP {' '.join(['0'] * MAXIMUM_FORMATS)}").formats) == 256
        with pytest.raises(MessageError, match="257 formats"):
            parse(f"m=audio 9 RTP/AVP {' '.join(['0'] * (MAXIMUM_FORMATS + 1))}")

    def test_lines(self) -> None:
        assert parse(*["a=x"] * (MAXIMUM_LINES - len(HEAD)))
        with pytest.raises(MessageError, match="4097 lines"):
            parse(*["a=x"] * (MAXIMUM_LINES - len(HEAD) + 1))

    @pytest.mark.parametrize(
        "line",
        [
            "a=rtpmap:0 PCMU/8000",
            "a=" + "x" * 60,
            "a=fmtp:0 " + "x;" * 30,
            "m=audio 9 RTP/AVP 0",
            "c=IN IP4 h",
            "a=sendonly",
            "i=x",
        ],
    )
    def test_work_grows_no_faster_than_the_text(self, line: str) -> None:
        bodies = [sdp("m=audio 9 RTP/AVP 0", *[line] * size) for size in (50, 200)]
        small, large = (count_lines(partial(SessionDescription.parse, body), MessageError) for body in bodies)
        assert large < 4.5 * small + 100


class TestDirection:
    @pytest.mark.parametrize(
        ("direction", "sends", "receives", "other"),
        [
            (Direction.SENDRECV, True, True, Direction.SENDRECV),
            (Direction.SENDONLY, True, False, Direction.RECVONLY),
            (Direction.RECVONLY, False, True, Direction.SENDONLY),
            (Direction.INACTIVE, False, False, Direction.INACTIVE),
        ],
    )
    def test_both_views(self, direction: Direction, sends: bool, receives: bool, other: Direction) -> None:
        assert (direction.sends, direction.receives, direction.reversed) == (sends, receives, other)
        assert Direction.of(sends=sends, receives=receives) is direction


class TestFollowing:
    def test_the_version_rises_by_one_where_anything_changed(self) -> None:
        old, new = parse("m=audio 9 RTP/AVP 0"), parse("m=audio 9 RTP/AVP 0", "a=sendonly")
        assert new.following(old).origin == Origin("-", 1, 3, "192.0.2.1")
        assert new.following(old).media == new.media

    def test_the_version_stays_where_nothing_did(self) -> None:
        old = parse("m=audio 9 RTP/AVP 0")
        again = SessionDescription.parse(old.to_bytes().replace(b"o=- 1 2 ", b"o=- 7 99 "))
        assert again.following(old) == old


codecs = st.builds(
    Codec, st.integers(0, 127), tokens, st.integers(1, 10**9), st.integers(1, 255), st.none() | st.just("0-15") | tokens
)
attribute_names = tokens.filter(
    lambda name: name not in ("rtpmap", "fmtp", "ptime", "maxptime", *(each.value for each in Direction))
)
one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=20)
attributes = st.lists(st.tuples(attribute_names, st.none() | one_line), max_size=3).map(tuple)
durations = st.none() | st.integers(1, 1000)


crypto_lines = one_line.map(CryptoLine.parse) | st.builds(
    CryptoLine.of, st.integers(0, 999_999_999), tokens.map(str.upper), st.binary(min_size=1, max_size=44)
).map(lambda line: CryptoLine.parse(line.text))


@st.composite
def media_descriptions(draw: st.DrawFn) -> MediaDescription:
    port = draw(st.integers(0, 65535))
    chosen = draw(st.lists(codecs, max_size=4, unique_by=lambda codec: codec.payload_type)) if port else []
    static = {str(number) for number in STATIC_CODECS}
    unknown = draw(st.lists(tokens.filter(lambda text: text not in static), max_size=2))
    return MediaDescription(
        kind=draw(st.sampled_from(["audio", "video", "x"])),
        port=port,
        profile=draw(st.sampled_from(["RTP/AVP", "RTP/SAVPF"])),
        formats=tuple([str(codec.payload_type) for codec in chosen] + unknown),
        connection=draw(st.none() | hosts),
        codecs=tuple(chosen),
        ptime_ms=draw(durations),
        maxptime_ms=draw(durations),
        direction=draw(st.sampled_from(Direction)),
        crypto=draw(st.lists(crypto_lines, max_size=2).map(tuple)),
        attributes=draw(attributes),
    )


descriptions = st.builds(
    SessionDescription,
    origin=st.builds(Origin, tokens, st.integers(0, 10**20 - 1), st.integers(0, 10**20 - 1), hosts),
    connection=st.none() | hosts,
    media=st.lists(media_descriptions(), max_size=3).map(tuple),
    name=one_line.map(lambda text: text or "-"),
    timing=st.text(string.digits + " ", min_size=1),
    attributes=attributes,
)


class TestProperties:
    @settings(deadline=None)
    @given(descriptions)
    def test_a_description_survives_its_text(self, description: SessionDescription) -> None:
        assert SessionDescription.parse(description.to_bytes()) == description

    @settings(deadline=None)
    @given(
        st.binary()
        | st.lists(st.text("vosctma=: 09/IN4P.RTAV\r", max_size=30), max_size=8).map(lambda lines: sdp(*lines))
    )
    def test_any_bytes_are_a_description_or_refused(self, body: bytes) -> None:
        try:
            description = SessionDescription.parse(body)
        except MessageError:
            return
        assert SessionDescription.parse(description.to_bytes()) == description


@pytest.mark.parametrize("body", [parse_message(data).body for data in DEVICE_INVITES.values()], ids=DEVICE_INVITES)
class TestDevices:
    def test_whole(self, body: bytes) -> None:
        description = SessionDescription.parse(body)
        assert description.audio is not None
        assert SessionDescription.parse(description.to_bytes()) == description

    def test_cut_after_every_byte(self, body: bytes) -> None:
        for length in range(len(body)):
            with suppress(MessageError):
                SessionDescription.parse(body[:length])

    def test_every_byte_replaced(self, body: bytes) -> None:
        for place in range(len(body)):
            for octet in (b"\0", b"\n", b"=", b"9"):
                try:
                    description = SessionDescription.parse(body[:place] + octet + body[place + 1 :])
                except MessageError:
                    continue
                assert SessionDescription.parse(description.to_bytes()) == description
