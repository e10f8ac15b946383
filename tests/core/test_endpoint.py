"""One end of a connection, bytes in and bytes out: messages, closing, failing, time.

Bytes come from code that shares nothing with the package; a pair of endpoints talks further
below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.core.pair import ConnectionPair, Ending
from tests.core.reversing import Reversing
from tests.core.wire import INVALID_TEXT, close, close_of, read_frames
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Received, frame
from ws_middleware.core.endpoint import ANSWER_TIME, MAX_UNANSWERED_PINGS, Endpoint, Item, State
from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.core.frames import RSV2, Frame, Opcode
from ws_middleware.core.messages import BinaryMessage, Fragment, Message, Ping, Pong, TextMessage
from ws_middleware.core.receiver import Receiver
from ws_middleware.errors import ConnectionClosed, ProtocolError
from ws_middleware.options import Options

NOW = 100.0


def make(
    *extensions: ActiveExtension,
    role: Role = "server",
    observe_control: bool = False,
    **options: Any,
) -> Endpoint:
    settings = Options(extensions=(), **options)
    return Endpoint(role, settings, extensions, now=NOW, observe_control=observe_control)


def receive(endpoint: Endpoint, *data: bytes, now: float = NOW) -> list[Item]:
    """Feed bytes, and take all items there are, up to the end if it is there."""
    for piece in data:
        endpoint.receive_data(piece, now)
    items: list[Item] = []
    while (item := endpoint.next_message()) is not None:
        items.append(item)
        if isinstance(item, ConnectionClosed):
            break
    return items


def output(endpoint: Endpoint) -> list[Received]:
    return read_frames(endpoint.data_to_send())


def ended(endpoint: Endpoint) -> ConnectionClosed:
    """Give the end of the connection, which has to be the next item."""
    item = endpoint.next_message()
    assert isinstance(item, ConnectionClosed), item
    return item


def ring(endpoint: Endpoint, now: float) -> float:
    """Call `handle_timeout` when `now` says that it is wanted; returns when that was."""
    deadline = endpoint.next_deadline(now)
    assert deadline is not None
    endpoint.handle_timeout(deadline)
    return deadline


def wishes(endpoint: Endpoint) -> list[str]:
    """Tell what the endpoint wants of its driver."""
    facts = {
        "half close": endpoint.wants_half_close,
        "over": endpoint.is_over,
        "abort": endpoint.wants_abort,
    }
    return [name for name, wanted in facts.items() if wanted]


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
    endpoint.close()
    endpoint.data_to_send()
    endpoint.handle_timeout(NOW + 1000)
    assert not endpoint.is_over, "nobody was told of the deadline yet"
    deadline = endpoint.next_deadline(NOW)
    assert deadline is not None
    endpoint.handle_timeout(deadline - 0.1)
    assert not endpoint.is_over


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


# --- the peer closes ---


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4999])
@pytest.mark.parametrize("reason", ["", "good bye", "é" * 61 + "!"])
@pytest.mark.row(130, 134, 135, 140, 148, 149)
def test_close_code_is_echoed(code: int, reason: str) -> None:
    endpoint = make()
    endpoint.receive_data(close(code, reason), NOW)
    assert close_of(endpoint.data_to_send()) == (code, "")
    assert (endpoint.close_code, endpoint.close_reason) == (code, reason)
    closed = ended(endpoint)
    assert (closed.code, closed.reason, closed.by_peer) == (code, reason, True)
    assert closed.sent_code == code


@pytest.mark.row(130, 134, 135, 140)
def test_close_without_a_code_is_answered_alike() -> None:
    endpoint = make()
    endpoint.receive_data(close(None), NOW)
    assert close_of(endpoint.data_to_send()) == (None, "")
    assert (endpoint.close_code, endpoint.close_reason) == (1005, "")


@pytest.mark.row(131)
def test_close_body_of_one_byte_fails_the_connection() -> None:
    endpoint = make()
    endpoint.receive_data(frame(CLOSE, b"\x03"), NOW)
    code, reason = close_of(endpoint.data_to_send())
    assert code == 1002
    assert "5.5.1" in reason


@pytest.mark.parametrize("reason", [text for text, _ in INVALID_TEXT])
@pytest.mark.row(132)
def test_close_reason_has_to_be_utf_8(reason: bytes) -> None:
    endpoint = make()
    endpoint.receive_data(close(1000, reason), NOW)
    assert close_of(endpoint.data_to_send())[0] == 1007
    assert ended(endpoint).code == 1006, "a bad close frame is none"


@pytest.mark.parametrize(
    "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535]
)
@pytest.mark.row(146, 147, 148, 150)
def test_close_codes_that_must_not_be_used_fail_the_connection(code: int) -> None:
    endpoint = make()
    endpoint.receive_data(close(code), NOW)
    assert close_of(endpoint.data_to_send())[0] == 1002
    assert ended(endpoint).code == 1006


@pytest.mark.row(134, 137, 143)
def test_everything_behind_a_close_frame_is_ignored() -> None:
    endpoint = make()
    tail = frame(TEXT, "late") + frame(PING) + close(4000) + frame(7)
    items = receive(endpoint, close(1000) + tail, tail)
    assert [type(item) for item in items] == [ConnectionClosed]
    assert close_of(endpoint.data_to_send()) == (1000, "")
    assert endpoint.close_code == 1000
    assert endpoint.messages_received == 0


@pytest.mark.row(134, 156)
def test_messages_before_the_close_are_delivered_and_answered_first() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + frame(TEXT, "b") + close(1000), NOW)
    for text in ("a", "b"):
        assert endpoint.next_message() == text
        endpoint.send_message(text.upper())
    assert [received.opcode for received in output(endpoint)] == [TEXT, TEXT]
    assert ended(endpoint).code == 1000
    assert close_of(endpoint.data_to_send()) == (1000, "")


@pytest.mark.row(134, 154)
def test_answers_may_not_put_off_the_close_for_long() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + close(1000), NOW)
    assert endpoint.next_message() == "a"
    assert ring(endpoint, NOW) == NOW + ANSWER_TIME
    assert close_of(endpoint.data_to_send()) == (1000, "")
    with pytest.raises(ConnectionClosed):
        endpoint.send_message("too late")


def test_answers_have_no_longer_than_the_close_timeout() -> None:
    endpoint = make(close_timeout=0.25)
    endpoint.receive_data(frame(TEXT, "a") + close(1000), NOW)
    assert endpoint.next_deadline(NOW) == NOW + 0.25


@pytest.mark.row(134)
def test_close_of_ours_while_the_peer_waits_answers_it() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + frame(TEXT, "b") + close(4000), NOW)
    assert endpoint.next_message() == "a"
    endpoint.close(1001)
    assert close_of(endpoint.data_to_send()) == (4000, "")
    assert ended(endpoint).code == 4000


@pytest.mark.row(155)
def test_close_inside_a_fragmented_message_ends_the_connection() -> None:
    endpoint = make()
    items = receive(endpoint, frame(TEXT, "never finished", fin=False) + close(1001))
    assert [type(item) for item in items] == [ConnectionClosed]
    assert close_of(endpoint.data_to_send()) == (1001, "")


@pytest.mark.row(136, 137)
def test_server_ends_its_stream_behind_both_close_frames() -> None:
    endpoint = make()
    endpoint.receive_data(close(1000), NOW)
    assert wishes(endpoint) == ["half close"], "the peer's stream has not ended"
    endpoint.receive_data(b"", NOW)
    assert wishes(endpoint) == ["half close", "over"]
    assert endpoint.state is State.CLOSED


@pytest.mark.row(138)
def test_client_waits_for_the_server_to_end_its_stream_first() -> None:
    endpoint = make(role="client")
    endpoint.receive_data(close(1000, masked=False), NOW)
    assert wishes(endpoint) == []
    endpoint.receive_data(b"", NOW)
    assert wishes(endpoint) == ["over"]


# --- this side closes ---


@pytest.mark.row(139, 140, 151)
def test_close_starts_the_closing_handshake() -> None:
    endpoint = make()
    endpoint.close(1001, "going home")
    assert endpoint.state.name == "CLOSING"
    assert close_of(endpoint.data_to_send()) == (1001, "going home")
    assert (endpoint.close_code, endpoint.close_reason) == (None, None)
    assert endpoint.next_message() is None, "the answer may still come"
    endpoint.receive_data(close(1001), NOW)
    closed = ended(endpoint)
    assert (closed.code, closed.sent_code, closed.sent_reason) == (1001, 1001, "going home")
    assert not closed.by_peer


def test_close_without_a_code_can_be_sent() -> None:
    endpoint = make()
    endpoint.close(1005)
    assert close_of(endpoint.data_to_send()) == (None, "")


def test_closing_twice_sends_one_close_frame() -> None:
    endpoint = make()
    endpoint.close(1000)
    endpoint.close(1001)
    assert close_of(endpoint.data_to_send()) == (1000, "")


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65536, -1])
@pytest.mark.row(146, 147, 148, 150)
def test_codes_that_must_not_be_sent_are_refused(code: int) -> None:
    endpoint = make()
    with pytest.raises(ValueError, match=r"§7\.4"):
        endpoint.close(code)
    assert endpoint.state is State.OPEN
    assert endpoint.data_to_send() == b""


@pytest.mark.row(152)
def test_reason_has_to_fit_a_close_frame() -> None:
    endpoint = make()
    with pytest.raises(ValueError, match="123"):
        endpoint.close(1000, "é" * 62)
    with pytest.raises(UnicodeEncodeError):
        endpoint.close(1000, "\ud800")
    endpoint.close(1000, "é" * 61 + "!")
    assert close_of(endpoint.data_to_send()) == (1000, "é" * 61 + "!")


@pytest.mark.row(139)
def test_data_is_dropped_once_we_are_closing() -> None:
    endpoint = make(observe_control=True)
    endpoint.receive_data(frame(TEXT, "unread"), NOW)
    endpoint.close(1000)
    data = frame(TEXT, "late") + frame(PING) + frame(BINARY, b"begun", fin=False)
    assert receive(endpoint, data) == []
    assert endpoint.next_fragment() is None
    assert not endpoint.is_full
    assert endpoint.messages_received == 1


@pytest.mark.row(141)
def test_simultaneous_close_has_the_code_received() -> None:
    endpoint = make()
    endpoint.close(1000)
    endpoint.receive_data(close(1001, "me too"), NOW)
    assert close_of(endpoint.data_to_send()) == (1000, "")
    closed = ended(endpoint)
    assert (closed.code, closed.reason, closed.by_peer) == (1001, "me too", False)


@pytest.mark.row(154)
def test_peer_that_does_not_answer_our_close_is_dropped() -> None:
    endpoint = make(close_timeout=7)
    endpoint.close(1000)
    assert ring(endpoint, NOW + 1) == NOW + 8
    assert endpoint.is_over
    assert endpoint.wants_abort
    closed = ended(endpoint)
    assert closed.code == 1006
    assert "close_timeout=7 s" in closed.detail


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.row(138, 154)
def test_peer_that_does_not_end_its_stream_is_dropped(role: Role) -> None:
    endpoint = make(role=role, close_timeout=7)
    endpoint.receive_data(close(1000, masked=role == "server"), NOW)
    assert ring(endpoint, NOW + 1) == NOW + 8
    assert endpoint.is_over
    assert endpoint.wants_abort
    assert ended(endpoint).code == 1000


@pytest.mark.row(154)
def test_each_step_of_closing_has_its_own_time() -> None:
    endpoint = make(close_timeout=7)
    endpoint.close(1000)
    assert endpoint.next_deadline(NOW) == NOW + 7
    assert endpoint.next_deadline(NOW + 3) == NOW + 7, "asking does not prolong it"
    endpoint.receive_data(close(1000), NOW + 5)
    assert endpoint.next_deadline(NOW + 5) == NOW + 12


def test_over_is_over() -> None:
    endpoint = make()
    endpoint.abort()
    endpoint.handle_timeout(NOW + 1e6)
    endpoint.receive_data(b"", NOW)
    endpoint.close(1000)
    assert endpoint.data_to_send() == b""
    assert endpoint.state is State.CLOSED


# --- the stream ends, or is lost ---


@pytest.mark.parametrize("data", [b"", frame(TEXT, "half")[:-1], frame(TEXT, "a", fin=False)])
@pytest.mark.row(140)
def test_end_of_the_stream_without_a_close_is_1006(data: bytes) -> None:
    endpoint = make()
    if data:
        endpoint.receive_data(data, NOW)
    endpoint.receive_data(b"", NOW)
    assert endpoint.is_over
    assert (endpoint.close_code, endpoint.close_reason) == (1006, "")
    closed = ended(endpoint)
    assert (closed.code, closed.sent_code, closed.by_peer) == (1006, None, True)
    assert "without a close frame" in closed.detail
    assert endpoint.data_to_send() == b""


def test_messages_before_the_end_of_the_stream_can_be_answered() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a"), NOW)
    endpoint.receive_data(b"", NOW)
    assert endpoint.next_message() == "a"
    endpoint.send_message("A")
    assert [received.payload for received in output(endpoint)] == [b"A"]
    assert not endpoint.is_over
    assert ended(endpoint).code == 1006
    assert endpoint.is_over


@pytest.mark.row(154)
def test_answers_may_not_put_off_the_end_for_long() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a"), NOW)
    endpoint.receive_data(b"", NOW)
    assert endpoint.next_message() == "a"
    assert ring(endpoint, NOW) == NOW + ANSWER_TIME
    assert endpoint.is_over


def test_close_of_ours_behind_the_end_of_the_stream_ends_it() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a"), NOW)
    endpoint.receive_data(b"", NOW)
    endpoint.next_message()
    endpoint.close(1000)
    assert endpoint.is_over
    assert endpoint.data_to_send() == b""


def test_end_of_the_stream_instead_of_an_answer_is_1006() -> None:
    endpoint = make()
    endpoint.close(1000)
    endpoint.receive_data(b"", NOW)
    assert endpoint.is_over
    closed = ended(endpoint)
    assert (closed.code, closed.sent_code, closed.by_peer) == (1006, 1000, False)


@pytest.mark.row(156)
def test_close_and_end_of_the_stream_at_once_still_wait_for_the_answers() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + close(1000), NOW)
    endpoint.receive_data(b"", NOW)
    assert endpoint.next_message() == "a"
    endpoint.send_message("A")
    assert ended(endpoint).code == 1000
    assert [received.opcode for received in output(endpoint)] == [TEXT, CLOSE]
    assert endpoint.is_over


def test_loss_is_told_with_its_detail_and_only_once() -> None:
    endpoint = make()
    endpoint.lose("reset by peer")
    endpoint.lose("again")
    closed = ended(endpoint)
    assert (closed.code, closed.detail, closed.by_peer) == (1006, "reset by peer", True)


def test_loss_behind_a_close_changes_nothing() -> None:
    endpoint = make()
    receive(endpoint, close(1000))
    endpoint.lose("reset by peer")
    closed = ended(endpoint)
    assert (closed.code, closed.detail) == (1000, "")


def test_messages_before_the_loss_are_delivered() -> None:
    endpoint = make(max_queue=1)
    endpoint.receive_data(frame(TEXT, "a") + frame(TEXT, "b"), NOW)
    endpoint.lose()
    assert [endpoint.next_message(), endpoint.next_message()] == ["a", "b"]
    assert ended(endpoint).code == 1006


def test_close_frame_that_was_never_sent_is_not_told() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + frame(TEXT, rsv=1), NOW)
    assert endpoint.next_message() == "a"
    assert endpoint.closed.sent_code == 1002, "it is going to be"
    endpoint.lose()
    assert endpoint.closed.sent_code is None


@pytest.mark.row(144)
def test_abort_ends_at_once_without_a_close_frame() -> None:
    endpoint = make()
    endpoint.abort()
    assert endpoint.is_over
    assert endpoint.wants_abort
    assert endpoint.data_to_send() == b""
    closed = ended(endpoint)
    assert (closed.code, closed.sent_code, closed.by_peer) == (1006, None, False)
    assert "aborted by this side" in closed.detail


def test_abort_gives_up_a_closing_handshake() -> None:
    endpoint = make()
    endpoint.close(1000)
    endpoint.abort()
    assert endpoint.is_over
    assert endpoint.wants_abort


# --- failing the connection ---

VIOLATIONS = [
    pytest.param(frame(TEXT, "x", key=None), 1002, id="unmasked"),
    pytest.param(frame(TEXT, "x", rsv=1), 1002, id="reserved bit"),
    pytest.param(frame(3), 1002, id="opcode"),
    pytest.param(frame(PING, length=126), 1002, id="long ping"),
    pytest.param(frame(CONTINUATION), 1002, id="continuation"),
    pytest.param(frame(CLOSE, b"\0"), 1002, id="close body"),
    pytest.param(frame(TEXT, b"\xff"), 1007, id="text"),
    pytest.param(frame(BINARY, length=2**20 + 1), 1009, id="size"),
]


@pytest.mark.parametrize(("data", "code"), VIOLATIONS)
@pytest.mark.row(128, 142, 151)
def test_violation_is_answered_with_its_close_code(data: bytes, code: int) -> None:
    endpoint = make()
    endpoint.receive_data(data, NOW)
    sent, reason = close_of(endpoint.data_to_send())
    assert sent == code
    assert reason
    assert endpoint.wants_half_close
    closed = ended(endpoint)
    assert (closed.code, closed.sent_code, closed.by_peer) == (1006, code, False)
    assert f"failed it with {code}" in closed.detail


@pytest.mark.parametrize(("data", "code"), VIOLATIONS)
@pytest.mark.row(142, 143)
def test_nothing_is_received_behind_a_violation(data: bytes, code: int) -> None:
    endpoint = make(observe_control=True)
    tail = frame(TEXT, "late") + frame(PING) + close(4000)
    items = receive(endpoint, data + tail, tail)
    assert [type(item) for item in items] == [ConnectionClosed]
    assert close_of(endpoint.data_to_send())[0] == code
    assert endpoint.close_code is None
    endpoint.receive_data(b"", NOW)
    assert endpoint.close_code == 1006


@pytest.mark.row(142, 156)
def test_messages_before_a_violation_are_delivered_and_answered() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + frame(TEXT, "b") + frame(TEXT, rsv=1), NOW)
    for text in ("a", "b"):
        assert endpoint.next_message() == text
        endpoint.send_message(text.upper())
    assert ended(endpoint).sent_code == 1002
    assert [received.opcode for received in output(endpoint)] == [TEXT, TEXT, CLOSE]


@pytest.mark.row(143)
def test_violation_instead_of_an_answer_to_our_close_ends_the_stream() -> None:
    endpoint = make(close_timeout=7)
    endpoint.close(1000)
    assert close_of(endpoint.data_to_send()) == (1000, "")
    endpoint.receive_data(frame(TEXT, rsv=1), NOW)
    assert endpoint.data_to_send() == b"", "one close frame has been sent"
    assert endpoint.wants_half_close
    closed = ended(endpoint)
    assert (closed.code, closed.sent_code) == (1006, 1000)
    ring(endpoint, NOW)
    assert endpoint.wants_abort


@pytest.mark.row(152)
def test_long_reason_of_a_failure_is_cut() -> None:
    class Verbose(ActiveExtension):
        def decode(self, frame: Frame, budget: int | None) -> Frame | None:
            raise ProtocolError("é" * 100, 4321)

    endpoint = make(Verbose())
    endpoint.receive_data(frame(TEXT, "x"), NOW)
    assert close_of(endpoint.data_to_send()) == (4321, "é" * 61)


@pytest.mark.parametrize(("text", "bad"), INVALID_TEXT)
@pytest.mark.row(118)
def test_bad_text_fails_the_connection_within_an_unfinished_frame(text: bytes, bad: int) -> None:
    endpoint = make()
    data = frame(TEXT, text, fin=False, length=len(text) + 50)
    start = len(data) - len(text)
    endpoint.receive_data(data[: start + bad], NOW)
    assert endpoint.state is State.OPEN
    endpoint.receive_data(data[start + bad : start + bad + 1], NOW)
    assert close_of(endpoint.data_to_send())[0] == 1007


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
