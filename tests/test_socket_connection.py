"""Blocking connections over sockets: whoever waits, nothing is lost, torn or left hanging."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, frame
from tests.running import PATIENCE, eventually
from ws_middleware.broadcast import broadcast
from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.core.extensions import Role
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.handshake import RequestHead
from ws_middleware.core.messages import BinaryMessage, Ping, TextMessage
from ws_middleware.core.receiver import Receiver
from ws_middleware.errors import ConcurrencyError, ConnectionClosed
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.socket_connection import SocketConnection
from ws_middleware.socket_driver import SocketDriver
from ws_middleware.stream import Stream

Start = Callable[..., "Future[Any]"]
Sockets = tuple[socket.socket, socket.socket]
Pair = tuple[SocketConnection, SocketConnection]


def make_connection(
    sock: socket.socket,
    role: Role = "server",
    *,
    observe: bool = False,
    borrowed: bool = False,
    leftover: bytes = b"",
    preface: bytes = b"",
    **options: Any,
) -> SocketConnection:
    terms = Options(**{"max_message_size": 2**25, **options})
    endpoint = Endpoint(role, terms, now=time.monotonic(), observe_control=observe)
    driver = SocketDriver(
        endpoint, Stream(sock, borrowed=borrowed), terms, leftover=leftover, preface=preface
    )
    return SocketConnection(driver, Request(RequestHead("GET", "/", "1.1", [("Host", "h")])))


class Wire(Peer):
    """Be the raw other end of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self.buffer = b""


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Give two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def pair(sockets: Sockets) -> Iterator[Pair]:
    """Give a server's and a client's connection to each other."""
    ours, theirs = sockets
    server, client = make_connection(ours), make_connection(theirs, "client")
    yield server, client
    server.abort()
    client.abort()


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that runs another one in a thread."""
    with ThreadPoolExecutor(40) as pool:
        yield pool.submit


def outcome(future: Future[Any]) -> Any:
    return future.result(PATIENCE)


# --- messages ---


def test_messages_both_ways(pair: Pair) -> None:
    server, client = pair
    for message in ("", "text, ö", b"", bytes(range(256)), "x" * 70_000):
        client.send(message)
        assert server.recv() == message
        server.send(message)
        assert client.recv() == message
    client.send(TextMessage("whole"))
    assert server.recv_message() == TextMessage("whole")
    client.send(BinaryMessage(b"whole"))
    assert server.recv_message() == BinaryMessage(b"whole")


def test_large_messages_both_ways_at_once(pair: Pair, start: Start) -> None:
    large = [bytes([number]) * 5_000_000 for number in range(2)]
    received = [start(connection.recv) for connection in pair]
    sent = [start(connection.send, data) for connection, data in zip(pair, large, strict=True)]
    assert [outcome(future) for future in (*sent, *received)] == [None, None, large[1], large[0]]


def test_fragments_arrive_as_they_are_sent(pair: Pair, start: Start) -> None:
    server, client = pair
    taken = threading.Semaphore(0)

    def pieces() -> Iterator[str]:
        for number in range(3):
            yield str(number)
            assert number == 0 or taken.acquire(timeout=PATIENCE)

    sending = start(client.send, pieces())
    received = []
    for piece in server.recv_fragments():
        received.append(piece)
        taken.release()
    assert "".join(map(str, received)) == "012"
    outcome(sending)


def test_preface_and_leftover_come_first(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours, preface=b"HTTP", leftover=frame(TEXT, "early"))
    assert connection.recv() == "early"
    wire = Wire(theirs)
    assert wire.read(4) == b"HTTP"
    wire.send_frame(TEXT, "late")
    assert connection.recv() == "late"
    connection.abort()


def test_frame_is_sent_as_it_is(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    connection.send_frame(Frame(Opcode.TEXT, b"raw", fin=False))
    received = Wire(theirs).read_frame()
    assert (received.opcode, received.payload, received.fin) == (TEXT, b"raw", False)
    connection.abort()


def test_observed_pings_come_in_their_order(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours, observe=True)
    Wire(theirs).send(frame(TEXT, "1") + frame(PING, b"2") + frame(TEXT, "3"))
    assert [connection.recv_item() for _ in range(3)] == ["1", Ping(b"2"), "3"]
    connection.abort()


# --- waiting ---


def test_time_out_of_recv_loses_nothing(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    wire = Wire(theirs)
    whole = frame(TEXT, "x" * 1000)
    for part in (whole[:1], whole[1:10], whole[10:999]):
        wire.send(part)
        with pytest.raises(TimeoutError, match="no message came within"):
            connection.recv(timeout=0.02)
    wire.send(whole[999:])
    assert connection.recv(timeout=PATIENCE) == "x" * 1000
    connection.abort()


def test_pings_do_not_prolong_waiting(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    connection = make_connection(ours, observe=True, ping_interval=None)
    stopped = threading.Event()

    def ping() -> bool:
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):
            while not stopped.is_set() and time.monotonic() < until:
                theirs.sendall(frame(PING))
                theirs.recv(100)  # its pong
        return stopped.is_set()

    pinging = start(ping)
    try:
        with pytest.raises(TimeoutError, match=r"no message came within 0\.1 s"):
            connection.recv(0.1)
    finally:
        gave_up = pinging.done()
        stopped.set()
        connection.abort()
    assert outcome(pinging)
    assert not gave_up


def test_second_receiver_is_refused(pair: Pair, start: Start) -> None:
    server, client = pair
    first = start(server.recv)
    eventually(lambda: server._receiving)
    with pytest.raises(ConcurrencyError, match="another thread is receiving"):
        server.recv()
    client.send("for the first")
    assert outcome(first) == "for the first"
    client.send("and the next")
    assert server.recv() == "and the next"


def test_ping_tells_the_latency_while_others_receive(pair: Pair, start: Start) -> None:
    server, client = pair
    receiving = [start(connection.recv) for connection in pair]
    pings = [start(connection.ping) for connection in (*pair, *pair)]
    assert all(0 <= outcome(ping) < PATIENCE for ping in pings)
    server.send("done")
    client.send("done")
    assert [outcome(future) for future in receiving] == ["done", "done"]


def test_ping_tells_the_latency_while_nobody_receives(pair: Pair) -> None:
    server, client = pair
    assert 0 <= client.ping(b"payload") < PATIENCE
    assert client.latency is not None
    assert 0 <= server.ping() < PATIENCE


def test_ping_has_a_time_out(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    with pytest.raises(TimeoutError, match="no pong came within"):
        connection.ping(timeout=0.02)
    wire = Wire(theirs)
    wire.send_frame(PONG, wire.read_frame().payload)
    wire.send_frame(TEXT, "still there")
    assert connection.recv() == "still there"
    connection.abort()


def test_send_waits_until_the_socket_took_it(pair: Pair, start: Start) -> None:
    server, client = pair
    sending = start(server.send, b"x" * 10_000_000)
    with pytest.raises(TimeoutError):
        sending.result(0.1)
    assert len(client.recv()) == 10_000_000
    outcome(sending)


def test_full_queue_stops_reading_until_somebody_receives(
    sockets: Sockets,
) -> None:
    ours, theirs = sockets
    connection = make_connection(ours, max_queue=2)
    theirs.settimeout(PATIENCE)
    theirs.sendall(b"".join(frame(TEXT, str(number)) for number in range(10)))
    assert [connection.recv() for _ in range(10)] == [str(number) for number in range(10)]
    connection.abort()


# --- many writers ---


def test_many_writers_arrive_intact(pair: Pair, start: Start) -> None:
    server, client = pair
    messages = [f"{number}-" * size for number in range(8) for size in (1, 100, 30_000)]

    def write(number: int) -> None:
        for message in messages[number * 3 :][:3] * 5:
            server.send(message)

    writers = [start(write, number) for number in range(8)]
    received = [client.recv() for _ in range(8 * 3 * 5)]
    assert sorted(received) == sorted(messages * 5)
    for writer in writers:
        outcome(writer)


def test_messages_never_come_between_fragments(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)

    def fragments(letter: str) -> None:
        for _ in range(10):
            connection.send(letter * 1000 for _ in range(10))

    def whole() -> None:
        for _ in range(50):
            connection.send("whole")

    def pong() -> None:
        for _ in range(50):
            connection.pong(b"between")  # control frames may (RFC 6455 §5.4)

    writers = [start(fragments, "a"), start(fragments, "b"), start(whole), start(pong)]
    wire = Wire(theirs)
    texts: list[str] = []
    pongs = 0
    unfinished: bytes | None = None
    while len(texts) < 70 or pongs < 50:
        received = wire.read_frame()
        if received.opcode == PONG:
            pongs += 1
            continue
        assert received.opcode == (TEXT if unfinished is None else CONTINUATION)
        unfinished = (unfinished or b"") + received.payload
        if received.fin:
            texts.append(unfinished.decode())
            unfinished = None
    assert sorted(texts) == ["a" * 10_000] * 10 + ["b" * 10_000] * 10 + ["whole"] * 50
    for writer in writers:
        outcome(writer)
    connection.abort()


def test_pieces_that_fail_close_the_connection(pair: Pair) -> None:
    server, client = pair

    def pieces() -> Iterator[str]:
        yield from ("one", "two", "three")
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        server.send(pieces())
    with pytest.raises(ConnectionClosed) as closed:
        client.recv()
    assert (closed.value.code, closed.value.reason) == (1011, "message not completed")


def test_no_pieces_are_no_message(pair: Pair) -> None:
    server, client = pair
    with pytest.raises(ValueError, match="an empty iterable makes no message"):
        server.send(iter(()))
    server.send("next")
    assert client.recv() == "next"


# --- while the handler does something else ---


def test_pings_are_answered_while_nobody_waits(
    sockets: Sockets,
) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    wire = Wire(theirs)
    for payload in (b"first", b"second"):
        wire.send_frame(PING, payload)
        received = wire.read_frame()
        assert (received.opcode, received.payload) == (PONG, payload)
    connection.abort()


def test_silence_is_noticed_while_nobody_waits(
    sockets: Sockets,
) -> None:
    ours, theirs = sockets
    connection = make_connection(ours, ping_interval=0.1, ping_timeout=0.1)
    wire = Wire(theirs)
    assert wire.read_frame().opcode == PING
    eventually(lambda: connection.state is State.CLOSED)
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv()
    assert closed.value.code == 1006
    assert ours.fileno() == -1


def test_close_is_answered_while_nobody_waits(
    sockets: Sockets,
) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    wire = Wire(theirs)
    wire.close()
    theirs.shutdown(socket.SHUT_WR)
    eventually(lambda: ours.fileno() == -1)
    assert connection.close_code == 1000


def test_peer_that_takes_nothing_is_noticed_while_send_is_stuck(
    sockets: Sockets,
) -> None:
    ours, _ = sockets
    connection = make_connection(ours, ping_interval=0.1, ping_timeout=0.1)
    with pytest.raises(ConnectionClosed):
        connection.send(b"x" * 20_000_000)
    assert connection.close_code == 1006


# --- the end ---


def test_close_ends_both_sides(pair: Pair, start: Start) -> None:
    server, client = pair
    closing = start(server.close, 4321, "enough")
    with pytest.raises(ConnectionClosed) as closed:
        client.recv()
    assert (closed.value.code, closed.value.reason) == (4321, "enough")
    client.close()
    outcome(closing)
    assert (server.close_code, server.state) == (4321, State.CLOSED)
    for connection, use in itertools.product(pair, ("send", "recv", "ping")):
        with pytest.raises(ConnectionClosed):
            getattr(connection, use)(*["late"] * (use == "send"))


def test_iteration_ends_with_a_clean_close(pair: Pair, start: Start) -> None:
    server, client = pair
    for text in "abc":
        client.send(text)
    closing = start(client.close)
    assert list(server) == ["a", "b", "c"]
    server.close()
    outcome(closing)


def test_many_callers_close_at_once(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    closers = [start(connection.close, 4000 + number) for number in range(10)]
    wire = Wire(theirs)
    code, _ = wire.read_close()
    wire.send_frame(CLOSE, code.to_bytes(2, "big"))
    wire.read_end()
    theirs.shutdown(socket.SHUT_WR)
    for closer in closers:
        outcome(closer)
    assert connection.close_code == code


def test_abort_wakes_everybody(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    waiting = [start(connection.recv), start(connection.ping)]
    waiting += [start(connection.send, b"x" * 10_000_000) for _ in range(3)]
    assert Wire(theirs).read(1)[0] & 0x0F in (PING, BINARY)  # no more, or a sender would be done
    connection.abort()
    for future in waiting:
        assert isinstance(future.exception(PATIENCE), ConnectionClosed)
    assert ours.fileno() == -1


@pytest.mark.parametrize("begun", [b"", b"\x81", frame(TEXT, "half", fin=False)])
def test_end_of_stream_without_a_close(sockets: Sockets, begun: bytes) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    theirs.sendall(frame(TEXT, "last") + begun)
    theirs.close()
    assert connection.recv() == "last"
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv()
    assert closed.value.code == 1006
    eventually(lambda: ours.fileno() == -1)


def test_peer_that_has_gone_before_the_first_byte_is_no_failure(sockets: Sockets) -> None:
    ours, theirs = sockets
    theirs.close()
    connection = make_connection(ours, preface=b"HTTP/1.1 101 Switching Protocols")
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv()
    assert closed.value.code == 1006
    assert ours.fileno() == -1


def test_violation_closes_with_1002(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    wire = Wire(theirs)
    wire.send(frame(0x3))
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv()
    assert closed.value.sent_code == 1002
    wire.expect_failure(1002)
    theirs.shutdown(socket.SHUT_WR)
    connection.close()


def test_peer_that_never_answers_our_close_is_dropped(
    sockets: Sockets,
) -> None:
    ours, theirs = sockets
    connection = make_connection(ours, close_timeout=0.1)
    connection.close()
    assert connection.close_code == 1006
    assert Wire(theirs).read_close() == (1000, "")
    assert ours.fileno() == -1


def test_borrowed_socket_goes_back_as_it_came(
    sockets: Sockets,
) -> None:
    ours, theirs = sockets
    ours.settimeout(12.5)
    connection = make_connection(ours, borrowed=True)
    assert ours.gettimeout() != 12.5
    with contextlib.closing(Wire(theirs).socket):
        connection.abort()
    assert ours.gettimeout() == 12.5
    assert ours.fileno() != -1
    with pytest.raises(BrokenPipeError):
        ours.send(b"HTTP/1.1 500 Oh no")


def test_start_closing_does_not_wait(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    connection.start_closing(1001, "leaving")
    wire = Wire(theirs)
    assert wire.read_close() == (1001, "leaving")
    assert connection.state is State.CLOSING
    wire.send_frame(CLOSE, b"\x03\xe9")
    theirs.shutdown(socket.SHUT_WR)
    eventually(lambda: ours.fileno() == -1)
    assert connection.close_code == 1001


def test_connection_is_closed_when_its_credentials_expire(sockets: Sockets) -> None:
    ours, theirs = sockets
    connection = make_connection(ours)
    connection.renew(time.time() + 3600)
    connection.renew(expires_at := time.time() + 0.05)
    assert connection.expires_at == expires_at
    wire = Wire(theirs)
    assert wire.read_close() == (4401, "the credentials have expired")
    wire.send_frame(CLOSE, b"\x11\x31")
    with pytest.raises(ConnectionClosed):
        connection.recv()


# --- what the system has no more of, and what it does in small pieces ---


@pytest.mark.fault(102)
def test_connection_without_memory_is_dropped_and_others_live(
    monkeypatch: pytest.MonkeyPatch, sockets: Sockets, start: Start
) -> None:
    """Also where nobody receives, and the attendant reads."""
    ours, theirs = sockets
    connection = make_connection(ours)

    def fail(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Receiver, "feed", fail)
        Wire(theirs).send_frame(TEXT, "hello")
        eventually(lambda: connection.state is State.CLOSED)
    with pytest.raises(ConnectionClosed, match="no memory"):
        connection.recv()
    other, peer = socket.socketpair()
    with other, peer:
        second = make_connection(other)
        Wire(peer).send_frame(PING, "x")
        assert Wire(peer).read_frame().opcode == PONG  # the attendant is still there
        second.abort()


class Stingy(socket.socket):
    """Be a socket that moves one byte at a time, with interruptions in between."""

    turns = itertools.count()

    def _interrupt(self) -> None:
        if next(self.turns) % 3 == 0:
            raise BlockingIOError

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:
            self._interrupt()
        return super().recv(min(size, 1), flags)

    def send(self, data: Any, flags: int = 0) -> int:
        self._interrupt()
        return super().send(memoryview(data)[:1], flags)


@pytest.mark.fault(101)
def test_bytes_that_move_one_by_one_are_all_there(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    stingy = Stingy(fileno=os.dup(ours.fileno()))
    with stingy:
        connection = make_connection(stingy)
        wire = Wire(theirs)
        wire.send_frame(TEXT, "hello")
        wire.send_frame(BINARY, bytes(range(256)) * 4)
        assert connection.recv() == "hello"
        assert connection.recv() == bytes(range(256)) * 4
        sending = start(connection.send, b"x" * 3000)
        assert wire.read_message() == b"x" * 3000
        sending.result(PATIENCE)
        connection.abort()


def test_a_pong_alone_ends_the_wait_for_it(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    connection, wire = make_connection(ours, ping_interval=None), Wire(theirs)
    pinged = start(connection.ping, b"here")
    assert wire.read_frame().payload == b"here"
    wire.send_frame(PONG, b"here")
    assert outcome(pinged) >= 0
    connection.abort()


class _Interrupted(Stream):
    """Be a stream whose reader is interrupted the first time, as by Ctrl+C."""

    def wait(self) -> bytes:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return super().wait()

    interrupted = False


def test_a_reader_who_was_interrupted_may_go_on(sockets: Sockets) -> None:
    ours, theirs = sockets
    terms = Options()
    driver = SocketDriver(Endpoint("server", terms), _Interrupted(ours), terms)
    connection = SocketConnection(driver, Request(RequestHead("GET", "/", "1.1", [])))
    with pytest.raises(KeyboardInterrupt):
        connection.recv()
    theirs.sendall(frame(TEXT, "later"))
    assert connection.recv() == "later"
    connection.abort()


# --- large messages ---


def start_large(wire: Wire, size: int) -> bytes:
    """Send the first half of a large message; gives the rest."""
    whole = frame(BINARY, bytes(range(256)) * (size // 256))
    wire.send(whole[: len(whole) // 2])
    return whole[len(whole) // 2 :]


def test_large_payload_comes_in_place(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    server, wire = make_connection(ours), Wire(theirs)
    received = start(server.recv)
    rest = start_large(wire, 2**20)
    eventually(lambda: server.endpoint.room is not None)
    wire.send(rest + frame(TEXT, "behind"))
    assert outcome(received) == bytes(range(256)) * 4096
    assert server.recv() == "behind"
    server.abort()


def test_large_payload_that_ends_too_soon(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    server, wire = make_connection(ours), Wire(theirs)
    received = start(server.recv)
    start_large(wire, 2**20)
    eventually(lambda: server.endpoint.room is not None)
    wire.finish()
    with pytest.raises(ConnectionClosed, match="without a close frame"):
        outcome(received)


def test_room_that_is_given_up_meanwhile_loses_nothing(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    server, wire = make_connection(ours), Wire(theirs)
    # Whoever waits for a pong reads for all, and into the room.
    latency = start(server.ping, b"?")
    assert wire.read_frame().payload == b"?"
    rest = start_large(wire, 2**20)
    eventually(lambda: server.endpoint.room is not None)
    pieces = server.recv_fragments()
    first = outcome(start(next, pieces))
    assert isinstance(first, bytes)
    assert first
    others = start(b"".join, pieces)
    wire.send(rest + frame(PONG, b"?"))
    assert first + outcome(others) == bytes(range(256)) * 4096
    assert outcome(latency) > 0
    server.abort()


# --- misuse ---


def test_message_inside_of_ones_own_fragments_is_refused(pair: Pair) -> None:
    server, client = pair

    def pieces() -> Iterator[str]:
        yield "a"
        with pytest.raises(RuntimeError, match="this thread is sending a message in fragments"):
            server.send("between")
        yield "b"

    server.send(pieces())
    server.send("behind")
    assert [client.recv(), client.recv()] == ["ab", "behind"]


@pytest.mark.parametrize("message", [1, {"an": "object"}])
def test_what_is_no_message_is_told_so(pair: Pair, message: Any) -> None:
    with pytest.raises(TypeError, match=r"a message is str, bytes or .* send_json\(\)"):
        pair[0].send(message)
    pair[0].send("go on")
    assert pair[1].recv() == "go on"


def test_blocking_connections_cannot_broadcast(pair: Pair) -> None:
    members: Any = [pair[0]]
    with pytest.raises(TypeError, match="broadcast is for connections of `async def` handlers"):
        broadcast(members, "news")


def test_thread_that_carries_others_does_not_wait(sockets: Sockets, start: Start) -> None:
    ours, theirs = sockets
    terms = Options()
    driver = SocketDriver(
        Endpoint("server", terms, now=time.monotonic()),
        Stream(ours),
        terms,
        carrier=threading.get_ident(),
    )
    server = SocketConnection(driver, Request(RequestHead("GET", "/", "1.1", [("Host", "h")])))
    client = make_connection(theirs, "client")
    refused = pytest.raises(RuntimeError, match="would stop the event loop that carries it")
    with refused:
        server.recv()
    with refused:
        while True:  # until the socket takes no more
            server.send(bytes(100_000))
    received = start(client.recv)
    assert outcome(received) == bytes(100_000)
    server.start_closing(4000, "enough")
    server.abort()
    client.abort()


def test_end_is_told_once_and_before_the_peer_sees_it(sockets: Sockets) -> None:
    ours, theirs = sockets
    terms = Options()
    seen: list[bool] = []

    def note() -> None:
        with pytest.raises(BlockingIOError):
            theirs.recv(1, socket.MSG_DONTWAIT)
        seen.append(True)

    driver = SocketDriver(
        Endpoint("server", terms, now=time.monotonic()), Stream(ours), terms, on_over=note
    )
    server = SocketConnection(driver, Request(RequestHead("GET", "/", "1.1", [("Host", "h")])))
    server.abort()
    assert seen == [True]
    assert theirs.recv(1) == b""
    server.abort()
    assert seen == [True]
