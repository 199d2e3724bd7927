"""The client WebSocket against peers that behave, and peers that do not."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.transport.byte_stream import READ_BYTES
from gateway.transport.websocket import WebSocketConnection, WebSocketOptions
from tests.support.websocket_peer import BINARY, CLOSE, PING, PONG, TEXT, PeerServer, WebSocketPeer, frame

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback-tls.pem"
SECRET = "sk-never-shown"
PATIENCE_S = 5.0
Result = TypeVar("Result")


class Client:
    """A connection under test with what it was told."""

    def __init__(self, options: WebSocketOptions | None = None) -> None:
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.ends: list[tuple[int, str]] = []
        self.drained = asyncio.Event()
        self.connection = WebSocketConnection(
            on_message=self.messages.put_nowait,
            on_closed=self.on_closed,
            on_writable=self.drained.set,
            options=options,
        )

    def on_closed(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))
        if not self.closed.done():
            self.closed.set_result((code, reason))

    async def message(self) -> str | bytes:
        return await soon(self.messages.get())

    async def end(self) -> tuple[int, str]:
        return await soon(self.closed)


async def soon(awaitable: Awaitable[Result]) -> Result:
    """The result of what must come at once; only a failing test waits."""
    return await asyncio.wait_for(awaitable, PATIENCE_S)


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def silence(peer: WebSocketPeer) -> None:
    """Read for ever, answer nothing."""
    while await peer.reader.read(65536):
        pass


async def upgraded(peer: WebSocketPeer) -> None:
    """Upgrade, then silence."""
    await peer.upgrade()
    await silence(peer)


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_connect_sends_headers_and_offers_no_compression() -> None:
    requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        requests.put_nowait(peer.request)
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url + "v1?a=b", headers=[("Authorization", f"Bearer {SECRET}")])
        request = (await soon(requests.get())).decode()
        client.connection.abort()
        await client.connection.wait_closed()
    assert request.startswith("GET /v1?a=b HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECRET}\r\n" in request
    assert "Sec-WebSocket-Extensions" not in request


async def test_message_in_the_segment_of_the_upgrade_is_delivered() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade(followed_by=frame(TEXT, b"first"))
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        assert await client.message() == "first"
        client.connection.abort()


async def test_host_name_is_resolved() -> None:
    async with PeerServer(upgraded) as server:
        client = Client()
        await client.connection.connect(server.url.replace("127.0.0.1", "localhost"))
        client.connection.abort()


async def test_tls_with_a_trusted_certificate_connects() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade(followed_by=frame(TEXT, b"secret"))
        assert await peer.read_frame() == (TEXT, b"kept")
        await peer.write(frame(TEXT, b"heard"))
        await silence(peer)

    async with PeerServer(script, tls=server_tls()) as server:
        client = Client(WebSocketOptions(close_timeout_s=0.05))
        await client.connection.connect(server.url, ssl_context=ssl.create_default_context(cafile=CERTIFICATE))
        client.connection.send_text("kept")
        assert [await client.message(), await client.message()] == ["secret", "heard"]
        client.connection.close()
        await client.connection.wait_closed()


async def test_untrusted_certificate_is_refused_for_good() -> None:
    async with PeerServer(upgraded, tls=server_tls()) as server:
        with pytest.raises(ProviderRefused, match="certificate not trusted"):
            await Client().connection.connect(server.url)


async def test_tls_to_a_peer_without_tls_is_unavailable() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.write(b"SSH-2.0-OpenSSH_9\r\n")
        await silence(peer)

    async with PeerServer(script) as server:
        with pytest.raises(ProviderUnavailable, match="TLS handshake"):
            await Client().connection.connect(server.url.replace("ws:", "wss:"))


async def test_closed_port_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ProviderUnavailable, match=f"127.0.0.1:{port}"):
        await Client().connection.connect(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize(("tls", "stage"), [(False, "upgrade"), (True, "TLS handshake")])
async def test_peer_that_says_nothing_is_unavailable_at_the_deadline(tls: bool, stage: str) -> None:
    async with PeerServer(silence) as server:
        url = server.url.replace("ws:", "wss:") if tls else server.url
        with pytest.raises(ProviderUnavailable, match=f"no WebSocket within 0.3 s.*{stage}") as caught:
            await Client(WebSocketOptions(open_timeout_s=0.3)).connection.connect(url)
    assert caught.value.code == "timeout"


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "302 Found"]
)
async def test_http_refusal_is_final(status: str) -> None:
    with pytest.raises(ProviderRefused, match=f"HTTP {status}"):
        await _connect_to_http(status)


@pytest.mark.parametrize("status", ["408 Timeout", "429 Too Many", "500 Oops", "502 Bad Gateway", "503 Unavailable"])
async def test_http_trouble_may_pass(status: str) -> None:
    with pytest.raises(ProviderUnavailable, match=f"HTTP {status}"):
        await _connect_to_http(status)


async def test_http_refusal_tells_the_code_of_the_body_and_nothing_else_of_it() -> None:
    body = f'{{"error": {{"code": "insufficient_quota", "message": "for {SECRET}"}}}}'
    with pytest.raises(ProviderUnavailable) as caught:
        await _connect_to_http("429 Too Many", body.encode())
    assert caught.value.code == "insufficient_quota"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "expected_s"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("9" * 9, None), ("-1", None)]
)
async def test_http_refusal_tells_how_long_to_stay_away(header: str, expected_s: float | None) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        await _connect_to_http("429 Too Many", header=f"Retry-After: {header}\r\n")
    assert caught.value.retry_after_s == expected_s


async def _connect_to_http(status: str, body: bytes = b"", *, header: str = "") -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.read_request()
        await peer.write(f"HTTP/1.1 {status}\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await silence(peer)

    async with PeerServer(script) as server:
        await Client().connection.connect(server.url, headers=[("Authorization", SECRET)])


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"\x00\xff" * 100,
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
        b"",
    ],
    ids=["ssh", "garbage", "no accept", "wrong accept", "end"],
)
async def test_answer_that_is_no_upgrade_is_unavailable(answer: bytes) -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.read_request()
        await peer.write(answer)

    async with PeerServer(script) as server:
        with pytest.raises(ProviderUnavailable, match=r"127\.0\.0\.1:\d+: the answer is not a WebSocket upgrade"):
            await Client().connection.connect(server.url)


@pytest.mark.parametrize("url", ["http://h/", "ws://", "ws://h:99999/", "", "ws://user@h/"])
async def test_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(ProviderRefused, match="not a WebSocket URL"):
        await Client().connection.connect(url)


async def test_header_that_would_break_the_request_is_refused_unseen() -> None:
    async with PeerServer(upgraded) as server:
        with pytest.raises(ProviderRefused, match="header Authorization") as caught:
            await Client().connection.connect(server.url, headers=[("Authorization", f"Bearer {SECRET}\r\nX: y")])
    assert SECRET not in str(caught.value)


async def test_secrets_reach_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(frame(CLOSE, struct.pack("!H", 1000)))
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(f"{server.url}?key={SECRET}", headers=[("Authorization", SECRET)])
        await client.end()
    ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert any("closed" in message for message in ours)
    assert SECRET not in "".join(ours)


async def test_connect_cancelled_before_tcp_stands_is_closed_at_once() -> None:
    with socket.socket() as listener:  # the kernel takes the connection, nobody else does
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = Client()
        connecting = asyncio.create_task(client.connection.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}"))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await soon(client.connection.wait_closed())


async def test_cancelled_connect_leaves_no_connection() -> None:
    ends: asyncio.Queue[str] = asyncio.Queue()

    async def script(peer: WebSocketPeer) -> None:
        await peer.read_request()
        ends.put_nowait("asked")
        try:
            await silence(peer)
        finally:
            ends.put_nowait("gone")

    async with PeerServer(script) as server:
        client = Client()
        connecting = asyncio.create_task(client.connection.connect(server.url))
        assert await soon(ends.get()) == "asked"
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert await soon(ends.get()) == "gone"
    assert not client.closed.done()


# --- messages ---------------------------------------------------------------------------------------------------------


async def test_text_goes_out_masked_in_one_frame() -> None:
    frames: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        for _ in range(3):
            frames.put_nowait(await peer.read_frame())
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        client.connection.send_text("grüß")
        client.connection.send_text(b'{"type":"x"}')
        client.connection.send_text("a" * 70_000)
        assert await soon(frames.get()) == (TEXT, "grüß".encode())
        assert await soon(frames.get()) == (TEXT, b'{"type":"x"}')
        assert await soon(frames.get()) == (TEXT, b"a" * 70_000)
        client.connection.abort()


async def test_fragments_are_put_together_around_a_ping() -> None:
    pongs: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        euro = "€".encode()
        await peer.write(frame(TEXT, b"one " + euro[:1], is_final=False) + frame(PING, b"?"))
        await peer.write(frame(0, euro[1:] + b" ", is_final=False) + frame(0, b"three") + frame(BINARY, b"\x00\xff"))
        pongs.put_nowait(await peer.read_frame())
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        assert [await client.message(), await client.message()] == ["one € three", b"\x00\xff"]
        assert await soon(pongs.get()) == (PONG, b"?")
        client.connection.abort()


async def test_burst_arrives_whole_and_in_order() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(b"".join(frame(TEXT, b"%d" % number) for number in range(5000)))
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        assert [await client.message() for _ in range(5000)] == [str(number) for number in range(5000)]
        client.connection.abort()


@pytest.mark.parametrize(
    ("sent", "close_code", "told"),
    [
        (frame(TEXT, b"a" * 1001), 1009, "1001"),
        (frame(TEXT, b"a" * 600, is_final=False) + frame(0, b"a" * 401), 1009, "401"),
        (frame(TEXT, b"", size=2**40), 1009, str(2**40)),
        (frame(TEXT, b"\xff\xfe"), 1007, "UTF-8"),
        (frame(3, b""), 1002, "opcode"),
        (frame(0, b"end of nothing"), 1002, "continuation"),
        (b"\xc1\x01a", 1002, "reserved"),
        (frame(PING, b"", is_final=False), 1002, "fragmented control"),
    ],
    ids=["large", "large in parts", "huge", "not UTF-8", "opcode", "stray continuation", "rsv", "half ping"],
)
async def test_bad_frames_end_the_connection(sent: bytes, close_code: int, told: str) -> None:
    answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(sent)
        answers.put_nowait(await peer.read_frame())

    async with PeerServer(script) as server:
        client = Client(WebSocketOptions(max_message_bytes=1000))
        await client.connection.connect(server.url)
        code, reason = await client.end()
        opcode, payload = await soon(answers.get())
        await client.connection.wait_closed()
    assert (code, client.messages.empty()) == (1006, True)
    assert told in reason
    assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", close_code))


async def test_sixteen_mebibytes_are_taken() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(frame(TEXT, b"a" * 2**24))
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        assert len(await client.message()) == 2**24
        client.connection.abort()


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_close_of_the_peer_is_answered_and_told() -> None:
    answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    payload = struct.pack("!H", 3000) + b"invalid_request_error.invalid_api_key"

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(frame(CLOSE, payload) + frame(TEXT, b"after the end"))
        answers.put_nowait(await peer.read_frame())

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        assert await client.end() == (3000, "invalid_request_error.invalid_api_key")
        assert await soon(answers.get()) == (CLOSE, payload)
        await client.connection.wait_closed()
        client.connection.send_text("swallowed")
        client.connection.abort("too late")
        await asyncio.sleep(0)
    assert client.messages.empty()
    assert len(client.ends) == 1


async def test_peer_that_closes_but_keeps_tcp_open_is_cut_off() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(frame(CLOSE, struct.pack("!H", 1001)))
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client(WebSocketOptions(close_timeout_s=0.05))
        await client.connection.connect(server.url)
        assert (await client.end())[0] == 1001
        await soon(client.connection.wait_closed())


async def test_end_without_a_close_frame_is_abnormal() -> None:
    async with PeerServer(WebSocketPeer.upgrade) as server:
        client = Client()
        await client.connection.connect(server.url)
        code, reason = await client.end()
    assert code == 1006
    assert reason


async def test_close_is_a_handshake() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        opcode, payload = await peer.read_frame()
        await peer.write(frame(opcode, payload))

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        client.connection.close(1000, "done")
        assert await client.end() == (1000, "done")
        await client.connection.wait_closed()


async def test_messages_still_arrive_until_the_peer_has_closed() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        opcode, payload = await peer.read_frame()
        await peer.write(frame(TEXT, b"last words") + frame(opcode, payload))

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        client.connection.close()
        await client.end()
        assert await client.message() == "last words"


async def test_peer_that_does_not_answer_a_close_is_cut_off() -> None:
    async with PeerServer(upgraded) as server:
        client = Client(WebSocketOptions(close_timeout_s=0.05))
        await client.connection.connect(server.url)
        client.connection.close()
        assert await client.end() == (1006, "no close frame within 0.05 s")
        await client.connection.wait_closed()
        await asyncio.sleep(0)
    assert len(client.ends) == 1


async def test_abort_ends_at_once_and_tells_later() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(frame(TEXT, b"1") + frame(TEXT, b"2"))
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client()
        await client.connection.connect(server.url)
        assert await client.message() == "1"
        client.connection.abort("enough")
        assert not client.closed.done()
        assert await client.end() == (1006, "enough")
        await client.connection.wait_closed()


async def test_abort_within_a_message_stops_the_rest_of_the_burst() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(b"".join(frame(TEXT, b"x") for _ in range(100)))
        await silence(peer)

    async with PeerServer(script) as server:
        seen: list[str | bytes] = []
        closed = asyncio.get_running_loop().create_future()

        def on_message(message: str | bytes) -> None:
            seen.append(message)
            connection.abort()

        connection = WebSocketConnection(on_message=on_message, on_closed=lambda *end: closed.set_result(end))
        await connection.connect(server.url)
        await closed
        await connection.wait_closed()
    assert seen == ["x"]


# --- time and bounds --------------------------------------------------------------------------------------------------


async def test_half_open_connection_is_given_up() -> None:
    async with PeerServer(upgraded) as server:
        client = Client(WebSocketOptions(ping_interval_s=0.01, pong_timeout_s=0.05))
        await client.connection.connect(server.url)
        code, reason = await client.end()
        await client.connection.wait_closed()
    assert code == 1006
    assert reason.startswith("half-open")


async def test_pongs_keep_an_idle_connection() -> None:
    pings: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        while True:
            opcode, payload = await peer.read_frame()
            assert opcode == PING
            await peer.write(frame(PONG, payload))
            pings.put_nowait(payload)

    async with PeerServer(script) as server:
        client = Client(WebSocketOptions(ping_interval_s=0.02, pong_timeout_s=0.3))
        await client.connection.connect(server.url)
        for _ in range(2):
            await soon(pings.get())
        assert not client.closed.done()
        client.connection.abort()


async def test_pong_behind_a_burst_of_audio_is_waited_for() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        for _ in range(4):
            await peer.read_frame()
            await peer.write(frame(TEXT, b"audio"))
        await peer.write(frame(CLOSE, struct.pack("!H", 1000)))

    async with PeerServer(script) as server:
        client = Client(WebSocketOptions(ping_interval_s=0.02, pong_timeout_s=0.3))
        await client.connection.connect(server.url)
        assert (await client.end())[0] == 1000


async def test_slow_link_says_so_and_recovers() -> None:
    go_on = asyncio.Event()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await go_on.wait()
        await silence(peer)

    async with PeerServer(script) as server:
        client = Client(WebSocketOptions(max_backlog_bytes=2**30))
        await client.connection.connect(server.url)
        sent = 0
        while client.connection.is_writable:
            client.connection.send_text(b"a" * 65536)
            sent += 1
            assert sent < 1000, "the kernel takes it all"
        assert client.connection.backlog_bytes > 0
        assert not client.drained.is_set()
        go_on.set()
        await soon(client.drained.wait())
        assert client.connection.is_writable
        client.connection.abort()


@pytest.mark.parametrize("tls", [False, True])
async def test_link_that_stays_too_slow_is_given_up_with_bounded_memory(tls: bool) -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await asyncio.Event().wait()

    async with PeerServer(script, tls=server_tls() if tls else None) as server:
        limit = 256 * 1024
        client = Client(WebSocketOptions(max_backlog_bytes=limit))
        context = ssl.create_default_context(cafile=CERTIFICATE) if tls else None
        await client.connection.connect(server.url, ssl_context=context)
        highest = 0
        for _ in range(20_000):
            client.connection.send_text(b"a" * 4096)
            highest = max(highest, client.connection.backlog_bytes)
        code, reason = await client.end()
        await client.connection.wait_closed()
    assert code == 1006
    assert "too slow" in reason
    assert highest <= limit + 2 * 4096


async def test_kernel_holds_little_unsent_audio() -> None:
    async with PeerServer(upgraded) as server:
        client = Client(WebSocketOptions(high_water_bytes=8192))
        await client.connection.connect(server.url)
        transport = client.connection._stream._transport
        assert transport is not None
        sock: socket.socket = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 8192  # type: ignore[attr-defined]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8000
        client.connection.abort()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_burst_leaves_the_loop_to_others_between_its_messages(tls: bool) -> None:
    count, turns = 64, 0
    loop = asyncio.get_running_loop()
    turn_of_message: list[int] = []
    is_done = asyncio.Event()

    async def script(peer: WebSocketPeer) -> None:
        await peer.upgrade()
        await peer.write(frame(BINARY, bytes(READ_BYTES)) * count)
        await silence(peer)

    def on_message(_message: str | bytes) -> None:
        turn_of_message.append(turns)
        if len(turn_of_message) == count:
            is_done.set()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not is_done.is_set():
            loop.call_soon(turn)

    async with PeerServer(script, tls=server_tls() if tls else None) as server:
        connection = WebSocketConnection(on_message=on_message, on_closed=lambda _code, _reason: None)
        context = ssl.create_default_context(cafile=CERTIFICATE) if tls else None
        await connection.connect(server.url, ssl_context=context)
        turn()
        await soon(is_done.wait())
        connection.abort()
        await connection.wait_closed()
    # A record of TLS that was cut by the end of one read is told with the next.
    assert max(turn_of_message.count(moment) for moment in turn_of_message) <= (2 if tls else 1)
