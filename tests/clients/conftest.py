"""Clients that others wrote hold spoken dialogues with the embedded server, run by `make test-clients`.

They are no dependency of ours: where one of them is missing, nothing here is collected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.embedded.brain import RECEPTION
from tests.clients.wiretap import Wiretap, tapped
from tests.support.embedded_process import embedded_process

CLIENTS = ("openai", "agents", "livekit", "pydantic_ai")
collect_ignore_glob = [] if all(map(find_spec, CLIENTS)) else ["test_*.py"]

HELP_REPLY = "I can connect you to sales or to support, and I can tell you our opening hours and our address."


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a receptionist who, asked what she can do, talks for a minute and a half."""
    dialogue = RECEPTION.read_text(encoding="utf-8")
    assert HELP_REPLY in dialogue
    brain: Path = tmp_path_factory.mktemp("brain") / "talkative.yaml"
    brain.write_text(dialogue.replace(HELP_REPLY, " ".join([HELP_REPLY] * 16)), encoding="utf-8")
    with embedded_process("--brain", str(brain)) as url:
        yield url


@pytest.fixture
async def wire(server_url: str) -> AsyncIterator[Wiretap]:
    """The server behind a wiretap; all that it says passes the official client's typed classes."""
    async with tapped(server_url) as tap:
        yield tap
    tap.assert_typed()
