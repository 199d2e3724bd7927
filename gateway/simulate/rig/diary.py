"""What a scripted session notes of a caller whom it knows by a mark alone: the telephones of ``gateway simulate``."""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, AudioFormat
from gateway.simulate.marks import read_mark
from gateway.simulate.rig.control import Answer

_LAWS: Final = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}
_MOST_READINGS: Final = 50
"""Appends with speech after which a caller is taken for one without a mark: reading one takes 0.1 ms."""


class SessionDiary:
    """Of one session. Times are nanoseconds of the system's clock."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The caller's, once its mark was heard."""
        self._appended_ns: list[int] = []
        self._replied_ns: list[int] = []
        self._readings = 0

    def note_turn(self, arrived_ns: int) -> None:
        """An append arrived that begins a turn."""
        self._appended_ns.append(arrived_ns)

    def note_reply(self, sent_ns: int) -> None:
        """The first piece of a reply is sent; what was said before the caller was known is a greeting and no reply."""
        if self.number is not None:
            self._replied_ns.append(sent_ns)

    def hear(self, audio: bytes, form: AudioFormat) -> None:
        """An append with speech in it."""
        if self.number is not None or self._readings >= _MOST_READINGS:
            return
        self._readings += 1
        law = _LAWS.get(form)
        if law is None:
            samples = np.frombuffer(audio, "<i2", count=len(audio) // 2)
        else:
            octets = np.frombuffer(audio, np.uint8)
            samples = codec.decode(octets | np.uint16(law.first_code))
        self.number = read_mark(samples, form.sample_rate_hz)

    def told(self) -> Answer:
        """For the bench, as JSON."""
        return {"number": self.number, "appended_ns": self._appended_ns, "replied_ns": self._replied_ns}
