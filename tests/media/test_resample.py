"""The resampling filters, measured as a telephone engineer would: tones through int16, streamed in 20 ms frames."""

import numpy as np
import pytest

from gateway.media.resample import PASS_HZ, STOP_HZ, TAPS_PER_PHASE, DownSampler, UpSampler, design_low_pass

RATIOS = [3, 2]
VOICE_HZ = np.arange(300, 3401, 25)
LEVEL = 20000.0
MEASURED = 8000  # samples at 8 kHz, a second: every tone on a multiple of 1 Hz has its own bin


def tones(frequencies_hz, rate_hz, seconds):
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    return np.rint(LEVEL * np.cos(2 * np.pi * np.outer(frequencies_hz, time_s) + 0.3)).astype(np.int16)


def up(rows, ratio):
    """int16[n, samples] at 8 kHz, a whole number of frames, streamed through one bank."""
    bank = UpSampler(ratio, len(rows))
    legs = np.arange(len(rows))
    frames = [bank.process(legs, rows[:, at : at + 160]).copy() for at in range(0, rows.shape[1], 160)]
    return np.concatenate(frames, axis=1)


def down(rows, ratio):
    """int16[n, samples] at the model's rate to telephone samples, centred: no delay, zeros around."""
    sampler = DownSampler(ratio)
    padded = np.pad(rows, ((0, 0), (sampler.lookahead, sampler.lookahead + ratio)))
    starts = range(0, rows.shape[1], sampler.frame_samples)
    return np.concatenate([sampler.process(padded[:, at : at + sampler.row_samples]) for at in starts], axis=1)


def spectrum_db(rows, rate_hz):
    """Level of each 1 Hz bin against `LEVEL`, over the last second: the start of the filter is over by then."""
    part = rows[:, -rate_hz:]
    return 20 * np.log10(np.abs(np.fft.rfft(part, axis=1)) * 2 / rate_hz / LEVEL + 1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_up_is_flat_in_the_voice_band_and_images_are_69_db_down(ratio):
    rate_hz = 8000 * ratio
    levels = spectrum_db(up(tones(VOICE_HZ, 8000, 1.2), ratio), rate_hz)
    gains = levels[np.arange(VOICE_HZ.size), VOICE_HZ]
    ripple = gains.max() - gains.min()
    images = max(
        10 * np.log10(np.sum(10 ** (row[[bin_hz for bin_hz in mirrored(hz, rate_hz) if bin_hz <= rate_hz // 2]] / 10)))
        for hz, row in zip(VOICE_HZ, levels, strict=True)
    )
    figures = f"ripple {ripple:.4f} dB, gain {gains.mean():.4f} dB, images {images:.1f} dB"
    assert ripple <= 0.06, figures
    assert abs(gains).max() <= 0.06, figures
    assert images <= -69, figures


def mirrored(hz, rate_hz):
    return [edge + side * hz for edge in range(8000, rate_hz, 8000) for side in (-1, 1)]


@pytest.mark.parametrize("ratio", RATIOS)
def test_down_is_flat_in_the_voice_band(ratio):
    levels = spectrum_db(down(tones(VOICE_HZ, 8000 * ratio, 1.2)[:, : 9600 * ratio], ratio)[:, :9000], 8000)
    gains = levels[np.arange(VOICE_HZ.size), VOICE_HZ]
    figures = f"ripple {gains.max() - gains.min():.4f} dB, gain {gains.mean():.4f} dB"
    assert gains.max() - gains.min() <= 0.06, figures
    assert abs(gains).max() <= 0.06, figures


@pytest.mark.parametrize("ratio", RATIOS)
def test_what_would_fold_onto_the_voice_is_69_db_down(ratio):
    rate_hz = 8000 * ratio
    above = np.array(sorted({f for hz in VOICE_HZ for f in mirrored(hz, rate_hz) if f < rate_hz // 2}))
    levels = spectrum_db(down(tones(above, rate_hz, 1.2)[:, : 9600 * ratio], ratio)[:, :9000], 8000)
    folded = np.abs((above + 4000) % 8000 - 4000)
    aliases = levels[np.arange(above.size), folded]
    assert aliases.max() <= -69, f"alias {aliases.max():.1f} dB from {above[aliases.argmax()]} Hz"


@pytest.mark.parametrize("ratio", RATIOS)
def test_up_delays_by_less_than_one_and_a_half_milliseconds(ratio):
    pulse = np.zeros((1, 320), np.int16)
    pulse[0, 40] = 30000
    delay_ms = (int(up(pulse, ratio)[0].argmax()) - 40 * ratio) / (8 * ratio)
    assert 0 < delay_ms <= 1.5, f"{delay_ms:.3f} ms"


@pytest.mark.parametrize("ratio", RATIOS)
def test_down_centres_its_output_and_waits_for_less_than_one_and_a_half_milliseconds(ratio):
    pulse = np.zeros((1, 480 * ratio), np.int16)
    pulse[0, 100 * ratio] = 30000
    assert down(pulse, ratio)[0].argmax() == 100
    assert DownSampler(ratio).lookahead / (8 * ratio) <= 1.5


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_round_trip_keeps_the_waveform(ratio):
    rng = np.random.default_rng(3)
    speech = sum(tones([hz], 8000, 1.0).astype(float) / 12 * rng.uniform(0.3, 1) for hz in (320, 700, 1250, 2100, 3300))
    speech = np.rint(speech).astype(np.int16)
    there = up(speech, ratio)
    delay = TAPS_PER_PHASE * ratio // 2 - 1  # samples at the model's rate
    back = down(np.pad(there[:, delay:], ((0, 0), (0, delay))), ratio)
    error = back[0, 200:7500].astype(float) - speech[0, 200:7500]
    snr_db = 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean(error**2))
    assert snr_db >= 42, f"{snr_db:.1f} dB"


@pytest.mark.parametrize("ratio", RATIOS)
def test_frames_streamed_equal_frames_at_once_in_any_sub_batch(ratio):
    rng = np.random.default_rng(5)
    rows = rng.integers(-30000, 30000, (450, 480)).astype(np.int16)
    together = up(rows, ratio)
    assert np.abs(up(rows[444:445], ratio).astype(int) - together[444]).max() <= 1
    apart = down(together[[7, 449]], ratio)
    assert np.abs(down(together, ratio)[[7, 449]].astype(int) - apart).max() <= 1


def test_legs_keep_their_own_past_and_forget_it_on_reset():
    bank = UpSampler(3, 8)
    loud, quiet = np.full((1, 160), 20000, np.int16), np.zeros((1, 160), np.int16)
    bank.process(np.array([5]), loud)
    assert not bank.process(np.array([2]), quiet).any()
    assert bank.process(np.array([5]), quiet).any()
    bank.process(np.array([5]), loud)
    bank.reset(5)
    assert not bank.process(np.array([5]), quiet).any()


def test_full_scale_square_waves_clip_and_do_not_wrap():
    square = np.where(np.arange(1600) // 40 % 2 == 0, 32767, -32768).astype(np.int16)[None]
    for ratio in RATIOS:
        steps = np.abs(np.diff(up(square, ratio)[0].astype(int)))
        assert steps.max() < 50000


def test_silence_in_is_silence_out():
    assert not up(np.zeros((2, 480), np.int16), 3).any()
    assert not down(np.zeros((2, 1440), np.int16), 3).any()


@pytest.mark.parametrize(("taps", "rate_hz"), [(71, 24000), (47, 16000)])
def test_the_design_has_equal_ripples_and_more_than_69_db(taps, rate_hz):
    h = design_low_pass(taps, rate_hz=rate_hz, pass_hz=PASS_HZ, stop_hz=STOP_HZ, stop_weight=14)
    hz = np.fft.rfftfreq(1 << 16, 1 / rate_hz)
    gain = np.abs(np.fft.rfft(h, 1 << 16))
    stop_db = -20 * np.log10(gain[hz >= STOP_HZ].max())
    ripple_db = 20 * np.log10(gain[hz <= PASS_HZ].max() / gain[hz <= PASS_HZ].min())
    assert np.allclose(h, h[::-1], atol=1e-12)
    assert stop_db >= 73, f"{stop_db:.1f} dB"
    assert ripple_db <= 0.05, f"{ripple_db:.4f} dB"
