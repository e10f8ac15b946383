"""Messages and their assembly: sizes, text and order of fragments, without a wire."""

from __future__ import annotations

import pytest

from tests.core.wire import INVALID_TEXT, UNFINISHED_TEXT, VALID_TEXT
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.messages import (
    LARGE_PIECE,
    Assembler,
    BinaryMessage,
    Data,
    Message,
    Sendable,
    SharedMessage,
    TextMessage,
    as_message,
    check_pieces,
    decode_text,
    fragment,
    with_final,
)
from ws_middleware.errors import ProtocolError

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION


def assembler(max_size: int | None = None, max_fragments: int | None = None) -> Assembler:
    return Assembler(max_size, max_fragments)


def assemble(opcode: int, *payloads: bytes, into: Assembler | None = None) -> Data:
    """Assemble one message of these fragments."""
    target = into or assembler()
    last = len(payloads) - 1
    for index, payload in enumerate(payloads):
        message = target.add(opcode if index == 0 else CONTINUATION, payload, index == last)
        assert (message is not None) is (index == last)
    assert message is not None
    return message


# --- what applications send ---


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", TextMessage("text")),
        (b"bytes", BinaryMessage(b"bytes")),
        (bytearray(b"array"), BinaryMessage(b"array")),
        (memoryview(b"view"), BinaryMessage(b"view")),
        (TextMessage("as it is", compress=False), TextMessage("as it is", compress=False)),
        (BinaryMessage(b"as it is"), BinaryMessage(b"as it is")),
    ],
)
@pytest.mark.row(123)
def test_type_of_the_data_decides_the_kind_of_message(data: Sendable, message: Message) -> None:
    assert as_message(data) == message


def test_keys_of_a_mapping_are_no_pieces() -> None:
    check_pieces(["text"])
    with pytest.raises(TypeError, match=r"not dict; send_json\(\) sends other objects"):
        check_pieces({"an": "object"})


@pytest.mark.parametrize("pieces", [["a"], ["a", "b"], [b"", b"", b""]])
def test_last_piece_of_a_message_is_marked(pieces: list[Data]) -> None:
    marked = list(with_final(iter(pieces)))
    assert [piece for piece, _ in marked] == pieces
    assert [final for _, final in marked] == [False] * (len(pieces) - 1) + [True]


def test_no_piece_makes_no_message() -> None:
    with pytest.raises(ValueError, match="an empty iterable makes no message"):
        list(with_final([]))


@pytest.mark.parametrize("data", [None, 1, ["text"], object()])
def test_anything_else_is_no_message(data: object) -> None:
    with pytest.raises(TypeError, match=type(data).__name__):
        as_message(data)  # type: ignore[arg-type]


# --- cutting a frame into fragments ---


@pytest.mark.parametrize(
    ("payload", "size", "parts"),
    [
        (b"", 1, [b""]),
        (b"abc", 1, [b"a", b"b", b"c"]),
        (b"abc", 2, [b"ab", b"c"]),
        (b"abc", 3, [b"abc"]),
        (b"abc", 4, [b"abc"]),
    ],
)
@pytest.mark.row(105)
def test_fragments_hold_the_payload_in_order(payload: bytes, size: int, parts: list[bytes]) -> None:
    fragments = list(fragment(Frame(TEXT, payload), size))
    assert [part.payload for part in fragments] == parts
    assert [part.opcode for part in fragments] == [TEXT] + [CONTINUATION] * (len(parts) - 1)
    assert [part.fin for part in fragments] == [False] * (len(parts) - 1) + [True]


@pytest.mark.row(173)
def test_reserved_bits_stand_on_the_first_fragment_only() -> None:
    first, *others = fragment(Frame(BINARY, b"abc", rsv1=True, rsv2=True, rsv3=True), 1)
    assert (first.rsv1, first.rsv2, first.rsv3) == (True, True, True)
    assert not any(part.rsv1 or part.rsv2 or part.rsv3 for part in others)


def test_fragments_of_an_unfinished_frame_are_all_unfinished() -> None:
    assert not any(part.fin for part in fragment(Frame(TEXT, b"abc", fin=False), 2))


@pytest.mark.parametrize("size", [0, -1])
def test_fragments_need_a_size(size: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        list(fragment(Frame(TEXT, b"abc"), size))


@pytest.mark.row(107)
def test_control_frames_are_never_fragmented() -> None:
    with pytest.raises(ValueError, match="control frames"):
        list(fragment(Frame(Opcode.PING, b"abc"), 2))


# --- assembly ---


@pytest.mark.parametrize("payloads", [[b"abc"], [b"a", b"bc"], [b"", b"abc", b""], [b"a"] * 500])
@pytest.mark.row(106, 111)
def test_fragments_are_put_together_in_order(payloads: list[bytes]) -> None:
    assert assemble(BINARY, *payloads) == b"".join(payloads)
    assert assemble(TEXT, *payloads) == b"".join(payloads).decode()


@pytest.mark.parametrize("payload", [b"", b"\x00\xff", bytes(range(256))])
@pytest.mark.row(120)
def test_binary_messages_hold_any_bytes(payload: bytes) -> None:
    assert assemble(BINARY, payload) == payload
    assert assemble(BINARY, payload, payload) == payload + payload


@pytest.mark.row(110)
def test_continuation_without_a_message_is_refused() -> None:
    with pytest.raises(ProtocolError, match="without a message"):
        assembler().add(CONTINUATION, b"", True)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.row(109)
def test_message_inside_a_fragmented_one_is_refused(opcode: int) -> None:
    target = assembler()
    target.add(TEXT, b"begun", False)
    with pytest.raises(ProtocolError, match="inside a fragmented one") as caught:
        target.add(opcode, b"other", True)
    assert caught.value.code == 1002


def test_assembler_is_idle_between_messages_only() -> None:
    target = assembler()
    idle = [target.is_idle]
    for opcode, fin in ((TEXT, True), (TEXT, False), (CONTINUATION, False), (CONTINUATION, True)):
        target.add(opcode, b"", fin)
        idle.append(target.is_idle)
    assert idle == [True, True, False, False, True]


# --- text ---


@pytest.mark.parametrize("text", VALID_TEXT)
@pytest.mark.row(116, 117)
def test_characters_may_straddle_fragments(text: str) -> None:
    payload = text.encode()
    assert decode_text(payload) == text
    for cut in range(len(payload) + 1):
        assert assemble(TEXT, payload[:cut], payload[cut:]) == text
    assert assemble(TEXT, b"", *(payload[i : i + 1] for i in range(len(payload))), b"") == text


@pytest.mark.parametrize("payload", [text for text, _ in INVALID_TEXT] + UNFINISHED_TEXT)
@pytest.mark.row(116, 117)
def test_whole_text_has_to_be_utf_8(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"not valid UTF-8.*§8\.1") as caught:
        assemble(TEXT, payload)
    assert caught.value.code == 1007


@pytest.mark.parametrize(("payload", "bad"), INVALID_TEXT)
@pytest.mark.row(118)
def test_bad_text_fails_at_its_first_bad_byte(payload: bytes, bad: int) -> None:
    target = assembler()
    target.add(TEXT, payload[:bad], False)
    with pytest.raises(ProtocolError) as caught:
        target.add(CONTINUATION, payload[bad : bad + 1], False)
    assert caught.value.code == 1007


@pytest.mark.parametrize("payload", UNFINISHED_TEXT)
@pytest.mark.row(116)
def test_half_a_character_fails_at_the_end_of_the_message(payload: bytes) -> None:
    target = assembler()
    target.add(TEXT, payload, False)
    with pytest.raises(ProtocolError) as caught:
        target.add(CONTINUATION, b"", True)
    assert caught.value.code == 1007


@pytest.mark.row(119)
def test_decoder_of_text_begins_anew_with_each_message() -> None:
    target = assembler()
    assert assemble(TEXT, "é".encode()[:1], "é".encode()[1:], into=target) == "é"
    with pytest.raises(ProtocolError):
        assemble(TEXT, "é".encode()[1:], into=target)


# --- limits ---


@pytest.mark.row(126)
def test_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert assemble(BINARY, b"12345", into=assembler(max_size=5)) == b"12345"
    assert assemble(BINARY, b"12", b"345", into=assembler(max_size=5)) == b"12345"
    for parts in ([b"123456"], [b"12345", b"6"], [b"12", b"", b"3456"]):
        with pytest.raises(ProtocolError, match="max_message_size=5") as caught:
            assemble(BINARY, *parts, into=assembler(max_size=5))
        assert caught.value.code == 1009


def test_limit_is_checked_before_anything_is_kept() -> None:
    target = assembler(max_size=5)
    target.add(BINARY, b"1234", False)
    with pytest.raises(ProtocolError):
        target.add(CONTINUATION, b"56", True)
    assert target.take() == b"1234"


def test_budget_is_what_the_message_may_still_grow() -> None:
    target = assembler(max_size=5)
    assert target.budget == 5
    target.add(BINARY, b"12", False)
    assert target.budget == 3
    target.add(CONTINUATION, b"345", True)
    assert target.budget == 5
    assert assembler().budget is None


@pytest.mark.row(126)
def test_number_of_fragments_is_limited() -> None:
    target = assembler(max_fragments=2)
    target.count_fragment()
    target.count_fragment()
    with pytest.raises(ProtocolError, match="max_fragments=2") as caught:
        target.count_fragment()
    assert caught.value.code == 1009


def test_fragments_are_counted_anew_for_each_message() -> None:
    target = assembler(max_fragments=2)
    for _ in range(3):
        target.count_fragment()
        target.add(BINARY, b"", False)
        target.count_fragment()
        target.add(CONTINUATION, b"", True)


def test_without_limits_any_number_and_size_will_do() -> None:
    target = assembler()
    for _ in range(1000):
        target.count_fragment()
    assert assemble(BINARY, bytes(2**20), into=target) == bytes(2**20)


# --- taking a message in pieces ---


def test_binary_pieces_are_taken_as_they_are() -> None:
    target = assembler(max_size=5)
    target.add(BINARY, b"12", False)
    assert target.take() == b"12"
    assert target.take() == b""
    assert target.budget == 3, "what was taken counts"
    assert target.add(CONTINUATION, b"345", True) == b"345"


@pytest.mark.parametrize(
    "sizes",
    [(LARGE_PIECE, LARGE_PIECE), (1, LARGE_PIECE, 1, 1), (LARGE_PIECE, 0, 1), (1, 1, LARGE_PIECE)],
)
@pytest.mark.parametrize("opcode", [BINARY, TEXT])
def test_large_and_small_pieces_keep_their_order(opcode: Opcode, sizes: tuple[int, ...]) -> None:
    pieces = [bytes([0x41 + index]) * size for index, size in enumerate(sizes)]
    whole = b"".join(pieces)
    target = assembler()
    for _ in range(2):  # the second message holds nothing of the first
        assert assemble(opcode, *pieces, into=target) == (
            whole if opcode == BINARY else whole.decode()
        )
    taken = b""
    target = assembler()
    for index, piece in enumerate(pieces):
        target.add(BINARY if index == 0 else CONTINUATION, piece, False)
        part = target.take()
        assert isinstance(part, bytes)
        taken += part
    assert taken == whole


def test_pieces_of_text_hold_whole_characters() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    target = assembler()
    target.add(TEXT, b"cab" + first, False)
    assert target.take() == "cab"
    assert target.take() == ""
    assert target.add(CONTINUATION, second, True) == "é"


def test_text_is_still_checked_behind_what_was_taken() -> None:
    target = assembler()
    target.add(TEXT, b"fine", False)
    target.take()
    with pytest.raises(ProtocolError):
        target.add(CONTINUATION, b"\xff", False)


def test_a_message_makes_text_by_its_first_opcode() -> None:
    assembler = Assembler(None, None)
    assert assembler.makes_text(Opcode.TEXT)
    assert not assembler.makes_text(Opcode.BINARY)
    assembler.add(Opcode.TEXT, b"half", fin=False)
    assert assembler.makes_text(Opcode.CONTINUATION)
    assembler.add(Opcode.CONTINUATION, b"xt", fin=True)
    assembler.add(Opcode.BINARY, b"\xff", fin=False)
    assert not assembler.makes_text(Opcode.CONTINUATION)


@pytest.mark.parametrize(
    ("given", "message", "payload"),
    [
        ("tëxt", TextMessage("tëxt"), "tëxt".encode()),
        (bytearray(b"\xff"), BinaryMessage(b"\xff"), b"\xff"),
    ],
)
def test_shared_message_holds_what_frames_hold_of_it(
    given: str | bytearray, message: Message, payload: bytes
) -> None:
    shared = SharedMessage(given)
    assert as_message(shared) == message
    assert (shared.payload, shared.encoded) == (payload, {})
