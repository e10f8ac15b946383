"""How connections end, in good and in bad order, on both event loops and for every handler."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, frame
from tests.running import Log, RunningServer, eventually
from tests.servers.standalone import both_loops

SHAPES = ["async", "threaded", "callbacks", "async-callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)


TARGETS = ("tests.servers.behaviour:ws",)
pytestmark = both_loops


# --- the closing handshake ---

LEGAL = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
LEGAL += [3000, 3999, 4000, 4999]
ILLEGAL = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1099, 1100, 1999, 2000, 2999, 5000, 65535]


@pytest.mark.fault(76)
@pytest.mark.row(130, 134, 135, 136, 148, 149)
@pytest.mark.parametrize("code", LEGAL)
def test_legal_code_comes_back(peer: Peer, code: int) -> None:
    peer.open("/echo").close(code)


@pytest.mark.fault(76)
@pytest.mark.row(142, 146, 147, 148, 150)
@pytest.mark.parametrize("code", ILLEGAL)
def test_illegal_code_is_a_protocol_error(peer: Peer, code: int) -> None:
    peer.open("/echo").send_frame(CLOSE, code.to_bytes(2, "big"))
    peer.expect_failure(1002)


@pytest.mark.fault(76)
@pytest.mark.row(130, 131, 132, 135)
@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        (b"", 1005),
        (b"\x03", 1002),
        (b"\x03\xe8" + b"r" * 123, 1000),
        (b"\x03\xe8" + "ö".encode() * 61, 1000),
        (b"\x03\xe8\xff", 1007),
        (b"\x03\xe8\xc3", 1007),
        (b"\x03\xe8\xed\xa0\x80", 1007),
        (b"\x03\xec\xff", 1002),
    ],
    ids=["empty", "1-byte", "123", "122", "not-utf8", "cut", "surrogate", "1004-not-utf8"],
)
def test_close_payload(peer: Peer, payload: bytes, answer: int) -> None:
    peer.open("/echo").send_frame(CLOSE, payload)
    assert peer.read_close()[0] == answer
    peer.finish()
    peer.read_end()


@shapes
@pytest.mark.fault(76)
@pytest.mark.row(140)
@pytest.mark.parametrize(
    ("payload", "code"), [(b"", 1005), (b"\x03\xe8bye", 1000), (b"\x0f\xa0", 4000)]
)
def test_handler_learns_the_code(
    peer: Peer, log: Log, name: str, shape: str, payload: bytes, code: int
) -> None:
    peer.open(f"/{shape}/watched/{name}").echo("before")
    peer.send_frame(CLOSE, payload)
    assert peer.read_close()[0] == code
    log.told(name, f"ended with {code}")


def has_time_wait(ours: int, theirs: int) -> bool:
    """Tell whether our end of a connection remembers it (RFC 6455 §7.1.1)."""
    return any(
        entry.status == psutil.CONN_TIME_WAIT
        and (entry.laddr[1:], entry.raddr[1:]) == ((ours,), (theirs,))
        for entry in psutil.net_connections("tcp4")
    )


@pytest.mark.fault(77)
@pytest.mark.row(136, 137, 138)
@pytest.mark.parametrize("path", ["/echo", "/async/returns", "/threaded/returns"])
def test_server_ends_the_stream_first_and_keeps_time_wait(
    peer: Peer, server: RunningServer, path: str
) -> None:
    peer.open(path)
    if path == "/echo":
        peer.send_frame(CLOSE, b"\x03\xe8")
        assert peer.read_close() == (1000, "")
    else:
        peer.send_frame(TEXT, "go")
        assert peer.read_close() == (1000, "")
        peer.send_frame(CLOSE, b"\x03\xe8")
    # Our half is still open: the server has ended its own first, and without a RST.
    peer.read_end()
    peer.finish()
    eventually(lambda: has_time_wait(server.port, peer.port))


@pytest.mark.fault(78)
@pytest.mark.row(133, 134, 137, 143)
@pytest.mark.parametrize(
    "behind",
    [
        frame(TEXT, "late"),
        frame(PING, "late"),
        frame(PONG, "late"),
        frame(CLOSE, b"\x0f\xa0late"),
        frame(0x3, "late"),
        b"\xff" * 200_000,
    ],
    ids=["data", "ping", "pong", "close", "bad-opcode", "garbage"],
)
@pytest.mark.parametrize("together", [True, False])
def test_what_follows_a_close_is_ignored(peer: Peer, behind: bytes, together: bool) -> None:
    peer.open("/echo")
    close = frame(CLOSE, b"\x03\xe9")
    peer.send(close + behind if together else close)
    assert peer.read_close() == (1001, "")
    if not together:
        peer.send(behind)
    peer.read_end()


@pytest.mark.fault(78)
@pytest.mark.row(143)
def test_what_follows_a_violation_is_ignored(peer: Peer) -> None:
    peer.open("/echo").send(frame(0x3) + frame(TEXT, "late") + frame(PING) + frame(0x3))
    peer.expect_failure(1002)


@pytest.mark.row(155)
def test_close_inside_a_fragmented_message(peer: Peer) -> None:
    peer.open("/echo").send(frame(TEXT, "half", fin=False) + frame(CLOSE, b"\x03\xe8"))
    assert peer.read_close() == (1000, "")
    peer.read_end()


@shapes
@pytest.mark.row(156)
def test_messages_before_the_close_are_answered(peer: Peer, shape: str) -> None:
    messages = [f"{i}" for i in range(40)]
    peer.open(f"/{shape}/watched/before")
    peer.send(b"".join(frame(TEXT, text) for text in messages) + frame(CLOSE, b"\x03\xe8"))
    assert [peer.read_message() for _ in messages] == messages
    assert peer.read_close() == (1000, "")
    peer.read_end()


# --- peers that do not do their part ---


@pytest.mark.fault(79)
@pytest.mark.row(136, 144, 154)
@shapes
def test_peer_that_never_answers_our_close_is_dropped(
    peer: Peer, server: RunningServer, log: Log, shape: str
) -> None:
    before = server.descriptors
    peer.open(f"/hasty/{shape}/returns").send_frame(TEXT, "go")
    assert peer.read_close() == (1000, "")
    eventually(lambda: server.descriptors < before + 1)
    peer.read_end()
    assert "within close_timeout=0.5 s" in log.line_of(peer.port)


@pytest.mark.fault(79)
@pytest.mark.row(137, 154)
def test_peer_that_answers_and_keeps_its_stream_open_is_dropped(
    peer: Peer, server: RunningServer
) -> None:
    before = server.descriptors
    peer.open("/hasty/echo").close()
    eventually(lambda: server.descriptors <= before)


@pytest.mark.fault(79)
@pytest.mark.row(154)
def test_peer_that_reads_nothing_is_dropped_behind_our_close(
    server: RunningServer, log: Log, name: str
) -> None:
    before = server.descriptors
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(f"/hasty/async/flood-then-close/{name}")
        log.told(name, "closed, 1006")
        assert server.descriptors <= before


@pytest.mark.fault(79)
@pytest.mark.row(154)
def test_peer_that_sends_for_ever_behind_its_close_is_dropped(
    peer: Peer, server: RunningServer
) -> None:
    before = server.descriptors
    peer.open("/hasty/echo").send_frame(CLOSE, b"\x03\xe8")
    with contextlib.suppress(ConnectionError):
        while True:
            peer.send(b"\xff" * 65_536)
    eventually(lambda: server.descriptors <= before)


@shapes
@pytest.mark.fault(80)
@pytest.mark.row(140)
@pytest.mark.parametrize(
    "begun",
    [b"", frame(TEXT, "x" * 1000)[:500], frame(TEXT, "half", fin=False), b"\x81"],
    ids=["idle", "mid-frame", "mid-message", "mid-header"],
)
def test_end_of_stream_without_a_close(
    peer: Peer, log: Log, name: str, shape: str, begun: bytes
) -> None:
    peer.open(f"/{shape}/watched/{name}").echo("before")
    peer.send(begun)
    peer.finish()
    peer.read_end()
    log.told(name, "ended with 1006")


@shapes
@pytest.mark.fault(80)
@pytest.mark.row(156)
def test_messages_before_the_end_of_the_stream_are_answered(peer: Peer, shape: str) -> None:
    messages = [f"{i}" for i in range(40)]
    peer.open(f"/{shape}/watched/before")
    peer.send(b"".join(frame(TEXT, text) for text in messages))
    peer.finish()
    assert [peer.read_message() for _ in messages] == messages
    peer.read_end()


@shapes
@pytest.mark.fault(81)
@pytest.mark.row(140)
@pytest.mark.parametrize(
    "begun",
    [b"", frame(TEXT, "x" * 1000)[:500], frame(TEXT, "half", fin=False)],
    ids=["idle", "mid-frame", "mid-message"],
)
def test_reset(peer: Peer, log: Log, name: str, shape: str, begun: bytes) -> None:
    peer.open(f"/{shape}/watched/{name}").echo("before")
    peer.send(begun)
    peer.reset()
    log.told(name, "ended with 1006")


@pytest.mark.fault(81)
@pytest.mark.parametrize("part", [0, 1, 60, -1])
def test_reset_in_the_handshake(server: RunningServer, part: int) -> None:
    before = server.descriptors
    for _ in range(20):
        with Peer(server.port) as peer:
            peer.send(peer.request("/echo")[:part])
            peer.reset()
    eventually(lambda: server.descriptors <= before)


@pytest.mark.fault(81)
def test_reset_behind_the_handshake(server: RunningServer) -> None:
    before = server.descriptors
    for _ in range(50):
        with Peer(server.port) as peer:
            peer.send(peer.request("/echo") + frame(TEXT, "early"))
            peer.reset()
    eventually(lambda: server.descriptors <= before)


@pytest.mark.fault(81)
@pytest.mark.parametrize("shape", ["async", "threaded", "callbacks"])
def test_reset_while_the_server_sends(
    server: RunningServer, log: Log, name: str, shape: str
) -> None:
    with Peer(server.port) as peer:
        peer.open(f"/{shape}/flood/{name}").read_message()
        peer.reset()
    log.told(name, "ended with 1006")


@pytest.mark.fault(81)
@pytest.mark.parametrize("path", ["/async/returns", "/threaded/returns", "/callbacks/returns"])
def test_reset_in_the_closing_handshake(peer: Peer, server: RunningServer, path: str) -> None:
    before = server.descriptors
    peer.open(path).send_frame(TEXT, "go")
    assert peer.read_close() == (1000, "")
    peer.reset()
    eventually(lambda: server.descriptors < before + 1)


@pytest.mark.fault(81)
def test_reset_behind_the_close(peer: Peer, log: Log, name: str) -> None:
    peer.open(f"/async/watched/{name}").send_frame(CLOSE, b"\x0f\xa0")
    assert peer.read_close() == (4000, "")
    peer.reset()
    log.told(name, "ended with 4000")


@pytest.mark.fault(84)
@shapes
def test_silent_peer_is_dropped(peer: Peer, log: Log, name: str, shape: str) -> None:
    peer.open(f"/{shape}/impatient-peer/{name}").echo("before")
    assert peer.read_frame().opcode == PING
    log.told(name, "ended with 1006")
    assert "no sign of life within ping_timeout=0.3 s" in log.line_of(peer.port)


@pytest.mark.fault(84)
def test_peer_that_answers_pings_is_kept(peer: Peer) -> None:
    peer.open("/async/impatient-peer/kept")
    for _ in range(4):
        received = peer.read_frame()
        assert received.opcode == PING
        peer.send_frame(PONG, received.payload)
    peer.echo("still there")


@pytest.mark.fault(84)
@pytest.mark.parametrize("shape", ["async", "threaded", "callbacks"])
def test_peer_that_takes_nothing_is_dropped(
    server: RunningServer, log: Log, name: str, shape: str
) -> None:
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(f"/{shape}/flood/{name}")
        log.told(name, "ended with 1006")
        assert "no sign of life" in log.line_of(peer.port)


# --- both sides at once ---


@pytest.mark.fault(82)
@pytest.mark.row(141)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_both_sides_close_at_once(peer: Peer, shape: str) -> None:
    # The closes cross on the wire: ours leaves before we have read the server's.
    peer.open(f"/{shape}/returns")
    peer.send(frame(TEXT, "go"))
    received = peer.read(2)
    peer.send_frame(CLOSE, b"\x0f\xa1")
    peer.buffer = received + peer.buffer
    assert peer.read_close() == (1000, "")
    peer.read_end()


@pytest.mark.fault(82)
@pytest.mark.row(134)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_many_callers_close_at_once(peer: Peer, server: RunningServer, shape: str) -> None:
    size = len(server.log)
    peer.open(f"/{shape}/closes/10").send_frame(TEXT, "go")
    code, _ = peer.read_close()
    assert 4000 <= code < 4010
    peer.send_frame(CLOSE, code.to_bytes(2, "big"))
    peer.read_end()
    peer.finish()
    eventually(lambda: f"[closes: 10 returned, {code}]" in server.log[size:])


@pytest.mark.fault(83)
@pytest.mark.parametrize("shape", SHAPES)
def test_200_peers_close_at_once(server: RunningServer, shape: str) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.port)) for _ in range(200)]
        for peer in peers:
            peer.open(f"/{shape}/watched/storm")
        begun = time.monotonic()
        for peer in peers:
            peer.send_frame(CLOSE, b"\x03\xe9")
        for peer in peers:
            assert peer.read_close() == (1001, "")
            peer.read_end()
        assert time.monotonic() - begun < 10


@pytest.mark.fault(83)
def test_server_closes_1000_at_once(server: RunningServer) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.port)) for _ in range(1000)]
        for peer in peers:
            peer.send(peer.request("/together"))
        for peer in peers:
            assert peer.reply().status == 101
        begun = time.monotonic()
        with Peer(server.port) as trigger:
            trigger.open("/go")
            for peer in peers:
                assert peer.read_close() == (1001, "")
                peer.send_frame(CLOSE, b"\x03\xe9")
            for peer in peers:
                peer.read_end()
        assert time.monotonic() - begun < 10


# --- churn ---


def dies_well(peer: Peer) -> None:
    peer.close()


def ends_its_stream(peer: Peer) -> None:
    peer.finish()
    peer.read_end()


def resets(peer: Peer) -> None:
    peer.reset()


def resets_in_a_frame(peer: Peer) -> None:
    peer.send(frame(BINARY, b"x" * 1000)[:-1])
    peer.reset()


def breaks_the_protocol(peer: Peer) -> None:
    peer.send(frame(CONTINUATION))
    peer.expect_failure(1002)


def leaves_after_a_question(peer: Peer) -> None:
    peer.send(frame(TEXT, "question"))


def leaves_with_a_close(peer: Peer) -> None:
    peer.send(frame(CLOSE))


WAYS = [
    dies_well,
    ends_its_stream,
    resets,
    resets_in_a_frame,
    breaks_the_protocol,
    leaves_after_a_question,
    leaves_with_a_close,
]


@pytest.mark.fault(85)
@shapes
def test_churn_leaves_nothing_behind(server: RunningServer, shape: str) -> None:
    def churn(way: Callable[[Peer], None]) -> None:
        for _ in range(300 // len(SHAPES)):
            with Peer(server.port) as peer:
                way(peer.open(f"/{shape}/watched/churn"))

    def settled() -> bool:
        return server.descriptors <= descriptors and server.threads <= threads

    descriptors, threads = server.descriptors, server.threads + 16
    for way in WAYS:
        churn(way)
    eventually(settled)
    threads, memory = server.threads, server.memory
    for way in WAYS:
        churn(way)
    eventually(settled)
    assert server.memory - memory < 3 * 2**20


@pytest.mark.fault(85)
def test_churn_of_handshakes_leaves_nothing_behind(server: RunningServer) -> None:
    def churn() -> None:
        for i in range(300):
            with Peer(server.port) as peer:
                request = peer.request("/nowhere" if i % 2 else "/echo")
                peer.send(request[: -1 - i % 3] if i % 3 else request)
                if i % 5 == 0:
                    peer.reset()

    descriptors, threads = server.descriptors, server.threads
    churn()
    eventually(lambda: server.descriptors <= descriptors)
    memory = server.memory
    churn()
    eventually(lambda: server.descriptors <= descriptors)
    assert server.threads <= threads
    assert server.memory - memory < 2 * 2**20


# --- unread data ---


@pytest.mark.fault(86)
@pytest.mark.row(137, 142)
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_our_close_arrives_over_unread_data(peer: Peer, size: int) -> None:
    peer.open("/echo")
    sender = threading.Thread(target=peer.send, args=(frame(0x3) + frame(BINARY, bytes(size)),))
    sender.start()
    peer.expect_failure(1002)
    sender.join()


@pytest.mark.fault(86)
@pytest.mark.row(137)
def test_our_close_arrives_where_nothing_was_read(peer: Peer, server: RunningServer) -> None:
    peer.open("/async/deaf-then-close")
    stopped = threading.Event()

    def pour() -> None:
        while not stopped.is_set():
            peer.send(frame(BINARY, b"p" * 10_000, key=b"\0\0\0\0"))

    sender = threading.Thread(target=pour)
    sender.start()
    with Peer(server.port) as trigger:
        trigger.open("/go")
        assert peer.read_close() == (4000, "")
    stopped.set()
    sender.join()
    peer.send_frame(CLOSE, b"\x0f\xa0")
    peer.read_end()


@pytest.mark.fault(86)
@pytest.mark.row(137)
def test_unread_data_in_both_directions(server: RunningServer, log: Log, name: str) -> None:
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(f"/async/patient-flood/{name}")
        peer.send(frame(BINARY, b"p" * 60_000) * 10)
        peer.send_frame(CLOSE, b"\x03\xe8")
        while (received := peer.read_frame()).opcode == BINARY:
            pass
        assert received == (CLOSE, b"\x03\xe8", True, 0)
        peer.read_end()
        log.told(name, "ended with 1000")


# --- the log ---


@pytest.mark.row(142)
@shapes
@pytest.mark.parametrize(
    ("last", "end"),
    [
        (frame(CLOSE, b"\x03\xe8bye\n\x1b"), r"closed with 1000 (bye\n\x1b) by the peer"),
        (frame(0x3), "by this side which sent 1002"),
        (b"", "closed with 1006 by the peer - the peer ended its stream without a close frame"),
    ],
    ids=["closed", "failed", "gone"],
)
def test_one_line_for_a_finished_connection(
    peer: Peer, log: Log, shape: str, last: bytes, end: str
) -> None:
    path = f"/{shape}/watched/line"
    peer.open(path).echo("four")
    peer.send_frame(BINARY, b"123456")
    peer.read_message()
    peer.send(last)
    peer.finish()
    peer.read_rest()
    line = log.line_of(peer.port)
    received = 2 * 6 + 4 + 6 + len(last)
    assert f" INFO 127.0.0.1:{peer.port} '{path}' identity=- 0." in line
    assert f"s received=2/{received}B sent=2/" in line
    assert end in line


def test_one_line_for_a_refused_handshake(peer: Peer, log: Log) -> None:
    peer.send(peer.request("/echo", fields={"Origin": "http://evil.example"}))
    assert peer.reply().status == 403
    assert log.line_of(peer.port).endswith(
        f" INFO 127.0.0.1:{peer.port} '/echo' refused with 403: the origin 'http://evil.example' "
        "may not connect (setting: origins)"
    )
