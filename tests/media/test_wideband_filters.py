"""The filters around G.722's 16 kHz, measured as a telephone engineer would: tones through int16, in 20 ms frames."""

import numpy as np
import pytest

from gateway.media.wideband_filters import WIDE_PASS_HZ, StreamFilter, TickFilter

LEVEL = 20000.0
WIDE_HZ = np.arange(50, WIDE_PASS_HZ + 1, 50)
TELEPHONE_HZ = np.arange(300, 3401, 25)
CONVERSIONS = {  # samples a tick before and after: the band that has to pass
    (2, 3): WIDE_HZ,
    (3, 2): WIDE_HZ,
    (1, 2): TELEPHONE_HZ,
    (2, 1): TELEPHONE_HZ,
}
AND_UNCHANGED = [*CONVERSIONS, (2, 2)]


def tones(frequencies_hz, per_tick, seconds):
    time_s = np.arange(round(8000 * per_tick * seconds)) / (8000 * per_tick)
    return np.rint(LEVEL * np.cos(2 * np.pi * np.outer(frequencies_hz, time_s) + 0.3)).astype(np.int16)


def streamed(rows, ratio, out_per_tick):
    """int16[n, whole frames] through one bank."""
    bank = StreamFilter(ratio, out_per_tick, len(rows))
    legs, frame = np.arange(len(rows)), 160 * ratio
    return np.concatenate([bank.process(legs, rows[:, i : i + frame]) for i in range(0, rows.shape[1], frame)], axis=1)


def spectrum_db(rows, per_tick):
    """Level of each 1 Hz bin against `LEVEL`, over the last second: the start of the filter is over by then."""
    rate_hz = 8000 * per_tick
    return 20 * np.log10(np.abs(np.fft.rfft(rows[:, -rate_hz:], axis=1)) * 2 / rate_hz / LEVEL + 1e-12)


@pytest.mark.parametrize(("ratio", "out_per_tick"), CONVERSIONS)
def test_the_band_passes_flat(ratio, out_per_tick):
    hz = CONVERSIONS[ratio, out_per_tick]
    levels = spectrum_db(streamed(tones(hz, ratio, 1.2), ratio, out_per_tick), out_per_tick)
    gains = levels[np.arange(hz.size), hz]
    figures = f"ripple {np.ptp(gains):.4f} dB, gain {gains.mean():.4f} dB"
    assert np.ptp(gains) <= 0.06, figures
    assert abs(gains).max() <= 0.06, figures


@pytest.mark.parametrize(("ratio", "out_per_tick"), [(2, 3), (1, 2)])
def test_images_above_the_old_rate_are_69_db_down(ratio, out_per_tick):
    hz = CONVERSIONS[ratio, out_per_tick]
    levels = spectrum_db(streamed(tones(hz, ratio, 1.2), ratio, out_per_tick), out_per_tick)
    old_rate_hz, nyquist_hz = 8000 * ratio, 4000 * out_per_tick
    images = [(row[old_rate_hz - f], f) for row, f in zip(levels, hz, strict=True) if old_rate_hz - f <= nyquist_hz]
    assert images
    assert max(images)[0] <= -69, f"image {max(images)[0]:.1f} dB of {max(images)[1]} Hz"


@pytest.mark.parametrize(("ratio", "out_per_tick"), [(3, 2), (2, 1)])
def test_what_would_fold_onto_the_band_is_69_db_down(ratio, out_per_tick):
    new_rate_hz = 8000 * out_per_tick
    above = new_rate_hz - CONVERSIONS[ratio, out_per_tick]
    above = above[above < 4000 * ratio]
    levels = spectrum_db(streamed(tones(above, ratio, 1.2), ratio, out_per_tick), out_per_tick)
    aliases = levels[np.arange(above.size), new_rate_hz - above]
    assert aliases.max() <= -69, f"alias {aliases.max():.1f} dB from {above[aliases.argmax()]} Hz"


@pytest.mark.parametrize(("ratio", "out_per_tick"), AND_UNCHANGED)
def test_a_stream_is_late_by_one_and_a_half_milliseconds_at_most(ratio, out_per_tick):
    pulse = np.zeros((1, 320 * ratio), np.int16)
    pulse[0, 100 * ratio] = 30000
    delay_ms = (int(streamed(pulse, ratio, out_per_tick)[0].argmax()) / out_per_tick - 100) / 8
    assert 0 <= delay_ms <= 1.5, f"{delay_ms:.3f} ms"
    assert TickFilter(ratio, out_per_tick).lookahead / (8 * ratio) <= 1.5


@pytest.mark.parametrize(("ratio", "out_per_tick"), AND_UNCHANGED)
def test_a_piece_is_converted_without_delay_to_as_many_ticks(ratio, out_per_tick):
    pulse = np.zeros(333 * ratio, np.int16)
    pulse[100 * ratio] = 30000
    made = TickFilter(ratio, out_per_tick).convert(pulse)
    assert made.size == 333 * out_per_tick
    assert made.argmax() == 100 * out_per_tick


@pytest.mark.parametrize(("ratio", "out_per_tick"), AND_UNCHANGED)
def test_a_stream_equals_the_piece_but_for_its_delay(ratio, out_per_tick):
    noise = np.random.default_rng(5).integers(-9000, 9000, 640 * ratio).astype(np.int16)
    # As late as the stream is: a whole number of samples in, which need not be one out.
    tick_filter = TickFilter(ratio, out_per_tick)
    late = tick_filter.row_samples - tick_filter.frame_samples - tick_filter.lookahead
    piece = tick_filter.convert(np.concatenate([np.zeros(late, np.int16), noise])[: noise.size])
    stream = streamed(noise[None], ratio, out_per_tick)[0]
    assert np.abs(piece[: -32 * out_per_tick].astype(int) - stream[: -32 * out_per_tick]).max() <= 1


def test_unchanged_means_untouched():
    noise = np.random.default_rng(6).integers(-32768, 32768, 960).astype(np.int16)
    assert (TickFilter(2, 2).convert(noise) == noise).all()


def test_16_to_24_khz_and_back_keeps_the_waveform():
    rng = np.random.default_rng(3)
    speech = sum(tones([f], 2, 1.0).astype(float) / 12 * rng.uniform(0.3, 1) for f in (120, 700, 2100, 4700, 6800))
    speech = np.rint(speech[0]).astype(np.int16)
    back = TickFilter(3, 2).convert(TickFilter(2, 3).convert(speech))
    error = back[400:-400].astype(float) - speech[400:-400]
    snr_db = 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean(error**2))
    assert snr_db >= 42, f"{snr_db:.1f} dB"


def test_legs_keep_their_own_past_and_forget_it_on_reset():
    bank = StreamFilter(2, 3, 8)
    loud, quiet = np.full((1, 320), 20000, np.int16), np.zeros((1, 320), np.int16)
    bank.process(np.array([5]), loud)
    assert not bank.process(np.array([2]), quiet).any()
    assert bank.process(np.array([5]), quiet).any()
    bank.process(np.array([5]), loud)
    bank.reset(5)
    assert not bank.process(np.array([5]), quiet).any()
