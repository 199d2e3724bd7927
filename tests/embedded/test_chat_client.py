"""The way to a chat endpoint, over real HTTP: streams, refusals, silences, and replies that nobody wants any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.embedded.brain import Call, Reply, Say
from gateway.embedded.chat import ChatError, Think
from gateway.embedded.chat_client import ChatClient, Thoughts
from gateway.embedded.sections import ChatSection
from tests.support.chat_server import Answer, ChatServer, call, chat_server, words

REQUEST = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
PATIENCE_S = 10.0
"""Only a failing test reaches it."""


@asynccontextmanager
async def asking(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[ChatServer, ChatClient]]:
    async with chat_server() as server, asyncio.timeout(PATIENCE_S):
        server.answers.extend(answers)
        client = ChatClient(ChatSection(base_url=server.url, model="small", **settings))
        try:
            yield server, client
        finally:
            await client.close()


async def replies(client: ChatClient) -> list[Reply]:
    return [reply async for reply in client.replies(REQUEST)]


async def test_answer_comes_in_parts() -> None:
    answer = Answer([*words("One moment. ", "I connect you."), *call("transfer", '{"contact": "sales"}')])
    async with asking(answer) as (server, client):
        found = await replies(client)
    assert found == [(Say("One moment."),), (Say("I connect you."), Call("transfer", '{"contact": "sales"}'))]
    assert server.requests == [REQUEST]
    assert server.headers[0].startswith("POST /v1/chat/completions ")
    assert "authorization" not in server.headers[0].lower()


async def test_key_is_shown() -> None:
    async with asking(Answer(words("Hello.")), api_key="secret") as (server, client):
        await replies(client)
    assert "Authorization: Bearer secret\r\n" in server.headers[0]


@pytest.mark.parametrize(
    ("answer", "settings", "told"),
    [
        (Answer(status=429, body='{"error": "slow down"}'), {}, "429 .*slow down"),
        (Answer(status=500), {}, "500"),
        (Answer(words("Hello."), is_done=False), {}, "broke off"),
        (Answer(words("Hello."), waits=True), {"silence_timeout_s": 0.05}, "ReadTimeout"),
        (Answer(words("Hello."), waits=True), {"timeout_s": 0.05}, "longer than 0.05 s"),
    ],
)
async def test_endpoint_that_does_not_answer_as_it_should_is_told(
    answer: Answer, settings: dict[str, float], told: str
) -> None:
    async with asking(answer, **settings) as (_, client):
        with pytest.raises(ChatError, match=told):
            await replies(client)


async def test_endpoint_that_cannot_be_reached_is_told_with_its_address() -> None:
    async with chat_server() as server:
        url = server.url
    client = ChatClient(ChatSection(base_url=url, model="small"))
    with pytest.raises(ChatError, match=url):
        await replies(client)
    await client.close()


class Caller:
    """A conversation's side: what it was told, and what it still waits for."""

    def __init__(self, client: ChatClient) -> None:
        self.told: list[tuple[int, Reply, bool]] = []
        self.failed: list[int] = []
        self.awaited = {1}
        self.news = asyncio.Event()
        self.thoughts = Thoughts(
            client, on_reply=self._on_reply, on_failure=self._on_failure, is_awaited=self.awaited.__contains__
        )

    def _on_reply(self, number: int, reply: Reply, is_whole: bool) -> None:
        self.told.append((number, reply, is_whole))
        self.news.set()

    def _on_failure(self, number: int) -> None:
        self.failed.append(number)
        self.news.set()

    async def until(self, count: int) -> None:
        """Until so much was told or failed."""
        while len(self.told) + len(self.failed) < count:
            self.news.clear()
            await self.news.wait()


async def test_conversation_is_told_each_part_and_the_end() -> None:
    async with asking(Answer(words("One. ", "Two."))) as (_, client):
        caller = Caller(client)
        caller.thoughts.begin(Think(number=1, request=REQUEST))
        await caller.until(3)
    assert caller.told == [(1, (Say("One."),), False), (1, (Say("Two."),), False), (1, (), True)]


async def test_reply_that_was_interrupted_is_not_asked_for_any_longer() -> None:
    async with asking(Answer(words("One. ", "Two"), waits=True)) as (server, client):
        caller = Caller(client)
        caller.thoughts.begin(Think(number=1, request=REQUEST))
        await caller.until(1)
        caller.awaited.clear()
        caller.thoughts.drop_unwanted()
        await server.client_left.wait()
    assert (len(caller.told), caller.failed) == (1, [])


async def test_reply_that_is_still_wanted_is_kept() -> None:
    async with asking(Answer(words("One. ", "Two"), waits=True)) as (server, client):
        caller = Caller(client)
        caller.thoughts.begin(Think(number=1, request=REQUEST))
        await caller.until(1)
        caller.thoughts.drop_unwanted()
        assert not server.client_left.is_set()
        await caller.thoughts.close()
        await server.client_left.wait()


async def test_failure_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "gateway.embedded.chat_client")
    async with asking(Answer(status=503, body="warming up")) as (_, client):
        caller = Caller(client)
        caller.thoughts.begin(Think(number=1, request=REQUEST))
        await caller.until(1)
    assert (caller.told, caller.failed) == ([], [1])
    assert "503" in caplog.text
    assert "warming up" in caplog.text


@pytest.mark.parametrize(("last_role", "failures"), [("user", [1]), ("tool", [])])
async def test_silence_is_an_answer_to_a_tool_only(last_role: str, failures: list[int]) -> None:
    async with asking(Answer()) as (_, client):
        caller = Caller(client)
        request = REQUEST | {"messages": [{"role": last_role, "content": "done"}]}
        caller.thoughts.begin(Think(number=1, request=request))
        await caller.until(1)
    assert caller.failed == failures


async def test_reply_that_is_interrupted_by_its_own_words_is_read_no_further() -> None:
    async with asking(Answer(words("One. ", "Two. ", "Three"), waits=True)) as (server, client):
        caller = Caller(client)
        caller.awaited.clear()
        caller.thoughts.begin(Think(number=1, request=REQUEST))
        await server.client_left.wait()
    assert (len(caller.told), caller.failed) == (1, [])
