"""One end of a connection, bytes in and bytes out: messages, pings, time.

Bytes come from code that shares nothing with the package; a pair of endpoints talks further
below.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.endpoints import NOW, ended, make, output, receive, ring
from tests.core.pair import ConnectionPair, Ending
from tests.core.reversing import Reversing
from tests.core.wire import close, close_of
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Received, frame
from ws_middleware.core.endpoint import MAX_UNANSWERED_PINGS, Endpoint, State
from ws_middleware.core.extensions import ActiveExtension
from ws_middleware.core.frames import RSV2, Frame, Opcode
from ws_middleware.core.messages import BinaryMessage, Fragment, Message, Ping, Pong, TextMessage
from ws_middleware.core.receiver import Receiver
from ws_middleware.errors import ConnectionClosed

# --- messages ---


def test_fresh_connection_is_open_and_quiet() -> None:
    endpoint = make()
    assert endpoint.state is State.OPEN
    assert endpoint.next_message() is None
    assert endpoint.data_to_send() == b""
    assert (endpoint.close_code, endpoint.close_reason) == (None, None)
    assert not endpoint.queue


@pytest.mark.row(124)
def test_messages_come_out_in_their_order() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "one") + frame(BINARY, b"two"), NOW)
    assert endpoint.messages_waiting == 2
    assert [endpoint.next_message() for _ in range(3)] == ["one", b"two", None]


def test_plain_messages_may_take_the_lanes_while_it_is_open() -> None:
    endpoint = make(max_queue=3)
    assert endpoint.lanes is not None
    intake, outlet = endpoint.lanes
    assert (intake.capacity, intake.is_answered) == (3, True)
    intake.feed(frame(TEXT, "a"), 9)
    assert endpoint.next_message() == "a"
    assert not intake.is_answered
    assert outlet.send_whole("b")
    assert (output(endpoint), endpoint.messages_sent) == ([(TEXT, b"b", True, 0)], 1)
    endpoint.close(1000)
    assert (intake.capacity, outlet.send_whole("c")) == (0, False)


@pytest.mark.parametrize("end", [lambda endpoint: endpoint.receive_data(b"", NOW), Endpoint.lose])
def test_lanes_end_with_the_stream(end: Callable[[Endpoint], None]) -> None:
    endpoint = make()
    assert endpoint.lanes is not None
    end(endpoint)
    assert endpoint.lanes[0].capacity == 0


@pytest.mark.row(114, 115)
def test_pongs_nobody_asked_for_have_no_effect() -> None:
    endpoint = make()
    assert receive(endpoint, frame(PONG, b"why not")) == []
    assert endpoint.data_to_send() == b""
    assert endpoint.acknowledged == ()


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
@pytest.mark.row(113, 114)
def test_ping_is_answered_with_its_payload(payload: bytes) -> None:
    endpoint = make()
    endpoint.receive_data(frame(PING, payload), NOW)
    assert output(endpoint) == [Received(PONG, payload, True, 0)]


@pytest.mark.row(108, 113)
def test_ping_inside_a_fragmented_message_is_answered_at_once() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "frag", fin=False) + frame(PING, b"!"), NOW)
    assert output(endpoint) == [Received(PONG, b"!", True, 0)]
    assert receive(endpoint, frame(CONTINUATION, "ments")) == ["fragments"]


@pytest.mark.row(114)
def test_unwritten_pongs_are_bounded() -> None:
    endpoint = make()
    for number in range(1000):
        endpoint.receive_data(frame(PING, b"%d" % number) * 10, NOW)
    answers = output(endpoint)
    assert len(answers) <= 32
    assert answers[-1].payload == b"999"


def test_control_frames_are_observed_where_asked_for() -> None:
    endpoint = make(observe_control=True)
    data = frame(TEXT, "a") + frame(PING, b"b") + frame(PONG, b"c") + frame(TEXT, "d")
    assert receive(endpoint, data) == ["a", Ping(b"b"), Pong(b"c"), "d"]


def test_control_frames_are_not_observed_otherwise() -> None:
    assert receive(make(), frame(PING, b"b") + frame(PONG, b"c")) == []


def test_everything_is_counted() -> None:
    endpoint = make()
    data = frame(TEXT, "frag", fin=False) + frame(PING) + frame(CONTINUATION, "ments")
    receive(endpoint, data, frame(TEXT, "whole"))
    endpoint.send_message("one")
    endpoint.send_fragment("t", final=False)
    endpoint.send_fragment("wo", final=True)
    written = endpoint.data_to_send()
    assert (endpoint.messages_received, endpoint.messages_sent) == (2, 2)
    assert endpoint.bytes_received == len(data) + len(frame(TEXT, "whole"))
    assert endpoint.bytes_sent == len(written) > 0


# --- the queue ---


def test_queue_is_full_at_its_limit() -> None:
    endpoint = make(max_queue=2)
    fullness = []
    for text in ("a", "b", "c"):
        endpoint.receive_data(frame(TEXT, text), NOW)
        fullness.append((endpoint.is_full, endpoint.messages_waiting))
    assert fullness == [(False, 1), (True, 2), (True, 2)]
    assert receive(endpoint) == ["a", "b", "c"]


def test_backlog_behind_a_full_queue_is_not_lost() -> None:
    endpoint = make(max_queue=2)
    texts = [str(number) for number in range(50)]
    endpoint.receive_data(b"".join(frame(TEXT, text) for text in texts), NOW)
    assert endpoint.queue == ["0", "1"]
    assert receive(endpoint) == texts
    assert not endpoint.queue


def test_queue_stays_full_as_long_as_more_waits_behind_it() -> None:
    endpoint = make(max_queue=2)
    endpoint.receive_data(b"".join(frame(TEXT, text) for text in "abcd"), NOW)
    fullness = []
    for _ in range(4):
        fullness.append(endpoint.is_full)
        endpoint.next_message()
    assert fullness == [True, True, True, False]


@pytest.mark.row(136)
def test_close_frame_behind_a_full_queue_ends_our_closing_handshake() -> None:
    endpoint = make(max_queue=2)
    endpoint.receive_data(frame(TEXT, "a") * 5 + close(1001), NOW)
    assert endpoint.next_message() == "a"
    endpoint.close(1000)
    assert endpoint.wants_half_close
    assert ended(endpoint).code == 1001


@pytest.mark.row(156)
@pytest.mark.parametrize("end", [b"", close(1000)], ids=["end of stream", "close frame"])
def test_backlog_before_the_end_is_not_lost(end: bytes) -> None:
    endpoint = make(max_queue=2, observe_control=True)
    texts = [str(number) for number in range(50)]
    endpoint.receive_data(b"".join(frame(TEXT, text) for text in texts) + frame(PING) + end, NOW)
    assert endpoint.next_message() == "0"
    endpoint.receive_data(b"", NOW)
    *messages, closed = receive(endpoint)
    assert messages == [*texts[1:], Ping(b"")]
    assert isinstance(closed, ConnectionClosed)
    assert closed.code == (1000 if end else 1006)
    assert ("without a close frame" in closed.detail) is not bool(end)


@pytest.mark.row(142)
def test_violation_in_the_backlog_behind_the_end_of_the_stream_is_one() -> None:
    endpoint = make(max_queue=1)
    endpoint.receive_data(frame(TEXT, "a") + frame(TEXT, "b") + frame(TEXT, rsv=1), NOW)
    endpoint.receive_data(b"", NOW)
    assert [endpoint.next_message(), endpoint.next_message()] == ["a", "b"]
    assert ended(endpoint).sent_code == 1002


# --- sending ---


@pytest.mark.row(123)
def test_messages_and_fragments_leave_in_their_order() -> None:
    endpoint = make()
    endpoint.send_message("text")
    endpoint.send_fragment(b"frag", final=False)
    assert endpoint.is_fragmenting
    assert not endpoint.can_send_at_once
    endpoint.send_fragment(b"ments", final=True)
    assert output(endpoint) == [
        Received(TEXT, b"text", True, 0),
        Received(BINARY, b"frag", False, 0),
        Received(CONTINUATION, b"ments", True, 0),
    ]


def test_custom_frame_leaves_as_it_is() -> None:
    endpoint = make()
    endpoint.send_frame(Frame(0x7, b"x", rsv2=True))
    assert output(endpoint) == [Received(0x7, b"x", True, 2)]


def test_custom_frame_of_a_client_can_choose_its_key() -> None:
    endpoint = make(role="client")
    endpoint.send_frame(Frame(Opcode.TEXT, b"aaaa"), key=b"aaaa")
    assert endpoint.data_to_send() == b"\x81\x84aaaa\0\0\0\0"


def test_close_frame_is_no_custom_frame() -> None:
    with pytest.raises(ValueError, match="close"):
        make().send_frame(Frame(Opcode.CLOSE))


def test_pong_can_be_sent_unasked() -> None:
    endpoint = make()
    endpoint.pong(b"alive")
    assert output(endpoint) == [Received(PONG, b"alive", True, 0)]


SENDINGS: list[Callable[[Endpoint], None]] = [
    lambda endpoint: endpoint.send_message("x"),
    lambda endpoint: endpoint.send_fragment("x", final=False),
    lambda endpoint: endpoint.send_frame(Frame(Opcode.TEXT)),
    lambda endpoint: endpoint.ping(b"", NOW),
    lambda endpoint: endpoint.pong(b""),
]


def test_messages_may_be_sent_at_once_until_the_closing_begins() -> None:
    endpoint = make(max_queue=1)
    assert endpoint.can_send_at_once
    endpoint.receive_data(frame(TEXT, "unanswered") + close(1000), NOW)
    endpoint.next_message()
    assert endpoint.can_send
    assert not endpoint.can_send_at_once


@pytest.mark.parametrize("sending", SENDINGS)
@pytest.mark.row(122, 133, 139)
def test_nothing_leaves_behind_our_close(sending: Callable[[Endpoint], None]) -> None:
    endpoint = make()
    endpoint.close(1000)
    assert not endpoint.can_send
    with pytest.raises(ConnectionClosed):
        sending(endpoint)
    endpoint.receive_data(frame(PING, b"?"), NOW)
    assert close_of(endpoint.data_to_send()) == (1000, "")
    assert endpoint.messages_sent == 0


@pytest.mark.parametrize("sending", SENDINGS)
@pytest.mark.row(122)
def test_nothing_can_be_sent_over_a_lost_connection(sending: Callable[[Endpoint], None]) -> None:
    endpoint = make()
    endpoint.lose("cable cut")
    with pytest.raises(ConnectionClosed, match=r"1006 by the peer - cable cut"):
        sending(endpoint)
    assert endpoint.data_to_send() == b""


# --- pings of the application ---


def test_latency_is_the_time_between_ping_and_pong() -> None:
    endpoint = make()
    endpoint.ping(b"a", NOW)
    assert output(endpoint) == [Received(PING, b"a", True, 0)]
    receive(endpoint, frame(PONG, b"a"), now=NOW + 0.25)
    assert endpoint.acknowledged == [(b"a", 0.25)]
    assert endpoint.latency == 0.25
    assert endpoint.changed


@pytest.mark.row(114)
def test_pong_answers_its_ping_and_all_before_it() -> None:
    endpoint = make()
    for payload, now in ((b"a", 1.0), (b"b", 2.0), (b"c", 3.0)):
        endpoint.ping(payload, NOW + now)
    receive(endpoint, frame(PONG, b"b"), now=NOW + 5)
    assert endpoint.acknowledged == [(b"a", 4.0), (b"b", 3.0)]
    receive(endpoint, frame(PONG, b"a") + frame(PONG, b"c"), now=NOW + 6)
    assert endpoint.acknowledged[2:] == [(b"c", 3.0)]


def test_latency_is_measured_when_the_pong_arrives_not_when_it_is_read() -> None:
    endpoint = make(max_queue=1)
    endpoint.ping(b"a", NOW)
    endpoint.receive_data(frame(TEXT, "x") * 3 + frame(PONG, b"a"), NOW + 2)
    assert endpoint.latency is None
    assert receive(endpoint) == ["x"] * 3
    assert endpoint.acknowledged == [(b"a", 2.0)]


def test_remembered_pings_are_bounded() -> None:
    endpoint = make()
    for number in range(MAX_UNANSWERED_PINGS + 10):
        endpoint.ping(b"%d" % number, NOW)
    receive(endpoint, frame(PONG, b"9"))
    assert endpoint.acknowledged == (), "too old to be remembered"
    receive(endpoint, frame(PONG, b"%d" % (MAX_UNANSWERED_PINGS + 9)))
    assert len(endpoint.acknowledged) == MAX_UNANSWERED_PINGS


# --- keepalive ---


def test_silent_peer_is_pinged_and_then_dropped() -> None:
    endpoint = make(ping_interval=20, ping_timeout=5)
    assert ring(endpoint, NOW) == NOW + 20
    assert output(endpoint) == [Received(PING, b"", True, 0)]
    assert ring(endpoint, NOW + 20) == NOW + 25
    assert endpoint.is_over
    assert endpoint.wants_abort
    assert endpoint.next_deadline(NOW) is None
    closed = ended(endpoint)
    assert closed.code == 1006
    assert "ping_timeout=5 s" in closed.detail


def test_any_byte_is_a_sign_of_life() -> None:
    endpoint = make(ping_interval=20, ping_timeout=5)
    ring(endpoint, NOW)
    receive(endpoint, frame(PONG)[:1], now=NOW + 24)
    assert endpoint.next_deadline(NOW) == NOW + 44
    receive(endpoint, frame(PONG)[1:], now=NOW + 30)
    assert endpoint.latency == 10


def test_too_early_a_call_does_nothing() -> None:
    endpoint = make(ping_interval=20)
    endpoint.handle_timeout(NOW + 19)
    assert endpoint.data_to_send() == b""


def test_too_late_a_call_does_nothing() -> None:
    endpoint = make(ping_interval=20)
    endpoint.lose()
    endpoint.handle_timeout(NOW + 20)
    assert endpoint.data_to_send() == b""


def test_without_keepalive_there_is_no_deadline() -> None:
    assert make(ping_interval=None).next_deadline(NOW) is None


def test_extensions_rest_where_nothing_is_sent_between_two_pings() -> None:
    extension = Reversing()
    endpoint = make(extension, ping_interval=20)
    rests, now = [], NOW
    for sends in (True, False, False, True, False):
        if sends:
            endpoint.send_message("x")
        now = ring(endpoint, now)
        receive(endpoint, frame(PONG), now=now)
        rests.append(extension.rests)
    assert rests == [0, 1, 2, 2, 3]


def test_blocked_writes_are_silence_too_and_add_no_pings() -> None:
    endpoint = make(ping_interval=20, ping_timeout=5)
    endpoint.write_blocked = True
    ring(endpoint, NOW)
    assert endpoint.data_to_send() == b""
    ring(endpoint, NOW + 20)
    assert endpoint.is_over


def test_progress_of_writing_is_a_sign_of_life() -> None:
    endpoint = make(ping_interval=20, ping_timeout=5)
    endpoint.write_blocked = True
    ring(endpoint, NOW)
    endpoint.write_progressed(NOW + 24)
    assert endpoint.next_deadline(NOW) == NOW + 44


def test_peer_is_not_dropped_while_its_messages_wait_for_us() -> None:
    endpoint = make(max_queue=1, ping_interval=20, ping_timeout=5)
    endpoint.receive_data(frame(TEXT, "unread"), NOW)
    ring(endpoint, NOW)
    ring(endpoint, NOW)
    assert not endpoint.is_over
    assert endpoint.next_deadline(NOW) == NOW + 45


def test_peer_is_dropped_when_it_takes_nothing_though_its_messages_wait() -> None:
    endpoint = make(max_queue=1, ping_interval=20, ping_timeout=5)
    endpoint.receive_data(frame(TEXT, "unread"), NOW)
    endpoint.write_blocked = True
    ring(endpoint, NOW)
    ring(endpoint, NOW)
    assert endpoint.is_over


# --- credentials that expire ---


@pytest.mark.parametrize("interval", [None, 20])
def test_connection_is_closed_when_its_credentials_expire(interval: float | None) -> None:
    endpoint = make(ping_interval=interval)
    endpoint.expire_at(NOW + 10)
    assert endpoint.changed
    endpoint.handle_timeout(NOW + 9.9)
    assert output(endpoint) == []
    assert ring(endpoint, NOW) == NOW + 10
    (closing,) = output(endpoint)
    assert closing.payload == b"\x11\x31the credentials have expired"
    assert endpoint.state is State.CLOSING
    assert ring(endpoint, NOW + 10) == NOW + 20  # close_timeout, whatever expires
    assert endpoint.is_over


def test_credentials_may_be_renewed_and_live_for_ever() -> None:
    endpoint = make(ping_interval=20)
    endpoint.expire_at(NOW + 10)
    endpoint.expire_at(NOW + 15)
    assert endpoint.next_deadline(NOW) == NOW + 15
    endpoint.expire_at(None)
    assert endpoint.next_deadline(NOW) == NOW + 20


def test_ping_is_sent_before_what_expires_later() -> None:
    endpoint = make(ping_interval=20)
    endpoint.expire_at(NOW + 30)
    assert ring(endpoint, NOW) == NOW + 20
    assert [one.opcode for one in output(endpoint)] == [PING]


# --- taking a message in pieces ---


def test_fragments_are_taken_as_they_arrive() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "one", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("one", final=False)
    assert endpoint.next_fragment() is None
    endpoint.receive_data(frame(CONTINUATION, "two", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("two", final=False)
    endpoint.receive_data(frame(CONTINUATION, "three"), NOW)
    assert endpoint.next_fragment() == Fragment("three", final=True)
    assert receive(endpoint, frame(TEXT, "next")) == ["next"]


def test_whole_message_is_one_final_fragment() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "whole") + frame(BINARY, b"begun", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("whole", final=True)
    assert endpoint.next_fragment() == Fragment(b"begun", final=False)


def test_rest_of_a_message_that_was_given_up_is_dropped() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "one", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("one", final=False)
    assert receive(endpoint, frame(CONTINUATION, "two") + frame(TEXT, "next")) == ["next"]
    assert endpoint.messages_received == 2


def test_pieces_of_a_message_that_was_given_up_are_dropped() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "one", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("one", final=False)
    endpoint.give_up_message()
    endpoint.receive_data(frame(CONTINUATION, "two", fin=False), NOW)
    assert endpoint.next_fragment() is None
    endpoint.receive_data(frame(CONTINUATION, "three") + frame(TEXT, "next", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("next", final=False)


def test_giving_up_between_messages_drops_nothing() -> None:
    endpoint = make()
    endpoint.give_up_message()
    endpoint.receive_data(frame(TEXT, "one", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("one", final=False)


def test_control_frames_may_be_observed_between_pieces() -> None:
    endpoint = make(observe_control=True)
    endpoint.receive_data(frame(TEXT, "one", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment("one", final=False)
    endpoint.receive_data(frame(PING, b"?"), NOW)
    assert endpoint.next_fragment() == Ping(b"?")
    assert receive(endpoint, frame(CONTINUATION, "given up") + frame(TEXT, "next")) == ["next"]


def test_pieces_are_limited_as_a_whole() -> None:
    endpoint = make(max_message_size=5)
    endpoint.receive_data(frame(BINARY, b"abc", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment(b"abc", final=False)
    endpoint.receive_data(frame(CONTINUATION, b"def"), NOW)
    item = endpoint.next_fragment()
    assert isinstance(item, ConnectionClosed)
    assert item.sent_code == 1009


@pytest.mark.parametrize("end", [b"", close(1000), frame(TEXT, rsv=1)])
def test_no_piece_comes_behind_the_end(end: bytes) -> None:
    endpoint = make()
    endpoint.receive_data(frame(BINARY, b"abc", fin=False), NOW)
    endpoint.receive_data(end, NOW)
    assert isinstance(endpoint.next_fragment(), ConnectionClosed)


@pytest.mark.row(134)
def test_piece_is_a_message_to_answer() -> None:
    endpoint = make()
    endpoint.receive_data(frame(BINARY, b"abc", fin=False), NOW)
    assert endpoint.next_fragment() == Fragment(b"abc", final=False)
    endpoint.receive_data(close(1000), NOW)
    endpoint.send_message("got some of it")
    assert isinstance(endpoint.next_fragment(), ConnectionClosed)
    assert [received.opcode for received in output(endpoint)] == [TEXT, CLOSE]


# --- a user's own extension ---


class Shift(ActiveExtension):
    """Shift the letters of marked frames, mark those that are sent, and talk by opcode 0xB."""

    reserved_bits = RSV2
    opcodes = frozenset({0xB})

    def __init__(self) -> None:
        self.notes: list[bytes] = []

    def encode(self, frame: Frame) -> Frame:
        return frame._replace(payload=_shift(frame.payload, 1), rsv2=True)

    def decode(self, frame: Frame, budget: int | None) -> Frame | None:
        if frame.opcode == 0xB:
            self.notes.append(frame.payload)
            return None
        if not frame.rsv2:
            return frame
        return frame._replace(payload=_shift(frame.payload, -1), rsv2=False)


class Envelope(ActiveExtension):
    """Put whole messages into brackets."""

    def encode_message(self, message: Message) -> Message:
        assert isinstance(message, TextMessage)
        return TextMessage(f"[{message.data}]")

    def decode_message(self, message: Message) -> Message:
        if isinstance(message, BinaryMessage):
            return message
        return TextMessage(message.data[1:-1])


def _shift(payload: bytes, by: int) -> bytes:
    return bytes(byte + by & 0xFF for byte in payload)


@pytest.mark.row(61, 121)
def test_extensions_of_users_change_frames_and_messages() -> None:
    endpoint = make(Envelope(), Shift())
    endpoint.send_message("abc")
    endpoint.ping(b"abc", NOW)
    assert output(endpoint) == [
        Received(TEXT, b"\\bcd^", True, 2),
        Received(PING, b"abc", True, 0),
    ]
    data = frame(TEXT, b"\\bc", rsv=2, fin=False) + frame(CONTINUATION, b"d^", rsv=2)
    assert receive(endpoint, data + frame(BINARY, b"abc")) == ["abc", b"abc"]


def test_extensions_of_users_have_opcodes_of_their_own() -> None:
    extension = Shift()
    endpoint = make(extension)
    data = frame(TEXT, "a", fin=False) + frame(0xB, b"note") + frame(CONTINUATION, "b")
    assert receive(endpoint, data) == ["ab"]
    assert extension.notes == [b"note"]
    endpoint.send_frame(Frame(0xB, b"reply"))
    assert output(endpoint) == [Received(0xB, b"reply", True, 0)]


# --- two endpoints ---

CHUNKS = pytest.mark.parametrize("chunk", [0, 1, 2], ids=["whole", "bytes", "pairs"])


@CHUNKS
@pytest.mark.row(93, 95, 106, 124)
def test_dialogue_however_it_is_chopped(chunk: int) -> None:
    pair = ConnectionPair(chunk=chunk)
    pair.client.send_message("héllo")
    pair.client.send_fragment(b"in ", final=False)
    pair.client.ping(b"?", pair.now)
    pair.client.send_fragment(b"pieces", final=True)
    pair.server.send_message(bytes(70000))
    pair.run()
    assert pair.at_server == ["héllo", b"in pieces"]
    assert pair.at_client == [bytes(70000)]
    assert pair.client.acknowledged == [(b"?", 0.0)]
    pair.client.close(4000, "done")
    pair.run()
    assert pair.server_end.ending == Ending(4000, "done", by_peer=True)
    assert pair.client_end.ending == Ending(4000, "", by_peer=False)
    assert pair.client.is_over
    assert pair.server.is_over


@CHUNKS
@pytest.mark.row(134, 136, 138)
def test_server_closes_however_it_is_chopped(chunk: int) -> None:
    pair = ConnectionPair(chunk=chunk)
    pair.client.send_message("crosses the close frame")
    pair.server.close(1001, "restart")
    pair.run()
    assert pair.client_end.ending == Ending(1001, "restart", by_peer=True)
    assert pair.server_end.ending == Ending(1001, "", by_peer=False)
    assert pair.at_server == []
    assert not pair.client.wants_abort
    assert not pair.server.wants_abort


@CHUNKS
@pytest.mark.row(141)
def test_both_close_at_once_however_it_is_chopped(chunk: int) -> None:
    pair = ConnectionPair(chunk=chunk)
    pair.client.close(4001, "client")
    pair.server.close(4002, "server")
    pair.run()
    assert pair.client_end.ending == Ending(4002, "server", by_peer=False)
    assert pair.server_end.ending == Ending(4001, "client", by_peer=False)
    assert pair.client.is_over
    assert pair.server.is_over


@CHUNKS
@pytest.mark.row(142)
def test_client_is_told_why_the_server_failed_it_however_it_is_chopped(chunk: int) -> None:
    pair = ConnectionPair(chunk=chunk, max_message_size=1000)
    pair.client.send_message("fine")
    pair.client.send_message(bytes(1001))
    pair.run()
    assert pair.at_server == ["fine"]
    ending = pair.client_end.ending
    assert ending is not None
    assert (ending.code, ending.by_peer) == (1009, True)
    assert "max_message_size=1000" in ending.reason
    assert pair.client.is_over
    assert pair.server.is_over


def test_silent_connections_are_kept_alive_by_pings() -> None:
    pair = ConnectionPair(ping_interval=20, ping_timeout=5)
    for _ in range(10):
        pair.now += 20
        for endpoint in (pair.client, pair.server):
            endpoint.handle_timeout(pair.now)
        pair.run()
    assert pair.client.state is State.OPEN
    assert pair.server.state is State.OPEN
    assert pair.client.latency == 0


# --- no memory ---


@pytest.mark.fault(102)
@pytest.mark.parametrize("step", ["feed", "take_messages", "next_event"])
def test_connection_ends_where_there_is_no_memory_for_its_input(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    endpoint = make()
    with monkeypatch.context() as patch:
        patch.setattr(Receiver, step, fail)
        receive(endpoint, frame(TEXT, "hello", fin=False))
    assert endpoint.wants_abort
    receive(endpoint, frame(TEXT, "hello"))
    closed = ended(endpoint)
    assert (closed.code, "no memory" in closed.detail) == (1006, True)


# --- large payloads ---


def test_large_payload_may_be_received_in_place() -> None:
    endpoint, payload = make(), bytes(range(256)) * 400
    data = frame(BINARY, payload)
    assert endpoint.room is None
    assert receive(endpoint, data[:1000]) == []
    assert endpoint.room is not None
    endpoint.room[:1000] = data[1000:2000]
    endpoint.room_filled(1000, NOW + 5)
    endpoint.room[:] = data[2000:]
    endpoint.room_filled(len(data) - 2000, NOW + 6)
    assert endpoint.room is None
    assert endpoint.next_message() == payload
    assert (endpoint.bytes_received, endpoint.messages_received) == (len(data), 1)


def test_bytes_in_a_room_are_a_sign_of_life() -> None:
    endpoint = make(ping_interval=20.0, ping_timeout=20.0)
    receive(endpoint, frame(BINARY, bytes(100_000))[:1000])
    endpoint.room_filled(1, NOW + 15)
    assert endpoint.next_deadline(NOW + 15) == NOW + 35


def test_memory_that_bytes_were_received_from_may_change() -> None:
    endpoint = make()
    data = frame(TEXT, "one") + frame(TEXT, "two")
    memory = bytearray(data[:-2])
    endpoint.receive_data(memoryview(memory), NOW)
    memory[:] = bytes(len(memory))
    assert endpoint.next_message() == "one"
    assert receive(endpoint, data[-2:]) == ["two"]
