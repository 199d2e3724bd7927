"""A caller for clients that take PCM at 24 kHz, and an ear for what they give back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from gateway.embedded.audio import resample
from gateway.embedded.recognizer import recognize
from gateway.embedded.voice import speak
from tests.support.phone_line import carried, pause

GREETING = "Good day, this is Acme. How can I help you?"
HOURS = "We are open from Monday to Friday, from nine in the morning until half past five."
PLACE = "You find us at one hundred twenty Market Street, right next to the station."
CONNECTING = "One moment, I am connecting you to sales."

ASK_HOURS = "What are your opening hours?"
ASK_PLACE = "Where are you located?"
ASK_SALES = "Connect me with the sales department."
ASK_OPTIONS = "What are my options?"
"""Answered for a minute and a half."""

BLOCK_BYTES = 4800


@cache
def said(text: str) -> bytes:
    """`text` from a telephone and the silence that ends the turn: PCM at 24 kHz."""
    line = carried(np.concatenate((pause(0.3), speak(text, voice="caller"), pause(0.9))))
    return resample(line, 8000, 24000).astype("<i2").tobytes()


def blocks(text: str) -> Iterator[bytes]:
    """`said` in blocks of 100 ms."""
    audio = said(text)
    return (audio[start : start + BLOCK_BYTES] for start in range(0, len(audio), BLOCK_BYTES))


def heard(audio: bytes) -> str:
    """Which of the receptionist's sentences the audio (PCM at 24 kHz) is."""
    samples = resample(np.frombuffer(audio, dtype="<i2").astype(np.int16), 24000, 8000)
    sentences = {_plain(sentence): sentence for sentence in (GREETING, HOURS, PLACE, CONNECTING)}
    return sentences.get(recognize(samples, list(sentences.values())), "")


def _plain(sentence: str) -> str:
    return " ".join("".join(c for c in sentence.lower() if c.isalpha() or c == " ").split())
