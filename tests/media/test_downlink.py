"""Speech of a provider in pieces of any size: every sample, in order, without a seam."""

import audioop

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, AudioFormat
from gateway.media.playout import PlayoutQueues
from gateway.media.resample import PASS_HZ, STOP_HZ, STOP_WEIGHT, TAPS_PER_PHASE, design_low_pass
from tests.support.media_rig import MediaRig

LINEAR = [AudioFormat.PCM16_24K, AudioFormat.PCM16_16K]


def speech(seconds, rate_hz, seed=1):
    """Something like speech: int16, voice band, loud and soft."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    tones = sum(np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6)) for hz in (180, 410, 900, 1700, 2900))
    return np.rint(2500 * tones * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time_s))).astype("<i2")


def reference(samples, form, law=PCMU):
    """The octets that the whole of it makes at once: plain convolution, centred, every R-th sample."""
    ratio = form.sample_rate_hz // 8000
    taps = design_low_pass(
        TAPS_PER_PHASE * ratio - 1,
        rate_hz=form.sample_rate_hz,
        pass_hz=PASS_HZ,
        stop_hz=STOP_HZ,
        stop_weight=STOP_WEIGHT,
    )
    filtered = np.convolve(samples.astype(float), taps)[taps.size // 2 :][: samples.size : ratio]
    return codec.encode(np.clip(np.rint(filtered), -32768, 32767).astype(np.int16), law)


def agree(octets, expected):
    """Whether octets are the expected ones, but for the last bit of rounding here and there."""
    assert len(octets) == len(expected)
    differs = np.frombuffer(octets, np.uint8) != expected
    got = np.frombuffer(audioop.ulaw2lin(octets, 2), "<i2").astype(int)
    want = np.frombuffer(audioop.ulaw2lin(expected.tobytes(), 2), "<i2").astype(int)
    return differs.mean() < 0.002 and (np.abs(got - want) <= np.maximum(np.abs(want) // 14, 10)).all()


def played(rig, leg=0):
    """The voice that was sent, from the first voiced packet on."""
    audio = rig.sent_audio(leg)
    first = next(i for i in range(0, len(audio), 160) if audio[i : i + 160] != b"\xff" * 160)
    return audio[first:]


def rig_for(form, **changes):
    rig = MediaRig()
    rig.open_leg(downlink=form, **changes)
    return rig


@pytest.mark.parametrize("form", LINEAR)
@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_byte_count_sound_as_the_whole(form, seed):
    rng = np.random.default_rng(seed)
    samples = speech(1.5, form.sample_rate_hz)
    rig, data = rig_for(form), samples.tobytes()
    while data:
        size = int(rng.choice([1, 3, 37, 961, 4801, 20_001]))
        rig.engine.play(0, "a", data[:size])
        data = data[size:]
        if rng.random() < 0.3:
            rig.tick()
    rig.engine.end_item(0, "a")
    rig.run(2.0)
    expected = reference(samples, form)
    assert agree(played(rig)[: expected.size], expected)
    assert set(played(rig)[expected.size :]) == {0xFF}


@pytest.mark.parametrize("form", LINEAR)
@pytest.mark.parametrize("ends_early", [True, False])
def test_a_sound_cut_into_items_has_no_seam(form, ends_early):
    samples = speech(1.0, form.sample_rate_hz)
    rig = rig_for(form)
    for index in range(10):
        part = samples[index * samples.size // 10 : (index + 1) * samples.size // 10]
        rig.engine.play(0, f"item {index}", part.tobytes())
        if ends_early:
            rig.engine.end_item(0, f"item {index}")
        rig.tick()
    for index in range(10):
        rig.engine.end_item(0, f"item {index}")
    rig.run(1.3)
    expected = reference(samples, form)
    assert agree(played(rig)[: expected.size], expected)
    assert [event.item_id for event in rig.finished] == [f"item {index}" for index in range(10)]


@pytest.mark.parametrize("form", LINEAR)
@pytest.mark.parametrize("extra", range(5))
def test_the_end_of_a_word_is_not_lost_in_the_filter(form, extra):
    ratio = form.sample_rate_hz // 8000
    samples = np.full(ratio * 800 + extra, 8000, "<i2")
    rig = rig_for(form)
    rig.engine.play(0, "a", samples.tobytes())
    rig.engine.end_item(0, "a")
    rig.run(0.4)
    expected = reference(samples, form)
    assert expected.size == -(-samples.size // ratio)
    assert agree(played(rig)[: expected.size], expected)
    assert len(rig.finished) == 1


def test_sound_after_a_pause_begins_with_no_rest_of_what_was_before():
    samples = speech(0.2, 24000)
    rig = rig_for(AudioFormat.PCM16_24K)
    for name in ("a", "b"):
        rig.engine.play(0, name, samples.tobytes())
        rig.engine.end_item(0, name)
        rig.run(0.5)
    expected = reference(samples, AudioFormat.PCM16_24K)
    audio = rig.sent_audio()
    starts = [packet.timestamp for packet in rig.sent if packet.marked][1:]
    for start in starts:
        offset = (start - rig.sent[0].timestamp) % (1 << 32)
        assert agree(audio[offset : offset + expected.size], expected)


def test_after_a_flush_the_filter_starts_anew():
    rig = rig_for(AudioFormat.PCM16_24K)
    rig.engine.play(0, "a", np.full(24_000, 20_000, "<i2").tobytes())
    rig.run(0.1)
    rig.engine.flush(0)
    sent = len(rig.sent)
    samples = speech(0.2, 24000)
    rig.engine.play(0, "b", samples.tobytes())
    rig.engine.end_item(0, "b")
    rig.run(0.4)
    expected = reference(samples, AudioFormat.PCM16_24K)
    rig.sent = rig.sent[sent:]
    assert agree(played(rig)[: expected.size], expected)


@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["PCMU leg", "PCMA leg"])
@pytest.mark.parametrize("form", [AudioFormat.PCMU, AudioFormat.PCMA])
def test_g711_passes_untouched_or_by_the_table(form, law):
    octets = np.random.default_rng(1).integers(0, 256, 4000).astype(np.uint8)
    rig = rig_for(form, format=law.name, payload_type=law.static_payload_type)
    for start in range(0, 4000, 333):
        rig.engine.play(0, "a", octets[start : start + 333].tobytes())
    rig.engine.end_item(0, "a")
    rig.run(0.6)
    source = PCMU if form is AudioFormat.PCMU else PCMA
    assert rig.sent_audio()[:4000] == codec.translate(octets, source, law).tobytes()


def test_linear_audio_at_8_khz_is_only_encoded():
    samples = speech(0.5, 8000)
    rig = rig_for(AudioFormat.PCM16_8K)
    rig.engine.play(0, "a", samples.tobytes())
    rig.engine.end_item(0, "a")
    rig.run(0.6)
    assert played(rig)[: samples.size] == audioop.lin2ulaw(samples.tobytes(), 2)


def test_a_prompt_between_the_items_of_a_provider_keeps_its_place():
    model, prompt = speech(0.3, 24000), speech(0.2, 8000, seed=2).astype(np.int16)
    rig = rig_for(AudioFormat.PCM16_24K)
    rig.engine.play(0, "a", model.tobytes())
    rig.engine.play_pcm(0, "prompt", prompt)
    rig.engine.play(0, "b", model.tobytes())
    for name in ("a", "prompt", "b"):
        rig.engine.end_item(0, name)
    rig.run(1.1)
    expected = reference(model, AudioFormat.PCM16_24K)
    audio = played(rig)
    assert agree(audio[:2400], expected)
    assert audio[2400:4000] == audioop.lin2ulaw(prompt.astype("<i2").tobytes(), 2)
    assert agree(audio[4000:6400], expected)
    assert [event.item_id for event in rig.finished] == ["a", "prompt", "b"]


def test_an_item_is_finished_when_its_last_sample_has_left_and_not_before():
    rig = rig_for(AudioFormat.PCM16_24K)
    rig.engine.play(0, "a", speech(0.25, 24000).tobytes())
    rig.run(1.0)
    assert rig.finished == []
    rig.engine.end_item(0, "a")
    rig.run(0.1)
    assert [(event.leg, event.item_id, event.content_index) for event in rig.finished] == [(0, "a", 0)]
    rig.finished.clear()
    rig.engine.play(0, "b", speech(0.5, 24000).tobytes())
    rig.engine.end_item(0, "b")
    rig.run(0.47)
    assert rig.finished == []
    rig.run(0.05)
    assert len(rig.finished) == 1


def test_an_item_without_audio_is_finished_at_once_and_unknown_ones_are_ignored():
    rig = rig_for(AudioFormat.PCM16_24K)
    rig.engine.play(0, "empty", b"")
    rig.engine.end_item(0, "empty")
    rig.engine.end_item(0, "nobody's")
    rig.tick()
    assert [event.item_id for event in rig.finished] == ["empty"]


def test_faster_than_real_time_audio_is_bounded_and_paced():
    rig = rig_for(AudioFormat.PCM16_24K)
    second = speech(1.0, 24000).tobytes()
    for _ in range(150):
        rig.engine.play(0, "a", second)
        rig.tick()
    assert 119_000 <= rig.engine.queued_ms(0) <= 120_000
    assert rig.engine.statistics(0).overflow_ms == pytest.approx(150_000 - 120_000 - rig.elapsed_s * 1000, abs=40)
    rig.run(0.25)
    assert len(rig.sent) == rig.ticks / 4
    heard = rig.engine.flush(0)
    assert heard[0].received_ms == 150_000
    assert rig.engine.queued_ms(0) == 0


def test_a_burst_for_one_leg_does_not_keep_others_waiting():
    rig = MediaRig(max_legs=64)
    for _ in range(40):
        rig.open_leg(downlink=AudioFormat.PCM16_24K)
    burst = speech(60.0, 24000).tobytes()
    for leg in range(30):
        rig.engine.play(leg, "burst", burst)
    rig.tick()
    rig.engine.play(35, "word", speech(0.2, 24000).tobytes())
    rig.run(0.06)
    assert any(p.leg == 35 and p.payload != b"\xff" * 160 for p in rig.sent)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_was_heard_is_what_left_and_never_more_than_was_received(data):
    """Random chunks, ends, pauses and interruptions; every packet is read to see what was really sent."""
    form = data.draw(st.sampled_from([AudioFormat.PCM16_24K, AudioFormat.PCM16_16K, AudioFormat.PCMU]))
    rig = rig_for(form)
    received, current = {}, 0
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["play", "play", "end", "run", "next"]))
        name = f"item {current}"
        if action == "play":
            size = data.draw(st.integers(1, 12_000))
            received[name] = received.get(name, 0) + size
            rig.engine.play(0, name, b"\x01\x40" * (size // 2) + b"\x01" * (size % 2))
        elif action == "run":
            rig.run(data.draw(st.integers(1, 20)) * 0.005)
        elif action == "end":
            rig.engine.end_item(0, name)
        if action in {"end", "next"}:
            current += 1
    voiced_ms = sum(160 - packet.payload.count(0xFF) for packet in rig.sent) / 8
    finished = {event.item_id for event in rig.finished}
    told = rig.engine.flush(0)
    for heard in told:
        assert heard.received_ms == received[heard.item_id] // form.bytes_per_ms
        assert 0 <= heard.heard_ms <= heard.received_ms
    whole_ms = sum(size / form.bytes_per_ms for name, size in received.items() if name in finished)
    assert sum(heard.heard_ms for heard in told) + whole_ms <= voiced_ms + len(received) + 1
    assert sum(heard.heard_ms for heard in told) + whole_ms >= voiced_ms - 2 * len(received) - 1
    sent = len(rig.sent)
    rig.run(0.1)
    assert all(packet.payload == b"\xff" * 160 for packet in rig.sent[sent:])


@pytest.mark.heavy
def test_ten_thousand_random_barge_ins():
    """One leg after the other, at random moments of random items: the ledger against the packets."""
    rng = np.random.default_rng(7)
    rig = MediaRig(max_legs=100)
    legs = [rig.open_leg(downlink=AudioFormat.PCM16_24K) for _ in range(100)]
    tone = np.full(24_000, 9000, "<i2").tobytes()
    voiced = dict.fromkeys(legs, 0)
    read = interruptions = 0
    received = dict.fromkeys(legs, 0)
    while interruptions < 10_000:
        rig.tick()
        for packet in rig.sent[read:]:
            voiced[packet.leg] += 160 - packet.payload.count(0xFF)
        read = len(rig.sent)
        for leg in rng.choice(legs, 40, replace=False).tolist():
            if received[leg] == 0 or rng.random() < 0.4:
                size = int(rng.integers(1, 9000))
                rig.engine.play(leg, "item", tone[:size])
                received[leg] += size
                continue
            (heard,) = rig.engine.flush(leg)
            assert heard.received_ms == received[leg] // 48
            assert heard.heard_ms <= heard.received_ms
            assert abs(heard.heard_ms - voiced[leg] / 8) <= 1, (heard, voiced[leg])
            received[leg] = voiced[leg] = 0
            interruptions += 1


def test_pieces_of_very_many_legs_at_once_are_brought_in_whole_each_leg_in_its_turn(monkeypatch):
    """Were each cut into frames, a tick that is late would have more to do than one that is not."""
    rig = MediaRig(max_legs=400)
    legs = [rig.open_leg(downlink=AudioFormat.PCM16_24K) for _ in range(400)]
    appended = []
    append = PlayoutQueues.append

    def count(queues, leg, octets):
        appended.append(leg)
        return append(queues, leg, octets)

    monkeypatch.setattr(PlayoutQueues, "append", count)
    piece = speech(0.1, 24000).tobytes()
    for leg in legs:
        rig.engine.play(leg, "a", piece)
    counts = []
    while len(appended) < 400:
        appended_before = len(appended)
        rig.engine.transcode(rig.now)
        counts.append(len(appended) - appended_before)
    assert sorted(appended) == legs
    assert counts == [86, 86, 86, 86, 56]  # 512 frames of 20 ms, six for each piece and its filter
