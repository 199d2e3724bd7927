"""Keys as a telephone's tone generator makes them: pairs of sines, as wrong as a test wants them."""

import numpy as np

from gateway.media import codec
from gateway.media.codec import PCMU

RATE_HZ = 8000
FULL_SINE_DBM0 = 3.17
"""Of a sine that reaches mu-law's last step (ITU-T G.711)."""
FULL_SINE = 32_636
ROWS_HZ = (697, 770, 852, 941)
COLUMNS_HZ = (1209, 1336, 1477, 1633)
KEYPAD = "123A456B789C*0#D"


def amplitude(level_dbm0):
    return FULL_SINE * 10 ** ((level_dbm0 - FULL_SINE_DBM0) / 20)


def key_tone(key, duration_ms, *, row_error=0.0, column_error=0.0, row_dbm0=-10.0, twist_db=0.0, phases=(0.3, 1.1)):
    """One key, float64[samples]. `twist_db`: column above row."""
    row, column = divmod(KEYPAD.index(key), 4)
    time_s = np.arange(round(duration_ms * RATE_HZ / 1000)) / RATE_HZ
    low = np.sin(2 * np.pi * ROWS_HZ[row] * (1 + row_error) * time_s + phases[0])
    high = np.sin(2 * np.pi * COLUMNS_HZ[column] * (1 + column_error) * time_s + phases[1])
    return amplitude(row_dbm0) * low + amplitude(row_dbm0 + twist_db) * high


def pause(duration_ms):
    return np.zeros(round(duration_ms * RATE_HZ / 1000))


def series(keys, *, on_ms, off_ms, lead_ms=60.0, seed=0, **changes):
    """Keys one after the other at any phase, behind `lead_ms` of silence: float64[samples]."""
    rng = np.random.default_rng(seed)
    parts = [pause(lead_ms)]
    for key in keys:
        parts += [key_tone(key, on_ms, phases=rng.uniform(0, 2 * np.pi, 2), **changes), pause(off_ms)]
    return np.concatenate(parts)


def with_noise(signal, *, snr_db, row_dbm0, twist_db, seed=0):
    """White noise so far below the key's two tones together."""
    power = amplitude(row_dbm0) ** 2 / 2 * (1 + 10 ** (twist_db / 10))
    noise = np.random.default_rng(seed).normal(0, np.sqrt(power * 10 ** (-snr_db / 10)), signal.size)
    return signal + noise


def through(law, signal):
    """What is left of a signal behind G.711, as codes of the jitter buffers: uint16[samples]."""
    samples = np.clip(np.rint(signal), -32768, 32767).astype(np.int16)
    return codec.encode(samples, law).astype(np.uint16) | np.uint16(law.first_code)


def tone_packets(signal, *, law=PCMU, ptime_ms=20, start_s=0.0, sequence=0, timestamp=0):
    """A signal as (send time, sequence, timestamp, payload) of RTP packets."""
    step = ptime_ms * 8
    octets = through(law, signal[: signal.size // step * step]).astype(np.uint8).reshape(-1, step)
    return [
        (start_s + i * ptime_ms / 1000, sequence + i, timestamp + i * step, payload.tobytes())
        for i, payload in enumerate(octets)
    ]
