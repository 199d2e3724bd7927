from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from gateway.errors import ResourceError
from gateway.sip.message import Address
from gateway.transport.resolver import resolve
from tests.support.aio import eventually


@pytest.fixture
def _no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_arguments: object, **_options: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(socket, "getaddrinfo", ask)


@pytest.mark.usefixtures("_no_resolver")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_numeric_host_is_its_own_address(host: str) -> None:
    assert await resolve(host, 5060) == Address(host, 5060)


async def test_ipv4_comes_before_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.7", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answers)
    assert await resolve("pbx.example", 5062) == Address("192.0.2.7", 5062)


async def test_an_unknown_name_is_a_resource_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        ResourceError, match=r"cannot resolve pbx\.invalid: Name or service not known; configure its IP"
    ):
        await resolve("pbx.invalid", 5060)


async def test_a_name_that_is_none_is_a_resource_error() -> None:
    with pytest.raises(ResourceError, match="cannot resolve"):
        await resolve("a" * 64 + ".example", 5060)  # a label may have 63 characters


async def test_a_resolver_that_hangs_costs_its_budget_and_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: hang.wait(10) and [])
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    began = loop.time()
    with pytest.raises(ResourceError, match=r"no answer within 0\.05 s"):
        await resolve("slow.example", 5060, within_s=0.05)
    assert loop.time() - began < 2
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    assert thread.daemon
    hang.set()
    await eventually(lambda: not thread.is_alive())
    await asyncio.sleep(0)  # the answer nobody waits for is delivered
    assert reported == []


def test_an_answer_after_the_loop_has_ended_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answered.wait(10) and [])
    with pytest.raises(ResourceError):
        asyncio.run(resolve("slow.example", 5060, within_s=0.01))
    threads = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    answered.set()
    for thread in threads:
        thread.join(5)  # an exception in it would fail the test: warnings are errors
        assert not thread.is_alive()
