"""How a connection ends: closed by either side, failed, lost, given up; bytes in and bytes out."""

from __future__ import annotations

import pytest

from tests.core.endpoints import NOW, ended, make, output, receive, ring, wishes
from tests.core.wire import INVALID_TEXT, close, close_of
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from ws_middleware.core.closing import ANSWER_TIME
from ws_middleware.core.endpoint import State
from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.core.frames import Frame
from ws_middleware.errors import ConnectionClosed, ProtocolError

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


def test_too_early_a_call_gives_nothing_up() -> None:
    endpoint = make()
    endpoint.close()
    endpoint.handle_timeout(NOW + 1000)
    assert not endpoint.is_over, "nobody was told of the deadline yet"
    deadline = endpoint.next_deadline(NOW)
    assert deadline is not None
    endpoint.handle_timeout(deadline - 0.1)
    assert not endpoint.is_over


def test_answers_may_be_sent_until_our_close_is() -> None:
    endpoint = make()
    endpoint.receive_data(frame(TEXT, "a") + close(1000), NOW)
    assert endpoint.next_message() == "a"
    assert endpoint.can_send
    endpoint.pong(b"")
    endpoint.close()
    assert not endpoint.can_send
    with pytest.raises(ConnectionClosed):
        endpoint.pong(b"")
    assert [received.opcode for received in output(endpoint)] == [PONG, CLOSE]


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
