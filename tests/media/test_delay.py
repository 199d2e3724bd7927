"""How many frames too many or too few a leg waits, from the slack of its packets alone."""

import numpy as np
import pytest

from gateway.media.delay import DelayControl

FRAME = 160
DELAY = 240
LEG = np.array([1])


class Network:
    """One leg of a bank whose packets have the slack that the test tells."""

    def __init__(self):
        self.control = DelayControl(3, delay_samples=DELAY, patience_samples=0, frame_samples=FRAME)
        self.control.begin(1)

    def brings(self, seconds, slack):
        """Packets every 20 ms whose slack, in samples, is drawn from `slack`; None is a packet that does not come."""
        for number in range(round(seconds * 50)):
            now = slack[number % len(slack)]
            if now is not None:
                self.control.note(LEG, np.array([now]))
            self.control.pass_frame(LEG)

    @property
    def surplus(self):
        return int(self.control.surplus[1])


@pytest.fixture
def network():
    return Network()


def test_a_steady_stream_in_its_place_changes_nothing(network):
    for slack in (DELAY, DELAY + FRAME - 1):
        network.brings(20, [slack])
        assert network.surplus == 0


def test_too_much_for_eight_seconds_is_a_surplus_and_before_that_it_is_not(network):
    network.brings(6, [DELAY + 2 * FRAME])
    assert network.surplus == 0
    network.brings(2, [DELAY + 2 * FRAME])
    assert network.surplus == 2


def test_packets_that_are_regularly_late_need_what_the_others_wait_too_long(network):
    network.brings(20, [DELAY + 3 * FRAME] * 9 + [30])
    assert network.surplus == 0


def test_two_accidents_in_eight_seconds_are_none_and_three_are_a_rule(network):
    slack = DELAY + 2 * FRAME
    network.brings(9, [slack])
    for _ in range(2):
        network.brings(0.5, [0, slack])
        network.brings(1, [slack])
        assert network.surplus == 2
    network.brings(0.5, [0, slack])
    network.brings(0.5, [slack])
    assert network.surplus < 0


def test_what_grew_for_one_stall_is_given_back_in_the_next_half_second(network):
    network.brings(9, [DELAY])
    network.control.grew(LEG, 8 * FRAME)
    network.brings(0.5, [0, 4 * FRAME, 8 * FRAME + DELAY])
    assert network.surplus == 8


def test_a_delay_that_runs_out_grows_before_anything_is_late(network):
    network.brings(9, [DELAY])
    network.brings(9, [DELAY - 100])
    assert network.surplus == -1
    network.control.surplus[LEG] += 1
    network.control.grew(LEG, FRAME)
    network.brings(9, [DELAY - 100 + FRAME])
    assert network.surplus == 0


def test_what_packets_on_time_waited_is_told_and_kept_over_a_pause(network):
    assert network.control.on_time[1] == DELAY
    network.brings(0.5, [DELAY + 60, DELAY - 50])
    assert network.control.on_time[1] == DELAY + 60
    network.brings(2, [None])
    assert network.control.on_time[1] == DELAY + 60


def test_a_pause_decides_nothing(network):
    network.brings(9, [DELAY + FRAME + 10])
    assert network.surplus == 1
    network.control.surplus[LEG] = 0
    network.brings(60, [None])
    assert network.surplus == 0


def test_a_straggler_asks_for_a_frame_more_and_a_new_stream_forgets_all(network):
    network.control.wants_more(LEG)
    network.control.wants_more(LEG)
    assert network.surplus == -2
    network.control.begin(1)
    assert network.surplus == 0
    assert not network.control.surplus.any()
