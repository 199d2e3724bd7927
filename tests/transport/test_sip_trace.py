from __future__ import annotations

import logging
import time

import pytest
from structlog.testing import capture_logs

from gateway.sip.hop import Hop
from gateway.sip.message import Address
from gateway.transport import sip_trace
from gateway.transport.sip_trace import LOGGER, is_logged, log_datagram, mask_secrets


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"Authorization: Digest a\r\nTo: x", b"Authorization: ***\r\nTo: x"),
        (b"PROXY-AUTHORIZATION : Digest a\r\nTo: x", b"PROXY-AUTHORIZATION : ***\r\nTo: x"),
        (
            b"Via: x\r\nauthorization:Digest a,\r\n response=b,\r\n\tnc=1\r\nTo: x",
            b"Via: x\r\nauthorization: ***\r\nTo: x",
        ),
        (b"Via: x\nAuthorization: Digest a\nTo: x", b"Via: x\nAuthorization: ***\nTo: x"),
        (b"Via: x\rAuthorization: Digest a\rTo: x", b"Via: x\rAuthorization: ***\rTo: x"),
        (b"v=0\r\na=crypto:1 AES_CM_128 inline:KEY\r\na=x", b"v=0\r\na=crypto:***\r\na=x"),
        (
            b"a=acap:1 crypto:1 AES_CM_128 inline:KEY|2^20\r\na=x",
            b"a=acap:1 crypto:1 AES_CM_128 inline:***|2^20\r\na=x",
        ),
        (b" a=CRYPTO:1 X INLINE: K1;inline:K2\r\n", b" a=CRYPTO:1 X INLINE: ***;inline:***\r\n"),
        (b"v=0\r\nk=base64:KEY\r\nm=audio", b"v=0\r\nk=***\r\nm=audio"),
        (b"Contact: <sip:bob:pass@host:5060>", b"Contact: <sip:bob:***@host:5060>"),
        (
            b"Via: x\r\nAuthentication-Info: rspauth=a,\r\n cnonce=b, nc=1\r\nTo: x",
            b"Via: x\r\nAuthentication-Info: ***\r\nTo: x",
        ),
        (b"proxy-authentication-info:rspauth=a\nTo: x", b"proxy-authentication-info: ***\nTo: x"),
        (b"a=key-mgmt:mikey KEY\r\na=x", b"a=key-mgmt:***\r\na=x"),
        (b"a=acap:1 KEY-MGMT: mikey KEY\r\na=x", b"a=acap:1 KEY-MGMT:***\r\na=x"),
        (
            b"Refer-To: <sip:a@b?Authorization=Digest%20c&Subject=d>\r\n",
            b"Refer-To: <sip:a@b?Authorization=***&Subject=d>\r\n",
        ),
        (
            b"Refer-To: <sip:a@b?Subject=d&proxy-authorization=c>;x",
            b"Refer-To: <sip:a@b?Subject=d&proxy-authorization=***>;x",
        ),
        (b"REFER sip:a@b?%41uthorization=c SIP/2.0\r\n", b"REFER sip:a@b?%41uthorization=*** SIP/2.0\r\n"),
        (
            b"Content-Type: application/dtmf-relay\r\n\r\nSignal=5\r\nDuration=160\r\n",
            b"Content-Type: application/dtmf-relay\r\n\r\nSignal=***\r\nDuration=160\r\n",
        ),
        (
            b"c: application/dtmf-relay\n\nDuration=160\n signal : 5",
            b"c: application/dtmf-relay\n\nDuration=160\n signal :***",
        ),
        (
            b"Content-Type: application/dtmf\r\nContent-Length: 1\r\n\r\n5",
            b"Content-Type: application/dtmf\r\nContent-Length: 1\r\n\r\n***",
        ),
        (b"C:\r\n Application/DTMF ;x=y\r\n\r\n\r\n5\r\n6", b"C:\r\n Application/DTMF ;x=y\r\n\r\n***"),
        (b"Duration=1\x0bSignal\x1c=5\r\n", b"Duration=1\x0bSignal\x1c=***\r\n"),
        (b"c: application / dtmf\n\n5", b"c: application / dtmf\n\n***"),
        (b"c: application/dtmf\nTo: x\n\n5\n", b"c: application/dtmf\nTo: x\n\n***"),
    ],
)
def test_secrets_are_masked_and_the_rest_is_left(sent: bytes, shown: bytes) -> None:
    assert mask_secrets(sent) == shown


@pytest.mark.parametrize(
    "data",
    [
        b"INVITE sip:bob@host:5060 SIP/2.0\r\nX-Authorization: fine\r\nContact: <sip:a@b:1>, <sip:c@d:2>\r\n\r\n",
        b'WWW-Authenticate: Digest realm="a", nonce="b"\r\n',
        b"a=cryptography\r\n",
        b"Content-Type: application/dtmf-events\r\n\r\n5",
        b"Accept: application/dtmf\r\n\r\nv=0\r\n",
        b"Content-Type: application/dtmf\r\nContent-Length: 0\r\n\r\n",
        b"Content-Type: application/dtmf\r\nTo: x\r\n",
        b"Refer-To: <sip:a@b?X-Authorization=c&Subject=d>\r\n",
        b"\x00\xff\r\n\r\n",
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(data: bytes) -> None:
    assert mask_secrets(data) == data


@pytest.mark.parametrize(
    "data",
    [
        b"sip:" * 16000,
        b"sip:a:" + b"b" * 65000,
        b"Authorization:" + b"\r\n " * 20000,
        b"inline:" * 9000,
        b"key-mgmt:" * 7000,
        b"?authorization=" * 4000,
        b"c: application/dtmf\r\n" * 3000,
        b"\nc:" + b"\r\n " * 20000,
        b"\nc:" * 20000,
        b"\nsignal" + b" " * 65000,
        b"\n" + b" " * 65000,
    ],
)
def test_masking_takes_linear_time(data: bytes) -> None:
    began = time.process_time()
    mask_secrets(data)
    assert time.process_time() - began < 0.5


def test_a_datagram_is_one_debug_line_with_its_direction_and_peer() -> None:
    with capture_logs() as lines:
        log_datagram("<", b"OPTIONS \xff\r\n", Address("127.0.0.1", 5060))
    assert lines == [
        {
            "event": "<",
            "log_level": "debug",
            "peer": "127.0.0.1:5060",
            "size_bytes": 11,
            "message": "OPTIONS \\xff\r\n",
        }
    ]


def test_the_wire_is_logged_only_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    assert not is_logged()
    caplog.set_level(logging.DEBUG, LOGGER)
    assert is_logged()


def test_a_trace_may_be_limited_to_some_peers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    sip_trace.limit_to(["10.0.0.2", "192.0.2.0/24", "2001:db8::/32"])
    hosts = ("10.0.0.2", "10.0.0.3", "192.0.2.77", "2001:db8::1", "fe80::1%eth0", "no address")
    try:
        shown = [host for host in hosts if sip_trace.shows(Hop(host, 5060))]
    finally:
        sip_trace.limit_to(None)
    assert shown == ["10.0.0.2", "192.0.2.77", "2001:db8::1"]
    assert sip_trace.shows(Hop("10.0.0.3", 5060))
    caplog.set_level(logging.INFO, LOGGER)
    assert not sip_trace.shows(Hop("10.0.0.3", 5060))


def test_a_trace_is_switched_on_and_off() -> None:
    level = logging.getLogger(LOGGER).level
    try:
        sip_trace.switch(is_on=True)
        assert is_logged()
        sip_trace.switch(is_on=False)
        assert not is_logged()
    finally:
        logging.getLogger(LOGGER).setLevel(level)
