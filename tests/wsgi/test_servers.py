"""What every WSGI server does with our connections: the same, but for the facts of its kind."""

from __future__ import annotations

import contextlib
import json
import zlib

import pytest

from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, frame
from tests.running import Log, eventually
from tests.wsgi.apps import CLOSE_CODE, PIECE
from tests.wsgi.asking import check_plain, flood
from tests.wsgi.kinds import SHAPES, Served, shapes

pytestmark = pytest.mark.usefixtures("undisturbed")

#: How many sockets are open at once; more than any of the servers has threads.
MANY = 50
LARGE = PIECE * 320


def ending(peer: Peer, log: Log, path: str) -> str:
    """End the peer's stream, and read the line that tells how its connection ended."""
    with contextlib.suppress(OSError):  # it was reset, or has ended already
        peer.finish()
    mark = f"'{path}' identity="
    eventually(lambda: mark in str(log))
    (line,) = [line for line in str(log).splitlines() if mark in line]
    return line


# --- plain HTTP ---


def test_plain_http_is_untouched_before_during_and_after(server: Served) -> None:
    check_plain(server.port)
    with Peer(server.port) as peer:
        peer.open("/async").echo("during")
        check_plain(server.port)
        peer.echo("still there")
        peer.close()
    check_plain(server.port)


def test_one_path_is_a_page_and_a_websocket(server: Served, peer: Peer) -> None:
    peer.open("/plain").echo("no page")
    check_plain(server.port)
    peer.close()


# --- conversations ---


@pytest.mark.support("shape")
@shapes
def test_messages_come_back(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}")
    for message in ("", "text, ö, 🙂", b"", bytes(range(256)), "x" * 70_000):
        peer.echo(message)
    peer.close()


@shapes
def test_fragments_are_put_together_with_pings_between(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}")
    peer.send(frame(TEXT, "one ", fin=False) + frame(PING, "now"))
    received = peer.read_frame()
    assert (received.opcode, received.payload) == (PONG, b"now")
    peer.send(frame(CONTINUATION, "two ", fin=False) + frame(CONTINUATION, "three"))
    assert peer.read_message() == "one two three"
    peer.close()


@pytest.fixture(scope="session")
def large() -> bytes:
    """Give a frame of 20 MiB, which takes this client a while to mask."""
    return frame(BINARY, LARGE)


@pytest.mark.parametrize("shape", ["async", "def"])
def test_large_messages_both_ways(peer: Peer, large: bytes, shape: str) -> None:
    peer.open(f"/{shape}").send(large)
    assert peer.read_message() == LARGE
    peer.close()


@pytest.mark.parametrize("shape", ["async", "def"])
def test_long_streams_arrive_whole(peer: Peer, shape: str) -> None:
    count = len(LARGE) // len(PIECE)
    peer.open(f"/{shape}").send_frame(TEXT, f"stream {count}")
    assert peer.read_message() == LARGE
    peer.close()


@shapes
def test_compression_is_used(peer: Peer, shape: str) -> None:
    offer: dict[str, str | None] = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    peer.open(f"/{shape}", fields=offer)
    assert peer.fields["sec-websocket-extensions"].startswith("permessage-deflate")
    text = b"the same again and again, " * 400
    deflate = zlib.compressobj(wbits=-12)
    squeezed = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
    peer.send(frame(TEXT, squeezed[:-4], rsv=4))
    received = peer.read_frame()
    assert (received.opcode, received.rsv) == (TEXT, 4)
    assert len(received.payload) < len(text) // 10
    inflate = zlib.decompressobj(wbits=-15)
    assert inflate.decompress(received.payload + b"\0\0\xff\xff") == text
    peer.close()


@pytest.mark.support("shape")
@shapes
def test_handler_knows_its_request_and_its_context(
    server: Served, peer: Peer, shape: str, path: str
) -> None:
    peer.open(f"{path}/a%20b?x=1", fields={"Cookie": "taste=sweet"}).send_frame(TEXT, "tell")
    told = peer.read_message()
    assert isinstance(told, str)
    facts = json.loads(told)
    assert facts["visitor"] == facts["address"][0] == "127.0.0.1"
    assert facts["path_info"] == f"{path}/a b"
    assert facts["target"] == f"{path}/a%20b?x=1"
    assert facts["cookie"] == "taste=sweet"
    assert facts["input"] == ""
    assert facts["secure"] is False
    if shape == "def":
        assert (facts["thread"] == "ws_middleware handler") is not server.kind.greenlets
    peer.close()


# --- the server's worker is free ---


@pytest.mark.support("shape")
@shapes
def test_many_sockets_leave_the_server_free(server: Served, shape: str) -> None:
    with contextlib.ExitStack() as stack:
        # One after the other: some of the servers let only five wait for their turn.
        peers = [stack.enter_context(Peer(server.port)).open(f"/{shape}") for _ in range(MANY)]
        check_plain(server.port)
        for peer in peers:
            peer.echo("each of many")
        check_plain(server.port)
        for peer in peers:
            peer.close()


def test_threads_and_descriptors_come_back(server: Served) -> None:
    def churn() -> None:
        for shape in SHAPES * 5:
            with Peer(server.port) as peer:
                peer.open(f"/{shape}").echo("churn")
                peer.close()

    churn()
    descriptors, threads = server.descriptors, server.threads
    churn()
    eventually(lambda: server.descriptors <= descriptors and server.threads <= threads)


def test_flood_that_nobody_receives_holds_up_nobody(server: Served) -> None:
    with Peer(server.port) as flooding:
        flood(flooding.open("/deaf"))
        check_plain(server.port)
        with Peer(server.port) as other:
            other.open("/async").echo("is served")
            other.close()
        flooding.reset()


def test_four_writers_at_once_arrive_intact(peer: Peer) -> None:
    count, size = 300, 100_000
    peer.open(f"/writers/{count}/{size}")
    whole = [bytes([number]) * size for number in range(4)]
    seen = [0] * 4
    for _ in range(4 * count):
        message = peer.read_message()
        assert message in whole
        seen[whole.index(bytes(message))] += 1
    assert seen == [count] * 4
    assert peer.read_close() == (1000, "")
    peer.send_frame(CLOSE, b"\x03\xe8")
    peer.read_end()


# --- bytes that come with the request ---


@pytest.mark.support("early")
@shapes
def test_frame_in_the_requests_segment(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}", early=frame(TEXT, "early"))
    assert peer.read_message() == "early"
    peer.close()


@pytest.mark.support("early")
@shapes
def test_600_frames_in_the_requests_segment(peer: Peer, shape: str) -> None:
    messages = [f"early {number} " + "x" * 25 for number in range(600)]
    peer.open(f"/{shape}", early=b"".join(frame(TEXT, message) for message in messages))
    assert [peer.read_message() for _ in messages] == messages
    peer.close()


def masked(wire: bytes) -> bytes:
    """Make a payload that the masking key of `frame` turns into these bytes on the wire."""
    return frame(BINARY, wire)[-len(wire) :]


REQUEST = b"\r\n\r\nGET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.support("early")
@pytest.mark.parametrize("shape", ["async", "def"])
def test_frame_that_looks_like_a_request(server: Served, peer: Peer, shape: str) -> None:
    payload = masked(REQUEST)
    early = frame(BINARY, payload)
    assert early.endswith(REQUEST)
    if server.kind.early_request == "refused":
        peer.send(peer.request(f"/{shape}") + early)
        reply = peer.reply()
        assert reply.status == 400
        assert b"read frames behind the request as a request" in peer.body(reply)
        # What the server took for a request is its own affair; it ends soon.
        peer.finish()
        peer.read_rest()
        return
    peer.open(f"/{shape}", early=early)
    assert peer.read_message() == payload
    peer.close()


# --- endings ---


@shapes
@pytest.mark.parametrize("code", [1000, 4999])
def test_peer_closes(peer: Peer, log: Log, shape: str, path: str, code: int) -> None:
    peer.open(path).echo("before")
    peer.close(code)
    assert f"closed with {code} by the peer" in ending(peer, log, path)


@shapes
@pytest.mark.parametrize(
    ("order", "code", "reason"), [("return", 1000, ""), ("close", CLOSE_CODE, "enough")]
)
def test_server_closes(
    peer: Peer, log: Log, shape: str, path: str, order: str, code: int, reason: str
) -> None:
    peer.open(path).send_frame(TEXT, order)
    assert peer.read_close() == (code, reason)
    peer.send_frame(CLOSE, code.to_bytes(2, "big"))
    peer.read_end()
    assert f"closed with {code} by this side" in ending(peer, log, path)


@shapes
@pytest.mark.tracebacks(1)
def test_handler_that_raises(peer: Peer, log: Log, shape: str, path: str) -> None:
    peer.open(path).send_frame(TEXT, "raise")
    peer.expect_failure(1011)
    ending(peer, log, path)
    assert str(log).count("LookupError: on purpose") == 1
    assert str(log).count("[ERROR]") == 1


@shapes
def test_violation_fails_the_connection(peer: Peer, log: Log, shape: str, path: str) -> None:
    peer.open(path).send(frame(0x3))
    peer.expect_failure(1002)
    assert "by this side which sent 1002" in ending(peer, log, path)


@shapes
@pytest.mark.parametrize("begun", [b"", frame(TEXT, "x" * 1000)[:500]], ids=["idle", "mid-frame"])
def test_half_close(peer: Peer, log: Log, shape: str, path: str, begun: bytes) -> None:
    peer.open(path).echo("before")
    peer.send(begun)
    peer.finish()
    peer.read_end()
    assert "closed with 1006 by the peer" in ending(peer, log, path)


@shapes
def test_reset(peer: Peer, log: Log, shape: str, path: str) -> None:
    peer.open(path).echo("before")
    peer.reset()
    assert "closed with 1006" in ending(peer, log, path)


@shapes
def test_reset_behind_the_handshake(server: Served, log: Log, shape: str, path: str) -> None:
    for _ in range(5):
        with Peer(server.port) as peer:
            peer.send(peer.request(path) + frame(TEXT, "early"))
            peer.reset()
    check_plain(server.port)


@shapes
def test_nothing_follows_our_close(peer: Peer, shape: str) -> None:
    """The server's own response goes nowhere, also where the peer stays until the end."""
    peer.open(f"/{shape}").send_frame(CLOSE, b"\x03\xe8")
    assert peer.read_close() == (1000, "")
    peer.finish()
    peer.read_end()


# --- logs ---


@pytest.mark.support("log")
@shapes
def test_access_log(server: Served, peer: Peer, log: Log, shape: str, path: str) -> None:
    peer.open(path).echo("before")
    peer.close()
    ending(peer, log, path)
    check_plain(server.port)
    if server.kind.access_log:
        eventually(lambda: server.statuses(path))
    assert server.statuses(path) == [server.kind.access_log] * bool(server.kind.access_log)
