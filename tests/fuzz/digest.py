"""Challenges: read and answered, or left out; the answer is one header line."""

from __future__ import annotations

from contextlib import suppress

from gateway.errors import MessageError
from gateway.sip.auth import DigestChallenge, DigestCredentials, parse_challenges, select_challenge
from gateway.sip.headers import Headers

SEEDS = [
    b'Digest realm="asterisk",nonce="1700000000/abc",opaque="5ccc",algorithm=MD5,qop="auth"',
    b'Digest realm="a\\"b", nonce="n", algorithm=SHA-256-sess, qop="auth,auth-int", stale=TRUE',
    b'Basic realm="x", Digest realm="y",nonce="z",algorithm=SHA-512-256,qop=auth, Negotiate YII=',
    b'Digest username="Mufasa",realm="r",nonce="n",uri="sip:a@b",qop=auth,nc=00000001,cnonce="c",response="d"',
    b"NoOneKnowsThisScheme opaque-data=here",
]


def fuzz(data: bytes) -> None:
    value = data.decode("utf-8", "surrogateescape")
    with suppress(MessageError):
        DigestChallenge.parse(value)
    with suppress(ValueError):
        Headers([("WWW-Authenticate", value)])
        challenge = select_challenge(parse_challenges([value]))
        if challenge is None:
            return
        credentials = DigestCredentials(challenge, "gateway", "secret")
        answer = credentials.authorization("INVITE", "sip:6001@10.0.0.2")
        assert "secret" not in answer.replace(challenge.realm, "").replace(challenge.nonce, "") or "secret" in value
        Headers([("Authorization", answer)])
