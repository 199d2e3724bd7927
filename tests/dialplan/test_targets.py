"""Where contacts may be dialled, and that nothing else can be written there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.targets import parse_target
from gateway.located import WrongValue


@pytest.mark.parametrize(
    ("text", "uri", "shown"),
    [
        ("6001", "sip:6001@pbx:5070", "sip:6001"),
        ("sip:6001", "sip:6001@pbx:5070", "sip:6001"),
        ("SIP:front.desk", "sip:front.desk@pbx:5070", "sip:front.desk"),
        ("*97", "sip:*97@pbx:5070", "sip:*97"),
        ("sip:#21", "sip:%2321@pbx:5070", "sip:#21"),
        ("sip:anna@pbx.example", "sip:anna@pbx.example", "sip:anna@pbx.example"),
        ("sip:anna@192.0.2.1:5080", "sip:anna@192.0.2.1:5080", "sip:anna@192.0.2.1:5080"),
        ("sip:anna@[2001:db8::1]:5080", "sip:anna@[2001:db8::1]:5080", "sip:anna@[2001:db8::1]:5080"),
        ("tel:+49-30-(1234) 5", "sip:+493012345@pbx:5070;user=phone", "tel:+493012345"),
        ("tel:110", "sip:110@pbx:5070;user=phone", "tel:110"),
    ],
)
def test_targets_become_uris_at_the_trunk_or_elsewhere(text: str, uri: str, shown: str) -> None:
    target = parse_target(text)
    assert (target.uri("pbx:5070"), str(target)) == (uri, shown)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "sip:",
            "tel:",
            "sip:@host",
            "sip:6001@",
            "tel:anna",
            "tel:+",
            "tel:1",
            "tel:+49;ext=2",
            "https:x",
            "6001 6002",
        ),
        *("sip:6001@host;transport=tcp", "sip:6001@host?Replaces=x", "sip:a@b@c", "sip:6001\r\nEvil: 1", "sip:a%40b"),
        *(
            "sip:6001@host:0",
            "sip:6001@host:70000",
            "sip:6001@[::x]",
            "sip:6001@[1:2]",
            "sip:6001@ho st",
            "sip:6001@-host",
            "<sip:6001>",
        ),
        *("sip:٦٠٠١", "6001;x", "sips:6001", "sip:6001@host:", "x" * 65),
    ],
)
def test_other_texts_are_no_targets(text: str) -> None:
    with pytest.raises(WrongValue) as caught:
        parse_target(text)
    assert caught.value.expected == "expected an extension such as sip:6001, sip:USER@HOST, or tel:+4930123456"


@given(st.text(max_size=20) | st.text(alphabet="sip:tel@6.[]+#;?&<> \r\n", max_size=30))
def test_a_target_never_holds_what_could_end_a_request_line(text: str) -> None:
    try:
        uri = parse_target(text).uri("pbx")
    except WrongValue:
        return
    assert uri.isascii()
    assert not set(uri.removesuffix(";user=phone")) & set(' \r\n\t<>"?&;,')
