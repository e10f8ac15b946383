"""What handlers do, well or badly, on both event loops and in every shape."""

from __future__ import annotations

import contextlib
import threading

import pytest

from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, frame
from tests.running import PATIENCE, Log, RunningServer, eventually
from tests.servers.standalone import both_loops

TARGETS = ("tests.servers.behaviour:ws",)
pytestmark = both_loops

SHAPES = ["async", "threaded", "callbacks", "async-callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)


# --- how handlers end ---


@shapes
@pytest.mark.fault(87)
@pytest.mark.row(151)
@pytest.mark.tracebacks(1)
def test_handler_that_raises(peer: Peer, log: Log, shape: str) -> None:
    peer.open(f"/{shape}/raises/LookupError").send(frame(TEXT, "go") + frame(TEXT, "more"))
    assert peer.expect_failure(1011) == "internal error"
    assert str(log).count(" ERROR ") == 1
    assert f"ERROR the handler of '/{shape}/raises/LookupError' failed\n" in str(log)
    assert "LookupError: on purpose\n" in str(log)


@pytest.mark.fault(87, 96)
@pytest.mark.tracebacks(1)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_exception_inside_a_with_block(peer: Peer, log: Log, shape: str) -> None:
    peer.open(f"/{shape}/with").send_frame(TEXT, "go")
    peer.expect_failure(1011)
    peer.finish()
    eventually(lambda: "LookupError: on purpose" in str(log))  # it leaves the block behind that


@pytest.mark.fault(87)
@pytest.mark.tracebacks(1)
@pytest.mark.parametrize("callback", ["open", "message", "ping"])
def test_callback_that_raises(peer: Peer, log: Log, callback: str) -> None:
    peer.open(f"/callbacks/raises-in/{callback}")
    peer.send(frame(PING, "ping") + frame(TEXT, "message"))
    while (received := peer.read_frame()).opcode != CLOSE:
        assert received.opcode == PONG
    assert received.payload == b"\x03\xf3internal error"
    peer.send_frame(CLOSE, b"\x03\xf3")
    peer.finish()
    log.told(f"raises in {callback}", "1011 closed")


@pytest.mark.fault(87)
@pytest.mark.tracebacks(1)
def test_on_close_that_raises(peer: Peer, log: Log) -> None:
    peer.open("/callbacks/raises-in/close").close()
    peer.finish()
    eventually(lambda: "LookupError: on purpose" in str(log))


@pytest.mark.fault(87)
def test_on_error_may_go_on(peer: Peer) -> None:
    peer.open("/callbacks/raises-in/message-mended")
    for _ in range(2):
        peer.send_frame(TEXT, "raise")
        assert peer.read_message() == "on purpose"
    peer.close()


#: Another connection's end, and a cancellation that nobody asked for.
ANYWHERE = ["ConnectionClosed", "CancelledError"]
#: On the loop's own thread the first two mean the whole program, and the last cannot be raised.
IN_THREADS = ["SystemExit", "KeyboardInterrupt", "StopIteration"]


@pytest.mark.fault(88)
@pytest.mark.tracebacks(1)
@pytest.mark.parametrize(
    ("shape", "error"),
    [(shape, error) for shape in SHAPES for error in ANYWHERE]
    + [(shape, error) for shape in ("threaded", "callbacks") for error in IN_THREADS],
)
def test_exceptions_of_special_meaning_fail_one_connection(
    peer: Peer, log: Log, shape: str, error: str
) -> None:
    peer.open(f"/{shape}/raises/{error}").send_frame(TEXT, "go")
    assert peer.expect_failure(1011) == "internal error"
    assert error in str(log).partition("failed\nTraceback")[2]


@shapes
@pytest.mark.fault(89)
@pytest.mark.row(139)
def test_handler_that_returns(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}/returns").send_frame(TEXT, "go")
    assert peer.read_close() == (1000, "")
    peer.send_frame(CLOSE, b"\x03\xe8")
    peer.read_end()


@pytest.mark.fault(96)
@pytest.mark.row(140)
@pytest.mark.parametrize(
    ("last", "end"),
    [(b"\x03\xe8", "returned"), (b"\x03\xe9", "returned"), (b"\x0f\xa0", "raised 4000")],
)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_iteration_ends(peer: Peer, log: Log, name: str, shape: str, last: bytes, end: str) -> None:
    peer.open(f"/{shape}/iterates/{name}").echo("before")
    peer.send_frame(CLOSE, last)
    log.told(name, end)


# --- receiving ---


@pytest.mark.fault(90)
@pytest.mark.row(129)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_peer_is_held_up_where_the_handler_does_not_receive(
    peer: Peer, server: RunningServer, shape: str
) -> None:
    peer.open(f"/{shape}/deaf")
    memory = server.memory
    message = frame(BINARY, b"d" * 65_000, key=b"\0\0\0\0")
    peer.socket.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        for _ in range(1000):
            sent += peer.socket.send(message)
    assert sent < 30 * 2**20  # most of it in the buffers of the system
    assert server.memory - memory < 5 * 2**20
    with Peer(server.port) as other:
        other.open("/echo").echo("others are served")


@pytest.mark.fault(90)
def test_pings_behind_a_full_queue_wait_with_it(peer: Peer, server: RunningServer) -> None:
    peer.open("/async/waits-for-go")
    peer.send(frame(PING, "before") + frame(TEXT, "m") * 16 + frame(PING, "behind"))
    assert peer.read_frame()[:2] == (PONG, b"before")
    expect_nothing(peer)
    with Peer(server.port) as trigger:
        trigger.open("/go")
        assert peer.read_frame()[:2] == (PONG, b"behind")


def expect_nothing(peer: Peer) -> None:
    """Check that nothing comes for a while."""
    peer.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peer.read(1)
    peer.socket.settimeout(PATIENCE)


@pytest.mark.fault(91)
@pytest.mark.parametrize("shape", ["async", "threaded", "callbacks"])
def test_handler_that_blocks_for_ever_harms_nobody_else(server: RunningServer, shape: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            blocked = stack.enter_context(Peer(server.port)).open(f"/{shape}/blocked")
            blocked.send_frame(TEXT, "go")
            assert blocked.read_message() == "blocked"
        for other in SHAPES:
            with Peer(server.port) as peer:
                peer.open(f"/{other}/watched/other").echo("others are served")
                peer.close()


@pytest.mark.fault(91)
def test_callbacks_that_wait_for_peers_harm_nobody_else(server: RunningServer) -> None:
    """Peers that read nothing hold up a callback each; there are more of them than threads."""
    with contextlib.ExitStack() as stack:
        for i in range(40):
            greedy = stack.enter_context(Peer(server.port, receive_buffer=4096))
            greedy.open(f"/callbacks/patient-flood/greedy-{i}")
        with Peer(server.port) as peer:
            peer.open("/callbacks/watched/other")
            for _ in range(100):
                peer.echo("others are served")
            peer.close()


@pytest.mark.fault(92)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_second_receiver_is_told(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}/readers")
    kind = "task" if shape == "async" else "thread"
    assert peer.read_message() == (
        f"another {kind} is receiving from this connection; one at a time receives"
    )
    peer.send_frame(TEXT, "for the first")
    assert peer.read_message() == "for the first"
    assert peer.read_close() == (1000, "")


@pytest.mark.fault(92)
def test_fragments_come_behind_what_was_fetched(peer: Peer) -> None:
    assert peer.open("/threaded/mixed-readers").read_message() == "ready"
    peer.send(b"".join(frame(TEXT, text) for text in "abcdef"))
    assert [peer.read_message() for _ in range(6)] == list("abcdef")
    peer.send(frame(TEXT, "g", fin=False))
    assert peer.read_message() == "g"
    peer.send(frame(CONTINUATION, "h", fin=True))
    assert peer.read_message() == "h"
    assert peer.read_close() == (1000, "")


# --- sending ---


def read_to_the_close(peer: Peer) -> list[str]:
    """Read messages up to the close frame, answering pings, also between fragments."""
    messages: list[str] = []
    pieces = b""
    while (received := peer.read_frame()).opcode != CLOSE:
        if received.opcode == PING:
            peer.send_frame(PONG, received.payload)
            continue
        assert (received.opcode == CONTINUATION) == bool(pieces), "messages are interleaved"
        pieces += received.payload
        if received.fin:
            messages.append(pieces.decode())
            pieces = b""
    assert received.payload == b"\x03\xe8"
    return messages


@pytest.mark.fault(93)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_32_senders_at_once(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}/many/32")
    messages = read_to_the_close(peer)
    expected = [f"{i}-{turn}-" + "x" * (i * 997) for i in range(32) for turn in range(10)]
    assert sorted(messages) == sorted(2 * expected)
    peer.send_frame(CLOSE, b"\x03\xe8")
    peer.read_end()


@pytest.mark.fault(94)
@pytest.mark.row(122, 133)
@pytest.mark.parametrize(
    ("shape", "codes"),
    # While it is closing nobody knows yet how it will end.
    [("async", [1006, 1006, 1006, 4000] + 4 * [4000]), ("threaded", 4 * [4000])],
)
def test_sending_late(peer: Peer, log: Log, name: str, shape: str, codes: list[int]) -> None:
    peer.open(f"/{shape}/late/{name}").send_frame(TEXT, "go")
    assert peer.read_close() == (4000, "")
    expect_nothing(peer)
    peer.send_frame(CLOSE, b"\x0f\xa0")
    peer.finish()
    peer.read_end()
    log.told(name, str(codes))


@pytest.mark.fault(95)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_giving_up_loses_no_message(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}/cancels/x")
    questions = [f"q{i}" for i in range(100)]

    def ask() -> None:
        for question in questions:
            peer.send_frame(TEXT, question)

    asker = threading.Thread(target=ask)
    asker.start()
    got: list[str] = []
    while (message := peer.read_message()) and not str(message).startswith("q0"):
        assert message == str(message)[:5] + "s" * 30_000
        got.append(str(message)[:5])
    asker.join()
    assert message == " ".join(questions)
    sent = str(peer.read_message()).split()
    assert [int(number) for number in got] == [int(number) for number in sent]


@pytest.mark.fault(95)
def test_cancelled_close_goes_on(peer: Peer, log: Log, name: str) -> None:
    peer.open(f"/async/cancelled-close/{name}")
    assert peer.read_close() == (4000, "")
    expect_nothing(peer)
    peer.send_frame(CLOSE, b"\x0f\xa0")
    peer.finish()
    peer.read_end()
    log.told(name, "closed with 4000")


@pytest.mark.fault(95)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_message_given_up_fails_the_connection(peer: Peer, log: Log, name: str, shape: str) -> None:
    peer.open(f"/{shape}/torn/{name}")
    assert peer.read_frame() == (TEXT, b"a", False, 0)
    assert peer.expect_failure(1011) == "message not completed"
    log.told(name, "no message behind it")


@pytest.mark.fault(95)
def test_peer_that_leaves_while_it_is_accepted(server: RunningServer) -> None:
    before = server.descriptors
    for _ in range(50):
        with Peer(server.port) as peer:
            peer.send(peer.request("/async/watched/leaves"))
    eventually(lambda: server.descriptors <= before)


@pytest.mark.parametrize("shape", ["async", "threaded"])
@pytest.mark.parametrize(
    "misuse", ["inside", "mixed", "surrogate", "surrogate-piece", "nothing", "number"]
)
def test_misuse_is_told_at_the_call(peer: Peer, log: Log, shape: str, misuse: str) -> None:
    peer.open(f"/{shape}/misuse/{misuse}/misuse")
    eventually(lambda: "[misuse: " in str(log))
    who = "task" if shape == "async" else "thread"
    expected = {
        "inside": f"RuntimeError: this {who} is sending a message in fragments; finish it first]",
        "mixed": "TypeError: all fragments of a message are str, or all are bytes]",
        "surrogate": "UnicodeEncodeError: ",
        "surrogate-piece": "UnicodeEncodeError: ",
        "nothing": "ValueError: an empty iterable makes no message]",
        "number": "TypeError: a message is str, bytes or ",
    }
    assert f"[misuse: {expected[misuse]}" in str(log)


def test_blocking_connection_does_not_stop_the_loop_that_carries_it(server: RunningServer) -> None:
    with Peer(server.port) as borrower, Peer(server.port) as lender:
        assert borrower.open("/async/borrows").read_message() == "ready"
        lender.open("/threaded/lends")
        for _ in range(2):
            assert borrower.read_message() == (
                "a blocking connection would stop the event loop that carries it"
            )
        assert borrower.read_close() == (1000, "")
        lender.send_frame(TEXT, "thank you")
        assert lender.read_close() == (1000, "")


@pytest.mark.fault(97)
@pytest.mark.parametrize("shape", ["async", "threaded"])
def test_200_mib_to_a_slow_reader(server: RunningServer, shape: str) -> None:
    memory = most = server.memory
    with Peer(server.port, receive_buffer=65_536) as peer:
        peer.open(f"/{shape}/huge/3200")
        for i in range(3200):
            opcode, payload, fin, _ = peer.read_frame()
            assert opcode == (BINARY if i == 0 else CONTINUATION)
            assert fin == (i == 3199)
            assert payload == b"%07d" % i * 9362
            most = max(most, server.memory)
        assert peer.read_close() == (1000, "")
        peer.send_frame(CLOSE, b"\x03\xe8")
    assert most - memory < 5 * 2**20
