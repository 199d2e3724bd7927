"""The way to a chat endpoint: one HTTP request a reply, ended as soon as nobody waits for the reply any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import httpx2

from gateway.embedded.brain import Reply
from gateway.embedded.chat import ChatError, ChatReader, Think
from gateway.embedded.sections import ChatSection

log = logging.getLogger(__name__)

_SEND_LIMIT_S = 5.0
_IDLE_LIMIT_S = 5.0
"""How long a connection is kept for the next reply: servers close theirs in the end, and a reply would meet that."""
_MAX_TOLD = 200


class ChatClient:
    """One endpoint for all conversations of a server."""

    def __init__(self, section: ChatSection) -> None:
        self._section = section
        self._url = f"{section.base_url}/chat/completions"
        headers = {"Accept": "text/event-stream"}
        if section.api_key:
            headers["Authorization"] = f"Bearer {section.api_key}"
        timeout = httpx2.Timeout(
            connect=section.connect_timeout_s, read=section.silence_timeout_s, write=_SEND_LIMIT_S, pool=_SEND_LIMIT_S
        )
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=_IDLE_LIMIT_S)
        self._http = httpx2.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=False)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def replies(self, request: Mapping[str, Any]) -> AsyncGenerator[Reply, None]:
        """The answer in parts, as it comes; each says or calls something.

        Raises:
            ChatError: the endpoint cannot be reached, is silent for too long, refuses, or does not answer as it should.
        """
        try:
            async with asyncio.timeout(self._section.timeout_s), aclosing(self._read(request)) as replies:
                async for reply in replies:
                    yield reply
        except TimeoutError as error:
            raise ChatError(f"the answer took longer than {self._section.timeout_s:g} s") from error
        except httpx2.TimeoutException as error:
            raise ChatError(f"{type(error).__name__} at {self._section.base_url}") from error
        except httpx2.HTTPError as error:
            raise ChatError(f"{error or type(error).__name__} at {self._section.base_url}") from error

    async def _read(self, request: Mapping[str, Any]) -> AsyncGenerator[Reply, None]:
        reader = ChatReader()
        async with self._http.stream("POST", self._url, json=request) as response:
            if response.status_code != httpx2.codes.OK:
                body = (await response.aread()).decode(errors="replace")
                raise ChatError(
                    f"{response.status_code} {response.reason_phrase}: {' '.join(body.split())[:_MAX_TOLD]}"
                )
            async for line in response.aiter_lines():
                if reply := reader.feed(line):
                    yield reply
        if reply := reader.finish():
            yield reply


class Thoughts:
    """The replies that one conversation waits for.

    `on_reply` gets each part, and at last an empty one that is whole; `on_failure` is called in the place of the rest.
    `is_awaited` says whether a reply is still wanted.
    """

    def __init__(
        self,
        client: ChatClient,
        *,
        on_reply: Callable[[int, Reply, bool], None],
        on_failure: Callable[[int], None],
        is_awaited: Callable[[int], bool],
    ) -> None:
        self._client = client
        self._on_reply = on_reply
        self._on_failure = on_failure
        self._is_awaited = is_awaited
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def begin(self, think: Think) -> None:
        """Ask the model."""
        task = asyncio.create_task(self._think(think), name=f"embedded chat {think.number}")
        self._tasks[think.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(think.number, None))

    def drop_unwanted(self) -> None:
        """End the requests of replies that were interrupted."""
        for number, task in list(self._tasks.items()):
            if not self._is_awaited(number):
                task.cancel()

    async def close(self) -> None:
        """End them all."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _think(self, think: Think) -> None:
        has_said_anything = False
        try:
            async with aclosing(self._client.replies(think.request)) as replies:
                async for reply in replies:
                    has_said_anything = True
                    self._on_reply(think.number, reply, False)
                    if not self._is_awaited(think.number):
                        return
            is_after_tool = think.request["messages"][-1:] and think.request["messages"][-1]["role"] == "tool"
            if not has_said_anything and not is_after_tool:
                raise ChatError("the model said nothing")
        except ChatError as error:
            log.warning("! chat model gives no answer: %s", error)
            self._on_failure(think.number)
        else:
            self._on_reply(think.number, (), True)
