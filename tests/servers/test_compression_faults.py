"""Compressed messages that are bombs, corrupt, disturbed, or many."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Iterator

import pytest

from tests.extensions.inflating import TAIL, StrictInflater, deflate, far_repeats
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, frame
from tests.running import RunningServer
from tests.servers.floods import UNSENDABLE
from tests.servers.pressure import (
    DEFLATE,
    MEBIBYTE,
    fragmented,
    many_descriptors,
    sparing,
    watched,
)

TARGETS = ("tests.servers.floods:ws",)
SHAPES = ["async", "threaded", "callbacks"]
shapes = pytest.mark.parametrize("shape", SHAPES)
#: The largest message of these routes.
LIMIT = MEBIBYTE


@pytest.fixture(scope="module", autouse=True)
def descriptors() -> Iterator[None]:
    with many_descriptors():
        yield


def offer(parameters: str) -> dict[str, str | None]:
    return {"Sec-WebSocket-Extensions": f"permessage-deflate; {parameters}".rstrip("; ")}


class Compressor:
    """Compress messages one after the other in one context."""

    def __init__(self, bits: int = 12) -> None:
        self._compressor = zlib.compressobj(6, zlib.DEFLATED, -bits)

    def __call__(self, data: bytes | str) -> bytes:
        data = data.encode() if isinstance(data, str) else data
        flushed = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return flushed[: -len(TAIL)]


class Reader:
    """Read messages of a peer that agreed on compression, in one context."""

    def __init__(self, peer: Peer, bits: int = 12) -> None:
        self._peer = peer
        self._inflater = StrictInflater(bits)

    def read(self) -> bytes:
        received = self._peer.read_frame()
        assert received.opcode in (TEXT, BINARY), received
        payload = received.payload
        last = received
        while not last.fin:
            last = self._peer.read_frame()
            assert last.opcode == CONTINUATION
            assert last.rsv == 0
            payload += last.payload
        return self._inflater.inflate(payload) if received.rsv else payload


@pytest.fixture
def peer(server: RunningServer) -> Iterator[Peer]:
    with Peer(server.port) as peer:
        yield peer


def echo(peer: Peer, reader: Reader, data: str, compressed: bytes) -> None:
    """Check that a compressed message comes back as it was."""
    peer.send_frame(TEXT, compressed, rsv=4)
    assert reader.read() == data.encode()


# --- 68, 70: bombs ---


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Make a megabyte that inflates to a gigabyte."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -12)
    part = compressor.compress(b"x" * MEBIBYTE) + compressor.flush(zlib.Z_FULL_FLUSH)
    return part * 960


def masked(opcode: int, payload: bytes, *, rsv: int = 0, fin: bool = True) -> bytes:
    """Make a long frame in no time: its masking key is zero."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    return bytes([first, 0xFF]) + len(payload).to_bytes(8, "big") + bytes(4) + payload


@pytest.mark.fault(68)
@pytest.mark.row(126, 151, 183)
@shapes
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("kind", ["frame", "unfinished frame", "fragment", "fragments"])
def test_bomb_is_refused_at_the_limit(
    server: RunningServer, peer: Peer, bomb: bytes, kind: str, opcode: int, shape: str
) -> None:
    # A frame of 10 MB would be refused by its header alone.
    data = {
        "frame": lambda: masked(opcode, bomb, rsv=4),
        "unfinished frame": lambda: masked(opcode, bomb, rsv=4)[: len(bomb) // 2],
        "fragment": lambda: masked(opcode, bomb, rsv=4, fin=False),
        "fragments": lambda: b"".join(fragmented(bomb[:50_000], 1000, opcode, rsv=4)),
    }[kind]()
    peer.open(f"/{shape}", fields=DEFLATE)
    with watched(server, 4 * LIMIT), sparing(server, 1.0):
        with contextlib.suppress(ConnectionError):
            peer.send(data)
        assert "max_message_size" in peer.expect_failure(1009)


@pytest.mark.fault(68)
@pytest.mark.row(126)
@pytest.mark.parametrize("size", [10_000, 100], ids=["whole", "in fragments"])
def test_limit_counts_inflated_bytes(server: RunningServer, size: int) -> None:
    for length, fits in [(LIMIT, True), (LIMIT + 1, False)]:
        with Peer(server.port) as peer:
            peer.open("/async", fields=DEFLATE)
            compressed = deflate(b"x" * length, 12)
            peer.send(b"".join(fragmented(compressed, size, rsv=4)))
            if fits:
                assert Reader(peer).read() == b"x" * LIMIT
                peer.close()
            else:
                peer.expect_failure(1009)


@pytest.mark.fault(68)
@pytest.mark.row(191)
def test_limit_counts_the_sum_of_frames_compressed_one_by_one(
    server: RunningServer, peer: Peer
) -> None:
    peer.open("/by-frame", fields={"Sec-WebSocket-Extensions": "deflate-frame"})
    part = deflate(b"x" * 100_000, 12)
    with watched(server, 4 * LIMIT), sparing(server, 1.0):
        peer.send_frame(TEXT, part, rsv=4, fin=False)
        for _ in range(10):
            peer.send_frame(CONTINUATION, part, rsv=4, fin=False)
        peer.expect_failure(1009)


@pytest.mark.fault(68)
@pytest.mark.row(178, 179)
@pytest.mark.parametrize(
    ("block", "content"),
    [(b"\x00\x00\x00\xff\xff", b""), (b"\x03\x00", b""), (b"\x4b\x04\x00", b"a")],
    ids=["stored", "final", "final with a letter"],
)
def test_flood_of_tiny_blocks_is_inflated_in_little_time(
    server: RunningServer, peer: Peer, block: bytes, content: bytes
) -> None:
    peer.open("/async", fields=offer(""))  # the largest window for the client
    reader, text = Reader(peer), far_repeats(14).hex()
    with watched(server, 16 * MEBIBYTE), sparing(server, 5.0):
        echo(peer, reader, text, deflate(text.encode()))
        peer.send(masked(BINARY, block * 60_000 + b"\x00", rsv=4))
        assert reader.read() == content * 60_000
    peer.close()


@pytest.mark.fault(70)
@pytest.mark.row(126)
@pytest.mark.parametrize(
    ("path", "status"), [("/async", 101), ("/threaded", 101), ("/nowhere", 404)]
)
def test_bomb_behind_the_handshake_meets_the_limits_at_once(
    server: RunningServer, peer: Peer, bomb: bytes, path: str, status: int
) -> None:
    with watched(server, 4 * LIMIT), sparing(server, 1.0):
        peer.send(peer.request(path, fields=DEFLATE) + masked(BINARY, bomb, rsv=4))
        reply = peer.reply()
        assert reply.status == status
        if status == 101:
            peer.expect_failure(1009)
        else:
            peer.body(reply)
            peer.finish()
            peer.read_end()


# --- 69: one context for long ---


@pytest.mark.fault(69)
@shapes
def test_many_large_messages_in_one_context_take_no_memory(
    server: RunningServer, peer: Peer, shape: str
) -> None:
    peer.open(f"/{shape}", fields=DEFLATE)
    compress, text = Compressor(), b"x" * (LIMIT - 1)

    def send(count: int) -> None:
        for _ in range(count):
            peer.send_frame(BINARY, compress(text), rsv=4)
            assert len(peer.read_frame().payload) < 10_000

    send(10)
    with watched(server):
        send(50)
    peer.close()


# --- 71: corrupt streams ---

CORRUPT: dict[str, bytes] = {
    "a block of the reserved type": b"\x07",
    "a distance too far back": bytes.fromhex("f200110000"),
    "a stored block of the wrong length": b"\x00\x05\x00\x05\x00Hello",
    "noise": b"\xff" * 20,
    "a stored block that is cut off": b"\x00\x05\x00\xfa\xffHe",
    "a block that is cut off": deflate(b"Hello")[:3],
    "a header that is cut off": b"\x04\x81",
    "noise behind a final block": deflate(b"Hello", final=True) + b"\xff\xff\xff",
    "a final block that is cut off": deflate(b"Hello" * 50, final=True)[:-2],
}


@pytest.mark.fault(71)
@pytest.mark.row(182)
@shapes
@pytest.mark.parametrize("corrupt", CORRUPT.values(), ids=CORRUPT)
@pytest.mark.parametrize("takeover", [True, False], ids=["takeover", "no takeover"])
def test_corrupt_stream_fails_the_connection(
    peer: Peer, shape: str, corrupt: bytes, takeover: bool
) -> None:
    peer.open(f"/{shape}", fields=DEFLATE if takeover else offer("client_no_context_takeover"))
    peer.send(frame(BINARY, corrupt, rsv=4) + frame(BINARY, deflate(b"polluted"), rsv=4))
    peer.expect_failure(1007)


HELLO = deflate(b"Hello")
STREAMS: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "an empty block": (b"\x00", b""),
    "a final block": (deflate(b"Hello", final=True) + b"\x00", b"Hello"),
    "a final block and no other": (deflate(b"Hello", final=True), b"Hello"),
    "a final block in the middle": (deflate(b"Hello", final=True) + HELLO, b"HelloHello"),
    "final blocks": (deflate(b"Hello", final=True) * 9 + b"\x00", b"Hello" * 9),
    "a stored block": (b"\x00\x05\x00\xfa\xffHello\x00", b"Hello"),
    "a final stored block": (b"\x01\x05\x00\xfa\xffHello\x00", b"Hello"),
    "empty blocks": ((b"\x00" + TAIL) * 9 + HELLO, b"Hello"),
}


@pytest.mark.fault(71)
@pytest.mark.row(178, 179, 180, 181)
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("size", [1000, 1], ids=["whole", "in fragments"])
@pytest.mark.parametrize("takeover", [True, False], ids=["takeover", "no takeover"])
def test_unusual_stream_is_decoded_and_pollutes_nothing(
    peer: Peer, stream: str, size: int, takeover: bool
) -> None:
    compressed, content = STREAMS[stream]
    peer.open("/async", fields=DEFLATE if takeover else offer("client_no_context_takeover"))
    reader = Reader(peer)
    for _ in range(3):
        peer.send(b"".join(fragmented(compressed, size, BINARY, rsv=4)))
        assert reader.read() == content
        echo(peer, reader, "the next one", deflate(b"the next one"))
        peer.echo("and one as it is")
    peer.close()


@pytest.mark.fault(71)
@pytest.mark.row(180)
def test_context_lives_on_behind_a_final_block(peer: Peer) -> None:
    peer.open("/async", fields=DEFLATE)
    reader, text = Reader(peer), "in the window " * 20
    echo(peer, reader, text, deflate(text.encode(), 12, final=True))
    for _ in range(3):
        echo(peer, reader, text, deflate(text.encode(), 12, dictionary=text.encode()))
    peer.close()


# --- 72: pings in between ---


@pytest.mark.fault(72)
@pytest.mark.row(108, 113, 176)
@shapes
def test_pings_between_compressed_fragments_disturb_nothing(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}", fields=DEFLATE)
    compress, reader = Compressor(), Reader(peer)
    for round_number in range(5):
        text = f"{round_number} compressed " * 20
        for part in fragmented(compress(text), 3, rsv=4):
            peer.send(part + frame(PING, "between") + frame(PONG))
            if not part[0] & 0x80:
                assert peer.read_frame().payload == b"between"
        frames = [peer.read_frame(), peer.read_frame()]
        (pong,) = [item for item in frames if item.opcode == PONG]
        assert pong.payload == b"between"
        (answer,) = [item for item in frames if item.opcode != PONG]
        assert reader._inflater.inflate(answer.payload) == text.encode()
    peer.close()


# --- 73: windows and contexts ---


@pytest.mark.fault(73)
@pytest.mark.row(158, 165, 169, 170, 173, 185)
@pytest.mark.parametrize("bits", range(8, 16))
@shapes
def test_window_of_the_server_is_honoured(peer: Peer, shape: str, bits: int) -> None:
    peer.open(f"/{shape}", fields=offer(f"server_max_window_bits={bits}"))
    agreed = min(bits, 12)
    assert f"server_max_window_bits={agreed}" in peer.fields["sec-websocket-extensions"]
    reader = Reader(peer, agreed)
    for repeats in (far_repeats(8), far_repeats(9), far_repeats(agreed), far_repeats(12)):
        for _ in range(2):
            peer.send_frame(BINARY, repeats)
            assert reader.read() == repeats
    peer.close()


@pytest.mark.fault(73)
@pytest.mark.row(171, 172)
@pytest.mark.parametrize("bits", range(8, 16))
def test_window_of_the_client_is_honoured(peer: Peer, bits: int) -> None:
    peer.open("/async", fields=offer(f"client_max_window_bits={bits}"))
    agreed = min(bits, 12)
    assert f"client_max_window_bits={agreed}" in peer.fields["sec-websocket-extensions"]
    reader, compress = Reader(peer), Compressor(max(agreed, 9))
    text = far_repeats(agreed).hex() * 2
    for _ in range(3):
        echo(peer, reader, text, compress(text))
    peer.close()


@pytest.mark.fault(73)
@pytest.mark.row(165, 166)
@shapes
def test_server_without_context_takeover_begins_anew(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}", fields=offer("server_no_context_takeover"))
    assert "server_no_context_takeover" in peer.fields["sec-websocket-extensions"]
    compress = Compressor(15)
    for _ in range(3):
        text = "the same again " * 20
        peer.send_frame(TEXT, compress(text), rsv=4)
        assert Reader(peer).read() == text.encode()  # in a context of its own
    peer.close()


@pytest.mark.fault(73)
@pytest.mark.row(167)
@shapes
def test_client_without_context_takeover_begins_anew(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}", fields=offer("client_no_context_takeover"))
    assert "client_no_context_takeover" in peer.fields["sec-websocket-extensions"]
    reader, text = Reader(peer), "the same again " * 20
    for _ in range(3):
        echo(peer, reader, text, deflate(text.encode()))
    peer.send_frame(TEXT, deflate(text.encode(), dictionary=text.encode()), rsv=4)
    peer.expect_failure(1007)


@pytest.mark.fault(73)
@pytest.mark.row(160, 161, 162, 163, 168)
@pytest.mark.parametrize(
    "parameters",
    [
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=+9",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits=9; server_max_window_bits=9",
        "window=9",
    ],
)
def test_offer_that_cannot_be_honoured_is_declined(peer: Peer, parameters: str) -> None:
    peer.open("/async", fields=offer(parameters)).echo("as it is " * 50)
    assert "sec-websocket-extensions" not in peer.fields
    peer.send_frame(TEXT, HELLO, rsv=4)
    peer.expect_failure(1002)


# --- 74: many contexts ---


@pytest.mark.fault(74)
@pytest.mark.parametrize("count", [60, 1000])
def test_connection_with_both_contexts_takes_at_most_64_kib(
    server: RunningServer, count: int
) -> None:
    text = "".join(random.Random(74).choices("abcdefgh", k=4500))
    compressed = deflate(text.encode(), 12)
    before = server.memory
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            peer = stack.enter_context(Peer(server.port)).open("/async", fields=DEFLATE)
            peer.send_frame(TEXT, compressed, rsv=4)
            assert peer.read_frame().rsv == 4
        assert server.memory - before <= count * 64 * 1024 + MEBIBYTE


# --- 75: disturbed while compressing ---

WHOLE = b"whole " * 100


def expect_unfinished_message(peer: Peer) -> None:
    """Read the beginning of a message, and why its rest does not come."""
    begun = peer.read_frame()
    assert (begun.opcode, begun.fin) == (TEXT, False)
    while (received := peer.read_frame()).opcode == CONTINUATION:
        assert not received.fin
    assert received.opcode == CLOSE
    assert received.payload == (1011).to_bytes(2, "big") + b"message not completed"
    peer.send_frame(CLOSE, received.payload[:2])
    peer.read_end()


@pytest.mark.fault(75)
@pytest.mark.row(111)
@pytest.mark.parametrize("fields", [{}, DEFLATE], ids=["plain", "compressed"])
def test_cancelled_sends_leave_whole_messages(peer: Peer, fields: dict[str, str | None]) -> None:
    peer.open("/disturbed/cancelled", fields=fields)
    reader, numbers = Reader(peer), []
    while (message := reader.read().decode()) != "end " * 100:
        first, content, last = message.split()
        assert first == last
        assert len(content) == 16_000
        numbers.append(int(first))
    assert numbers == sorted(set(numbers))
    assert 0 < len(numbers) < 300, "some were sent, some were cancelled"
    peer.close()


@pytest.mark.fault(75)
@pytest.mark.row(111, 151)
@pytest.mark.parametrize("fields", [{}, DEFLATE], ids=["plain", "compressed"])
def test_message_cancelled_between_its_fragments_fails_the_connection(
    peer: Peer, fields: dict[str, str | None]
) -> None:
    peer.open("/disturbed/cancelled-fragments", fields=fields)
    expect_unfinished_message(peer)


@pytest.mark.fault(75)
@pytest.mark.row(111)
@pytest.mark.parametrize("shape", ["async", "threaded"])
@pytest.mark.parametrize("fields", [{}, DEFLATE], ids=["plain", "compressed"])
@pytest.mark.parametrize("what", [name for name, (_, begun) in UNSENDABLE.items() if not begun])
def test_exception_before_anything_was_sent_does_no_harm(
    peer: Peer, what: str, fields: dict[str, str | None], shape: str
) -> None:
    peer.open(f"/disturbed/{shape}/{what}", fields=fields)
    reader = Reader(peer)
    assert [reader.read(), reader.read()] == [WHOLE, WHOLE]
    peer.close()


@pytest.mark.fault(75)
@pytest.mark.row(111, 151)
@pytest.mark.parametrize("shape", ["async", "threaded"])
@pytest.mark.parametrize("fields", [{}, DEFLATE], ids=["plain", "compressed"])
@pytest.mark.parametrize("what", [name for name, (_, begun) in UNSENDABLE.items() if begun])
def test_exception_between_fragments_fails_the_connection(
    peer: Peer, what: str, fields: dict[str, str | None], shape: str
) -> None:
    peer.open(f"/disturbed/{shape}/{what}", fields=fields)
    assert Reader(peer).read() == WHOLE
    expect_unfinished_message(peer)
