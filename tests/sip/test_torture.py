"""The messages of RFC 4475: every one is parsed or refused as the RFC says, and answered, taken or dropped by it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.sip.core import ALLOWED_METHODS
from gateway.sip.events import CallOffered
from gateway.sip.message import Message, MessageRefused, Request, Response, make_response, parse_message
from tests.support.ordeal import Case, Ordeal, cases, undergo

DATA = Path(__file__).parent.parent / "data" / "rfc4475"

REFUSED: dict[str, int | None] = {
    "badinv01": 400,
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 400,
    "trws": 400,
    "escruri": 400,
    "regbadct": 400,
    "badaspec": 400,
    "baddn": 400,
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "multi01": 400,
    "mcl01": 400,
}
"""What is refused, with the status of the answer; None where there is nothing to answer: responses are discarded."""


def read(name: str) -> bytes:
    return (DATA / f"{name}.dat").read_bytes()


def request(name: str) -> Request:
    message = parse_message(read(name))
    assert isinstance(message, Request)
    return message


def _names() -> list[str]:
    with (DATA / "index.csv").open(newline="") as index:
        return [row["file"].removesuffix(".dat") for row in csv.DictReader(index)]


NAMES = _names()
ACCEPTED = [name for name in NAMES if name not in REFUSED]


def test_no_message_is_left_out() -> None:
    assert len(NAMES) == 49
    assert sorted(NAMES) == sorted(path.stem for path in DATA.glob("*.dat"))
    assert set(REFUSED) < set(NAMES)


def test_every_valid_message_is_accepted() -> None:
    with (DATA / "index.csv").open(newline="") as index:
        valid = [row["file"].removesuffix(".dat") for row in csv.DictReader(index) if row["kind"] == "valid"]
    assert len(valid) == 13
    assert set(valid) <= set(ACCEPTED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_message_is_refused(name: str) -> None:
    with pytest.raises(MessageRefused) as caught:
        parse_message(read(name))
    head, status = caught.value.message_head, REFUSED[name]
    if status is None:
        assert head is None
        return
    assert caught.value.status == status
    assert head is not None
    answer = make_response(head, status, to_tag="t").to_bytes()
    assert answer.startswith(f"SIP/2.0 {status} ".encode())
    assert answer.count(b"\r\nVia: ") >= 1


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_accepted_message_survives_the_wire(name: str) -> None:
    message = parse_message(read(name))
    message.headers.set("Content-Length", str(len(message.body)))
    assert parse_message(message.to_bytes()) == message


@pytest.mark.parametrize("name", NAMES)
def test_a_message_cut_anywhere_is_a_message_or_refused(name: str) -> None:
    data = read(name)
    for length in range(0, len(data), 1 if len(data) < 700 else 7):
        with suppress(MessageRefused):
            parse_message(data[:length])


@pytest.mark.parametrize("name", [name for name in ACCEPTED if name != "inv2543"])
def test_garbage_behind_an_accepted_message_changes_nothing(name: str) -> None:
    # inv2543 has no Content-Length: there the datagram ends the body.
    assert parse_message(read(name) + b"\r\n\r\nINVITE \xff\0") == parse_message(read(name))


def _wsinv(message: Message) -> None:
    assert str(message.to) == "<sip:vivekg@chair-dnrc.example.com>;tag=1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.cseq == (9, "INVITE")
    assert message.headers.get("Max-Forwards") == "0068"
    assert message.headers.get("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.headers.get("Subject") == ""
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.contacts[0].display_name == 'Quoted string ""'
    assert message.contacts[0].parameters == (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33"))
    assert message.route_set("Route")[0].uri.parameter("unknown-no-value") == ""


def _intmeth(message: Message) -> None:
    assert isinstance(message, Request)
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display_name == "BEL:\x07 NUL:\0 DEL:\x7f"
    assert message.from_.display_name == "token1~` token2'+_ token3*%!.-"
    assert message.from_.parameter("fromParam''~+*_!.-%") == "работающий"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.headers.get("extensionHeader-!.%*+_`'~") == "\ufeff大停電"


def _esc01(message: Message) -> None:
    assert isinstance(message, Request)
    assert message.uri.user == "sips%3Auser%40example.com"
    assert message.uri.unescaped_user == "sips:user@example.com"
    assert message.to.uri.unescaped_user == "user"
    assert message.from_.uri.unescaped_user == "I have spaces"
    contact = message.contacts[0].uri
    assert contact.parameter("lr") == ""
    assert contact.parameter("name") == "value%41"
    assert str(contact) == "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31"


def _escnull(message: Message) -> None:
    assert message.to.uri.unescaped_user == "null-\0-null"
    assert [contact.uri.unescaped_user for contact in message.contacts] == ["\0", "\0\0"]


def _esc02(message: Message) -> None:
    assert isinstance(message, Request)
    assert message.method == message.cseq.method == "RE%47IST%45R"
    assert message.to.display_name == "%Z%45"
    assert [contact.uri.user for contact in message.contacts] == ["alias1", "alias3"]
    assert "C%6Fntact" in message.headers


def _lwsdisp(message: Message) -> None:
    assert message.from_.display_name == "caller"


def _longreq(message: Message) -> None:
    assert len(message.vias) == 34
    assert message.to.display_name.endswith(" proportion")
    assert message.to.uri.port == 6000
    assert len(message.body) == 150


def _dblreq(message: Message) -> None:
    assert isinstance(message, Request)
    assert message.method == "REGISTER"
    assert message.body == b""


def _semiuri(message: Message) -> None:
    assert isinstance(message, Request)
    assert message.uri.user == "user;par=u%40example.net"
    assert message.uri.parameters == ()
    assert message.headers.get_list("Accept")[-1] == "message/sipfrag"


def _transports(message: Message) -> None:
    assert [via.transport for via in message.vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def _mpart01(message: Message) -> None:
    assert len(message.body) == 553
    assert message.content_type == "multipart/mixed"


def _unreason(message: Message) -> None:
    assert isinstance(message, Response)
    assert message.reason == "= 2**3 * 5**2 но сто девяносто девять - простое"


def _noreason(message: Message) -> None:
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (100, "")


def _baddate(message: Message) -> None:
    assert message.headers.get("Date") == "Fri, 01 Jan 2010 16:00:00 EST"


def _badbranch(message: Message) -> None:
    assert message.top_via.branch == "z9hG4bK"
    assert not message.top_via.has_unique_branch


def _unksm2(message: Message) -> None:
    assert (message.to.uri.scheme, message.to.uri.user) == ("isbn", "2983792873")
    assert str(message.from_.uri) == "http://www.example.com"
    assert str(message.contacts[0].uri) == "name:John_Smith"


def _bext01(message: Message) -> None:
    assert message.headers.get_list("Require") == ["nothingSupportsThis", "nothingSupportsThisEither"]


def _invut(message: Message) -> None:
    assert message.content_type == "application/unknownformat"


def _regaut01(message: Message) -> None:
    assert message.headers.get("Authorization") == "NoOneKnowsThisScheme opaque-data=here"


def _bcast(message: Message) -> None:
    assert [via.host for via in message.vias] == ["192.0.2.198", "255.255.255.255"]


def _zeromf(message: Message) -> None:
    assert message.headers.get("Max-Forwards") == "0"


def _cparam01(message: Message) -> None:
    assert message.contacts[0].parameter("unknownparam") == ""
    assert message.contacts[0].uri.parameters == ()


def _cparam02(message: Message) -> None:
    assert message.contacts[0].parameters == ()
    assert message.contacts[0].uri.parameter("unknownparam") == ""


def _regescrt(message: Message) -> None:
    assert message.contacts[0].uri.headers == "Route=%3Csip:sip.example.com%3E"
    assert message.contacts[0].uri.without_headers().headers == ""


def _sdp01(message: Message) -> None:
    assert message.headers.get_list("Accept") == ["text/nobodyKnowsThis"]


def _inv2543(message: Message) -> None:
    assert message.top_via.branch is None
    assert message.from_.tag is None
    assert message.to.parameter("user") == "phone"
    assert message.body.endswith(b"RTP/AVP 0\r\n")


CHECKS: dict[str, Callable[[Message], None]] = {
    name.removeprefix("_"): check
    for name, check in list(globals().items())
    if name.startswith("_") and name.removeprefix("_") in ACCEPTED
}


def test_every_accepted_message_is_looked_into() -> None:
    assert sorted(CHECKS) == sorted(ACCEPTED)


@pytest.mark.parametrize("name", CHECKS)
def test_an_accepted_message_means_what_the_rfc_says(name: str) -> None:
    CHECKS[name](parse_message(read(name)))


CASES = cases("rfc4475")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_gateway_answers_takes_or_drops_it_as_the_rfc_says(case: Case) -> None:
    outcome = undergo(Ordeal(), case)
    for name, value in ANSWER_HEADERS.get(case.name, ()):
        assert outcome.header(name) == value


ANSWER_HEADERS: dict[str, tuple[tuple[str, str | None], ...]] = {
    # 3.3.5: what Require asks for, not what Proxy-Require does.
    "bext01": (("Unsupported", "nothingSupportsThis, nothingSupportsThisEither"),),
    # 3.3.6: the list of types that will do.
    "invut": (("Accept", "application/sdp"),),
    # 3.1.1.2 and RFC 3261 8.2.1: what we do serve.
    "intmeth": (("Allow", ", ".join(ALLOWED_METHODS)),),
    "escnull": (("Allow", ", ".join(ALLOWED_METHODS)),),
    # 3.1.1.8: only the first message of the datagram is there.
    "dblreq": (("CSeq", "8 REGISTER"),),
    # 3.3.1: as much of an answer as can be made of it.
    "insuf": (("CSeq", "193942 INVITE"), ("From", None), ("To", None), ("Call-ID", None)),
    # 3.3.8: the first of each.
    "multi01": (("CSeq", "5 INVITE"), ("Call-ID", "multi01.98asdh@192.0.2.1")),
}


@pytest.mark.parametrize("case", [case for case in CASES if case.expected == "offered"], ids=lambda case: case.name)
def test_a_call_that_is_taken_is_told_with_what_it_said(case: Case) -> None:
    (event,) = Ordeal().feed(case.data).events
    message = request(case.name)
    assert isinstance(event, CallOffered)
    assert (event.request_uri, event.from_, event.to) == (message.uri, message.from_, message.to)
    assert event.offer is not None
    assert event.offer.audio is not None


def test_every_request_is_answered_and_no_response_is() -> None:
    assert {case.name for case in CASES if case.expected == "dropped"} == {
        case.name for case in CASES if case.data.startswith(b"SIP/2.0 ")
    }
