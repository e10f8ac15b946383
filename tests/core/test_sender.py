"""What leaves, byte by byte: masks, lengths, fragments, pongs, frames as they are."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.core.reversing import PALINDROME, Reversing
from tests.core.wire import read_frames
from tests.peer import BINARY, CONTINUATION, PING, PONG, TEXT, Received
from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.messages import (
    BinaryMessage,
    Message,
    Sendable,
    SharedMessage,
    TextMessage,
)
from ws_middleware.core.sender import LARGE, MAX_UNSENT_PONGS, Sender


def server(*extensions: ActiveExtension) -> Sender:
    return Sender("server", extensions, os.urandom)


def client(key: bytes = b"\x01\x02\x03\x04") -> Sender:
    return Sender("client", (), lambda size: key[:size])


def written(sender: Sender) -> bytes:
    return b"".join(sender.pieces_to_send())


def sent(sender: Sender, *, masked: bool = False) -> list[Received]:
    return read_frames(written(sender), masked=masked)


class Stamp(ActiveExtension):
    """Put a letter before each message and each frame."""

    def __init__(self, letter: str) -> None:
        self.letter = letter

    def encode_message(self, message: Message) -> Message:
        assert isinstance(message, TextMessage)
        return TextMessage(self.letter + message.data, message.compress)

    def encode(self, frame: Frame) -> Frame:
        letter = self.letter.upper() if frame.compress else "-"
        return frame._replace(payload=letter.encode() + frame.payload)


# --- pieces ---


def test_small_frames_leave_as_one_piece() -> None:
    sender = server()
    assert sender.pieces_to_send() == []
    sender.message("a")
    sender.message(bytes(LARGE - 1))
    (piece,) = sender.pieces_to_send()
    assert [got.payload for got in read_frames(piece, masked=False)] == [b"a", bytes(LARGE - 1)]
    assert sender.pieces_to_send() == []


def test_large_payloads_of_a_server_are_not_copied() -> None:
    sender, payload = server(), bytes(LARGE)
    sender.message("a")
    sender.message(payload)
    pieces = sender.pieces_to_send()
    assert [piece is payload for piece in pieces] == [False, False, True]
    assert [got.payload for got in read_frames(b"".join(pieces), masked=False)] == [b"a", payload]
    sender.message("b")
    sender.message("c")
    assert len(sender.pieces_to_send()) == 1, "and it is forgotten"


@pytest.mark.row(103)
def test_large_payloads_of_a_client_are_masked() -> None:
    sender, payload = client(), bytes(range(256)) * (LARGE // 256)
    sender.message(payload)
    (frame,) = sent(sender, masked=True)
    assert frame.payload == payload


# --- messages ---


@pytest.mark.parametrize(
    ("message", "opcode", "payload"),
    [
        ("é", TEXT, "é".encode()),
        ("", TEXT, b""),
        (b"\xff", BINARY, b"\xff"),
        (bytearray(b"array"), BINARY, b"array"),
        (memoryview(b"view"), BINARY, b"view"),
        (TextMessage("text"), TEXT, b"text"),
        (BinaryMessage(b"bytes"), BINARY, b"bytes"),
    ],
)
@pytest.mark.parametrize("extensions", [(), (ActiveExtension(),)], ids=["plain", "extended"])
@pytest.mark.row(105, 120, 123)
def test_message_is_one_final_frame_of_its_kind(
    message: Sendable, opcode: int, payload: bytes, extensions: tuple[ActiveExtension, ...]
) -> None:
    sender = server(*extensions)
    sender.message(message)
    assert sent(sender) == [Received(opcode, payload, True, 0)]


@pytest.mark.parametrize("extensions", [(), (ActiveExtension(),)], ids=["plain", "extended"])
def test_bad_messages_are_refused_at_the_call(extensions: tuple[ActiveExtension, ...]) -> None:
    sender = server(*extensions)
    with pytest.raises(TypeError):
        sender.message(1)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        sender.message("\ud800")
    assert written(sender) == b""


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
@pytest.mark.row(99, 101)
def test_lengths_are_written_in_their_shortest_form(size: int) -> None:
    sender = server()
    sender.message(bytes(size))
    assert sent(sender) == [Received(BINARY, bytes(size), True, 0)]


def test_output_keeps_its_order_and_is_given_once() -> None:
    sender = server()
    sender.message("one")
    sender.control(PING, b"two")
    sender.message(b"three")
    assert [frame.payload for frame in sent(sender)] == [b"one", b"two", b"three"]
    assert written(sender) == b""


# --- masks ---


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.row(93, 95)
def test_clients_mask_every_frame_and_servers_none(role: Role) -> None:
    sender = Sender(role, (), os.urandom)
    sender.message("")
    sender.message(b"message")
    sender.fragment("frag", final=False)
    sender.control(PING, b"")
    sender.pong(b"pong")
    sender.fragment("ments", final=True)
    sender.frame(Frame(BINARY, b"as it is"))
    assert len(sent(sender, masked=role == "client")) == 7


@pytest.mark.row(103)
def test_each_frame_has_a_masking_key_of_its_own() -> None:
    asked: list[int] = []
    keys = itertools.count(1)

    def random(size: int) -> bytes:
        asked.append(size)
        return next(keys).to_bytes(size, "big")

    sender = Sender("client", (), random)
    for _ in range(3):
        sender.message(b"x")
    assert asked == [4, 4, 4]
    data = written(sender)
    assert [data[start : start + 4] for start in range(2, len(data), 7)] == [
        b"\0\0\0\1",
        b"\0\0\0\2",
        b"\0\0\0\3",
    ]


@pytest.mark.row(104)
def test_octets_are_masked_with_the_key_in_turn() -> None:
    sender = client(b"\x01\x02\x03\x04")
    sender.message(bytes(6))
    assert written(sender) == bytes.fromhex("82 86 01020304 010203040102")


# --- fragments ---


@pytest.mark.row(105, 123)
def test_fragments_continue_the_first_one_and_the_last_is_final() -> None:
    sender = server()
    fragmenting = []
    for data, final in (("a", False), ("b", False), ("", True)):
        sender.fragment(data, final)
        fragmenting.append(sender.is_fragmenting)
    assert fragmenting == [True, True, False]
    assert sent(sender) == [
        Received(TEXT, b"a", False, 0),
        Received(CONTINUATION, b"b", False, 0),
        Received(CONTINUATION, b"", True, 0),
    ]


def test_single_fragment_is_a_whole_message() -> None:
    sender = server()
    sender.fragment(b"all", final=True)
    assert sent(sender) == [Received(BINARY, b"all", True, 0)]


@pytest.mark.row(109, 111)
def test_no_message_comes_between_fragments() -> None:
    sender = server()
    sender.fragment(b"a", final=False)
    with pytest.raises(RuntimeError, match="finish it first"):
        sender.message("other")
    sender.fragment(b"b", final=True)
    sender.message("other")
    assert [frame.payload for frame in sent(sender)] == [b"a", b"b", b"other"]


def test_fragments_are_all_of_one_kind() -> None:
    sender = server()
    sender.fragment("text", final=False)
    with pytest.raises(TypeError, match="all fragments"):
        sender.fragment(b"bytes", final=True)
    sender.fragment("more", final=True)
    assert [frame.payload for frame in sent(sender)] == [b"text", b"more"]


@pytest.mark.row(108)
def test_control_frames_may_come_between_fragments() -> None:
    sender = server()
    sender.fragment("a", final=False)
    sender.control(PING, b"!")
    sender.fragment("b", final=True)
    assert [frame.opcode for frame in sent(sender)] == [TEXT, PING, CONTINUATION]


# --- frames as they are ---


def test_frame_leaves_exactly_as_it_is_past_the_extensions() -> None:
    sender = server(Stamp("s"))
    sender.frame(Frame(TEXT, b"raw", rsv1=True, rsv3=True))
    sender.frame(Frame(7, b"opcode"))
    sender.frame(Frame(0xB, b"control"))
    assert sent(sender) == [
        Received(TEXT, b"raw", True, 5),
        Received(7, b"opcode", True, 0),
        Received(0xB, b"control", True, 0),
    ]


def test_masking_key_of_a_frame_can_be_chosen() -> None:
    sender = client()
    sender.frame(Frame(TEXT, b"hi"), key=b"abcd")
    assert written(sender) == bytes((0x81, 0x82)) + b"abcd" + bytes((104 ^ 97, 105 ^ 98))


@pytest.mark.parametrize(
    ("sender", "key", "message"), [(server(), b"abcd", "does not mask"), (client(), b"abc", "four")]
)
@pytest.mark.row(95)
def test_impossible_masking_keys_are_refused(sender: Sender, key: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sender.frame(Frame(TEXT, b"hi"), key)
    assert written(sender) == b""


@pytest.mark.parametrize(
    "frame", [Frame(Opcode.PING, bytes(126)), Frame(Opcode.PONG, b"", fin=False)]
)
@pytest.mark.row(107, 112)
def test_control_frames_are_small_and_whole(frame: Frame) -> None:
    sender = server()
    with pytest.raises(ValueError, match="125 bytes"):
        sender.frame(frame)
    assert written(sender) == b""


@pytest.mark.parametrize("opcode", [-1, 16, 0x81])
def test_opcode_has_four_bits(opcode: int) -> None:
    sender = server()
    with pytest.raises(ValueError, match="there is no opcode"):
        sender.frame(Frame(opcode))
    assert written(sender) == b""


def test_largest_control_frame_leaves() -> None:
    sender = server()
    sender.control(PING, bytes(125))
    assert sent(sender) == [Received(PING, bytes(125), True, 0)]


@pytest.mark.parametrize(
    ("earlier", "frame"),
    [
        ([], Frame(CONTINUATION, b"of nothing")),
        ([Frame(TEXT, b"begun", fin=False)], Frame(TEXT, b"another")),
        ([Frame(TEXT, b"whole")], Frame(CONTINUATION, b"of nothing")),
    ],
)
@pytest.mark.row(105, 109)
def test_frames_follow_the_order_of_fragments(earlier: list[Frame], frame: Frame) -> None:
    sender = server()
    for one in earlier:
        sender.frame(one)
    with pytest.raises(ValueError, match="does not continue"):
        sender.frame(frame)


def test_frames_and_fragments_make_one_message() -> None:
    sender = server()
    sender.frame(Frame(TEXT, b"a", fin=False))
    sender.frame(Frame(CONTINUATION, b"b", fin=False))
    assert sender.is_fragmenting
    sender.fragment("c", final=True)
    assert [(frame.opcode, frame.fin) for frame in sent(sender)] == [
        (TEXT, False),
        (CONTINUATION, False),
        (CONTINUATION, True),
    ]


# --- pongs ---


@pytest.mark.row(114)
def test_pings_are_answered_in_their_order() -> None:
    sender = server()
    for number in range(MAX_UNSENT_PONGS):
        sender.pong(b"%d" % number)
    answers = sent(sender)
    assert {frame.opcode for frame in answers} == {PONG}
    assert [frame.payload for frame in answers] == [b"%d" % n for n in range(MAX_UNSENT_PONGS)]


@pytest.mark.row(114)
def test_of_too_many_unsent_pongs_only_the_last_one_stays() -> None:
    sender = server()
    for number in range(1000):
        sender.pong(b"%d" % number)
    answers = [frame.payload for frame in sent(sender)]
    assert answers == [b"%d" % n for n in (*range(MAX_UNSENT_PONGS - 1), 999)]


def test_pongs_that_replace_others_disturb_nothing_else() -> None:
    sender = server()
    for number in range(MAX_UNSENT_PONGS):
        sender.pong(b"%d" % number)
    sender.message("message")
    sender.pong(b"late")
    sender.pong(b"last")
    payloads = [frame.payload for frame in sent(sender)]
    assert payloads[-2:] == [b"last", b"message"]
    assert len(payloads) == MAX_UNSENT_PONGS + 1


def test_pongs_that_were_written_do_not_count() -> None:
    sender = server()
    for number in range(100):
        sender.pong(b"%d" % number)
        assert [frame.payload for frame in sent(sender)] == [b"%d" % number]


# --- extensions ---


@pytest.mark.row(61, 121)
def test_extensions_are_applied_in_their_order() -> None:
    sender = server(Stamp("a"), Stamp("b"))
    sender.message("!")
    sender.message(TextMessage("?", compress=False))
    sender.fragment(TextMessage("x", compress=False), final=False)
    sender.fragment("y", final=True)
    assert [frame.payload for frame in sent(sender)] == [b"BAba!", b"--ba?", b"--x", b"BAy"]


def test_no_frame_is_made_for_a_sole_extension_that_changes_payloads() -> None:
    extension = Reversing()
    sender = server(extension)
    for message in ("abc", b"abc", PALINDROME, BinaryMessage(b"def")):
        sender.message(message)
    assert sent(sender) == [
        Received(TEXT, b"cba", fin=True, rsv=2),
        Received(BINARY, b"cba", fin=True, rsv=2),
        Received(BINARY, PALINDROME, fin=True, rsv=0),
        Received(BINARY, b"fed", fin=True, rsv=2),
    ]
    assert extension.frames == 1  # of the message with its options


@pytest.mark.parametrize(
    ("message", "opcode", "payload"), [("tëxt", TEXT, "tëxt".encode()), (b"\xff", BINARY, b"\xff")]
)
def test_shared_message_is_sent_like_any_other(
    message: str | bytes, opcode: int, payload: bytes
) -> None:
    shared = SharedMessage(message)
    for sender, masked in ((server(), False), (client(), True)):
        sender.message(shared)
        assert sent(sender, masked=masked) == [Received(opcode, payload, fin=True, rsv=0)]


@pytest.mark.parametrize("size", [3, LARGE])
def test_servers_send_the_same_frame_of_a_shared_message(size: int) -> None:
    shared, senders = SharedMessage(bytes(size)), (server(), server())
    for sender in senders:
        sender.message("a")
        sender.message(shared)
    outputs = [sender.output[1] for sender in senders]
    assert outputs[0] is outputs[1]
    many = [sender.pieces_to_send() for sender in senders]
    assert [len(pieces) for pieces in many] == ([1, 1] if size < LARGE else [2, 2]), "not copied"
    assert [got.payload for got in read_frames(b"".join(many[0]))] == [b"a", bytes(size)]


def test_clients_mask_a_shared_message_each() -> None:
    shared = SharedMessage("news")
    for key in (b"\x01\x02\x03\x04", b"abcd"):
        sender = client(key)
        sender.message(shared)
        data = written(sender)
        assert data[2:6] == key
        assert [got.payload for got in read_frames(data, masked=True)] == [b"news"]


def test_extension_is_told_what_of_a_shared_message_is_not_to_be_compressed() -> None:
    extension = Reversing()
    sender = server(extension)
    sender.message(SharedMessage(TextMessage("secret", compress=False)))
    assert extension.frames == 1  # a frame says so


def test_extensions_change_shared_messages_too() -> None:
    sender = server(Reversing())
    sender.message(SharedMessage("abc"))
    assert sent(sender) == [Received(TEXT, b"cba", fin=True, rsv=2)]
    sender = server(Stamp("a"))
    sender.message(SharedMessage("!"))
    assert sent(sender) == [Received(TEXT, b"Aa!", fin=True, rsv=0)]


def test_all_extensions_are_told_to_rest() -> None:
    reversing = Reversing()
    sender = server(reversing, Stamp("a"))
    sender.rest()
    assert reversing.rests == 1


def test_extensions_leave_control_frames_alone() -> None:
    sender = server(Stamp("a"))
    sender.control(PING, b"ping")
    sender.pong(b"pong")
    assert [frame.payload for frame in sent(sender)] == [b"ping", b"pong"]


def test_control_frame_of_126_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="125 bytes at the most"):
        Sender("server", (), os.urandom).control(PING, bytes(126))
