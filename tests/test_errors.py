"""What the exceptions of this package hold, and how they read."""

from __future__ import annotations

import pytest

from ws_middleware import errors
from ws_middleware.errors import (
    ConcurrencyError,
    ConnectionClosed,
    Forbidden,
    HandshakeError,
    ProtocolError,
    Reject,
    Unauthorized,
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


# --- refusals ---


def test_refusal_has_its_reason_as_text_unless_told() -> None:
    assert HandshakeError(404, "nothing here").body == b"nothing here\n"
    assert Reject(402, "pay").body == b"pay\n"
    assert Reject(402, "pay", body="p\xe4y").body == "p\xe4y".encode()
    assert Reject(402, "pay", body=b"").body == b""


def test_refusal_has_a_close_code_for_scripts() -> None:
    assert HandshakeError(404, "nothing here").close_code == 4404
    assert Reject(402, "pay").close_code == 4402
    assert Reject(402, "pay", close_code=4999).close_code == 4999


@pytest.mark.parametrize("status", [101, 200, 302, 399, 600])
def test_refusal_refuses(status: int) -> None:
    with pytest.raises(ValueError, match=f"status {status} does not refuse a request"):
        Reject(status, "no")


@pytest.mark.row(48)
def test_unauthorized_has_one_field_for_each_challenge() -> None:
    error = Unauthorized(["Digest realm=a", "Basic realm=a"])
    assert (error.status, error.close_code) == (401, 4401)
    assert error.reason == "authentication is required"
    assert error.headers == (
        ("WWW-Authenticate", "Digest realm=a"),
        ("WWW-Authenticate", "Basic realm=a"),
    )


@pytest.mark.row(48)
@pytest.mark.parametrize("challenges", [[], "Basic realm=a"])
def test_unauthorized_has_at_least_one_challenge(challenges: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one challenge"):
        Unauthorized(challenges)


def test_forbidden_is_403() -> None:
    error = Forbidden()
    assert (error.status, error.close_code) == (403, 4403)
    assert str(error) == "you may not connect here"
    assert Forbidden("members only").body == b"members only\n"


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    "field", [("X", "a\r\nSet-Cookie: b"), ("X", "\0"), ("X", "\u20ac"), ("X:", "a"), ("", "a")]
)
def test_refusal_has_no_field_that_breaks_its_response_apart(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a header field"):
        Reject(402, "pay", [field])
    with pytest.raises(ValueError, match="is not a header field"):
        Unauthorized(["Basic realm=a\r\nX: y"])
