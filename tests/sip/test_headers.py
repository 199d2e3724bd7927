from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.headers import CSeq, Headers, NameAddr, Via, canonical_name
from gateway.sip.uri import Uri
from tests.support.sip_strategies import name_addrs, vias

A_B = Uri("sip", "a", None, "b")


class TestCanonicalName:
    @pytest.mark.parametrize(
        ("spelt", "name"),
        [
            ("i", "Call-ID"), ("I", "Call-ID"), ("CALL-id", "Call-ID"), ("cseq", "CSeq"),
            ("www-authenticate", "WWW-Authenticate"), ("content-type", "Content-Type"),
            ("record-route", "Record-Route"),
            ("m", "Contact"), ("e", "Content-Encoding"), ("l", "Content-Length"), ("c", "Content-Type"), ("f", "From"),
            ("s", "Subject"), ("k", "Supported"), ("t", "To"), ("v", "Via"), ("a", "Accept-Contact"),
            ("b", "Referred-By"),
            ("d", "Request-Disposition"), ("j", "Reject-Contact"), ("o", "Event"), ("r", "Refer-To"),
            ("u", "Allow-Events"),
            ("x", "Session-Expires"), ("y", "Identity"), ("n", "Identity-Info"), ("x-cUSTOM-hEADER", "X-Custom-Header"),
            ("P-asserted-identity", "P-Asserted-Identity"), ("rseq", "RSeq"), ("sip-etag", "SIP-ETag"),
        ],
    )  # fmt: skip
    def test_one_spelling_for_all(self, spelt: str, name: str) -> None:
        assert canonical_name(spelt) == name

    @pytest.mark.parametrize("name", ["", "a b", "a:b", "Ä", "a\r\nb"])
    def test_a_name_is_a_token(self, name: str) -> None:
        with pytest.raises(MessageError):
            canonical_name(name)


class TestHeaders:
    def test_finds_by_any_spelling(self) -> None:
        headers = Headers([("v", "1"), ("VIA", "2"), ("Call-ID", "x")])
        assert headers.get("via") == "1"
        assert headers.get_all("Via") == ["1", "2"]
        assert headers.get("i") == "x"
        assert headers.get("To") is None
        assert headers.get("To", "none") == "none"
        assert "call-id" in headers
        assert "To" not in headers
        assert len(headers) == 3

    def test_lists_are_split_outside_quotes_and_brackets(self) -> None:
        headers = Headers([("Contact", '"a,\\",b" <sip:x,y@h>;p="1,2", <sip:z>'), ("m", "sip:q"), ("Contact", "")])
        assert headers.get_list("Contact") == ['"a,\\",b" <sip:x,y@h>;p="1,2"', "<sip:z>", "sip:q"]
        assert headers.get_list("Route") == []

    def test_set_replaces_all_and_remove_drops_all(self) -> None:
        headers = Headers([("Via", "1"), ("Via", "2"), ("To", "t")])
        headers.set("v", "3")
        assert headers.get_all("Via") == ["3"]
        headers.remove("via")
        headers.remove("via")
        assert list(headers) == [("To", "t")]

    def test_prepend_puts_a_new_name_first_and_an_old_one_before_its_own(self) -> None:
        headers = Headers([("To", "t")])
        headers.prepend("Via", "2")
        headers.prepend("Via", "1")
        assert list(headers) == [("Via", "1"), ("Via", "2"), ("To", "t")]

    def test_a_copy_is_independent(self) -> None:
        headers = Headers([("Via", "1")])
        twin = headers.copy()
        assert twin == headers
        twin.add("Via", "2")
        assert headers.get_all("Via") == ["1"]
        assert twin != headers

    def test_a_view_lasts_until_its_header_changes(self) -> None:
        parsed: list[list[str]] = []

        def parse(fields: list[str]) -> int:
            parsed.append(list(fields))
            return len(fields)

        headers = Headers([("Via", "1")])
        assert headers.view("Via", parse) == headers.view("v", parse) == 1
        assert parsed == [["1"]]
        for change in (headers.add, headers.prepend, headers.set):
            change("Via", "2")
            headers.view("Via", parse)
        headers.remove("Via")
        assert headers.view("Via", parse) == 0
        assert len(parsed) == 5

    @pytest.mark.parametrize("value", ["a\r\nVia: evil", "a\nb", "a\rb"])
    def test_a_line_break_is_never_taken(self, value: str) -> None:
        headers = Headers()
        for change in (headers.add, headers.prepend, headers.set):
            with pytest.raises(ValueError, match="line break"):
                change("Subject", value)

    def test_text_that_has_no_bytes_is_never_taken(self) -> None:
        with pytest.raises(ValueError, match="surrogates not allowed"):
            Headers([("Subject", "\ud83d")])
        assert Headers([("Subject", "\udcff \N{EURO SIGN}")]).get("Subject") == "\udcff \N{EURO SIGN}"

    def test_values_lose_the_space_around(self) -> None:
        assert Headers([("Subject", " \t a b\t")]).get("Subject") == "a b"

    def test_shows_what_it_holds(self) -> None:
        assert repr(Headers([("v", "1")])) == "Headers([('Via', '1')])"
        assert Headers() != {}


class TestNameAddr:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("<sip:a@b>", NameAddr("", A_B)),
            ("sip:a@b", NameAddr("", A_B)),
            ("sip:a@b ; tag = 1", NameAddr("", A_B, (("tag", "1"),))),
            ("<sip:a@b;lr>;tag=1", NameAddr("", A_B.with_parameters(lr=None), (("tag", "1"),))),
            ('"" <sip:a@b>', NameAddr("", A_B)),
            ('"A \\"B\\" \\\\C"<sip:a@b>', NameAddr('A "B" \\C', A_B)),
            ('"<sip:x@y>;tag=9, z" <sip:a@b>', NameAddr("<sip:x@y>;tag=9, z", A_B)),
            ("A. B. Müller (home) <sip:a@b>", NameAddr("A. B. Müller (home)", A_B)),
            ("  A\t<sip:a@b>  ", NameAddr("A", A_B)),
            ('<sip:a@b>;q="a;b,c\\"";x', NameAddr("", A_B, (("q", '"a;b,c\\""'), ("x", None)))),
            ("<sip:a@b>;;tag=1;", NameAddr("", A_B, (("tag", "1"),))),
            ("<tel:+1;x=y>;z", NameAddr("", Uri("tel", "+1", parameters=(("x", "y"),)), (("z", None),))),
            ("tel:+1;x=y", NameAddr("", Uri("tel", "+1"), (("x", "y"),))),
        ],
    )
    def test_parts(self, text: str, value: NameAddr) -> None:
        assert NameAddr.parse(text) == value

    @pytest.mark.parametrize(
        "text",
        [
            "", "<>", "<sip:a@b", "sip:a@b>", '"A <sip:a@b>', '"A\\" <sip:a@b>', '"A" sip:a@b', "A, B <sip:a@b>",
            "A;B <sip:a@b>", 'A"B <sip:a@b>', "<sip:a@b> x", "<sip:a@b>x;y", "<sip:a@b>;a b", "<sip:a@b>;=1",
            '<sip:a@b>;x="', '<sip:a@b>;x="1"2', "<sip:a@b>,<sip:c@d>", "sip:a@b,sip:c@d", "sip:a@b?x=y", "< sip:a@b>",
            "<<sip:a@b>>", "*",
        ],
    )  # fmt: skip
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            NameAddr.parse(text)

    def test_parameters_are_found_in_any_case_and_unquoted(self) -> None:
        value = NameAddr.parse('<sip:a@b>;TAG=T;+sip.Instance="<urn:uuid:1>";q=0.5')
        assert value.tag == "T"
        assert value.parameter("+SIP.instance") == "<urn:uuid:1>"
        assert value.parameter("expires", "60") == "60"

    def test_setting_a_tag(self) -> None:
        assert str(NameAddr("", A_B).with_parameter("tag", "x")) == "<sip:a@b>;tag=x"
        assert str(NameAddr("", A_B, (("Tag", "x"),)).with_parameter("tag", "y")) == "<sip:a@b>;Tag=y"

    def test_an_empty_tag_is_none(self) -> None:
        assert NameAddr.parse("<sip:a@b>;tag").tag is None
        assert NameAddr.parse("<sip:a@b>;tag=").tag is None

    @settings(deadline=None)
    @given(name_addrs)
    def test_survives_its_text(self, value: NameAddr) -> None:
        assert NameAddr.parse(str(value)) == value

    @settings(deadline=None)
    @given(st.text() | st.text('<>"\\;=,sip:a@ ') | st.text(';="\\a ').map(lambda text: f"<sip:a>{text}"))
    def test_any_text_is_a_value_or_refused(self, text: str) -> None:
        try:
            value = NameAddr.parse(text)
        except MessageError:
            return
        assert NameAddr.parse(str(value)) == value or "\r" in text or "\n" in text


class TestVia:
    @pytest.mark.parametrize(
        ("text", "via"),
        [
            ("SIP/2.0/UDP h", Via("UDP", "h")),
            ("SIP/2.0/tcp h:5061 ;branch=z9hG4bK1", Via("TCP", "h", 5061, (("branch", "z9hG4bK1"),))),
            ("SIP / 2.0 / UDP [2001:db8::1] : 5060", Via("UDP", "2001:db8::1", 5060)),
            ("SIP/2.0/TLS-SCTP h;rport;ttl=1", Via("TLS-SCTP", "h", None, (("rport", None), ("ttl", "1")))),
            ("SIP/7.0/UDP h", Via("UDP", "h", None, (), "SIP/7.0")),
        ],
    )
    def test_parts(self, text: str, via: Via) -> None:
        assert Via.parse(text) == via

    @pytest.mark.parametrize(
        "text",
        ["", "SIP/2.0/UDP", "SIP/2.0 h", "SIP/2.0/UDP h h2", "SIP/2.0/UDP h:", "SIP/2.0/UDP h:a", "SIP/2.0/UDP ::1",
         "SIP/2.0/UDP [::1", "SIP/2.0/UDP h,x", "SIP/2.0/UDP ;branch=1", "SIP//UDP h"],
    )  # fmt: skip
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            Via.parse(text)

    def test_where_the_answer_goes(self) -> None:
        via = Via.parse("SIP/2.0/UDP h;rport;branch=x")
        assert (via.received, via.rport, via.has_rport) == (None, None, True)
        noted = via.with_parameter("rport", "1024").with_parameter("received", "192.0.2.9")
        assert (noted.received, noted.rport, noted.has_rport) == ("192.0.2.9", 1024, True)
        assert str(noted) == "SIP/2.0/UDP h;rport=1024;branch=x;received=192.0.2.9"
        assert not Via.parse("SIP/2.0/UDP h").has_rport
        assert noted.parameter("BRANCH") == "x"
        assert noted.parameter("maddr", "none") == "none"

    @pytest.mark.parametrize("received", ["2001:db8::9", "[2001:db8::9]"])
    def test_received_is_without_brackets(self, received: str) -> None:
        assert Via.parse(f"SIP/2.0/UDP h;received={received}").received == "2001:db8::9"

    @pytest.mark.parametrize("rport", ["0", "65536", "x", "-1", "", "999999999999"])
    def test_a_nonsensical_rport_is_none(self, rport: str) -> None:
        assert Via.parse(f"SIP/2.0/UDP h;rport={rport}").rport is None

    @pytest.mark.parametrize(
        ("branch", "is_unique"),
        [(";branch=z9hG4bKx", True), (";branch=z9hG4bK", False), (";branch=1", False), ("", False)],
    )
    def test_a_branch_names_its_transaction_only_with_more_than_the_cookie(self, branch: str, is_unique: bool) -> None:
        assert Via.parse(f"SIP/2.0/UDP h{branch}").has_unique_branch is is_unique

    @settings(deadline=None)
    @given(vias)
    def test_survives_its_text(self, via: Via) -> None:
        assert Via.parse(str(via)) == via

    @settings(deadline=None)
    @given(st.text() | st.text('/:;=[]" ,a1.').map(lambda text: f"SIP/2.0/UDP {text}"))
    def test_any_text_is_a_via_or_refused(self, text: str) -> None:
        try:
            via = Via.parse(text)
        except MessageError:
            return
        assert Via.parse(str(via)) == via


class TestCSeq:
    def test_parts(self) -> None:
        number, method = CSeq.parse("0009 \t INVITE")
        assert (number, method) == (9, "INVITE")
        assert str(CSeq(1, "BYE")) == "1 BYE"

    @pytest.mark.parametrize(
        "text", ["", "1", "INVITE", "1INVITE", "2147483648 BYE", "1 BYE x", "+1 BYE", "1 B(YE", "٣ BYE"]
    )
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(MessageError):
            CSeq.parse(text)
