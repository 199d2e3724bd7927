"""Requests for ephemeral keys: a key that stands for a session, or a refusal with the protocol's own code."""

from __future__ import annotations

import json
import random
from contextlib import suppress

from gateway.embedded.client_secrets import ClientSecrets
from gateway.embedded.events import Identities
from gateway.embedded.protocol import RefusedEvent

SEEDS = [
    b'{"expires_after": {"anchor": "created_at", "seconds": 60}, "session": {"type": "realtime", "model": "m"}}',
    b'{"session": {"type": "transcription", "audio": {"input": {"turn_detection": null}}}}',
    b'{"session": {"type": "realtime", "tools": [{"type": "mcp", "server_label": "a"}], "tracing": {"group_id": "g"}}}',
    b'{"session": {"audio": {"output": {"speed": 1.25, "voice": {"id": "v"}}}, "truncation": "disabled"}}',
]


def fuzz(data: bytes) -> None:
    secrets = ClientSecrets(Identities(random.Random(1)))
    with suppress(RefusedEvent):
        answer = secrets.answer(data, 1000.0)
        json.loads(json.dumps(answer, allow_nan=False))
        assert secrets.session_of(answer["value"], 1000.0) is not None
