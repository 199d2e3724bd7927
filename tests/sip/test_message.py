from __future__ import annotations

from contextlib import suppress
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.message import (
    Address,
    CSeq,
    Headers,
    Message,
    MessageLimits,
    MessageRefused,
    NameAddr,
    Request,
    Response,
    Uri,
    Via,
    is_keepalive,
    make_response,
    parse_message,
)
from tests.support.device_messages import ASTERISK, CISCO, DEVICE_INVITES, KAMAILIO, TWILIO, YEALINK, wire
from tests.support.sip_strategies import requests, responses
from tests.support.step_counter import count_lines

OPTIONS_HEAD = """\
OPTIONS sip:gateway@192.0.2.1 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK74bf9
From: <sip:pbx@192.0.2.9>;tag=9fxced76sl
To: <sip:gateway@192.0.2.1>
Call-ID: 3848276298220188511@192.0.2.9
CSeq: 63104 OPTIONS
Max-Forwards: 70"""
OPTIONS = wire(OPTIONS_HEAD)

RINGING = wire("""\
SIP/2.0 180 Ringing
v: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKnashds8;received=192.0.2.200
f: sip:alice@example.com;tag=1928301774
t: <sip:bob@example.com>;tag=a6c85cf
i: a84b4c76e66710
CSeq: 314159 INVITE
m: <sip:bob@[2001:db8::4]:5062>""")


def request(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def refusal(data: bytes, limits: MessageLimits | None = None) -> MessageRefused:
    with pytest.raises(MessageRefused) as caught:
        parse_message(data, limits or MessageLimits())
    return caught.value


def outcome(data: bytes) -> Message | MessageRefused:
    """What becomes of `data`; any other exception is a failure."""
    try:
        return parse_message(data)
    except MessageRefused as error:
        return error


def with_line(line: str, head: str = OPTIONS_HEAD) -> bytes:
    """The OPTIONS above with one header line replaced, or added where there is none of that name."""
    name = line.partition(":")[0]
    kept = [old for old in head.splitlines() if old.partition(":")[0] != name]
    return wire("\n".join([*kept, line]))


class TestRequest:
    def test_parts_are_those_of_the_wire(self) -> None:
        message = request(OPTIONS)
        assert message.method == "OPTIONS"
        assert message.uri == Uri("sip", "gateway", None, "192.0.2.1")
        assert message.top_via == Via("UDP", "192.0.2.9", 5060, (("branch", "z9hG4bK74bf9"),))
        assert message.from_ == NameAddr("", Uri("sip", "pbx", None, "192.0.2.9"), (("tag", "9fxced76sl"),))
        assert message.from_.tag == "9fxced76sl"
        assert message.to.tag is None
        assert message.call_id == "3848276298220188511@192.0.2.9"
        assert message.cseq == CSeq(63104, "OPTIONS")
        assert message.contacts == []
        assert message.content_type == ""
        assert message.body == b""

    def test_content_type_is_lower_case_and_without_parameters(self) -> None:
        assert request(with_line('Content-Type: Application/SDP ;charset="a;b"')).content_type == "application/sdp"

    def test_contact_star_names_no_address(self) -> None:
        assert request(with_line("Contact: *")).contacts == []

    def test_values_follow_the_headers_when_those_change(self) -> None:
        message = request(OPTIONS)
        assert message.to.tag is None
        message.headers.set("To", "<sip:gateway@192.0.2.1>;tag=1")
        assert message.to.tag == "1"
        message.headers.prepend("Via", "SIP/2.0/TCP proxy.example.com;branch=z9hG4bK1")
        assert [via.transport for via in message.vias] == ["TCP", "UDP"]

    def test_content_length_written_is_that_of_the_body(self) -> None:
        message = request(OPTIONS)
        message.body = b"hello"
        message.headers.set("Content-Length", "999")
        assert message.to_bytes().endswith(b"\r\nContent-Length: 5\r\n\r\nhello")

    @pytest.mark.parametrize("method", ["INVITE\r\nVia: evil", "INVITE\n"])
    def test_a_line_break_never_reaches_the_start_line(self, method: str) -> None:
        message = Request(method=method, uri=Uri("sip", None, None, "h"), headers=Headers())
        with pytest.raises(ValueError, match="line break"):
            message.to_bytes()


class TestResponse:
    def test_parts_are_those_of_the_wire(self) -> None:
        message = parse_message(RINGING)
        assert isinstance(message, Response)
        assert (message.status, message.reason) == (180, "Ringing")
        assert message.top_via.received == "192.0.2.200"
        assert message.contacts[0].uri.host == "2001:db8::4"
        assert message.to.tag == "a6c85cf"

    @pytest.mark.parametrize("line", ["SIP/2.0 099 Low", "SIP/2.0 700 High", "SIP/2.0 20 Short", "SIP/2.0 2000 Long"])
    def test_a_status_outside_the_six_classes_is_refused(self, line: str) -> None:
        assert refusal(RINGING.replace(b"SIP/2.0 180 Ringing", line.encode())).message_head is None

    def test_a_reason_may_be_missing_with_its_blank(self) -> None:
        message = parse_message(RINGING.replace(b"180 Ringing", b"180"))
        assert isinstance(message, Response)
        assert message.reason == ""


class TestRefusal:
    """What is no message, the status it is answered with, and what is left to answer it."""

    @pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
    def test_a_mandatory_header_is_missing(self, name: str) -> None:
        head = "\n".join(line for line in OPTIONS_HEAD.splitlines() if not line.startswith(f"{name}:"))
        error = refusal(wire(head))
        assert (error.status, error.reason) == (400, f"no {name}")

    @pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq", "Max-Forwards"])
    def test_a_single_header_comes_twice(self, name: str) -> None:
        line = next(line for line in OPTIONS_HEAD.splitlines() if line.startswith(f"{name}:"))
        error = refusal(wire(f"{OPTIONS_HEAD}\n{line}"))
        assert (error.status, error.reason) == (400, f"more than one {name}")

    @pytest.mark.parametrize(
        "line",
        [
            "Via: SIP/2.0/UDP",
            "Via: SIP/2.0 192.0.2.9",
            "Via: SIP/2.0/UDP 192.0.2.999;branch=z9hG4bK1",
            "Via: SIP/2.0/UDP 192.0.2.9:0;branch=z9hG4bK1",
            "Via: SIP/2.0/UDP 192.0.2.9:65536;branch=z9hG4bK1",
            "Via: SIP/2.0/UDP 2001:db8::9;branch=z9hG4bK1",
            "Via: SIP/2.0/UDP [2001:db8::9;branch=z9hG4bK1",
            "Via: ,",
            "From: <sip:a@b>;tag=1;=2",
            'From: "a <sip:a@b>;tag=1',
            "From: <sip:a@b;tag=1",
            "From: a, b <sip:a@b>;tag=1",
            "From: sip:a@b?Subject=x;tag=1",
            "To: a@b",
            "To: <sip:a@b> trailing",
            "To: <sip:a@b@c>",
            "To: <sip:a b@c>",
            "Contact: <sip:a@b>, <sip:",
            "Route: sip",
            'Record-Route: <sip:p1;lr>, "',
            "Call-ID: two words",
            "Call-ID:",
            "CSeq: OPTIONS",
            "CSeq: 1",
            "CSeq: -1 OPTIONS",
            "CSeq: 2147483648 OPTIONS",
            "CSeq: 1 OPTIONS x",
            "CSeq: \N{ARABIC-INDIC DIGIT ONE} OPTIONS",
            "Max-Forwards: 256",
            "Max-Forwards: seventy",
            "Max-Forwards:",
            "X-Control: a\x01b",
            "X-Nul: a\0b",
            "Bad Name: x",
            ": x",
            "no colon",
        ],
    )
    def test_a_broken_header_is_a_bad_request(self, line: str) -> None:
        assert refusal(with_line(line)).status == 400

    @pytest.mark.parametrize(
        ("start_line", "status"),
        [
            ("OPTIONS sip:a@b SIP/3.0", 505),
            ("OPTIONS sip:a@b HTTP/1.1", 400),
            ("OPTIONS sip:a@b", 400),
            ("OPTIONS  sip:a@b SIP/2.0", 400),
            ("OPTIONS sip:a@b SIP/2.0 ", 400),
            ("OPTIONS\tsip:a@b\tSIP/2.0", 400),
            ("OPT(IONS sip:a@b SIP/2.0", 400),
            ("OPTIONS a@b SIP/2.0", 400),
            ("OPTIONS * SIP/2.0", 400),
            ("OPTIONS sip:a@b?Subject=x SIP/2.0", 400),
            ("OPTIONS http://example.com/ SIP/2.0", 416),
            ("OPTIONS urn:service:sos SIP/2.0", 416),
            ("INVITE sip:a@b SIP/2.0", 400),
            ("options sip:a@b SIP/2.0", 400),
        ],
    )
    def test_a_broken_start_line_has_its_own_status(self, start_line: str, status: int) -> None:
        _, *rest = OPTIONS_HEAD.splitlines()
        assert refusal(wire("\n".join([start_line, *rest]))).status == status

    @pytest.mark.parametrize("start_line", ["OPTIONS tel:+4930555010 SIP/2.0", "OPTIONS sips:a@b sip/2.0"])
    def test_other_start_lines_are_taken(self, start_line: str) -> None:
        _, *rest = OPTIONS_HEAD.splitlines()
        assert request(wire("\n".join([start_line, *rest]))).method == "OPTIONS"

    def test_a_carriage_return_or_line_feed_alone_ends_no_line(self) -> None:
        assert refusal(OPTIONS.replace(b"\r\n", b"\n")).status == 400
        assert refusal(OPTIONS.replace(b"Max-Forwards: 70", b"Subject: a\nRoute: <sip:evil>")).status == 400
        assert refusal(OPTIONS.replace(b"Max-Forwards: 70", b"Subject: a\rRoute: <sip:evil>")).status == 400

    @pytest.mark.parametrize("line_break", [b"\n", b"\r"])
    @pytest.mark.parametrize("name", [b"From", b"Subject"])
    def test_a_quoted_pair_hides_no_line_break(self, name: bytes, line_break: bytes) -> None:
        value = b'"a\\\x01b" <sip:pbx@192.0.2.9>;tag=1'
        _, *lines = OPTIONS.split(b"\r\n")
        kept = [line for line in lines if not line.startswith(name)]
        data = b"\r\n".join([OPTIONS.partition(b"\r\n")[0], name + b": " + value, *kept])
        assert parse_message(data)
        assert refusal(data.replace(b"\x01", line_break)).reason == "control character"

    @pytest.mark.parametrize("length", ["1", "+0", "0x0", "0 0", "", "99999999999999999999", "-1"])
    def test_content_length_must_be_that_of_the_datagram_or_less(self, length: str) -> None:
        error = refusal(wire(OPTIONS_HEAD, content_length=f"Content-Length: {length}"))
        assert error.status == 400
        assert error.message_head is not None

    def test_the_head_is_enough_for_an_answer(self) -> None:
        head = refusal(with_line("CSeq: 63104 INVITE")).message_head
        assert head is not None
        answer = make_response(head, 400, to_tag="t1")
        parsed = parse_message(answer.to_bytes().replace(b"63104 INVITE", b"63104 OPTIONS"))
        assert parsed.top_via == request(OPTIONS).top_via
        assert parsed.call_id == "3848276298220188511@192.0.2.9"
        assert parsed.to.tag == "t1"

    def test_the_head_keeps_only_values_that_can_be_written(self) -> None:
        data = wire(
            f"{OPTIONS_HEAD}\nVia: nonsense, SIP/2.0/UDP 192.0.2.8\nTo: second\nX: a\rb\nTimestamp: 1\rb\nno colon"
        )
        head = refusal(data).message_head
        assert head is not None
        assert [name for name, _ in head.headers] == ["Via", "From", "To", "Call-ID", "CSeq"]
        assert (
            make_response(head, 400)
            .to_bytes()
            .startswith(b"SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/UDP 192.0.2.9:5060")
        )

    def test_what_the_head_lacks_is_a_bad_message_again(self) -> None:
        head = refusal(OPTIONS.replace(b"From:", b"Fromm:")).message_head
        assert head is not None
        assert make_response(head, 400).headers.get("From") is None
        with pytest.raises(MessageError):
            _ = head.from_

    def test_an_ack_is_never_answered(self) -> None:
        assert refusal(OPTIONS.replace(b"OPTIONS sip", b"ACK sip")).message_head is None

    def test_nothing_is_answered_without_a_via(self) -> None:
        assert refusal(with_line("Via: nonsense")).message_head is None

    def test_an_unreadable_request_uri_leaves_a_placeholder(self) -> None:
        head = refusal(OPTIONS.replace(b"sip:gateway@192.0.2.1 SIP", b"??? SIP")).message_head
        assert head is not None
        assert head.uri == Uri("unreadable")


class TestLimits:
    def test_a_message_at_the_limit_passes_and_one_byte_more_is_too_long(self) -> None:
        data = wire(OPTIONS_HEAD)
        assert parse_message(data, MessageLimits(max_bytes=len(data)))
        assert refusal(data, MessageLimits(max_bytes=len(data) - 1)).status == 513

    def test_header_lines_are_counted(self) -> None:
        limits = MessageLimits(max_headers=10)
        at_limit = OPTIONS_HEAD + "\nX: 1" * 3
        assert parse_message(wire(at_limit), limits)
        assert refusal(wire(at_limit + "\nX: 1"), limits).reason == "11 headers"

    def test_a_header_line_is_measured_unfolded(self) -> None:
        limits = MessageLimits(max_header_bytes=100)
        assert parse_message(with_line("X: " + "a" * 97), limits)
        assert refusal(with_line("X: " + "a" * 98), limits).status == 400
        assert refusal(with_line("X: " + "a" * 50 + "\n " + "a" * 50), limits).status == 400

    @pytest.mark.parametrize("name", ["Via", "Route", "Record-Route", "Contact"])
    def test_list_values_are_counted(self, name: str) -> None:
        value = "SIP/2.0/UDP h;branch=z9hG4bK1" if name == "Via" else "<sip:h;lr>"
        limits = MessageLimits(max_list_values=5)
        assert parse_message(with_line(f"{name}: {', '.join([value] * 5)}"), limits)
        assert parse_message(with_line(f'{name}: {value};x="{"," * 9}"'), limits)
        assert refusal(with_line(f"{name}: {', '.join([value] * 6)}"), limits).status == 400


class TestBody:
    def test_what_follows_the_body_is_ignored(self) -> None:
        assert parse_message(OPTIONS + b"garbage\r\n\r\n\0\xff") == parse_message(OPTIONS)

    def test_without_content_length_the_body_ends_with_the_datagram(self) -> None:
        data = "\r\n".join([*OPTIONS_HEAD.splitlines(), "", "v=0\r\n\r\nrest"]).encode()
        assert parse_message(data).body == b"v=0\r\n\r\nrest"

    def test_any_bytes_are_a_body(self) -> None:
        body = bytes(range(256))
        data = OPTIONS.replace(b"Content-Length: 0", b"Content-Length: 256") + body
        assert parse_message(data).body == body


class TestForms:
    """The ways in which one and the same message may be written (RFC 3261 7.3.1, 7.3.3)."""

    @pytest.mark.parametrize(
        "spelt",
        [
            OPTIONS_HEAD.lower().replace("options", "OPTIONS"),
            OPTIONS_HEAD.replace("Via:", "v :").replace("From:", "F\t:").replace("To:", "t:").replace("Call-ID:", "I:"),
            OPTIONS_HEAD.replace(": ", ":\n \t "),
            OPTIONS_HEAD.replace(": ", ":").replace("63104 OPTIONS", "0063104\n  OPTIONS  "),
            OPTIONS_HEAD.replace(
                "SIP/2.0/UDP 192.0.2.9:5060;branch=", "SIP / 2.0\n / udp   192.0.2.9 : 5060 ; branch = "
            ),
        ],
        ids=["lower case", "compact", "folded", "spare", "spacious via"],
    )
    def test_means_the_same(self, spelt: str) -> None:
        message, plain = request(wire(spelt)), request(OPTIONS)
        assert message.top_via.host == plain.top_via.host
        assert message.top_via.port == 5060
        assert (message.top_via.branch or "").lower() == (plain.top_via.branch or "").lower()
        assert message.top_via.transport == "UDP"
        assert message.from_ == plain.from_
        assert message.to == plain.to
        assert message.call_id == plain.call_id
        assert message.cseq.number == plain.cseq.number

    def test_empty_lines_before_the_message_are_skipped(self) -> None:
        assert parse_message(b"\r\n\r\n" + OPTIONS) == parse_message(OPTIONS)

    def test_lists_on_one_line_and_on_several_are_the_same(self) -> None:
        together = request(with_line('Route: "a, b" <sip:p1;lr>,<sip:p2,x@h;lr> , <sip:p3;lr>'))
        apart = request(with_line('Route: "a, b" <sip:p1;lr>\nRoute: <sip:p2,x@h;lr>\nRoute: <sip:p3;lr>'))
        assert together.route_set("Route") == apart.route_set("Route")
        assert [str(route.uri) for route in together.route_set("route")] == ["sip:p1;lr", "sip:p2,x@h;lr", "sip:p3;lr"]

    def test_bytes_that_are_not_utf8_survive(self) -> None:
        data = with_line("Subject: x").replace(b"Subject: x", b"Subject: \xff\xfeM\xfcller")
        assert b"Subject: \xff\xfeM\xfcller\r\n" in parse_message(data).to_bytes()


MESSAGES: dict[str, bytes] = {**DEVICE_INVITES, "options": OPTIONS, "ringing": RINGING}


@pytest.mark.parametrize("data", MESSAGES.values(), ids=MESSAGES.keys())
class TestFeeding:
    def test_whole(self, data: bytes) -> None:
        message = parse_message(data)
        again = parse_message(message.to_bytes())
        message.headers.set("Content-Length", str(len(message.body)))
        assert again == message

    def test_cut_after_every_byte(self, data: bytes) -> None:
        for length in range(len(data)):
            assert refusal(data[:length]).status == 400

    def test_every_byte_replaced(self, data: bytes) -> None:
        for place in range(len(data)):
            for octet in (b"\0", b"\n", b'"', b","):
                mutant = data[:place] + octet + data[place + 1 :]
                result = outcome(mutant)
                message = result.message_head if isinstance(result, MessageRefused) else result
                if isinstance(message, Request):
                    make_response(message, 400, to_tag="1").to_bytes()

    def test_with_garbage_behind(self, data: bytes) -> None:
        assert parse_message(data + b"INVITE sip:x SIP/2.0\r\n\xff\0") == parse_message(data)


class TestDevices:
    def test_asterisk_through_pjsip(self) -> None:
        message = request(ASTERISK)
        assert message.from_.display_name == "Doe, Jane"
        assert message.from_.uri.user == "+4930555123"
        assert message.top_via.has_rport
        assert message.top_via.rport is None
        assert message.contacts[0].uri == Uri("sip", "asterisk", None, "198.51.100.20", 5060)
        assert message.headers.get_list("Supported") == ["100rel", "timer", "replaces", "norefersub", "histinfo"]
        assert message.headers.get("Session-Expires") == "1800;refresher=uac"
        assert NameAddr.parse(message.headers.get("P-Asserted-Identity") or "").display_name == "Doe, Jane"

    def test_kamailio_with_a_change_of_transport_leaves_two_record_routes(self) -> None:
        message = request(KAMAILIO)
        first, second = (route.uri for route in message.route_set("Record-Route"))
        assert (first.host, first.parameter("r2"), first.parameter("lr")) == ("203.0.113.5", "on", "on")
        assert (second.port, second.parameter("transport")) == (5070, "tcp")
        assert [(via.transport, via.received, via.rport) for via in message.vias] == [
            ("UDP", None, None),
            ("TCP", "198.51.100.44", 38122),
        ]
        assert message.from_.display_name == "Front desk"
        assert message.contacts[0].uri.parameter("alias") == "198.51.100.44~38122~2"
        assert message.headers.get("P-hint") == "inbound->outbound"

    def test_cisco(self) -> None:
        message = request(CISCO)
        assert message.from_.tag == "8127364~f1e2d3c4-b5a6-4978-8695-a4b3c2d1e0f9-41238765"
        assert "X-cisco-srtp-fallback" in message.headers.get_list("Supported")
        assert "timer" in message.headers.get_list("Supported")
        contact = message.contacts[0]
        assert contact.parameter("isfocus") == ""
        assert contact.parameter("+u.sip!devicename.ccm.cisco.com") == "SEP001122334455"
        party = NameAddr.parse(message.headers.get("remote-party-id") or "")
        assert party.parameter("privacy") == "off"
        assert message.headers.get_all("Call-Info")[0].endswith('method="NOTIFY;Event=telephone-event;Duration=500"')

    def test_yealink(self) -> None:
        message = request(YEALINK)
        assert message.call_id == "0_3582914477@192.0.2.61"
        assert message.top_via.branch == "z9hG4bK1893746521"
        assert message.body.startswith(b"v=0\r\n")

    def test_twilio(self) -> None:
        message = request(TWILIO)
        assert [via.host for via in message.vias] == ["203.0.113.64", "172.16.9.14"]
        assert message.vias[1].received == "10.9.8.7"
        assert message.from_.uri.parameter("user") == "phone"
        assert message.to.tag is None
        assert message.headers.get("X-Twilio-CallSid") == "CA00000000000000000000000000000001"


class TestMakeResponse:
    def test_copies_what_routes_and_names_the_transaction(self) -> None:
        message = request(KAMAILIO)
        answer = parse_message(make_response(message, 486).to_bytes())
        assert isinstance(answer, Response)
        assert (answer.status, answer.reason) == (486, "Busy Here")
        assert answer.vias == message.vias
        assert answer.from_ == message.from_
        assert answer.to == message.to
        assert answer.call_id == message.call_id
        assert answer.cseq == message.cseq
        assert answer.body == b""

    @pytest.mark.parametrize(
        ("status", "is_copied"), [(100, False), (180, True), (200, True), (302, False), (486, False)]
    )
    def test_copies_record_route_into_responses_that_make_a_dialog(self, status: int, is_copied: bool) -> None:
        message = request(KAMAILIO)
        answer = make_response(message, status)
        assert answer.route_set("Record-Route") == (message.route_set("Record-Route") if is_copied else [])

    def test_copies_no_record_route_for_methods_that_make_none(self) -> None:
        message = request(with_line("Record-Route: <sip:p1;lr>"))
        assert make_response(message, 200).route_set("Record-Route") == []

    def test_timestamp_goes_into_100_alone(self) -> None:
        message = request(with_line("Timestamp: 54.2"))
        assert make_response(message, 100).headers.get("Timestamp") == "54.2"
        assert "Timestamp" not in make_response(message, 200).headers

    def test_the_tag_is_added_to_a_to_without_one(self) -> None:
        assert make_response(request(OPTIONS), 200, to_tag="t9").to.tag == "t9"
        assert make_response(request(with_line("To: sip:a@b")), 200, to_tag="t9").to == NameAddr(
            "", Uri("sip", "a", None, "b"), (("tag", "t9"),)
        )
        assert make_response(request(with_line("To: <sip:a@b>;x=1;")), 200, to_tag="t9").to.tag == "t9"
        assert make_response(request(with_line('To: "a;" <sip:a@b;tag=no>')), 200, to_tag="t9").to.tag == "t9"

    def test_a_tag_that_is_there_stays(self) -> None:
        answer = make_response(request(with_line("To: <sip:a@b>;TAG=old")), 200, to_tag="t9")
        assert answer.to.tag == "old"
        assert answer.headers.get("To") == "<sip:a@b>;TAG=old"

    def test_own_headers_reason_and_body(self) -> None:
        answer = make_response(
            request(OPTIONS),
            503,
            reason="Draining",
            headers=[("Retry-After", "30")],
            body=b"v=0",
            content_type="application/sdp",
        )
        data = answer.to_bytes()
        assert data.startswith(b"SIP/2.0 503 Draining\r\n")
        assert b"\r\nRetry-After: 30\r\n" in data
        assert data.endswith(b"\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0")


class TestProperties:
    @settings(deadline=None)
    @given(requests())
    def test_a_request_survives_the_wire(self, message: Request) -> None:
        assert parse_message(message.to_bytes()) == message

    @settings(deadline=None)
    @given(responses())
    def test_a_response_survives_the_wire(self, message: Response) -> None:
        assert parse_message(message.to_bytes()) == message

    @settings(deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_message_or_refused(self, data: bytes) -> None:
        result = outcome(data)
        assert not isinstance(result, MessageRefused) or result.status in (400, 416, 505)

    @settings(deadline=None, max_examples=200)
    @given(st.sampled_from(sorted(MESSAGES)), st.data())
    def test_any_mutant_is_a_message_or_refused(self, name: str, data: st.DataObject) -> None:
        original = MESSAGES[name]
        start = data.draw(st.integers(0, len(original)))
        end = data.draw(st.integers(start, min(len(original), start + 60)))
        piece = data.draw(
            st.binary(max_size=20)
            | st.sampled_from([b"\r\n", b"\r\n ", b"\r\n\r\n", b'"', b"<<", b";;=", b"%0", b"\0"])
        )
        result = outcome(original[:start] + piece + original[end:])
        if not isinstance(result, MessageRefused):
            assert parse_message(result.to_bytes()).call_id == result.call_id
        elif result.message_head is not None:
            assert make_response(result.message_head, result.status).to_bytes()


def _hostile(name: str, size: int) -> bytes:
    many = {
        "blanks": " " * size,
        "folds": "\r\n " * (size // 3),
        "tabs before folds": "\t\r\n\t" * (size // 4),
        "quotes": '"' * size,
        "open quotes": '"\\' * (size // 2),
        "brackets": "<" * size,
        "commas": "," * size,
        "semicolons": "<sip:a>" + ";" * size,
        "parameters": "<sip:a>" + ";a" * (size // 2),
        "escapes": "sip:" + "%41" * (size // 3) + "@",
        "broken escapes": "<sip:" + "%4" * (size // 2),
        "colons": ":" * size,
        "digits": "9" * size,
        "dots": "sip:" + "." * size,
        "backslashes": '"' + "\\" * size,
        "ats": "<sip:" + "@" * size,
        "equals": "<sip:a>;" + "=" * size,
        "vias": "SIP/2.0/UDP a," * (size // 14),
    }
    return (OPTIONS_HEAD.replace("\n", "\r\n") + f"\r\nContact: {many[name]}\r\nVia: {many[name]}\r\n\r\n").encode()


HOSTILE = [
    "blanks", "folds", "tabs before folds", "quotes", "open quotes", "brackets", "commas", "semicolons", "parameters",
    "escapes", "broken escapes", "colons", "digits", "dots", "backslashes", "ats", "equals", "vias",
]  # fmt: skip
UNLIMITED = MessageLimits(max_bytes=10**7, max_headers=10**7, max_header_bytes=10**7, max_list_values=10**7)


@pytest.mark.parametrize("name", HOSTILE)
class TestWork:
    def test_grows_no_faster_than_the_message(self, name: str) -> None:
        small, large = (
            count_lines(lambda size=size: parse_message(_hostile(name, size), UNLIMITED), MessageRefused)
            for size in (2_000, 8_000)
        )
        assert large < 4.5 * small + 100

    def test_takes_seconds_at_worst_for_six_times_the_largest_message(self, name: str) -> None:
        # The expressions run inside `re`, where lines cannot be counted. Quadratic work would take minutes.
        data = _hostile(name, 200_000)
        start = process_time()
        with suppress(MessageRefused):
            parse_message(data, UNLIMITED)
        assert process_time() - start < 10
        assert refusal(data).status == 513


class TestKeepalive:
    @pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0"])
    def test_line_breaks_and_zero_octets_keep_a_binding_open(self, data: bytes) -> None:
        assert is_keepalive(data)

    @pytest.mark.parametrize("data", [b"x", b"\r\n\r\nx", OPTIONS])
    def test_anything_else_is_no_keepalive(self, data: bytes) -> None:
        assert not is_keepalive(data)


def test_an_address_is_a_plain_pair_and_prints_brackets_around_ipv6() -> None:
    assert Address("192.0.2.1", 5060) == ("192.0.2.1", 5060)
    assert str(Address("192.0.2.1", 5060)) == "192.0.2.1:5060"
    assert str(Address("2001:db8::1", 5060)) == "[2001:db8::1]:5060"
