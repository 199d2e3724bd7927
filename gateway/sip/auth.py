"""Digest authentication as a client (RFC 3261 22, RFC 7616, RFC 8760).

`parse_challenges` reads what a 401 or 407 carries, `select_challenge` picks the strongest of them that we can answer,
`DigestCredentials` answers it, for as many requests as the nonce lives. Basic is never answered: it would hand out the
password (RFC 3261 22). Quoted strings enter the hash with their escapes resolved (RFC 7616 3.4.2, RFC 9110 5.6.4).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.errors import MessageError, shown
from gateway.sip.grammar import TOKEN_PATTERN, is_token, quote, split_list, unquote

HEADER_NAMES: dict[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}
"""By status: the header with the challenges, and the one with our answer (RFC 3261 22.2, 22.3)."""

ALGORITHMS = ("MD5", "SHA-256", "SHA-512-256")
"""Hash functions, the weakest first. Each exists with ``-sess`` too."""

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}

# RFC 9110 11.2: a scheme comes with parameters, or alone, or with one token68 ("Negotiate YII=").
_bare_scheme = re.compile(rf"{TOKEN_PATTERN}(?:[ \t]++[A-Za-z0-9\-._~+/]++=*+)?")
_scheme = re.compile(rf"({TOKEN_PATTERN})[ \t]++(?={TOKEN_PATTERN}[ \t]*+=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestChallenge:
    """One challenge. `qop` is empty where the server is from before RFC 2617; `algorithm` is None where not given."""

    realm: str
    nonce: str
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    opaque: str | None = None
    stale: bool = False
    """The nonce was too old, the credentials were right: try again without asking anybody (RFC 7616 3.3)."""

    @classmethod
    def parse(cls, value: str) -> DigestChallenge:
        """The first challenge in the value of WWW-Authenticate or Proxy-Authenticate.

        Raises: `MessageError` where it is of another scheme, or without realm or nonce.
        """
        for scheme, parameters in split_challenges(value):
            if scheme != "digest":
                break
            return _make_challenge(parameters)
        raise MessageError(f"not a Digest challenge: {shown(value)}")

    @property
    def hash_name(self) -> str:
        """The algorithm without ``-sess``; MD5 where none is given (RFC 7616 3.3)."""
        return (self.algorithm or "MD5").removesuffix("-sess")

    @property
    def is_session(self) -> bool:
        """Whether the key is bound to the first nonce and cnonce (RFC 7616 3.4.2)."""
        return (self.algorithm or "").endswith("-sess")

    @property
    def is_answerable(self) -> bool:
        """Whether we can: a hash we have, and qop ``auth`` or none at all, which -sess does not go with."""
        if self.hash_name not in ALGORITHMS or _HASHES[self.hash_name] not in hashlib.algorithms_available:
            return False
        return "auth" in self.qop or not (self.qop or self.is_session)


def _make_challenge(parameters: dict[str, str]) -> DigestChallenge:
    for name in ("realm", "nonce"):
        if name not in parameters:
            raise MessageError(f"challenge without {name}")
    algorithm = parameters.get("algorithm")
    return DigestChallenge(
        realm=parameters["realm"],
        nonce=parameters["nonce"],
        algorithm=algorithm if algorithm is None else _usual_spelling(algorithm),
        qop=tuple(option.lower() for option in split_list(parameters.get("qop", ""))),
        opaque=parameters.get("opaque"),
        stale=parameters.get("stale", "").lower() == "true",
    )


def _usual_spelling(algorithm: str) -> str:
    names = {f"{name}{suffix}".lower(): f"{name}{suffix}" for name in ALGORITHMS for suffix in ("", "-sess")}
    return names.get(algorithm.lower(), algorithm)


def split_challenges(value: str) -> list[tuple[str, dict[str, str]]]:
    """Scheme in lower case and parameters of every challenge on one line; RFC 9110 11.6.1 allows several."""
    challenges: list[tuple[str, dict[str, str]]] = []
    for piece in split_list(value):
        found = _scheme.match(piece)
        if found is not None:
            challenges.append((found[1].lower(), {}))
        elif _bare_scheme.fullmatch(piece):
            challenges.append((piece.partition(" ")[0].lower(), {}))
            continue
        elif not challenges:
            raise MessageError(f"not a challenge: {shown(value)}")
        name, _, content = piece[found.end() if found else 0 :].partition("=")
        name, content = name.rstrip(" \t").lower(), content.strip(" \t")
        if not is_token(name):
            raise MessageError(f"not a challenge: {shown(value)}")
        # The first of two wins, so that nobody overrides a parameter by appending to the header.
        challenges[-1][1].setdefault(name, unquote(content))
    return challenges


def parse_challenges(values: Iterable[str]) -> list[DigestChallenge]:
    """All Digest challenges in the header values of a response; other schemes and broken ones are left out."""
    challenges: list[DigestChallenge] = []
    for value in values:
        try:
            for scheme, parameters in split_challenges(value):
                if scheme == "digest":
                    challenges.append(_make_challenge(parameters))
        except MessageError:
            continue
    return challenges


def select_challenge(
    challenges: Iterable[DigestChallenge], *, realm: str | None = None, minimum_algorithm: str = "MD5"
) -> DigestChallenge | None:
    """The strongest challenge that we can and may answer, the topmost of equals; None where there is none.

    RFC 8760 2.4 would take the topmost; taking the strongest keeps a meddler from reordering them. `realm` restricts
    to the one the password is meant for, `minimum_algorithm` to hashes that strong or stronger.
    """
    allowed = ALGORITHMS[ALGORITHMS.index(minimum_algorithm) :]
    suitable = [
        challenge
        for challenge in challenges
        if challenge.is_answerable and challenge.hash_name in allowed and realm in (None, challenge.realm)
    ]
    return max(suitable, key=lambda challenge: ALGORITHMS.index(challenge.hash_name), default=None)


def _new_cnonce() -> str:
    return secrets.token_hex(16)


@dataclass(slots=True)
class DigestCredentials:
    """The answers to one challenge. Counts them, as the server checks for replays (RFC 7616 3.4, ``nc``).

    One cnonce serves all requests, which ``-sess`` demands and the others allow. The password shows in no ``repr``.
    """

    challenge: DigestChallenge
    username: str
    password: str = field(repr=False)
    make_cnonce: Callable[[], str] = field(default=_new_cnonce, repr=False)
    nonce_count: int = field(default=0, init=False)
    _cnonce: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.challenge.is_answerable:
            raise ValueError(f"challenge cannot be answered: {self.challenge.algorithm} {self.challenge.qop}")
        self._cnonce = self.make_cnonce()

    def authorization(self, method: str, uri: str, body: bytes = b"") -> str:
        """The value of Authorization or Proxy-Authorization for one request; `uri` is its Request-URI.

        `body` would enter qop ``auth-int`` only, which is never chosen.
        """
        challenge = self.challenge
        parameters = [
            ("username", quote(self.username)),
            ("realm", quote(challenge.realm)),
            ("nonce", quote(challenge.nonce)),
            ("uri", quote(str(uri))),
        ]
        key, request = self._key(), self._hash(f"{method}:{uri}")
        if challenge.qop:
            self.nonce_count += 1
            count = f"{self.nonce_count:08x}"
            response = self._hash(f"{key}:{challenge.nonce}:{count}:{self._cnonce}:auth:{request}")
            parameters += [("qop", "auth"), ("nc", count), ("cnonce", quote(self._cnonce))]
        else:
            response = self._hash(f"{key}:{challenge.nonce}:{request}")
        parameters.append(("response", quote(response)))
        if challenge.algorithm is not None:
            parameters.append(("algorithm", challenge.algorithm))
        if challenge.opaque is not None:
            parameters.append(("opaque", quote(challenge.opaque)))
        return "Digest " + ", ".join(f"{name}={value}" for name, value in parameters)

    def _key(self) -> str:
        key = self._hash(f"{self.username}:{self.challenge.realm}:{self.password}")
        return self._hash(f"{key}:{self.challenge.nonce}:{self._cnonce}") if self.challenge.is_session else key

    def _hash(self, text: str) -> str:
        name = _HASHES[self.challenge.hash_name]
        return hashlib.new(name, text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
