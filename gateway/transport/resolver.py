"""Names of registrars and proxies, asked at start and on reload; never while a call waits.

A resolver that hangs may hold a thread for half a minute. The thread is a daemon of its own, so that it holds neither
the event loop, nor the pool other work shares, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from gateway.errors import ResourceError, shown
from gateway.sip.message import Address
from gateway.transport.sockets import family_of

RESOLVE_WITHIN_S = 2.0

_Answers = list[tuple[socket.AddressFamily, str]]


async def resolve(
    host: str, port: int, *, family: socket.AddressFamily = socket.AF_UNSPEC, within_s: float = RESOLVE_WITHIN_S
) -> Address:
    """The numeric address of `host`: itself where it is numeric, else the first the resolver gives, IPv4 before IPv6.

    Raises:
        ResourceError: no such name, none of `family`, or no answer within `within_s` seconds.
    """
    if family_of(host) is not None:
        return Address(host, port)
    try:
        async with asyncio.timeout(within_s):
            answers = await _ask(host, family)
    except TimeoutError as error:
        raise ResourceError(_refusal(host, f"no answer within {within_s:g} s")) from error
    except (OSError, UnicodeError) as error:
        raise ResourceError(_refusal(host, getattr(error, "strerror", None) or str(error))) from error
    if not answers:
        raise ResourceError(_refusal(host, "no address"))
    return Address(min(answers, key=lambda answer: answer[0] != socket.AF_INET)[1], port)


def _refusal(host: str, why: str) -> str:
    return f"cannot resolve {shown(host)}: {why}; configure its IP address or mend the name service (/etc/resolv.conf)"


async def _ask(host: str, family: socket.AddressFamily) -> _Answers:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Answers] = loop.create_future()

    def deliver(found: _Answers, error: Exception | None) -> None:
        if answer.done():  # given up meanwhile
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: _Answers = []
        failure: Exception | None = None
        try:
            answers = socket.getaddrinfo(host, None, family, socket.SOCK_DGRAM)
            found = [(kind, str(address[0])) for kind, _, _, _, address in answers]
        except (OSError, UnicodeError) as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, found, failure)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return await answer
