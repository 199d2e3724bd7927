"""Keys towards the peer: as tones, which an FFT of the tests finds, and as events; speech waits and is not lost."""

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, payload_format
from tests.support.key_tones import key_tone, tone_packets
from tests.support.listening import heard_keys
from tests.support.media_rig import MediaRig, leg_options
from tests.support.rtp_packets import rtp_packet

KEYS = "0123456789*#ABCD"
VOICE = b"\x11"


def rig_without_events(**changes):
    rig = MediaRig()
    rig.open_leg(**{"telephone_event_payload_type": None, **changes})
    return rig


def sound(rig, *, law=PCMU):
    """What the peer hears, int16[samples]."""
    octets = np.frombuffer(rig.sent_audio(), np.uint8)
    return codec.decode(octets.astype(np.uint16) | np.uint16(law.first_code))


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_a_peer_without_events_hears_tones(name, ptime_ms):
    rig = rig_without_events(format=name, payload_type=payload_format(name).static_payload_type, ptime_ms=ptime_ms)
    rig.run(0.12)
    rig.engine.send_digits(0, KEYS)
    rig.run(16 * 0.2 + 0.12)
    keys = heard_keys(sound(rig, law=payload_format(name)))
    assert "".join(key.key for key in keys) == KEYS
    for index, key in enumerate(keys):
        assert key.start_s == pytest.approx(0.12 + index * 0.2, abs=0.01)
        assert key.duration_s == pytest.approx(0.1, abs=0.011)
        # ITU-T Q.23: within 1.5 %; 0 dBov is 6.15 dBm0 in mu-law (G.711), -10 and -8 dBm0 are sent.
        assert key.row_dbov == pytest.approx(-16.15, abs=0.5)
        assert key.column_dbov - key.row_dbov == pytest.approx(2, abs=0.5)
    assert {packet.payload_type for packet in rig.sent} == {payload_format(name).static_payload_type}


def test_tones_begin_a_talk_spurt():
    rig = rig_without_events()
    rig.run(0.1)
    rig.engine.send_digits(0, "12")
    rig.run(0.5)
    assert [index for index, packet in enumerate(rig.sent) if packet.marked] == [0, 5]


def test_the_frequencies_are_those_of_q_23():
    rig = rig_without_events()
    rig.engine.send_digits(0, "1590", duration_ms=400)
    rig.run(2.2)
    found = [(key.row_hz, key.column_hz) for key in heard_keys(sound(rig))]
    assert np.array(found) == pytest.approx(np.array([(697, 1209), (770, 1336), (852, 1477), (941, 1336)]), abs=2)


def test_durations_and_pauses_need_not_be_whole_frames():
    rig = rig_without_events()
    rig.engine.send_digits(0, "25", duration_ms=75, gap_ms=55)
    rig.run(0.4)
    first, second = heard_keys(sound(rig))
    assert second.start_s - first.start_s == pytest.approx(0.130, abs=0.006)
    assert (first.duration_s, second.duration_s) == pytest.approx((0.075, 0.075), abs=0.011)


def test_tones_begin_and_end_without_a_click():
    rig = rig_without_events()
    rig.run(0.1)
    rig.engine.send_digits(0, "1")
    rig.run(0.3)
    samples = sound(rig).astype(np.float64)
    assert abs(np.concatenate((samples[:800], samples[1600:]))).max() == 0
    for edge in (800, 1600):
        spectrum = abs(np.fft.rfft(samples[edge - 40 : edge + 40] * np.hanning(80), 512))
        click = spectrum[np.fft.rfftfreq(512, 1 / 8000) > 2500].max()
        assert 20 * np.log10(click / spectrum.max()) < -35


@pytest.mark.parametrize("events", [101, None], ids=["as events", "as tones"])
def test_speech_waits_for_keys_and_nothing_of_it_is_lost(events):
    rig = rig_without_events(telephone_event_payload_type=events)
    ramp = (np.arange(8000) % 100).astype(np.uint8).tobytes()
    rig.engine.play(0, "a", ramp)
    rig.engine.end_item(0, "a")
    rig.run(0.3)
    rig.engine.send_digits(0, "12", duration_ms=100, gap_ms=60)
    rig.run(0.32)
    assert rig.engine.queued_ms(0) == 700
    assert rig.finished == []
    rig.run(0.8)
    packets = [packet.payload for packet in rig.sent if packet.payload_type == 0]
    spoken = b"".join(packet for packet in packets if packet in ramp)
    assert spoken == ramp
    assert [item.item_id for item in rig.finished] == ["a"]
    assert {(b.timestamp - a.timestamp) % 2**32 for a, b in zip(rig.sent, rig.sent[1:], strict=False)} <= {
        0, 160, 1120, 1280
    }  # fmt: skip


def test_what_was_heard_does_not_grow_while_keys_are_sent():
    rig = rig_without_events()
    rig.engine.play(0, "a", VOICE * 8000)
    rig.run(0.2)
    rig.engine.send_digits(0, "1")
    rig.run(0.1)
    (heard,) = rig.engine.flush(0)
    assert (heard.heard_ms, heard.received_ms) == (200, 1000)
    rig.run(0.4)
    assert [key.key for key in heard_keys(sound(rig)[1600:])] == ["1"]
    assert not any(packet.payload == VOICE * 160 for packet in rig.sent[10:])


def test_keys_wait_while_the_leg_is_on_hold():
    rig = rig_without_events()
    rig.engine.set_direction(0, send=False, receive=False)
    rig.engine.send_digits(0, "7")
    rig.run(1.0)
    assert rig.sent == []
    rig.engine.set_direction(0, send=True, receive=True)
    rig.run(0.3)
    assert [key.key for key in heard_keys(sound(rig))] == ["7"]


def test_keys_go_on_in_the_other_way_after_a_new_negotiation():
    rig = MediaRig()
    rig.open_leg()
    rig.engine.send_digits(0, "123")
    rig.run(0.24)
    rig.engine.reconfigure_leg(0, leg_options(telephone_event_payload_type=None), rig.now)
    rig.run(0.6)
    assert {packet.payload[0] for packet in rig.sent if packet.payload_type == 101} == {1, 2}
    octets = b"".join(packet.payload for packet in rig.sent if packet.payload_type == 0)
    spoken = codec.decode(np.frombuffer(octets, np.uint8).astype(np.uint16) | np.uint16(PCMU.first_code))
    assert [key.key for key in heard_keys(spoken)] == ["2", "3"]
    assert [key.duration_s for key in heard_keys(spoken)] == pytest.approx([0.1, 0.1], abs=0.011)


def test_a_tone_that_was_begun_is_sent_as_a_whole_event_after_a_new_negotiation():
    rig = rig_without_events()
    rig.engine.send_digits(0, "1")
    rig.run(0.06)
    rig.engine.reconfigure_leg(0, leg_options(), rig.now)
    rig.run(0.4)
    events = [packet for packet in rig.sent if packet.payload_type == 101]
    assert [int.from_bytes(packet.payload[2:]) for packet in events] == [160, 320, 480, 640, 800, 800, 800]
    assert [packet.marked for packet in events] == [True] + [False] * 6


def test_other_legs_speak_on():
    rig = rig_without_events()
    other = rig.open_leg()
    rig.engine.play(other, "a", VOICE * 1600)
    rig.engine.send_digits(0, "1")
    rig.run(0.2)
    assert rig.sent_audio(other) == VOICE * 1600


def test_a_leg_that_is_used_again_does_not_dial_for_the_one_before():
    rig = MediaRig(max_legs=1)
    rig.open_leg(telephone_event_payload_type=None)
    rig.engine.send_digits(0, "123")
    rig.engine.close_leg(0)
    rig.open_leg(telephone_event_payload_type=None)
    rig.run(0.5)
    assert set(rig.sent_audio()) == {0xFF}


@pytest.mark.parametrize(
    ("digits", "changes"), [("x", {}), ("5", {"duration_ms": 0}), ("5", {"duration_ms": 8001}), ("5", {"gap_ms": -1})]
)
def test_what_is_no_key_is_not_sent(digits, changes):
    rig = rig_without_events()
    with pytest.raises(ValueError, match=r"not 'x'|lasts 1 to 8000 ms"):
        rig.engine.send_digits(0, digits, **changes)


def test_an_echo_of_our_own_tones_is_no_key_and_a_key_after_it_is():
    rig = rig_without_events(hears_tones=True)
    rig.engine.send_digits(0, "123")
    for _ in range(200):
        start = len(rig.sent)
        rig.tick()
        rig.arrive([(rig.elapsed_s + 0.15, wire(packet)) for packet in rig.sent[start:]])
    assert rig.digits == []
    signal = key_tone("9", 100)
    rig.arrive(
        [
            (
                at_s,
                rtp_packet(
                    rig.sent[-1].sequence + 20 + number,
                    rig.sent[-1].timestamp + 3200 + stamp,
                    payload,
                    ssrc=rig.sent[-1].ssrc,
                ),
            )
            for at_s, number, stamp, payload in tone_packets(signal, start_s=rig.elapsed_s + 0.4)
        ]
    )
    rig.run(1.0)
    assert [digit.digit for digit in rig.digits] == ["9"]


# Both ends.


def conversation(sender_changes, receiver_changes, *, lost=(), digits=KEYS, law=PCMU):
    """The keys that one leg of an engine tells of another one's, with packets of some numbers lost."""
    rig = MediaRig()
    sender, receiver = rig.open_leg(**sender_changes), rig.open_leg(**receiver_changes)
    for tick in range(20 + len(digits) * 40 + 100):
        if tick == 20:
            rig.engine.send_digits(sender, digits)
        start = len(rig.sent)
        rig.tick()
        new = [packet for packet in rig.sent[start:] if packet.leg == sender]
        rig.arrive([(rig.elapsed_s, wire(packet)) for packet in new if packet.sequence % 50 not in lost], leg=receiver)
    assert {digit.leg for digit in rig.digits} <= {receiver}
    return "".join(digit.digit for digit in rig.digits)


def wire(packet):
    return rtp_packet(
        packet.sequence, packet.timestamp, packet.payload, ssrc=packet.ssrc, payload_type=packet.payload_type
    )


TONES = {"telephone_event_payload_type": None, "hears_tones": True}


@pytest.mark.parametrize("lost", [(), (7,), (7, 20, 33)])
@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["PCMU", "PCMA"])
def test_tones_sent_are_keys_received(law, lost):
    sends = {"telephone_event_payload_type": None, "format": law.name, "payload_type": law.static_payload_type}
    assert conversation(sends, TONES, lost=lost) == KEYS


def test_events_sent_are_keys_received():
    assert conversation({}, {}) == KEYS


def test_tones_are_no_keys_where_events_were_agreed_on():
    assert conversation({"telephone_event_payload_type": None}, {}) == ""
