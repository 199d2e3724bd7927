"""Interruptions, from the provider's events down to the octets of RTP: the item that is heard is the one that is cut.

A media engine, the bridge and the protocol are the real ones. Every item is spoken in an octet of its own, so that the
packets themselves tell which item the caller was hearing and for how long. `make test-long` makes 10,000 of them.
"""

import asyncio
import base64
import itertools
import json
import os
import random
from collections import defaultdict
from types import SimpleNamespace

import pytest

from gateway.calls.conversation.bridge import SessionBridge
from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.events import CallerSpoke
from gateway.media.codec import AudioFormat
from gateway.realtime.openai import codec
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.openai.session import CAPABILITIES
from gateway.realtime.session import SessionOptions, register_provider
from tests.support.media_rig import MediaRig

BARGE_INS = int(os.environ.get("BARGE_INS", "1500"))
PER_MS = 8


class Caller:
    """One leg, its bridge and a provider that the test speaks for; what it is sent is read as it would be there."""

    capabilities = CAPABILITIES

    def __init__(self, rig):
        self.rig, self.leg = rig, rig.open_leg()
        self.names = itertools.cycle(range(1, 120))  # octets of speech: no silence, no comfort noise
        self.generated = {}  # ms by item, of the reply under way
        self.octet = {}  # by item
        self.carried = {}  # octets that RTP carried, by octet
        self.truncated = {}
        self.replies = itertools.count(1)
        options = SessionOptions(
            provider="by-hand", url="ws://127.0.0.1", input_format=AudioFormat.PCMU, output_format=AudioFormat.PCMU
        )
        self.protocol = OpenAIProtocol(options)
        self.bridge = SessionBridge(
            options=options,
            greeting=None,
            media=SimpleNamespace(engine=rig.engine),
            greetings=GreetingCache(),
            record=SimpleNamespace(call_id="c", barge_ins=0, first_audio_ms=0, established_s=None),
            observer=SimpleNamespace(spoken=lambda record, speech: None),
            dispatch=self.dispatch,
            on_quiet=lambda: None,
            clock=lambda: rig.now,
        )

    def dispatch(self, event):
        if isinstance(event, CallerSpoke):  # as the call does in every state in which the two talk
            self.bridge.barge_in()

    async def talk(self):
        register_provider("by-hand", lambda options: self)
        await self.bridge.open()
        self.bridge.start(self.leg)
        self.receive("session.created", session={})
        self.receive("session.updated", session={})

    # The session that the bridge opens is this.

    async def connect(self, on_event):
        self.on_event = on_event

    def respond(self, instructions=None): ...

    def truncate(self, item_id, content_index, audio_end_ms):
        self.protocol.truncate(item_id, content_index, audio_end_ms)
        self.read_messages()

    def read_messages(self):
        for message in map(json.loads, self.protocol.messages_to_send()):
            if message["type"] == "conversation.item.truncate":
                assert message["item_id"] not in self.truncated, "cut twice"
                self.truncated[message["item_id"]] = message["audio_end_ms"]

    def receive(self, kind, **fields):
        for event in self.protocol.receive(codec.encode({"type": kind, "event_id": "e", **fields})):
            self.on_event(event)
        self.read_messages()

    # What the provider does.

    def begin(self):
        self.reply = f"resp_{next(self.replies)}"
        self.generated, self.octet, self.truncated = {}, {}, {}
        self.carried = defaultdict(int)
        self.receive("response.created", response={"id": self.reply})

    def speak(self, item, ms):
        """The next piece of an item, new or not, far faster than it is heard."""
        octet = self.octet.setdefault(item, next(self.names))
        self.generated[item] = self.generated.get(item, 0) + ms
        delta = base64.b64encode(bytes([octet]) * ms * PER_MS).decode()
        self.receive(
            "response.output_audio.delta",
            response_id=self.reply,
            item_id=item,
            output_index=0,
            content_index=0,
            delta=delta,
        )

    def end_item(self, item):
        self.receive("response.output_audio.done", response_id=self.reply, item_id=item, content_index=0)

    def interrupt(self):
        self.receive("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")

    def end(self, status):
        self.receive("response.done", response={"id": self.reply, "status": status})

    def hear(self, payload):
        for octet in set(payload) - {0xFF}:
            self.carried[octet] += payload.count(octet)

    @property
    def queued_ms(self):
        return self.rig.engine.queued_ms(self.leg)

    def carried_ms(self, item):
        return self.carried[self.octet[item]] / PER_MS


@pytest.mark.heavy
def test_barge_ins_cut_the_item_that_is_heard():
    """Replies of one to four spoken items, received long before they are heard: 200 ms and more stand in the queue."""
    rng = random.Random(3)
    rig = MediaRig(max_legs=100)
    callers = [Caller(rig) for _ in range(100)]

    async def converse():
        for caller in callers:
            await caller.talk()
        interruptions, read, of_several, waiting = 0, 0, 0, {}
        while interruptions < BARGE_INS:
            for number, caller in enumerate(callers):
                if number not in waiting:
                    caller.begin()
                    for item in range(rng.randint(1, 4)):
                        for _ in range(rng.randint(1, 3)):
                            caller.speak(f"{caller.reply}_{item}", rng.randint(20, 400))
                        if rng.random() < 0.8:
                            caller.end_item(f"{caller.reply}_{item}")
                    total = sum(caller.generated.values())
                    waiting[number] = rig.elapsed_s + rng.uniform(0.02, min(0.3, max(0.04, (total - 220) / 1000)))
                elif rig.elapsed_s >= waiting[number]:
                    del waiting[number]
                    if caller.queued_ms < 200:
                        caller.interrupt()
                        caller.end("cancelled")
                        continue
                    caller.interrupt()
                    interruptions += 1
                    of_several += len(caller.generated) > 1
                    judge(caller)
                    caller.speak(f"{caller.reply}_0", 100)  # what was under way when the caller spoke is not heard
                    caller.end("cancelled")
            rig.tick()
            for packet in rig.sent[read:]:
                callers[packet.leg].hear(packet.payload)
            read = len(rig.sent)
        assert of_several > BARGE_INS / 2

    asyncio.run(converse())


def judge(caller):
    """The cuts against the packets."""
    heard = [item for item in caller.generated if 0 < caller.carried_ms(item) < caller.generated[item]]
    assert len(heard) <= 1
    for item, cut_ms in caller.truncated.items():
        carried_ms = caller.carried_ms(item)
        assert cut_ms <= carried_ms, f"{item}: told {cut_ms} ms, RTP carried {carried_ms}"
        assert carried_ms - cut_ms < 20
    # What is cut is what was being heard, and all that was still to come; what had been heard to its end stays.
    whole = [item for item in caller.generated if caller.carried_ms(item) == caller.generated[item]]
    assert set(heard) <= set(caller.truncated)
    assert {item for item in caller.generated if caller.carried_ms(item) == 0} <= set(caller.truncated)
    assert all(caller.truncated.get(item, caller.generated[item]) == caller.generated[item] for item in whole)


def test_late_audio_of_an_interrupted_reply_is_never_heard():
    rig = MediaRig()
    caller = Caller(rig)

    async def converse():
        await caller.talk()
        caller.begin()
        caller.speak("a", 400)
        rig.run(0.1)
        caller.interrupt()
        caller.speak("a", 400)
        caller.speak("b", 400)
        rig.run(0.02)
        sent = len(rig.sent)
        rig.run(0.5)
        assert all(set(packet.payload) == {0xFF} for packet in rig.sent[sent:])
        assert list(caller.truncated) == ["a"]
        assert caller.truncated["a"] == pytest.approx(100, abs=20)

    asyncio.run(converse())
