"""Whether a sentence is what was heard at a telephone, rather than any other: by its sound, never by what was sent.

The sentence is spoken once more by the voice it should have, and so are others; the recording is most like one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.voice import DEFAULT_VOICE, speak
from gateway.simulate.listening import identify

DECOYS = (
    "The weather will be sunny with light winds from the west.",
    "Please leave a message after the tone, and press the pound key.",
    "All lines are busy now, your call is important to us.",
    "Your account balance is two hundred and seventeen euros.",
    "We are closed for the holidays and back in the new year.",
)


def is_sentence_heard(
    heard: NDArray[np.int16], sentence: str, others: Sequence[str] = (), *, voice: str = DEFAULT_VOICE
) -> bool:
    """Whether `heard` (int16[samples], 8 kHz) sounds like `sentence` rather than like `others` or any decoy."""
    candidates = {text: speak(text, voice=voice) for text in (sentence, *others, *DECOYS)}
    return identify(heard, candidates) == sentence
