"""What the exceptions of this package hold, and how they read."""

from __future__ import annotations

import pytest

from ws_middleware import errors
from ws_middleware.errors import (
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    ProtocolError,
    UnexpectedMessageError,
    WebSocketError,
)


@pytest.mark.parametrize("name", errors.__all__)
def test_all_exceptions_have_one_base(name: str) -> None:
    assert issubclass(getattr(errors, name), WebSocketError)


def test_exceptions_are_those_of_python_where_one_fits() -> None:
    assert issubclass(ConcurrencyError, RuntimeError)
    assert issubclass(UnexpectedMessageError, TypeError)


def test_protocol_error_is_1002_unless_told() -> None:
    assert ProtocolError("why").code == 1002
    error = ProtocolError("why", 1007)
    assert (error.code, error.reason, str(error)) == (1007, "why", "why")


def test_handshake_error_holds_a_response() -> None:
    error = HandshakeError(405, "only GET", [("Allow", "GET")])
    assert (error.status, error.reason, str(error)) == (405, "only GET", "only GET")
    assert error.headers == (("Allow", "GET"),)
    assert HandshakeError(404, "nothing here").headers == ()


def test_unexpected_message_is_not_lost() -> None:
    assert UnexpectedMessageError("text came", "hi").message == "hi"


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1005, 1006, 1011, 3000, 4000])
def test_closed_is_clean_with_1000_and_1001_alone(code: int) -> None:
    assert ConnectionClosed(code).is_clean == (code in (1000, 1001))


@pytest.mark.parametrize(
    ("closed", "text"),
    [
        (ConnectionClosed(1000), "closed with 1000 by the peer"),
        (ConnectionClosed(1000, sent_code=1000), "closed with 1000 by the peer"),
        (ConnectionClosed(4000, "bored"), "closed with 4000 (bored) by the peer"),
        (ConnectionClosed(1006, by_peer=False), "closed with 1006 by this side"),
        (
            ConnectionClosed(1000, sent_code=1001, by_peer=False),
            "closed with 1000 by this side which sent 1001",
        ),
        (
            ConnectionClosed(1006, sent_code=1009, sent_reason="too big", by_peer=False),
            "closed with 1006 by this side which sent 1009 (too big)",
        ),
        (
            ConnectionClosed(1006, detail="the stream ended"),
            "closed with 1006 by the peer - the stream ended",
        ),
    ],
)
def test_closed_says_with_what_and_by_whom(closed: ConnectionClosed, text: str) -> None:
    assert str(closed) == text


def test_closed_is_told_apart_by_code_and_reason() -> None:
    closed = ConnectionClosed(4000, "bored", sent_code=4000, sent_reason="bored", detail="x")
    assert closed.args == (4000, "bored")
    assert (closed.sent_code, closed.sent_reason, closed.detail) == (4000, "bored", "x")
    assert closed.by_peer
