"""How good a call sounds, reckoned from delay and loss: the E-model of ITU-T G.107, with its defaults for all else.

::

    R   = 93.2 - Id - Ie,eff                                  G.107 with every default (Ro - Is = 93.2, A = 0)
    Id  = 0.024 d + 0.11 max(d - 177.3, 0)                    d: delay of one way in ms
    Ie,eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl)        G.107 7.5; Ppl: loss in percent
    MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6             G.107 Annex B, for 0 < R < 100

The straight lines of Id are those of Cole and Rosenbluth ("Voice over IP performance monitoring", 2001), fitted to
G.107. Ie and Bpl of G.711 with loss concealment are 0 and 25.1 (G.113 Appendix I); those of all other codecs here are
reckoned the same, on the scale of telephone audio: the model for wide audio (G.107.1) has another one.

BurstR is the mean length of a loss, against that of as much loss by chance: 1 for losses that know nothing of each
other, 2 where they come twice as long. An estimate of what telephones' networks do to speech, not of the speech.
"""

from __future__ import annotations

from typing import Final

_BEST_R: Final = 93.2
_DELAY_PER_MS: Final = 0.024
_LONG_DELAY_PER_MS: Final = 0.11
_LONG_DELAY_MS: Final = 177.3
_WORST_IMPAIRMENT: Final = 95.0
_LOSS_ROBUSTNESS: Final = 25.1


def burst_ratio(*, lost: int, bursts: int, expected: int) -> float:
    """BurstR of `lost` packets of `expected` that were missed in so many `bursts`; at least 1."""
    if lost <= 0 or bursts <= 0 or expected <= 0:
        return 1.0
    mean_by_chance = 1 / (1 - min(lost / expected, 0.99))
    return max(lost / bursts / mean_by_chance, 1.0)


def rating(*, delay_ms: float, loss: float, burst: float = 1.0) -> float:
    """The transmission rating R. `loss` is a share, 0 to 1; `burst` is BurstR."""
    delay_ms = max(delay_ms, 0.0)
    percent = 100 * min(max(loss, 0.0), 1.0)
    delay_impairment = _DELAY_PER_MS * delay_ms + _LONG_DELAY_PER_MS * max(delay_ms - _LONG_DELAY_MS, 0.0)
    return _BEST_R - delay_impairment - _WORST_IMPAIRMENT * percent / (percent / burst + _LOSS_ROBUSTNESS)


def opinion(rating: float) -> float:
    """The mean opinion score, 1 to 4.5, that goes with R."""
    if rating <= 0:
        return 1.0
    if rating >= 100:
        return 4.5
    return max(1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6, 1.0)
