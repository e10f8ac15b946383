"""Bytes to frames and back, in C and in Python.

What is expected is computed here, bit by bit, and shares nothing with the package.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from tests.core.implementations import ACCELERATED, IMPLEMENTATIONS
from tests.peer import BINARY, CLOSE, PING, PONG, TEXT, frame
from ws_middleware.core import codec, pure
from ws_middleware.core.codec import Header
from ws_middleware.core.frames import Frame
from ws_middleware.errors import ProtocolError

KEY = b"\x12\x34\x56\x78"
#: What a server and a client expect of the second byte.
FROM_CLIENT, FROM_SERVER = 0x80, 0
#: The first bytes that RFC 6455 §5.2 allows without extensions.
LEGAL_FIRST = {0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A}
LEGAL = codec.legal_first_bytes(frozenset())
#: Where the form of a length changes, and around it.
SIZES = [0, 1, 2, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537]
UNLIMITED = 1 << 62


@pytest.fixture(params=IMPLEMENTATIONS, autouse=True)
def _implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `codec` stand for one implementation after the other."""
    for name in ACCELERATED:
        monkeypatch.setattr(codec, name, getattr(request.param, name))


def _payload(size: int) -> bytes:
    return bytes(i * 7 & 0xFF for i in range(size))


def _head(first: int, second: int, *rest: bytes) -> bytes:
    return bytes((first, second)) + b"".join(rest)


# --- masking ---


def _masked(data: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


@pytest.mark.row(104, 125)
@pytest.mark.parametrize(
    "key", [KEY, bytes(4), b"\xff" * 4, b"\x00\x00\x00\x01", b"\x80\x00\x00\x00"]
)
@pytest.mark.parametrize("size", [*range(21), 125, 126, 127, *range(1534, 1541), 65535, 65536])
def test_octet_i_is_masked_with_octet_i_modulo_4(size: int, key: bytes) -> None:
    data = _payload(size)
    assert codec.mask(data, key) == _masked(data, key)


@pytest.mark.row(104)
@pytest.mark.parametrize("size", [0, 1, 5, 64, 1537, 4096])
def test_masking_twice_changes_nothing(size: int) -> None:
    data = _payload(size)
    assert codec.mask(codec.mask(data, KEY), KEY) == data


@pytest.mark.row(104)
@pytest.mark.parametrize("size", [0, 1, 5, 64, 1537, 4096])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_masking_in_place_touches_nothing_else(size: int, start: int) -> None:
    data = bytearray(_payload(size + 8))
    codec.mask_in_place(memoryview(data)[start : start + size], KEY)
    before, masked, behind = data[:start], data[start : start + size], data[start + size :]
    payload = _payload(size + 8)
    assert (before, behind) == (payload[:start], payload[start + size :])
    assert masked == _masked(payload[start : start + size], KEY)


def test_masking_keeps_leading_and_trailing_zeros() -> None:
    assert codec.mask(KEY * 3, KEY) == bytes(12)
    assert codec.mask(bytes(12), KEY) == KEY * 3


@pytest.mark.row(104)
@pytest.mark.parametrize("cut", [*range(10), 1536, 1537, 2000])
def test_rotated_key_masks_the_rest(cut: int) -> None:
    data = _payload(3000)
    rest = codec.mask(data[cut:], codec.rotate_key(KEY, cut))
    assert codec.mask(data[:cut], KEY) + rest == _masked(data, KEY)


# --- first bytes ---


@pytest.mark.row(97, 98, 107)
def test_exactly_the_first_bytes_of_the_rfc_are_legal() -> None:
    assert len(LEGAL) == 256
    assert {first for first in range(256) if LEGAL[first]} == LEGAL_FIRST


@pytest.mark.row(97, 107, 121)
@pytest.mark.parametrize(
    ("marks", "further"),
    [
        ({0x41, 0x42}, {0x41, 0x42, 0xC1, 0xC2}),
        ({0x40}, {0x40, 0xC0}),
        ({0x3}, {0x03, 0x83}),
        ({0x73}, {0x73, 0xF3}),
        ({0xB}, {0x8B}),
        ({0x48}, {0xC8}),
    ],
)
def test_claimed_bits_and_opcodes_become_legal(marks: set[int], further: set[int]) -> None:
    table = codec.legal_first_bytes(frozenset(marks))
    assert {first for first in range(256) if table[first]} == LEGAL_FIRST | further


@pytest.mark.row(97, 98, 107)
@pytest.mark.parametrize("first", sorted(set(range(256)) - LEGAL_FIRST))
@pytest.mark.parametrize("rest", [b"", b"\x80", b"\xff" * 9], ids=["alone", "empty", "huge"])
def test_illegal_first_byte_fails_before_anything_else_is_believed(first: int, rest: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_header(bytes((first,)) + rest, 0, LEGAL, FROM_CLIENT)
    assert caught.value.code == 1002


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (0x08, "fragmented control frame"),
        (0x0B, "fragmented control frame"),
        (0x78, "fragmented control frame"),
        (0xC1, "reserved bit"),
        (0x10, "reserved bit"),
        (0xA9, "reserved bit"),
        (0x83, "unknown opcode 0x3"),
        (0x07, "unknown opcode 0x7"),
        (0x8F, "unknown opcode 0xf"),
        (0xF3, "unknown opcode 0x3"),
    ],
)
def test_error_says_what_is_wrong_with_the_first_byte(first: int, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        codec.decode_header(bytes((first,)), 0, LEGAL, FROM_SERVER)


# --- headers ---


@pytest.mark.row(99)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("first", [0x01, 0x82])
def test_header_of_every_form(first: int, size: int) -> None:
    data = frame(first & 15, fin=first > 127, length=size, key=None)
    head = len(data)
    assert codec.decode_header(data, 0, LEGAL, FROM_SERVER) == Header(first, b"", size, head)
    data = frame(first & 15, fin=first > 127, length=size, key=KEY)
    assert codec.decode_header(data, 0, LEGAL, FROM_CLIENT) == Header(first, KEY, size, head + 4)


@pytest.mark.row(99, 100, 129)
@pytest.mark.parametrize("size", [1 << 32, (1 << 62) + 5, (1 << 63) - 1])
def test_huge_length_is_read_and_nothing_is_kept_for_it(size: int) -> None:
    data = frame(BINARY, length=size, key=KEY)
    tracemalloc.start()
    try:
        assert codec.decode_header(data, 0, LEGAL, FROM_CLIENT) == Header(0x82, KEY, size, 14)
        assert codec.decode_frame(data, LEGAL, FROM_CLIENT) is None
        frames = codec.decode_frames(data, 0, LEGAL, FROM_CLIENT, UNLIMITED * 4, 99)
        assert frames == ([], 0)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.row(100)
@pytest.mark.parametrize("length", [1 << 63, (1 << 63) + 5, (1 << 64) - 1])
@pytest.mark.parametrize("key", [b"", KEY])
def test_length_with_its_top_bit_set_fails(length: int, key: bytes) -> None:
    masked = FROM_CLIENT if key else FROM_SERVER
    with pytest.raises(ProtocolError, match="top bit") as caught:
        codec.decode_header(_head(0x82, masked | 127, struct.pack("!Q", length)), 0, LEGAL, masked)
    assert caught.value.code == 1002


@pytest.mark.row(102)
@pytest.mark.parametrize(
    ("form", "length"),
    [
        *((126, struct.pack("!H", length)) for length in (0, 1, 124, 125)),
        *((127, struct.pack("!Q", length)) for length in (0, 125, 126, 65535)),
    ],
)
@pytest.mark.parametrize("masked", [FROM_CLIENT, FROM_SERVER])
def test_length_that_is_not_in_its_shortest_form_fails(
    form: int, length: bytes, masked: int
) -> None:
    # The masking key has not come yet: the length alone is enough.
    with pytest.raises(ProtocolError, match="shortest form") as caught:
        codec.decode_header(_head(0x82, masked | form, length), 0, LEGAL, masked)
    assert caught.value.code == 1002


@pytest.mark.row(94, 96)
@pytest.mark.parametrize("first", sorted(LEGAL_FIRST))
@pytest.mark.parametrize(
    ("expected", "second", "why"),
    [(FROM_CLIENT, 0x00, "unmasked frame"), (FROM_SERVER, 0x80, "masked frame")],
)
def test_mask_where_none_may_be_and_none_where_one_must_be(
    first: int, expected: int, second: int, why: str
) -> None:
    with pytest.raises(ProtocolError, match=why) as caught:
        codec.decode_header(_head(first, second), 0, LEGAL, expected)
    assert caught.value.code == 1002


@pytest.mark.row(112)
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("form", [126, 127])
def test_long_control_frame_fails_at_its_second_byte(opcode: int, form: int) -> None:
    with pytest.raises(ProtocolError, match="longer than 125 bytes") as caught:
        codec.decode_header(_head(0x80 | opcode, 0x80 | form), 0, LEGAL, FROM_CLIENT)
    assert caught.value.code == 1002


@pytest.mark.row(112)
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frame_of_125_bytes_is_fine(opcode: int) -> None:
    header = codec.decode_header(_head(0x80 | opcode, 125), 0, LEGAL, FROM_SERVER)
    assert header == Header(0x80 | opcode, b"", 125, 2)


@pytest.mark.row(124)
@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
@pytest.mark.parametrize("key", [None, KEY])
def test_header_is_incomplete_until_its_last_byte(size: int, key: bytes | None) -> None:
    data = frame(BINARY, length=size, key=key)
    masked = FROM_CLIENT if key else FROM_SERVER
    for count in range(len(data)):
        assert codec.decode_header(data[:count], 0, LEGAL, masked) is None
    assert codec.decode_header(data, 0, LEGAL, masked) is not None


@pytest.mark.parametrize("before", [0, 1, 3, 100])
def test_header_is_read_at_its_position(before: int) -> None:
    data = bytes(before) + frame(TEXT, length=300, key=KEY) + b"behind"
    expected = Header(0x81, KEY, 300, 8)
    assert codec.decode_header(data, before, LEGAL, FROM_CLIENT) == expected


# --- whole frames ---


@pytest.mark.row(99, 101, 104)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [None, KEY])
def test_frame_is_written_in_its_shortest_form(size: int, key: bytes | None) -> None:
    payload = _payload(size)
    expected = frame(BINARY, payload, key=key)
    assert codec.encode_frame(0x82, payload, key or b"") == expected


@pytest.mark.row(99, 104, 125)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [None, KEY])
def test_frame_is_read_as_it_was_written(size: int, key: bytes | None) -> None:
    payload = _payload(size)
    data = frame(TEXT, payload, fin=False, key=key)
    masked = FROM_CLIENT if key else FROM_SERVER
    read = codec.decode_frame(data + b"behind", LEGAL, masked)
    assert read == (Frame(TEXT, payload, fin=False), len(data))


@pytest.mark.row(124)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300])
@pytest.mark.parametrize("key", [None, KEY])
def test_frame_is_incomplete_until_its_last_byte(size: int, key: bytes | None) -> None:
    data = frame(BINARY, _payload(size), key=key)
    masked = FROM_CLIENT if key else FROM_SERVER
    for count in range(len(data)):
        assert codec.decode_frame(data[:count], LEGAL, masked) is None
        assert codec.decode_frames(data[:count], 0, LEGAL, masked, UNLIMITED, 99) == ([], 0)
    assert codec.decode_frame(data, LEGAL, masked) is not None


def test_reserved_bits_that_were_claimed_are_read() -> None:
    legal = codec.legal_first_bytes(frozenset({0x41, 0x23}))
    read = codec.decode_frame(b"\xc1\x00", legal, FROM_SERVER)
    assert read == (Frame(TEXT, rsv1=True), 2)
    read = codec.decode_frame(b"\x23\x00", legal, FROM_SERVER)
    assert read == (Frame(0x3, fin=False, rsv2=True), 2)


def test_illegal_frame_fails() -> None:
    with pytest.raises(ProtocolError):
        codec.decode_frame(b"\x83\x00", LEGAL, FROM_SERVER)


# --- batches ---

#: A session of many forms: first byte and payload of each frame.
SESSION: list[tuple[int, bytes]] = [
    (0x81, "schön".encode()),
    (0x82, b"\xff\x00"),
    (0x89, b"ping"),
    (0x01, b"be"),
    (0x8A, b""),
    (0x00, b""),
    (0x80, b"gin"),
    (0x82, _payload(126)),
    (0x82, _payload(65535)),
    (0x82, _payload(65536)),
    (0x81, b""),
    (0x88, b"\x03\xe8"),
]


def _session(key: bytes | None) -> bytes:
    return b"".join(
        frame(first & 15, payload, fin=first > 127, key=key) for first, payload in SESSION
    )


@pytest.mark.row(124, 125)
@pytest.mark.parametrize("key", [None, KEY])
def test_batch_gives_every_frame(key: bytes | None) -> None:
    data = _session(key)
    masked = FROM_CLIENT if key else FROM_SERVER
    frames, position = codec.decode_frames(data, 0, LEGAL, masked, UNLIMITED, 99)
    assert frames == SESSION
    assert position == len(data)


@pytest.mark.row(123)
@pytest.mark.parametrize("key", [None, KEY])
def test_messages_of_one_frame_are_given_at_once(key: bytes | None) -> None:
    masked = FROM_CLIENT if key else FROM_SERVER
    texts = ["", "a", "schön", "\N{EURO SIGN}" * 40, "\N{GRINNING FACE}", "x" * 126]
    sent: list[str | bytes] = [*texts, b"", b"\xff\x00", *map(_payload, (126, 65535, 65536)), "é"]
    data = b"".join(frame(TEXT if isinstance(one, str) else BINARY, one, key=key) for one in sent)
    found = codec.decode_messages(b"ab" + data, 2, masked, UNLIMITED, 99)
    assert found == (sent, 2 + len(data))


@pytest.mark.row(116)
@pytest.mark.parametrize(
    "other",
    [
        *(
            frame(TEXT, text)
            for text in (b"\xff", b"\xed\xa0\x80", b"cut \xc3", b"a\xf4\x90\x80\x80")
        ),
        frame(TEXT, "x", fin=False),
        frame(BINARY, "x", fin=False),
        frame(0, "x"),
        frame(PING, "x"),
        frame(CLOSE, b"\x03\xe8"),
        frame(TEXT, "x", rsv=4),
        frame(BINARY, "longer than the limit"),
        frame(TEXT, "x", key=None),
        frame(TEXT, "incomplete")[:-1],
        frame(TEXT, "incomplete")[:5],
        b"\x81",
    ],
)
def test_messages_end_before_anything_else(other: bytes) -> None:
    good = frame(TEXT, "good")
    found = codec.decode_messages(good + other + good, 0, FROM_CLIENT, 20, 99)
    assert found == (["good"], len(good))
    assert codec.decode_messages(other, 0, FROM_CLIENT, 20, 99) == ([], 0)


def test_no_more_messages_are_given_than_asked_for() -> None:
    one = frame(BINARY, b"x")
    for count in (0, 1, 7, 10):
        found = codec.decode_messages(one * 10, 0, FROM_CLIENT, 1, count)
        assert found == ([b"x"] * count, count * len(one))
    assert codec.decode_messages(one * 3, len(one), FROM_CLIENT, 1, 99) == (
        [b"x"] * 2,
        3 * len(one),
    )
    assert codec.decode_messages(one, len(one), FROM_CLIENT, 1, 99) == ([], len(one))
    assert codec.decode_messages(one, 100, FROM_CLIENT, 1, 99) == ([], 100)


def test_batch_agrees_with_single_frames() -> None:
    data, start = _session(KEY), 0
    batch, _ = codec.decode_frames(data, 0, LEGAL, FROM_CLIENT, UNLIMITED, 99)
    for decoded in batch:
        read = codec.decode_frame(data[start:], LEGAL, FROM_CLIENT)
        assert read is not None
        one, size = read
        start += size
        assert decoded == (one.first_byte, one.payload)


@pytest.mark.row(124)
def test_batch_stops_before_a_frame_that_is_incomplete() -> None:
    whole, cut = frame(TEXT, "whole"), frame(TEXT, _payload(200))
    for count in range(len(cut)):
        batch = codec.decode_frames(whole + cut[:count], 0, LEGAL, FROM_CLIENT, UNLIMITED, 99)
        assert batch == ([(0x81, b"whole")], len(whole))


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, "x", rsv=4),
        frame(0x3, "x"),
        frame(PING, "x", fin=False),
        frame(TEXT, "x", key=None),
        _head(0x82, 0x80 | 127, struct.pack("!Q", 65535), KEY, bytes(65535)),
        _head(0x82, 0x80 | 127, struct.pack("!Q", 1 << 63), KEY, bytes(125)),
        _head(0x82, 0x80 | 127, struct.pack("!Q", (1 << 64) - 1), KEY, bytes(125)),
        _head(0x82, 0x80 | 126, b"\x00\x7d", KEY, bytes(125)),
        _head(0x82, 0x80 | 127, struct.pack("!Q", 125), KEY, bytes(125)),
        _head(0x89, 0x80 | 126, struct.pack("!H", 126), KEY, bytes(126)),
    ],
)
def test_batch_stops_before_a_frame_that_is_illegal(bad: bytes) -> None:
    good = frame(TEXT, "good")
    data = good + bad + good
    batch = codec.decode_frames(data, 0, LEGAL, FROM_CLIENT, UNLIMITED, 99)
    assert batch == ([(0x81, b"good")], len(good))
    with pytest.raises(ProtocolError):
        codec.decode_header(data, len(good), LEGAL, FROM_CLIENT)


@pytest.mark.row(126)
@pytest.mark.parametrize("limit", [0, 1, 125, 126, 1000])
def test_batch_takes_data_up_to_the_limit_and_not_a_byte_more(limit: int) -> None:
    fits, exceeds = frame(BINARY, bytes(limit)), frame(BINARY, bytes(limit + 1))
    batch = codec.decode_frames(fits + exceeds, 0, LEGAL, FROM_CLIENT, limit, 99)
    assert batch == ([(0x82, bytes(limit))], len(fits))
    messages = codec.decode_messages(fits + exceeds, 0, FROM_CLIENT, limit, 99)
    assert messages == ([bytes(limit)], len(fits))


def test_batch_takes_control_frames_beyond_the_limit_of_data() -> None:
    data = frame(PING, bytes(125))
    batch = codec.decode_frames(data, 0, LEGAL, FROM_CLIENT, 1, 99)
    assert batch == ([(0x89, bytes(125))], len(data))


def test_batch_starts_at_its_position_and_ends_at_its_size() -> None:
    one = frame(BINARY, b"x")
    data, start, seen = one * 100, 0, 0
    while start < len(data):
        frames, position = codec.decode_frames(data, start, LEGAL, FROM_CLIENT, 9, 16)
        assert frames == [(0x82, b"x")] * len(frames)
        assert position - start == len(frames) * len(one)
        assert 0 < len(frames) <= 16
        seen, start = seen + len(frames), position
    assert seen == 100
    assert codec.decode_frames(data, start, LEGAL, FROM_CLIENT, 9, 16) == ([], len(data))


@pytest.mark.row(128)
def test_no_bytes_make_the_codec_stumble() -> None:
    """Whatever comes is a frame, not yet one, or a protocol error: in all functions alike."""
    bits = random.Random(6455)
    firsts = [*LEGAL_FIRST, 0xC1, 0x83]
    seconds = [0, 1, 2, 125, 126, 127]
    for first, second, masked in itertools.product(firsts, seconds, (FROM_CLIENT, FROM_SERVER)):
        for size in range(16):
            data = _head(first, masked | second, bits.randbytes(size))
            frames, stop = codec.decode_frames(data, 0, LEGAL, masked, UNLIMITED, 99)
            assert 0 <= stop <= len(data)
            try:
                one = codec.decode_frame(data, LEGAL, masked)
            except ProtocolError as error:
                outcome = error.code
            else:
                outcome = 0
                if one is not None:
                    assert frames[0] == (one[0].first_byte, one[0].payload)
            assert not frames or not outcome
            assert outcome in (0, 1002)


# --- arguments ---


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 5, 2000])
def test_octets_of_any_kind_are_masked_and_written(
    kind: Callable[[bytes], bytes], size: int
) -> None:
    payload = _payload(size)
    results = [
        codec.mask(kind(payload), KEY),
        codec.encode_frame(0x82, kind(payload)),
        codec.encode_frame(first=0x82, payload=kind(payload), key=KEY),
    ]
    expected = [_masked(payload, KEY), frame(BINARY, payload, key=None), frame(BINARY, payload)]
    assert results == expected
    assert {type(result) for result in results} == {bytes}


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("text", ["", "x" * 125, "x" * 126, "schön", "\N{GRINNING FACE}" * 50])
def test_text_is_written_as_utf_8(text: str, key: bytes | None) -> None:
    assert codec.encode_frame(0x81, text, key or b"") == frame(TEXT, text, key=key)


def test_surrogates_are_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        codec.encode_frame(0x81, "\ud800")


@pytest.mark.parametrize("start", range(9))
def test_misaligned_octets_are_masked(start: int) -> None:
    data = _payload(300)
    assert codec.mask(memoryview(data)[start:], KEY) == _masked(data[start:], KEY)


@pytest.mark.parametrize("key", [b"123", b"12345"])
def test_masking_key_of_another_size_is_refused(key: bytes) -> None:
    for wrong in (lambda: codec.mask(b"data", key), lambda: codec.encode_frame(1, b"data", key)):
        with pytest.raises(ValueError, match="a masking key has four bytes"):
            wrong()


@pytest.mark.parametrize("first", [-1, 256])
def test_first_byte_that_is_none_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match="range"):
        codec.encode_frame(first, b"")


def test_what_is_no_bytes_is_refused() -> None:
    wrong: Any = "text"
    for call in (
        lambda: codec.mask(wrong, KEY),
        lambda: codec.mask(b"data", wrong),
        lambda: codec.mask_in_place(bytearray(b"data"), wrong),
        lambda: codec.decode_messages(wrong, 0, 0, 9, 9),
        lambda: codec.decode_frames(wrong, 0, LEGAL, 0, 9, 9),
        lambda: codec.encode_frame(wrong, b""),
        lambda: codec.encode_frame(0x81, b"", wrong),
        lambda: codec.encode_frame(0x81, cast(Any, None)),
    ):
        with pytest.raises(TypeError):
            call()


# --- which one ---


def _load(monkeypatch: pytest.MonkeyPatch, pure: str, compiled: object) -> ModuleType:
    """Execute the module anew, as if nobody had before."""
    monkeypatch.setenv("WS_MIDDLEWARE_PURE", pure)
    monkeypatch.setitem(sys.modules, "ws_middleware.core._speedups", cast(ModuleType, compiled))
    spec = importlib.util.find_spec(codec.__name__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMPILED = SimpleNamespace(
    decode_messages=0, decode_frames=1, encode_frame=2, mask=3, mask_in_place=4, Intake=5, Outlet=6
)


@pytest.mark.parametrize("setting", ["", "0"])
def test_c_is_used_where_it_was_built(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    module = _load(monkeypatch, setting, COMPILED)
    assert (module.SPEEDUPS, module.decode_frames, module.mask) == (True, 1, 3)


@pytest.mark.parametrize(("setting", "compiled"), [("1", COMPILED), ("0", None)])
def test_python_is_used_where_it_is_asked_for_or_all_there_is(
    monkeypatch: pytest.MonkeyPatch, setting: str, compiled: object
) -> None:
    module = _load(monkeypatch, setting, compiled)
    assert (module.SPEEDUPS, module.decode_frames) == (False, pure.decode_frames)
