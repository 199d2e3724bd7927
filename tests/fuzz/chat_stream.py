"""Streams of a chat endpoint: read line by line, or given up as an answer that is none."""

from __future__ import annotations

from contextlib import suppress

from gateway.embedded.chat import ChatError, ChatReader
from tests.support.chat_server import call, lines, words

SEEDS = [
    "\n".join(stream).encode()
    for stream in (
        lines(words("Good day. ", "How can", " I help? <think>No.</think> It costs 3.50.")),
        lines([*words("One moment. "), *call("transfer", '{"contact":', ' "sales"}'), *call("note", index=1)]),
        lines([{"choices": [{"delta": {}, "finish_reason": "stop"}]}], is_done=False),
        [": alive", "event: message", *lines([{"error": {"message": "overloaded"}}])],
    )
]


def fuzz(data: bytes) -> None:
    reader = ChatReader()
    with suppress(ChatError):
        for line in data.decode("utf-8", "replace").splitlines():
            reader.feed(line)
        reader.finish()
