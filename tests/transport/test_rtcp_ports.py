"""RTCP over real sockets: on the port above and on a shared one; who is heard, who is told, and what a flood costs."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Iterator
from random import Random

import pytest
from structlog.testing import capture_logs

from gateway.media.engine import LegOptions, MediaEngine
from gateway.media.rtcp import Goodbye, Report, ReportBlock, SenderInfo, SourceDescription, build, parse
from gateway.sip.message import Address
from gateway.sip.rtcp_route import RtcpRoute
from gateway.sip.sdes import SUITES, SrtpKeys
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtcp_ports import MAX_PACKETS_A_TICK
from gateway.transport.rtp_port import RtpPort
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts
from gateway.transport.rtp_proof import UNPROVEN_PACKETS
from gateway.transport.srtp import SrtpContext
from tests.support.media_flood import garbage
from tests.transport.test_rtp_ports import address_of, attached, even_port, packets, received

LEG = 7
HOST = "127.0.0.1"
REPORT = build([Report(ssrc=0xCAFE), SourceDescription(names=((0xCAFE, b"telephone"),))])

MakePeer = Callable[..., socket.socket]


@pytest.fixture
def ports() -> Iterator[RtpPorts]:
    first = even_port()
    made = RtpPorts(RtpPortOptions(bind_host=HOST, first_port=first, last_port=first + 7), shuffle_seed=1)
    yield made
    made.shutdown()


@pytest.fixture
def make_peer() -> Iterator[MakePeer]:
    made: list[socket.socket] = []

    def make(host: str = HOST) -> socket.socket:
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[-1].bind((host, 0))
        made[-1].settimeout(2)
        return made[-1]

    yield make
    for peer in made:
        peer.close()


class Peer:
    """RTP and RTCP of a telephone, on two sockets of any numbers or on one."""

    def __init__(self, make: MakePeer, *, is_muxed: bool = False) -> None:
        self.rtp = make()
        self.rtcp = self.rtp if is_muxed else make()
        self.route = RtcpRoute(address_of(self.rtcp), is_muxed)

    def attach(self, ports: RtpPorts, leg: int = LEG, **options: object) -> RtpPort:
        port = attached(ports, self.rtp, leg, **options)
        assert ports.rtcp.open(port, self.route)
        return port


@pytest.fixture(params=[False, True], ids=["port-above", "shared"])
def peer(request: pytest.FixtureRequest, make_peer: MakePeer) -> Peer:
    return Peer(make_peer, is_muxed=request.param)


def rtcp_port(port: RtpPort, peer: Peer) -> tuple[str, int]:
    return HOST, port.port + (not peer.route.is_muxed)


def reports(ports: RtpPorts) -> list[tuple[int, bytes]]:
    """What one tick brings."""
    heard = received(ports)
    assert heard == []
    return ports.rtcp.receive()


def test_reports_go_both_ways(ports: RtpPorts, peer: Peer) -> None:
    port = peer.attach(ports)
    peer.rtcp.sendto(REPORT, rtcp_port(port, peer))
    assert reports(ports) == [(LEG, REPORT)]
    assert reports(ports) == []
    assert ports.rtcp.send(LEG, b"ours")
    datagram, source = peer.rtcp.recvfrom(100)
    assert (datagram, source) == (b"ours", rtcp_port(port, peer))


def test_audio_and_reports_on_one_port_are_told_apart(ports: RtpPorts, make_peer: MakePeer) -> None:
    peer = Peer(make_peer, is_muxed=True)
    port = peer.attach(ports)
    voice = b"\x80\xe5" + bytes(170)  # telephone events, marked: next to RTCP's types
    for datagram in (voice, REPORT, b"", b"\x80", b"\x80\xbf", b"\x80\xe0"):
        peer.rtp.sendto(datagram, (HOST, port.port))
    assert [datagram for _, datagram in received(ports)] == [voice, b"", b"\x80", b"\x80\xbf", b"\x80\xe0"]
    assert ports.rtcp.receive() == [(LEG, REPORT)]


def test_rtcp_on_the_audio_port_of_a_peer_that_does_not_share_is_no_report(
    ports: RtpPorts, make_peer: MakePeer
) -> None:
    peer = Peer(make_peer)
    port = peer.attach(ports)
    peer.rtp.sendto(REPORT, (HOST, port.port))
    received(ports)
    assert ports.rtcp.receive() == []


def test_strangers_are_dropped_unread_and_get_nothing(ports: RtpPorts, peer: Peer, make_peer: MakePeer) -> None:
    port = peer.attach(ports)
    for stranger in (make_peer("127.0.0.9"), make_peer()):
        stranger.sendto(REPORT, rtcp_port(port, peer))
        assert reports(ports) == []
        ports.rtcp.send(LEG, b"ours")
        assert peer.rtcp.recv(100) == b"ours"
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)
    assert port.counters.rtcp_drops + port.counters.foreign == 2


def test_by_sdp_address_the_first_port_heard_is_locked(ports: RtpPorts, make_peer: MakePeer) -> None:
    peer, other, third = Peer(make_peer), make_peer(), make_peer()
    port = peer.attach(ports, source_policy="sdp-address")
    other.sendto(REPORT, (HOST, port.port + 1))
    assert reports(ports) == [(LEG, REPORT)]
    third.sendto(REPORT, (HOST, port.port + 1))
    peer.rtcp.sendto(REPORT, (HOST, port.port + 1))
    assert reports(ports) == []
    ports.rtcp.send(LEG, b"ours")
    assert peer.rtcp.recv(100) == b"ours"  # sent to where SDP says, whoever was heard


def test_a_flood_costs_two_packets_a_tick_and_no_other_leg_its_reports(
    ports: RtpPorts, peer: Peer, make_peer: MakePeer
) -> None:
    port, other = peer.attach(ports), Peer(make_peer)
    beside = other.attach(ports, LEG + 1)
    for _ in range(3):
        for _ in range(50):
            peer.rtcp.sendto(REPORT, rtcp_port(port, peer))
        other.rtcp.sendto(REPORT, rtcp_port(beside, other))
        legs = [leg for leg, _ in reports(ports)]
        assert legs.count(LEG) <= MAX_PACKETS_A_TICK
        assert legs.count(LEG + 1) == 1


def test_oversize_reports_are_dropped(ports: RtpPorts, peer: Peer) -> None:
    port = peer.attach(ports)
    peer.rtcp.sendto(REPORT + bytes(1600), rtcp_port(port, peer))
    assert reports(ports) == []
    assert port.counters.rtcp_drops == 1


def test_reports_of_two_legs_are_kept_apart(ports: RtpPorts, make_peer: MakePeer) -> None:
    peers = [Peer(make_peer), Peer(make_peer, is_muxed=True)]
    attached_ports = [peer.attach(ports, leg) for leg, peer in enumerate(peers)]
    for leg, (peer, port) in enumerate(zip(peers, attached_ports, strict=True)):
        peer.rtcp.sendto(build([Report(ssrc=leg)]), rtcp_port(port, peer))
    assert sorted(reports(ports)) == [(leg, build([Report(ssrc=leg)])) for leg in range(2)]


def test_srtcp_goes_both_ways(ports: RtpPorts, peer: Peer) -> None:
    ours = SrtpKeys(suite=SUITES[0], local_key=bytes(range(30)), remote_key=bytes(range(30, 60)))
    theirs = SrtpContext(SrtpKeys(suite=SUITES[0], local_key=ours.remote_key, remote_key=ours.local_key))
    port = peer.attach(ports)
    port.use_srtp(ours)
    sealed = theirs.seal_rtcp(REPORT)
    for datagram in (sealed, sealed[:-1] + bytes([sealed[-1] ^ 1])):
        peer.rtcp.sendto(datagram, rtcp_port(port, peer))
    assert reports(ports) == [(LEG, REPORT)]
    assert ports.rtcp.send(LEG, REPORT)
    told = peer.rtcp.recv(200)
    assert b"telephone" not in told
    assert theirs.open_rtcp(memoryview(told)) == REPORT
    for datagram in (REPORT, sealed):  # plain, and a replay
        peer.rtcp.sendto(datagram, rtcp_port(port, peer))
    assert reports(ports) == []
    assert port.counters.rtcp_drops == 3


def test_reports_go_over_ipv6_as_well(ports: RtpPorts) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(2)
        port = ports.open("::1")
        ports.attach(port, LEG, Address("::1", 4000))
        assert ports.rtcp.open(port, RtcpRoute(address_of(peer)))
        peer.sendto(REPORT, ("::1", port.port + 1))
        assert reports(ports) == [(LEG, REPORT)]
        assert ports.rtcp.send(LEG, b"ours")
        assert peer.recv(100) == b"ours"


class TestSockets:
    def test_the_port_above_is_bound_with_the_route_and_closed_with_the_leg(
        self, ports: RtpPorts, make_peer: MakePeer
    ) -> None:
        peer = Peer(make_peer)
        port = attached(ports, peer.rtp)
        assert ports.rtcp.socket_count == 0
        ports.rtcp.open(port, peer.route)
        assert ports.rtcp.socket_count == 1
        ports.close(port, 1000.0)
        assert ports.rtcp.socket_count == 0
        assert not ports.rtcp.send(LEG, b"ours")

    def test_a_peer_that_shares_costs_no_socket(self, ports: RtpPorts, make_peer: MakePeer) -> None:
        Peer(make_peer, is_muxed=True).attach(ports)
        assert ports.rtcp.socket_count == 0

    def test_another_programs_port_costs_the_reports_and_not_the_call(
        self, ports: RtpPorts, make_peer: MakePeer
    ) -> None:
        peer = Peer(make_peer)
        port = attached(ports, peer.rtp)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, capture_logs() as lines:
            other.bind((HOST, port.port + 1))
            assert not ports.rtcp.open(port, peer.route)
        assert [line["event"] for line in lines] == ["no RTCP"]
        assert ports.send(packets((LEG, b"voice"))) == 1

    def test_few_descriptors_are_left_to_audio(self, ports: RtpPorts, make_peer: MakePeer) -> None:
        peer = Peer(make_peer)
        port = attached(ports, peer.rtp)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = make_peer().fileno() + 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(highest / 0.85), before[1]))
        try:
            assert not ports.rtcp.open(port, peer.route)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert ports.rtcp.socket_count == 0

    def test_a_peer_that_begins_and_ceases_to_share_is_followed(self, ports: RtpPorts, make_peer: MakePeer) -> None:
        apart, shared = Peer(make_peer), Peer(make_peer, is_muxed=True)
        port = apart.attach(ports)
        for peer in (shared, apart, shared):
            ports.change_remote(port, address_of(peer.rtp))
            ports.rtcp.open(port, peer.route)
            assert ports.rtcp.socket_count == (not peer.route.is_muxed)
            peer.rtcp.sendto(REPORT, rtcp_port(port, peer))
            assert reports(ports) == [(LEG, REPORT)]

    def test_without_a_route_there_is_nothing(self, ports: RtpPorts, peer: Peer) -> None:
        port = peer.attach(ports)
        assert not ports.rtcp.open(port, None)
        assert (ports.rtcp.socket_count, port.shares_rtcp) == (0, False)
        assert not ports.rtcp.send(LEG, b"ours")


class TestWhereto:
    def test_on_hold_by_no_address_nothing_is_sent(self, ports: RtpPorts, peer: Peer) -> None:
        port = peer.attach(ports)
        ports.rtcp.open(port, RtcpRoute(Address("0.0.0.0", 4001), peer.route.is_muxed))  # noqa: S104
        assert not ports.rtcp.send(LEG, b"ours")
        peer.rtcp.sendto(REPORT, rtcp_port(port, peer))
        assert reports(ports) == [(LEG, REPORT)]

    @pytest.mark.parametrize("host", ["224.0.0.9", "255.255.255.255", "::1"])
    def test_no_group_and_no_other_family_is_sent_to(self, ports: RtpPorts, make_peer: MakePeer, host: str) -> None:
        port = Peer(make_peer).attach(ports)
        ports.rtcp.open(port, RtcpRoute(Address(host, 4001)))
        assert not ports.rtcp.send(LEG, b"ours")

    def test_an_address_without_proof_gets_no_more_reports_than_packets(self, ports: RtpPorts, peer: Peer) -> None:
        peer.attach(ports)
        sent = sum(ports.rtcp.send(LEG, b"ours") for _ in range(UNPROVEN_PACKETS + 20))
        assert sent == UNPROVEN_PACKETS


OPTIONS = LegOptions(payload_type=0, format="PCMU", receive_payload_types=((0, "PCMU"),))
TICK_S = 0.005


class Sink:
    def on_audio(self, audio: bytes) -> None: ...
    def on_digit(self, digit: str, duration_ms: int) -> None: ...
    def on_item_finished(self, item_id: str, content_index: int) -> None: ...


class TestLoop:
    """The loop with engine and ports, on a clock of the test's."""

    @pytest.fixture
    def now(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    def media(self, ports: RtpPorts, now: list[float]) -> Iterator[MediaLoop]:
        ports.trust([f"{HOST}/32"])
        media = MediaLoop(MediaEngine(seed=1), ports, time_source=lambda: now[0], wall_clock=lambda: 1.7e9)
        yield media
        media.stop()

    def run(self, media: MediaLoop, now: list[float], seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            media.tick(now[0])
            now[0] += TICK_S

    def drained(self, udp: socket.socket) -> list[bytes]:
        udp.setblocking(False)
        datagrams = []
        try:
            while True:
                datagrams.append(udp.recv(2000))
        except BlockingIOError:
            return [datagram for datagram in datagrams if 192 <= datagram[1] <= 223]

    async def test_reports_are_sent_read_and_ended_by_a_goodbye(
        self, media: MediaLoop, now: list[float], peer: Peer
    ) -> None:
        port = media.ports.open()
        leg = media.open_leg(port, address_of(peer.rtp), OPTIONS, Sink())
        media.direct_reports(leg, peer.route)
        self.run(media, now, 3.5)
        sent = [parse(datagram) for datagram in self.drained(peer.rtcp)]
        first = sent[0][0]
        assert isinstance(first, Report)
        assert first.sender is not None
        block = ReportBlock(
            ssrc=first.ssrc,
            fraction_lost=0,
            lost=4,
            highest_sequence=9,
            jitter=80,
            last_report=first.sender.middle_ntp,
            delay=0,
        )
        info = SenderInfo(ntp=5 << 32, rtp_timestamp=0, packets=0, octets=0)
        peer.rtcp.sendto(build([Report(ssrc=1, sender=info, blocks=(block,))]), rtcp_port(port, peer))
        self.run(media, now, TICK_S)
        statistics = media.statistics(leg)
        assert (statistics.reports_received, statistics.remote_lost, statistics.remote_jitter_ms) == (1, 4, 10)
        assert statistics.round_trip_ms is not None
        assert 0 < statistics.round_trip_ms < 3000
        assert media.signs(leg).last_report_s == pytest.approx(now[0] - TICK_S)
        assert port.proof.is_given
        media.close_leg(leg)
        (farewell,) = [parse(datagram) for datagram in self.drained(peer.rtcp)]
        assert farewell[-1] == Goodbye(ssrcs=(first.ssrc,))
        assert media.failures == 0

    @pytest.mark.parametrize("is_ours", [True, False])
    async def test_peer_that_only_listens_proves_itself_by_reports_of_our_stream_alone(
        self, ports: RtpPorts, now: list[float], peer: Peer, *, is_ours: bool
    ) -> None:
        media = MediaLoop(MediaEngine(seed=1), ports, time_source=lambda: now[0])
        port = media.ports.open()
        leg = media.open_leg(port, address_of(peer.rtp), OPTIONS, Sink())
        media.direct_reports(leg, peer.route)
        self.run(media, now, 1)
        ssrc = int.from_bytes(peer.rtp.recv(200)[8:12], "big")
        block = ReportBlock(ssrc=ssrc if is_ours else ssrc ^ 1, fraction_lost=0, lost=0, highest_sequence=9, jitter=0)
        peer.rtcp.sendto(build([Report(ssrc=1, blocks=(block,))]), rtcp_port(port, peer))
        for _ in range(9):
            self.run(media, now, 1)
            await asyncio.sleep(0)  # what is held responsive is the loop, not this test
        assert (port.counters.muted == 0) is is_ours
        media.close_leg(leg)

    async def test_garbage_on_both_ports_leaves_audio_and_reports_as_they_were(
        self, media: MediaLoop, now: list[float], peer: Peer
    ) -> None:
        """M3, scaled down: 2,000 datagrams a second that are nothing, from the very address of the peer."""
        random = Random(4)
        port = media.ports.open()
        leg = media.open_leg(port, address_of(peer.rtp), OPTIONS, Sink())
        media.direct_reports(leg, peer.route)
        for _ in range(400):
            for _ in range(10):
                sender, to = random.choice(((peer.rtp, (HOST, port.port)), (peer.rtcp, rtcp_port(port, peer))))
                sender.sendto(garbage(random), to)
            self.run(media, now, TICK_S)
            await asyncio.sleep(0)  # what is held responsive is the loop, not this test
        assert media.failures == 0
        assert media.statistics(leg).packets_sent == 100
        sequence = 500
        for index in range(20):
            voice = b"\x80\x00" + (sequence + index).to_bytes(2, "big") + (160 * index).to_bytes(4, "big")
            peer.rtp.sendto(voice + b"\0\0\0\x09" + b"\x10" * 160, (HOST, port.port))
            self.run(media, now, 0.02)
        peer.rtcp.sendto(REPORT, rtcp_port(port, peer))
        self.run(media, now, TICK_S)
        assert media.signs(leg).has_sound
        assert media.signs(leg).last_report_s == pytest.approx(now[0] - TICK_S)
        media.close_leg(leg)
