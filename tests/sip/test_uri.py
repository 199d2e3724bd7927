from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.uri import Uri, escape_user, unescape
from tests.support.sip_strategies import free_text, hosts, uris


class TestParse:
    @pytest.mark.parametrize(
        ("text", "uri"),
        [
            ("sip:example.com", Uri("sip", None, None, "example.com")),
            ("SIP:Example.COM:5060", Uri("sip", None, None, "Example.COM", 5060)),
            ("sips:alice:secret@192.0.2.1", Uri("sips", "alice", "secret", "192.0.2.1")),
            ("sip:alice:@h", Uri("sip", "alice", "", "h")),
            (
                "sip:+49-30;ext=5@h;user=phone;lr",
                Uri("sip", "+49-30;ext=5", None, "h", None, (("user", "phone"), ("lr", None))),
            ),
            ("sip:*31#0305550100@h", Uri("sip", "*31#0305550100", None, "h")),
            ("sip:h;;lr;", Uri("sip", None, None, "h", None, (("lr", None),))),
            ("sip:h;x=", Uri("sip", None, None, "h", None, (("x", ""),))),
            ("sip:a@h?Replaces=1@h;to-tag=2", Uri("sip", "a", None, "h", headers="Replaces=1@h;to-tag=2")),
            ("sip:my_proxy", Uri("sip", None, None, "my_proxy")),
            ("tel:+4930555010;phone-context=+49", Uri("tel", "+4930555010", parameters=(("phone-context", "+49"),))),
            ("urn:service:sos", Uri("urn", "service:sos")),
        ],
    )
    def test_parts(self, text: str, uri: Uri) -> None:
        assert Uri.parse(text) == uri

    @pytest.mark.parametrize(
        "text",
        [
            "", "sip", "sip:", ":", "1sip:h", "sip:@h", "sip:a@", "sip:a@b@c", "sip:h:", "sip:h:x", "sip:h:0",
            "sip:h:65536", "sip:h:1:2", "sip: h", "sip:h ", "sip:a b@h", "sip:a%4@h", "sip:a%zz@h", "sip:a\"b@h",
            "sip:a<b@h", "sip:\u00e9@h", "sip:h\u00e9", "sip:h;a b", "sip:h;a=\"b\"", "sip:h;=b", "sip:h?", "sip:h?a b",
            "sip:.h", "sip:-h", "sip:a..b", "sip:1.2.3", "sip:1.2.3.4.", "sip:256.0.0.1", "sip:01.2.3.4", "sip:12345",
            "sip:" + "a" * 256, "tel:", "tel:;x=1", "tel:+1 2", "urn:a b", "urn:",
        ],
    )  # fmt: skip
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            Uri.parse(text)


class TestIpv6:
    """The forms of RFC 5118."""

    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("sip:user@[2001:db8::10]", "2001:db8::10", None),
            ("sip:[2001:db8::10:5070]", "2001:db8::10:5070", None),
            ("sip:[2001:db8::10]:5070", "2001:db8::10", 5070),
            ("sip:[::ffff:192.0.2.10]", "::ffff:192.0.2.10", None),
            ("sip:a:b@[::1];lr?x=y", "::1", None),
        ],
    )
    def test_the_host_has_no_brackets(self, text: str, host: str, port: int | None) -> None:
        uri = Uri.parse(text)
        assert (uri.host, uri.port) == (host, port)
        assert str(uri) == text

    @pytest.mark.parametrize(
        "text",
        [
            "sip:user@2001:db8::10",
            "sip:user@[2001:db8:::192.0.2.1]",
            "sip:[2001:db8::10",
            "sip:2001:db8::10]",
            "sip:[2001:db8::10]5070",
            "sip:[fe80::1%eth0]",
            "sip:[192.0.2.1]",
            "sip:[]",
            "sip:[::1]:",
        ],
    )
    def test_broken_references_are_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            Uri.parse(text)


class TestParameters:
    def test_names_are_found_in_any_case_and_escaped(self) -> None:
        uri = Uri.parse("sip:h;Transport=TCP;%6Cr;x=%41%25")
        assert uri.parameter("transport") == "TCP"
        assert uri.parameter("LR") == ""
        assert uri.parameter("x") == "A%"
        assert uri.parameter("missing") is None
        assert uri.parameter("missing", "default") == "default"

    def test_setting_replaces_in_place_or_appends(self) -> None:
        uri = Uri.parse("sip:h;a=1;Transport=udp").with_parameters(transport="tcp", lr=None)
        assert str(uri) == "sip:h;a=1;Transport=tcp;lr"

    def test_removing(self) -> None:
        uri = Uri.parse("sip:h;a=1;LR;b")
        assert str(uri.without_parameters("lr", "b")) == "sip:h;a=1"
        assert str(uri.without_parameters()) == "sip:h"

    def test_are_counted(self) -> None:
        assert len(Uri.parse("sip:h" + ";a" * 64).parameters) == 64
        with pytest.raises(MessageError, match="more than 64"):
            Uri.parse("sip:h" + ";a" * 65)

    def test_headers_can_be_dropped(self) -> None:
        assert str(Uri.parse("sip:a@h;lr?Subject=x").without_headers()) == "sip:a@h;lr"


class TestMatches:
    """The examples of RFC 3261 19.1.4, and those of RFC 5954 for IPv6."""

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            ("sip:alice@atlanta.com?subject=p&priority=u", "sip:alice@atlanta.com?priority=u&subject=p"),
            ("sip:a@[2001:db8::9:1]", "sip:a@[2001:db8:0:0:0:0:9:1]"),
            ("sip:a%2fb@h", "sip:a%2Fb@h"),
        ],
    )
    def test_same(self, left: str, right: str) -> None:
        assert Uri.parse(left).matches(Uri.parse(right))
        assert Uri.parse(right).matches(Uri.parse(left))

    @pytest.mark.parametrize(
        ("left", "right"),
        [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:a@h", "sips:a@h"),
            ("sip:a:x@h", "sip:a:y@h"),
            ("sip:a%2Fb@h", "sip:a/b@h"),
        ],
    )
    def test_different(self, left: str, right: str) -> None:
        assert not Uri.parse(left).matches(Uri.parse(right))
        assert not Uri.parse(right).matches(Uri.parse(left))


class TestEscapes:
    @pytest.mark.parametrize(
        ("user", "written"),
        [("+4930 555", "+4930%20555"), ("a@b", "a%40b"), ("#21#", "%2321%23"), ("é", "%C3%A9"), ("50%", "50%25")],
    )
    def test_of_user_writes_what_people_type(self, user: str, written: str) -> None:
        uri = Uri.of_user(user, "h", 5060)
        assert str(uri) == f"sip:{written}@h:5060"
        assert Uri.parse(str(uri)).unescaped_user == user

    def test_of_user_without_a_user_is_the_host(self) -> None:
        assert str(Uri.of_user("", "::1", scheme="sips")) == "sips:[::1]"

    def test_escapes_are_resolved_once_beside_any_text(self) -> None:
        assert unescape("%2541 \N{EURO SIGN}%E2%82%AC") == "%41 \N{EURO SIGN}\N{EURO SIGN}"

    def test_bytes_that_are_not_utf8_survive(self) -> None:
        assert escape_user(unescape("a%FF")) == "a%FF"


class TestProperties:
    @settings(deadline=None)
    @given(uris)
    def test_a_uri_survives_its_text(self, uri: Uri) -> None:
        assert Uri.parse(str(uri)) == uri

    @settings(deadline=None)
    @given(uris)
    def test_a_uri_matches_itself(self, uri: Uri) -> None:
        assert uri.matches(uri)

    @settings(deadline=None)
    @given(free_text, hosts)
    def test_any_user_survives(self, user: str, host: str) -> None:
        assert Uri.parse(str(Uri.of_user(user, host))).unescaped_user == user

    @settings(deadline=None)
    @given(
        st.text()
        | st.text().map(lambda text: f"sip:{text}")
        | st.text("sip:@[]%;=?.1aA&").map(lambda text: f"sip:{text}")
    )
    def test_any_text_is_a_uri_or_refused(self, text: str) -> None:
        try:
            uri = Uri.parse(text)
        except MessageError:
            return
        assert Uri.parse(str(uri)) == uri


def test_a_header_is_added_escaped_behind_those_that_are_there() -> None:
    uri = Uri.parse("sip:6001@h;user=phone").with_header("Replaces", "a@b;to-tag=ü")
    assert str(uri) == "sip:6001@h;user=phone?Replaces=a%40b%3Bto-tag%3D%C3%BC"
    assert str(uri.with_header("Require", "replaces")).endswith("%C3%BC&Require=replaces")
    assert unescape(Uri.parse(str(uri)).headers) == "Replaces=a@b;to-tag=ü"
