"""What a connection tells of itself while it is open, and at its end."""

from __future__ import annotations

from typing import Any

from tests.core.wire import close
from tests.inprocess import make_request
from tests.peer import PONG, frame
from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.core.extensions import Agreement
from ws_middleware.extensions import PermessageDeflate
from ws_middleware.info import ConnectionInfo
from ws_middleware.options import Options


def make(**named: Any) -> ConnectionInfo:
    return ConnectionInfo(Endpoint("server", Options(extensions=())), make_request(), **named)


def test_what_the_handshake_fixed() -> None:
    agreement = Agreement(PermessageDeflate(), [("server_max_window_bits", "12")], None)
    info = make(subprotocol="chat", agreements=[agreement], identity="ann")
    assert info.subprotocol == "chat"
    assert info.identity == "ann"
    assert info.agreements == (agreement,)
    assert info.extensions == ("permessage-deflate; server_max_window_bits=12",)
    assert info.request.target == "/chat"
    assert info.remote_address == ("127.0.0.1", 9)


def test_what_the_handshake_left_out() -> None:
    info = make()
    assert (info.subprotocol, info.identity, info.agreements, info.extensions) == (
        None,
        None,
        (),
        (),
    )


def test_open_connection_has_no_code() -> None:
    info = make()
    assert (info.state, info.close_code, info.close_reason) == (State.OPEN, None, None)
    assert repr(info) == "<ConnectionInfo '/chat' open>"


def test_connection_at_its_end() -> None:
    info = make()
    info.endpoint.receive_data(close(4000, "bye"), 0.0)
    assert (info.state, info.close_code, info.close_reason) == (State.CLOSING, 4000, "bye")
    info.endpoint.receive_data(b"", 0.0)
    assert info.state is State.CLOSED
    assert repr(info) == "<ConnectionInfo '/chat' closed>"


def test_lost_connection() -> None:
    info = make()
    info.endpoint.lose()
    assert (info.state, info.close_code, info.close_reason) == (State.CLOSED, 1006, "")


def test_latency_is_that_of_the_last_ping() -> None:
    info = make()
    assert info.latency is None
    info.endpoint.ping(b"?", 1.0)
    info.endpoint.receive_data(frame(PONG, b"?"), 1.5)
    assert info.latency == 0.5
