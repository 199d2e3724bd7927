from __future__ import annotations

import os
import random
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.errors import ResourceError
from gateway.media.rtp import OutgoingPackets
from gateway.sip.message import Address
from gateway.sip.sdes import SUITES, SrtpKeys
from gateway.transport.rtp_ports import MAX_PACKET_BYTES, PortState, RtpDrops, RtpPort, RtpPortOptions, RtpPorts
from gateway.transport.srtp import SrtpContext

NOW = 1000.0
LEG = 7


def even_port() -> int:
    """An even UDP port, seven free ones behind it, where no program is given one by chance (ip_local_port_range)."""
    while True:
        port = random.randrange(12000, 20000, 2)
        with ExitStack() as probes, suppress(OSError):
            for number in range(port, port + 8):
                probe = probes.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", number))
            return port


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


MakePorts = Callable[..., RtpPorts]


@pytest.fixture
def make_ports() -> Iterator[MakePorts]:
    made: list[RtpPorts] = []

    def make(count: int = 2, **options: object) -> RtpPorts:
        first = even_port()
        settings = {"bind_host": "127.0.0.1", "first_port": first, "last_port": first + 2 * count - 1} | options
        made.append(RtpPorts(RtpPortOptions(**settings), shuffle_seed=1))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for ports in made:
        ports.shutdown()


@pytest.fixture
def make_peer() -> Iterator[Callable[..., socket.socket]]:
    made: list[socket.socket] = []

    def make(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
        peer = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        made.append(peer)  # closed even where the port turns out to be taken
        peer.bind((host, port))
        peer.settimeout(2)
        return peer

    yield make
    for peer in made:
        peer.close()


def address_of(udp: socket.socket) -> Address:
    return Address(*udp.getsockname()[:2])


def received(ports: RtpPorts, now: float = NOW) -> list[tuple[int, bytes]]:
    """(leg, datagram) of each row. Loopback delivers within the sender's call: nothing has to be waited for."""
    batch = ports.receive(now)
    assert batch.data.dtype == np.uint8
    assert batch.length.dtype == batch.leg.dtype == np.int32
    return [
        (int(leg), batch.data[row, :length].tobytes())
        for row, (leg, length) in enumerate(zip(batch.leg, batch.length, strict=True))
    ]


def packets(*rows: tuple[int, bytes]) -> OutgoingPackets:
    data = np.zeros((len(rows), 172), np.uint8)
    for row, (_, payload) in enumerate(rows):
        data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    return OutgoingPackets(
        data=data,
        length=np.array([len(payload) for _, payload in rows], np.int32),
        leg=np.array([leg for leg, _ in rows], np.int32),
    )


def attached(ports: RtpPorts, peer: socket.socket, leg: int = LEG, **options: object) -> RtpPort:
    port = ports.open()
    ports.attach(port, leg, address_of(peer), **options)  # type: ignore[arg-type]
    return port


# The pool.


def test_a_port_is_bound_and_even_when_it_is_handed_out(make_ports: MakePorts) -> None:
    port = make_ports().open()
    assert port.port % 2 == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port.port))


def test_an_odd_first_port_is_left_to_rtcp() -> None:
    assert list(RtpPortOptions(first_port=10001, last_port=10006).ports) == [10002, 10004, 10006]


@pytest.mark.parametrize(
    "options",
    [
        {"bind_host": "localhost"},
        {"first_port": 10001, "last_port": 10001},
        {"first_port": 10010, "last_port": 10000},
        {"last_port": 65536},
    ],
)
def test_a_range_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"port|numeric"):
        RtpPortOptions(**options)  # type: ignore[arg-type]


def test_ports_are_dealt_in_no_order_one_could_guess() -> None:
    options = RtpPortOptions(bind_host="127.0.0.1", first_port=30000, last_port=39999)
    dealt = [list(RtpPorts(options)._free)[:8] for _ in range(3)]
    assert dealt[0] != dealt[1] != dealt[2]
    assert dealt[0] != sorted(dealt[0])


def test_an_exhausted_range_is_a_resource_error_that_counts_and_advises(make_ports: MakePorts) -> None:
    ports = make_ports(count=3)
    ports.open()
    ports.close(ports.open(), NOW)
    ports.open()
    with pytest.raises(ResourceError, match=r"2 in calls, 1 resting up to 30 s after a call.*configure a wider range"):
        ports.open()


def test_ports_of_other_programs_are_passed_over(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports = make_ports(count=3)
    first, last = ports._options.ports[0], ports._options.ports[2]
    for taken in (first, last):
        make_peer(port=taken)
    assert ports.open().port == first + 2
    with pytest.raises(ResourceError, match="taken by other programs"):
        ports.open()


def test_a_port_taken_by_another_program_is_tried_again_later(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports = make_ports(count=1)
    other = make_peer(port=ports._options.ports[0])
    with pytest.raises(ResourceError):
        ports.open()
    other.close()
    assert ports.open().state is PortState.OPEN


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave(spare: int) -> None:
        with Path("/dev/null").open() as probe:
            resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno() + spare, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_descriptor_left_is_a_resource_error_with_a_remedy(
    make_ports: MakePorts, few_descriptors: Callable[[int], None]
) -> None:
    ports = make_ports()
    few_descriptors(0)
    with pytest.raises(ResourceError, match="raise LimitNOFILE"):
        ports.open()


def test_calls_are_refused_before_the_last_descriptor_is_gone(
    make_ports: MakePorts, few_descriptors: Callable[[int], None]
) -> None:
    ports = make_ports(count=100)
    few_descriptors(100)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []
    with pytest.raises(ResourceError, match="no file descriptor is left"):
        opened.extend(ports.open() for _ in range(100))
    spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(int(limit * 0.1) - 1)]  # what is kept for the rest
    for descriptor in spare:
        os.close(descriptor)


def test_resting_sockets_give_way_where_descriptors_run_short(
    make_ports: MakePorts, few_descriptors: Callable[[int], None]
) -> None:
    ports = make_ports(count=3)
    rested = [ports.open(), ports.open()]
    for port in rested:
        ports.close(port, NOW)
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    few_descriptors(0)
    assert ports.open().port not in [port.port for port in rested]
    assert [port.state for port in rested] == [PortState.CLOSED] * 2
    assert ports.resting_count == 2  # the sockets are given up, the numbers go on resting
    for descriptor in others:
        os.close(descriptor)


def test_no_descriptor_is_left_after_shutdown(make_peer: Callable[..., socket.socket]) -> None:
    peer = make_peer()
    before = descriptors()
    first = even_port()
    ports = RtpPorts(RtpPortOptions(bind_host="127.0.0.1", first_port=first, last_port=first + 7))
    ports.open()
    attached(ports, peer)
    ports.close(ports.open(), NOW)
    ports.shutdown()
    assert descriptors() == before
    with pytest.raises(ResourceError):
        ports.open()


# Quarantine.


def test_a_closed_port_rests_for_thirty_seconds(make_ports: MakePorts) -> None:
    ports = make_ports(count=1)
    port = ports.open()
    ports.close(port, NOW)
    ports.close(port, NOW + 20)  # closing again does not begin the rest again
    ports.receive(NOW + 29.9)
    with pytest.raises(ResourceError):
        ports.open()
    ports.receive(NOW + 30)
    assert ports.open().port == port.port


def test_two_calls_in_a_range_of_four_ports_never_share_one(make_ports: MakePorts) -> None:
    ports = make_ports(count=2)
    first = ports.open()
    ports.close(first, NOW)
    assert ports.open().port != first.port


def test_the_rest_begins_anew_while_the_old_peer_still_sends(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(count=1), make_peer()
    port = attached(ports, peer)
    ports.close(port, NOW)
    peer.sendto(b"late", ("127.0.0.1", port.port))
    assert received(ports, NOW + 20) == []
    ports.receive(NOW + 49)
    with pytest.raises(ResourceError):
        ports.open()
    ports.receive(NOW + 50)
    assert ports.open().port == port.port


def test_a_stranger_cannot_keep_a_port_from_its_next_call(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, stranger = make_ports(count=1), make_peer("127.0.0.9")
    port = attached(ports, make_peer())
    ports.close(port, NOW)
    stranger.sendto(b"noise", ("127.0.0.1", port.port))
    ports.receive(NOW + 29)
    ports.receive(NOW + 30)
    assert ports.open().port == port.port


def test_the_next_call_hears_nothing_that_came_before_it(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(count=1, quarantine_s=0.0), make_peer()
    port = attached(ports, peer)
    ports.close(port, NOW)
    peer.sendto(b"old", ("127.0.0.1", port.port))
    ports.receive(NOW)
    again = attached(ports, peer, leg=8)
    assert again.port == port.port
    assert received(ports) == []


def test_a_socket_that_lives_on_in_a_child_process_is_forgotten_all_the_same(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(count=1), make_peer()
    port = attached(ports, peer)
    child = os.dup(port.udp.fileno())  # as between fork and exec
    ports.close(port, NOW)
    ports.receive(NOW + 30)
    peer.sendto(b"late", ("127.0.0.1", port.port))
    assert received(ports, NOW + 31) == []
    os.close(child)


# Receiving.


def test_all_readable_ports_are_one_batch(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, peers = make_ports(count=8), [make_peer() for _ in range(8)]
    opened = [attached(ports, peer, leg=leg) for leg, peer in enumerate(peers)]
    for port, peer in zip(opened, peers, strict=True):
        peer.sendto(b"to %d" % port.leg, ("127.0.0.1", port.port))
    assert sorted(received(ports)) == [(leg, b"to %d" % leg) for leg in range(8)]
    assert received(ports) == []


def test_packets_of_one_leg_keep_their_order(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    for number in range(5):
        peer.sendto(b"%d" % number, ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, b"%d" % number) for number in range(5)]


def test_what_arrived_before_the_leg_was_attached_is_heard(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = ports.open()
    peer.sendto(b"early", ("127.0.0.1", port.port))
    assert received(ports) == []
    ports.attach(port, LEG, address_of(peer))
    assert received(ports) == [(LEG, b"early")]


def test_a_full_batch_leaves_the_rest_for_the_next_tick(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(max_batch_packets=3), make_peer()
    port = attached(ports, peer)
    for number in range(5):
        peer.sendto(b"%d" % number, ("127.0.0.1", port.port))
    assert [data for _, data in received(ports)] == [b"0", b"1", b"2"]
    assert [data for _, data in received(ports)] == [b"3", b"4"]


def test_a_flood_on_one_port_leaves_the_others_their_place(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, loud, quiet = make_ports(max_rounds=4), make_peer(), make_peer()
    flooded, calm = attached(ports, loud, leg=1), attached(ports, quiet, leg=2)
    for _ in range(50):
        loud.sendto(b"flood", ("127.0.0.1", flooded.port))
    quiet.sendto(b"voice", ("127.0.0.1", calm.port))
    batch = received(ports)
    assert batch.count((1, b"flood")) == 4
    assert (2, b"voice") in batch


def test_a_datagram_larger_than_a_row_is_dropped(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    for size in (MAX_PACKET_BYTES + 1, MAX_PACKET_BYTES - 1):
        peer.sendto(b"x" * size, ("127.0.0.1", port.port))
    assert [len(data) for _, data in received(ports)] == [MAX_PACKET_BYTES - 1]
    assert ports.counters(port).oversize == 1


# Strangers.


@pytest.mark.parametrize("policy", ["sdp", "sdp-address"])
def test_rtp_of_a_stranger_is_dropped_counted_and_logged_once(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket], policy: str
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer, source_policy=policy)
    stranger = make_peer("127.0.0.9", address_of(peer).port)  # even from the right port
    with capture_logs() as lines:
        for _ in range(5):
            stranger.sendto(b"injected", ("127.0.0.1", port.port))
        peer.sendto(b"voice", ("127.0.0.1", port.port))
        assert received(ports) == [(LEG, b"voice")]
    assert ports.counters(port).foreign == 5
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == 1
    assert warnings[0]["source"] == str(address_of(stranger))


def test_under_sdp_another_port_of_the_right_host_is_a_stranger(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer, neighbour = make_ports(), make_peer(), make_peer()
    port = attached(ports, peer, source_policy="sdp")
    neighbour.sendto(b"other call", ("127.0.0.1", port.port))
    assert received(ports) == []
    assert ports.counters(port).foreign == 1


def test_under_sdp_address_the_first_port_is_locked(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, named, sender, late = make_ports(), make_peer(), make_peer(), make_peer()
    port = attached(ports, named, source_policy="sdp-address")
    sender.sendto(b"first", ("127.0.0.1", port.port))
    late.sendto(b"second", ("127.0.0.1", port.port))
    sender.sendto(b"third", ("127.0.0.1", port.port))
    assert [data for _, data in received(ports)] == [b"first", b"third"]
    assert ports.counters(port).foreign == 1


def test_our_audio_never_follows_a_source(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, named, sender, stranger = make_ports(), make_peer(), make_peer(), make_peer("127.0.0.9")
    port = attached(ports, named, source_policy="sdp-address")
    for talker in (sender, stranger):
        talker.sendto(b"hello", ("127.0.0.1", port.port))
    ports.receive(NOW)
    assert ports.send(packets((LEG, b"audio"))) == 1
    assert named.recv(100) == b"audio"
    for talker in (sender, stranger):
        talker.setblocking(False)
        with pytest.raises(BlockingIOError):
            talker.recv(100)


def test_a_new_address_in_sdp_moves_both_directions_and_frees_the_lock(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, old, new = make_ports(), make_peer(), make_peer()
    port = attached(ports, old, source_policy="sdp-address")
    old.sendto(b"old", ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, b"old")]
    ports.change_remote(port, address_of(old))  # a refresh with the same SDP keeps the lock
    new.sendto(b"too early", ("127.0.0.1", port.port))
    assert received(ports) == []
    ports.change_remote(port, address_of(new))
    new.sendto(b"new", ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, b"new")]
    ports.send(packets((LEG, b"audio")))
    assert new.recv(100) == b"audio"


def sent_to(ports: RtpPorts, count: int) -> int:
    """How many of `count` packets left, one a tick."""
    return sum(ports.send(packets((LEG, b"audio"))) for _ in range(count))


def test_an_address_that_stays_silent_gets_five_seconds_of_audio_and_more_when_it_speaks(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    assert sent_to(ports, 300) == 250
    assert ports.counters(port).muted == 50
    peer.sendto(b"here I am", ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, b"here I am")]
    assert sent_to(ports, 300) == 300


def test_a_call_that_changes_its_address_has_no_more_than_five_seconds_for_silent_ones(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer, victim = make_ports(), make_peer(), make_peer("127.0.0.9")
    port = attached(ports, peer)
    for _ in range(5):
        ports.change_remote(port, address_of(victim))
        peer.sendto(b"I am not he", ("127.0.0.1", port.port))
        ports.receive(NOW)
        ports.send(packets(*[(LEG, b"audio")] * 100))
        ports.change_remote(port, address_of(peer))
        peer.sendto(b"here I am", ("127.0.0.1", port.port))
        ports.receive(NOW)
    ports.change_remote(port, address_of(victim))
    assert sent_to(ports, 10) == 0
    assert ports.counters(port).muted == 250 + 10


def test_a_trunks_own_addresses_need_no_proof(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, peer = make_ports(trusted_networks=("10.0.0.0/8", "127.0.0.0/24")), make_peer()
    attached(ports, peer)
    assert sent_to(ports, 300) == 300


def test_hold_by_an_unspecified_address_mutes_us_and_keeps_the_peer_audible(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    with capture_logs() as lines:
        ports.change_remote(port, Address("0.0.0.0", 4000))  # noqa: S104 - nothing is bound
    assert lines == []
    assert ports.send(packets((LEG, b"audio"))) == 0
    assert ports.counters(port).muted == 1
    peer.sendto(b"music on hold", ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, b"music on hold")]
    ports.change_remote(port, address_of(peer))
    assert ports.send(packets((LEG, b"audio"))) == 1


@pytest.mark.parametrize(
    "remote", [Address("224.0.0.1", 4000), Address("127.0.0.1", 5060), Address("pbx.example", 4000)]
)
def test_what_sdp_must_not_aim_us_at_gets_nothing_and_one_warning(make_ports: MakePorts, remote: Address) -> None:
    ports = make_ports(own_sip_addresses=(Address("127.0.0.1", 5060),))
    port = ports.open()
    with capture_logs() as lines:
        ports.attach(port, LEG, remote)
    assert ports.send(packets((LEG, b"audio"), (LEG, b"more"))) == 0
    assert ports.counters(port).muted == 2
    assert len(lines) == 1


def test_a_leg_is_not_sent_its_own_audio(make_ports: MakePorts) -> None:
    ports = make_ports()
    port = ports.open()
    ports.attach(port, LEG, Address("127.0.0.1", port.port))
    assert ports.send(packets((LEG, b"echo"))) == 0


# Sending.


def test_each_row_goes_to_its_legs_peer_with_its_length(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, one, two = make_ports(), make_peer(), make_peer()
    source = attached(ports, one, leg=1)
    attached(ports, two, leg=2)
    assert ports.send(packets((2, b"to two"), (1, b"to one, longer"))) == 2
    assert one.recvfrom(500) == (b"to one, longer", ("127.0.0.1", source.port))
    assert two.recv(500) == b"to two"


def test_rows_of_a_wider_array_are_sent_as_they_are(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    attached(ports, peer)
    whole = packets((LEG, b"first"), (LEG, b"second"))
    wide = np.zeros((2, 400), np.uint8)
    wide[:, :172] = whole.data
    assert ports.send(OutgoingPackets(data=wide[::-1], length=whole.length[::-1], leg=whole.leg)) == 2
    assert [peer.recv(500), peer.recv(500)] == [b"second", b"first"]


def test_rows_of_a_leg_without_a_port_are_dropped(make_ports: MakePorts) -> None:
    ports = make_ports()
    assert ports.send(packets((99, b"nobody"))) == 0
    assert ports.send(packets()) == 0


def test_a_closed_peer_port_is_counted_and_kills_nothing(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer, other = make_ports(), make_peer(), make_peer()
    port = attached(ports, peer, leg=1)
    attached(ports, other, leg=2)
    number = address_of(peer).port
    peer.close()
    for _ in range(5):
        ports.send(packets((1, b"to nobody"), (2, b"to somebody")))
        assert received(ports) == []
    assert ports.counters(port).icmp_errors >= 4
    assert [other.recv(100) for _ in range(5)] == [b"to somebody"] * 5
    back = make_peer(port=number)
    assert ports.send(packets((1, b"welcome back"))) == 1  # no error is left over
    assert back.recv(100) == b"welcome back"
    back.sendto(b"and heard", ("127.0.0.1", port.port))
    assert received(ports) == [(1, b"and heard")]


def test_an_error_the_kernel_gives_on_sending_is_counted(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    ports.change_remote(port, Address("127.255.255.255", 4000))  # a subnet's broadcast address: the kernel says no
    assert ports.send(packets((LEG, b"audio"))) == 0
    assert ports.counters(port).send_errors == 1


# Detaching.


def test_a_detached_port_is_neither_read_nor_written_and_can_be_attached_again(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    ports.detach(port)
    ports.detach(port)
    peer.sendto(b"waits", ("127.0.0.1", port.port))
    assert received(ports) == []
    assert ports.send(packets((LEG, b"audio"))) == 0
    ports.attach(port, 8, address_of(peer))
    assert received(ports) == [(8, b"waits")]


def test_a_port_cannot_be_attached_twice_nor_after_its_close(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(), make_peer()
    port = attached(ports, peer)
    with pytest.raises(ValueError, match="is attached"):
        ports.attach(port, 8, address_of(peer))
    ports.close(port, NOW)
    with pytest.raises(ValueError, match="is resting"):
        ports.attach(port, 8, address_of(peer))


def test_what_the_kernel_dropped_is_told(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, peer = make_ports(receive_buffer_bytes=2048), make_peer()
    port = attached(ports, peer)
    for _ in range(100):
        peer.sendto(b"x" * 172, ("127.0.0.1", port.port))
    assert ports.counters(port).kernel_drops > 50
    ports.close(port, NOW)
    assert ports.counters(port).kernel_drops > 50


def test_ipv6_media_goes_both_ways(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, peer = make_ports(bind_host="::1"), make_peer("::1")
    port = ports.open()
    ports.attach(port, LEG, Address("0:0:0:0:0:0:0:1", address_of(peer).port))
    peer.sendto(b"six", ("::1", port.port))
    assert received(ports) == [(LEG, b"six")]
    assert ports.send(packets((LEG, b"audio"))) == 1
    assert peer.recv(100) == b"audio"


def test_ports_of_both_families_share_one_range(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, four, six = make_ports(count=2), make_peer(), make_peer("::1")
    opened = [ports.open(), ports.open("::1")]
    assert [port.udp.getsockname()[0] for port in opened] == ["127.0.0.1", "::1"]
    assert opened[0].port != opened[1].port
    for leg, (port, peer) in enumerate(zip(opened, (four, six), strict=True)):
        ports.attach(port, leg, address_of(peer))
        peer.sendto(b"to %d" % leg, port.udp.getsockname())
    assert sorted(received(ports)) == [(0, b"to 0"), (1, b"to 1")]
    assert ports.send(packets((0, b"four"), (1, b"six"))) == 2
    assert (four.recv(100), six.recv(100)) == (b"four", b"six")
    with pytest.raises(ResourceError, match=r"in \[::1\]:\d+-\d+: 2 in calls"):
        ports.open("::1")


def test_a_host_that_is_not_ours_is_named_in_the_error(make_ports: MakePorts) -> None:
    ports = make_ports(count=1)
    with pytest.raises(ResourceError, match="2001:db8::1"):
        ports.open("2001:db8::1")
    assert ports.open().state is PortState.OPEN


# SRTP.


def sealed_pair() -> tuple[SrtpKeys, SrtpContext]:
    """Our keys, and the peer's side of them."""
    ours = SrtpKeys(suite=SUITES[0], local_key=bytes(range(30)), remote_key=bytes(range(30, 60)))
    theirs = SrtpKeys(suite=SUITES[0], local_key=ours.remote_key, remote_key=ours.local_key)
    return ours, SrtpContext(theirs)


def speech(sequence: int) -> bytes:
    return b"\x80\x00" + sequence.to_bytes(2, "big") + bytes(8) + b"\x55" * 160


def test_srtp_goes_both_ways_sealed_on_the_wire_and_plain_in_the_arrays(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(count=16), make_peer()
    ours, theirs = sealed_pair()
    port = attached(ports, peer)
    port.use_srtp(ours)
    for sequence in range(3):
        peer.sendto(theirs.seal(memoryview(speech(sequence))), ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, speech(sequence)) for sequence in range(3)]
    assert ports.send(packets((LEG, speech(9)))) == 1
    datagram = peer.recv(2048)
    assert len(datagram) == 182
    assert speech(9)[12:] not in datagram
    assert theirs.open(memoryview(datagram)) == speech(9)


def test_forged_and_replayed_packets_are_counted_and_logged_once_and_cost_nothing_else(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer, other_peer = make_ports(count=16), make_peer(), make_peer()
    ours, theirs = sealed_pair()
    port, plain = attached(ports, peer), attached(ports, other_peer, LEG + 1)
    port.use_srtp(ours)
    first = theirs.seal(memoryview(speech(1)))
    garbage = [b"", b"\x80", bytes(100), speech(2), first[:-1] + bytes([first[-1] ^ 1])]
    with capture_logs() as lines:
        for datagram in (*garbage, first, first, b"\x80\xc8" + bytes(30)):
            peer.sendto(datagram, ("127.0.0.1", port.port))
        other_peer.sendto(speech(7), ("127.0.0.1", plain.port))
        heard = received(ports) + received(ports)
    assert sorted(heard) == [(LEG, speech(1)), (LEG + 1, speech(7))]
    assert (port.counters.srtp_failures, port.counters.srtp_replays) == (len(garbage), 1)
    assert [line["event"] for line in lines] == ["SRTP packet dropped"]
    peer.sendto(theirs.seal(memoryview(speech(3))), ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, speech(3))]


def test_a_forgery_does_not_lock_the_source(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, told, forger, true = make_ports(count=16), make_peer(), make_peer(), make_peer()
    ours, theirs = sealed_pair()
    port = attached(ports, told, source_policy="sdp-address")
    port.use_srtp(ours)
    forger.sendto(speech(1), ("127.0.0.1", port.port))
    assert received(ports) == []
    true.sendto(theirs.seal(memoryview(speech(1))), ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, speech(1))]
    forger.sendto(speech(2), ("127.0.0.1", port.port))
    assert received(ports) == []
    assert (port.counters.srtp_failures, port.counters.foreign) == (1, 1)


def test_srtp_ends_with_the_leg(make_ports: MakePorts, make_peer: Callable[..., socket.socket]) -> None:
    ports, peer = make_ports(count=16), make_peer()
    port = attached(ports, peer)
    port.use_srtp(sealed_pair()[0])
    ports.detach(port)
    ports.attach(port, LEG, address_of(peer))
    peer.sendto(speech(1), ("127.0.0.1", port.port))
    assert received(ports) == [(LEG, speech(1))]


def test_a_packet_too_long_to_seal_is_counted_and_not_sent(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer = make_ports(count=16), make_peer()
    port = attached(ports, peer)
    port.use_srtp(sealed_pair()[0])
    assert port.send(memoryview(bytes(1400))) == 0
    assert port.counters.send_errors == 1


def test_drops_are_summed_over_ports_those_that_were_given_back_included(
    make_ports: MakePorts, make_peer: Callable[..., socket.socket]
) -> None:
    ports, peer, stranger = make_ports(), make_peer(), make_peer("127.0.0.9")
    first = attached(ports, peer)
    stranger.sendto(b"injected", ("127.0.0.1", first.port))
    assert received(ports) == []
    ports.close(first, NOW)
    ours, _ = sealed_pair()
    second = attached(ports, peer)
    second.use_srtp(ours)
    peer.sendto(speech(1), ("127.0.0.1", second.port))
    stranger.sendto(b"injected", ("127.0.0.1", second.port))
    assert received(ports) == []
    ports.change_remote(second, Address("224.0.0.9", 9))
    second.send(memoryview(b"voice"))
    assert ports.drops == RtpDrops(foreign=2, muted=1, srtp_failures=1)
