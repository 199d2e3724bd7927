"""The keys a caller presses for the model: gathered until they pause, then told as one number; pure, part of `Call`."""

from __future__ import annotations

from gateway.calls.events import Command, StartTimer, TellModel, TimerName

DIGIT_PAUSE_S = 1.5
MAX_DIGITS = 64


class GatheredKeys:
    """What was pressed and not told yet."""

    def __init__(self) -> None:
        self._digits = ""

    def add(self, digit: str) -> list[Command]:
        """One more; the pause begins anew. Of very many the rest is lost."""
        if len(self._digits) >= MAX_DIGITS:
            return []
        self._digits += digit
        return [StartTimer(timer=TimerName.DIGITS, delay_s=DIGIT_PAUSE_S)]

    def tell(self) -> list[Command]:
        """The caller has paused: the model hears of all of them."""
        digits, self._digits = self._digits, ""
        return [TellModel(text=f"The caller pressed these telephone keys: {' '.join(digits)}")] if digits else []

    def forget(self) -> None:
        """They are of no interest any more."""
        self._digits = ""
