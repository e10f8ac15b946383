"""The compressor and the decompressor that both deflate extensions share."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from tests.core.wire import chopped
from tests.extensions.inflating import TAIL, StrictInflater, deflate, far_repeats
from ws_middleware.core.headers import Parameter
from ws_middleware.core.messages import SharedMessage
from ws_middleware.errors import ProtocolError
from ws_middleware.extensions.contexts import Contexts
from ws_middleware.extensions.deflate import (
    Deflater,
    Inflater,
    check_compressor,
    collect,
    parse_window_bits,
)

MIB = 2**20
TALK = b"Hello, " * 3
HELLO = bytes.fromhex("f248cdc9c90700")  # RFC 7692 §7.2.3.1


def make_deflater(
    bits: int = 15,
    level: int = 6,
    memory: int = 8,
    takeover: bool = True,
    library: str = "zlib",
    contexts: Contexts | None = None,
) -> Deflater:
    return Deflater(bits, level, memory, takeover, contexts or Contexts(1), library)


#: Both libraries, with all of their levels.
LEVELS = [*(("zlib", level) for level in range(10)), *(("isal", level) for level in range(4))]


def make_inflater(bits: int = 15, takeover: bool = True) -> Inflater:
    return Inflater(bits, takeover)


def inflate(data: bytes, inflater: Inflater | None = None, budget: int | None = MIB) -> bytes:
    return (inflater or make_inflater()).inflate(data, True, budget)


# --- parameters ---


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.row(168)
def test_window_bits_are_a_number_from_8_to_15(bits: int) -> None:
    assert parse_window_bits(str(bits)) == bits


@pytest.mark.parametrize(
    "value",
    [None, "", "0", "7", "16", "08", "008", "+9", "-9", "9.0", "0x9", " 9", "9 ", "1e1", "٩", "²"],
)
@pytest.mark.row(168)
def test_everything_else_is_no_window(value: str | None) -> None:
    with pytest.raises(ValueError, match="from 8 to 15"):
        parse_window_bits(value)


@pytest.mark.row(162)
def test_parameters_are_there_once() -> None:
    assert collect([("a", None), ("b", "1")]) == {"a": None, "b": "1"}
    twice: list[Parameter] = [("a", None), ("b", "1"), ("a", "2")]
    with pytest.raises(ValueError, match="twice"):
        collect(twice)


# --- compressing ---


@pytest.mark.parametrize(("library", "level"), LEVELS)
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.row(177)
def test_flush_is_there_without_its_tail_and_any_decoder_reads_it(
    library: str, level: int, takeover: bool
) -> None:
    deflater = make_deflater(level=level, takeover=takeover, library=library)
    decoder = zlib.decompressobj(-15)
    for payload in (b"Hello", b"", b"Hello" * 1000, bytes(range(256))):
        compressed = deflater.deflate(payload, True)
        assert not compressed.endswith(TAIL)
        assert decoder.decompress(compressed + TAIL) == payload
        assert not decoder.eof


@pytest.mark.row(181)
def test_nothing_is_compressed_to_one_byte() -> None:
    deflater = make_deflater()
    assert [deflater.deflate(b"", True) for _ in range(3)] == [b"\x00"] * 3


@pytest.mark.row(165, 167)
def test_without_takeover_each_payload_stands_alone() -> None:
    alone = make_deflater(takeover=False)
    first, second = (alone.deflate(b"Hello" * 10, True) for _ in range(2))
    assert first == second == make_deflater().deflate(b"Hello" * 10, True)


def test_with_takeover_the_window_is_used_again() -> None:
    deflater = make_deflater()
    first, second = (deflater.deflate(b"Hello, world. " * 3, True) for _ in range(2))
    assert len(second) < len(first)
    inflater = make_inflater()
    assert inflate(first, inflater) == inflate(second, inflater) == b"Hello, world. " * 3


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("pieces", [[b"He", b"llo"], [b"", b"Hello"], [b"Hello", b""], [b"", b""]])
@pytest.mark.row(176, 178)
def test_pieces_of_a_unit_are_flushed_and_make_one_stream(
    takeover: bool, pieces: list[bytes]
) -> None:
    deflater, inflater = make_deflater(takeover=takeover), make_inflater(takeover=takeover)
    for _ in range(3):
        output = b""
        for index, piece in enumerate(pieces):
            final = index == len(pieces) - 1
            output += inflater.inflate(deflater.deflate(piece, final), final, None)
        assert output == b"".join(pieces)


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize(
    ("library", "level"), [("zlib", 1), ("zlib", 6), ("zlib", 9), *LEVELS[-4:]]
)
@pytest.mark.parametrize("memory", [1, 9])
@pytest.mark.row(170, 185)
def test_window_is_never_larger_than_agreed(
    bits: int, library: str, level: int, memory: int
) -> None:
    deflater = make_deflater(bits, level, memory, library=library)
    strict = StrictInflater(bits)
    for piece in chopped(far_repeats(bits), 1000):
        assert strict.inflate(deflater.deflate(piece, True)) == piece


@pytest.mark.parametrize("bits", range(9, 15))
def test_strict_decoder_finds_windows_that_are_too_large(bits: int) -> None:
    compressed = deflate(far_repeats(bits), bits=15)
    with pytest.raises(zlib.error, match="too far back"):
        StrictInflater(bits).inflate(compressed)


def test_larger_windows_find_more() -> None:
    payload = b"".join(far_repeats(bits) for bits in (9, 11, 13))
    sizes = [len(make_deflater(bits).deflate(payload, True)) for bits in (8, 10, 12, 15)]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.parametrize("final", [True, False])
def test_compressor_that_rested_refers_to_nothing_before(final: bool) -> None:
    deflater, inflater = make_deflater(), make_inflater()
    before = deflater.deflate(TALK, final)
    deflater.rest()
    behind = deflater.deflate(TALK, True)
    assert len(behind) >= len(before[:-4])
    if final:
        assert inflate(behind) == TALK, "for a peer that has seen nothing before"
        assert inflate(before, inflater) == inflate(behind, inflater) == TALK
    else:
        assert inflate(before + behind, inflater) == TALK + TALK


# --- messages of many connections ---


def test_shared_message_is_compressed_once_for_those_that_agreed_on_the_same() -> None:
    shared = SharedMessage(TALK)
    same = [make_deflater() for _ in range(3)]
    first, *others = [deflater.deflate_shared(shared) for deflater in same]
    assert all(other is first for other in others)
    narrow = make_deflater(bits=9)
    assert narrow.deflate_shared(shared) is not first
    assert StrictInflater(9).inflate(narrow.deflate_shared(shared)) == TALK


def test_nothing_refers_to_what_was_before_a_shared_message() -> None:
    deflater, inflater = make_deflater(), make_inflater()
    deflater.deflate(TALK, True)
    behind = deflater.deflate_shared(SharedMessage(TALK)), deflater.deflate(TALK, True)
    # This peer has seen nothing before, and keeps nothing.
    assert [inflate(data) for data in behind] == [TALK, TALK]
    again = deflater.deflate(TALK, True)
    assert len(again) < len(behind[1])
    assert inflate(behind[1], inflater) == inflate(again, inflater) == TALK


# --- decompressing ---


@pytest.mark.parametrize(
    "compressed",
    [
        "f248cdc9c90700",  # one block
        "000500faff48656c6c6f00",  # a stored block
        "f348cdc9c9070000",  # a final block, padded, and an empty one
        "f2480500 0000ffff cac9c90700",  # two blocks
        "f348cdc9c90700",  # a final block alone: some senders leave the empty one out
    ],
)
@pytest.mark.row(178, 179, 180)
def test_blocks_of_every_type_are_read(compressed: str) -> None:
    inflater = make_inflater()
    for _ in range(3):
        assert inflate(bytes.fromhex(compressed), inflater) == b"Hello"
    assert inflate(HELLO, inflater) == b"Hello"


@pytest.mark.row(180)
def test_window_is_kept_from_payload_to_payload() -> None:
    inflater = make_inflater()
    assert inflate(HELLO, inflater) == b"Hello"
    assert inflate(bytes.fromhex("f200110000"), inflater) == b"Hello"


@pytest.mark.row(165, 180, 182)
def test_without_takeover_there_is_nothing_to_refer_back_to() -> None:
    inflater = make_inflater(takeover=False)
    assert inflate(HELLO, inflater) == b"Hello"
    with pytest.raises(ProtocolError):
        inflate(bytes.fromhex("f200110000"), inflater)


@pytest.mark.parametrize("empty", [b"\x00", b"", b"\x02\x00", b"\x03\x00", b"\x03\x00\x00"])
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.row(181)
def test_empty_payload_of_any_form_leaves_no_trace(empty: bytes, takeover: bool) -> None:
    inflater = make_inflater(takeover=takeover)
    for _ in range(3):
        assert inflate(empty, inflater) == b""
        assert inflate(HELLO, inflater) == b"Hello"


@pytest.mark.parametrize("chunk", [0, 1, 2, 3])
@pytest.mark.parametrize("last", [[], [b""]], ids=["data last", "nothing last"])
@pytest.mark.row(176)
def test_unit_can_come_in_pieces(chunk: int, last: list[bytes]) -> None:
    payload = far_repeats()
    inflater = make_inflater()
    for _ in range(2):
        pieces = chopped(deflate(payload), chunk) + last
        output = [inflater.inflate(piece, False, None) for piece in pieces[:-1]]
        output.append(inflater.inflate(pieces[-1], True, None))
        assert b"".join(output) == payload


def test_pieces_give_what_they_hold_at_once() -> None:
    flushed = deflate(b"first", final=False) + TAIL
    assert make_inflater().inflate(flushed, False, None) == b"first"


@pytest.mark.parametrize("chunk", [0, 1, 5])
@pytest.mark.row(178, 179)
def test_blocks_behind_a_final_one_may_refer_back_into_the_window(chunk: int) -> None:
    first = far_repeats()[:1000]
    stream = deflate(first, final=True)
    stream += deflate(first, dictionary=first, final=True)
    stream += deflate(first + b"!", dictionary=first)
    assert len(stream) < 1100, "the repetitions are references"
    inflater = make_inflater()
    pieces = chopped(stream, chunk)
    output = b"".join(inflater.inflate(piece, False, None) for piece in pieces[:-1])
    output += inflater.inflate(pieces[-1], True, None)
    assert output == first + first + first + b"!"
    assert inflate(deflate(first, dictionary=first + b"!"), inflater) == first, "the next one, too"


@pytest.mark.parametrize("bits", range(8, 16))
def test_window_of_every_size_is_read(bits: int) -> None:
    payload = far_repeats(bits)
    inflater = make_inflater(bits)
    for start in range(0, len(payload), 1000):
        piece = payload[start : start + 1000]
        compressed = deflate(piece, bits=max(bits, 9), dictionary=payload[:start])
        assert inflate(compressed, inflater) == piece


def test_piece_that_looks_like_a_tail_is_data() -> None:
    # A stored block of 0xff00 bytes begins with the very bytes of a flush's tail.
    content = bytes(0xFF00)
    stream = b"\x00" + (0xFF00).to_bytes(2, "little") + (0x00FF).to_bytes(2, "little") + content
    assert stream.startswith(TAIL[:2])
    inflater = make_inflater()
    assert inflater.inflate(b"\x00\x00\xff\xff", False, None) == b""
    assert inflater.inflate(b"\x00" + content + b"\x00", True, None) == content


# --- corrupt streams ---


@pytest.mark.parametrize(
    ("compressed", "complaint"),
    [
        (b"\x07", "block type"),
        (b"\x00\x05\x00\x05\x00Hello", "stored block lengths"),
        (bytes.fromhex("f200110000"), "too far back"),
        (b"\xff" * 20, "block type"),
        (HELLO + TAIL + b"\x07", "block type"),
        (b"\x04" + b"\xff" * 20, "."),
    ],
)
@pytest.mark.parametrize("final", [True, False])
@pytest.mark.row(182)
def test_corrupt_stream_is_the_fault_of_the_peer(
    compressed: bytes, complaint: str, final: bool
) -> None:
    with pytest.raises(ProtocolError, match=f"cannot be inflated.*{complaint}") as caught:
        make_inflater().inflate(compressed, final, MIB)
    assert caught.value.code == 1007


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.row(182)
def test_payload_that_ends_inside_a_block_is_corrupt(takeover: bool) -> None:
    # Its rest would be looked for in the next message.
    compressed = deflate(far_repeats()[:300] + b"Hello" * 100)
    complaints = set()
    for size in range(1, len(compressed) - 1):
        with pytest.raises(ProtocolError) as caught:
            inflate(compressed[:size], make_inflater(takeover=takeover))
        assert caught.value.code == 1007
        complaints.add(caught.value.reason)
    assert "compressed payload ends inside a block" in complaints


# --- budgets ---


@pytest.mark.parametrize("size", [0, 1, 100, 258, 259, 70000])
@pytest.mark.row(126, 183)
def test_result_may_be_as_large_as_the_budget(size: int) -> None:
    compressed = deflate(bytes(size))
    assert inflate(compressed, budget=size) == bytes(size)
    assert inflate(compressed, budget=None) == bytes(size)
    if size:
        with pytest.raises(ProtocolError, match="max_message_size") as caught:
            inflate(compressed, budget=size - 1)
        assert caught.value.code == 1009


@pytest.mark.parametrize("split", [b"", deflate(b"x", final=True)], ids=["one", "two streams"])
@pytest.mark.row(126)
def test_bomb_is_stopped_with_little_memory(split: bytes) -> None:
    bomb = split + deflate(bytes(64 * MIB))
    inflater = make_inflater()
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            inflater.inflate(bomb, True, 100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == 1009
    assert peak < 100_000 * 3 + 3 * len(bomb)


# --- libraries ---


@pytest.mark.parametrize(("library", "level"), LEVELS)
def test_all_levels_of_both_libraries_may_be_used(library: str, level: int) -> None:
    check_compressor(library, level)


@pytest.mark.parametrize(
    ("library", "level", "complaint"),
    [("zip", 1, "neither 'zlib' nor 'isal'"), ("zlib", 10, "0 to 9"), ("isal", 4, "0 to 3")],
)
def test_others_are_refused(library: str, level: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_compressor(library, level)


def test_missing_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="isal is not installed"):
        check_compressor("isal", 1)
