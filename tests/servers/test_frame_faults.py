"""Frames that break the rules, that are too many, too large, too small, or read too slowly."""

from __future__ import annotations

import contextlib
import random
import select
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from tests.extensions.inflating import deflate
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, Received, frame
from tests.running import Log, RunningServer, eventually
from tests.servers.pressure import (
    DEFLATE,
    MEBIBYTE,
    exchange,
    fragmented,
    many_descriptors,
    push,
    read_frames,
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


@pytest.fixture
def peer(server: RunningServer) -> Iterator[Peer]:
    with Peer(server.port) as peer:
        yield peer


def head(first: int, length: int, *, form: int = 0, masked: bool = True) -> bytes:
    """Make a frame's header alone; `form` 2 or 8 says in how many bytes the length stands."""
    mask_bit = 0x80 if masked else 0
    if form == 8 or length > 65535:
        size = bytes([mask_bit | 127]) + struct.pack("!Q", length)
    elif form == 2 or length > 125:
        size = bytes([mask_bit | 126]) + struct.pack("!H", length)
    else:
        size = bytes([mask_bit | length])
    return bytes([first]) + size + (b"\x12\x34\x56\x78" if masked else b"")


# --- 51: the framing rules ---

OPEN_TEXT = frame(TEXT, "begun", fin=False)
#: What a server sends by itself where all that the peer says waits unread for `ping_interval`.
KEEPALIVE = Received(PING, b"", fin=True, rsv=0)
BREACHES: dict[str, bytes] = {
    "unmasked": frame(TEXT, "hello", key=None),
    "unmasked ping": frame(PING, key=None),
    "unmasked close": frame(CLOSE, b"\x03\xe8", key=None),
    **{f"reserved bits {bits}": frame(TEXT, "hello", rsv=bits) for bits in range(1, 8)},
    "reserved bit of a continuation": OPEN_TEXT + frame(CONTINUATION, "more", rsv=4),
    **{f"reserved bits {bits} of a ping": frame(PING, rsv=bits) for bits in (1, 2, 4)},
    "reserved bit of a close": frame(CLOSE, b"\x03\xe8", rsv=4),
    **{f"opcode {code:#x}": frame(code, "hello") for code in (*range(3, 8), *range(11, 16))},
    "orphan continuation": frame(CONTINUATION, "hello"),
    "orphan fragment": frame(CONTINUATION, "hello", fin=False),
    "text inside a message": OPEN_TEXT + frame(TEXT, "hello"),
    "binary inside a message": OPEN_TEXT + frame(BINARY, b"hello"),
    "fragment inside a message": OPEN_TEXT + frame(TEXT, "hello", fin=False),
    "long ping": frame(PING, b"x" * 126),
    "long pong": frame(PONG, b"x" * 126),
    "long close": frame(CLOSE, b"\x03\xe8" + b"x" * 124),
    "very long ping": frame(PING, b"x" * 70000),
    "fragmented ping": frame(PING, fin=False),
    "fragmented pong": frame(PONG, fin=False),
    "fragmented close": frame(CLOSE, b"\x03\xe8", fin=False),
    "length 5 in two bytes": head(0x81, 5, form=2) + b"hello",
    "length 125 in two bytes": head(0x81, 125, form=2) + b"x" * 125,
    "length 5 in eight bytes": head(0x81, 5, form=8) + b"hello",
    "length 65535 in eight bytes": head(0x81, 65535, form=8) + b"x" * 65535,
    "length with its top bit": head(0x81, 1 << 63),
    "length of all ones": head(0x81, (1 << 64) - 1),
}


@pytest.mark.fault(51)
@pytest.mark.row(94, 97, 98, 100, 102, 107, 109, 110, 112, 128, 142, 143)
@shapes
@pytest.mark.parametrize("breach", BREACHES)
def test_breach_fails_the_connection_and_nothing_is_delivered(
    peer: Peer, shape: str, breach: str
) -> None:
    peer.open(f"/{shape}").send(BREACHES[breach] + frame(TEXT, "not to be answered"))
    assert "RFC 6455 §5" in peer.expect_failure(1002)


@pytest.mark.fault(51)
@pytest.mark.row(108, 156)
@shapes
def test_what_came_before_a_breach_is_answered(peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}").send(frame(TEXT, "good") * 40 + frame(PING, "p") + frame(3))
    frames = [peer.read_frame() for _ in range(41)]
    assert sorted(item.payload for item in frames) == [b"good"] * 40 + [b"p"]
    peer.expect_failure(1002)


@pytest.mark.fault(51)
@pytest.mark.row(121)
def test_bits_of_an_extension_that_was_not_agreed_on_are_refused(peer: Peer) -> None:
    peer.open("/async").send_frame(TEXT, deflate(b"hello"), rsv=4)
    peer.expect_failure(1002)


@pytest.mark.fault(51)
@pytest.mark.row(143)
def test_flood_behind_a_breach_is_thrown_away(server: RunningServer, peer: Peer) -> None:
    with watched(server):
        peer.open("/async").send(frame(3))
        assert peer.read_close()[0] == 1002
        for _ in range(20):
            peer.send(bytes(MEBIBYTE))
        peer.finish()
        peer.read_end()


@pytest.mark.fault(51)
@pytest.mark.row(154)
def test_flood_without_end_behind_a_breach_is_cut_off(server: RunningServer, peer: Peer) -> None:
    before = server.descriptors
    peer.open("/async").send(frame(3))
    with contextlib.suppress(ConnectionError):
        while True:  # close_timeout ends it
            peer.send(bytes(MEBIBYTE))
    eventually(lambda: server.descriptors <= before)


# --- 52, 53: what is only declared ---


PLAIN: dict[str, str | None] = {}
#: A compressor makes incompressible data longer, so compressed frames may be a bit larger.
COMPRESSED_LIMIT = LIMIT + LIMIT // 4 + 1024


@pytest.mark.fault(52)
@pytest.mark.row(98, 112, 126, 127, 129)
@pytest.mark.parametrize(
    ("data", "code", "fields"),
    [
        (head(0x82, 1 << 62), 1009, PLAIN),
        (head(0x81, 1 << 62), 1009, PLAIN),
        (head(0x02, 1 << 32), 1009, PLAIN),
        (head(0x82, LIMIT + 1), 1009, PLAIN),
        (OPEN_TEXT + head(0x80, LIMIT), 1009, PLAIN),
        (head(0x83, 1 << 40), 1002, PLAIN),
        (head(0x8B, 1 << 40), 1002, PLAIN),
        (head(0x89, 1 << 40), 1002, PLAIN),
        (head(0xC2, 1 << 40), 1002, PLAIN),
        (head(0x82, 1 << 40, masked=False), 1002, PLAIN),
        (head(0x80, 1 << 40), 1002, PLAIN),
        (head(0xC2, 1 << 62), 1009, DEFLATE),
        (head(0xC1, 1 << 32), 1009, DEFLATE),
        (head(0xC2, COMPRESSED_LIMIT + 1), 1009, DEFLATE),
        (head(0x82, COMPRESSED_LIMIT + 1), 1009, DEFLATE),
        (head(0xE2, 1 << 40), 1002, DEFLATE),
        (head(0xC9, 1 << 40), 1002, DEFLATE),
        (head(0xC3, 1 << 40), 1002, DEFLATE),
    ],
)
def test_header_alone_is_refused(
    server: RunningServer, peer: Peer, data: bytes, code: int, fields: dict[str, str | None]
) -> None:
    with watched(server, MEBIBYTE):
        peer.open("/async", fields=fields).send(data)
        reason = peer.expect_failure(code)
    assert code == 1002 or f"max_message_size={LIMIT}" in reason


@pytest.mark.fault(53)
@pytest.mark.row(129)
@pytest.mark.parametrize("first", [0x82, 0x81, 0x01, 0xC2], ids=hex)
def test_declared_message_takes_no_memory(server: RunningServer, first: int) -> None:
    with contextlib.ExitStack() as stack, watched(server, 100 * 200 * 1024):
        for _ in range(100):
            peer = stack.enter_context(Peer(server.port))
            peer.open("/async", fields=DEFLATE if first & 0x40 else None)
            peer.send(head(first, LIMIT) + b"x")
            peer.send(b"y")


# --- 54: the limit itself ---


@pytest.fixture(scope="module")
def largest() -> bytes:
    return random.Random(54).randbytes(LIMIT)


@pytest.mark.fault(54)
@pytest.mark.row(99, 106, 126)
@shapes
@pytest.mark.parametrize("size", [LIMIT, 100_000, 65_536, 65_535, 1000], ids=str)
def test_largest_message_is_echoed(peer: Peer, largest: bytes, shape: str, size: int) -> None:
    peer.open(f"/{shape}")
    exchanged = exchange(peer, b"".join(fragmented(largest, size, BINARY)), 1, LIMIT + 10)
    assert exchanged == b"\x82\x7f" + LIMIT.to_bytes(8, "big") + largest
    peer.close()


@pytest.mark.fault(54)
@pytest.mark.row(126, 127, 151)
@shapes
@pytest.mark.parametrize("size", [LIMIT, 100_000, 65_536, 1000], ids=str)
def test_one_byte_more_is_too_much(peer: Peer, largest: bytes, shape: str, size: int) -> None:
    peer.open(f"/{shape}").send(b"".join(fragmented(largest + b"x", size, BINARY)))
    assert f"max_message_size={LIMIT}" in peer.expect_failure(1009)


# --- 55: segments of one byte ---


@pytest.mark.fault(55)
@pytest.mark.row(104, 124, 125)
@shapes
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_bytes_may_come_one_at_a_time(peer: Peer, shape: str, compressed: bool) -> None:
    peer.open(f"/{shape}", fields=DEFLATE if compressed else None)
    session = frame(TEXT, "héllo") + frame(PING, "p") + frame(BINARY, b"x" * 300)
    session += b"".join(fragmented("€uro".encode() * 50, 7)) + frame(TEXT, b"")
    for byte in session:
        peer.send(bytes([byte]))
    frames = [peer.read_frame() for _ in range(5)]
    answered = [item.payload for item in frames if item.opcode != PONG and not item.rsv]
    assert len(frames) - len(answered) == (3 if compressed else 1)
    assert answered[0] == "héllo".encode()
    assert answered[-1] == b""
    if not compressed:
        assert answered[1:-1] == [b"x" * 300, "€uro".encode() * 50]
    peer.close()


@pytest.mark.fault(55)
@pytest.mark.row(124)
@pytest.mark.parametrize("size", [1, 200, 70_000])
def test_header_may_be_split_anywhere(peer: Peer, size: int) -> None:
    peer.open("/async")
    data = frame(BINARY, bytes(size))
    for split in range(1, 16):
        peer.send(data[:split])
        peer.send(data[split:])
        assert peer.read_message() == bytes(size)
    peer.close()


@pytest.mark.fault(55)
@pytest.mark.row(129)
@pytest.mark.parametrize("first", [0x81, 0x82], ids=["text", "binary"])
def test_long_frame_in_tiny_segments_takes_linear_time(
    server: RunningServer, peer: Peer, first: int
) -> None:
    peer.open("/async")
    times = []
    for size in (20_000, 80_000):
        before = server.cpu_time
        peer.send(head(first, size))
        for _ in range(size):
            peer.send(b"x")
        assert len(peer.read_message()) == size
        times.append(server.cpu_time - before)
    assert times[1] < 4 * 2.5 * times[0] + 0.5
    peer.close()


# --- 56: tiny messages ---


@pytest.mark.fault(56)
@pytest.mark.parametrize(
    ("shape", "count"), [("async", 500_000), ("threaded", 100_000), ("callbacks", 30_000)]
)
def test_flood_of_tiny_messages_is_echoed(
    server: RunningServer, peer: Peer, shape: str, count: int
) -> None:
    # Five millions show nothing that these do not: memory is flat from the first second on.
    peer.open(f"/{shape}")
    with watched(server, 4 * MEBIBYTE):
        received = exchange(peer, frame(TEXT, "x") * 1000, count // 1000, count * 3)
    assert received == b"\x81\x01x" * count
    peer.close()


@pytest.mark.fault(56)
@pytest.mark.row(129)
@pytest.mark.parametrize(
    ("path", "size"),
    [("/async", 0), ("/async", 1), ("/threaded", 50), ("/callbacks", 500), ("/deaf", 1)],
)
def test_flood_of_tiny_messages_that_is_never_read_stops(
    server: RunningServer, path: str, size: int
) -> None:
    # The slower a handler is, the larger its messages: the system's buffers have to be filled.
    message = frame(BINARY, bytes(size))
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(path)
        with watched(server):
            push(peer, (message * 1000 for _ in range(100_000)))


@pytest.mark.fault(56)
@pytest.mark.row(136)
def test_close_frame_behind_a_flood_is_heeded(peer: Peer) -> None:
    # The handler returns behind the first message; close_timeout is longer than our patience.
    peer.open("/returns").send(frame(TEXT, "x") * 5000 + frame(CLOSE, b"\x03\xe8"))
    assert peer.read_close() == (1000, "")
    peer.read_end()


# --- 57, 58: fragments ---


@pytest.mark.fault(57)
@pytest.mark.row(106, 129)
def test_two_byte_fragments_up_to_the_limit_take_linear_time(
    server: RunningServer, peer: Peer
) -> None:
    peer.open("/any-fragments")
    first, middle = frame(TEXT, "xx", fin=False), frame(CONTINUATION, "xx", fin=False)
    times = []
    with watched(server):
        for count in (LIMIT // 8, LIMIT // 2):
            before = server.cpu_time
            peer.send(first)
            exchange(peer, middle * 1022, (count - 2) // 1022, 0)
            exchange(peer, middle, (count - 2) % 1022, 0)
            peer.send_frame(CONTINUATION, "xx")
            assert peer.read_message() == "xx" * count
            times.append(server.cpu_time - before)
    assert times[1] < 4 * 2.5 * times[0] + 0.5
    peer.close()


@pytest.mark.fault(57, 58)
@pytest.mark.row(126)
@pytest.mark.parametrize("payload", ["", "x"], ids=["empty", "one byte"])
@shapes
def test_too_many_fragments_are_refused(
    server: RunningServer, peer: Peer, payload: str, shape: str
) -> None:
    peer.open(f"/{shape}").send_frame(TEXT, fin=False)
    with watched(server, 2 * MEBIBYTE):
        exchange(peer, frame(CONTINUATION, payload, fin=False) * 1000, 100, 0)
        assert "max_fragments=65536" in peer.expect_failure(1009)


@pytest.mark.fault(57)
def test_unfinished_messages_take_what_they_hold(server: RunningServer) -> None:
    size = LIMIT // 2
    with contextlib.ExitStack() as stack, watched(server, 30 * size + 16 * MEBIBYTE):
        data = b"".join(fragmented(bytes(size), 64, BINARY)[:-1])
        peers = [stack.enter_context(Peer(server.port)).open("/async") for _ in range(30)]
        for peer in peers:
            peer.send(data)
        for peer in peers:
            peer.send_frame(PING)
            assert peer.read_frame().opcode == PONG


@pytest.mark.fault(58)
def test_empty_fragments_without_limit_take_no_memory(server: RunningServer, peer: Peer) -> None:
    # 300,000 instead of a million: none of them leaves anything behind.
    peer.open("/any-fragments").send_frame(TEXT, "a", fin=False)
    with watched(server, 2 * MEBIBYTE):
        exchange(peer, frame(CONTINUATION, fin=False) * 1000, 300, 0)
        peer.send_frame(CONTINUATION, "b")
        assert peer.read_message() == "ab"
    peer.close()


# --- 59: text that is none ---

BAD_TEXT: dict[str, bytes] = {
    "lone continuation byte": b"\x80",
    "continuation behind a character": "é".encode() + b"\xa9",
    "overlong NUL": b"\xc0\x80",
    "overlong slash": b"\xc0\xaf",
    "overlong in three bytes": b"\xe0\x9f\xbf",
    "overlong in four bytes": b"\xf0\x8f\xbf\xbf",
    "high surrogate": b"\xed\xa0\x80",
    "low surrogate": b"\xed\xbf\xbf",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "two of two bytes cut off": b"\xc3",
    "two of three bytes": b"\xe2\x82",
    "three of four bytes": b"\xf0\x9f\x98",
    "cut short by another": b"\xe2\x82A",
}
bad_text = pytest.mark.parametrize("bad", BAD_TEXT.values(), ids=BAD_TEXT)


@pytest.mark.fault(59)
@pytest.mark.row(116, 117)
@bad_text
@shapes
@pytest.mark.parametrize("before", ["", "ok ", "ok " * 40_000], ids=["alone", "behind", "far"])
def test_bad_text_fails_the_connection(peer: Peer, shape: str, bad: bytes, before: str) -> None:
    peer.open(f"/{shape}").send_frame(TEXT, before.encode() + bad)
    assert "UTF-8" in peer.expect_failure(1007)


@pytest.mark.fault(59)
@pytest.mark.row(106, 116)
@bad_text
def test_bad_text_across_fragments_fails_the_connection(server: RunningServer, bad: bytes) -> None:
    payload = b"ok" + bad
    for split in range(1, len(payload) + 1):
        with Peer(server.port) as peer:
            peer.open("/async").send(frame(TEXT, payload[:split], fin=False))
            peer.send_frame(CONTINUATION, payload[split:])
            peer.expect_failure(1007)


@pytest.mark.fault(59)
@pytest.mark.row(118)
@pytest.mark.parametrize("bad", [b"\xc0", b"\xff", b"\xed\xa0", b"\xf4\x90", b"\x80"], ids=repr)
@pytest.mark.parametrize("fin", [False, True], ids=["of a fragment", "of a frame"])
def test_bad_text_fails_at_its_first_bad_byte(peer: Peer, bad: bytes, fin: bool) -> None:
    peer.open("/async")
    data = frame(TEXT, b"ok" + bad + b"ok" * 50_000, fin=fin)
    peer.send(data[: -2 * 50_000])
    peer.expect_failure(1007)


@pytest.mark.fault(59)
@pytest.mark.row(176, 183)
@bad_text
@pytest.mark.parametrize("size", [10_000, 1], ids=["whole", "in fragments"])
def test_bad_text_is_found_behind_compression(peer: Peer, bad: bytes, size: int) -> None:
    peer.open("/async", fields=DEFLATE)
    peer.send(b"".join(fragmented(deflate(b"ok " * 50 + bad, 12), size, rsv=4)))
    peer.expect_failure(1007)


@pytest.mark.fault(59)
@pytest.mark.row(132)
@bad_text
@shapes
def test_bad_text_in_a_reason_is_not_echoed(peer: Peer, shape: str, bad: bytes) -> None:
    peer.open(f"/{shape}").send_frame(CLOSE, b"\x03\xe8ok" + bad)
    peer.expect_failure(1007)


@pytest.mark.fault(59)
@pytest.mark.row(116, 117, 119)
@shapes
def test_good_text_passes_wherever_it_is_cut(peer: Peer, shape: str) -> None:
    text = "\ufeff\0é€\ud7ff\ue000\U0010ffff\ufffe"
    payload = text.encode()
    peer.open(f"/{shape}").echo(text)
    for split in range(len(payload) + 1):
        peer.send_frame(TEXT, payload[:split], fin=False)
        peer.send_frame(CONTINUATION, payload[split:])
        assert peer.read_message() == text
    peer.close()


# --- 60: noise ---


def good_session(noise: random.Random) -> bytes:
    """Make what a friendly peer may send, the closing handshake included."""
    words = noise.randbytes(noise.randrange(300)).hex()
    compressed = deflate(words.encode() * 3, 12)
    return (
        frame(TEXT, words)
        + frame(BINARY, noise.randbytes(noise.randrange(300)))
        + frame(TEXT, compressed, rsv=4)
        + frame(TEXT, words[:50], fin=False)
        + frame(PING, noise.randbytes(noise.randrange(126)))
        + frame(CONTINUATION, words[50:])
        + frame(CLOSE, b"\x03\xe8bye")
    )


def flipped(noise: random.Random) -> bytes:
    session = bytearray(good_session(noise))
    for _ in range(noise.randrange(1, 4)):
        session[noise.randrange(len(session))] ^= 1 << noise.randrange(8)
    return bytes(session)


def random_frame(noise: random.Random) -> bytes:
    """Make a frame that mostly is a good one; half of the data is made of zlib's output."""
    opcode = noise.choice([CONTINUATION, TEXT, BINARY, PING, PONG] * 6 + [CLOSE, *range(16)])
    payload = noise.randbytes(noise.choice([0, 1, 5, 125, 126, 1000, 70_000]))
    if noise.random() < 0.5:
        payload = deflate(payload.hex().encode(), 12)
    if noise.random() < 0.5:
        payload = payload[:125]
    return frame(
        opcode,
        payload,
        fin=noise.random() < 0.7,
        rsv=noise.choice([0, 0, 0, 4, noise.randrange(8)]),
        key=noise.choice([noise.randbytes(4)] * 30 + [None]),
    )


def cut(noise: random.Random) -> bytes:
    session = good_session(noise)
    return session[: noise.randrange(len(session))]


NOISES: dict[str, Callable[[random.Random], bytes]] = {
    "bytes": lambda noise: noise.randbytes(noise.randrange(1, 3000)),
    "frames": lambda noise: b"".join(random_frame(noise) for _ in range(20)),
    "flips": flipped,
    "cuts": cut,
    "sessions": lambda noise: good_session(noise) * 3,
}


def check_session(frames: list[Received], compressed: bool) -> None:
    """Check what a server sent, beyond what `Peer` checks of every single frame."""
    context = zlib.decompressobj(-12)
    message: bytes | None = None
    kind, compresses = TEXT, False
    for index, received in enumerate(frames):
        if received.opcode == CLOSE:
            assert index == len(frames) - 1, "nothing may follow a close frame"
        if received.opcode >= CLOSE:
            assert received.rsv == 0
            continue
        assert (received.opcode == CONTINUATION) == (message is not None)
        if message is None:
            message, kind, compresses = b"", received.opcode, received.rsv == 4
        assert received.rsv == (4 if compresses and received.opcode else 0)
        message += received.payload
        if received.fin:
            if compresses:
                assert compressed
                message = context.decompress(message + b"\x00\x00\xff\xff")
            if kind == TEXT:
                message.decode()
            message = None
    assert message is None


@pytest.mark.fault(60)
@pytest.mark.row(95, 101, 105, 122, 123, 128)
@shapes
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("kind", NOISES)
def test_noise_is_answered_with_legal_frames_and_an_end(
    server: RunningServer, kind: str, compressed: bool, shape: str
) -> None:
    noise = random.Random(f"{kind} {compressed} {shape}")
    for _ in range(40 if shape == "async" else 10):
        with Peer(server.port) as peer:
            peer.open(f"/{shape}", fields=DEFLATE if compressed else None)
            data = NOISES[kind](noise)
            step = noise.choice([len(data), 1000, 7])
            for start in range(0, len(data), step):
                peer.send(data[start : start + step])
            peer.finish()
            check_session(read_frames(peer), compressed)


# --- 61, 62, 63: pings and pongs ---


@pytest.mark.fault(61)
@pytest.mark.row(113, 114)
@pytest.mark.parametrize("path", ["/async", "/threaded", "/callbacks", "/deaf", "/observing"])
def test_flood_of_pings_is_answered_up_to_the_last(
    server: RunningServer, peer: Peer, path: str
) -> None:
    peer.open(path)
    last = b"099999"
    answers: list[bytes] = []

    def read_answers() -> None:
        while not answers or answers[-1] != last:
            received = peer.read_frame()
            if received != KEEPALIVE:
                assert received.opcode == PONG
                answers.append(received.payload)

    with watched(server):
        reader = threading.Thread(target=read_answers)
        reader.start()
        for start in range(0, 100_000, 1000):
            peer.send(b"".join(frame(PING, f"{n:06}") for n in range(start, start + 1000)))
        reader.join()
    assert answers == sorted(set(answers)), "in order, and none twice"
    if path != "/deaf":
        peer.echo("still there")
        peer.close()


@pytest.mark.fault(62)
@pytest.mark.row(114)
@pytest.mark.parametrize("path", ["/async", "/threaded", "/callbacks", "/deaf", "/observing"])
@pytest.mark.parametrize("size", [0, 125])
def test_flood_of_pings_whose_pongs_are_never_read_takes_no_memory(
    server: RunningServer, path: str, size: int
) -> None:
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(path)
        with watched(server, 4 * MEBIBYTE):
            exchange_without_reading(peer, frame(PING, bytes(size)) * 1000, 200)


def exchange_without_reading(peer: Peer, data: bytes, times: int) -> None:
    """Send it all: a server may go on reading, or stop, but keeps nothing."""
    for _ in range(times):
        if not select.select([], [peer.socket], [], 1.0)[1]:
            return
        peer.send(data)


@pytest.mark.fault(63)
@pytest.mark.row(115)
@pytest.mark.parametrize("path", ["/async", "/threaded", "/callbacks", "/observing"])
def test_flood_of_unasked_pongs_is_ignored(server: RunningServer, peer: Peer, path: str) -> None:
    peer.open(path)
    with watched(server, 2 * MEBIBYTE):
        exchange(peer, frame(PONG, b"unasked") * 1000, 200, 0)
        peer.echo("the very next answer")
    peer.close()


# --- 64, 65, 66: those who do not read ---


def numbered(count: int, size: int) -> list[bytes]:
    return [f"{number} ".encode().ljust(size, b".") for number in range(count)]


@pytest.mark.fault(64, 65)
@pytest.mark.row(111)
@shapes
def test_slow_reader_is_not_read_from_and_loses_nothing(server: RunningServer, shape: str) -> None:
    messages = numbered(400, 50_000)
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(f"/{shape}")
        data = b"".join(unmasked_frame(message) for message in messages)
        with watched(server):
            taken = push(peer, [data])
        behind, answers = data[taken:], b"".join(answer_to(message) for message in messages)
        assert exchange(peer, behind, 1, len(answers)) == answers
        peer.close()


def unmasked_frame(payload: bytes) -> bytes:
    """Make a binary frame with a masking key of zeros, in no time."""
    return head(0x82, len(payload))[:-4] + bytes(4) + payload


def answer_to(payload: bytes) -> bytes:
    return head(0x82, len(payload), masked=False) + payload


@pytest.fixture
def threads(server: RunningServer, shape: str) -> Iterator[None]:
    """Check that a test leaves no thread of its handler behind; callbacks have a pool."""
    before = server.threads
    yield
    if shape == "threaded":
        eventually(lambda: server.threads <= before)


@pytest.mark.fault(65, 66)
@pytest.mark.row(154)
@pytest.mark.usefixtures("threads")
@shapes
def test_reader_that_does_not_wake_up_is_dropped(
    server: RunningServer, log: Log, shape: str
) -> None:
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open(f"/{shape}/impatient")
        with contextlib.suppress(ConnectionError):
            push(peer, (unmasked_frame(bytes(50_000)) for _ in range(1000)))
        assert "no sign of life within ping_timeout=0.5 s" in log.line_of(peer.port)


@pytest.mark.fault(66)
@pytest.mark.usefixtures("threads")
@shapes
def test_stuck_send_does_not_keep_a_blocked_reader(
    server: RunningServer, log: Log, shape: str
) -> None:
    with Peer(server.port, receive_buffer=4096) as peer:
        begin = time.monotonic()
        peer.open(f"/pours/{shape}")
        assert "no sign of life within ping_timeout=0.5 s" in log.line_of(peer.port)
        assert time.monotonic() - begin > 0.5, "not before ping_interval"


@pytest.mark.fault(65, 66)
def test_reader_that_is_slow_but_reads_is_kept(server: RunningServer) -> None:
    with Peer(server.port, receive_buffer=4096) as peer:
        peer.open("/pours/async")
        begin = time.monotonic()
        while time.monotonic() - begin < 3.0:  # thrice what a blocked one is given
            assert peer.socket.recv(30_000)
            time.sleep(0.02)


# --- 67: a broadcast ---


def is_open(peer: Peer) -> bool:
    poll = select.poll()  # `select.select` knows 1,024 descriptors
    poll.register(peer.socket, select.POLLIN)
    return not poll.poll(0)


@pytest.mark.fault(67)
def test_broadcast_reaches_all_but_the_blocked(server: RunningServer) -> None:
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Peer(server.port)).open("/member") for _ in range(990)]
        before = server.descriptors
        for _ in range(10):
            blocked = stack.enter_context(Peer(server.port, receive_buffer=4096))
            blocked.open("/member/stuffed")
        eventually(lambda: server.descriptors == before + 10)
        caller = stack.enter_context(Peer(server.port)).open("/broadcast")
        with watched(server):
            for number in range(3):
                begin = time.monotonic()
                caller.send_frame(TEXT, f"news {number}")
                for reader in readers:
                    assert reader.read_message() == f"news {number}"
                if number == 0:
                    assert time.monotonic() - begin < 5.0
                assert caller.read_message() == "990 members"
        assert all(map(is_open, readers))
        eventually(lambda: server.descriptors == before + 1)
