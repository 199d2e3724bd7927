"""Credentials of those who call: worth nothing unless they are right, whatever they look like."""

from __future__ import annotations

from contextlib import suppress

from gateway.sip.auth import DigestCredentials, parse_challenges, select_challenge
from gateway.sip.auth_server import DigestServer, InboundAuth, Proof
from gateway.sip.message import Headers, Request, Uri

ACCOUNT = InboundAuth(username="pbx", password="secret", realm="gateway")
URI = Uri.parse("sip:7000@10.0.0.1")
HOST, NOW = "10.0.0.2", 1000.0


def _right() -> bytes:
    challenges = DigestServer(b"key").challenge(ACCOUNT, HOST, NOW, is_stale=False)
    challenge = select_challenge(parse_challenges(value for _, value in challenges))
    assert challenge is not None
    credentials = DigestCredentials(challenge, ACCOUNT.username, ACCOUNT.password, make_cnonce=lambda: "c" * 32)
    return credentials.authorization("INVITE", str(URI)).encode()


RIGHT = _right()
SEEDS = [
    RIGHT,
    RIGHT.replace(b"00000001", b"ffffffff"),
    b'Digest username="pbx", realm="gateway", nonce="\xff", uri="sip:7000@10.0.0.1", response="0", algorithm=MD5',
    b"Basic cGJ4OnNlY3JldA==",
]


def fuzz(data: bytes) -> None:
    with suppress(ValueError):
        headers = Headers([("Authorization", data.decode("utf-8", "surrogateescape"))])
        try:
            _judge(Request(method="INVITE", uri=URI, headers=headers))
        except ValueError as error:
            raise AssertionError("credentials raise") from error


def _judge(request: Request) -> None:
    judge = DigestServer(b"key")
    first = judge.judge(request, (ACCOUNT,), HOST, NOW)
    assert judge.judge(request, (ACCOUNT,), HOST, NOW).proof is not Proof.PROVEN
    assert DigestServer(b"another").judge(request, (ACCOUNT,), HOST, NOW).proof is not Proof.PROVEN
    if first.proof is Proof.PROVEN:
        other = InboundAuth(username="pbx", password="other", realm="gateway")
        assert DigestServer(b"key").judge(request, (other,), HOST, NOW).proof is Proof.WRONG
