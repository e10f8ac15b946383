"""What one peer sends, decoded: every check of a frame, as soon as its bytes are there."""

from __future__ import annotations

import os
import sys

import pytest

from tests.core.reversing import Reversing
from tests.core.wire import INVALID_TEXT, UNFINISHED_TEXT, VALID_TEXT, chopped
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.core.frames import RSV1, RSV2, RSV3, Frame, Opcode
from ws_middleware.core.messages import BinaryMessage, Data, Message, TextMessage
from ws_middleware.core.payload import Payload
from ws_middleware.core.receiver import LARGE, Receiver
from ws_middleware.errors import ProtocolError
from ws_middleware.options import Options

MIB = 2**20


def make_receiver(
    *extensions: ActiveExtension, role: Role = "server", **limits: int | None
) -> Receiver:
    return Receiver(role, Options(**limits), extensions)  # type: ignore[arg-type]


def drain(receiver: Receiver) -> list[Data | Frame]:
    events = []
    while (event := receiver.next_event()) is not None:
        events.append(event)
    return events


def receive(receiver: Receiver, data: bytes, chunk: int = 0) -> list[Data | Frame]:
    """Feed `data`, in pieces of `chunk` bytes where that is given."""
    events = []
    for piece in chopped(data, chunk):
        receiver.feed(piece, 0)
        events += drain(receiver)
    return events


def failure(receiver: Receiver, data: bytes) -> ProtocolError:
    receiver.feed(data, 0)
    with pytest.raises(ProtocolError) as caught:
        drain(receiver)
    return caught.value


def fails_exactly_at_the_end(data: bytes, receiver: Receiver) -> int:
    """Check that `data` fails at its last byte and not before; returns the code."""
    assert receive(receiver, data[:-1], chunk=1) == []
    return failure(receiver, data[-1:]).code


# --- headers ---


@pytest.mark.row(94)
def test_server_refuses_unmasked_frames() -> None:
    data = frame(TEXT, "", key=None)
    assert fails_exactly_at_the_end(data, make_receiver()) == 1002


@pytest.mark.row(96)
def test_client_refuses_masked_frames() -> None:
    data = frame(TEXT, "hi")
    assert fails_exactly_at_the_end(data[:2], make_receiver(role="client")) == 1002
    assert receive(make_receiver(role="client"), frame(TEXT, "hi", key=None)) == ["hi"]


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.row(97, 121)
def test_reserved_bits_that_nobody_claimed_fail_at_once(opcode: int, rsv: int) -> None:
    assert failure(make_receiver(), frame(opcode, rsv=rsv)[:1]).code == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.row(98)
def test_unknown_opcodes_fail_before_their_length_is_believed(opcode: int) -> None:
    assert failure(make_receiver(), frame(opcode, length=2**62)[:1]).code == 1002


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.row(107)
def test_fragmented_control_frames_fail_at_once(opcode: int) -> None:
    assert failure(make_receiver(), frame(opcode, fin=False)[:1]).code == 1002


@pytest.mark.parametrize("length", [126, 127, 65535, 65536])
@pytest.mark.row(112)
def test_long_control_frames_fail_without_their_payload(length: int) -> None:
    data = frame(PING, length=length)[:2]
    assert fails_exactly_at_the_end(data, make_receiver()) == 1002


@pytest.mark.row(112)
def test_control_frames_of_125_bytes_are_fine() -> None:
    assert receive(make_receiver(), frame(PING, bytes(125))) == [Frame(Opcode.PING, bytes(125))]


@pytest.mark.parametrize(
    "header",
    [b"\x82\xfe\x00\x7d", b"\x82\xff" + (65535).to_bytes(8, "big"), b"\x82\xff" + bytes(8)],
)
@pytest.mark.row(102)
def test_lengths_that_are_not_in_their_shortest_form_fail(header: bytes) -> None:
    assert fails_exactly_at_the_end(header, make_receiver()) == 1002


@pytest.mark.row(100)
def test_length_with_its_top_bit_set_fails() -> None:
    header = b"\x82\xff" + (2**63).to_bytes(8, "big")
    assert fails_exactly_at_the_end(header, make_receiver(max_message_size=None)) == 1002


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 1000, 65535, 65536, 70000])
@pytest.mark.parametrize("chunk", [0, 1000])
@pytest.mark.row(99, 120, 124, 125)
def test_lengths_of_every_form_are_read(size: int, chunk: int) -> None:
    payload = os.urandom(size)
    data = frame(BINARY, payload) + frame(PING, b"behind")
    assert receive(make_receiver(), data, chunk) == [payload, Frame(Opcode.PING, b"behind")]
    data = frame(BINARY, payload, key=None)
    assert receive(make_receiver(role="client"), data, chunk) == [payload]


@pytest.mark.parametrize("key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\x01\x02\x03"])
@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 5])
@pytest.mark.row(104, 125)
def test_payload_is_unmasked_whatever_the_key_and_the_chunks(key: bytes, chunk: int) -> None:
    payload = bytes(range(100))
    assert receive(make_receiver(), frame(BINARY, payload, key=key), chunk) == [payload]


# --- messages and fragments ---


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 7])
@pytest.mark.row(106, 108, 111, 116, 124)
def test_segmentation_of_the_stream_does_not_matter(chunk: int) -> None:
    data = (
        frame(TEXT, "whole")
        + frame(TEXT, "frag", fin=False)
        + frame(PING, b"between")
        + frame(CONTINUATION, "", fin=False)
        + frame(PONG, b"")
        + frame(CONTINUATION, "ments")
        + frame(BINARY, b"")
        + frame(BINARY, bytes(300))
        + frame(CLOSE, b"\x03\xe8bye")
    )
    assert receive(make_receiver(), data, chunk) == [
        "whole",
        Frame(Opcode.PING, b"between"),
        Frame(Opcode.PONG, b""),
        "fragments",
        b"",
        bytes(300),
        Frame(Opcode.CLOSE, b"\x03\xe8bye"),
    ]


def test_more_frames_than_one_batch_come_out_one_by_one() -> None:
    messages = [str(number) for number in range(100)]
    assert receive(make_receiver(), b"".join(frame(TEXT, text) for text in messages)) == messages


@pytest.mark.row(106)
def test_any_number_of_fragments_makes_a_message() -> None:
    fragments = [frame(BINARY, b"x", fin=False)] + [frame(CONTINUATION, b"x", fin=False)] * 5000
    data = b"".join(fragments) + frame(CONTINUATION, b"x")
    assert receive(make_receiver(), data) == [b"x" * 5002]


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("length", [5, 70000])
@pytest.mark.row(110)
def test_continuation_without_a_start_fails_by_its_header(fin: bool, length: int) -> None:
    data = frame(CONTINUATION, fin=fin, length=length)
    assert failure(make_receiver(), data).code == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("complete", [False, True], ids=["header", "whole"])
@pytest.mark.row(109)
def test_message_inside_a_fragmented_one_fails(opcode: int, fin: bool, complete: bool) -> None:
    receiver = make_receiver()
    receive(receiver, frame(TEXT, "begun", fin=False))
    data = frame(opcode, b"other", fin=fin)
    assert failure(receiver, data if complete else data[:-5]).code == 1002


def test_what_came_before_a_violation_comes_out_before_it() -> None:
    receiver = make_receiver()
    receiver.feed(frame(TEXT, "good") + frame(PING, b"good") + frame(TEXT, rsv=1), 0)
    assert receiver.next_event() == "good"
    assert receiver.next_event() == Frame(Opcode.PING, b"good")
    with pytest.raises(ProtocolError):
        receiver.next_event()


# --- text ---


@pytest.mark.parametrize("text", VALID_TEXT)
@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.row(117, 119)
def test_text_at_every_edge_is_fine(text: str, chunk: int) -> None:
    assert receive(make_receiver(), frame(TEXT, text) * 2, chunk) == [text, text]


@pytest.mark.parametrize(("text", "bad"), INVALID_TEXT)
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.row(116, 117, 118)
def test_bad_text_fails_at_its_first_bad_byte_within_a_frame(
    text: bytes, bad: int, fin: bool
) -> None:
    data = frame(TEXT, text + b"and more", fin=fin)
    header = len(data) - len(text) - len(b"and more")
    assert fails_exactly_at_the_end(data[: header + bad + 1], make_receiver()) == 1007


@pytest.mark.parametrize("text", [text for text, _ in INVALID_TEXT] + UNFINISHED_TEXT)
@pytest.mark.parametrize("extensions", [(), (ActiveExtension(),)], ids=["plain", "extended"])
@pytest.mark.row(116, 117)
def test_bad_text_in_whole_frames_fails(
    text: bytes, extensions: tuple[ActiveExtension, ...]
) -> None:
    assert failure(make_receiver(*extensions), frame(TEXT, text)).code == 1007
    data = frame(TEXT, text, fin=False) + frame(CONTINUATION, b"")
    assert failure(make_receiver(*extensions), data).code == 1007


@pytest.mark.row(119)
def test_half_a_character_does_not_reach_into_the_next_message() -> None:
    receiver = make_receiver()
    assert receive(receiver, frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\xa9")) == [
        "é"
    ]
    assert failure(receiver, frame(TEXT, b"\xa9")).code == 1007


# --- limits ---


@pytest.mark.parametrize("limit", [5, 70000])
@pytest.mark.parametrize("extensions", [(), (ActiveExtension(),)], ids=["plain", "extended"])
@pytest.mark.row(126, 127)
def test_message_may_be_as_large_as_its_limit(
    limit: int, extensions: tuple[ActiveExtension, ...]
) -> None:
    receiver = make_receiver(*extensions, max_message_size=limit)
    fragments = frame(BINARY, bytes(limit - 1), fin=False) + frame(CONTINUATION, b"\0")
    assert receive(receiver, frame(BINARY, bytes(limit)) + fragments) == [bytes(limit)] * 2
    assert failure(receiver, frame(BINARY, bytes(limit + 1))).code == 1009


@pytest.mark.row(127, 129)
def test_message_that_is_too_big_fails_by_its_header() -> None:
    data = frame(BINARY, length=MIB + 1)
    assert fails_exactly_at_the_end(data, make_receiver(max_message_size=MIB)) == 1009


@pytest.mark.row(127)
def test_fragment_that_makes_a_message_too_big_fails_by_its_header() -> None:
    receiver = make_receiver(max_message_size=10)
    receive(receiver, frame(BINARY, bytes(8), fin=False))
    assert fails_exactly_at_the_end(frame(CONTINUATION, length=3), receiver) == 1009


@pytest.mark.row(126, 127)
def test_frame_may_be_as_large_as_its_limit() -> None:
    receiver = make_receiver(max_frame_size=5)
    fragments = frame(BINARY, bytes(5), fin=False) + frame(CONTINUATION, bytes(5))
    assert receive(receiver, frame(BINARY, bytes(5)) + fragments) == [bytes(5), bytes(10)]
    error = failure(receiver, frame(BINARY, length=6))
    assert error.code == 1009
    assert "max_frame_size=5" in error.reason


@pytest.mark.parametrize(
    "receiver", [make_receiver(max_message_size=1), make_receiver(max_frame_size=1)]
)
def test_control_frames_may_be_larger_than_messages(receiver: Receiver) -> None:
    assert receive(receiver, frame(PING, bytes(125)), chunk=50) == [Frame(Opcode.PING, bytes(125))]


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.row(126)
def test_number_of_fragments_is_limited(chunk: int) -> None:
    fragments = frame(TEXT, "a", fin=False) + frame(CONTINUATION, "b", fin=False)
    receiver = make_receiver(max_fragments=3)
    assert receive(receiver, (fragments + frame(CONTINUATION, "c")) * 2, chunk) == ["abc", "abc"]
    receive(receiver, fragments + frame(CONTINUATION, "", fin=False), chunk)
    error = failure(receiver, frame(CONTINUATION, length=1))
    assert error.code == 1009
    assert "max_fragments=3" in error.reason


def test_messages_of_one_frame_do_not_count_as_fragments() -> None:
    assert receive(make_receiver(max_fragments=1), frame(TEXT, "x") * 50) == ["x"] * 50


@pytest.mark.row(126)
def test_without_limits_everything_is_taken() -> None:
    receiver = make_receiver(max_message_size=None, max_fragments=None)
    assert receive(receiver, frame(BINARY, bytes(2 * MIB))) == [bytes(2 * MIB)]


@pytest.mark.row(129)
def test_nothing_is_allocated_from_a_length() -> None:
    receiver = make_receiver(max_message_size=None)
    assert receive(receiver, frame(BINARY, b"x", length=2**62)) == []
    assert receiver.take_fragment() == b"x"


# --- pieces ---


def test_unfinished_frame_can_be_taken_in_pieces() -> None:
    receiver = make_receiver()
    data = frame(BINARY, b"abcdef")
    receive(receiver, data[:-4])
    assert receiver.take_fragment() == b"ab"
    assert receiver.take_fragment() is None
    receive(receiver, data[-4:-1])
    assert receiver.take_fragment() == b"cde"
    assert receive(receiver, data[-1:]) == [b"f"]
    assert receiver.take_fragment() is None


def test_half_a_character_is_no_piece() -> None:
    receiver = make_receiver()
    receive(receiver, frame(TEXT, b"\xc3", fin=False))
    assert receiver.take_fragment() is None


# --- being stopped ---


def test_stopped_receiver_ignores_everything() -> None:
    receiver = make_receiver()
    receiver.feed(frame(TEXT, "a") * 20, 0)
    receiver.next_event()
    receiver.stop()
    assert receiver.is_stopped
    receiver.feed(frame(TEXT, "b"), 0)
    assert not receiver.input
    assert receiver.next_event() is None


def test_receiver_tells_what_input_it_has() -> None:
    receiver = make_receiver()
    seen = [bool(receiver.input)]
    receiver.feed(frame(TEXT, "a") * 2, 0)
    seen.append(bool(receiver.input))
    receiver.next_event()
    seen.append(bool(receiver.input))
    receiver.next_event()
    seen.append(bool(receiver.input))
    assert seen == [False, True, True, False]


def test_receiver_keeps_nothing_of_what_it_gave() -> None:
    receiver = make_receiver()
    data = frame(BINARY, bytes(1000))
    held = sys.getrefcount(data)
    receiver.feed(data, 0)
    drain(receiver)
    assert sys.getrefcount(data) == held


# --- extensions ---


class Claims(ActiveExtension):
    """Claim bits and opcodes, and keep what was seen."""

    def __init__(self) -> None:
        self.seen: list[Frame] = []

    def decode(self, frame: Frame, budget: int | None) -> Frame | None:
        self.seen.append(frame)
        return frame


class ClaimsRsv1(Claims):
    reserved_bits = RSV1
    marked_opcodes = frozenset({TEXT})


class ClaimsRsv2And3(Claims):
    reserved_bits = RSV2 | RSV3
    marked_opcodes = frozenset({TEXT, PING})
    streams = True


class ClaimsOpcodes(Claims):
    """Claim a data and a control opcode: the former is swallowed, the latter becomes text."""

    reserved_bits = RSV3
    opcodes = frozenset({0x3, 0xB})

    def decode(self, frame: Frame, budget: int | None) -> Frame | None:
        super().decode(frame, budget)
        if frame.opcode == 0x3:
            return None
        return frame._replace(opcode=Opcode.TEXT) if frame.opcode == 0xB else frame


class ClaimsWithoutDecoding(ActiveExtension):
    opcodes = frozenset({0x3, 0xB})


@pytest.mark.row(97, 121)
def test_claimed_bits_are_legal_on_the_marked_opcodes_only() -> None:
    extension = ClaimsRsv1()
    assert receive(make_receiver(extension), frame(TEXT, "x", rsv=4)) == ["x"]
    assert extension.seen == [Frame(Opcode.TEXT, b"x", rsv1=True)]
    for data in (frame(BINARY, rsv=4), frame(PING, rsv=4), frame(TEXT, rsv=2), frame(TEXT, rsv=6)):
        assert failure(make_receiver(ClaimsRsv1()), data).code == 1002


@pytest.mark.row(97, 121)
def test_frame_may_carry_the_bits_of_several_extensions() -> None:
    for rsv in range(8):
        receiver = make_receiver(ClaimsRsv1(), ClaimsRsv2And3())
        assert receive(receiver, frame(TEXT, "x", rsv=rsv)) == ["x"]
    assert failure(make_receiver(ClaimsRsv1(), ClaimsRsv2And3()), frame(PING, rsv=4)).code == 1002


@pytest.mark.row(61)
def test_extensions_are_undone_in_the_reverse_order() -> None:
    order: list[str] = []

    class Notes(ActiveExtension):
        def __init__(self, name: str) -> None:
            self.name = name

        def decode(self, frame: Frame, budget: int | None) -> Frame | None:
            order.append(self.name)
            return frame

        def decode_message(self, message: Message) -> Message:
            order.append(self.name.upper())
            return message

    assert receive(make_receiver(Notes("a"), Notes("b")), frame(TEXT, "x")) == ["x"]
    assert order == ["b", "a", "B", "A"]


@pytest.mark.parametrize("chunk", [0, 1])
def test_no_frame_is_made_for_a_sole_extension_that_changes_payloads(chunk: int) -> None:
    extension = Reversing()
    data = frame(TEXT, "abc", rsv=2) + frame(BINARY, b"abc", rsv=2) + frame(TEXT, "as it is")
    assert receive(make_receiver(extension, max_message_size=99), data) == [
        "cba",
        b"cba",
        "as it is",
    ]
    assert (extension.frames, extension.budgets) == (0, [99, 99])


def test_fragments_are_frames_for_it_too() -> None:
    extension = Reversing()
    begun = frame(TEXT, "ab", fin=False, rsv=2)
    assert receive(make_receiver(extension), begun + frame(CONTINUATION, "cd", rsv=2)) == ["badc"]
    assert extension.frames == 2
    assert failure(make_receiver(extension), begun + frame(TEXT, "x", rsv=2)).code == 1002


def test_marked_control_frames_are_decoded_too() -> None:
    extension = ClaimsRsv2And3()
    receive(make_receiver(extension), frame(PING, b"x", rsv=3) + frame(PONG, b"y"))
    assert extension.seen == [Frame(Opcode.PING, b"x", rsv2=True, rsv3=True)]


@pytest.mark.parametrize("chunk", [0, 1])
@pytest.mark.row(98, 121)
def test_claimed_opcodes_reach_their_extension(chunk: int) -> None:
    extension = ClaimsOpcodes()
    data = frame(0x3, b"gone") + frame(0xB, b"told", rsv=1) + frame(0x3, b"", rsv=1)
    assert receive(make_receiver(extension), data, chunk) == ["told"]
    assert [(seen.opcode, seen.rsv3) for seen in extension.seen] == [
        (0x3, False),
        (0xB, True),
        (0x3, True),
    ]


def test_control_frames_can_be_swallowed() -> None:
    class Swallows(Claims):
        opcodes = frozenset({0xB})

        def decode(self, frame: Frame, budget: int | None) -> Frame | None:
            return None if frame.opcode == 0xB else frame

    assert receive(make_receiver(Swallows()), frame(0xB, b"x") + frame(TEXT, "y")) == ["y"]


@pytest.mark.parametrize("opcode", [0x3, 0xB])
def test_claimed_opcodes_have_to_be_decoded(opcode: int) -> None:
    error = failure(make_receiver(ClaimsWithoutDecoding()), frame(opcode, b"x"))
    assert error.code == 1002
    assert "left undecoded" in error.reason


@pytest.mark.parametrize("opcode", [0x4, 0xC])
@pytest.mark.row(98)
def test_opcodes_beside_the_claimed_ones_stay_unknown(opcode: int) -> None:
    assert failure(make_receiver(ClaimsOpcodes()), frame(opcode)).code == 1002


def test_message_hooks_change_whole_messages_of_both_kinds() -> None:
    class Doubles(ActiveExtension):
        def decode_message(self, message: Message) -> Message:
            if isinstance(message, TextMessage):
                return TextMessage(message.data * 2)
            return BinaryMessage(message.data * 2)

    data = frame(TEXT, "a", fin=False) + frame(CONTINUATION, "b") + frame(BINARY, b"c")
    assert receive(make_receiver(Doubles()), data) == ["abab", b"cc"]


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_extension_gets_whole_frames_unless_it_streams(chunk: int) -> None:
    extension = ClaimsRsv1()
    data = frame(TEXT, "abc", rsv=4, fin=False) + frame(PING) + frame(CONTINUATION, "def")
    receive(make_receiver(extension), data, chunk)
    assert extension.seen == [
        Frame(Opcode.TEXT, b"abc", fin=False, rsv1=True),
        Frame(Opcode.CONTINUATION, b"def"),
    ]


def test_streaming_extension_gets_an_unfinished_frame_in_parts() -> None:
    extension = ClaimsRsv2And3()
    data = frame(TEXT, "abc", rsv=2)
    receiver = make_receiver(extension)
    receive(receiver, data[:-3])
    receive(receiver, data[-3:], chunk=2)
    assert extension.seen == [
        Frame(Opcode.TEXT, b"ab", fin=False, rsv2=True, partial=True),
        Frame(Opcode.CONTINUATION, b"c"),
    ]


@pytest.mark.row(118)
def test_bad_text_fails_within_a_frame_under_a_streaming_extension() -> None:
    data = frame(TEXT, b"ab\xffcdef", rsv=2)
    assert fails_exactly_at_the_end(data[:-4], make_receiver(ClaimsRsv2And3())) == 1007


@pytest.mark.row(127)
def test_frame_far_beyond_the_limit_fails_by_its_header_under_extensions_too() -> None:
    limit = 1000
    most = limit + limit // 4 + 1024
    receiver = make_receiver(ActiveExtension(), max_message_size=limit)
    assert receive(receiver, frame(BINARY, length=most)) == []
    receiver = make_receiver(ActiveExtension(), max_message_size=limit)
    assert fails_exactly_at_the_end(frame(BINARY, length=most + 1), receiver) == 1009
    receiver = make_receiver(ActiveExtension(), max_message_size=None)
    assert receive(receiver, frame(BINARY, length=2**62)) == []


def test_extension_is_told_how_large_its_result_may_be() -> None:
    budgets: list[int | None] = []

    class Asks(ActiveExtension):
        def decode(self, frame: Frame, budget: int | None) -> Frame | None:
            budgets.append(budget)
            return frame

    data = frame(TEXT, "abc", fin=False) + frame(CONTINUATION, "de") + frame(TEXT, "f")
    receive(make_receiver(Asks(), max_message_size=10), data)
    receive(make_receiver(Asks(), max_message_size=None), frame(TEXT, "g"))
    assert budgets == [10, 7, 10, None]


# --- the most frequent input ---


def test_messages_of_one_frame_are_taken_at_once() -> None:
    receiver = make_receiver()
    receiver.feed(frame(TEXT, "a") + frame(BINARY, b"b") + frame(TEXT, "c"), 0)
    assert receiver.take_messages(2) == ["a", b"b"]
    assert receiver.input
    assert receiver.take_messages(2) == ["c"]
    assert not receiver.input
    assert receiver.take_messages(2) == []


def test_only_whole_messages_are_taken_at_once() -> None:
    receiver = make_receiver()
    receiver.feed(frame(TEXT, "a", fin=False) + frame(TEXT, "b"), 0)
    assert receiver.take_messages(9) == []
    with pytest.raises(ProtocolError):
        receiver.next_event()
    assert receiver.take_messages(9) == [], "a message is under way"


# --- large payloads ---

LARGE_DATA = bytes(range(256)) * (2 * LARGE // 256)


def begin(receiver: Receiver, data: bytes) -> Payload:
    """Feed the beginning of a large frame."""
    receiver.feed(data, 0)
    assert receiver.next_event() is None
    assert receiver.payload is not None
    return receiver.payload


def fill(receiver: Receiver, payload: Payload, data: bytes) -> Data | None:
    payload.room[: len(data)] = data
    message = receiver.payload_received(len(data))
    return message.finish() if isinstance(message, Payload) else message


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("early", [0, 1, 5000])
def test_large_payload_is_received_in_place(role: Role, early: int) -> None:
    receiver = make_receiver(role=role)
    data = frame(BINARY, LARGE_DATA, **({} if role == "server" else {"key": None}))
    start = len(data) - len(LARGE_DATA) + early
    payload = begin(receiver, data[:start])
    assert fill(receiver, payload, data[start:-1]) is None
    assert fill(receiver, payload, data[-1:]) == LARGE_DATA
    assert receiver.payload is None
    assert receive(receiver, frame(TEXT, "next") if role == "server" else b"") == (
        ["next"] if role == "server" else []
    )


def test_large_payload_may_come_as_any_other() -> None:
    data = frame(BINARY, LARGE_DATA) + frame(TEXT, "next")
    assert receive(make_receiver(), data, chunk=999) == [LARGE_DATA, "next"]


def test_large_fragments_are_received_in_place() -> None:
    receiver = make_receiver()
    receiver.feed(frame(BINARY, LARGE_DATA[:10], fin=False), 0)
    assert receiver.next_event() is None
    data = frame(CONTINUATION, LARGE_DATA[10:])
    payload = begin(receiver, data[:14])
    assert fill(receiver, payload, data[14:]) == LARGE_DATA


@pytest.mark.parametrize("first", [TEXT, CONTINUATION])
def test_text_is_checked_as_it_arrives_and_not_received_in_place(first: int) -> None:
    receiver = make_receiver()
    if first == CONTINUATION:
        receiver.feed(frame(TEXT, "a", fin=False), 0)
    data = frame(first, b"a" * LARGE + b"\xff")
    receiver.feed(data[:20], 0)
    assert receiver.next_event() is None
    assert receiver.payload is None
    assert failure(receiver, data[20:]).code == 1007


def test_extensions_get_frames_and_nothing_is_received_in_place() -> None:
    receiver = make_receiver(ActiveExtension())
    data = frame(BINARY, LARGE_DATA)
    receiver.feed(data[:20], 0)
    assert receiver.next_event() is None
    assert receiver.payload is None
    assert receive(receiver, data[20:]) == [LARGE_DATA]


def test_no_memory_is_taken_for_the_mere_word_of_a_huge_payload() -> None:
    receiver = make_receiver(max_message_size=None, max_frame_size=None)
    receiver.feed(bytes((0x82, 0xFF)) + (1 << 62).to_bytes(8, "big") + b"keysome", 0)
    assert receiver.next_event() is None
    assert receiver.payload is None
    assert receiver.take_fragment() is not None


@pytest.mark.parametrize("early", [0, 7])
def test_large_payload_is_split_where_its_message_is_taken_in_pieces(early: int) -> None:
    receiver = make_receiver()
    data = frame(BINARY, LARGE_DATA)
    begin(receiver, data[: 14 + early])
    assert receiver.take_fragment() == (LARGE_DATA[:early] or None)
    assert receiver.payload is None
    rest = receive(receiver, data[14 + early : -10])
    assert rest == []
    assert receiver.take_fragment() == LARGE_DATA[early:-10]
    assert receive(receiver, data[-10:]) == [LARGE_DATA[-10:]]


def test_stopping_gives_a_large_payload_up() -> None:
    receiver = make_receiver()
    begin(receiver, frame(BINARY, LARGE_DATA)[:20])
    receiver.stop()
    assert receiver.payload is None


# --- memory of others ---


def test_what_is_not_used_is_kept_when_the_memory_is_needed_again() -> None:
    receiver = make_receiver()
    data = frame(PING, "abc")
    memory = bytearray(data[:5])
    receiver.feed(memoryview(memory), 0)
    assert receiver.next_event() is None
    receiver.keep()
    memory[:] = bytes(5)
    assert receive(receiver, data[5:]) == [Frame(PING, b"abc")]
